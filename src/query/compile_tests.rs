//! Queries compiled without a server: what they become, what the verifier says of plans that were tampered with.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use paravent_udfs::{Release, ReleaseSpec, Rho};

pub(crate) use super::company::{LAPLACE, context};
use super::optimise::tests::assert_as_the_engine;
use super::private::{Private, ReleasePlan};
use super::statement::Statement;
use super::{Context, Source, SourceKind, Verified, parse, plan_lines};
use crate::error::Result;

pub(crate) fn private(sql: &str) -> Result<(Context, Private)> {
    let context = context(sql);
    let private = private_in(&context, sql)?;
    Ok((context, private))
}

pub(super) fn private_in(context: &Context, sql: &str) -> Result<Private> {
    let Statement::Query(query) = parse::parse(sql)?.pop().unwrap().statement else { panic!("not a query") };
    let resolved = super::resolve(context, &query, &[])?;
    super::rewrite(context, super::check(context, resolved)?)
}

pub(crate) fn compile_in(context: &Context, sql: &str) -> Result<Verified> {
    super::verify(context, private_in(context, sql)?)
}

/// What a test names, we optimise as the engine does.
pub(crate) fn compile(sql: &str) -> Result<Verified> {
    let (context, private) = private(sql)?;
    assert_as_the_engine(&context, &private, sql);
    super::verify(&context, private)
}

/// Every word stands in the plan, in this order.
pub(super) fn check(sql: &str, words: &[&str]) {
    let plan = plan_lines(&compile(sql).unwrap_or_else(|error| panic!("{error}: {sql}"))).join("\n");
    let mut rest = plan.as_str();
    for word in words {
        match rest.find(word) {
            Some(at) => rest = &rest[at + word.len()..],
            None => panic!("no {word} (in its place) in\n{plan}"),
        }
    }
}

pub(super) fn refused(sql: &str, sqlstate: &str) {
    match compile(sql) {
        Ok(verified) => panic!("{sql} became\n{}", plan_lines(&verified).join("\n")),
        Err(error) => assert_eq!(error.sqlstate.code(), sqlstate, "{sql}: {error}"),
    }
}

#[test]
fn a_property_of_the_person_needs_no_bound_on_groups() {
    let sql = "SELECT country, count(*), avg(hours) FROM person JOIN week USING (id) GROUP BY country";
    check(sql, &["Release: keys=[__k0]", "dp_persons", "dp_count", "dp_avg", "sum(", "dp_lattice", "TableScan"]);
    let plan = plan_lines(&compile(sql).unwrap()).join("\n");
    assert!(!plan.contains("BoundGroups"), "{plan}");
}

#[test]
fn a_key_proves_one_row_a_group_and_the_rest_is_bounded() {
    let sql = "SELECT week, sum(hours) FROM week GROUP BY week";
    check(sql, &["Release", "dp_sum(__s0, __c0, Int64(1)", "BoundGroups: person=__u, max_groups=53"]);
    assert!(!plan_lines(&compile(sql).unwrap()).join("\n").contains("sum(__x0)"), "no inner aggregate");
}

#[test]
fn declared_values_bound_the_groups_and_are_enforced() {
    let sql = "SELECT kind, count(*) FROM chat GROUP BY kind";
    check(sql, &["Release: keys=[__k0]", "BoundGroups: person=__u, max_groups=3", "CASE WHEN chat.kind", "TableScan"]);
    // Two values outside the domain are one group: the key of the files is none any more.
    check("SELECT kind, sum(n) FROM chat GROUP BY kind", &["dp_sum(__s0, __c0, Int64(7)", "groupBy=[[__k0, __u]]"]);
    check("SELECT upper(kind), count(*) FROM chat GROUP BY 1", &["max_groups=7"]);
}

#[test]
fn rows_without_a_key_are_aggregated_by_person_first() {
    check(
        "SELECT sum(size) FROM mail",
        &["Release: keys=[]", "dp_sum(__s0, __c0, Int64(100), Int64(1000))", "groupBy=[[__u", "dp_lattice"],
    );
}

#[test]
fn metrics_per_person_are_ordinary_subqueries() {
    let sql = "SELECT country, avg(n) FROM (SELECT id, count(*) AS n FROM mail GROUP BY id) m JOIN person USING (id) GROUP BY country";
    check(sql, &["Release", "dp_avg", "Aggregate: groupBy=[[mail.id"]);
}

