//! Lists of values to filter by, as tools ask for them: `SELECT DISTINCT column FROM table`.
//!
//! In: [`Checked`]. Out: the same statement with the values that an administrator declared in the place of the rows, where there
//! are such. They were said before any data was read, so they are public and cost nothing; a value that nobody has is among them.
//! Must never give the values of a column that the asker may not read, nor what a condition would have left of them.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, col, lit};

use super::check::Checked;
use super::context::{Context, Source, SourceKind};
use crate::policy::Class;

pub fn with_declared_values(context: &Context, checked: Checked) -> Checked {
    match replaced(context, &checked.plan) {
        Some(plan) => Checked { plan, columns: checked.columns },
        None => checked,
    }
}

/// What stands above the list stays as it is.
fn replaced(context: &Context, plan: &LogicalPlan) -> Option<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Sort(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {
            let inputs = plan.inputs();
            let [input] = inputs.as_slice() else { return None };
            plan.with_new_exprs(plan.expressions(), vec![replaced(context, input)?]).ok()
        }
        LogicalPlan::Distinct(Distinct::All(input)) => match input.as_ref() {
            LogicalPlan::Projection(projection) => match projection.expr.as_slice() {
                [value] => values(context, plan, value, &projection.input),
                _ => None,
            },
            _ => None,
        },
        LogicalPlan::Aggregate(Aggregate { group_expr, aggr_expr, input, .. }) => match group_expr.as_slice() {
            [value] if aggr_expr.is_empty() => values(context, plan, value, input),
            _ => None,
        },
        LogicalPlan::Distinct(Distinct::On(_))
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::RecursiveQuery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_) => None,
    }
}

/// The declared values of a column of a whole table, under the name that `list` gives them.
fn values(context: &Context, list: &LogicalPlan, value: &Expr, of: &LogicalPlan) -> Option<LogicalPlan> {
    let value = match value {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::Column(column) = value else { return None };
    let name = table(of)?;
    let known = context.tables.get(name)?;
    let declared = known.table.column(&column.name)?;
    let is_attribute = declared.class == Some(Class::Attribute);
    if !is_attribute || !context.policies.may_read(&context.principal, name, &column.name) {
        return None;
    }
    let (qualifier, field) = list.schema().iter().next()?;
    let typed = |text: &String| ScalarValue::try_from_string(text.clone(), field.data_type()).ok();
    let rows: Vec<Vec<Expr>> =
        declared.domain.as_ref()?.iter().map(|text| Some(vec![lit(typed(text)?)])).collect::<Option<_>>()?;
    let named = col("column1").alias_qualified(qualifier.cloned(), field.name());
    LogicalPlanBuilder::values(rows).ok()?.project([named]).ok()?.build().ok()
}

/// The table that is read whole, by the asker's own rights.
fn table(plan: &LogicalPlan) -> Option<&str> {
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        return table(&alias.input);
    }
    let LogicalPlan::TableScan(scan) = plan else { return None };
    let source = scan.source.downcast_ref::<Source>()?;
    match &source.kind {
        SourceKind::Protected(name) if !source.granted && scan.filters.is_empty() && scan.fetch.is_none() => Some(name),
        SourceKind::Protected(_)
        | SourceKind::Public(_)
        | SourceKind::Released(_)
        | SourceKind::Directory(_)
        | SourceKind::Opened(_) => None,
    }
}
