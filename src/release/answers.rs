//! Answers from answers: which stored rows answer a release that is asked now, at no cost.
//!
//! Three ways, tried in this order. *The same* release, by whatever name. *A part* of one: its measurements are among those that
//! were drawn. *A roll-up*: its keys are among the stored ones, and what is asked adds up over groups; only where the asker prefers
//! it to new spending, as groups that were suppressed are missing from the sum. Stored rows answer only under the rules, data and
//! epsilon that the question has now: the key holds epoch and snapshots, and rows drawn for a smaller epsilon, or by another
//! mechanism, are passed over (unless the asker prefers them). Must never: draw noise.
//!
//! **Sensitivity, Noise, Cost** none: post-processing of earlier releases (Dwork, Roth 2014, Proposition 2.1).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, FixedSizeListArray, Int64Array, RecordBatch,
    RecordBatchOptions, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, Int64Type, Schema};
use arrow::row::{OwnedRow, RowConverter, SortField};
use sha2::{Digest, Sha256};

use super::measured::{Answers, Drawn, Measured};
use super::released::Released;
use crate::error::{Error, Result};
use crate::ledger::StoredAnswer;
use crate::query::{Identity, MeasurementIdentity, Scopes, SourceKind, VerifiedRelease};

/// Where the answers about some rows are kept: a hash of rows, data, rules and scope.
pub type RowsKey = [u8; 32];

/// Where a release's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    New,
    Same,
    Part,
    RollUp,
}

impl Origin {
    /// For EXPLAIN.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::New => "new release",
            Self::Same => "stored answer, free of charge",
            Self::Part => "part of a stored answer, free of charge",
            Self::RollUp => "added up from stored groups, free of charge",
        }
    }
}

/// The key of the rows that a release reads. `earlier`: what the statement's earlier releases gave, as far as known; a release that
/// reads one that is not known yet has no key.
pub fn rows_key(
    release: &VerifiedRelease,
    earlier: &[Option<Released>],
    snapshots: &BTreeMap<String, String>,
    scopes: &Scopes,
    release_epoch: u64,
) -> Result<Option<RowsKey>> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&release_epoch.to_le_bytes());
    for source in release.sources() {
        match source {
            SourceKind::Protected(table) | SourceKind::Public(table) => {
                part(table.as_bytes());
                part(snapshots.get(&table).map_or("", String::as_str).as_bytes());
                part(scopes.identity(&table).as_bytes());
            }
            SourceKind::Directory(_) | SourceKind::Opened(_) => return Err(Error::internal()),
            SourceKind::Released(number) => match earlier.get(number) {
                Some(Some(rows)) => part(&rows.to_bytes()?),
                Some(None) | None => return Ok(None),
            },
        }
    }
    part(release.identity().rows.as_bytes());
    Ok(Some(hash.finalize().into()))
}

/// How stored rows answer a release: which of them, and what has to be done with them.
pub struct Found {
    /// Its number among those that were looked at.
    pub number: usize,
    pub origin: Origin,
    wanted: Identity,
    drawn: Drawn,
    columns: Columns,
}

/// The stored rows that answer `release`. `stored`: what is kept under its [`rows_key`], the oldest first.
pub fn find(
    release: &VerifiedRelease,
    stored: &[StoredAnswer],
    asked: Drawn,
    prefer_stored: bool,
) -> Result<Option<Found>> {
    let wanted = release.identity();
    let kept = stored.iter().map(|kept| Answers::from_store(&kept.answers)).collect::<Result<Vec<_>>>()?;
    let found = |(number, kept): (usize, &Answers), origin, columns| Found {
        number,
        origin,
        wanted: wanted.clone(),
        drawn: kept.drawn,
        columns,
    };
    for (number, kept) in kept.iter().enumerate() {
        let accurate = prefer_stored || kept.drawn.serves(&asked);
        if let Some(columns) = Columns::same_groups(wanted, &kept.identity).filter(|_| accurate) {
            let whole = wanted.measurements.len() == kept.identity.measurements.len();
            return Ok(Some(found((number, kept), if whole { Origin::Same } else { Origin::Part }, columns)));
        }
    }
    if !prefer_stored {
        return Ok(None);
    }
    let finer = kept.iter().enumerate().filter_map(|(number, kept)| {
        Some(found((number, kept), Origin::RollUp, Columns::finer_groups(wanted, &kept.identity)?))
    });
    // The fewer keys, the fewer groups to add up, and the less noise.
    Ok(finer.min_by_key(|found| kept.get(found.number).map_or(usize::MAX, |kept| kept.identity.keys.len())))
}

