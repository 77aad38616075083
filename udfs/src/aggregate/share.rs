//! `dp_share(sum, count, cap)`: words \[rows that do not fit, rows that do, m\]. A person's `count` rows, scaled down to `cap` where
//! they have more, are each of one kind: `sum` of them fit.
//!
//! **Sensitivity** a person moves words 0 and 1 by u and f with u, f ≥ 0 and u + f ≤ cap, whatever the data is: by at most cap in L1 and,
//! as u² + f² ≤ (u + f)², by at most cap in L2, together. So the two are one measurement, a tree of two leaves; M groups a person are M
//! of these. **Noise** the release's, on words 0 and 1 apart. **Cost** nothing here. **Source** Dwork, Roth 2014, Example 3.2: the counts of
//! a histogram have the sensitivity of one count; the bound on rows as `dp_avg`.

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
            let rows = self.0.rows(count);
            let fits = self.0.sum(sum.max(0), count).min(rows);
            add(row, 0, i128::from(rows - fits));
            add(row, 1, i128::from(fits));
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
