//! `COPY … FROM STDIN`: what the client sends, until it is done.
//!
//! In: CopyData, CopyDone, CopyFail. Out: CopyInResponse, then batches of rows for the session, then the command's end. A row that is
//! wrong, a cancel, a timeout and a client that goes away all leave nothing.

use std::future::pending;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use pgwire::messages::copy::CopyInResponse;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::connection::{Connection, MESSAGE_BYTES};
use super::copy_lines::{Dialect, Fields, Lines};
use super::copy_rows::{Rows, bad_format, place};
use super::errors::{Failure, Flow, fatal, refuse};
use super::socket::cancelled;
use crate::error::{Error, Result, SqlState};
use crate::session::{CopyInFormat, Header, Load, Running};

impl Connection {
    pub async fn copy_in(&mut self, mut load: Box<Load>, running: &Running) -> Flow {
        match self.receive_rows(&mut load, running).await {
            Ok(()) => {
                let answer = self.session.finish_load(load, &running.token).await?;
                self.send_notices(&answer)?;
                self.complete(answer.tag())
            }
            Err(Failure::Statement(error)) => Err(self.session.give_up_load(load, error).await?.into()),
            Err(ends) => {
                let gone = Error::new(SqlState::QueryCanceled, "the connection ended");
                self.session.give_up_load(load, gone).await?;
                Err(ends)
            }
        }
    }

    async fn receive_rows(&mut self, load: &mut Load, running: &Running) -> Flow {
        let mut copied = Copied::new(load)?;
        let deadline = load.deadline();
        let width = load.schema().fields().len();
        let columns = i16::try_from(width).map_err(|_| Failure::Statement(Error::internal()))?;
        let binary = *load.format() == CopyInFormat::Binary;
        let response = CopyInResponse::new(i8::from(binary), columns, vec![i16::from(binary); width]);
        self.socket.send(PgWireBackendMessage::CopyInResponse(response))?;
        self.socket.flush().await?;
        loop {
            match self.copied_message(deadline, running).await? {
                PgWireFrontendMessage::CopyData(data) => copied.push(&data.data),
                PgWireFrontendMessage::CopyDone(_) => {
                    copied.complete();
                    while copied.read()? {
                        load.write(&copied.rows.take()?).await?;
                    }
                    return Ok(());
                }
                PgWireFrontendMessage::CopyFail(_) => {
                    return Err(refuse(SqlState::QueryCanceled, "COPY from stdin failed"));
                }
                // Sent ahead by clients that do not know yet that rows are wanted, as Postgres has it.
                PgWireFrontendMessage::Flush(_) | PgWireFrontendMessage::Sync(_) => {}
                PgWireFrontendMessage::Terminate(_) => return Err(Failure::Gone),
                _ => return Err(fatal(SqlState::ProtocolViolation, "unexpected message type during COPY from stdin")),
            }
            while copied.read()? {
                load.write(&copied.rows.take()?).await?;
            }
        }
    }

    async fn copied_message(&mut self, deadline: Option<Instant>, running: &Running) -> Flow<PgWireFrontendMessage> {
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        let message = tokio::select! {
            biased;
            () = running.token.cancelled() => return Err(cancelled()),
            () = expired => {
                let error = Error::new(SqlState::QueryCanceled, "canceling statement due to statement timeout");
                return Err(error.hint("send the rows in several loads, or an administrator allows more: ALTER SYSTEM SET statement_timeout").into());
            }
            message = self.socket.receive(MESSAGE_BYTES) => message?,
        };
        message.ok_or(Failure::Gone)
    }
}

/// What came and is not written yet.
struct Copied {
    table: String,
    rows: Rows,
    reading: Reading,
    complete: bool,
}

enum Reading {
    Lines { lines: Lines, fields: Fields, header: Header },
    Binary(Tuples),
}

impl Copied {
    fn new(load: &Load) -> Flow<Self> {
        let lines = |header: &Header, delimiter: &u8, null: &String, quotes: Option<(u8, u8)>| {
            let dialect = Dialect { delimiter: *delimiter, null: null.clone().into_bytes(), quotes };
            Reading::Lines { lines: Lines::new(dialect), fields: Fields::default(), header: *header }
        };
        let reading = match load.format() {
            CopyInFormat::Text { header, delimiter, null } => lines(header, delimiter, null, None),
            CopyInFormat::Csv { header, delimiter, null, quote, escape } => {
                lines(header, delimiter, null, Some((*quote, *escape)))
            }
            CopyInFormat::Binary => Reading::Binary(Tuples::default()),
        };
        let binary = *load.format() == CopyInFormat::Binary;
        let rows = Rows::new(load.table(), load.schema(), binary)?;
        Ok(Self { table: load.table().to_owned(), rows, reading, complete: false })
    }

    fn push(&mut self, bytes: &[u8]) {
        match &mut self.reading {
            Reading::Lines { lines, .. } => lines.push(bytes),
            Reading::Binary(tuples) => tuples.buffer.extend_from_slice(bytes),
        }
    }

    fn complete(&mut self) {
        self.complete = true;
        if let Reading::Lines { lines, .. } = &mut self.reading {
            lines.complete();
        }
    }

    /// `true`: there are rows to be written. An error of a row before counts more than what comes after it.
    fn read(&mut self) -> Result<bool> {
        match self.gather() {
            Ok(()) => Ok(self.rows.is_full() || self.complete && !self.rows.is_empty()),
            Err(error) => {
                self.rows.take()?;
                Err(error)
            }
        }
    }

