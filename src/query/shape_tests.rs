//! The shapes that rows of persons may go through below a release, and those that are refused.

use datafusion::common::JoinType;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, col, lit};

use super::compile_tests::{BY_COUNTRY, check, compile, is_unproven, over, protected_scan, rebuilt, refused, tampered};
use super::{Context, plan_lines};

fn plan_of(sql: &str) -> String {
    plan_lines(&compile(sql).unwrap_or_else(|error| panic!("{error:?}: {sql}"))).join("\n")
}

fn answered(statements: &[&str]) {
    for sql in statements {
        if let Err(error) = compile(sql) {
            panic!("{error:?}: {sql}");
        }
    }
}

#[test]
fn existence_of_a_persons_other_rows() {
    check(
        "SELECT country, count(*) FROM person p WHERE EXISTS (SELECT 1 FROM week w WHERE w.id = p.id AND w.week > 3) GROUP BY 1",
        &["Release", "LeftSemi Join"],
    );
    check("SELECT count(*) FROM person WHERE id NOT IN (SELECT id FROM mail)", &["Release", "LeftAnti Join"]);
    check(
        "SELECT count(*) FROM person p WHERE country = 'DE' OR EXISTS (SELECT 1 FROM mail m WHERE m.id = p.id)",
        &["Release", "LeftMark Join"],
    );
    answered(&[
        "SELECT count(*) FROM person WHERE id IN (SELECT id FROM week) AND id IN (SELECT id FROM mail)",
        "SELECT sum(hours) FROM week w WHERE EXISTS (SELECT 1 FROM week v WHERE v.id = w.id AND v.week = w.week + 1)",
        "SELECT sum(hours) FROM week w WHERE EXISTS (SELECT 1 FROM week v WHERE v.id = w.id AND v.week > w.week)",
        "SELECT share(EXISTS (SELECT 1 FROM mail m WHERE m.id = p.id)) FROM person p",
        "SELECT country, share(id IN (SELECT id FROM mail)) FROM person GROUP BY country",
        "SELECT count(*) FILTER (WHERE p.id NOT IN (SELECT id FROM mail WHERE size > 100)) FROM person p",
        "SELECT share(w.week IN (SELECT v.week + 1 FROM week v WHERE v.id = w.id)) FROM week w",
        "SELECT share(w.week IN (SELECT week FROM calendar WHERE season = 'winter')), count(*) FROM week w",
        "SELECT w.week IN (SELECT week FROM calendar WHERE season = 'winter'), count(*) FROM week w GROUP BY 1",
        "SELECT avg(CASE WHEN p.id IN (SELECT id FROM week WHERE week > 3) THEN 1 ELSE 0 END) FROM person p",
        "SELECT sum(CASE WHEN EXISTS (SELECT 1 FROM mail m WHERE m.id = p.id) THEN 1 ELSE 0 END) FROM person p",
    ]);
}

/// Whether somebody has a row that fits a predicate on a measure is itself a profile: compared with the group, not filtered.
#[test]
fn existence_that_tells_of_behaviour_is_a_profile() {
    for sql in [
        "SELECT count(*) FROM person p WHERE EXISTS (SELECT 1 FROM week w WHERE w.id = p.id AND w.hours > 60)",
        "SELECT count(*) FROM person p WHERE NOT EXISTS (SELECT 1 FROM week w WHERE w.id = p.id AND w.hours > 60)",
        "SELECT count(*) FROM person WHERE id IN (SELECT id FROM week GROUP BY id HAVING sum(hours) > 300)",
        "SELECT count(*) FROM person WHERE id NOT IN (SELECT id FROM week WHERE hours > 3)",
        "SELECT count(DISTINCT id) FROM week w WHERE EXISTS (SELECT 1 FROM week v WHERE v.id = w.id AND v.hours > w.hours)",
    ] {
        let plan = plan_of(sql);
        assert!(plan.contains("LeftMark Join") && plan.contains("dp_persons(__p)"), "{sql}\n{plan}");
        assert!(plan.contains("dp_persons(Boolean(true))"), "{sql}\n{plan}");
    }
    let both = plan_of(
        "SELECT count(*) FROM person p WHERE country = 'DE' OR EXISTS (SELECT 1 FROM week w WHERE w.id = p.id AND hours > 9)",
    );
    assert!(both.contains("dp_persons(__p)"), "{both}");
}

