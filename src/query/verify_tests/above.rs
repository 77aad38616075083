//! What stands on the releases, spoiled: anything there that reads rows of persons, or what was not released.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Column;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, exists, in_subquery, lit, scalar_subquery};
use paravent_udfs::{BoundGroups, Release, dp_persons, unreleased_field};

use super::hand::{Unknown, protected, public, released, scan_as, shape};
use super::{Bad, COUNTRY, WEEKS, bad};
use crate::query::{Context, SourceKind};

const RAW: &str = "a protected table above the releases";

/// One row of one raw value.
fn largest(context: &Context) -> Arc<LogicalPlan> {
    let rows = protected(context, "week").aggregate(Vec::<Expr>::new(), vec![max(col("hours"))]);
    Arc::new(rows.unwrap().build().unwrap())
}

pub(super) fn cases() -> Vec<Bad> {
    let mut cases = tables();
    cases.extend(subqueries());
    cases.extend(operators());
    cases
}

fn tables() -> Vec<Bad> {
    vec![
        bad("a raw table in place of the answer", COUNTRY, RAW, |context, private| {
            private.shape = protected(context, "week").build().unwrap();
        }),
        bad("a raw column beside the answer", COUNTRY, RAW, |context, private| {
            shape(private, |plan| plan.cross_join(protected(context, "mail").build().unwrap()).unwrap());
        }),
        bad("a raw table joined on an attribute", COUNTRY, RAW, |context, private| {
            let raw = protected(context, "person").build().unwrap();
            shape(private, |plan| {
                let key = (vec![Column::from_name("country")], vec![Column::from_qualified_name("person.country")]);
                plan.alias("a").unwrap().join(raw, datafusion::common::JoinType::LeftSemi, key, None).unwrap()
            });
        }),
        bad("raw rows behind the answer's", "SELECT count(*) FROM person", RAW, |context, private| {
            let raw = protected(context, "mail").project(vec![col("size")]).unwrap().build().unwrap();
            shape(private, |plan| plan.union(raw).unwrap());
        }),
        bad("a raw table that calls itself public", COUNTRY, "not public passes for one", |context, private| {
            private.shape = scan_as(context, "week", "week", SourceKind::Public("week".to_owned())).build().unwrap();
        }),
        bad("a table that nobody knows", COUNTRY, "not public passes for one", |context, private| {
            private.shape = scan_as(context, "week", "x", SourceKind::Public("x".to_owned())).build().unwrap();
        }),
        bad("a source of another kind", COUNTRY, RAW, |context, private| {
            let table = MemTable::try_new(context.tables["week"].schema.clone(), vec![vec![]]).unwrap();
            let scan = LogicalPlanBuilder::scan("week", provider_as_source(Arc::new(table)), None);
            private.shape = scan.unwrap().build().unwrap();
        }),
        bad("a release that is not there", COUNTRY, RAW, |_, private| {
            let schema = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
            private.shape = released(1, schema).build().unwrap();
        }),
        bad("no release at all", COUNTRY, RAW, |_, private| private.releases.clear()),
        bad("an exact value for a released one", COUNTRY, "an unreleased value above", |_, private| {
            private.shape = released(0, Schema::new(vec![unreleased_field("x", 2)])).build().unwrap();
        }),
    ]
}

fn subqueries() -> Vec<Bad> {
    vec![
        bad("a filter that reads raw data", COUNTRY, RAW, |context, private| {
            let raw = scalar_subquery(largest(context));
            shape(private, |plan| plan.filter(raw.gt(lit(3.0))).unwrap());
        }),
        bad("a column that is a raw value", COUNTRY, RAW, |context, private| {
            let raw = scalar_subquery(largest(context)).alias("raw");
            shape(private, |plan| plan.project(vec![col("country"), raw]).unwrap());
        }),
        bad("rows that are there where raw rows are", COUNTRY, RAW, |context, private| {
            let raw = protected(context, "week").filter(col("hours").gt(lit(60))).unwrap().build().unwrap();
            shape(private, |plan| plan.filter(exists(Arc::new(raw))).unwrap());
        }),
        bad("names looked up among raw ones", COUNTRY, RAW, |context, private| {
            let raw = protected(context, "person").project(vec![col("person.country")]).unwrap().build().unwrap();
            shape(private, |plan| plan.filter(in_subquery(col("country"), Arc::new(raw))).unwrap());
        }),
        bad("an order by a raw value", COUNTRY, RAW, |context, private| {
            let raw = scalar_subquery(largest(context)).sort(true, false);
            shape(private, |plan| plan.sort(vec![raw]).unwrap());
        }),
        bad("as many rows as a raw value says", COUNTRY, "", |context, private| {
            let raw = scalar_subquery(largest(context));
            shape(private, |plan| plan.limit_by_expr(None, Some(raw)).unwrap());
        }),
        bad("a public table's filter that reads raw data", COUNTRY, RAW, |context, private| {
            let raw = scalar_subquery(largest(context));
            private.shape = public(context, "calendar").filter(lit(3.0).lt(raw)).unwrap().build().unwrap();
        }),
    ]
}

fn operators() -> Vec<Bad> {
    vec![
        bad("states made above a release", WEEKS, "an unreleased value above", |_, private| {
            shape(private, |plan| plan.aggregate(Vec::<Expr>::new(), vec![dp_persons(lit(true))]).unwrap());
        }),
        bad("an operator that nobody knows, above", COUNTRY, "not allowed above", |_, private| {
            private.shape = Unknown::over(private.shape.clone());
        }),
        bad("groups bounded above a release", COUNTRY, "not allowed above", |_, private| {
            let person = Expr::Column(Column::from_name("country"));
            private.shape = BoundGroups::try_new(private.shape.clone(), person, 1).unwrap().into_plan();
        }),
        bad("a release above the releases", COUNTRY, "", |_, private| {
            let below = crate::query::verify::root(&private.releases[0].plan).unwrap().input().clone();
            private.shape = Release::try_new(below, private.releases[0].spec.clone()).unwrap().into_plan();
        }),
        bad("a plan that explains itself", COUNTRY, "not allowed above", |_, private| {
            shape(private, |plan| plan.explain(false, true).unwrap());
        }),
    ]
}
