//! The extended protocol: prepared statements and portals.
//!
//! In: Parse, Bind, Describe, Execute, Close. Out: their replies. A portal runs its statement once, at the first Execute, and
//! keeps the answer until its rows are fetched. Must never send rows in another shape than the one it described.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::EmptyQueryResponse;

use super::connection::Connection;
use super::decode::Parameter;
use super::errors::{Failure, Flow, refuse};
use super::rows::Cursor;
use super::socket::malformed;
use super::types::{column_type, declared_type, formats, row_description};
use super::{copy, rows};
use crate::error::SqlState;
use crate::session::{Answer, Direction, Prepared, Protocol, Running, Session, TransactionState};

/// Of one connection. Drivers keep some hundreds of statements.
const MOST_STATEMENTS: usize = 4096;
/// A portal may hold an answer.
const MOST_PORTALS: usize = 256;

#[derive(Default)]
pub(super) struct Extended {
    statements: HashMap<String, Arc<Statement>>,
    portals: HashMap<String, Portal>,
}

struct Statement {
    /// `None`: the empty string.
    prepared: Option<Prepared>,
    parameters: Vec<Parameter>,
    columns: Option<SchemaRef>,
}

struct Portal {
    statement: Arc<Statement>,
    parameters: Vec<ScalarValue>,
    formats: Vec<i16>,
    progress: Progress,
}

enum Progress {
    Bound,
    Answered(Answer, Cursor),
    /// `rows`: it gave some, and so may be executed again, for none.
    Complete {
        rows: bool,
    },
}

impl Extended {
    /// Portals last as long as their transaction.
    pub fn end_transaction(&mut self, transaction: TransactionState) {
        if transaction == TransactionState::Idle {
            self.portals.clear();
        }
    }

    /// A simple query takes the place of the unnamed statement and portal.
    pub fn end_query(&mut self, transaction: TransactionState) {
        self.statements.remove("");
        self.portals.remove("");
        self.end_transaction(transaction);
    }

    pub fn has_portal(&self, name: &str) -> bool {
        self.portals.contains_key(name)
    }

    fn statement(&self, name: &str) -> Flow<Arc<Statement>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            refuse(SqlState::InvalidStatementName, format!("prepared statement \"{name}\" does not exist"))
        })
    }

    fn close_statement(&mut self, name: &str) {
        if let Some(closed) = self.statements.remove(name) {
            self.portals.retain(|_, portal| !Arc::ptr_eq(&portal.statement, &closed));
        }
    }
}

fn unknown_portal(name: &str) -> Failure {
    refuse(SqlState::InvalidCursorName, format!("portal \"{name}\" does not exist"))
}

fn refuse_more<V>(held: &HashMap<String, V>, most: usize) -> Flow {
    if held.len() < most {
        Ok(())
    } else {
        Err(refuse(SqlState::ProgramLimitExceeded, format!("a session may hold {most} of these open")))
    }
}

impl Connection {
    pub async fn parse(&mut self, parse: Parse) -> Flow {
        let name = parse.name.unwrap_or_default();
        if !name.is_empty() && self.extended.statements.contains_key(&name) {
            return Err(refuse(SqlState::DuplicateStatement, format!("prepared statement \"{name}\" already exists")));
        }
        // The unnamed one is gone even where its successor fails.
        self.extended.statements.remove(&name);
        refuse_more(&self.extended.statements, MOST_STATEMENTS)?;
        let statement = plan(&mut self.session, &parse.query, &parse.type_oids).await?;
        self.extended.statements.insert(name, Arc::new(statement));
        self.socket.send(PgWireBackendMessage::ParseComplete(ParseComplete::new()))
    }

    pub fn bind(&mut self, bind: Bind) -> Flow {
        let statement = self.extended.statement(bind.statement_name.as_deref().unwrap_or_default())?;
        let name = bind.portal_name.unwrap_or_default();
        if bind.parameters.len() != statement.parameters.len() {
            return Err(refuse(
                SqlState::ProtocolViolation,
                format!(
                    "bind message supplies {} parameters, but the prepared statement requires {}",
                    bind.parameters.len(),
                    statement.parameters.len()
                ),
            ));
        }
        let parameter_formats = formats(&bind.parameter_format_codes, bind.parameters.len())?;
        let values = statement.parameters.iter().zip(&bind.parameters);
        let parameters = values
            .zip(parameter_formats)
            .enumerate()
            .map(|(index, ((parameter, bytes), format))| parameter.decode(bytes.as_deref(), format, index + 1))
            .collect::<Flow<_>>()?;
        if name.is_empty() {
            self.extended.portals.remove("");
        }
        refuse_more(&self.extended.portals, MOST_PORTALS)?;
        match self.extended.portals.entry(name) {
            Entry::Occupied(open) => {
                return Err(refuse(SqlState::DuplicateCursor, format!("portal \"{}\" already exists", open.key())));
            }
            Entry::Vacant(free) => free.insert(Portal {
                statement,
                parameters,
                formats: bind.result_column_format_codes,
                progress: Progress::Bound,
            }),
        };
        self.socket.send(PgWireBackendMessage::BindComplete(BindComplete::new()))
    }

