//! `dp_share(sum, count, cap)`: words \[Σ contribution, Σ min(count, cap), m\]. A mean of zeros and
//! ones that knows it is a share: a person's contribution lies in 0..=cap.
//!
//! **Sensitivity** cap a group on word 0 and on word 1; times √M over the M groups that a person
//! reaches. **Noise** the release's, on words 0 and 1 apart. **Cost** nothing here. **Source** as
//! `dp_avg`.

use super::bounds::RowBounds;
use super::groups::Contribution;
use super::sum::each_sum;
use super::udaf::Aggregate;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::function::AccumulatorArgs;

#[derive(Debug)]
pub(super) struct Share(RowBounds);

impl Contribution for Share {
    const WORDS: usize = 3;

    fn largest(&self) -> Option<i64> {
        self.0.largest()
    }

    fn each(&self, values: &[ArrayRef], mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        each_sum(values, |row, sum, count| {
            add(row, 0, i128::from(self.0.sum(sum.max(0), count)));
            add(row, 1, i128::from(self.0.rows(count)));
            add(row, 2, 1);
        })
    }
}

impl Aggregate for Share {
    const NAME: &'static str = "dp_share";

    fn arguments() -> Vec<DataType> {
        vec![DataType::Int64; 3]
    }

    fn bind(args: &AccumulatorArgs) -> Result<Self> {
        Ok(Self(RowBounds::read(args, 2, None)?))
    }
}
