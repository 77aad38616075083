//! `dp_persons(profile)`: words \[n\], the number of input rows whose profile is true; one row is
//! one person in one group.
//!
//! **Sensitivity** 1 a group, √M over the M groups that a person reaches. **Noise** the release's,
//! on word 0. **Cost** nothing here. **Source** Wilson et al. 2020, "Differentially Private SQL
//! with Bounded User Contribution".

use super::groups::Contribution;
use super::udaf::Aggregate;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::logical_expr::function::AccumulatorArgs;

#[derive(Debug)]
pub(super) struct Persons;

impl Contribution for Persons {
    const WORDS: usize = 1;

    fn largest(&self) -> Option<i64> {
        Some(1)
    }

    fn each(&self, values: &[ArrayRef], mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        let profile = as_boolean_array(&values[0])?;
        if profile.null_count() == 0 && profile.true_count() == profile.len() {
            (0..profile.len()).for_each(|row| add(row, 0, 1));
            return Ok(());
        }
        for row in 0..profile.len() {
            if profile.is_valid(row) && profile.value(row) {
                add(row, 0, 1);
            }
        }
        Ok(())
    }
}

impl Aggregate for Persons {
    const NAME: &'static str = "dp_persons";

    fn arguments() -> Vec<DataType> {
        vec![DataType::Boolean]
    }

    fn bind(_args: &AccumulatorArgs) -> Result<Self> {
        Ok(Self)
    }
}
