//! One client's session and the path of a statement.
//!
//! In: SQL text and parameters. Out: an [`Answer`] of released rows, or a refusal; and a line in the log for either. The path of
//! a query is `path::query`; what is not a query is answered here, and touches nobody's rows.

mod access;
mod activity;
mod admin;
mod analyze;
mod answer;
mod block;
mod cursors;
mod describe;
mod kept_statistics;
mod listing;
mod load;
mod memberships;
mod own_tables;
mod path;
mod pending;
mod procedures;
mod pseudonyms;
mod purposes;
mod query_log;
mod recent;
mod renaming;
mod reports;
mod risk;
mod row_policies;
mod row_policies_view;
mod running;
mod scopes;
mod server;
mod single_flight;
mod standing;
mod startup;
mod surroundings;
mod sweep;
mod texts;
mod training;
mod transaction;
mod utility;
mod views;
mod warnings;

pub use crate::query::statement::{CopyFormat, CopyInFormat, Direction, Header};
pub use activity::{Backend, Running};
pub use answer::{Answer, Notice, Rows};
pub use load::Load;
pub use server::{Config, DATABASE, Server};
pub use transaction::TransactionState;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, SchemaRef};
use chrono::Utc;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast;
use tokio_util::sync::CancellationToken;

use crate::catalog::system::is_system_query;
use crate::error::{Error, Result, SqlState};
use crate::ledger::{LogId, Outcome};
use crate::policy::Settings;
use crate::query::parse;
use crate::query::statement::{Admin, CursorOptions, Parsed, Statement};
use activity::Seat;
use cursors::Cursors;
use load::Loads;
use path::{Asked, Failure};
use pending::Pending;
use standing::Standing;
use transaction::Transaction;
use utility::Variables;

/// What a client said of itself when it connected.
#[derive(Debug, Clone)]
pub struct Client {
    pub user: String,
    pub database: String,
    pub application_name: String,
    /// Variables it asked for when it connected, as it spelled them.
    pub asked: Vec<(String, String)>,
    pub address: SocketAddr,
    pub encrypted: bool,
}

/// Which of the protocol's ways a statement came by; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
        }
    }
}

/// One parsed statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    parsed: Arc<Parsed>,
}

/// What a statement wants and gives, found without running it.
#[derive(Debug, Clone)]
pub struct Description {
    pub parameters: Vec<DataType>,
    /// `None`: the statement returns no rows.
    pub columns: Option<SchemaRef>,
}

/// One authenticated connection.
pub struct Session {
    server: Arc<Server>,
    client: Client,
    /// When its role was made: a role of the same name that is made later is not the one that logged in.
    role_created: u64,
    standing: Standing,
    variables: Variables,
    transaction: Transaction,
    cursors: Cursors,
    /// The grant of access that the rows of the last query were shown under.
    shown_under: Option<u64>,
    /// Loads of the open block, that its end makes or forgets.
    loads: Loads,
    /// What an open block has changed.
    pending: Pending,
    /// A statement that is paid for and whose end is not in the log yet.
    unfinished: Option<LogId>,
    /// What the running statement has to say beside its rows.
    notices: Vec<Notice>,
    /// Of trainings, what was said already.
    told: BTreeSet<String>,
    /// The same, said by functions that it calls.
    warnings: Arc<Mutex<Vec<Notice>>>,
    /// Its place among the sessions; what others see of it.
    seat: Seat,
}

impl Session {
    fn new(server: Arc<Server>, client: Client, seat: Seat) -> Result<Self> {
        let policies = server.catalog.policies();
        let mut variables = Variables::new(policies.settings.clone(), client.user.clone());
        let role = policies.roles.get(&client.user).ok_or_else(|| no_login(&client.user))?;
        for (name, value) in &role.settings {
            // What an administrator has forbidden since is not heard, as in a session that was open then.
            let _ = variables.start_with(name, value);
        }
        variables.start_with("application_name", &client.application_name)?;
        Ok(Self {
            server,
            role_created: role.created,
            standing: Standing::default(),
            client,
            variables,
            transaction: Transaction::default(),
            cursors: Cursors::default(),
            shown_under: None,
            loads: Loads::default(),
            pending: Pending::default(),
            unfinished: None,
            notices: Vec::new(),
            told: BTreeSet::new(),
            warnings: Arc::default(),
            seat,
        })
    }

    /// Splits a query string into statements; an empty string gives none. Errors: 42601, 0A000, 42501; they are logged.
    pub async fn prepare(&mut self, sql: &str, protocol: Protocol) -> Result<Vec<Prepared>> {
        match self.server.texts.parse(sql) {
            Ok(parsed) => Ok(parsed.iter().map(|parsed| Prepared { parsed: parsed.clone() }).collect()),
            Err(error) => {
                self.transaction.fail();
                let text = parse::redact(sql);
                let asked = Asked { text: &text, kind: "UNPARSED", parameters: &[], protocol, began: Instant::now() };
                self.log_refusal(&asked, &error).await?;
                Err(error)
            }
        }
    }

