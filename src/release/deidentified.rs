//! What a grant of access shows of a table's rows, made of all of them before anybody sees one: de-identified rows, or one person's own.
//!
//! In: raw rows, a recipe, keys. Out: rows of pseudonyms, attributes that enough persons share, and measures moved by noise, in an order
//! that tells nothing, each with the name by which it is counted. Everything is decided over the whole table under the grant's own
//! columns, so that a filter, an order or a LIMIT changes nothing of what is shown of a row, and asking again shows the same.
//!
//! **Suppression.** A row whose attributes (masked as they are shown) fewer than `floor` persons share is left out.
//!
//! **Noise.** A measure is clamped to its bounds, rounded at random to a lattice, and moved by a uniform number of its steps, as far one
//! way as the other: mean 0, bounded by the recipe's share of the range (and one step). A mean of n rows is off by about
//! `share * range / sqrt(3 n)`. What is shown may lie outside of the bounds; clamping it again would bend means.
//!
//! **Seeds.** The noise is derived (HMAC-SHA-256 under the grant's key, of the row, the column and the value) and not drawn, so that
//! asking again averages nothing out. For a release that would be wrong: a seed that meets changed data shows the change exactly. Here
//! the value is part of what is hashed, so a changed value has noise of its own, and the key ends with the grant.
//!
//! **Pseudonyms.** 15 of 62 letters and digits, 89 bits: among a million values two meet with probability 10^-15; two that do are refused.
//!
//! **Level `direct`** shows one person's own rows as they are: nothing is suppressed or moved, and rows of a second person among them are
//! a fault that shows none. Identifiers of others are pseudonyms there, too.
//!
//! **Sensitivity, Cost** none is promised: these rows are *not* differentially private.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use hmac::{Hmac, KeyInit, Mac};
use paravent_udfs::{PseudonymKey, pseudonym};
use sha2::Sha256;

use crate::error::{Error, Result, SqlState};
use crate::keys::Key;
use crate::policy::{Bounds, Level};
use crate::query::{RowRecipe, Shows};

/// Steps of the lattice from no noise to the most.
const STEPS: f64 = 64.0;

/// What a recipe needs besides the rows.
#[derive(Clone)]
pub struct RowKeys {
    /// Of the grant.
    pub access: Key,
    /// Of each family of pseudonyms.
    pub families: BTreeMap<String, Key>,
    /// Two purposes have no pseudonym in common.
    pub purpose: String,
}

/// A row's name under one grant.
pub type RowName = [u8; 16];

/// `raw`: as [`RowRecipe`] describes. `schema`: of what is shown, the row's name last. Errors: 55000 where two values have one pseudonym.
pub(super) fn deidentify(
    raw: &RecordBatch,
    recipe: &RowRecipe,
    schema: &SchemaRef,
    keys: &RowKeys,
) -> Result<RecordBatch> {
    let width = recipe.columns.len();
    let columns = raw.columns();
    let (values, rest) = columns.split_at_checked(width).ok_or_else(Error::internal)?;
    let (person, _) = rest.split_first().ok_or_else(Error::internal)?;
    let names = names(keys, rest)?;
    let persons = encoded(std::slice::from_ref(person))?;
    if recipe.level == Level::Direct && persons.iter().any(|person| Some(person) != persons.first()) {
        tracing::error!("rows of more than one person were read for one person's request");
        return Err(Error::internal());
    }

    let mut shown = Vec::new();
    for (column, value) in recipe.columns.iter().zip(values) {
        let drawn = match &column.shows {
            Shows::Pseudonym { family, .. } => pseudonyms(keys, family, value)?,
            Shows::Attribute | Shows::Measure | Shows::Own => value.clone(),
            Shows::Noised { bounds, integer } => {
                let noise = Lattice::of(*bounds, recipe.noise, *integer)?;
                noise.moved(keys, &column.name, value, &names)?
            }
        };
        // A mask of an identifier would be one of its pseudonym.
        let masked = column.mask.filter(|_| !matches!(column.shows, Shows::Pseudonym { .. }));
        shown.push(match masked {
            Some(mask) => mask.apply(&drawn).map_err(|_| Error::internal())?,
            None => drawn,
        });
    }
    let attributes: Vec<ArrayRef> = recipe
        .columns
        .iter()
        .zip(&shown)
        .filter(|(c, _)| c.shows == Shows::Attribute)
        .map(|(_, a)| a.clone())
        .collect();
    let mut kept = shared_by_enough(&attributes, &persons, recipe.floor)?;
    kept.sort_by_key(|row| names.get(*row).copied());

    let named = BinaryArray::from_iter_values(names.iter());
    shown.push(Arc::new(named));
    let kept = UInt64Array::from_iter_values(kept.into_iter().map(|row| row as u64));
    let taken = shown.iter().zip(schema.fields()).map(|(column, field)| {
        let column = take(column, &kept, None)?;
        if column.data_type() == field.data_type() { Ok(column) } else { cast(&column, field.data_type()) }
    });
    let taken = taken.collect::<std::result::Result<Vec<_>, _>>().map_err(|_| Error::internal())?;
    RecordBatch::try_new(schema.clone(), taken).map_err(|_| Error::internal())
}

