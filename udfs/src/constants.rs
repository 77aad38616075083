//! Groups that are the same for all rows are not grouped by.
//!
//! A key that the question fixed (`GROUP BY true`, what a decorrelated subquery marks its rows with) is a constant below the
//! aggregation. The engine takes its input for sorted by it and gives out what it has again and again; and each row is hashed over one
//! column more. Here the constant leaves the groups and is put beside the results. Law: equal rows.
//!
//! In: an optimised plan. Out: one with equal rows, columns and names. Must never: leave an aggregation without a group that had one: over no
//! rows that has a row, and the other has none.

use crate::bound_groups::BoundGroups;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use std::sync::Arc;

/// `plan` without constants among its groups.
pub(crate) fn without_constants(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        Ok(match &node {
            LogicalPlan::Aggregate(aggregate) => match reduced(aggregate)? {
                Some(reduced) => Transformed::yes(reduced),
                None => Transformed::no(node),
            },
            _ => Transformed::no(node),
        })
    })
    .data()
}

fn reduced(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let constants: Vec<Option<Expr>> =
        aggregate.group_expr.iter().map(|group| constant(&aggregate.input, group)).collect();
    let varying = aggregate.group_expr.iter().zip(&constants).filter(|(_, constant)| constant.is_none());
    let varying: Vec<Expr> = varying.map(|(group, _)| group.clone()).collect();
    let grouping_set = varying.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
    if varying.is_empty() || grouping_set || varying.len() == aggregate.group_expr.len() {
        return Ok(None);
    }
    let fewer = Aggregate::try_new(Arc::clone(&aggregate.input), varying, aggregate.aggr_expr.clone())?;
    let mut given = fewer.schema.iter().map(|field| Expr::Column(Column::from(field))).collect::<Vec<_>>().into_iter();
    let constants = constants.into_iter().chain(std::iter::repeat(None));
    let columns = aggregate.schema.iter().zip(constants).map(|((qualifier, field), constant)| {
        let value = constant.or_else(|| given.next());
        value.map(|value| value.alias_qualified(qualifier.cloned(), field.name()))
    });
    let columns: Option<Vec<Expr>> = columns.collect();
    let Some(columns) = columns else { return Ok(None) };
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(fewer)).project(columns)?.build().map(Some)
}

/// The literal that an expression over `input` is in every row.
fn constant(input: &LogicalPlan, expression: &Expr) -> Option<Expr> {
    let column = match expression {
        Expr::Literal(..) => return Some(expression.clone()),
        Expr::Alias(alias) => return constant(input, &alias.expr),
        Expr::Column(column) => column,
        _ => return None,
    };
    let at = input.schema().maybe_index_of_column(column)?;
    let below = |input: &LogicalPlan| constant(input, &Expr::Column(Column::from(input.schema().qualified_field(at))));
    match input {
        LogicalPlan::Projection(projection) => constant(&projection.input, projection.expr.get(at)?),
        LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
        LogicalPlan::Filter(filter) => below(&filter.input),
        LogicalPlan::Extension(extension) => below(extension.node.as_any().downcast_ref::<BoundGroups>()?.input()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    async fn rows(session: &SessionContext, plan: &LogicalPlan) -> Vec<String> {
        let physical = session.state().query_planner().create_physical_plan(plan, &session.state()).await.unwrap();
        let batches = datafusion::physical_plan::collect(physical, session.task_ctx()).await.unwrap();
        let mut lines: Vec<String> =
            pretty_format_batches(&batches).unwrap().to_string().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Constants in two steps one above the other, beside what varies, under other names, and over no rows.
    #[tokio::test]
    async fn the_same_rows_with_fewer_groups() {
        let session = SessionContext::new();
        session
            .sql("CREATE TABLE t AS SELECT v % 3 AS a, v % 7 AS b, v AS x FROM generate_series(1, 100) s(v)")
            .await
            .unwrap();
        for (question, constants) in [
            (
                "SELECT k, a, sum(s) FROM (SELECT k, a, b, sum(x) AS s FROM (SELECT a, b, x, true AS k FROM t) GROUP BY k, a, b) GROUP BY k, a",
                true,
            ),
            (
                "SELECT c, a, k, count(*) FROM (SELECT a, 'x' AS k, 3 AS c FROM t WHERE x > 1000) q GROUP BY c, a, k",
                true,
            ),
            ("SELECT a, n, max(x) FROM (SELECT a, x, 7 AS n FROM t) GROUP BY n, a", true),
            ("SELECT k, count(*) FROM (SELECT 1 AS k FROM t WHERE x > 1000) GROUP BY k", false),
            ("SELECT k, a, sum(x) FROM (SELECT 1 AS k, a, x FROM t) GROUP BY GROUPING SETS ((k, a), (k))", false),
        ] {
            // Optimised, the engine may have taken some out by itself.
            let plan = session.state().create_logical_plan(question).await.unwrap();
            let fewer = without_constants(plan.clone()).unwrap();
            assert_eq!(fewer != plan, constants, "{fewer}");
            assert_eq!(fewer.schema().field_names(), plan.schema().field_names());
            let text = fewer.display_indent().to_string();
            let groups: Vec<&str> =
                text.split("groupBy=[[").skip(1).filter_map(|rest| rest.split("]]").next()).collect();
            let constant = |group: &&str| group.split(", ").any(|name| matches!(name, "k" | "q.k" | "q.c" | "n"));
            assert!(!constants || !groups.iter().any(constant), "{text}");
            assert_eq!(rows(&session, &fewer).await, rows(&session, &plan).await, "{question}");
        }
    }
}
