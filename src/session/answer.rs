//! What a statement comes to: the only thing the encoder takes.
//!
//! Rows get in through two doors: released and shaped rows, and the catalog's rows about what the session may see.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::cursors::Fetched;
use super::load::Load;
use crate::error::{Error, Result};
use crate::query::statement::CopyFormat;
use crate::release::Shaped;

/// The only thing the encoder takes.
#[derive(Debug)]
pub struct Answer {
    tag: String,
    rows: Option<Rows>,
    /// The client is to send rows now, and is told what came of them then.
    load: Option<Box<Load>>,
    notices: Vec<Notice>,
}

/// Released or public rows.
#[derive(Debug, Clone)]
pub struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    copy: Option<CopyFormat>,
    /// Of a `BINARY` cursor: in binary, also by the simple protocol.
    binary: bool,
}

#[derive(Debug, Clone)]
pub struct Notice {
    pub severity: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Notice {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", message: message.into(), hint: None }
    }
}

impl Answer {
    /// The command tag, complete (`SELECT 8`, `CREATE ROLE`).
    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }

    /// What a `COPY … FROM STDIN` waits for.
    pub fn take_load(&mut self) -> Option<Box<Load>> {
        self.load.take()
    }

    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }
}

impl Rows {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub fn copy(&self) -> Option<&CopyFormat> {
        self.copy.as_ref()
    }

    pub fn is_binary(&self) -> bool {
        self.binary
    }
}

impl Answer {
    /// A statement without rows.
    pub(super) fn done(tag: impl Into<String>) -> Self {
        Self { tag: tag.into(), rows: None, load: None, notices: Vec::new() }
    }

    pub(super) fn of_rows(tag: impl Into<String>, rows: Rows) -> Self {
        Self { tag: tag.into(), rows: Some(rows), load: None, notices: Vec::new() }
    }

    /// Rows are to be sent.
    pub(super) fn of_load(load: Load) -> Self {
        Self { tag: String::new(), rows: None, load: Some(Box::new(load)), notices: Vec::new() }
    }

    pub(super) fn with_notices(mut self, notices: Vec<Notice>) -> Self {
        self.notices.extend(notices);
        self
    }

    pub(super) fn noticing(mut self, wanted: impl Fn(&Notice) -> bool) -> Self {
        self.notices.retain(wanted);
        self
    }
}

impl Rows {
    pub(super) fn released(shaped: &Shaped) -> Self {
        Self { schema: shaped.schema().clone(), batches: shaped.batches().to_vec(), copy: None, binary: false }
    }

    /// Rows about the catalog, the settings, the budget or the log: never about persons.
    pub(super) fn about_the_system(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches, copy: None, binary: false }
    }

    /// Rows that were released, or about the system, when their cursor was declared.
    pub(super) fn fetched(fetched: Fetched) -> Self {
        Self { schema: fetched.schema, batches: fetched.batches, copy: None, binary: fetched.binary }
    }

    /// One text column, as EXPLAIN and SHOW give.
    pub(super) fn text(column: &str, lines: Vec<String>) -> Result<Self> {
        Self::texts(&[column], vec![lines])
    }

    pub(super) fn texts(names: &[&str], columns: Vec<Vec<String>>) -> Result<Self> {
        let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays: Vec<ArrayRef> =
            columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|_| Error::internal())?;
        Ok(Self { schema, batches: vec![batch], copy: None, binary: false })
    }

    pub(super) fn in_copy_format(mut self, format: CopyFormat) -> Self {
        self.copy = Some(format);
        self
    }

    pub fn count(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}
