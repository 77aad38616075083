//! Aggregates as SQL: what is measured for them, and what is refused with what to write instead.

use paravent_udfs::{Estimate, What};

use super::compile_tests::compile;

/// The estimates and the number of measurements of a statement's only release.
fn asked(sql: &str) -> (Vec<Estimate>, usize) {
    let verified = compile(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let [release] = verified.releases() else { panic!("{sql}: one release") };
    let estimates = release.outputs().iter().map(|output| output.estimate.clone()).collect();
    (estimates, release.spec().unwrap().measurements.len())
}

fn refused(sql: &str, sqlstate: &str, hint: &str) {
    let error = compile(sql).err().unwrap_or_else(|| panic!("{sql} is answered"));
    assert_eq!(error.sqlstate.code(), sqlstate, "{sql}: {error:?}");
    assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{sql}: {error:?}");
}

/// Persons, two sums and a count of rows: whatever is made of them.
#[test]
fn what_needs_the_same_sums_measures_them_once() {
    let (estimates, measurements) = asked(
        "SELECT avg(hours), var_pop(hours), var_samp(hours), stddev(hours), stddev_pop(hours), count(*) FROM week",
    );
    assert_eq!((estimates.len(), measurements), (6, 4), "{estimates:?}");
    let (estimates, measurements) = asked(
        "SELECT corr(hours, hours + week), regr_slope(hours, hours + week) FROM (SELECT hours, clamp(week, 0, 9) AS week FROM week) w",
    );
    // And the persons who have both values, as a subquery may leave them out.
    assert_eq!((estimates.len(), measurements), (2, 8), "{estimates:?}");
}

/// Persons, and the two counts; where some rows may not count, the persons who have one that does. The two counts of all persons count
/// those as well.
#[test]
fn a_share_is_one_measurement_however_it_is_written() {
    let zero_one = "avg(CASE WHEN country = 'DE' THEN 1.0 ELSE 0.0 END)";
    for (sql, cap, measured) in [
        (format!("SELECT {zero_one} FROM person"), 1, 1),
        (format!("SELECT {zero_one}, share(country = 'FR') FROM person"), 1, 2),
        (format!("SELECT {zero_one} FROM person WHERE country <> 'FR'"), 1, 1),
        (format!("SELECT {zero_one} FROM person JOIN week USING (id) WHERE hours > 60"), 53, 2),
        (format!("SELECT {zero_one}, count(*) FROM person"), 1, 2),
        (format!("SELECT {zero_one} FILTER (WHERE country <> 'FR') FROM person"), 1, 3),
        ("SELECT share(hours > 9) FROM week".to_owned(), 53, 2),
        ("SELECT share(hours > 9), count(*) FROM week".to_owned(), 53, 3),
        ("SELECT share(hours > 9), avg(hours) FROM week".to_owned(), 53, 4),
        ("SELECT share(hours > 9) FILTER (WHERE week > 5) FROM week".to_owned(), 53, 3),
    ] {
        let verified = compile(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let release = &verified.releases()[0];
        let spec = release.spec().unwrap();
        assert_eq!(spec.measurements.len(), measured, "{sql}: {spec:?}");
        assert_eq!(spec.cells.len(), usize::from(sql.contains("FILTER")), "{sql}");
        let Estimate::Share { counts } = release.outputs()[0].estimate else { panic!("{sql}: no share") };
        assert_eq!(spec.measurements[counts].what, What::TWO_COUNTS, "{sql}");
        let reach = release.reaches().unwrap()[counts];
        assert_eq!((reach.l1(), reach.l2_squared()), (f64::from(cap), f64::from(cap * cap)), "{sql}");
    }
    let sql = "SELECT share(h > 9) FROM (SELECT id, avg(hours) AS h FROM week GROUP BY id) w";
    let verified = compile(sql).unwrap();
    let spec = verified.releases()[0].spec().unwrap();
    assert_eq!((spec.measurements.len(), spec.cells.len(), spec.cells[0].count), (1, 1, 0), "{spec:?}");
}

#[test]
fn one_tree_serves_every_fraction() {
    let (estimates, measurements) = asked(
        "SELECT median(hours), min(hours), max(hours), percentile_cont(0.9) WITHIN GROUP (ORDER BY hours), \
         percentile_cont(ARRAY[0.1, 0.2]) WITHIN GROUP (ORDER BY hours DESC) FROM week",
    );
    assert_eq!((estimates.len(), measurements), (6, 2), "{estimates:?}");
    let fraction = |i: usize| match &estimates[i] {
        Estimate::Quantile { fraction, .. } => *fraction,
        other => panic!("{other:?}"),
    };
    assert_eq!((fraction(0), fraction(1), fraction(2), fraction(4), fraction(5)), (0.5, 0.05, 0.95, 0.9, 0.8));
}

/// "99 % of them work less than this" is a share outside the band, whoever counts. Of attributes, which anyone may group by, it is not.
#[test]
fn percentiles_of_measures_stay_within_the_band() {
    let fraction = |f: f64, of: &str| format!("SELECT percentile_cont({f}) WITHIN GROUP (ORDER BY {of}) FROM week");
    for f in [0.0, 0.01, 0.049, 0.951, 0.99, 1.0] {
        let error = compile(&fraction(f, "hours")).unwrap_err();
        assert_eq!(error.sqlstate, crate::error::SqlState::InvalidParameterValue, "{f}");
        assert!(compile(&fraction(f, "clamp(week, 0, 53)")).is_ok(), "{f}");
    }
    for f in [0.05, 0.5, 0.95] {
        assert!(compile(&fraction(f, "hours")).is_ok(), "{f}");
    }
}

/// Integers have a leaf each where they are few.
#[test]
fn leaves_of_integers_are_integers() {
    let leaves = |sql: &str| match asked(sql).0.remove(0) {
        Estimate::Quantile { leaves, used, lower, width, whole, .. } => (leaves, used, lower, width, whole),
        other => panic!("{other:?}"),
    };
    assert_eq!(leaves("SELECT median(clamp(size, 1, 12)) FROM mail"), (16, 12, 1.0, 1.0, true));
    assert_eq!(leaves("SELECT median(clamp(size, 0, 999)) FROM mail"), (256, 250, 0.0, 4.0, true));
    assert!(!leaves("SELECT median(hours) FROM week").4);
}

/// One bound for a value that each person has once; several where they can have many; one again under a profile, and its base.
#[test]
fn distinct_values_are_tried_under_several_bounds() {
    assert_eq!(asked("SELECT count(DISTINCT country) FROM person").1, 2);
    assert_eq!(asked("SELECT count(DISTINCT week) FROM week").1, 5);
    assert_eq!(asked("SELECT count(DISTINCT boss) FROM person").1, 2);
    let (estimates, measurements) = asked("SELECT count(DISTINCT week) FROM week WHERE hours > 5");
    assert!(matches!(&estimates[..], [Estimate::Distinct { counts }] if counts.len() == 1), "{estimates:?}");
    assert_eq!(measurements, 3);
    let release = &compile("SELECT count(DISTINCT week) FROM week WHERE hours > 5").unwrap();
    assert!(release.releases()[0].outputs()[0].mask.is_some());
    refused("SELECT count(DISTINCT CASE WHEN hours > 5 THEN week END) FROM week", "0A000", "FILTER");
}

#[test]
fn the_most_frequent_of_declared_values() {
    let verified = compile("SELECT mode() WITHIN GROUP (ORDER BY hours > 5) FROM week").unwrap();
    let spec = verified.releases()[0].spec().unwrap();
    assert_eq!(spec.measurements[1].what, What::Tree { leaves: 4, branching: 4 });
    refused("SELECT mode() WITHIN GROUP (ORDER BY hours) FROM week", "22023", "domain");
}

#[test]
fn extremes_are_announced() {
    let notices = |sql: &str| compile(sql).unwrap().notices().to_vec();
    let told = notices("SELECT min(hours), max(hours), max(hours) AS again FROM week");
    assert!(matches!(&told[..], [a, b] if a.starts_with("min") && b.starts_with("max")), "{told:?}");
    assert!(notices("SELECT median(hours) FROM week").is_empty());
}

/// Several columns share a level, so that together they have it.
#[test]
fn the_error_of_an_expression_follows_its_columns() {
    let levels = |sql: &str| compile(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}")).levels().to_vec();
    assert_eq!(levels("SELECT dp_interval_low(100 * avg(hours) + 1, 0.9) FROM week"), [0.9]);
    assert_eq!(levels("SELECT dp_interval_low(sum(hours) / count(*), 0.9) FROM week"), [0.95]);
    assert!(levels("SELECT dp_stddev(sqrt(avg(hours)) - 2 * round(median(hours))) FROM week").is_empty());
    refused(
        "SELECT dp_stddev(week) FROM (SELECT week, count(*) AS n FROM week GROUP BY week) t",
        "22023",
        "dp_stddev(",
    );
    refused("SELECT dp_stddev(CASE WHEN avg(hours) > 1 THEN 2 END) FROM week", "22023", "dp_stddev(");
    refused(
        "SELECT dp_stddev(percentile_cont(ARRAY[0.1]) WITHIN GROUP (ORDER BY hours)) FROM week",
        "22023",
        "dp_stddev(",
    );
}

#[test]
fn what_has_no_private_form_says_what_to_use_instead() {
    for name in ["string_agg(country, ',')", "array_agg(country)", "first_value(country)", "last_value(country)"] {
        refused(&format!("SELECT {name} FROM person"), "0A000", "group by the column");
    }
    for name in ["nth_value(country, 2)", "any_value(country)", "json_agg(country)", "xmlagg(country)"] {
        refused(&format!("SELECT {name} FROM person"), "0A000", "group by the column");
    }
    for name in ["bool_and(country = 'DE')", "bool_or(country = 'DE')", "every(country = 'DE')"] {
        refused(&format!("SELECT {name} FROM person"), "0A000", "share(");
    }
    refused("SELECT bit_and(size) FROM mail", "0A000", "share(");
    refused("SELECT sum(DISTINCT size) FROM mail", "0A000", "count(DISTINCT");
    refused("SELECT max(country) FROM person", "0A000", "group by the column");
    refused("SELECT median(week) FROM week", "22023", "clamp(");
    refused("SELECT corr(hours, week) FROM week", "22023", "clamp(");
    refused("SELECT percentile_cont(1.5) WITHIN GROUP (ORDER BY hours) FROM week", "22023", "WITHIN GROUP");
}