/// Rows that meet on another table's unique key belong to one person as well.
#[test]
fn existence_through_a_link() {
    answered(&[
        "SELECT shop, count(*) FROM purchase p WHERE EXISTS (SELECT 1 FROM item i WHERE i.order_id = p.order_id AND week > 3) GROUP BY shop",
        "SELECT count(*) FROM item a WHERE EXISTS (SELECT * FROM item b WHERE b.order_id = a.order_id AND b.week <> a.week)",
        "SELECT count(*) FROM purchase WHERE order_id IN (SELECT order_id FROM item GROUP BY order_id HAVING sum(price) > 30)",
        "SELECT sum(price) FROM item a, purchase p WHERE a.order_id = p.order_id \
         AND EXISTS (SELECT * FROM item b WHERE b.order_id = a.order_id AND b.week <> a.week) \
         AND NOT EXISTS (SELECT * FROM item c WHERE c.order_id = a.order_id AND c.week > a.week AND c.week < 50)",
        "SELECT sum(price) FROM item WHERE price < (SELECT avg(price) FROM item b WHERE b.week = item.week)",
    ]);
}

#[test]
fn existence_in_public_and_released_rows() {
    answered(&[
        "SELECT sum(hours) FROM week w WHERE EXISTS (SELECT 1 FROM calendar c WHERE c.week = w.week AND season = 'summer')",
        "SELECT sum(hours) FROM week w WHERE EXISTS (SELECT 1 FROM calendar c WHERE c.week > w.week)",
        "SELECT sum(hours) FROM week WHERE week NOT IN (SELECT week FROM calendar)",
        "SELECT count(*) FROM person WHERE country IN (SELECT country FROM person GROUP BY country HAVING count(*) > 50)",
        "SELECT country, n FROM (SELECT country, count(*) AS n FROM person GROUP BY 1) t \
         WHERE EXISTS (SELECT 1 FROM (SELECT country, count(*) AS n FROM person GROUP BY 1) u WHERE u.country <> t.country AND u.n > t.n)",
        "SELECT country, n FROM (SELECT country, count(*) AS n FROM person GROUP BY 1) t WHERE n >= ALL (SELECT count(*) FROM person GROUP BY country)",
    ]);
    let measured = plan_of("SELECT count(*) FROM week WHERE hours > ANY (SELECT week FROM calendar)");
    assert!(measured.contains("dp_count") && measured.contains("__p"), "{measured}");
}

#[test]
fn a_released_or_public_value_stands_beside_every_row() {
    check(
        "SELECT count(*) FROM week WHERE hours > (SELECT avg(hours) FROM week)",
        &["Release 0", "Release 1", "released_0"],
    );
    answered(&[
        "SELECT sum(clamp(hours - (SELECT avg(hours) FROM week), -40, 40)) FROM week",
        "SELECT share(hours > (SELECT max(week) FROM calendar)) FROM week",
        "SELECT count(*) FROM week WHERE week = (SELECT week FROM calendar ORDER BY week DESC LIMIT 1)",
        "SELECT country, avg(hours) FROM person JOIN week USING (id) WHERE week > (SELECT avg(week) FROM calendar) GROUP BY 1",
        "SELECT hours > (SELECT avg(hours) FROM week), count(*) FROM week GROUP BY 1",
    ]);
    refused("SELECT count(*) FROM week WHERE week = (SELECT week FROM calendar)", "21000");
    refused("SELECT count(*) FROM week WHERE hours > (SELECT hours FROM week)", "42501");
}