    pub fn describe(&mut self, describe: &Describe) -> Flow {
        let name = describe.name.as_deref().unwrap_or_default();
        let (statement, codes) = match describe.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                let statement = self.extended.statement(name)?;
                let types = statement.parameters.iter();
                let types = types.map(|parameter: &Parameter| Type::oid(&parameter.wire));
                let description = ParameterDescription::new(types.collect());
                self.socket.send(PgWireBackendMessage::ParameterDescription(description))?;
                (statement, vec![])
            }
            TARGET_TYPE_BYTE_PORTAL => {
                let Some(portal) = self.extended.portals.get(name) else {
                    return self.describe_cursor(name);
                };
                (portal.statement.clone(), portal.formats.clone())
            }
            _ => return Err(malformed()),
        };
        let reply = match &statement.columns {
            Some(columns) => {
                let formats = formats(&codes, columns.fields().len())?;
                PgWireBackendMessage::RowDescription(row_description(columns, &formats)?)
            }
            None => PgWireBackendMessage::NoData(NoData::new()),
        };
        self.socket.send(reply)
    }

    /// A cursor that was declared in SQL is a portal as well.
    fn describe_cursor(&mut self, name: &str) -> Flow {
        let columns = self.session.cursor_columns(name).ok_or_else(|| unknown_portal(name))?;
        let formats = vec![FieldFormat::Text; columns.fields().len()];
        self.socket.send(PgWireBackendMessage::RowDescription(row_description(&columns, &formats)?))
    }

    /// `FETCH` and `MOVE` of a portal: forwards, as it gives its rows once. `described`: the client is told of the columns.
    pub async fn fetch_portal(
        &mut self,
        name: &str,
        direction: Direction,
        moves: bool,
        described: bool,
        running: &Running,
    ) -> Flow {
        let (Direction::Forward(rows), Some(mut portal)) = (direction, self.extended.portals.remove(name)) else {
            return Err(refuse(SqlState::ObjectNotInPrerequisiteState, "cursor can only scan forward"));
        };
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let statement = portal.statement.clone();
        let progress = std::mem::replace(&mut portal.progress, Progress::Complete { rows: true });
        let open = match (progress, &statement.prepared) {
            (Progress::Bound, Some(prepared)) => {
                let answer = self.answer(prepared, &portal.parameters, Protocol::Extended, running).await?;
                self.send_notices(&answer)?;
                Some((answer, Cursor::default()))
            }
            (Progress::Answered(answer, cursor), Some(_)) => Some((answer, cursor)),
            (Progress::Bound | Progress::Answered(..), None) | (Progress::Complete { .. }, _) => None,
        };
        let mut count = 0;
        if let Some((answer, mut cursor)) = open
            && let Some(released) = answer.rows().filter(|rows| rows.copy().is_none())
        {
            let (schema, batches) = (released.schema(), released.batches());
            let start = cursor;
            count = rows::skip(batches, &mut cursor, rows);
            if !moves {
                let formats = vec![FieldFormat::Text; schema.fields().len()];
                if described {
                    let description = row_description(schema, &formats)?;
                    self.socket.send(PgWireBackendMessage::RowDescription(description))?;
                }
                let (socket, token) = (&mut self.socket, &running.token);
                rows::send(socket, schema, batches, &formats, &mut start.clone(), count, token).await?;
            }
            portal.progress = Progress::Answered(answer, cursor);
        }
        self.extended.portals.insert(name.to_owned(), portal);
        self.complete(&format!("{} {count}", if moves { "MOVE" } else { "FETCH" }))
    }

    pub async fn execute(&mut self, execute: Execute) -> Flow {
        let name = execute.name.unwrap_or_default();
        let Some(mut portal) = self.extended.portals.remove(&name) else {
            return Err(unknown_portal(&name));
        };
        let most = match usize::try_from(execute.max_rows) {
            Ok(rows) if rows > 0 => rows,
            _ => usize::MAX,
        };
        self.run(&mut portal, most, &name).await?;
        self.extended.portals.insert(name, portal);
        Ok(())
    }

    /// A portal that fails is gone.
    async fn run(&mut self, portal: &mut Portal, most: usize, name: &str) -> Flow {
        let statement = portal.statement.clone();
        let Some(prepared) = &statement.prepared else {
            return self.socket.send(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
        };
        let running = self.begin();
        if let Some((of, direction, moves)) = self.session.fetches_portal(prepared)
            && self.extended.has_portal(of)
        {
            // Described as a statement without rows, as nobody knew the portal then.
            if !moves {
                let message = "FETCH of a portal is for the simple protocol";
                return Err(refuse(SqlState::FeatureNotSupported, message));
            }
            self.session.record_portal_fetch(prepared, Protocol::Extended).await?;
            return self.fetch_portal(of, direction, moves, false, &running).await;
        }
        let (answer, mut cursor) = match std::mem::replace(&mut portal.progress, Progress::Complete { rows: false }) {
            Progress::Bound => {
                let parameters = &portal.parameters;
                let answer = self.answer(prepared, parameters, Protocol::Extended, &running).await?;
                self.send_notices(&answer)?;
                (answer, Cursor::default())
            }
            Progress::Answered(answer, cursor) => (answer, cursor),
            Progress::Complete { rows: true } => {
                portal.progress = Progress::Complete { rows: true };
                return self.complete("SELECT 0");
            }
            Progress::Complete { rows: false } => {
                return Err(refuse(
                    SqlState::ObjectNotInPrerequisiteState,
                    format!("portal \"{name}\" cannot be run again"),
                ));
            }
        };
        if let Some(released) = answer.rows() {
            let (schema, batches) = (released.schema(), released.batches());
            if let Some(format) = released.copy() {
                copy::send(&mut self.socket, schema, batches, format, &running.token).await?;
                return self.complete(answer.tag());
            }
            let formats = shape(&statement, schema, &portal.formats)?;
            let token = &running.token;
            let socket = &mut self.socket;
            if !rows::send(socket, schema, batches, &formats, &mut cursor, most, token).await? {
                portal.progress = Progress::Answered(answer, cursor);
                return self.socket.send(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
            }
            portal.progress = Progress::Complete { rows: true };
        }
        self.complete(answer.tag())
    }

    pub fn close(&mut self, close: &Close) -> Flow {
        let name = close.name.as_deref().unwrap_or_default();
        match close.target_type {
            TARGET_TYPE_BYTE_STATEMENT => self.extended.close_statement(name),
            TARGET_TYPE_BYTE_PORTAL => {
                self.extended.portals.remove(name);
            }
            _ => return Err(malformed()),
        }
        self.socket.send(PgWireBackendMessage::CloseComplete(CloseComplete::new()))
    }
}

async fn plan(session: &mut Session, sql: &str, oids: &[u32]) -> Flow<Statement> {
    let mut prepared = session.prepare(sql, Protocol::Extended).await?;
    if prepared.len() > 1 {
        return Err(refuse(SqlState::SyntaxError, "cannot insert multiple commands into a prepared statement"));
    }
    let Some(prepared) = prepared.pop() else {
        return Ok(Statement { prepared: None, parameters: vec![], columns: None });
    };
    let declared: Vec<_> = oids.iter().map(|oid| declared_type(*oid)).collect::<Flow<_>>()?;
    let description = session.describe(&prepared, &declared).await?;
    let parameters = description.parameters.iter().enumerate();
    Ok(Statement {
        prepared: Some(prepared),
        parameters: parameters
            .map(|(index, wanted)| Parameter::new(oids.get(index).copied().unwrap_or(0), wanted))
            .collect::<Flow<_>>()?,
        columns: description.columns,
    })
}

/// The formats of an answer whose columns are those that the client was told of.
fn shape(statement: &Statement, answered: &SchemaRef, codes: &[i16]) -> Flow<Vec<FieldFormat>> {
    let described = statement.columns.as_ref();
    let described = described.map(|schema| schema.fields().as_ref());
    let described = described.unwrap_or_default();
    let types = |fields: &[Arc<arrow::datatypes::Field>]| {
        let types = fields.iter().map(|field| column_type(field));
        types.collect::<Flow<Vec<_>>>()
    };
    if types(described)? != types(answered.fields())? {
        return Err(refuse(SqlState::FeatureNotSupported, "cached plan must not change result type"));
    }
    formats(codes, answered.fields().len())
}