    /// The path. Ends early with 57014 when `cancel` fires or `statement_timeout` is over.
    pub async fn answer(
        &mut self,
        statement: &Prepared,
        parameters: &[ScalarValue],
        protocol: Protocol,
        cancel: &CancellationToken,
    ) -> Result<Answer> {
        let parsed = &statement.parsed;
        let asked =
            Asked { text: &parsed.text, kind: parsed.statement.kind(), parameters, protocol, began: Instant::now() };
        self.transaction.enter(Utc::now());
        self.seat.backend().asks(asked.text, self.application_name());
        let answered = match self.follow_policies().await {
            Ok(()) => self.limited(&asked, &parsed.statement, cancel).await,
            Err(error) => Err(error.into()),
        };
        self.notices.extend(self.warnings.lock().map(|mut said| std::mem::take(&mut *said)).unwrap_or_default());
        match answered {
            Ok(answer) => {
                let answer = answer.with_notices(std::mem::take(&mut self.notices));
                Ok(answer.noticing(|notice| self.variables.wants(notice)))
            }
            Err(failure) => {
                // They are not sent beside an error; what was not said of trainings is said the next time.
                for unsaid in self.notices.drain(..) {
                    self.told.remove(&unsaid.message);
                }
                self.transaction.fail();
                if !failure.logged {
                    self.log_refusal(&asked, &failure.error).await?;
                }
                let offset = parsed.offset;
                Err(Error { position: failure.error.position.map(|position| position + offset), ..failure.error })
            }
        }
    }

    /// The client is told that it may go on: what it sent so far is answered.
    pub fn rests(&mut self) {
        self.transaction.rest();
        let since = self.transaction.in_block().then(|| self.transaction.moment().timestamp_micros());
        self.seat.backend().is_in(self.transaction.state(), since);
    }

    /// This session as others see it.
    pub fn backend(&self) -> &Arc<Backend> {
        self.seat.backend()
    }

    pub fn transaction(&self) -> TransactionState {
        self.transaction.state()
    }