/// A name for each row, of its person and of what tells a person's rows apart. Rows that agree in that are numbered: they are alike, so
/// it does not matter which is which.
fn names(keys: &RowKeys, identity: &[ArrayRef]) -> Result<Vec<RowName>> {
    let mut seen: HashMap<OwnedRow, u64> = HashMap::new();
    let rows = encoded(identity)?;
    let mut names = Vec::with_capacity(rows.len());
    for row in rows {
        let number = seen.entry(row.clone()).or_default();
        let name = mac(keys, "row", &[row.as_ref(), &number.to_be_bytes()]);
        *number += 1;
        let (name, _) = name.split_first_chunk().ok_or_else(Error::internal)?;
        names.push(*name);
    }
    Ok(names)
}

/// Rows whose attributes at least `floor` persons share.
fn shared_by_enough(attributes: &[ArrayRef], persons: &[OwnedRow], floor: u64) -> Result<Vec<usize>> {
    let mut groups: HashMap<Option<OwnedRow>, (HashSet<&OwnedRow>, Vec<usize>)> = HashMap::new();
    // Without attributes all rows are alike.
    let combinations = if attributes.is_empty() { Vec::new() } else { encoded(attributes)? };
    for (row, person) in persons.iter().enumerate() {
        let (sharing, rows) = groups.entry(combinations.get(row).cloned()).or_default();
        sharing.insert(person);
        rows.push(row);
    }
    let enough = |group: &(HashSet<&OwnedRow>, Vec<usize>)| group.0.len() as u64 >= floor;
    Ok(groups.into_values().filter(enough).flat_map(|(_, rows)| rows).collect())
}

fn pseudonyms(keys: &RowKeys, family: &str, values: &ArrayRef) -> Result<ArrayRef> {
    let key = keys.families.get(family).ok_or_else(Error::internal)?;
    let key = PseudonymKey::from_slice(key.bytes()).map_err(|_| Error::internal())?;
    // The family's length first, so that no other pair of family and purpose is hashed alike.
    let label = format!("{}:{family}{}", family.len(), keys.purpose);
    let texts = cast(values, &DataType::Utf8).map_err(|_| Error::internal())?;
    let texts = texts.as_string_opt::<i32>().ok_or_else(Error::internal)?;
    let mut named: HashMap<&str, String> = HashMap::new();
    let shown: StringArray = texts
        .iter()
        .map(|text| text.map(|text| named.entry(text).or_insert_with(|| pseudonym(&key, &label, text)).clone()))
        .collect();
    let different: HashSet<&String> = named.values().collect();
    if different.len() != named.len() {
        return Err(Error::new(SqlState::ObjectNotInPrerequisiteState, "two values have the same pseudonym")
            .detail("it would make two persons one; with 89 bits this is not expected to happen")
            .hint("an administrator says CALL privacy.rotate_key(…)"));
    }
    Ok(Arc::new(shown))
}

