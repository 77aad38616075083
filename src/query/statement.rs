//! What one statement asks for, after parsing and before anything is looked up.

use datafusion::sql::sqlparser::ast;

use crate::policy::{Location, Reference, UniqueKey};

/// One statement of a query string.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The statement's own text, without the semicolon; with passwords blanked out: this is what the log keeps.
    pub text: String,
    /// Characters of the query string before it: positions in errors count from the start of the string.
    pub offset: usize,
    pub statement: Statement,
}

/// The statement kinds there are: everything else is refused by the parser.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `SELECT`, `VALUES`, `TABLE`, `WITH … SELECT`: no data-modifying part anywhere.
    Query(Box<ast::Query>),
    /// `EXPLAIN (PRIVACY)`: price, bounds and expected error. `EXPLAIN`: the rewritten plan. Neither runs anything.
    Explain {
        privacy: bool,
        query: Box<ast::Query>,
    },
    /// `COPY (query) TO STDOUT`, `COPY table TO STDOUT` (as `SELECT * FROM table`).
    CopyOut {
        query: Box<ast::Query>,
        format: CopyFormat,
    },
    /// `ANALYZE t, …`: releases statistics of tables.
    Analyze(Vec<String>),
    Declare {
        name: String,
        options: CursorOptions,
        query: Box<ast::Query>,
    },
    /// `FETCH`; `MOVE`, which goes the same way and gives no rows (`moves`).
    Fetch {
        name: String,
        direction: Direction,
        moves: bool,
    },
    /// `CLOSE name`; `None`: `CLOSE ALL`.
    CloseCursor(Option<String>),
    Set {
        name: String,
        /// `None`: `DEFAULT`.
        value: Option<String>,
        local: bool,
    },
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS`: the variables that stand for the modes, and their values.
    SetTransaction(Vec<(String, String)>),
    /// `None`: `RESET ALL`.
    Reset(Option<String>),
    /// `None`: `SHOW ALL`.
    Show(Option<String>),
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    ReleaseSavepoint(String),
    RollbackTo(String),
    /// `DISCARD ALL`.
    Discard,
    /// `DEALLOCATE name`; `None`: `DEALLOCATE ALL`. Statements are prepared through the protocol only.
    Deallocate(Option<String>),
    /// `LISTEN`, `UNLISTEN`, `DISCARD PLANS` and its kin: accepted and without effect, as no channel is ever notified and
    /// nothing of the kind is kept. The command tag is in the text.
    Unlisten,
    Admin(Admin),
}

/// How `COPY … TO STDOUT` wants its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFormat {
    /// Lines of text, or of CSV.
    Lines {
        csv: bool,
        header: bool,
        delimiter: u8,
        /// What stands for NULL.
        null: String,
    },
    Binary,
}

/// What a cursor may do. Its rows were released when it was declared: reading them again tells nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CursorOptions {
    pub hold: bool,
    /// `NO SCROLL`: forwards only.
    pub no_scroll: bool,
    pub scroll: bool,
    pub binary: bool,
}

/// Where a cursor goes; `u64::MAX` rows are all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward(u64),
    Backward(u64),
    /// To a row by its number, from 1; negative: from the end.
    Absolute(i64),
    /// By that many rows; 0 is the row it stands on.
    Relative(i64),
}

/// Statements for administrators, still in terms of names and texts.
#[derive(Debug, Clone)]
pub enum Admin {
    CreateRole(RoleOptions),
    AlterRole(RoleOptions),
    DropRole {
        names: Vec<String>,
        if_exists: bool,
    },
    GrantRole {
        roles: Vec<String>,
        to: Vec<String>,
    },
    RevokeRole {
        roles: Vec<String>,
        from: Vec<String>,
    },
    GrantSelect {
        tables: Vec<String>,
        columns: Option<Vec<String>>,
        to: Vec<String>,
    },
    RevokeSelect {
        tables: Vec<String>,
        columns: Option<Vec<String>>,
        from: Vec<String>,
    },
    /// `ALTER SYSTEM SET`, `ALTER SYSTEM RESET` (`value: None`).
    AlterSystem {
        name: String,
        value: Option<String>,
    },
    /// `ALTER ROLE … SET`, `ALTER ROLE … RESET`.
    AlterRoleSet {
        role: String,
        name: String,
        value: Option<String>,
    },
    CreateExternalTable {
        name: String,
        location: Location,
        /// As written: name, SQL type, NOT NULL. Empty: take them from the files.
        columns: Vec<DeclaredColumn>,
        unique_keys: Vec<UniqueKey>,
        references: Vec<Reference>,
        if_not_exists: bool,
    },
    DropTable {
        names: Vec<String>,
        if_exists: bool,
    },
    AlterTable {
        name: String,
        options: Vec<(String, Option<String>)>,
    },
    AlterColumn {
        table: String,
        column: String,
        options: Vec<(String, Option<String>)>,
    },
    AddUniqueKey {
        table: String,
        key: UniqueKey,
    },
    AddReference {
        table: String,
        reference: Reference,
    },
    CreateView {
        name: String,
        columns: Option<Vec<String>>,
        security_invoker: bool,
        metric: bool,
        or_replace: bool,
        /// The query as written.
        definition: String,
        query: Box<ast::Query>,
    },
    DropView {
        names: Vec<String>,
        if_exists: bool,
    },
    /// `text`: `None` for NULL.
    Comment {
        relation: String,
        column: Option<String>,
        text: Option<String>,
    },
    CreatePolicy {
        name: String,
        table: String,
        roles: Vec<String>,
        using: Option<Condition>,
        options: Vec<(String, Option<String>)>,
    },
    AlterPolicy {
        name: String,
        table: String,
        /// `None`: as it was. Empty: everybody.
        roles: Option<Vec<String>>,
        using: Option<Condition>,
        options: Vec<(String, Option<String>)>,
    },
    DropPolicy {
        name: String,
        table: String,
        if_exists: bool,
    },
    Call(Call),
}

/// The expression of a row policy.
#[derive(Debug, Clone)]
pub struct Condition {
    /// As written.
    pub text: String,
    pub expression: Box<ast::Expr>,
    pub position: Option<usize>,
}

/// `CALL procedure(…)`. Not every procedure is an administrator's: each says who may call it.
#[derive(Debug, Clone)]
pub struct Call {
    /// With its schema, as written.
    pub procedure: String,
    /// Those with a name come last.
    pub arguments: Vec<Argument>,
    pub position: Option<usize>,
}

/// A literal as its text; `None` is NULL.
#[derive(Debug, Clone)]
pub struct Argument {
    pub name: Option<String>,
    pub value: Option<String>,
    pub position: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredColumn {
    pub name: String,
    pub data_type: ast::DataType,
    pub not_null: bool,
}

/// `CREATE ROLE` and `ALTER ROLE`: what was written; `None` where nothing was.
#[derive(Clone, Default, PartialEq)]
pub struct RoleOptions {
    pub name: String,
    pub if_not_exists: bool,
    pub login: Option<bool>,
    pub createrole: Option<bool>,
    /// Plain or in Postgres's stored SCRAM form. `Some(None)`: `PASSWORD NULL`.
    pub password: Option<Option<String>>,
    /// As written; `infinity` for none.
    pub valid_until: Option<String>,
    /// `Some(None)`: no limit, written as -1.
    pub connection_limit: Option<Option<u32>>,
    pub in_role: Vec<String>,
}

impl std::fmt::Debug for RoleOptions {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Statement {
    /// What the log calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Query(_) => "SELECT",
            Self::Explain { .. } => "EXPLAIN",
            Self::CopyOut { .. } => "COPY",
            Self::Analyze(_) => "ANALYZE",
            Self::Declare { .. } => "DECLARE",
            Self::Fetch { moves: false, .. } => "FETCH",
            Self::Fetch { moves: true, .. } => "MOVE",
            Self::CloseCursor(_) => "CLOSE",
            Self::Set { .. } | Self::SetTransaction(_) => "SET",
            Self::Reset(_) => "RESET",
            Self::Show(_) => "SHOW",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback | Self::RollbackTo(_) => "ROLLBACK",
            Self::Savepoint(_) => "SAVEPOINT",
            Self::ReleaseSavepoint(_) => "RELEASE",
            Self::Discard => "DISCARD",
            Self::Deallocate(_) => "DEALLOCATE",
            Self::Unlisten => "LISTEN",
            Self::Admin(admin) => admin.kind(),
        }
    }
}

impl Admin {
    fn kind(&self) -> &'static str {
        match self {
            Self::CreateRole(_) => "CREATE ROLE",
            Self::AlterRole(_) | Self::AlterRoleSet { .. } => "ALTER ROLE",
            Self::DropRole { .. } => "DROP ROLE",
            Self::GrantRole { .. } | Self::GrantSelect { .. } => "GRANT",
            Self::RevokeRole { .. } | Self::RevokeSelect { .. } => "REVOKE",
            Self::AlterSystem { .. } => "ALTER SYSTEM",
            Self::CreateExternalTable { .. } => "CREATE EXTERNAL TABLE",
            Self::DropTable { .. } => "DROP TABLE",
            Self::CreateView { .. } => "CREATE VIEW",
            Self::DropView { .. } => "DROP VIEW",
            Self::Comment { .. } => "COMMENT",
            Self::CreatePolicy { .. } => "CREATE POLICY",
            Self::AlterPolicy { .. } => "ALTER POLICY",
            Self::DropPolicy { .. } => "DROP POLICY",
            Self::Call(_) => "CALL",
            Self::AlterTable { .. }
            | Self::AlterColumn { .. }
            | Self::AddUniqueKey { .. }
            | Self::AddReference { .. } => "ALTER TABLE",
        }
    }
}
