//! A view of measured rows: noised numbers with the standard deviation of their noise.
//!
//! In: a batch as [`super::run::release`] makes it, or several groups of one summed. Must never: be made over anything else.

use super::spec::{MECHANISM, MERGED, ReleaseSpec, SIGMA, What};
use crate::noise::Mechanism;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type};
use datafusion::common::{Result, exec_err};

pub(super) struct Measured<'a> {
    batch: &'a RecordBatch,
    columns: Vec<Column<'a>>,
    mechanism: Mechanism,
    cells: Vec<&'a BooleanArray>,
    merged: &'a Int64Array,
}

struct Column<'a> {
    numbers: Numbers<'a>,
    sigma: f64,
}

enum Numbers<'a> {
    Word(&'a Decimal128Array),
    Tree(&'a [i64], usize),
}

/// The noised numbers of one group.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    rows: &'a Measured<'a>,
    row: usize,
    /// √ of the number of rows that were summed.
    scale: f64,
}

impl<'a> Measured<'a> {
    pub(super) fn new(batch: &'a RecordBatch, spec: &ReleaseSpec) -> Result<Self> {
        let width = spec.keys + spec.measurements.len() + spec.cells.len() + 1;
        if batch.num_columns() != width || batch.schema_ref().field(width - 1).name() != MERGED {
            return exec_err!("release: these are not the rows that were measured");
        }
        let mut columns = Vec::new();
        for (i, measurement) in spec.measurements.iter().enumerate() {
            columns.push(column(batch, spec.keys + i, &measurement.what)?);
        }
        let mechanism = mechanism(batch)?;
        let first_cell = spec.keys + spec.measurements.len();
        let cells = (0..spec.cells.len()).map(|i| batch.column(first_cell + i).as_boolean()).collect();
        let merged = batch.column(width - 1).as_primitive::<Int64Type>();
        Ok(Self { batch, columns, mechanism, cells, merged })
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Of the noise: that with the heavier tails, where columns differ.
    pub(super) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    pub(super) fn key(&self, number: usize) -> &'a ArrayRef {
        self.batch.column(number)
    }

    pub(super) fn group(&'a self, row: usize) -> Group<'a> {
        Group { rows: self, row, scale: (self.merged.value(row).max(1) as f64).sqrt() }
    }
}

fn mechanism(batch: &RecordBatch) -> Result<Mechanism> {
    let named = batch.schema_ref().fields().iter().find_map(|field| field.metadata().get(MECHANISM));
    match named.map(|name| Mechanism::by_name(name)) {
        None => Ok(Mechanism::Gaussian),
        Some(Some(mechanism)) => Ok(mechanism),
        Some(None) => exec_err!("release: a measured column of an unknown noise"),
    }
}

fn column<'a>(batch: &'a RecordBatch, index: usize, what: &What) -> Result<Column<'a>> {
    let sigma = batch.schema_ref().field(index).metadata().get(SIGMA).and_then(|sigma| sigma.parse::<f64>().ok());
    let Some(sigma) = sigma.filter(|sigma| *sigma > 0.0) else {
        return exec_err!("release: a measured column without its noise");
    };
    let array = batch.column(index);
    let numbers = match what {
        What::Word(_) => array.as_primitive_opt::<Decimal128Type>().map(Numbers::Word),
        What::Tree { .. } => array.as_fixed_size_list_opt().and_then(|list| {
            let nodes = list.values().as_primitive_opt::<Int64Type>()?;
            (list.value_length() as usize == what.nodes() && list.offset() == 0)
                .then(|| Numbers::Tree(nodes.values(), what.nodes()))
        }),
    };
    match numbers {
        Some(numbers) => Ok(Column { numbers, sigma }),
        None => exec_err!("release: a measured column of another kind"),
    }
}

impl<'a> Group<'a> {
    /// The noised word; 0 for a tree.
    pub(super) fn noised(&self, measurement: usize) -> i128 {
        match self.rows.columns[measurement].numbers {
            Numbers::Word(words) => words.value(self.row),
            Numbers::Tree(..) => 0,
        }
    }

    /// The noised nodes of a tree, level after level from the top; none for a word.
    pub(super) fn tree(&self, measurement: usize) -> &'a [i64] {
        match self.rows.columns[measurement].numbers {
            Numbers::Word(_) => &[],
            Numbers::Tree(nodes, width) => &nodes[self.row * width..][..width],
        }
    }

    /// The standard deviation of the noise in each number of a measurement.
    pub(super) fn sigma(&self, measurement: usize) -> f64 {
        self.rows.columns[measurement].sigma * self.scale
    }

    /// Are the persons of this part enough?
    pub(super) fn shows(&self, cell: Option<usize>) -> bool {
        cell.is_none_or(|cell| self.rows.cells[cell].value(self.row))
    }
}
