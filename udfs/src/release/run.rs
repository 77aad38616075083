//! The release function: exact words of all groups in, a batch of measured rows out.
//!
//! Pure but for the noise stream. Laws: a group below the floor leaves nothing; of every other group, every word that is
//! measured is noised once, before its selection is looked at; a group below the threshold leaves nothing; without keys there is one row, or none where it is suppressed;
//! rows come out in the order of their key values, so that their order says nothing that the rows do not say. Must never: put an
//! exact word into its output.
//!
//! Where keys are many, most groups are below the floor, and nothing is drawn for them: what is gone whatever its noise needs none. So the
//! time of a release follows the number of groups, as the aggregation below it does, and of those with enough persons. Of words, and of
//! what selects, it never follows which of them the noise lets pass; other trees, and so the two counts of a share beside a person
//! count, are drawn for those that pass.
//!
//! **Sensitivity** as the aggregates state. **Noise** one draw of its mechanism a measurement (for trees: a node)
//! and group. **Cost** Σ ρ, or Σ ε, over the measurements, and δ of the threshold: the chance that a group of exactly `floor` persons passes
//! it. **Source** Canonne, Kamath, Steinke 2020; pre-thresholding after Google's differential-privacy library,
//! `common_docs/pre_thresholding.md`.

use super::spec::{Measurement, ReleaseSpec, What};
use crate::noise::NoiseStream;
use crate::unreleased::{Words, words_of};
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeListArray, Int64Array, RecordBatch, RecordBatchOptions,
    UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err};
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::sync::Arc;

/// The largest number of a Decimal128(38, 0).
const LARGEST: i128 = 10_i128.pow(38) - 1;

/// Releases all groups of one aggregate: `columns` as the input of the spec, in the input's order.
pub fn release(
    input: &Schema,
    columns: &[ArrayRef],
    spec: &ReleaseSpec,
    stream: &mut NoiseStream,
) -> Result<RecordBatch> {
    spec.check(input)?;
    if columns.len() != input.fields().len() {
        return exec_err!("release: the batch and its schema differ");
    }
    let words = unreleased_columns(input, columns, spec.keys)?;
    let groups = words[spec.persons - spec.keys].len();
    if spec.keys == 0 && groups > 1 {
        return exec_err!("release: a release without keys has one group");
    }
    each_group_once(input, columns, spec.keys, groups)?;
    let exact = Exact { words, keys: spec.keys };
    let large = (0..groups).filter(|&group| exact.get(group, spec.persons, 0) >= i128::from(spec.floor)).collect();
    let noised = Noised::draw(&exact, large, spec, stream);
    let kept: Vec<Kept> = noised.groups().filter(|group| passes(&exact, group, spec)).collect();
    let kept = in_key_order(columns, spec.keys, kept)?;
    emit(input, columns, spec, &exact, &kept, stream)
}

/// A group that comes in two parts would be noised twice and shown twice, and its persons counted twice below: a defect of the plan.
fn each_group_once(input: &Schema, columns: &[ArrayRef], keys: usize, groups: usize) -> Result<()> {
    if keys == 0 || groups == 0 {
        return Ok(());
    }
    let schema = Schema::new(input.fields()[..keys].to_vec());
    let mut values = new_group_values(Arc::new(schema), &GroupOrdering::None)?;
    values.intern(&columns[..keys], &mut Vec::with_capacity(groups))?;
    if values.len() != groups { exec_err!("release: a group comes in more than one part") } else { Ok(()) }
}

/// The unreleased columns, which begin after the keys.
struct Exact<'a> {
    words: Vec<Words<'a>>,
    keys: usize,
}

impl Exact<'_> {
    fn get(&self, group: usize, column: usize, word: usize) -> i128 {
        self.words[column - self.keys].get(group, word)
    }
}

