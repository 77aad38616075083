//! Rows that may leave: made here, by a release or by the plan above it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;

use super::RowName;
use crate::error::{Error, Result};
use crate::policy::TextForm;
use crate::query::ROW;

/// What one release shows: values, errors, nothing that was not noised, nothing outside the band.
#[derive(Debug, Clone)]
pub struct Released {
    batch: RecordBatch,
}

impl Released {
    pub(super) fn new(batch: RecordBatch) -> Self {
        Self { batch }
    }

    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// What the rows hold, for telling them apart.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let written = StreamWriter::try_new(&mut bytes, self.batch.schema_ref())
            .and_then(|mut writer| writer.write(&self.batch).and_then(|()| writer.finish()));
        written.map_err(|_| Error::internal())?;
        Ok(bytes)
    }
}

/// The rows of an answer.
#[derive(Debug, Clone)]
pub struct Shaped {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Of de-identified rows: which they are.
    names: BTreeSet<RowName>,
}

impl Shaped {
    /// Of memory.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    /// The engine's columns under the names that the client sees; a last column more holds the names of de-identified rows.
    pub(super) fn named(names: &SchemaRef, schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        let width = names.fields().len();
        let counted = schema.fields().len() == width + 1 && schema.field(width).name() == ROW;
        if schema.fields().len() != width && !counted {
            return Err(Error::internal());
        }
        let named = if counted { names_of_rows(&batches, width)? } else { BTreeSet::new() };
        let fields = schema.fields().iter().zip(names.fields());
        let fields: Vec<Field> = fields.map(|(field, named)| as_named(field, named)).collect();
        let schema = Arc::new(Schema::new(fields));
        let renamed = batches.into_iter().map(|batch| {
            let columns = batch.columns().iter().take(width).cloned().collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        });
        let batches = renamed.collect::<std::result::Result<_, _>>().map_err(|_| Error::internal())?;
        Ok(Self { schema, batches, names: named })
    }

    /// The de-identified rows that the answer tells of.
    pub fn names(&self) -> &BTreeSet<RowName> {
        &self.names
    }

    /// No rows: the answer of a statement that has none, whatever the data.
    pub fn empty(schema: SchemaRef) -> Self {
        Self { schema, batches: vec![], names: BTreeSet::new() }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}

/// The engine's column under the name, and of the form, that the client is told.
fn as_named(field: &Field, named: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(TextForm::KEY);
    let form = named.metadata().get(TextForm::KEY);
    metadata.extend(form.map(|form| (TextForm::KEY.to_owned(), form.clone())));
    field.clone().with_name(named.name()).with_metadata(metadata)
}

/// Rows without a name are of an outer join's empty side: nothing is told of them.
fn names_of_rows(batches: &[RecordBatch], column: usize) -> Result<BTreeSet<RowName>> {
    let mut names = BTreeSet::new();
    for batch in batches {
        let rows = batch.column(column).as_binary_opt::<i32>().ok_or_else(Error::internal)?;
        for name in rows.iter().flatten() {
            names.insert(name.try_into().map_err(|_| Error::internal())?);
        }
    }
    Ok(names)
}