#[test]
fn joins_are_found_wherever_they_are_written() {
    for from in [
        "person p JOIN week w ON p.id = w.id",
        "person p, week w WHERE p.id = w.id",
        "person p JOIN week w ON w.id = p.id AND w.week > 3",
    ] {
        check(&format!("SELECT country, avg(hours) FROM {from} GROUP BY country"), &["Release", "Inner Join"]);
    }
}

#[test]
fn a_predicate_on_a_measure_is_compared_with_its_group() {
    check("SELECT count(DISTINCT id) FROM week WHERE hours > 60", &["dp_persons(__p)", "dp_persons(Boolean(true))"]);
    let plan = plan_lines(&compile("SELECT count(DISTINCT id) FROM week WHERE week > 20").unwrap()).join("\n");
    assert!(plan.contains("Filter: week.week >") && !plan.contains("__p"), "{plan}");
}

#[test]
fn expressions_over_persons_are_total() {
    check("SELECT avg(clamp(hours / week + cast('7' AS int), 0, 9)) FROM week", &["total_add", "total_div"]);
    check("SELECT count(*) FROM person WHERE date_trunc('month', country::timestamp) IS NULL", &["total_cast"]);
}

#[test]
fn what_names_or_singles_out_a_person_is_refused() {
    for sql in [
        "SELECT * FROM person",
        "SELECT country FROM person ORDER BY 1",
        "SELECT id, count(*) FROM mail GROUP BY id",
        "SELECT max(hours) OVER () FROM week",
        "SELECT count(*) FROM person WHERE id = 7",
        "SELECT count(*) FROM person WHERE id IN (7, 8)",
        "SELECT count(*) FROM person WHERE id::text LIKE '7%'",
        "SELECT count(*) FROM person WHERE coalesce(id, 0) = 7",
        "SELECT boss, count(*) FROM person GROUP BY boss",
        "SELECT DISTINCT boss FROM person",
        "SELECT avg(id) FROM person",
        "SELECT count(*) FROM person JOIN (VALUES (7)) AS v (id) ON v.id = person.id",
        "SELECT country FROM person UNION ALL SELECT id::text FROM person",
    ] {
        let error = compile(sql).err().unwrap_or_else(|| panic!("{sql} was compiled"));
        assert!(["42501", "0A000"].contains(&error.sqlstate.code()), "{sql}: {error}");
        assert!(error.hint.is_some() || error.detail.is_some(), "{sql}: {error:?}");
    }
}

#[test]
fn a_refusal_points_at_its_cause() {
    let sql = "SELECT count(*) FROM person WHERE boss = 7";
    let error = compile(sql).err().unwrap();
    assert_eq!(error.position, Some(sql.find("boss").unwrap() + 1), "{error:?}");
}

#[test]
fn a_statement_pays_epsilon_squared_over_two_however_much_it_asks() {
    for sql in [
        "SELECT count(*) FROM person",
        "SELECT country, count(*), share(country = 'DE') FROM person GROUP BY country",
        "SELECT a.n, b.n FROM (SELECT count(*) AS n FROM person) a, (SELECT sum(hours) AS n FROM week) b",
    ] {
        let price = compile(sql).unwrap().price(|_| true).unwrap();
        assert_eq!(price.len(), 1, "{sql}");
        let price = price["people"];
        assert!((price.rho.get() - 0.5).abs() < 1e-12 && price.delta.get() <= 1e-9 * (1.0 + 1e-12), "{sql}: {price:?}");
        assert_eq!(price.epsilon, None, "Gaussian noise has no epsilon without a delta");
        // Laplace noise: epsilon itself, and in zCDP at most what the Gaussian costs.
        let price = compile(&format!("{LAPLACE} {sql}")).unwrap().price(|_| true).unwrap()["people"];
        let epsilon = price.epsilon.unwrap().get();
        assert!((epsilon - 1.0).abs() < 1e-9 && price.rho.get() <= 0.5 * (1.0 + 1e-9), "{sql}: {price:?}");
        assert!(price.delta.get() <= 1e-9 * (1.0 + 1e-12), "{sql}: {price:?}");
    }
}

// The verifier against plans that the rewrite would never make.