    /// Parameters a client wants to be told of (`ParameterStatus`): server_version, client_encoding, TimeZone, …
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        self.variables.reported()
    }

    /// How long a client may hold a connection without a statement, and what it is told then; `None`: as long as it likes.
    pub fn idle_timeout(&self) -> Option<(Duration, Error)> {
        let (variable, sqlstate, what) = if self.transaction.in_block() {
            let sqlstate = SqlState::IdleInTransactionSessionTimeout;
            ("idle_in_transaction_session_timeout", sqlstate, "idle-in-transaction")
        } else {
            ("idle_session_timeout", SqlState::IdleSessionTimeout, "idle-session")
        };
        let limit = self.variables.duration(variable)?;
        Some((limit, Error::new(sqlstate, format!("terminating connection due to {what} timeout"))))
    }

    /// What is to be said before the first statement.
    pub fn greeting(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The rows of an open cursor, for a client that describes it as a portal: in Postgres the two are one.
    pub fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.schema(name).ok()
    }

    /// A `FETCH` or `MOVE` of a name that is no cursor of the session, and so may be a portal of the protocol: name, direction,
    /// and is it `MOVE`.
    pub fn fetches_portal<'a>(&self, statement: &'a Prepared) -> Option<(&'a str, Direction, bool)> {
        match &statement.parsed.statement {
            Statement::Fetch { name, direction, moves } if !self.cursors.contains(name) => {
                Some((name, *direction, *moves))
            }
            _ => None,
        }
    }

    /// Logs such a statement. Errors: 25P02 in a failed block.
    pub async fn record_portal_fetch(&mut self, statement: &Prepared, protocol: Protocol) -> Result<()> {
        let parsed = &statement.parsed;
        self.transaction.check(&parsed.statement)?;
        let asked = Asked {
            text: &parsed.text,
            kind: parsed.statement.kind(),
            parameters: &[],
            protocol,
            began: Instant::now(),
        };
        self.server.ledger.record(self.entry(&asked)?).await
    }

    async fn follow_policies(&mut self) -> Result<()> {
        self.server.catalog.refresh().await?;
        self.variables.follow(self.server.catalog.policies().settings.clone());
        self.follow_pending();
        self.tell_of_trainings()
    }

    /// Cancel and timeout end what can wait; a change of the policies is never left half-way.
    async fn limited(
        &mut self,
        asked: &Asked<'_>,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Answer, Failure> {
        if let Statement::Admin(_) | Statement::Commit = statement {
            return self.dispatch(asked, statement).await;
        }
        let limit = self.variables.settings().statement_timeout_ms;
        let expired = async {
            match limit {
                0 => std::future::pending().await,
                milliseconds => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            }
        };
        let message = tokio::select! {
            biased;
            () = cancel.cancelled() => "canceling statement due to user request",
            () = expired => "canceling statement due to statement timeout",
            answer = self.dispatch(asked, statement) => return answer,
        };
        let error = Error::new(SqlState::QueryCanceled, message);
        match self.unfinished.take() {
            Some(log) => {
                self.server.ledger.finish(log, Outcome::Cancelled, asked.began.elapsed(), Vec::new()).await?;
                Err(Failure { error, logged: true })
            }
            None => Err(error.into()),
        }
    }

    async fn dispatch(&mut self, asked: &Asked<'_>, statement: &Statement) -> Result<Answer, Failure> {
        self.transaction.check(statement)?;
        if matches!(statement, Statement::Commit) && self.transaction.state() == TransactionState::InTransaction {
            self.commit_pending().await?;
        }
        let answered = self.perform(asked, statement).await;
        self.remove_forgotten_folders().await;
        answered
    }

    async fn perform(&mut self, asked: &Asked<'_>, statement: &Statement) -> Result<Answer, Failure> {
        let answer = match statement {
            Statement::Query(query) => {
                let rows = self.rows(asked, query).await?;
                return Ok(Answer::of_rows(format!("SELECT {}", rows.count()), rows));
            }
            Statement::CopyOut { query, format } => {
                let rows = self.rows(asked, query).await?;
                return Ok(Answer::of_rows(format!("COPY {}", rows.count()), rows.in_copy_format(format.clone())));
            }
            Statement::Declare { name, options, query } => {
                return self.declare(asked, name, *options, query).await;
            }
            Statement::CopyIn(copy) => return self.begin_load(asked, copy).await,
            Statement::Explain { privacy, query } => self.explain(asked, *privacy, query).await?,
            Statement::Analyze(tables) => self.analyze(asked, tables).await?,
            Statement::Admin(Admin::Call(call)) if call.procedure == risk::PROCEDURE => {
                self.assess_column_risk(asked, call).await?
            }
            Statement::Admin(admin) => self.administer(admin, asked.text).await?,
            Statement::Commit => {
                self.publish_loads().await?;
                self.control(statement, asked.text)?
            }
            Statement::Fetch { .. }
            | Statement::CloseCursor(_)
            | Statement::Set { .. }
            | Statement::SetTransaction(_)
            | Statement::Reset(_)
            | Statement::Show(_)
            | Statement::Begin
            | Statement::Rollback
            | Statement::Savepoint(_)
            | Statement::ReleaseSavepoint(_)
            | Statement::RollbackTo(_)
            | Statement::Discard
            | Statement::Deallocate(_)
            | Statement::Unlisten => self.control(statement, asked.text)?,
        };
        self.server.ledger.record(self.entry(asked)?).await?;
        Ok(answer)
    }

    /// A block whose changes cannot be made is over, as after ROLLBACK.
    async fn commit_pending(&mut self) -> Result<()> {
        let made = self.make_pending().await;
        if made.is_err() {
            self.block(&Statement::Rollback)?;
        }
        made
    }

    /// Rows of a query: about the system, or released.
    async fn rows(&mut self, asked: &Asked<'_>, query: &ast::Query) -> Result<Rows, Failure> {
        let question = self.question(asked);
        if let Some(given) = self.given_before(question.as_ref()).await {
            return Ok(Rows::released(&self.again(asked, &given).await?));
        }
        if self.is_system(query) {
            let system = self.system_session(query).await?;
            let statement = ast::Statement::Query(Box::new(query.clone()));
            let (schema, batches) = self.server.system.run(&system, &statement, asked.parameters).await?;
            for (name, value, local) in system.settings_made() {
                self.notices.extend(self.variables.set(&name, value.as_deref(), local)?);
            }
            self.server.ledger.record(self.entry(asked)?).await?;
            return Ok(Rows::about_the_system(schema, batches));
        }
        self.query(asked, query, question).await.map(|shaped| Rows::released(&shaped))
    }

    fn is_system(&self, query: &ast::Query) -> bool {
        let policies = self.policies_seen();
        is_system_query(&ast::Statement::Query(Box::new(query.clone())), &|name| policies.is_relation(name))
    }

    /// What is wrong with the query is said first, as without a cursor; then whether there may be a cursor; then it is paid for.
    async fn declare(
        &mut self,
        asked: &Asked<'_>,
        name: &str,
        options: CursorOptions,
        query: &ast::Query,
    ) -> Result<Answer, Failure> {
        let question = self.question(asked);
        if self.given_before(question.as_ref()).await.is_none() && !self.is_system(query) {
            let around = self.surroundings(query, asked.text).await?;
            path::compile_or_probe(&around, query, asked.parameters)?;
        }
        self.cursors.check(name, options, &self.transaction)?;
        self.shown_under = None;
        let rows = self.rows(asked, query).await?;
        let rows = (rows.schema().clone(), rows.batches().to_vec());
        self.cursors.declare(name, rows, options, (asked.text, self.shown_under), &self.transaction)?;
        Ok(Answer::done("DECLARE CURSOR"))
    }

    /// Statements about the session itself.
    fn control(&mut self, statement: &Statement, text: &str) -> Result<Answer> {
        let noticed = |tag: &str, notice: Option<Notice>| Answer::done(tag).with_notices(notice.into_iter().collect());
        Ok(match statement {
            Statement::Fetch { name, direction, moves } => {
                self.refuse_ended_access(name)?;
                let fetched = self.cursors.fetch(name, *direction)?;
                let rows = Rows::fetched(fetched);
                if *moves {
                    return Ok(Answer::done(format!("MOVE {}", rows.count())));
                }
                Answer::of_rows(format!("FETCH {}", rows.count()), rows)
            }
            Statement::CloseCursor(Some(name)) => {
                self.cursors.close(name)?;
                Answer::done("CLOSE CURSOR")
            }
            Statement::CloseCursor(None) => {
                self.cursors.close_all();
                Answer::done("CLOSE CURSOR ALL")
            }
            Statement::Set { name, value, local } => {
                self.refuse_unknown_purpose(name, value.as_deref())?;
                noticed("SET", self.variables.set(name, value.as_deref(), *local)?)
            }
            Statement::SetTransaction(modes) => noticed("SET", self.variables.set_modes(modes)?),
            Statement::Reset(Some(name)) => {
                self.variables.reset(name)?;
                Answer::done("RESET")
            }
            Statement::Reset(None) => {
                self.variables.reset_all();
                Answer::done("RESET")
            }
            Statement::Show(Some(name)) => Answer::of_rows("SHOW", Rows::text(name, vec![self.variables.show(name)?])?),
            Statement::Show(None) => {
                let (names, values) = self.variables.all().into_iter().unzip();
                Answer::of_rows("SHOW", Rows::texts(&["name", "setting"], vec![names, values])?)
            }
            Statement::Discard => {
                if self.transaction.in_block() {
                    return Err(Error::new(
                        SqlState::ActiveSqlTransaction,
                        "DISCARD ALL cannot run inside a transaction block",
                    ));
                }
                self.cursors.close_all();
                self.variables.reset_all();
                Answer::done("DISCARD ALL")
            }
            Statement::Deallocate(None) => Answer::done("DEALLOCATE ALL"),
            Statement::Deallocate(Some(name)) => {
                return Err(Error::new(
                    SqlState::InvalidStatementName,
                    format!("prepared statement \"{name}\" does not exist"),
                ));
            }
            Statement::Unlisten => {
                Answer::done(text.split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_uppercase())
            }
            Statement::Begin
            | Statement::Commit
            | Statement::Rollback
            | Statement::Savepoint(_)
            | Statement::ReleaseSavepoint(_)
            | Statement::RollbackTo(_) => self.block(statement)?,
            Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::CopyOut { .. }
            | Statement::CopyIn(_)
            | Statement::Analyze(_)
            | Statement::Declare { .. }
            | Statement::Admin(_) => {
                return Err(Error::internal());
            }
        })
    }

    async fn log_refusal(&self, asked: &Asked<'_>, error: &Error) -> Result<()> {
        self.server.ledger.refuse(self.entry(asked)?, error).await
    }

    fn settings_in_force(&self) -> Settings {
        self.variables.settings()
    }

    fn application_name(&self) -> String {
        self.variables.show("application_name").unwrap_or_default()
    }

    fn purpose(&self) -> Option<String> {
        self.variables.show("privacy.purpose").ok().filter(|purpose| !purpose.is_empty())
    }

    /// `privacy.prefer`: stored answers rather than new spending?
    fn prefers_stored(&self) -> bool {
        self.variables.show("privacy.prefer").is_ok_and(|value| value == "stored")
    }

    /// `privacy.show_suppressed`: a row for every declared combination?
    fn shows_suppressed(&self) -> bool {
        self.variables.show("privacy.show_suppressed").is_ok_and(|value| value == "on")
    }

    fn all_settings(&self) -> BTreeMap<String, String> {
        self.variables.all().into_iter().collect()
    }
}

fn no_login(user: &str) -> Error {
    Error::new(SqlState::InvalidAuthorizationSpecification, format!("role \"{user}\" may not log in"))
        .detail("it was dropped or made anew, its time is over, or it is no login any more")
        .hint("connect again, or ask a platform administrator")
}
