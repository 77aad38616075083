//! Measured rows: what a release drew, as the answer store keeps it. They never leave as they are.
//!
//! In: the rows of the engine's release operator. Out: the same rows, and what questions they answer. Must never: be handed to the
//! encoder; only what [`Measured::released`] makes of them may be.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use paravent_udfs::estimates;
use serde::{Deserialize, Serialize};

use super::Released;
use crate::error::{Error, Result};
use crate::policy::{Mechanism, mechanism_by_name};
use crate::query::{Context, Identity, VerifiedRelease};

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
    #[serde(flatten)]
    pub drawn: Drawn,
}

/// What the noise of a statement's releases was drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// The statement's setting.
    pub epsilon: f64,
    /// Rows from before there were two are Gaussian.
    #[serde(default, with = "mechanism_by_name")]
    pub mechanism: Mechanism,
}

impl Drawn {
    /// As the settings of a statement say.
    pub fn with(context: &Context) -> Self {
        Self { epsilon: context.epsilon.get(), mechanism: context.mechanism }
    }

    /// Do rows drawn with `self` answer what is to be drawn with `asked`? Reading back what was written may be off by one bit.
    pub(super) fn serves(&self, asked: &Self) -> bool {
        self.mechanism == asked.mechanism && self.epsilon >= asked.epsilon * (1.0 - 1e-12)
    }
}

impl Measured {
    pub(super) fn new(batch: RecordBatch, identity: Identity, drawn: Drawn) -> Self {
        Self { batch, answers: Answers { identity, drawn } }
    }

    /// The values, errors and masks that a release shows of these rows.
    pub(super) fn released(&self, release: &VerifiedRelease, levels: &[f64]) -> Result<Released> {
        let made = estimates(&self.batch, release.spec()?, release.outputs(), levels);
        made.map(Released::new).map_err(|_| Error::internal())
    }

    /// How many persons these rows describe, as noised; where a person may be in several of them, those of the largest.
    pub fn persons(&self, release: &VerifiedRelease) -> Result<u64> {
        let spec = release.spec()?;
        let selects = self.batch.columns().get(spec.keys).ok_or_else(Error::internal)?;
        let counts: Vec<i128> = if let Some(persons) = selects.as_primitive_opt::<Decimal128Type>() {
            persons.iter().flatten().collect()
        } else {
            // The two counts of a share.
            let counts = selects.as_fixed_size_list_opt().ok_or_else(Error::internal)?;
            let both = counts.values().as_primitive_opt::<Int64Type>().ok_or_else(Error::internal)?;
            both.values().chunks(2).map(|counts| counts.iter().map(|count| i128::from(*count)).sum()).collect()
        };
        let counts = counts.into_iter().map(|count| u64::try_from(count).unwrap_or(0));
        Ok(if release.facts().max_groups == 1 {
            counts.fold(0, u64::saturating_add)
        } else {
            counts.max().unwrap_or(0)
        })
    }

    /// For the answer store: what these rows answer.
    pub fn answers(&self) -> Result<String> {
        serde_json::to_string(&self.answers).map_err(|_| Error::internal())
    }

    /// For the answer store: an Arrow stream.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let written = StreamWriter::try_new(&mut bytes, self.batch.schema_ref())
            .and_then(|mut writer| writer.write(&self.batch).and_then(|()| writer.finish()));
        written.map_err(|_| Error::internal())?;
        Ok(bytes)
    }
}

impl Answers {
    /// Only for what the answer store gives back.
    pub(super) fn from_store(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|_| Error::internal())
    }

    pub(super) fn rows_from_store(bytes: &[u8]) -> Result<RecordBatch> {
        let mut reader = StreamReader::try_new(bytes, None).map_err(|_| Error::internal())?;
        reader.next().transpose().map_err(|_| Error::internal())?.ok_or_else(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_before_there_were_two_mechanisms_is_gaussian() {
        let kept = |drawn: &str| format!(r#"{{"identity": {{"keys": [], "measurements": [], "cells": []}}, {drawn}}}"#);
        let drawn = |text: &str| Answers::from_store(&kept(text)).unwrap().drawn;
        let gaussian = Drawn { epsilon: 0.5, mechanism: Mechanism::Gaussian };
        let laplace = Drawn { mechanism: Mechanism::Laplace, ..gaussian };
        assert_eq!(drawn(r#""epsilon": 0.5"#), gaussian);
        assert_eq!(drawn(r#""epsilon": 0.5, "mechanism": "laplace""#), laplace);
        assert!(Answers::from_store(&kept(r#""epsilon": 0.5, "mechanism": "another""#)).is_err());
        assert!(gaussian.serves(&gaussian) && !gaussian.serves(&laplace) && !laplace.serves(&gaussian));
        assert!(!gaussian.serves(&Drawn { epsilon: 0.6, ..gaussian }));
    }
}