/// Where a measure's values stand, and how far noise moves them.
struct Lattice {
    bounds: Bounds,
    step: f64,
    /// Steps, either way.
    reach: u64,
    integer: bool,
}

impl Lattice {
    /// `share` of the range is the farthest that noise moves a value; of integers at least by 1.
    fn of(bounds: Bounds, share: f64, integer: bool) -> Result<Self> {
        let range = bounds.upper() - bounds.lower();
        let farthest = share * range;
        if !farthest.is_finite() || farthest < 0.0 {
            return Err(Error::internal());
        }
        let fine = farthest / STEPS;
        let step = if integer {
            fine.ceil().max(1.0)
        } else if fine > 0.0 {
            fine
        } else {
            1.0
        };
        let reach = (farthest / step).floor().max(1.0) as u64;
        // Of one possible value there is nothing to hide.
        let reach = if range == 0.0 { 0 } else { reach };
        Ok(Self { bounds, step, reach, integer })
    }

    fn moved(&self, keys: &RowKeys, column: &str, values: &ArrayRef, names: &[RowName]) -> Result<ArrayRef> {
        let values = cast(values, &DataType::Float64).map_err(|_| Error::internal())?;
        let values = values.as_primitive_opt::<Float64Type>().ok_or_else(Error::internal)?;
        let moved = values.iter().zip(names).map(|(value, name)| {
            value.filter(|value| !value.is_nan()).map(|value| self.value(keys, column, value, name))
        });
        let moved: Float64Array = moved.collect();
        if !self.integer {
            return Ok(Arc::new(moved));
        }
        Ok(Arc::new(moved.iter().map(|value| value.map(|value| value.round() as i64)).collect::<Int64Array>()))
    }

    fn value(&self, keys: &RowKeys, column: &str, value: f64, name: &RowName) -> f64 {
        let value = value.clamp(self.bounds.lower(), self.bounds.upper());
        // Whatever decides how the noise looks is hashed: no two kinds of noise are of one seed.
        let shape = [value, self.bounds.lower(), self.step, self.reach as f64].map(f64::to_bits).map(u64::to_be_bytes);
        let drawn = mac(keys, "noise", &[column.as_bytes(), name, shape.as_flattened()]);
        let word = |from: usize| {
            drawn.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
        };
        let unit = (word(0) >> 11) as f64 / (1_u64 << 53) as f64;
        let place = (value - self.bounds.lower()) / self.step;
        let rounded = place.floor() + f64::from(u8::from(unit < place.fract()));
        // The remainder's bias is below the range over 2^128.
        let wide = u128::from(word(8)) << 64 | u128::from(word(16));
        let noise = (wide % u128::from(2 * self.reach + 1)) as f64 - self.reach as f64;
        self.bounds.lower() + (rounded + noise) * self.step
    }
}

/// HMAC-SHA-256 under the grant's key; each part with its length before it.
fn mac(keys: &RowKeys, what: &str, parts: &[&[u8]]) -> [u8; 32] {
    // RFC 2104 fills a key up to the block with zeros; done here, there is no wrong length to handle.
    let mut block = [0; 64];
    for (slot, byte) in block.iter_mut().zip(keys.access.bytes()) {
        *slot = *byte;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in std::iter::once(&what.as_bytes()).chain(parts) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn encoded(columns: &[ArrayRef]) -> Result<Vec<OwnedRow>> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields).and_then(|converter| converter.convert_columns(columns));
    Ok(rows.map_err(|_| Error::internal())?.iter().map(|row| row.owned()).collect())
}

#[cfg(test)]
mod tests;
