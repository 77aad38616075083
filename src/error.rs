//! What a client is told when a statement cannot be answered.
//!
//! In: the reason a room gives. Out: SQLSTATE, message, detail, hint and position, as Postgres shows them.
//! No value from a row may ever stand in one of these texts; an engine's own error text is never passed on.

use std::fmt;

/// The SQLSTATEs this server uses (PostgreSQL, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SqlState {
    ProtocolViolation,
    FeatureNotSupported,
    InvalidTransactionTermination,
    CardinalityViolation,
    DataException,
    NumericValueOutOfRange,
    DivisionByZero,
    DatetimeFieldOverflow,
    InvalidDatetimeFormat,
    InvalidBinaryRepresentation,
    InvalidParameterValue,
    InvalidTextRepresentation,
    BadCopyFileFormat,
    CharacterNotInRepertoire,
    NotNullViolation,
    UniqueViolation,
    ActiveSqlTransaction,
    NoActiveSqlTransaction,
    InFailedSqlTransaction,
    SerializationFailure,
    InvalidStatementName,
    InvalidAuthorizationSpecification,
    InvalidPassword,
    DependentObjectsStillExist,
    InvalidCursorName,
    InvalidCatalogName,
    InvalidSavepointSpecification,
    InsufficientPrivilege,
    InvalidName,
    ReservedName,
    InvalidGrantOperation,
    SyntaxError,
    AmbiguousColumn,
    UndefinedColumn,
    DatatypeMismatch,
    InvalidForeignKey,
    GroupingError,
    WrongObjectType,
    UndefinedFunction,
    UndefinedObject,
    UndefinedTable,
    DuplicateCursor,
    DuplicateStatement,
    DuplicateTable,
    DuplicateObject,
    DuplicateColumn,
    InvalidColumnReference,
    InvalidCursorDefinition,
    InvalidTableDefinition,
    InvalidObjectDefinition,
    IndeterminateDatatype,
    TooManyConnections,
    ConfigurationLimitExceeded,
    OutOfMemory,
    ProgramLimitExceeded,
    ObjectNotInPrerequisiteState,
    ObjectInUse,
    CantChangeRuntimeParam,
    QueryCanceled,
    AdminShutdown,
    IdleSessionTimeout,
    IdleInTransactionSessionTimeout,
    UndefinedFile,
    DiskFull,
    InternalError,
}

impl SqlState {
    /// The five characters that go over the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::ProtocolViolation => "08P01",
            Self::FeatureNotSupported => "0A000",
            Self::InvalidTransactionTermination => "2D000",
            Self::CardinalityViolation => "21000",
            Self::DataException => "22000",
            Self::NumericValueOutOfRange => "22003",
            Self::DivisionByZero => "22012",
            Self::DatetimeFieldOverflow => "22008",
            Self::InvalidDatetimeFormat => "22007",
            Self::InvalidBinaryRepresentation => "22P03",
            Self::InvalidParameterValue => "22023",
            Self::InvalidTextRepresentation => "22P02",
            Self::BadCopyFileFormat => "22P04",
            Self::CharacterNotInRepertoire => "22021",
            Self::NotNullViolation => "23502",
            Self::UniqueViolation => "23505",
            Self::ActiveSqlTransaction => "25001",
            Self::NoActiveSqlTransaction => "25P01",
            Self::InFailedSqlTransaction => "25P02",
            Self::SerializationFailure => "40001",
            Self::InvalidStatementName => "26000",
            Self::InvalidAuthorizationSpecification => "28000",
            Self::InvalidPassword => "28P01",
            Self::DependentObjectsStillExist => "2BP01",
            Self::InvalidCursorName => "34000",
            Self::InvalidCatalogName => "3D000",
            Self::InvalidSavepointSpecification => "3B001",
            Self::InsufficientPrivilege => "42501",
            Self::InvalidName => "42602",
            Self::ReservedName => "42939",
            Self::InvalidGrantOperation => "0LP01",
            Self::SyntaxError => "42601",
            Self::AmbiguousColumn => "42702",
            Self::UndefinedColumn => "42703",
            Self::DatatypeMismatch => "42804",
            Self::InvalidForeignKey => "42830",
            Self::GroupingError => "42803",
            Self::WrongObjectType => "42809",
            Self::UndefinedFunction => "42883",
            Self::UndefinedObject => "42704",
            Self::UndefinedTable => "42P01",
            Self::DuplicateCursor => "42P03",
            Self::DuplicateStatement => "42P05",
            Self::DuplicateTable => "42P07",
            Self::DuplicateObject => "42710",
            Self::DuplicateColumn => "42701",
            Self::InvalidColumnReference => "42P10",
            Self::InvalidCursorDefinition => "42P11",
            Self::InvalidTableDefinition => "42P16",
            Self::InvalidObjectDefinition => "42P17",
            Self::IndeterminateDatatype => "42P18",
            Self::TooManyConnections => "53300",
            Self::ConfigurationLimitExceeded => "53400",
            Self::OutOfMemory => "53200",
            Self::ProgramLimitExceeded => "54000",
            Self::ObjectNotInPrerequisiteState => "55000",
            Self::ObjectInUse => "55006",
            Self::CantChangeRuntimeParam => "55P02",
            Self::QueryCanceled => "57014",
            Self::AdminShutdown => "57P01",
            Self::IdleSessionTimeout => "57P05",
            Self::IdleInTransactionSessionTimeout => "25P03",
            Self::UndefinedFile => "58P01",
            Self::DiskFull => "53100",
            Self::InternalError => "XX000",
        }
    }
}

/// A refusal or a failure, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub sqlstate: SqlState,
    /// Lower-case, without a full stop.
    pub message: String,
    /// Which rule says so.
    pub detail: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
    /// Where in the statement's text: characters, from 1.
    pub position: Option<usize>,
    /// Where in what the client sends: `COPY t, line 3, column x`. Never what stands there.
    pub context: Option<String>,
}

impl Error {
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None, position: None, context: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// `position` counts characters of the statement's text from 1.
    pub fn at(mut self, position: Option<usize>) -> Self {
        self.position = self.position.or(position);
        self
    }

    /// The one message for everything that went wrong inside: its cause may hold data, so its text goes nowhere.
    pub fn internal() -> Self {
        Self::new(SqlState::InternalError, "the statement could not be completed")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate.code(), self.message)
    }
}

impl std::error::Error for Error {}

pub type Result<T, E = Error> = std::result::Result<T, E>;
