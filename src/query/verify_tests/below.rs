//! Rows of persons under a release, spoiled: rows that are nobody's, somebody else's, several persons' or chosen among persons.

use datafusion::common::{Column, JoinType};
use datafusion::functions_aggregate::expr_fn::{avg, count, max, min};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, case, cast, col, exists, in_subquery, lit, out_ref_col, scalar_subquery,
};
use std::sync::Arc;

use super::hand::{Unknown, columns, on, protected, public, replace, rows, scan_as, scans};
use super::{Bad, COUNTRY, JOINED, MAIL, NESTED, WEEKS, bad};
use crate::query::private::Private;
use crate::query::{Context, SourceKind};

/// `COUNTRY` over rows of `__k0` and `__u`, made of `plan`.
fn countries(private: &mut Private, plan: LogicalPlanBuilder, key: &str, person: &str) {
    let made = columns(plan, &[(key, "__k0"), (person, "__u")]);
    rows(private, |_| made);
}

/// The scan of `name` is replaced by what is made of it.
fn over(private: &mut Private, name: &str, with: impl Fn(LogicalPlanBuilder) -> LogicalPlanBuilder) {
    replace(private, |node| scans(node, name).then(|| with(LogicalPlanBuilder::from(node.clone())).build().unwrap()));
}

fn another(context: &Context, name: &str, alias: &str) -> LogicalPlanBuilder {
    scan_as(context, name, alias, SourceKind::Protected(name.to_owned()))
}

pub(super) fn rows_without_a_person() -> Vec<Bad> {
    vec![
        bad("rows without a person's key", COUNTRY, "rows without a person", |context, private| {
            let made = columns(protected(context, "person"), &[("country", "__k0")]);
            rows(private, |_| made);
        }),
        bad("another identifier for the person's", COUNTRY, "a person that is no person key", |context, private| {
            countries(private, protected(context, "person"), "country", "boss");
        }),
        bad("a number for the person's key", COUNTRY, "a person that is no person key", |context, private| {
            let numbered = protected(context, "person").project(vec![col("country"), lit(1_i64).alias("one")]).unwrap();
            countries(private, numbered, "country", "one");
        }),
        bad("a person's key or another's", COUNTRY, "", |context, private| {
            let either = case(col("country")).when(lit("DE"), col("id")).otherwise(col("boss")).unwrap();
            let made = protected(context, "person").project(vec![col("country"), either.alias("either")]).unwrap();
            countries(private, made, "country", "either");
        }),
        bad("one person for many", COUNTRY, "a person that is no person key", |context, private| {
            let mixed = protected(context, "person").aggregate(vec![col("country")], vec![max(col("id")).alias("one")]);
            countries(private, mixed.unwrap(), "country", "one");
        }),
        bad("a person's key that is there for some", COUNTRY, "", |context, private| {
            let kind = JoinType::Left;
            let joined = on(protected(context, "person"), protected(context, "week"), kind, ["person.id", "week.id"]);
            let made = joined.aggregate(vec![col("person.country"), col("week.id")], vec![count(lit(1))]).unwrap();
            countries(private, made, "person.country", "week.id");
        }),
        bad("an identifier for a group", COUNTRY, "a group key that nobody may be shown", |context, private| {
            countries(private, protected(context, "person"), "boss", "id");
        }),
        bad("the person's key for a group", COUNTRY, "a group key that nobody may be shown", |context, private| {
            countries(private, protected(context, "person"), "id", "id");
        }),
        bad("an identifier in other words", COUNTRY, "a group key that nobody may be shown", |context, private| {
            let named = (cast(col("boss"), arrow::datatypes::DataType::Utf8)).alias("name");
            let made = protected(context, "person").project(vec![col("id"), named]).unwrap();
            countries(private, made, "name", "id");
        }),
        bad(
            "the largest of a person's identifiers",
            COUNTRY,
            "a group key that nobody may be shown",
            |context, private| {
                let made = protected(context, "person").aggregate(vec![col("id")], vec![max(col("boss")).alias("m")]);
                countries(private, made.unwrap(), "m", "id");
            },
        ),
    ]
}

