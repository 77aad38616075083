//! Measured rows: what a release drew, as the answer store keeps it. They never leave as they are.
//!
//! In: the rows of the engine's release operator. Out: the same rows, and what questions they answer. Must never: be handed to the
//! encoder; only what [`Measured::released`] makes of them may be.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use paravent_udfs::estimates;
use serde::{Deserialize, Serialize};

use super::Released;
use crate::error::{Error, Result};
use crate::query::{Identity, VerifiedRelease};

/// Where the stored rows say what they answer.
const ANSWERS: &str = "paravent.answers";

/// The rows of one release, as they were drawn.
#[derive(Debug, Clone)]
pub struct Measured {
    pub(super) batch: RecordBatch,
    pub(super) answers: Answers,
}

/// What measured rows answer, and what they were drawn with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Answers {
    pub identity: Identity,
    /// The statement's epsilon: a question of a larger one is not answered by these rows.
    pub epsilon: f64,
}

impl Measured {
    pub(super) fn new(batch: RecordBatch, identity: Identity, epsilon: f64) -> Self {
        Self { batch, answers: Answers { identity, epsilon } }
    }

    /// The values, errors and masks that a release shows of these rows.
    pub(super) fn released(&self, release: &VerifiedRelease, levels: &[f64]) -> Result<Released> {
        let made = estimates(&self.batch, release.spec()?, release.outputs(), levels);
        made.map(Released::new).map_err(|_| Error::internal())
    }

    /// For the answer store: an Arrow stream.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let answers = serde_json::to_string(&self.answers).map_err(|_| Error::internal())?;
        let fields = self.batch.schema_ref().fields().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, HashMap::from([(ANSWERS.to_owned(), answers)])));
        let mut bytes = Vec::new();
        let written = self.batch.clone().with_schema(schema.clone()).and_then(|batch| {
            let mut writer = StreamWriter::try_new(&mut bytes, &schema)?;
            writer.write(&batch)?;
            writer.finish()
        });
        written.map_err(|_| Error::internal())?;
        Ok(bytes)
    }

    /// Only for bytes out of the answer store, which holds nothing but what [`Measured::to_bytes`] gave it.
    pub fn from_store(bytes: &[u8]) -> Result<Self> {
        let mut reader = StreamReader::try_new(bytes, None).map_err(|_| Error::internal())?;
        let batch = reader.next().transpose().map_err(|_| Error::internal())?.ok_or_else(Error::internal)?;
        let answers = batch.schema_ref().metadata().get(ANSWERS).ok_or_else(Error::internal)?;
        let answers = serde_json::from_str(answers).map_err(|_| Error::internal())?;
        let schema = Arc::new(Schema::new(batch.schema_ref().fields().clone()));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options);
        Ok(Self { batch: batch.map_err(|_| Error::internal())?, answers })
    }
}
