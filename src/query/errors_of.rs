//! `dp_stddev(agg)`, `dp_interval_low(agg [, level])`, `dp_interval_high(agg [, level])`: what is known of an answer's error.
//!
//! They are names only. The rewrite puts a column of the release in their place; evaluating one fails.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::bounds;
use super::expression::literal;
use crate::error::{Error, SqlState};

/// The confidence levels that a statement names, each once. Errors: 22023 for what is no level.
pub(super) fn levels(plan: &LogicalPlan) -> Result<Vec<f64>, Error> {
    let mut found = Ok(Vec::new());
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let (Expr::ScalarFunction(call), Ok(levels)) = (part, &mut found)
                    && matches!(ErrorOf::of(&call.func), Some(Side::Low | Side::High))
                {
                    match level(&call.args) {
                        Ok(level) if levels.contains(&level) => {}
                        Ok(level) => levels.push(level),
                        Err(error) => found = Err(error),
                    }
                }
                Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })
    });
    walked.map_err(|_| Error::internal())?;
    found
}

/// The level of one call, its second argument or 0.95, for each of the columns that its first one is made of: together they then have
/// it (Bonferroni; see `rewrite/errors`).
pub(super) fn level(arguments: &[Expr]) -> Result<f64, Error> {
    let level = match arguments.get(1) {
        None => 0.95,
        Some(level) => {
            literal(level).as_ref().and_then(bounds::number).filter(|l| *l > 0.0 && *l < 1.0).ok_or_else(|| {
                Error::new(SqlState::InvalidParameterValue, "the level of an interval is a number between 0 and 1")
            })?
        }
    };
    let columns = arguments.first().map_or(0, |argument| argument.column_refs().len());
    Ok(if columns > 1 { 1.0 - (1.0 - level) / columns as f64 } else { level })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Error,
    Low,
    High,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ErrorOf {
    side: Side,
    signature: Signature,
}

impl ErrorOf {
    pub(super) fn all() -> [ScalarUDF; 3] {
        [Side::Error, Side::Low, Side::High].map(|side| {
            let arities = match side {
                Side::Error => vec![TypeSignature::Any(1)],
                Side::Low | Side::High => vec![TypeSignature::Any(1), TypeSignature::Any(2)],
            };
            ScalarUDF::new_from_impl(Self { side, signature: Signature::one_of(arities, Volatility::Immutable) })
        })
    }

    pub(super) fn of(function: &ScalarUDF) -> Option<Side> {
        match function.name() {
            "dp_stddev" => Some(Side::Error),
            "dp_interval_low" => Some(Side::Low),
            "dp_interval_high" => Some(Side::High),
            _ => None,
        }
    }
}

impl ScalarUDFImpl for ErrorOf {
    fn name(&self) -> &str {
        match self.side {
            Side::Error => "dp_stddev",
            Side::Low => "dp_interval_low",
            Side::High => "dp_interval_high",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{} takes an aggregate", self.name())
    }
}
