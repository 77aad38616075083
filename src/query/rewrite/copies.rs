//! Group keys that are the same value twice: the release has them once, and the copies stand above it.
//!
//! Two keys are the same where one expression over the same columns of the same node below gives both. The engine's optimiser merges
//! such keys, and a release that lost a key would no longer be what was priced. Must never: take two values for one that may differ.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};

use super::{named_as, project};
use crate::error::{Error, Result};
use crate::query::expression::Derived;
use crate::query::facts::{Node, Public, PublicColumn, Rows, built};

/// For each key, the first one that it equals, itself perhaps.
pub(super) fn firsts(node: &Node, keys: &[Derived]) -> Result<Vec<usize>> {
    let traced: Vec<Expr> =
        keys.iter().map(|key| built(traced(&key.expression, &node.plan, "of"))).collect::<Result<_>>()?;
    Ok((0..keys.len()).map(|i| traced.iter().position(|other| *other == traced[i]).unwrap_or(i)).collect())
}

/// The expression over the columns of the nodes below that make them; each such column is named by its way down from the root.
fn traced(expression: &Expr, plan: &LogicalPlan, way: &str) -> datafusion::common::Result<Expr> {
    let over = expression.clone().transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => {
                let index = plan.schema().index_of_column(&column)?;
                Transformed::yes(origin(plan, index, way)?)
            }
            Expr::Alias(alias) => Transformed::yes(*alias.expr),
            other => Transformed::no(other),
        })
    });
    Ok(over?.data)
}

fn origin(plan: &LogicalPlan, index: usize, way: &str) -> datafusion::common::Result<Expr> {
    let here = || Ok(Expr::Column(Column::new_unqualified(format!("{way} {index}"))));
    let down = format!("{way}.");
    match plan {
        LogicalPlan::Projection(projection) => match projection.expr.get(index) {
            Some(expression) => traced(expression, &projection.input, &down),
            None => here(),
        },
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index) {
            Some(key) if !matches!(key, Expr::GroupingSet(_)) => {
                let single = !aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
                if single { traced(key, &aggregate.input, &down) } else { here() }
            }
            Some(_) | None => here(),
        },
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, index, &down),
        LogicalPlan::Filter(filter) => origin(&filter.input, index, &down),
        LogicalPlan::Distinct(Distinct::All(input)) => origin(input, index, &down),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full if index < left => {
                    origin(&join.left, index, &format!("{way}l"))
                }
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    origin(&join.right, index - left, &format!("{way}r"))
                }
                JoinType::LeftSemi | JoinType::LeftAnti => origin(&join.left, index, &format!("{way}l")),
                JoinType::RightSemi | JoinType::RightAnti => origin(&join.right, index, &format!("{way}r")),
                JoinType::LeftMark | JoinType::RightMark => here(),
            }
        }
        LogicalPlan::Distinct(Distinct::On(_))
        | LogicalPlan::Window(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => here(),
    }
}

/// The answer by the keys that are `firsts` of themselves, with every key where the query has it.
pub(super) fn handed_on(answer: Node, keys: &[Expr], firsts: &[usize]) -> Result<Node> {
    let Rows::Public(rows) = &answer.rows else {
        return Err(Error::internal());
    };
    let asked: Vec<usize> = (0..keys.len()).filter(|i| firsts[*i] == *i).collect();
    let place = |key: usize| asked.iter().position(|first| *first == firsts[key]).ok_or_else(Error::internal);
    let places = (0..keys.len()).map(place).collect::<Result<Vec<_>>>()?;
    let column = |i: usize| Expr::Column(answer.column(i));
    let mut expressions: Vec<Expr> = places.iter().zip(keys).map(|(at, key)| named_as(column(*at), key)).collect();
    expressions.extend((asked.len()..answer.visible).map(column));
    let shown = |at: usize| rows.columns.get(at).cloned().unwrap_or_default();
    let columns: Vec<PublicColumn> = places.iter().copied().chain(asked.len()..answer.visible).map(shown).collect();
    let now = |was: usize| match asked.get(was) {
        Some(key) => *key,
        None => was + keys.len() - asked.len(),
    };
    let unique = rows.unique.iter().map(|set| set.iter().map(|was| now(*was)).collect::<BTreeSet<_>>()).collect();
    let visible = expressions.len();
    let hidden = (answer.visible..answer.plan.schema().fields().len()).map(|i| answer.column(i)).collect();
    let released = rows.released;
    let plan = built(project(answer.plan.clone(), expressions, hidden))?;
    Ok(Node { plan, visible, rows: Rows::Public(Public { columns, unique, released }) })
}
