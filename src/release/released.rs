//! Rows that may leave: made here, by a release or by the plan above it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;

use crate::error::{Error, Result};

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
}

impl Shaped {
    /// The engine's columns under the names that the client sees.
    pub(super) fn named(names: &SchemaRef, schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        if names.fields().len() != schema.fields().len() {
            return Err(Error::internal());
        }
        let fields = schema.fields().iter().zip(names.fields());
        let fields: Vec<Field> = fields.map(|(field, named)| field.as_ref().clone().with_name(named.name())).collect();
        let schema = Arc::new(Schema::new(fields));
        let renamed = batches.into_iter().map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()));
        let batches = renamed.collect::<std::result::Result<_, _>>().map_err(|_| Error::internal())?;
        Ok(Self { schema, batches })
    }

    /// No rows: the answer of a statement that has none, whatever the data.
    pub fn empty(schema: SchemaRef) -> Self {
        Self { schema, batches: vec![] }
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
