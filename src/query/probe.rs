//! Statements whose answer has no rows whatever the data: what tools ask to learn the types of columns.
//!
//! In: [`Checked`]. Out: the columns of an empty answer, or nothing where that is not certain from the text alone. Such a
//! statement reads no row and says nothing about one, so it needs no release and costs nothing; it may name whole tables.
//! Must never take a statement for empty that is not, nor show a column that the asker may not read.

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{BinaryExpr, Expr, JoinType, LogicalPlan, Operator};

use super::check::Checked;
use super::context::{Context, Source, SourceKind};

/// `SELECT … WHERE 1 = 0`, `SELECT … LIMIT 0`.
pub fn probe(context: &Context, checked: &Checked) -> Option<SchemaRef> {
    (is_empty(&checked.plan) && is_readable(context, &checked.plan)).then(|| checked.columns.clone())
}

fn is_empty(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Limit(limit) => {
            let none = |fetch: &Expr| matches!(fetch, Expr::Literal(ScalarValue::Int64(Some(0)), _));
            limit.fetch.as_deref().is_some_and(none) || is_empty(&limit.input)
        }
        LogicalPlan::Filter(filter) => is_false(&filter.predicate) || is_empty(&filter.input),
        LogicalPlan::EmptyRelation(relation) => !relation.produce_one_row,
        // One group of no rows is still a row.
        LogicalPlan::Aggregate(aggregate) => {
            let one = aggregate.group_expr.is_empty()
                || aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
            !one && is_empty(&aggregate.input)
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => is_empty(&join.left) || is_empty(&join.right),
            JoinType::Left
            | JoinType::Right
            | JoinType::Full
            | JoinType::LeftSemi
            | JoinType::RightSemi
            | JoinType::LeftAnti
            | JoinType::RightAnti
            | JoinType::LeftMark
            | JoinType::RightMark => false,
        },
        LogicalPlan::Projection(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Window(_) => plan.inputs().into_iter().all(is_empty),
        LogicalPlan::TableScan(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::RecursiveQuery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_) => false,
    }
}

/// False or null for every row, by literals alone.
fn is_false(predicate: &Expr) -> bool {
    match predicate {
        Expr::Literal(ScalarValue::Boolean(value), _) => *value != Some(true),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => is_false(left) || is_false(right),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => is_false(left) && is_false(right),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            match (number(left), number(right)) {
                (Some(left), Some(right)) => (left == right) != (*op == Operator::Eq),
                _ => false,
            }
        }
        _ => false,
    }
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        _ => None,
    }
}

/// Whole tables, every column of which the asker may read; of what a view reads nothing is known here.
fn is_readable(context: &Context, plan: &LogicalPlan) -> bool {
    let mut readable = true;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            readable &= scan.source.downcast_ref::<Source>().is_some_and(|source| reads(context, source));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    readable && walked.is_ok()
}

fn reads(context: &Context, source: &Source) -> bool {
    let name = match &source.kind {
        SourceKind::Protected(name) | SourceKind::Public(name) => name,
        SourceKind::Released(_) | SourceKind::Directory(_) | SourceKind::Opened(_) => return false,
    };
    let may = |column: &str| context.policies.may_read(&context.principal, name, column);
    let known = context.tables.get(name);
    !source.granted && known.is_some_and(|known| known.table.columns.iter().all(|column| may(&column.name)))
}