/// The noised words of the groups that are large enough, group after group. A tree has 0 in its place, or, where it selects, its sum.
struct Noised {
    groups: Vec<usize>,
    values: Vec<i128>,
    measurements: usize,
    /// The nodes of the tree that selects, where one does: so many a group.
    nodes: Vec<i64>,
    nodes_each: usize,
}

/// A group, its noised words, and the nodes of the tree that selects.
#[derive(Clone, Copy)]
struct Kept<'a> {
    group: usize,
    noised: &'a [i128],
    nodes: &'a [i64],
}

impl Noised {
    fn draw(exact: &Exact, groups: Vec<usize>, spec: &ReleaseSpec, stream: &mut NoiseStream) -> Self {
        let measurements = spec.measurements.len();
        let nodes_each = match spec.measurements.first().map(|selects| selects.what) {
            Some(tree @ What::Tree { .. }) => tree.nodes(),
            Some(What::Word(_)) | None => 0,
        };
        let mut values = Vec::with_capacity(groups.len() * measurements);
        let mut nodes = Vec::with_capacity(groups.len() * nodes_each);
        for &group in &groups {
            for (number, measurement) in spec.measurements.iter().enumerate() {
                values.push(match measurement.what {
                    What::Word(word) => {
                        let value = exact.get(group, measurement.column, word);
                        value.saturating_add(measurement.noise.sample(stream)).clamp(-LARGEST, LARGEST)
                    }
                    What::Tree { branching, .. } if number == 0 => {
                        let first = nodes.len();
                        draw_tree(exact, measurement, group, stream, &mut nodes);
                        // Each level is all rows; the first has the fewest nodes.
                        nodes[first..].iter().take(branching).map(|node| i128::from(*node)).sum()
                    }
                    What::Tree { .. } => 0,
                });
            }
        }
        Self { groups, values, measurements, nodes, nodes_each }
    }

    fn groups(&self) -> impl Iterator<Item = Kept<'_>> {
        // There is a measurement at least: the one that selects.
        let words = self.values.chunks(self.measurements.max(1));
        let nodes = |index: usize| &self.nodes[index * self.nodes_each..][..self.nodes_each];
        let groups = self.groups.iter().zip(words).enumerate();
        groups.map(move |(index, (&group, noised))| Kept { group, noised, nodes: nodes(index) })
    }
}

fn unreleased_columns<'a>(input: &Schema, columns: &'a [ArrayRef], keys: usize) -> Result<Vec<Words<'a>>> {
    let fields = input.fields()[keys..].iter();
    fields.zip(&columns[keys..]).map(|(field, column)| Words::new(column, words_of(field).unwrap_or(0))).collect()
}

fn passes(exact: &Exact, group: &Kept, spec: &ReleaseSpec) -> bool {
    let persons = exact.get(group.group, spec.persons, 0);
    #[cfg(feature = "mutants")]
    if crate::mutants::Mutant::ExactThreshold.lives() {
        return persons >= i128::from(spec.threshold);
    }
    (persons >= i128::from(spec.floor)) & (group.noised[0] >= i128::from(spec.threshold))
}

/// Key values as rows that compare and hash.
pub(super) fn key_rows(columns: &[ArrayRef]) -> Result<Rows> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?.convert_columns(columns)?)
}

fn in_key_order<'a>(columns: &[ArrayRef], keys: usize, kept: Vec<Kept<'a>>) -> Result<Vec<Kept<'a>>> {
    if keys == 0 {
        return Ok(kept);
    }
    let rows = key_rows(&of_groups(&columns[..keys], &kept)?)?;
    // Most rows differ in their first bytes, and those are here while the rows are anywhere.
    let mut sorted: Vec<(u128, usize)> = rows.iter().map(|row| first_bytes(row.as_ref())).zip(0..).collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rows.row(a.1).cmp(&rows.row(b.1))));
    Ok(sorted.into_iter().map(|(_, place)| kept[place]).collect())
}

/// A number that is less only where the bytes are.
fn first_bytes(row: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = row.len().min(bytes.len());
    bytes[..length].copy_from_slice(&row[..length]);
    u128::from_be_bytes(bytes)
}