pub(super) fn of_rows() -> Vec<Bad> {
    let mut cases = rows_without_a_person();
    cases.extend(rows_repeated());
    cases.extend(rows_chosen());
    cases
}

fn rows_repeated() -> Vec<Bad> {
    const SEVERAL: &str = "a person can have several rows in a group";
    vec![
        bad("rows that were not brought together", MAIL, SEVERAL, |context, private| {
            let made = protected(context, "mail").project(vec![
                col("id").alias("__u"),
                col("size").alias("__s0"),
                lit(1_i64).alias("__c0"),
                lit(1_i64).alias("__c1"),
            ]);
            let made = made.unwrap().build().unwrap();
            rows(private, |_| made);
        }),
        bad("a person many times", COUNTRY, SEVERAL, |context, private| {
            let kind = JoinType::Inner;
            let joined = on(protected(context, "person"), protected(context, "mail"), kind, ["person.id", "mail.id"]);
            countries(private, joined, "person.country", "person.id");
        }),
        bad("rows repeated by a public table", COUNTRY, SEVERAL, |context, private| {
            let calendar = public(context, "calendar").build().unwrap();
            countries(private, protected(context, "person").cross_join(calendar).unwrap(), "country", "id");
        }),
        bad("a key that was not found to hold", COUNTRY, "", |context, _| {
            context.tables.get_mut("person").unwrap().proven_keys.clear();
        }),
        bad("part of a key for the whole", WEEKS, "", |context, _| {
            let week = context.tables.get_mut("week").unwrap();
            week.proven_keys[0].columns.push("hours".to_owned());
        }),
    ]
}

fn rows_chosen() -> Vec<Bad> {
    const LIMIT: &str = "a limit over rows of persons";
    vec![
        bad("the first persons", COUNTRY, LIMIT, |_, private| {
            over(private, "person", |scan| scan.limit(0, Some(40)).unwrap());
        }),
        bad("all but the first persons", COUNTRY, LIMIT, |_, private| {
            over(private, "person", |scan| scan.limit(3, None).unwrap());
        }),
        bad("the persons with the largest numbers", COUNTRY, LIMIT, |_, private| {
            over(private, "person", |scan| {
                scan.sort_with_limit(vec![col("boss").sort(false, false)], Some(40)).unwrap()
            });
        }),
        bad("a scan that ends early", COUNTRY, LIMIT, |_, private| {
            replace(private, |node| match node {
                LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                    let mut scan = scan.clone();
                    scan.fetch = Some(40);
                    Some(LogicalPlan::TableScan(scan))
                }
                _ => None,
            });
        }),
        bad("persons compared with all others", COUNTRY, "", |_, private| {
            over(private, "person", |scan| {
                let ranked = scan.window(vec![row_number().alias("rank")]).unwrap();
                ranked.filter(col("rank").lt_eq(lit(40_u64))).unwrap()
            });
        }),
        bad("one person of each country", COUNTRY, "", |_, private| {
            over(private, "person", |scan| {
                scan.distinct_on(vec![col("country")], vec![col("id"), col("boss"), col("country")], None)
                    .unwrap()
                    .alias("person")
                    .unwrap()
            });
        }),
        bad("persons picked by others' hours", COUNTRY, "a subquery below a release", |context, private| {
            let mean = protected(context, "week").aggregate(Vec::<Expr>::new(), vec![avg(col("hours"))]).unwrap();
            let mean = scalar_subquery(Arc::new(mean.build().unwrap()));
            over(private, "person", |scan| scan.filter(mean.clone().gt(lit(40.0))).unwrap());
        }),
        bad("persons picked by others' choices", COUNTRY, "a join of two persons", |context, private| {
            let bosses = another(context, "person", "q").project(vec![col("q.boss")]).unwrap().build().unwrap();
            over(private, "person", |scan| scan.filter(in_subquery(col("id"), Arc::new(bosses.clone()))).unwrap());
        }),
        bad("persons picked by others' existence", COUNTRY, "", |context, private| {
            let same = col("q.country").eq(out_ref_col(arrow::datatypes::DataType::Utf8, "person.country"));
            let others = another(context, "person", "q").filter(same).unwrap().build().unwrap();
            over(private, "person", |scan| scan.filter(exists(Arc::new(others.clone()))).unwrap());
        }),
        bad("an operator that nobody knows, below", COUNTRY, "an unknown operator below a release", |_, private| {
            replace(private, |node| scans(node, "person").then(|| Unknown::over(node.clone())));
        }),
        bad("a metric of everybody", NESTED, "", |context, private| {
            replace(private, |node| match node {
                LogicalPlan::Aggregate(metric) if metric.group_expr.iter().any(|key| key.to_string() == "mail.id") => {
                    let all = protected(context, "mail")
                        .aggregate(Vec::<Expr>::new(), vec![min(col("id")).alias("id"), count(lit(1)).alias("n")]);
                    let names: Vec<Expr> = metric.schema.columns().into_iter().map(Expr::Column).collect();
                    let all = all.unwrap();
                    let from =
                        |i: usize| if i == 0 || names.len() > 2 && i == names.len() - 1 { col("id") } else { col("n") };
                    let renamed = names.iter().enumerate().map(|(i, name)| match name {
                        Expr::Column(c) => from(i).alias_qualified(c.relation.clone(), c.name.clone()),
                        _ => unreachable!(),
                    });
                    Some(all.project(renamed.collect::<Vec<_>>()).unwrap().build().unwrap())
                }
                _ => None,
            });
        }),
    ]
}

