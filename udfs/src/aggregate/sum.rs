//! `dp_sum(sum, count, cap, bound)`: words \[Σ contribution, m\]. A person's contribution to a
//! group is the sum of the lattice values of their rows, scaled down to `cap` rows when they have
//! more, within ±cap·bound.
//!
//! **Sensitivity** cap·bound a group on word 0; √M·cap·bound over the M groups that a person
//! reaches. **Noise** the release's, on word 0. **Cost** nothing here. **Source** Wilson et al.
//! 2020; the clamp makes the bound hold whatever the data is.

use super::bounds::RowBounds;
use super::groups::Contribution;
use super::udaf::Aggregate;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::cast::as_int64_array;
use datafusion::logical_expr::function::AccumulatorArgs;

#[derive(Debug)]
pub(super) struct Sum(RowBounds);

/// Calls `add` with row, sum (NULL is zero) and count, for each row whose count is above zero.
pub(super) fn each_sum(values: &[ArrayRef], mut add: impl FnMut(usize, i64, i64)) -> Result<()> {
    let (sums, counts) = (as_int64_array(&values[0])?, as_int64_array(&values[1])?);
    if sums.null_count() == 0 && counts.null_count() == 0 {
        for (row, (&sum, &count)) in sums.values().iter().zip(counts.values()).enumerate() {
            if count > 0 {
                add(row, sum, count);
            }
        }
        return Ok(());
    }
    for row in 0..counts.len() {
        if counts.is_valid(row) && counts.value(row) > 0 {
            let sum = if sums.is_valid(row) { sums.value(row) } else { 0 };
            add(row, sum, counts.value(row));
        }
    }
    Ok(())
}

impl Contribution for Sum {
    const WORDS: usize = 2;

    fn largest(&self) -> Option<i64> {
        self.0.largest()
    }

    fn each(&self, values: &[ArrayRef], mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        each_sum(values, |row, sum, count| {
            add(row, 0, i128::from(self.0.sum(sum, count)));
            add(row, 1, 1);
        })
    }
}

impl Aggregate for Sum {
    const NAME: &'static str = "dp_sum";

    fn arguments() -> Vec<DataType> {
        vec![DataType::Int64; 4]
    }

    fn bind(args: &AccumulatorArgs) -> Result<Self> {
        Ok(Self(RowBounds::read(args, 2, Some(3))?))
    }
}