#[test]
fn subqueries_correlated_on_the_key_are_metrics_of_the_person() {
    check(
        "SELECT country, avg(clamp((SELECT sum(size) FROM mail m WHERE m.id = p.id), 0, 5000)) FROM person p GROUP BY 1",
        &["Release", "Left Join", "Aggregate: groupBy=[[m.id"],
    );
    answered(&[
        "SELECT count(*) FROM person p WHERE (SELECT count(*) FROM mail m WHERE m.id = p.id) = 0",
        "SELECT count(*) FROM person p WHERE (SELECT avg(hours) FROM week w WHERE w.id = p.id) > 30",
        "SELECT sum(n) FROM (SELECT p.id, (SELECT count(*) FROM week w WHERE w.id = p.id AND hours > 5) AS n FROM person p) t",
        "SELECT sum(hours) FROM week w WHERE hours > (SELECT avg(hours) FROM week v WHERE v.week = w.week)",
        "SELECT (SELECT max(season) FROM calendar c WHERE c.week = w.week), sum(hours) FROM week w GROUP BY 1",
        "SELECT country, avg(t.n) FROM person p, LATERAL (SELECT count(*) AS n FROM week w WHERE w.id = p.id) t GROUP BY 1",
        "SELECT country, sum(t.hours) FROM person p CROSS JOIN LATERAL (SELECT hours FROM week w WHERE w.id = p.id) t GROUP BY 1",
        "SELECT country, sum(t.hours) FROM person p LEFT JOIN LATERAL (SELECT hours FROM week w WHERE w.id = p.id) t ON true GROUP BY 1",
    ]);
    refused(
        "SELECT sum(t.hours) FROM person p CROSS JOIN LATERAL (SELECT hours FROM week w WHERE w.id = p.id ORDER BY week LIMIT 1) t",
        "0A000",
    );
}

#[test]
fn an_outer_join_with_a_profile_on_the_missing_side() {
    let sql = "SELECT country, count(h), avg(h) FROM person p LEFT JOIN \
               (SELECT id, avg(hours) AS h FROM week GROUP BY id HAVING avg(hours) > 20) w ON p.id = w.id GROUP BY country";
    check(sql, &["Release", "Left Join"]);
    refused("SELECT count(w.week) FROM person p LEFT JOIN week w ON p.id = w.id AND w.hours > 5", "0A000");
    refused(
        "SELECT count(*) FROM person p FULL JOIN (SELECT id, hours FROM week WHERE hours > 5) w ON p.id = w.id",
        "0A000",
    );
}

#[test]
fn unions_of_rows_of_persons() {
    check(
        "SELECT sum(clamp(x, 0, 100)) FROM (SELECT id, hours AS x FROM week UNION ALL SELECT id, size FROM mail) t",
        &["Release", "Union"],
    );
    answered(&[
        "SELECT count(DISTINCT id) FROM (SELECT id FROM week UNION SELECT id FROM mail) t",
        "SELECT count(*) FROM (SELECT id FROM week UNION SELECT id FROM mail) t",
        "SELECT count(*) FROM (SELECT id FROM week INTERSECT SELECT id FROM mail) t",
        "SELECT count(*) FROM (SELECT id FROM person EXCEPT SELECT id FROM mail) t",
        "SELECT kind, count(*) FROM (SELECT 'w' AS kind, id FROM week WHERE hours > 4 UNION ALL SELECT 'm', id FROM mail) t GROUP BY kind",
        "SELECT count(*) FROM (SELECT id, week FROM week WHERE hours > 3 INTERSECT SELECT id, week FROM week WHERE week > 4) t",
        "SELECT week, sum(hours) FROM (SELECT * FROM week WHERE week < 10 UNION ALL SELECT * FROM week WHERE week > 40) t GROUP BY week",
        "SELECT id IS NULL, count(*) FROM (SELECT id FROM week UNION ALL SELECT id FROM mail UNION ALL SELECT id FROM person) t GROUP BY 1",
    ]);
    refused("SELECT count(*) FROM (SELECT id FROM person UNION ALL SELECT week FROM calendar) t", "0A000");
    refused(
        "SELECT count(*) FROM (SELECT country FROM person INTERSECT SELECT season FROM calendar) t WHERE 1 = 2 OR country IN (SELECT country FROM person)",
        "0A000",
    );
    refused("SELECT count(*) FROM (SELECT boss AS id FROM person INTERSECT SELECT id FROM mail) t", "42501");
    refused("SELECT country FROM person UNION ALL SELECT country FROM person", "42501");
}

