//! Changing a private plan by hand.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchemaRef, JoinType};
use datafusion::logical_expr::{
    Aggregate, Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, col,
};
use paravent_udfs::{Release, ReleaseSpec};

use crate::query::private::Private;
use crate::query::{Context, Source, SourceKind};

/// A scan of `name` under the alias `alias`, of whatever it says it is.
pub(super) fn scan_as(context: &Context, name: &str, alias: &str, kind: SourceKind) -> LogicalPlanBuilder {
    let source = Source::new(kind, context.tables[name].schema.clone());
    LogicalPlanBuilder::scan(alias, Arc::new(source), None).unwrap()
}

pub(super) fn protected(context: &Context, name: &str) -> LogicalPlanBuilder {
    scan_as(context, name, name, SourceKind::Protected(name.to_owned()))
}

pub(super) fn public(context: &Context, name: &str) -> LogicalPlanBuilder {
    scan_as(context, name, name, SourceKind::Public(name.to_owned()))
}

/// A scan of the n-th release, which has the schema given.
pub(super) fn released(number: usize, schema: Schema) -> LogicalPlanBuilder {
    let source = Source::new(SourceKind::Released(number), Arc::new(schema));
    LogicalPlanBuilder::scan(format!("released_{number}"), Arc::new(source), None).unwrap()
}

pub(super) fn on(
    left: LogicalPlanBuilder,
    right: LogicalPlanBuilder,
    kind: JoinType,
    keys: [&str; 2],
) -> LogicalPlanBuilder {
    let named = |key: &str| vec![Column::from_qualified_name(key)];
    left.join(right.build().unwrap(), kind, (named(keys[0]), named(keys[1])), None).unwrap()
}

pub(super) fn columns(plan: LogicalPlanBuilder, named: &[(&str, &str)]) -> LogicalPlan {
    let named = named.iter().map(|(from, to)| col(*from).alias(*to));
    plan.project(named.collect::<Vec<_>>()).unwrap().build().unwrap()
}

pub(super) fn shape(private: &mut Private, change: impl FnOnce(LogicalPlanBuilder) -> LogicalPlanBuilder) {
    private.shape = change(LogicalPlanBuilder::from(private.shape.clone())).build().unwrap();
}

/// What stands directly under release `number`, changed.
pub(super) fn input(private: &mut Private, number: usize, change: impl FnOnce(LogicalPlan) -> LogicalPlan) {
    let release = &mut private.releases[number];
    let below = crate::query::verify::root(&release.plan).unwrap().input().clone();
    release.plan = Release::try_new(change(below), release.spec.clone()).unwrap().into_plan();
}

/// The spec of the first release, changed, in the plan and beside it.
pub(super) fn spec(private: &mut Private, change: impl FnOnce(&mut ReleaseSpec)) {
    change(&mut private.releases[0].spec);
    input(private, 0, |below| below);
}

pub(super) fn states(below: LogicalPlan) -> Aggregate {
    match below {
        LogicalPlan::Aggregate(states) => states,
        other => panic!("no states: {other}"),
    }
}

/// The states over other keys, calls or rows.
pub(super) fn restate(private: &mut Private, change: impl FnOnce(&mut Aggregate)) {
    input(private, 0, |below| {
        let mut states = states(below);
        change(&mut states);
        LogicalPlan::Aggregate(Aggregate::try_new(states.input, states.group_expr, states.aggr_expr).unwrap())
    });
}

/// The rows under the states, changed.
pub(super) fn rows(private: &mut Private, change: impl FnOnce(LogicalPlan) -> LogicalPlan) {
    restate(private, |states| states.input = Arc::new(change(states.input.as_ref().clone())));
}

/// Every node of the first release for which there is another one is replaced by it.
pub(super) fn replace(private: &mut Private, with: impl Fn(&LogicalPlan) -> Option<LogicalPlan>) {
    input(private, 0, |below| replaced(below, &with));
}

pub(super) fn replaced(plan: LogicalPlan, with: &impl Fn(&LogicalPlan) -> Option<LogicalPlan>) -> LogicalPlan {
    let changed = plan.transform_up(|node| {
        let node = node.recompute_schema()?;
        Ok(match with(&node) {
            Some(other) => Transformed::yes(other),
            None => Transformed::no(node),
        })
    });
    changed.unwrap().data
}

/// Does the node scan this table?
pub(super) fn scans(node: &LogicalPlan, name: &str) -> bool {
    matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == name)
}

/// An operator that nobody knows: hands its rows on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Unknown(LogicalPlan);

impl Unknown {
    pub(super) fn over(plan: LogicalPlan) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self(plan)) })
    }
}

impl PartialOrd for Unknown {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Unknown {
    fn name(&self) -> &str {
        "Unknown"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.0]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.0.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Unknown")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> datafusion::common::Result<Self> {
        Ok(Self(inputs.remove(0)))
    }
}
