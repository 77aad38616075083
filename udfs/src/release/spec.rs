//! What one release does to its input: keys, floor, threshold, measurements and cells; checked once against the input's columns.
//!
//! Plain data, made by whoever plans the query. Must never: hold anything that depends on a person's data.

use crate::noise::{AdditiveNoise, Mechanism};
use crate::unreleased::{is_unreleased, words_of};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};
use std::collections::HashMap;
use std::sync::Arc;

/// Where a measured column says its noise's standard deviation, and its mechanism where that is not the Gaussian.
pub(super) const SIGMA: &str = "paravent.sigma";
pub(super) const MECHANISM: &str = "paravent.mechanism";

/// How many released rows a measured row is the sum of: 1, unless groups were rolled up.
pub const MERGED: &str = "__merged";

/// The plan of one release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReleaseSpec {
    /// The first `keys` input columns are group keys, passed through.
    pub keys: usize,
    /// k: a row of fewer persons is gone, exactly and always.
    pub floor: u64,
    /// τ: a row whose noised person count is below is gone.
    pub threshold: i64,
    /// The input column of `dp_persons`, whose exact number reaches the floor.
    pub persons: usize,
    /// What is noised; measurement 0 selects. It is word 0 of `persons`, or the two counts of a share, whose sum counts no more than
    /// the persons: where every person is in one of them, the persons need no measurement of their own.
    pub measurements: Vec<Measurement>,
    /// Parts of a group that must be persons enough, too, for their values to be shown.
    pub cells: Vec<CellFloor>,
}

/// What is noised once a group, however many outputs use it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Measurement {
    pub column: usize,
    pub what: What,
    pub noise: AdditiveNoise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// One word of the column.
    Word(usize),
    /// A histogram and its sums: words 0 to `leaves` of the column are the counts of the leaves, each node above is the sum of
    /// `branching` nodes below, and every node but the root is noised by itself. `leaves` is a power of `branching`. A row is
    /// counted in one node of each level, so the squared sensitivity is that of a count, times the levels.
    /// Source: Hay et al. 2010, "Boosting the Accuracy of Differentially Private Histograms Through Consistency", section 4.
    Tree { leaves: usize, branching: usize },
}

/// The same two selections for the persons that have a value at all: exact m (a word of a column) against the floor, and a noised
/// count (a measurement: a word, or the two counts that select) against its threshold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellFloor {
    pub column: usize,
    pub word: usize,
    pub count: usize,
    pub threshold: i64,
}

impl What {
    /// Rows that do not fit a condition (word 0), and those that do (word 1): a tree of one level.
    pub const TWO_COUNTS: Self = Self::Tree { leaves: 2, branching: 2 };

    /// Levels of a tree below its root; 1 for a word.
    pub fn levels(&self) -> u32 {
        match self {
            Self::Word(_) => 1,
            Self::Tree { leaves, branching } => leaves.checked_ilog(*branching).unwrap_or(0),
        }
    }

    /// Nodes of a tree without its root, level after level from the top; 1 for a word.
    pub fn nodes(&self) -> usize {
        match self {
            Self::Word(_) => 1,
            Self::Tree { branching, .. } => (1..=self.levels()).map(|level| branching.pow(level)).sum(),
        }
    }

    fn last_word(&self) -> usize {
        match self {
            Self::Word(word) => *word,
            Self::Tree { leaves, .. } => leaves.saturating_sub(1),
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Word(_) => true,
            Self::Tree { leaves, branching } => {
                (2..=4096).contains(branching)
                    && (2..=4096).contains(leaves)
                    && branching.checked_pow(self.levels()) == Some(*leaves)
            }
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Word(_) => DataType::Decimal128(38, 0),
            Self::Tree { .. } => {
                DataType::FixedSizeList(Arc::new(Field::new("node", DataType::Int64, false)), self.nodes() as i32)
            }
        }
    }
}

