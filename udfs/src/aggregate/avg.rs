//! `dp_avg(sum, count, cap, bound)`: words \[Σ contribution, Σ min(count, cap), m\], numerator and
//! denominator of a mean.
//!
//! **Sensitivity** cap·bound a group on word 0, cap on word 1; times √M over the M groups that a
//! person reaches. Lattice values are taken around the middle of the bounds, which halves `bound`.
//! **Noise** the release's, on words 0 and 1 apart. **Cost** nothing here. **Source** Li, Lyu, Su,
//! Yang 2016, "Differential Privacy: From Theory to Practice", algorithm 2.4.

use super::bounds::RowBounds;
use super::groups::Contribution;
use super::sum::each_sum;
use super::udaf::Aggregate;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::function::AccumulatorArgs;

#[derive(Debug)]
pub(super) struct Avg(RowBounds);

impl Contribution for Avg {
    const WORDS: usize = 3;

    fn largest(&self) -> Option<i64> {
        self.0.largest()
    }

    fn each(&self, values: &[ArrayRef], mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        each_sum(values, |row, sum, count| {
            add(row, 0, i128::from(self.0.sum(sum, count)));
            add(row, 1, i128::from(self.0.rows(count)));
            add(row, 2, 1);
        })
    }
}

impl Aggregate for Avg {
    const NAME: &'static str = "dp_avg";

    fn arguments() -> Vec<DataType> {
        vec![DataType::Int64; 4]
    }

    fn bind(args: &AccumulatorArgs) -> Result<Self> {
        Ok(Self(RowBounds::read(args, 2, Some(3))?))
    }
}