pub(super) fn tampered(sql: &str, tamper: impl FnOnce(&Context, &mut Private)) -> Result<Verified> {
    let (context, mut private) = private(sql).unwrap();
    tamper(&context, &mut private);
    super::verify(&context, private)
}

pub(super) fn is_unproven(sql: &str, tamper: impl FnOnce(&Context, &mut Private)) {
    let error = tampered(sql, tamper).expect_err("the verifier let it through");
    assert_eq!(error.sqlstate.code(), "XX000");
}

pub(super) fn protected_scan(context: &Context, name: &str) -> LogicalPlan {
    let source = Source::new(SourceKind::Protected(name.to_owned()), context.tables[name].schema.clone());
    LogicalPlanBuilder::scan(name, Arc::new(source), None).unwrap().build().unwrap()
}

/// The release of `release` over another input, or with another spec.
pub(super) fn rebuilt(
    release: &mut ReleasePlan,
    input: impl FnOnce(LogicalPlan) -> LogicalPlan,
    spec: impl FnOnce(&mut ReleaseSpec),
) {
    let below = super::verify::root(&release.plan).unwrap().input().clone();
    spec(&mut release.spec);
    release.plan = Release::try_new(input(below), release.spec.clone()).unwrap().into_plan();
}

pub(super) const BY_COUNTRY: &str = "SELECT country, count(*) FROM person GROUP BY country";

#[test]
fn an_honest_plan_is_proven() {
    assert!(tampered(BY_COUNTRY, |_, _| {}).is_ok());
}

#[test]
fn a_protected_table_above_the_releases_is_found() {
    is_unproven(BY_COUNTRY, |context, private| {
        let raw = protected_scan(context, "mail");
        private.shape = LogicalPlanBuilder::from(private.shape.clone()).cross_join(raw).unwrap().build().unwrap();
    });
    is_unproven(BY_COUNTRY, |context, private| private.shape = protected_scan(context, "week"));
    is_unproven(BY_COUNTRY, |context, private| {
        let hours = LogicalPlanBuilder::from(protected_scan(context, "week"))
            .aggregate(Vec::<Expr>::new(), vec![datafusion::functions_aggregate::expr_fn::max(col("hours"))]);
        let subquery = datafusion::logical_expr::scalar_subquery(Arc::new(hours.unwrap().build().unwrap()));
        private.shape =
            LogicalPlanBuilder::from(private.shape.clone()).filter(subquery.gt(lit(3.0))).unwrap().build().unwrap();
    });
}

#[test]
fn a_release_that_is_not_there_is_found() {
    is_unproven(BY_COUNTRY, |_, private| private.releases.clear());
    is_unproven(BY_COUNTRY, |context, private| private.releases[0].plan = protected_scan(context, "person"));
}

#[test]
fn noise_below_the_price_is_found() {
    is_unproven(BY_COUNTRY, |_, private| {
        let weak = paravent_udfs::Gaussian::for_sensitivity(1, Rho::new(2.0).unwrap()).unwrap().into();
        rebuilt(&mut private.releases[0], |below| below, |spec| spec.measurements[0].noise = weak);
    });
}

#[test]
fn a_low_floor_or_threshold_is_found() {
    is_unproven(BY_COUNTRY, |_, private| rebuilt(&mut private.releases[0], |below| below, |spec| spec.floor = 9));
    is_unproven(BY_COUNTRY, |_, private| {
        private.releases[0].spec.threshold += 1;
    });
}

#[test]
fn groups_without_a_bound_are_found() {
    is_unproven("SELECT week, count(*) FROM week GROUP BY week", |_, private| {
        let without = |plan: LogicalPlan| {
            use datafusion::common::tree_node::{Transformed, TreeNode};
            plan.transform_up(|node| match &node {
                LogicalPlan::Extension(extension) if extension.node.name() == "BoundGroups" => {
                    Ok(Transformed::yes((*extension.node.inputs()[0]).clone()))
                }
                _ => Ok(Transformed::no(node)),
            })
            .unwrap()
            .data
        };
        rebuilt(&mut private.releases[0], without, |_| {});
    });
}