impl ReleaseSpec {
    /// Checks that this release can read `input`: every column beyond the keys is unreleased, no
    /// key is, every index is in range, and the floor and threshold are in order.
    pub fn check(&self, input: &Schema) -> Result<()> {
        let fields = input.fields();
        if self.keys > fields.len() {
            return plan_err!("release: the input has fewer columns than keys");
        }
        if fields[..self.keys].iter().any(|field| is_unreleased(field)) {
            return plan_err!("release: a key is an unreleased value");
        }
        if !fields[self.keys..].iter().all(|field| words_of(field).is_some()) {
            return plan_err!("release: every column beside the keys must be unreleased");
        }
        if self.floor < 1 || i128::from(self.threshold) <= i128::from(self.floor) {
            return plan_err!("release: the floor must be at least 1, and the threshold above it");
        }
        match self.measurements.first() {
            Some(first) if first.column == self.persons && first.what == What::Word(0) => {}
            Some(first) if first.column != self.persons && first.what == What::TWO_COUNTS => {}
            Some(_) | None => return plan_err!("release: measurement 0 must be the persons, or a share of them"),
        }
        for measurement in &self.measurements {
            if !measurement.what.is_sound() {
                return plan_err!("release: the leaves of a tree are a power of its branching");
            }
            self.check_word(input, measurement.column, measurement.what.last_word())?;
        }
        for cell in &self.cells {
            self.check_word(input, cell.column, cell.word)?;
            let counted = self.measurements.get(cell.count).is_some_and(|m| match m.what {
                What::Word(_) => true,
                What::Tree { .. } => cell.count == 0,
            });
            if !counted || i128::from(cell.threshold) <= i128::from(self.floor) {
                return plan_err!("release: a cell must have a count, and a threshold above the floor");
            }
        }
        Ok(())
    }

    fn check_word(&self, input: &Schema, column: usize, word: usize) -> Result<()> {
        let words = input.fields().get(column).and_then(|field| words_of(field));
        match words {
            Some(words) if word < words && column >= self.keys => Ok(()),
            Some(_) | None => plan_err!("release: the input has no word {word} in column {column}"),
        }
    }

    /// The measured rows: keys, each measurement, each cell, and [`MERGED`].
    pub fn measured_schema(&self, input: &Schema) -> SchemaRef {
        let keys = input.fields()[..self.keys].iter().cloned();
        let values = self.measured_fields().into_iter().map(Arc::new);
        Arc::new(Schema::new(keys.chain(values).collect::<Vec<_>>()))
    }

    pub(super) fn measured_fields(&self) -> Vec<Field> {
        let measured = self.measurements.iter().enumerate().map(|(i, measurement)| {
            let mut noise = HashMap::from([(SIGMA.to_owned(), format!("{:?}", measurement.noise.std_dev()))]);
            match measurement.noise.mechanism() {
                Mechanism::Gaussian => {}
                mechanism @ Mechanism::Laplace => {
                    noise.insert(MECHANISM.to_owned(), mechanism.name().to_owned());
                }
            }
            Field::new(format!("__m{i}"), measurement.what.data_type(), false).with_metadata(noise)
        });
        let cells = (0..self.cells.len()).map(|i| Field::new(format!("__cell{i}"), DataType::Boolean, false));
        let merged = Field::new(MERGED, DataType::Int64, false);
        measured.chain(cells).chain([merged]).collect()
    }

    /// One line for EXPLAIN: names and numbers of the plan, nothing of the data.
    pub fn describe(&self, input: &Schema) -> String {
        let name = |column: usize| input.fields().get(column).map_or("?", |field| field.name().as_str());
        let keys: Vec<_> = (0..self.keys).map(name).collect();
        let mut line = format!("keys=[{}], floor={}, threshold={}", keys.join(", "), self.floor, self.threshold);
        for measurement in &self.measurements {
            let (column, sigma) = (name(measurement.column), measurement.noise.std_dev());
            let what = match measurement.what {
                What::Word(word) => word.to_string(),
                What::Tree { leaves, branching } => format!("tree of {leaves} by {branching}"),
            };
            let law = match measurement.noise.mechanism() {
                Mechanism::Gaussian => "",
                Mechanism::Laplace => " (laplace)",
            };
            line.push_str(&format!(", dp_release({column}[{what}]) sigma={sigma:.4}{law}"));
        }
        line
    }
}
