//! `dp_count(count, cap)`: words \[Σ min(max(count, 0), cap), m\], with m the number of persons
//! that have a row to count.
//!
//! **Sensitivity** cap a group on word 0; √M·cap over the M groups that a person reaches. **Noise**
//! the release's, on word 0; m is only ever compared with the floor. **Cost** nothing here.
//! **Source** Wilson et al. 2020.

use super::bounds::RowBounds;
use super::groups::Contribution;
use super::udaf::Aggregate;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::cast::as_int64_array;
use datafusion::logical_expr::function::AccumulatorArgs;

#[derive(Debug)]
pub(super) struct Count(RowBounds);

impl Contribution for Count {
    const WORDS: usize = 2;

    fn largest(&self) -> Option<i64> {
        self.0.largest()
    }

    fn each(&self, values: &[ArrayRef], mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        let counts = as_int64_array(&values[0])?;
        for row in 0..counts.len() {
            if counts.is_valid(row) && counts.value(row) > 0 {
                add(row, 0, i128::from(self.0.rows(counts.value(row))));
                add(row, 1, 1);
            }
        }
        Ok(())
    }
}

impl Aggregate for Count {
    const NAME: &'static str = "dp_count";

    fn arguments() -> Vec<DataType> {
        vec![DataType::Int64; 2]
    }

    fn bind(args: &AccumulatorArgs) -> Result<Self> {
        Ok(Self(RowBounds::read(args, 1, None)?))
    }
}