#[test]
fn windows_over_one_persons_rows() {
    check(
        "SELECT avg(clamp(hours - before, -80, 80)) FROM \
         (SELECT hours, lag(hours) OVER (PARTITION BY id ORDER BY week) AS before FROM week) t",
        &["Release", "WindowAggr", "PARTITION BY [__person"],
    );
    answered(&[
        "SELECT avg(hours) FROM (SELECT hours, row_number() OVER (PARTITION BY id ORDER BY week) AS n FROM week) t WHERE n <= 4",
        "SELECT count(DISTINCT id) FROM (SELECT id, rank() OVER (PARTITION BY id ORDER BY hours DESC) AS r, week FROM week) t WHERE r = 1 AND week > 10",
        "SELECT avg(top) FROM (SELECT max(hours) OVER (PARTITION BY id) AS top FROM week) t",
        "SELECT avg(s) FROM (SELECT clamp(sum(hours) OVER (PARTITION BY id ORDER BY week ROWS 3 PRECEDING), 0, 320) AS s FROM week) t",
        "SELECT n, count(*) FROM (SELECT ntile(4) OVER (PARTITION BY id ORDER BY week) AS n FROM week) t GROUP BY n",
        "SELECT avg(first) FROM (SELECT first_value(hours) OVER (PARTITION BY id ORDER BY week) AS first FROM week WHERE hours > 2) t",
    ]);
    refused("SELECT avg(n) FROM (SELECT row_number() OVER (ORDER BY week) AS n FROM week) t", "42501");
    refused("SELECT avg(n) FROM (SELECT sum(hours) OVER (PARTITION BY week) AS n FROM week) t", "42501");
    refused("SELECT count(n) FROM (SELECT array_agg(hours) OVER (PARTITION BY id) AS n FROM week) t", "0A000");
    refused(
        "SELECT avg(n) FROM (SELECT sum(hours) OVER (PARTITION BY id ORDER BY week RANGE 3 PRECEDING) AS n FROM week) t",
        "0A000",
    );
}

#[test]
fn the_first_row_of_each_person() {
    let one = "SELECT avg(hours) FROM (SELECT DISTINCT ON (id) id, hours FROM week ORDER BY id, week DESC) t";
    check(one, &["Release", "row_number"]);
    assert!(!plan_of(one).contains("sum(__x0)"), "one row a person needs no bringing together");
    answered(&[
        "SELECT week, avg(size) FROM (SELECT DISTINCT ON (m.id, week) week, size FROM mail m JOIN week USING (id)) t GROUP BY week",
    ]);
    refused("SELECT count(*) FROM (SELECT DISTINCT ON (week) week, hours FROM week) t", "42501");
}

#[test]
fn grouping_sets_are_one_release_each() {
    let sql = "SELECT country, week, count(*), avg(hours), grouping(country) FROM person JOIN week USING (id) GROUP BY ROLLUP (country, week)";
    assert_eq!(compile(sql).unwrap_or_else(|e| panic!("{e:?}")).releases().len(), 3);
    answered(&[
        "SELECT country, count(*) FROM person GROUP BY CUBE (country)",
        "SELECT country, week, sum(hours), dp_stddev(sum(hours)) FROM person JOIN week USING (id) GROUP BY GROUPING SETS ((country), (week), ())",
        "SELECT coalesce(country, 'all'), count(*) FROM person GROUP BY ROLLUP (country) HAVING count(*) > 20 ORDER BY 2",
        "SELECT upper(country), count(*) FROM person GROUP BY ROLLUP (upper(country))",
    ]);
    let twice = "SELECT country, count(*) FROM person GROUP BY GROUPING SETS ((country), (country))";
    assert_eq!(compile(twice).unwrap_or_else(|e| panic!("{e:?}")).releases().len(), 1);
    refused("SELECT id, count(*) FROM person GROUP BY ROLLUP (id)", "0A000");
}

