//! `x = ANY (list)`, as drivers write what was `x IN (…)`.
//!
//! In: a plan in which the engine calls that `array_has(list, x)`. Out: the same plan with `x IN (…)` where the list is known.
//! Law: `x = ANY (list)` and `x IN` its elements are the same, also where x or an element is NULL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use super::search::holds;

/// Once the parameters have values.
pub(super) fn in_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !holds(&plan, |part| any(part).is_some())? {
        return Ok(plan);
    }
    let changed = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expression| {
            expression.transform_up(|part| match in_list(&part) {
                Some(list) => Ok(Transformed::yes(list)),
                None => Ok(Transformed::no(part)),
            })
        })
    });
    changed.map(|changed| changed.data)
}

/// The types of lists that are parameters: `$1` and a list of what x is.
pub(super) fn parameter_types(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        for expression in node.expressions() {
            expression.apply(|part| {
                if let Some((Expr::Placeholder(list), x)) = any(part)
                    && let Ok(item) = x.get_type(&schema)
                {
                    let item = if item.is_string() { DataType::Utf8 } else { item };
                    found.push((list.id.clone(), DataType::List(Arc::new(Field::new_list_field(item, true)))));
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The list and x.
fn any(expression: &Expr) -> Option<(&Expr, &Expr)> {
    match expression {
        Expr::ScalarFunction(call) if call.func.name() == "array_has" => match call.args.as_slice() {
            [list, x] => Some((list, x)),
            _ => None,
        },
        _ => None,
    }
}

fn in_list(expression: &Expr) -> Option<Expr> {
    let (list, x) = any(expression)?;
    let list = elements(list)?;
    Some(Expr::InList(InList { expr: Box::new(x.clone()), list, negated: false }))
}

fn elements(list: &Expr) -> Option<Vec<Expr>> {
    match list {
        Expr::Literal(ScalarValue::List(list), _) => {
            let values = (0..list.value(0).len()).map(|at| ScalarValue::try_from_array(&list.value(0), at));
            let values: Vec<ScalarValue> = values.collect::<Result<_>>().ok()?;
            Some(values.into_iter().map(|value| Expr::Literal(value, None)).collect())
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "make_array" => Some(args.clone()),
        Expr::Cast(cast) => elements(&cast.expr),
        _ => None,
    }
}