/// `JOINED` with its join replaced.
fn joined(private: &mut Private, with: impl Fn(LogicalPlanBuilder, LogicalPlan) -> LogicalPlanBuilder) {
    replace(private, |node| match node {
        LogicalPlan::Join(join) => {
            let (left, right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
            Some(with(LogicalPlanBuilder::from(left), right).build().unwrap())
        }
        _ => None,
    });
}

fn on_expressions(private: &mut Private, left: Expr, right: Expr) {
    joined(private, |l, r| {
        l.join_with_expr_keys(r, JoinType::Inner, (vec![left.clone()], vec![right.clone()]), None).unwrap()
    });
}

pub(super) fn of_joins() -> Vec<Bad> {
    const TWO_PERSONS: &str = "a join of two persons";
    vec![
        bad("everybody with everybody", JOINED, TWO_PERSONS, |_, private| {
            joined(private, |left, right| left.cross_join(right).unwrap());
        }),
        bad("a join on another identifier", JOINED, TWO_PERSONS, |_, private| {
            on_expressions(private, col("person.boss"), col("week.id"));
        }),
        bad("a join on keys brought together", JOINED, TWO_PERSONS, |_, private| {
            let narrow = |key: &str| cast(col(key), arrow::datatypes::DataType::Int16);
            on_expressions(private, narrow("person.id"), narrow("week.id"));
        }),
        bad("a join on half a key", JOINED, TWO_PERSONS, |_, private| {
            on_expressions(private, col("person.id") / lit(2_i64), col("week.id") / lit(2_i64));
        }),
        bad("a join on the key or on anything", JOINED, TWO_PERSONS, |_, private| {
            joined(private, |left, right| {
                let loose = col("person.id").eq(col("week.id")).or(col("week.week").gt(lit(50)));
                left.join_on(right, JoinType::Inner, vec![loose]).unwrap()
            });
        }),
        bad("a join on everything but the key", JOINED, TWO_PERSONS, |_, private| {
            joined(private, |left, right| {
                left.join_on(right, JoinType::Inner, vec![col("person.id").not_eq(col("week.id"))]).unwrap()
            });
        }),
        bad("a join on the key or on another", JOINED, "", |_, private| {
            joined(private, |left, right| {
                let on = vec![col("person.id").eq(col("week.id")).or(col("person.boss").eq(col("week.id")))];
                left.join_on(right, JoinType::Inner, on).unwrap()
            });
        }),
        bad("weeks that are nobody's", WEEKS, "", |_, private| {
            replace(private, |node| {
                let context = super::super::compile_tests::context("");
                scans(node, "week").then(|| {
                    let calendar = public(&context, "calendar");
                    let week = LogicalPlanBuilder::from(node.clone());
                    let joined = on(calendar, week, JoinType::Left, ["calendar.week", "week.week"]);
                    let names = node.schema().columns();
                    joined.project(names.into_iter().map(Expr::Column)).unwrap().build().unwrap()
                })
            });
        }),
        bad("everything of both sides", WEEKS, "", |_, private| {
            replace(private, |node| {
                let context = super::super::compile_tests::context("");
                scans(node, "week").then(|| {
                    let week = LogicalPlanBuilder::from(node.clone());
                    let joined = on(week, public(&context, "calendar"), JoinType::Full, ["week.week", "calendar.week"]);
                    joined.project(node.schema().columns().into_iter().map(Expr::Column)).unwrap().build().unwrap()
                })
            });
        }),
        bad("a metric of keys that a case mixes", JOINED, "", |context, private| {
            let kind = JoinType::Full;
            let both = on(protected(context, "person"), protected(context, "week"), kind, ["person.id", "week.id"]);
            let whose =
                case(col("person.country")).when(lit("DE"), col("person.id")).otherwise(col("week.id")).unwrap();
            let metric = both.project(vec![whose.alias("whose"), col("week.hours")]).unwrap();
            let metric = metric.aggregate(vec![col("whose")], vec![max(col("hours")).alias("m")]).unwrap();
            let metric = metric.alias("metric").unwrap();
            let made = on(another(context, "person", "p"), metric, JoinType::Inner, ["p.id", "metric.whose"]);
            let made = made.project(vec![
                col("p.country").alias("__k0"),
                col("p.id").alias("__u"),
                lit(1_i64).alias("__s0"),
                lit(1_i64).alias("__c0"),
                lit(1_i64).alias("__c1"),
            ]);
            let made = made.unwrap().build().unwrap();
            rows(private, |_| made);
        }),
    ]
}

/// Keys of text that are read as numbers: '1' and '01' are two persons, and so are 'a' and 'b'.
#[test]
fn a_key_that_is_read_as_a_number_is_no_key() {
    let (mut context, mut private) = super::private(JOINED).unwrap();
    for name in ["person", "week"] {
        let known = context.tables.get_mut(name).unwrap();
        let fields = known.schema.fields().iter().map(|field| match field.name().as_str() {
            "id" => Arc::new(field.as_ref().clone().with_data_type(arrow::datatypes::DataType::Utf8)),
            _ => field.clone(),
        });
        known.schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    }
    let number = |key: &str| {
        let to = Arc::new(arrow::datatypes::Field::new("", arrow::datatypes::DataType::Int64, true));
        Expr::TryCast(datafusion::logical_expr::TryCast::new_from_field(Box::new(col(key)), to))
    };
    let both = protected(&context, "person")
        .join_with_expr_keys(
            protected(&context, "week").build().unwrap(),
            JoinType::Inner,
            (vec![number("person.id")], vec![number("week.id")]),
            None,
        )
        .unwrap();
    let made = both.aggregate(
        vec![col("person.country").alias("__k0"), col("person.id").alias("__u")],
        vec![
            count(col("week.hours")).alias("__s0"),
            count(col("week.hours")).alias("__c0"),
            count(col("week.hours")).alias("__c1"),
        ],
    );
    let made = made.unwrap().build().unwrap();
    rows(&mut private, |_| made);
    assert!(super::verify(&context, private).is_err());
}

#[test]
fn columns_are_where_they_are_said_to_be() {
    let context = super::super::compile_tests::context("");
    let names = protected(&context, "person").schema().columns();
    assert_eq!(names[0], Column::from_qualified_name("person.id"));
}