#[test]
fn what_nests_and_repeats() {
    answered(&[
        "WITH p AS (SELECT id, avg(hours) AS h FROM week GROUP BY id) SELECT count(*), avg(a.h) FROM p a JOIN p b ON a.id = b.id WHERE a.h > b.h - 1",
        "SELECT avg(m) FROM (SELECT id, max(h) AS m FROM (SELECT id, week % 4 AS k, sum(d) AS h FROM \
         (SELECT id, week, avg(hours) AS d FROM week GROUP BY id, week) x GROUP BY id, week % 4) y GROUP BY id) z",
        "WITH m AS (SELECT avg(hours) AS a FROM week) SELECT count(*) FROM week JOIN m ON week.hours > m.a",
        "SELECT avg(a.h - b.n) FROM (SELECT id, max(hours) AS h FROM week GROUP BY id) a FULL JOIN (SELECT id, count(*) AS n FROM mail GROUP BY id) b ON a.id = b.id",
    ]);
    refused("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r", "0A000");
}

#[test]
fn places_and_twins_mean_what_they_mean_in_postgres() {
    answered(&[
        "SELECT country, week % 3, count(*) FROM person JOIN week USING (id) GROUP BY ROLLUP (1, 2)",
        "SELECT country, count(*) FROM person GROUP BY GROUPING SETS ((1), ())",
        "SELECT count(*), sum(a) FROM (SELECT id, hours AS a, week, week FROM week UNION ALL SELECT id, hours, 1, 1 FROM week) t",
        "SELECT count(*), sum(a) FROM (SELECT id, hours AS a, 1, 1 FROM week UNION ALL SELECT id, hours, week, week FROM week) t",
        "SELECT count(*) FROM (SELECT id, week AS a, week FROM week UNION ALL SELECT id, week, 1 FROM week) t",
    ]);
    refused("SELECT country, count(*) FROM person GROUP BY ROLLUP (9)", "42803");
}

#[test]
fn lists_become_rows_of_the_same_person() {
    check(
        "SELECT x, count(DISTINCT id) FROM (SELECT id, unnest(array[1, 2, 3]) AS x FROM person) t GROUP BY x",
        &["Release", "BoundGroups: person=__u, max_groups=3", "Unnest"],
    );
    answered(&[
        "SELECT avg(x) FROM (SELECT unnest(array[hours, hours / 2]) AS x FROM week) t",
        "SELECT count(*) FROM (SELECT unnest(array[week, 1]) AS w FROM calendar) t",
        "SELECT unnest(array[n, n + 1]) FROM (SELECT count(*) AS n FROM person) t",
    ]);
    refused("SELECT unnest(array[hours, 1]) FROM week", "42501");
    refused("SELECT x, count(*) FROM (SELECT unnest(array[boss, 1]) AS x FROM person) t GROUP BY x", "42501");
}

/// A list beside its own row is a list in the SELECT list.
#[test]
fn lists_in_from_become_rows_of_the_same_person() {
    check(
        "SELECT x, count(DISTINCT id) FROM person p, unnest(array[p.country, 'all']) AS u(x) GROUP BY x",
        &["Release", "BoundGroups: person=__u, max_groups=2", "Unnest"],
    );
    let lists = "(SELECT id, country, array[country, 'all'] AS tags FROM person) AS t";
    for sql in [
        format!("SELECT tag, count(DISTINCT id) FROM {lists}, unnest(t.tags) AS u(tag) GROUP BY tag"),
        format!("SELECT tag, count(DISTINCT id) FROM {lists} CROSS JOIN LATERAL unnest(t.tags) AS u(tag) GROUP BY tag"),
        format!("SELECT tag, count(DISTINCT id) FROM {lists}, unnest(tags) AS u(tag) WHERE tag <> 'all' GROUP BY tag"),
        format!(
            "SELECT tag, count(DISTINCT id) FROM {lists} JOIN unnest(t.tags) AS u(tag) ON u.tag <> t.country GROUP BY tag"
        ),
        format!("SELECT u.country, count(DISTINCT id) FROM {lists}, unnest(t.tags) AS u(country) GROUP BY u.country"),
        "SELECT a, b, count(*) FROM person p, unnest(array[p.country, 'x']) AS u(a), unnest(array[u.a, 'y']) AS v(b) GROUP BY a, b".to_owned(),
        format!("SELECT a, b, count(DISTINCT id) FROM {lists}, unnest(t.tags, array[1, 2]) AS u(a, b) GROUP BY a, b"),
        format!(
            "SELECT tag, count(DISTINCT id) FROM {lists}, LATERAL (SELECT tag FROM unnest(t.tags) AS u(tag) WHERE tag <> 'all') s GROUP BY tag"
        ),
        format!("SELECT count(DISTINCT t.id) FROM {lists} JOIN week w ON w.id = t.id, unnest(t.tags) AS u(tag) WHERE tag <> 'all'"),
        format!("SELECT tag, count(DISTINCT id) FROM {lists}, unnest(t.tags) AS tag GROUP BY tag"),
        format!("SELECT unnest, count(DISTINCT id) FROM {lists}, unnest(t.tags) GROUP BY unnest"),
        "SELECT avg(x) FROM week w, unnest(array[w.hours, w.hours / 2]) AS u(x)".to_owned(),
        "SELECT x, season FROM calendar c, unnest(array[c.week, 1]) AS u(x)".to_owned(),
        "SELECT n, x FROM (SELECT count(*) AS n FROM person) t, unnest(array[t.n, 1]) AS u(x)".to_owned(),
    ] {
        let plan = plan_of(&sql);
        assert!(plan.contains("Unnest:") && !plan.contains("Subquery:"), "{sql}\n{plan}");
    }
    refused("SELECT u.x FROM week w, unnest(array[w.hours, 1]) AS u(x)", "42501");
    refused("SELECT x, count(*) FROM person p, unnest(array[p.boss, 1]) AS u(x) GROUP BY x", "42501");
    refused("SELECT count(*) FROM person p LEFT JOIN LATERAL unnest(array[p.country]) AS u(x) ON true", "0A000");
    refused("SELECT count(*) FROM calendar c, unnest(array[c.nothing]) AS u(x)", "42703");
}

