//! `dp_histogram_L(bins, cap)`: words \[number of rows in leaf 0, …, leaf L−1, m\], the leaves of a noised tree, with m the number
//! of persons that have a row.
//!
//! `bins` is the leaf of a person's only row, or the leaves of all of a person's rows as `person_bins` gathers them. A person with
//! more than `cap` rows is represented by `cap` evenly spaced order statistics of their own rows: a choice that depends on that
//! person alone. L is part of the name because it is part of the type.
//!
//! **Sensitivity** one person adds at most `cap` rows, so each level of a tree over the leaves moves by at most `cap` in L1 and
//! hence in L2: squared, levels · cap² a group, times M over the groups that a person reaches. **Noise** the release's, on every
//! node of the tree. **Cost** nothing here. **Source** Hay, Rastogi, Miklau, Suciu 2010, "Boosting the Accuracy of Differentially
//! Private Histograms Through Consistency"; the bound on rows as in Wilson et al. 2020.

use super::bounds::RowBounds;
use super::groups::Contribution;
use super::udaf::Aggregate;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::cast::{as_binary_array, as_int64_array};
use datafusion::logical_expr::function::AccumulatorArgs;

/// The numbers of leaves there are: powers of four, so that a tree of branching four is full.
pub const HISTOGRAM_LEAVES: [usize; 4] = [4, 16, 64, 256];

#[derive(Debug)]
pub(super) struct Histogram<const LEAVES: usize>(RowBounds);

impl<const LEAVES: usize> Contribution for Histogram<LEAVES> {
    const WORDS: usize = LEAVES + 1;

    fn each(&self, values: &[ArrayRef], add: impl FnMut(usize, usize, i128)) -> Result<()> {
        match values[0].data_type() {
            DataType::Int64 => self.each_row(&values[0], add),
            _ => self.each_person(&values[0], add),
        }
    }
}

impl<const LEAVES: usize> Histogram<LEAVES> {
    fn each_row(&self, bins: &ArrayRef, mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        for (row, bin) in as_int64_array(bins)?.iter().enumerate() {
            if let Some(leaf) = bin.and_then(|bin| usize::try_from(bin).ok()).filter(|leaf| *leaf < LEAVES) {
                add(row, leaf, 1);
                add(row, LEAVES, 1);
            }
        }
        Ok(())
    }

    fn each_person(&self, bins: &ArrayRef, mut add: impl FnMut(usize, usize, i128)) -> Result<()> {
        let bins = as_binary_array(bins)?;
        let mut leaves = Vec::new();
        for row in (0..bins.len()).filter(|row| bins.is_valid(*row)) {
            leaves.clear();
            leaves.extend(bins.value(row).iter().copied().filter(|leaf| usize::from(*leaf) < LEAVES));
            if leaves.is_empty() {
                continue;
            }
            let rows = leaves.len() as u64;
            let kept = self.0.rows(rows as i64) as u64;
            if kept == rows {
                leaves.iter().for_each(|leaf| add(row, usize::from(*leaf), 1));
            } else {
                leaves.sort_unstable();
                for number in 0..kept {
                    // The middle of the number-th of `kept` equal parts.
                    let at = (2 * u128::from(number) + 1) * u128::from(rows) / (2 * u128::from(kept));
                    add(row, usize::from(leaves[at as usize]), 1);
                }
            }
            add(row, LEAVES, 1);
        }
        Ok(())
    }
}

impl<const LEAVES: usize> Aggregate for Histogram<LEAVES> {
    const NAME: &'static str = match LEAVES {
        4 => "dp_histogram_4",
        16 => "dp_histogram_16",
        64 => "dp_histogram_64",
        _ => "dp_histogram_256",
    };

    fn arguments() -> Vec<DataType> {
        vec![DataType::Int64; 2]
    }

    fn or_first() -> Option<DataType> {
        Some(DataType::Binary)
    }

    fn bind(args: &AccumulatorArgs) -> Result<Self> {
        Ok(Self(RowBounds::read(args, 1, None)?))
    }
}