    fn gather(&mut self) -> Result<()> {
        let (rows, table) = (&mut self.rows, &self.table);
        match &mut self.reading {
            Reading::Lines { lines, fields, header } => {
                let at = |lines: &Lines, error: Error| {
                    let context = error.context.clone();
                    error.context(context.unwrap_or_else(|| place(table, lines.line(), None)))
                };
                while !rows.is_full() && lines.next(fields).map_err(|error| at(lines, error))? {
                    match std::mem::take(header) {
                        Header::None => rows.push(lines.line(), fields).map_err(|error| at(lines, error))?,
                        Header::Present => {}
                        Header::Match => rows.refuse_other_names(fields).map_err(|error| at(lines, error))?,
                    }
                }
                Ok(())
            }
            Reading::Binary(tuples) => tuples.gather(rows, self.complete).map_err(|error| {
                let context = error.context.clone();
                error.context(context.unwrap_or_else(|| place(table, tuples.row.max(1), None)))
            }),
        }
    }
}

impl Rows {
    /// `HEADER match`.
    fn refuse_other_names(&self, fields: &Fields) -> Result<()> {
        let names = self.schema().fields();
        if fields.len() != names.len() {
            return Err(bad_format(format!("wrong number of fields in header line: expected {}", names.len())));
        }
        let same = |(field, name): (Option<&[u8]>, &std::sync::Arc<arrow::datatypes::Field>)| {
            field == Some(name.name().as_bytes())
        };
        match fields.iter().zip(names).position(|pair| !same(pair)) {
            None => Ok(()),
            Some(at) => Err(bad_format(format!(
                "column name mismatch in header line field {}: expected \"{}\"",
                at + 1,
                names[at].name()
            ))),
        }
    }
}

/// Tuples in binary.
#[derive(Default)]
struct Tuples {
    buffer: BytesMut,
    began: bool,
    ended: bool,
    /// The one that is read, from 1.
    row: u64,
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The longest tuple.
const TUPLE_BYTES: usize = 16 * 1024 * 1024;

impl Tuples {
    fn gather(&mut self, rows: &mut Rows, complete: bool) -> Result<()> {
        if !self.began && !self.begin()? {
            return if complete { Err(bad_format("COPY file signature not recognized")) } else { Ok(()) };
        }
        while !rows.is_full() && !self.ended {
            if !self.tuple(rows)? {
                if complete {
                    return Err(bad_format("unexpected EOF in COPY data"));
                }
                if self.buffer.len() > TUPLE_BYTES {
                    return Err(Error::new(
                        SqlState::ProgramLimitExceeded,
                        format!("a row may have {TUPLE_BYTES} bytes"),
                    ));
                }
                return Ok(());
            }
        }
        if self.ended && !self.buffer.is_empty() {
            return Err(bad_format("received copy data after EOF marker"));
        }
        Ok(())
    }

    /// Signature, flags, extension; `false`: not all of it is there.
    fn begin(&mut self) -> Result<bool> {
        const HEADER_BYTES: usize = SIGNATURE.len() + 8;
        let known = self.buffer.len().min(SIGNATURE.len());
        if self.buffer[..known] != SIGNATURE[..known] {
            return Err(bad_format("COPY file signature not recognized"));
        }
        if self.buffer.len() < HEADER_BYTES {
            return Ok(false);
        }
        let mut header = &self.buffer[SIGNATURE.len()..HEADER_BYTES];
        let (flags, extension) = (header.get_u32(), header.get_u32());
        if flags >> 16 != 0 {
            return Err(bad_format("unrecognized critical flags in COPY file header"));
        }
        let extension = usize::try_from(extension).unwrap_or(usize::MAX);
        if extension > TUPLE_BYTES {
            return Err(bad_format("invalid COPY file header (wrong length)"));
        }
        if self.buffer.len() < HEADER_BYTES + extension {
            return Ok(false);
        }
        self.buffer.advance(HEADER_BYTES + extension);
        self.began = true;
        Ok(true)
    }

    /// `false`: not all of it is there.
    fn tuple(&mut self, rows: &mut Rows) -> Result<bool> {
        let width = rows.schema().fields().len();
        let mut rest = &self.buffer[..];
        let Ok(count) = rest.try_get_i16() else {
            return Ok(false);
        };
        self.row += 1;
        if count == -1 {
            self.ended = true;
            self.buffer.advance(2);
            return Ok(true);
        }
        if usize::try_from(count) != Ok(width) {
            return Err(bad_format(format!("row field count is not {width}")));
        }
        let mut fields = Vec::with_capacity(width);
        for _ in 0..width {
            let Ok(length) = rest.try_get_i32() else {
                self.row -= 1;
                return Ok(false);
            };
            match usize::try_from(length) {
                Ok(length) if length > TUPLE_BYTES => return Err(bad_format("invalid field size")),
                Ok(length) => match rest.split_at_checked(length) {
                    Some((field, after)) => {
                        fields.push(Some(field));
                        rest = after;
                    }
                    None => {
                        self.row -= 1;
                        return Ok(false);
                    }
                },
                Err(_) if length == -1 => fields.push(None),
                Err(_) => return Err(bad_format("invalid field size")),
            }
        }
        rows.push_binary(self.row, &fields)?;
        let read = self.buffer.len() - rest.len();
        self.buffer.advance(read);
        Ok(true)
    }
}