/// Persons by country over other rows; they hold what the states need, so that only the shape can be wrong.
fn is_proven(rows: impl Fn(&Context) -> LogicalPlan) -> bool {
    let over_rows = |context: &Context, private: &mut super::Private| {
        rebuilt(&mut private.releases[0], over(rows(context)), |_| {});
    };
    tampered(BY_COUNTRY, over_rows).is_ok()
}

fn person(context: &Context) -> LogicalPlanBuilder {
    LogicalPlanBuilder::from(protected_scan(context, "person"))
}

fn named(plan: LogicalPlanBuilder, person: Expr, country: Expr) -> LogicalPlan {
    plan.project(vec![person.alias("__u"), country.alias("__k0")]).unwrap().build().unwrap()
}

#[test]
fn a_window_that_sees_several_persons_is_found() {
    let windowed = |key: &'static str| {
        move |context: &Context| {
            let number = row_number().partition_by(vec![col(key)]).build().unwrap().alias("n");
            let first = person(context).window(vec![number]).unwrap().filter(col("n").lt(lit(3_u64))).unwrap();
            named(first, col("id"), col("country"))
        }
    };
    assert!(is_proven(windowed("person.id")), "partitioned by the person");
    assert!(!is_proven(windowed("country")), "partitioned by something else");
}

#[test]
fn a_union_with_rows_of_nobody_is_found() {
    is_unproven(BY_COUNTRY, |context, private| {
        let somebody = named(person(context), col("id"), col("country"));
        let nobody = LogicalPlanBuilder::values(vec![vec![lit(1_i64), lit("DE")]]).unwrap();
        let nobody = named(nobody, col("column1"), col("column2"));
        let all = LogicalPlanBuilder::from(somebody).union(nobody).unwrap().distinct().unwrap().build().unwrap();
        rebuilt(&mut private.releases[0], over(all), |_| {});
    });
}

/// In a full join each side's key is missing somewhere; rows grouped by it would be of several persons.
#[test]
fn one_sides_key_of_a_full_join_is_no_key() {
    let joined = |key: fn() -> Expr| {
        move |context: &Context| {
            let mails = LogicalPlanBuilder::from(protected_scan(context, "mail"))
                .aggregate(vec![col("mail.id")], vec![count(lit(1_i64)).alias("n")])
                .unwrap()
                .build()
                .unwrap();
            let both = person(context).join(mails, JoinType::Full, (vec!["person.id"], vec!["mail.id"]), None).unwrap();
            let both = both.project(vec![key().alias("k"), col("country"), col("n")]).unwrap();
            let both = both.aggregate(vec![col("k"), col("country")], vec![max(col("n")).alias("m")]).unwrap();
            named(both, col("k"), col("country"))
        }
    };
    let honest = "SELECT country, count(*) FROM person p FULL JOIN (SELECT id FROM mail GROUP BY id) m ON p.id = m.id GROUP BY country";
    assert!(compile(honest).is_ok(), "whichever of the two is there");
    assert!(!is_proven(joined(|| col("person.id"))), "one of the two");
}

