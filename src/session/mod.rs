//! One client's session and the path of a statement.
//!
//! In: SQL text and parameters. Out: an [`Answer`] of released rows, or a refusal.

pub mod cursors;
pub mod transaction;
pub mod utility;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::policy::Verifier;

/// Everything one server holds. A value: several live side by side in one process.
pub struct Server {}

impl Server {
    /// The SCRAM verifier of a login, or one that no password fits where there is no such login.
    pub async fn verifier(&self, _user: &str) -> Verifier {
        Verifier {
            salt: vec![0; 16],
            iterations: 4096,
            stored_key: [0; 32],
            server_key: [0; 32],
        }
    }

    /// A session for a login that has proved itself. Errors: no such database (3D000), may not log in (28000).
    pub async fn open_session(self: &Arc<Self>, _client: Client) -> Result<Session> {
        Ok(Session {
            _server: self.clone(),
        })
    }
}

/// What a client said of itself when it connected.
#[derive(Debug, Clone)]
pub struct Client {
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub address: SocketAddr,
    pub encrypted: bool,
}

/// One authenticated connection.
pub struct Session {
    _server: Arc<Server>,
}

/// Which of the protocol's ways a statement came by; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
}

/// One parsed statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    sql: String,
}

/// What a statement wants and gives, found without running it.
#[derive(Debug, Clone)]
pub struct Description {
    pub parameters: Vec<DataType>,
    /// `None`: the statement returns no rows.
    pub columns: Option<SchemaRef>,
}

/// The only thing the encoder takes.
pub struct Answer {
    tag: String,
    rows: Option<Rows>,
    notices: Vec<Notice>,
}

/// Released or public rows.
pub struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    copy: Option<CopyFormat>,
}

/// How `COPY … TO STDOUT` wants its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFormat {
    pub csv: bool,
    pub header: bool,
    pub delimiter: u8,
}

#[derive(Debug, Clone)]
pub struct Notice {
    pub severity: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

/// For ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    Idle,
    InTransaction,
    Failed,
}

impl Answer {
    /// The command tag, complete (`SELECT 8`, `CREATE ROLE`).
    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub fn rows(&self) -> Option<&Rows> {
        self.rows.as_ref()
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

    pub fn copy(&self) -> Option<CopyFormat> {
        self.copy
    }
}

impl Session {
    /// Splits a query string into statements; an empty string gives none. Errors: 42601.
    pub fn prepare(&self, sql: &str) -> Result<Vec<Prepared>> {
        Ok(vec![Prepared {
            sql: sql.to_owned(),
        }])
    }

    /// What `statement` wants and gives. `declared` are the types a client gave for its parameters. Runs nothing, costs nothing.
    pub async fn describe(
        &self,
        _statement: &Prepared,
        _declared: &[Option<DataType>],
    ) -> Result<Description> {
        Ok(Description {
            parameters: vec![],
            columns: None,
        })
    }

    /// The path. Ends early with 57014 when `cancel` fires or `statement_timeout` is over.
    pub async fn answer(
        &mut self,
        statement: &Prepared,
        _parameters: &[ScalarValue],
        _protocol: Protocol,
        _cancel: &CancellationToken,
    ) -> Result<Answer> {
        if statement.sql.contains("boom") {
            return Err(Error::internal());
        }
        Ok(Answer {
            tag: "SELECT 0".to_owned(),
            rows: None,
            notices: vec![],
        })
    }

    pub fn transaction(&self) -> TransactionState {
        TransactionState::Idle
    }

    /// Parameters a client wants to be told of (`ParameterStatus`): server_version, client_encoding, TimeZone, …
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        vec![(
            "server_version".to_owned(),
            "16.4 (Paravent 0.1.0)".to_owned(),
        )]
    }

    /// How long a client may hold a connection without a statement; `None`: as long as it likes.
    pub fn idle_timeout(&self) -> Option<Duration> {
        None
    }
}