/// The states of `BY_COUNTRY` over other rows, given as `__k0` and whatever else.
pub(super) fn over(rows: LogicalPlan) -> impl FnOnce(LogicalPlan) -> LogicalPlan {
    move |below| {
        let LogicalPlan::Aggregate(states) = below else { panic!("no states") };
        let rows = LogicalPlanBuilder::from(rows).build().unwrap();
        LogicalPlanBuilder::from(rows)
            .aggregate(states.group_expr.clone(), states.aggr_expr.clone())
            .unwrap()
            .build()
            .unwrap()
    }
}

#[test]
fn rows_of_two_persons_are_found() {
    is_unproven(BY_COUNTRY, |context, private| {
        let join = LogicalPlanBuilder::from(protected_scan(context, "person"))
            .join(
                protected_scan(context, "week"),
                datafusion::common::JoinType::Inner,
                (vec!["person.boss"], vec!["week.id"]),
                None,
            )
            .unwrap()
            .project(vec![col("country").alias("__k0")])
            .unwrap()
            .build()
            .unwrap();
        rebuilt(&mut private.releases[0], over(join), |_| {});
    });
}

#[test]
fn an_aggregate_that_mixes_persons_is_found() {
    is_unproven(BY_COUNTRY, |context, private| {
        let mixed = LogicalPlanBuilder::from(protected_scan(context, "person"))
            .aggregate(
                vec![col("country").alias("__k0")],
                vec![datafusion::functions_aggregate::expr_fn::max(col("person.boss")).alias("m")],
            )
            .unwrap()
            .build()
            .unwrap();
        rebuilt(&mut private.releases[0], over(mixed), |_| {});
    });
}

#[test]
fn a_choice_among_persons_is_found() {
    is_unproven(BY_COUNTRY, |context, private| {
        let chosen = LogicalPlanBuilder::from(protected_scan(context, "person"))
            .sort_with_limit(vec![col("person.boss").sort(true, false)], Some(40))
            .unwrap()
            .project(vec![col("country").alias("__k0")])
            .unwrap()
            .build()
            .unwrap();
        rebuilt(&mut private.releases[0], over(chosen), |_| {});
    });
}

#[test]
fn a_release_of_nobody_is_found() {
    is_unproven(BY_COUNTRY, |_, private| {
        let nobody =
            LogicalPlanBuilder::values(vec![vec![lit("x")]]).unwrap().project(vec![col("column1").alias("__k0")]);
        rebuilt(&mut private.releases[0], over(nobody.unwrap().build().unwrap()), |_| {});
    });
}

#[test]
fn a_released_threshold_can_be_joined_and_nothing_is_released_twice() {
    let sql = "WITH m AS (SELECT avg(hours) AS a FROM week) \
               SELECT country, count(DISTINCT id) FROM week JOIN person USING (id) CROSS JOIN m WHERE hours > m.a GROUP BY country";
    check(sql, &["Release 0", "Release 1", "TableScan: released_0"]);
    let twice = "WITH p AS (SELECT country, count(*) AS n FROM person GROUP BY 1) SELECT a.n, b.n FROM p a JOIN p b USING (country)";
    assert_eq!(compile(twice).unwrap().releases().len(), 1);
}

#[test]
fn a_question_about_nothing_is_answered() {
    check("SELECT count(*) FROM week WHERE 1 = 0", &["Release", "EmptyRelation"]);
}

/// Where a join could repeat a person's rows, they are brought together before they are summed.
#[test]
fn rows_that_a_join_may_repeat_are_aggregated_by_person_first() {
    let once = "SELECT season, week, sum(hours) FROM week JOIN calendar USING (week) GROUP BY season, week";
    assert!(!plan_lines(&compile(once).unwrap()).join("\n").contains("sum(__x0)"), "the calendar's key proves one row");
    for table in [
        "(SELECT week, season FROM calendar GROUP BY ROLLUP (week, season)) c",
        "(SELECT week, season FROM calendar UNION ALL SELECT week, season FROM calendar) c",
        "(SELECT CAST(week / 3.0 AS INT) AS week, season FROM calendar) c",
        "(SELECT CAST(CAST(week AS SMALLINT) AS INT) AS week, season FROM calendar) c",
        "(SELECT a.week, b.season FROM calendar a CROSS JOIN calendar b) c",
    ] {
        check(
            &format!("SELECT season, week, sum(hours) FROM week JOIN {table} USING (week) GROUP BY season, week"),
            &["sum(__x0)"],
        );
    }
    check(
        "SELECT week.week, sum(hours) FROM week JOIN calendar c ON CAST(c.week AS SMALLINT) = week.week GROUP BY week.week",
        &["sum(__x0)"],
    );
    check("SELECT a.week, sum(a.hours) FROM week a JOIN mail b USING (id) GROUP BY a.week", &["sum(__x0)"]);
    check("SELECT a.week, sum(a.hours) FROM week a LEFT JOIN week b ON a.id = b.id GROUP BY a.week", &["sum(__x0)"]);
}

