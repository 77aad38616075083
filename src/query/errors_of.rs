//! `dp_stddev(agg)`, `dp_interval_low(agg [, level])`, `dp_interval_high(agg [, level])`: what is known of an answer's error.
//!
//! They are names only. The rewrite puts a column of the release in their place; evaluating one fails.

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

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
