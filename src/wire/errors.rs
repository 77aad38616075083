//! What goes wrong on a connection, and how a client is told.
//!
//! In: the server's own errors and the socket's. Out: ErrorResponse and NoticeResponse.
//! An error text of the engine, of the operating system or of a library never passes through here.

use std::io;

use pgwire::error::{ErrorInfo, SEVERITY_ERROR, SEVERITY_FATAL};
use pgwire::messages::PgWireBackendMessage;

use crate::error::{Error, SqlState};
use crate::session::Notice;

/// Why a step of the protocol ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement failed; the session goes on.
    Statement(Error),
    /// The client is told, then the connection ends.
    Fatal(Error),
    /// Nobody is there to be told.
    Gone,
}

pub(super) type Flow<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Failure {
    /// Before a session exists no error may leave the connection usable.
    pub fn into_fatal(self) -> Self {
        match self {
            Self::Statement(error) => Self::Fatal(error),
            other => other,
        }
    }
}

pub(super) fn fatal(sqlstate: SqlState, message: impl Into<String>) -> Failure {
    Failure::Fatal(Error::new(sqlstate, message))
}

pub(super) fn refuse(sqlstate: SqlState, message: impl Into<String>) -> Failure {
    Failure::Statement(Error::new(sqlstate, message))
}

pub(super) fn error_message(error: Error) -> PgWireBackendMessage {
    PgWireBackendMessage::ErrorResponse(info(SEVERITY_ERROR, error).into())
}

pub(super) fn fatal_message(error: Error) -> PgWireBackendMessage {
    PgWireBackendMessage::ErrorResponse(info(SEVERITY_FATAL, error).into())
}

pub(super) fn notice_message(notice: &Notice) -> PgWireBackendMessage {
    let code = match notice.severity {
        "WARNING" => "01000",
        _ => "00000",
    };
    let mut info = ErrorInfo::new(notice.severity.to_owned(), code.to_owned(), notice.message.clone());
    info.severity_nonlocalized = Some(notice.severity.to_owned());
    info.hint = notice.hint.clone();
    PgWireBackendMessage::NoticeResponse(info.into())
}

fn info(severity: &str, error: Error) -> ErrorInfo {
    let mut info = ErrorInfo::new(severity.to_owned(), error.sqlstate.code().to_owned(), error.message);
    info.severity_nonlocalized = Some(severity.to_owned());
    info.detail = error.detail;
    info.hint = error.hint;
    info.position = error.position.map(|position| position.to_string());
    info.where_context = error.context;
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_an_error_reaches_the_client() {
        let error = Error::new(SqlState::InsufficientPrivilege, "rows of persons stay here")
            .detail("a rule")
            .hint("count them")
            .at(Some(8));
        let PgWireBackendMessage::ErrorResponse(response) = error_message(error) else {
            panic!("not an error response");
        };
        let expected = [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', "42501"),
            (b'M', "rows of persons stay here"),
            (b'D', "a rule"),
            (b'H', "count them"),
            (b'P', "8"),
        ];
        let expected: Vec<_> = expected.map(|(key, text)| (key, text.to_owned())).to_vec();
        assert_eq!(response.fields, expected);
    }
}