#[test]
fn a_person_with_several_rows_in_a_group_is_found() {
    is_unproven("SELECT sum(size) FROM mail", |context, private| {
        let rows = LogicalPlanBuilder::from(protected_scan(context, "mail"))
            .project(vec![col("id").alias("__u"), col("size").alias("__s0"), lit(1_i64).alias("__c0")])
            .unwrap()
            .build()
            .unwrap();
        rebuilt(&mut private.releases[0], over(rows), |_| {});
    });
}

/// What the rewrite took from a key must not be believed without it.
#[test]
fn a_proof_without_its_key_is_found() {
    for (sql, table) in [
        ("SELECT country, count(*) FROM person GROUP BY country", "person"),
        ("SELECT country, avg(hours) FROM person JOIN week USING (id) GROUP BY country", "person"),
        ("SELECT week, sum(hours) FROM week GROUP BY week", "week"),
        ("SELECT season, week, sum(hours) FROM week JOIN calendar USING (week) GROUP BY season, week", "calendar"),
    ] {
        let (mut context, private) = private(sql).unwrap();
        context.tables.get_mut(table).unwrap().proven_keys.clear();
        assert!(super::verify(&context, private).is_err(), "{sql} without the key of {table}");
    }
}

/// Two independent proofs agree on what analysts write.
#[test]
fn what_the_rewrite_makes_is_proven() {
    for sql in [
        "SELECT count(*) FROM person",
        "SELECT DISTINCT country FROM person",
        "SELECT country, week, avg(hours), count(*) FILTER (WHERE hours > 3), share(hours > 4) FROM person JOIN week USING (id) GROUP BY 1, 2",
        "SELECT upper(country), avg(hours) FROM week w LEFT JOIN person p ON w.id = p.id GROUP BY 1",
        "SELECT country, avg(hours) FROM person p LEFT JOIN week w ON w.id = p.id GROUP BY 1",
        "SELECT country, avg(hours) FROM person p RIGHT JOIN week w ON w.id = p.id GROUP BY 1",
        "SELECT country, avg(hours) FROM person p FULL JOIN week w ON w.id = p.id GROUP BY 1",
        "SELECT country, avg(n) FROM person p FULL JOIN (SELECT id, count(*) AS n FROM mail GROUP BY id) m ON m.id = p.id GROUP BY 1",
        "SELECT season, avg(hours) FROM week JOIN calendar USING (week) GROUP BY 1",
        "SELECT season, count(*) FROM week LEFT JOIN calendar USING (week) GROUP BY 1",
        "SELECT n > 2, count(*) FROM (SELECT id, count(*) AS n FROM week WHERE week > 9 GROUP BY id) GROUP BY 1",
        "SELECT w, avg(h) FROM (SELECT id, week AS w, max(hours) AS h FROM week GROUP BY id, week) t GROUP BY w",
        "SELECT avg(m) FROM (SELECT id, avg(h) AS m FROM (SELECT id, week, sum(hours) AS h FROM week GROUP BY id, week) a GROUP BY id) b",
        "SELECT a.week, sum(a.hours - b.hours) FROM week a JOIN week b ON a.id = b.id AND a.week = b.week + 1 GROUP BY a.week",
        "SELECT count(DISTINCT p.id) FROM person p, week w, mail m WHERE p.id = w.id AND w.id = m.id AND m.size > 3",
        "SELECT country, x.n FROM (SELECT country, count(*) AS n FROM person GROUP BY country HAVING count(*) > 20) x ORDER BY 2 DESC LIMIT 3",
        "SELECT week, n, sum(n) OVER (ORDER BY week) FROM (SELECT week, count(*) AS n FROM week GROUP BY week) t",
    ] {
        if let Err(error) = compile(sql) {
            panic!("{error}: {sql}");
        }
    }
}