fn of_groups(columns: &[ArrayRef], groups: &[Kept]) -> Result<Vec<ArrayRef>> {
    let indices = UInt64Array::from_iter_values(groups.iter().map(|group| group.group as u64));
    columns.iter().map(|column| Ok(take(column, &indices, None)?)).collect()
}

fn emit(
    input: &Schema,
    columns: &[ArrayRef],
    spec: &ReleaseSpec,
    exact: &Exact,
    kept: &[Kept],
    stream: &mut NoiseStream,
) -> Result<RecordBatch> {
    let mut released = of_groups(&columns[..spec.keys], kept)?;
    for (number, measurement) in spec.measurements.iter().enumerate() {
        released.push(match measurement.what {
            What::Word(_) => {
                let values = kept.iter().map(|group| group.noised[number]);
                Arc::new(Decimal128Array::from_iter_values(values).with_precision_and_scale(38, 0)?)
            }
            What::Tree { .. } => {
                let mut all = Vec::with_capacity(measurement.what.nodes() * kept.len());
                for group in kept {
                    match number {
                        0 => all.extend(group.nodes),
                        _ => draw_tree(exact, measurement, group.group, stream, &mut all),
                    }
                }
                let field = Arc::new(Field::new("node", DataType::Int64, false));
                let nodes = Arc::new(Int64Array::from(all));
                Arc::new(FixedSizeListArray::try_new(field, measurement.what.nodes() as i32, nodes, None)?)
            }
        });
    }
    for cell in &spec.cells {
        let enough = |group: &Kept| {
            let persons = exact.get(group.group, cell.column, cell.word);
            (persons >= i128::from(spec.floor)) & (group.noised[cell.count] >= i128::from(cell.threshold))
        };
        released.push(Arc::new(BooleanArray::from(kept.iter().map(enough).collect::<Vec<_>>())));
    }
    released.push(Arc::new(Int64Array::from(vec![1; kept.len()])));
    let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
    Ok(RecordBatch::try_new_with_options(spec.measured_schema(input), released, &options)?)
}

/// Adds the noised nodes of a group's tree, level after level from the top.
fn draw_tree(exact: &Exact, measurement: &Measurement, group: usize, stream: &mut NoiseStream, all: &mut Vec<i64>) {
    let What::Tree { leaves, branching } = measurement.what else { return };
    for level in 1..=measurement.what.levels() {
        let width = leaves / branching.pow(level);
        for first in (0..leaves).step_by(width) {
            let count: i128 = (first..first + width).map(|leaf| exact.get(group, measurement.column, leaf)).sum();
            let count = count.saturating_add(measurement.noise.sample(stream));
            all.push(count.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    /// Texts of which some agree in more bytes than are held beside the rows, and one is the beginning of another.
    #[test]
    fn groups_come_in_the_order_of_their_keys() {
        let texts = (0..2_000_u32).map(|i| match i % 7 {
            0 => None,
            1 => Some(String::new()),
            n => Some("a text of which much is the same".repeat(n as usize % 3) + &"x".repeat((i * 31 % 40) as usize)),
        });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(texts.collect::<StringArray>()),
            Arc::new((0..2_000).map(|i| (i % 11 > 0).then_some(i * 7_919 % 2_000 - 1_000)).collect::<Int64Array>()),
        ];
        for keys in [&columns[..], &columns[1..]] {
            let rows = key_rows(keys).unwrap();
            let kept = (0..2_000)
                .rev()
                .filter(|group| group % 3 > 0)
                .map(|group| Kept { group, noised: &[], nodes: &[] })
                .collect();
            let ordered = in_key_order(keys, keys.len(), kept).unwrap();
            let groups: Vec<usize> = ordered.iter().map(|kept| kept.group).collect();
            assert_eq!(groups.len(), 1_333);
            assert!(groups.windows(2).all(|pair| rows.row(pair[0]) <= rows.row(pair[1])));
        }
    }
}