#[test]
fn shapes_without_a_private_form_are_refused() {
    refused("SELECT count(*) FROM person a JOIN person b ON a.boss = b.id", "0A000");
    refused("SELECT count(*) FROM person a JOIN week b ON a.id > b.id", "0A000");
    refused("SELECT count(*) FROM (SELECT * FROM week LIMIT 5) t", "0A000");
    refused("SELECT count(*) FROM calendar c LEFT JOIN week w ON c.week = w.week", "0A000");
    refused("SELECT count(*) FROM person WHERE country IN (SELECT country FROM person)", "0A000");
    refused("SELECT array_agg(hours) FROM week", "0A000");
    refused("SELECT sum(week) FROM week", "22023");
    refused("SELECT sum(clamp(week, 9, 1)) FROM week", "22023");
    refused("SELECT count(*) FROM person WHERE random() < 0.5", "42883");
    refused("SELECT count(*) FROM nobody", "42P01");
    refused("SELECT count(shoe) FROM person", "42703");
}

/// The engine merges equal keys; the release has them once.
#[test]
fn a_group_key_may_be_there_twice() {
    for (sql, keys) in [
        ("SELECT a, b, count(*) FROM (SELECT country AS a, country AS b FROM person) t GROUP BY a, b", "[__k0]"),
        ("SELECT b, a, avg(h) FROM (SELECT week AS a, week AS b, hours AS h FROM week) t GROUP BY b, a", "[__k0]"),
        (
            "SELECT a, b, c, sum(h) FROM (SELECT week % 3 AS a, week AS b, week % 3 AS c, hours AS h FROM week) t GROUP BY a, b, c",
            "[__k0, __k1]",
        ),
        (
            "SELECT a, b, count(*) FROM (SELECT id, country AS a, country AS b FROM person) t JOIN week USING (id) GROUP BY a, b",
            "[__k0]",
        ),
        (
            "SELECT a, b, count(*) FROM (SELECT id, country AS a, country AS b FROM person) t GROUP BY ROLLUP (a, b)",
            "[__k0]",
        ),
        // Not the same value: one of each side, or of two rows.
        (
            "SELECT v.week, w.week, count(*) FROM week v JOIN week w ON v.id = w.id AND v.week = w.week + 1 GROUP BY 1, 2",
            "[__k0, __k1]",
        ),
        ("SELECT a, b, count(*) FROM (SELECT week AS a, week % 7 AS b FROM week) t GROUP BY a, b", "[__k0, __k1]"),
    ] {
        check(sql, &[&format!("keys={keys}")]);
    }
    answered(&[
        "SELECT a, b, count(*) FROM (SELECT week % 3 AS a, week % 3 + 0 AS b FROM week) t GROUP BY a, b",
        "SELECT a, b, count(*) FROM (SELECT week > 5 AS a, NOT week <= 5 AS b FROM week) t GROUP BY a, b",
        "SELECT a, b, c, count(*) FROM (SELECT 1 AS a, 1 AS b, country AS c FROM person) t GROUP BY a, b, c",
        "SELECT a, b, count(*) FROM (SELECT country AS a, upper(country) AS b FROM person) t GROUP BY a, b",
        "SELECT a, b, count(*) FROM (SELECT country AS a, country AS b FROM person UNION ALL SELECT country AS a, country AS b FROM person) t GROUP BY a, b",
        "SELECT DISTINCT a, b FROM (SELECT country AS a, country AS b FROM person) t",
        "SELECT a, b, stddev(n), dp_stddev(sum(n)) FROM (SELECT a, b, id, count(*) AS n FROM (SELECT id, week AS a, week AS b FROM week) s GROUP BY id, a, b) t GROUP BY a, b",
    ]);
}
