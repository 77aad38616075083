//! `share(condition)`: the share of rows, among those where the condition is not NULL, for which it
//! is true.
//!
//! In: booleans. Out: an exact Float64, NULL without rows. A name that queries are written and
//! type-checked with. It is **not** private; a server that protects people plans `dp_share` in its
//! place.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::{as_boolean_array, as_int64_array};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::sync::Arc;

pub(super) fn udaf() -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Boolean], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(PlainShare { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PlainShare {
    signature: Signature,
}

impl AggregateUDFImpl for PlainShare {
    fn name(&self) -> &str {
        "share"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part| Arc::new(Field::new(format_state_name(args.name, part), DataType::Int64, false));
        Ok(vec![field("true"), field("all")])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("share takes no DISTINCT");
        }
        Ok(Box::new(Tally::default()))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug, Default)]
struct Tally {
    trues: i64,
    all: i64,
}

impl Accumulator for Tally {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let condition = as_boolean_array(&values[0])?;
        self.trues += condition.true_count() as i64;
        self.all += (condition.len() - condition.null_count()) as i64;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let share = (self.all > 0).then(|| self.trues as f64 / self.all as f64);
        Ok(ScalarValue::Float64(share))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.trues.into(), self.all.into()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.trues += as_int64_array(&states[0])?.values().iter().sum::<i64>();
        self.all += as_int64_array(&states[1])?.values().iter().sum::<i64>();
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}
