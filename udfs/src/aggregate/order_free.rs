//! `order_free(f)`: an aggregate whose result does not depend on the order of its rows.
//!
//! Sums of floats do: 1e308 − 1e308 + 1 is 1 or 0 by the order, and the order in which one person's rows arrive may depend on other
//! persons' rows. So the values are gathered, sorted, and given to `f` at once. In: what `f` takes, one argument. Out: what it gives.
//! Law: neither order nor partitioning changes the result. Must never: be needed for integers, whose sums are exact.

use arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use arrow::compute::{concat, sort};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use std::sync::Arc;

/// The same aggregate, free of the order of its rows.
pub fn order_free(inner: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(OrderFree { inner }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderFree {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for OrderFree {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arg_fields)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let item = Field::new_list_field(args.input_fields[0].data_type().clone(), true);
        Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "values"), item, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let data_type = args.expr_fields[0].data_type().clone();
        Ok(Box::new(Gathered { data_type, parts: Vec::new(), inner: Some(self.inner.accumulator(args)?) }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct Gathered {
    data_type: DataType,
    parts: Vec<ArrayRef>,
    /// Not used before all values are there, and then once.
    inner: Option<Box<dyn Accumulator>>,
}

impl Gathered {
    fn all(&self) -> Result<ArrayRef> {
        if self.parts.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        let parts: Vec<&dyn Array> = self.parts.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.parts.push(Arc::clone(&values[0]));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sorted = sort(&self.all()?, None)?;
        let Some(mut inner) = self.inner.take() else {
            return exec_err!("an order-free aggregate is evaluated once");
        };
        inner.update_batch(&[sorted])?;
        inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.all()?).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.parts.extend(states[0].as_list::<i32>().iter().flatten());
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.parts.iter().map(|part| part.get_array_memory_size()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, RecordBatch};
    use arrow::datatypes::{Float64Type, Schema};
    use datafusion::catalog::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext, col};

    async fn summed(values: &[f64], partitions: usize) -> f64 {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
        let batch =
            |x: &f64| RecordBatch::try_new(schema.clone(), vec![Arc::new(Float64Array::from(vec![*x]))]).unwrap();
        let table = MemTable::try_new(schema.clone(), vec![values.iter().map(batch).collect()]).unwrap();
        let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
        let sum = order_free(datafusion::functions_aggregate::sum::sum_udaf()).call(vec![col("x")]);
        let frame = ctx.read_table(Arc::new(table)).unwrap().aggregate(vec![], vec![sum]).unwrap();
        frame.collect().await.unwrap()[0].column(0).as_primitive::<Float64Type>().value(0)
    }

    #[tokio::test]
    async fn every_order_and_partitioning_gives_one_sum() {
        let first = summed(&[1e308, 1.0, -1e308, 0.1], 1).await;
        for (values, partitions) in [([-1e308, 0.1, 1e308, 1.0], 1), ([0.1, 1.0, -1e308, 1e308], 3)] {
            assert_eq!(summed(&values, partitions).await.to_bits(), first.to_bits());
        }
        assert_eq!(summed(&[1.5, 2.0], 2).await, 3.5);
    }
}