impl Found {
    /// The answer, from the bytes of the rows that were found.
    pub fn measured(&self, bytes: &[u8]) -> Result<Measured> {
        let chosen = self.columns.chosen(&Answers::rows_from_store(bytes)?, &self.wanted)?;
        let keys = self.wanted.keys.len();
        let batch = if self.origin == Origin::RollUp { rolled_up(chosen, keys)? } else { chosen };
        Ok(Measured::new(batch, self.wanted.clone(), self.drawn))
    }
}

/// Where the wanted columns are among stored ones.
struct Columns(Vec<usize>);

impl Columns {
    /// The same groups, and every measurement and cell among those that are there.
    fn same_groups(wanted: &Identity, stored: &Identity) -> Option<Self> {
        if wanted.keys.len() != stored.keys.len() {
            return None;
        }
        Self::found(wanted, stored, |want, have| have == want, |want, have| want.exact == have.exact)
    }

    /// Finer groups, and every measurement adds up.
    fn finer_groups(wanted: &Identity, stored: &Identity) -> Option<Self> {
        let adds_up = |want: &MeasurementIdentity, have: &MeasurementIdentity| {
            want.additive.is_some() && want.additive == have.additive
        };
        // A part of a finer group is the same part as long as it is told by the same count.
        Self::found(wanted, stored, |want, have| have == want, adds_up)
    }

    fn found(
        wanted: &Identity,
        stored: &Identity,
        same_text: impl Fn(&String, &String) -> bool,
        same_number: impl Fn(&MeasurementIdentity, &MeasurementIdentity) -> bool,
    ) -> Option<Self> {
        let keys = wanted.keys.iter().map(|want| stored.keys.iter().position(|have| same_text(want, have)));
        let numbers = wanted.measurements.iter().map(|want| {
            let place = stored.measurements.iter().position(|have| same_number(want, have))?;
            Some(stored.keys.len() + place)
        });
        let cells = wanted.cells.iter().map(|want| {
            let place = stored.cells.iter().position(|have| same_text(want, have))?;
            Some(stored.keys.len() + stored.measurements.len() + place)
        });
        let merged = stored.keys.len() + stored.measurements.len() + stored.cells.len();
        keys.chain(numbers).chain(cells).chain([Some(merged)]).collect::<Option<Vec<_>>>().map(Self)
    }

    /// The wanted columns in the wanted order, under the names that measured rows have.
    fn chosen(&self, rows: &RecordBatch, wanted: &Identity) -> Result<RecordBatch> {
        let (keys, numbers, cells) = (wanted.keys.len(), wanted.measurements.len(), wanted.cells.len());
        let name = |i: usize, was: &str| match i {
            i if i < keys => was.to_owned(),
            i if i < keys + numbers => format!("__m{}", i - keys),
            i if i < keys + numbers + cells => format!("__cell{}", i - keys - numbers),
            _ => was.to_owned(),
        };
        let fields = self.0.iter().enumerate().map(|(i, &from)| {
            let field = rows.schema_ref().fields().get(from).ok_or_else(Error::internal)?;
            Ok(Arc::new(field.as_ref().clone().with_name(name(i, field.name()))))
        });
        let fields = fields.collect::<Result<Vec<FieldRef>>>()?;
        let columns = self.0.iter().map(|&from| rows.column(from).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|_| Error::internal())
    }
}

