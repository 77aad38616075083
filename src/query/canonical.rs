//! Questions as text: equal texts only for equal questions, whatever the query calls its tables and columns.
//!
//! A column is written as its place in its input, so that aliases and hidden names say nothing. Sources of a moment (`now()`) are
//! written with the moment. Must never: leave out anything on which the rows depend.

use chrono::{DateTime, Utc};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::context::{Source, SourceKind};
use super::expression::unaliased;
use super::facts::built;
use crate::error::Result;

/// The rows that a plan gives. `now`: when the statement began.
pub(super) fn rows(plan: &LogicalPlan, now: DateTime<Utc>) -> Result<String> {
    let mut text = String::new();
    write(plan, now, &mut text)?;
    Ok(text)
}

/// One value of a plan's rows.
pub(super) fn value(expression: &Expr, input: &DFSchema, now: DateTime<Utc>) -> Result<String> {
    placed(expression, &[input], now)
}

fn write(plan: &LogicalPlan, now: DateTime<Utc>, text: &mut String) -> Result<()> {
    // Other names for the same rows.
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        return write(&alias.input, now, text);
    }
    text.push('(');
    text.push_str(&head(plan, now)?);
    for input in plan.inputs() {
        write(input, now, text)?;
    }
    text.push(')');
    Ok(())
}

fn head(plan: &LogicalPlan, now: DateTime<Utc>) -> Result<String> {
    let inputs: Vec<&DFSchema> = plan.inputs().into_iter().map(|input| input.schema().as_ref()).collect();
    let list = |expressions: &[Expr]| -> Result<String> {
        let written = expressions.iter().map(|e| placed(e, &inputs, now)).collect::<Result<Vec<_>>>()?;
        Ok(written.join(","))
    };
    let types = || plan.schema().fields().iter().map(|f| f.data_type().to_string()).collect::<Vec<_>>().join(",");
    Ok(match plan {
        LogicalPlan::TableScan(scan) => match scan.source.downcast_ref::<Source>().map(|source| &source.kind) {
            Some(SourceKind::Protected(name) | SourceKind::Public(name)) if scan.projection.is_none() => {
                format!("scan {name:?}")
            }
            // A release's rows have a name of this statement only: whoever compares adds what they hold.
            Some(SourceKind::Released(number)) if scan.projection.is_none() => format!("released {number} {}", types()),
            Some(_) | None => plan.display_indent_schema().to_string(),
        },
        LogicalPlan::Projection(projection) => format!("project {}", list(&projection.expr)?),
        LogicalPlan::Filter(filter) => format!("filter {}", list(std::slice::from_ref(&filter.predicate))?),
        LogicalPlan::Aggregate(aggregate) => {
            format!("aggregate {} | {}", list(&aggregate.group_expr)?, list(&aggregate.aggr_expr)?)
        }
        LogicalPlan::Window(window) => format!("window {}", list(&window.window_expr)?),
        LogicalPlan::Join(join) => {
            let on = join.on.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect::<Vec<_>>();
            let (kind, nulls, aware) = (join.join_type, join.null_equality, join.null_aware);
            format!("join {kind} {nulls:?} {aware} {} | {}", list(&on)?, list(&Vec::from_iter(join.filter.clone()))?)
        }
        LogicalPlan::Union(_) => format!("union {}", types()),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(_)) => "distinct".to_owned(),
        LogicalPlan::EmptyRelation(empty) => format!("empty {} {}", empty.produce_one_row, types()),
        LogicalPlan::SubqueryAlias(_) => String::new(),
        // Rarer below a release; written with their names, which may only tell equal questions apart.
        LogicalPlan::Distinct(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => {
            format!("{} {}", plan.display_indent_schema(), list(&plan.expressions())?)
        }
    })
}

/// An expression whose columns are places in its inputs' columns, one input after the other.
fn placed(expression: &Expr, inputs: &[&DFSchema], now: DateTime<Utc>) -> Result<String> {
    let place = |column: &Column| {
        let mut before = 0;
        for input in inputs {
            match input.maybe_index_of_column(column) {
                Some(index) => return Some(before + index),
                None => before += input.fields().len(),
            }
        }
        None
    };
    if let Expr::Column(column) = unaliased(expression)
        && let Some(index) = place(column)
    {
        return Ok(format!("#{index}"));
    }
    let placed = expression.clone().transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => match place(&column) {
                Some(index) => Transformed::yes(Expr::Column(Column::new_unqualified(format!("#{index}")))),
                None => Transformed::no(Expr::Column(column)),
            },
            Expr::Alias(alias) => Transformed::yes(*alias.expr),
            // Quoted, so that no text can pass for two.
            Expr::Literal(value, _) => {
                let written = format!("{} {:?}", value.data_type(), value.to_string());
                Transformed::yes(Expr::Column(Column::new_unqualified(written)))
            }
            other => Transformed::no(other),
        })
    });
    let placed = built(placed)?.data;
    let moment = if of_a_moment(&placed) { format!(" at {}", now.timestamp_micros()) } else { String::new() };
    Ok(format!("{placed}{moment}"))
}

/// Does the value change from one statement to the next?
fn of_a_moment(expression: &Expr) -> bool {
    let mut found = false;
    let _ = expression.apply(|part| {
        if let Expr::ScalarFunction(call) = part {
            found |= call.func.signature().volatility != Volatility::Immutable;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
