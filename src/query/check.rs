//! The allow-list: which plan nodes and expressions a query may be made of at all.
//!
//! In: [`Resolved`]. Out: [`Checked`], the same plan, or a refusal. Matches name every variant, so that an engine upgrade
//! breaks the build and not the privacy. Whose rows are whose is not decided here but in `rewrite`.

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, ScalarUDF, Volatility};

use super::context::{Context, Source};
use super::resolve::Resolved;
use super::{allow, position};
use crate::error::{Error, Result, SqlState};

/// A plan of allowed parts.
#[derive(Debug)]
pub struct Checked {
    pub(super) plan: LogicalPlan,
    pub(super) columns: SchemaRef,
}

/// Errors: 0A000 for what is not on the list.
pub fn check(context: &Context, resolved: Resolved) -> Result<Checked> {
    check_plan(context, &resolved.plan)?;
    Ok(Checked { plan: resolved.plan, columns: resolved.columns })
}

/// The query of a view: of allowed parts, whoever asks.
pub(super) fn check_view(context: &Context, plan: &LogicalPlan) -> Result<()> {
    check_plan(context, plan)
}

fn check_plan(context: &Context, plan: &LogicalPlan) -> Result<()> {
    check_node(plan)?;
    for expression in plan.expressions() {
        check_expression(context, &expression)?;
    }
    plan.inputs().into_iter().try_for_each(|input| check_plan(context, input))
}

fn check_node(plan: &LogicalPlan) -> Result<()> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.source.downcast_ref::<Source>().is_none() => {
            Err(refuse("a relation of this kind"))
        }
        LogicalPlan::Distinct(Distinct::On(_))
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Values(_) => Ok(()),
        LogicalPlan::RecursiveQuery(_) => Err(refuse("WITH RECURSIVE")),
        LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_) => Err(refuse("a statement of this kind inside a query")),
    }
}

fn refuse(what: &str) -> Error {
    Error::new(SqlState::FeatureNotSupported, format!("{what} is not supported"))
}

fn check_expression(context: &Context, expression: &Expr) -> Result<()> {
    let mut outcome = Ok(());
    let _ = expression.apply(|part| {
        outcome = check_part(context, part);
        Ok(if outcome.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    outcome.map_err(|error| error.at(position::of_expression(context, expression)))
}

fn check_part(context: &Context, part: &Expr) -> Result<()> {
    match part {
        Expr::Like(like) if like.escape_char.is_some_and(|escape| escape != '\\') => {
            Err(refuse("LIKE with an ESCAPE of its own").hint("escape with a backslash"))
        }
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::AggregateFunction(_)
        | Expr::WindowFunction(_)
        | Expr::GroupingSet(_)
        | Expr::InList(_) => Ok(()),
        Expr::ScalarFunction(call) => check_function(&call.func),
        Expr::Exists(exists) => check_plan(context, &exists.subquery.subquery),
        Expr::InSubquery(within) => check_plan(context, &within.subquery.subquery),
        Expr::SetComparison(comparison) => check_plan(context, &comparison.subquery.subquery),
        Expr::ScalarSubquery(subquery) => check_plan(context, &subquery.subquery),
        Expr::OuterReferenceColumn(..) => {
            Err(refuse("a subquery that refers to the query around it").hint("join the two instead"))
        }
        Expr::Placeholder(placeholder) => Err(Error::new(
            SqlState::IndeterminateDatatype,
            format!("there is no value for parameter {}", placeholder.id),
        )),
        Expr::SimilarTo(_) => Err(refuse("SIMILAR TO").hint("use LIKE")),
        Expr::ScalarVariable(..)
        | Expr::Unnest(_)
        | Expr::HigherOrderFunction(_)
        | Expr::Lambda(_)
        | Expr::LambdaVariable(_) => Err(refuse("an expression of this kind")),
        #[expect(deprecated, reason = "the match names every variant")]
        Expr::Wildcard { .. } => Err(Error::internal()),
    }
}

fn check_function(function: &ScalarUDF) -> Result<()> {
    if function.signature().volatility == Volatility::Volatile {
        return Err(refuse(&format!("the volatile function {}", function.name())));
    }
    if allow::scalar(function.name()) || function.aliases().iter().any(|alias| allow::scalar(alias)) {
        Ok(())
    } else {
        Err(refuse(&format!("the function {}", function.name())))
    }
}