/// Sums of the rows that agree in the first `keys` columns, in the order of the keys.
fn rolled_up(batch: RecordBatch, keys: usize) -> Result<RecordBatch> {
    let groups = groups(&batch, keys)?;
    let firsts = UInt64Array::from_iter_values(groups.iter().filter_map(|rows| rows.first()).map(|row| *row as u64));
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (index, column) in batch.columns().iter().enumerate() {
        columns.push(if index < keys {
            take(column, &firsts, None).map_err(|_| Error::internal())?
        } else {
            sums(column, &groups)?
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options).map_err(|_| Error::internal())
}

/// The rows of each group; without keys all of them, or no group where there is no row.
fn groups(batch: &RecordBatch, keys: usize) -> Result<Vec<Vec<usize>>> {
    if keys == 0 {
        let all: Vec<usize> = (0..batch.num_rows()).collect();
        return Ok(if all.is_empty() { vec![] } else { vec![all] });
    }
    let columns = batch.columns().get(..keys).ok_or_else(Error::internal)?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(columns));
    let converted = converted.map_err(|_| Error::internal())?;
    let mut groups: HashMap<OwnedRow, Vec<usize>> = HashMap::new();
    for (number, row) in converted.iter().enumerate() {
        groups.entry(row.owned()).or_default().push(number);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort();
    Ok(groups.into_iter().map(|(_, rows)| rows).collect())
}

/// Numbers and trees are added; a part is shown where one of its parts was persons enough.
fn sums(column: &ArrayRef, groups: &[Vec<usize>]) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Decimal128(..) => {
            let numbers = column.as_primitive::<Decimal128Type>();
            let total =
                |rows: &Vec<usize>| rows.iter().fold(0_i128, |sum, &row| sum.saturating_add(numbers.value(row)));
            let totals = Decimal128Array::from_iter_values(groups.iter().map(total));
            Ok(Arc::new(totals.with_data_type(column.data_type().clone())))
        }
        DataType::Int64 => {
            let numbers = column.as_primitive::<Int64Type>();
            let total = |rows: &Vec<usize>| rows.iter().map(|&row| numbers.value(row)).sum::<i64>();
            Ok(Arc::new(Int64Array::from_iter_values(groups.iter().map(total))))
        }
        DataType::Boolean => {
            let flags = column.as_boolean();
            let any = groups.iter().map(|rows| rows.iter().any(|&row| flags.value(row)));
            Ok(Arc::new(BooleanArray::from(any.collect::<Vec<_>>())))
        }
        DataType::FixedSizeList(field, width) => {
            let lists = column.as_fixed_size_list();
            let nodes = lists.values().as_primitive::<Int64Type>().values();
            let width_of = *width as usize;
            let mut all = vec![0_i64; width_of * groups.len()];
            for (sum, rows) in all.chunks_mut(width_of).zip(groups) {
                for row in rows {
                    let of_row = nodes.get(row * width_of..(row + 1) * width_of).ok_or_else(Error::internal)?;
                    sum.iter_mut().zip(of_row).for_each(|(sum, node)| *sum = sum.saturating_add(*node));
                }
            }
            let list = FixedSizeListArray::try_new(field.clone(), *width, Arc::new(Int64Array::from(all)), None);
            Ok(Arc::new(list.map_err(|_| Error::internal())?))
        }
        _ => Err(Error::internal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::compile_tests::compile;

    /// A share was a sum and a count once, kept as words 0 and 1 of its state; now these hold other numbers.
    #[test]
    fn what_was_kept_when_a_share_was_a_sum_and_a_count_answers_no_share() {
        let asked =
            compile("SELECT country, share(hours > 9) FROM person JOIN week USING (id) GROUP BY country").unwrap();
        let now = asked.releases()[0].identity();
        let before = |words: &[usize]| {
            let mut kept = now.clone();
            let counts = kept.measurements.pop().unwrap();
            let word =
                |text: &str, word: &usize| text.replace("Tree { leaves: 2, branching: 2 }", &format!("Word({word})"));
            kept.measurements.extend(words.iter().map(|number| MeasurementIdentity {
                exact: word(&counts.exact, number),
                additive: counts.additive.as_ref().map(|text| word(text, number)),
            }));
            kept
        };
        let answers =
            |kept: &Identity| Columns::same_groups(now, kept).is_some() || Columns::finer_groups(now, kept).is_some();
        assert!(answers(now));
        let [old, same] = [before(&[0, 1]), before(&[])];
        assert!(old.measurements.iter().any(|kept| kept.exact.contains("dp_share") && kept.exact.contains("Word(0)")));
        assert!(!answers(&old) && !answers(&same));
        // Nor does anything of today ask for these words.
        assert!(!now.measurements.iter().any(|asked| old.measurements[1..].contains(asked)));
    }
}
