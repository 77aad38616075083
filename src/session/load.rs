//! `COPY table FROM STDIN`: who may, into which table, and what becomes of the rows.
//!
//! In: the statement, then batches of rows that the client sent. Out: one new file of the table, whole or not at all: when the last
//! row is there, or, in a block, when the block is committed. A line in the log from before the first row, and how it ended.
//! Must never say anything of what the table holds already: who adds rows is not who asks.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::new_null_array;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::Session;
use super::answer::{Answer, Notice};
use super::path::{Asked, Failure};
use crate::catalog::files::{Append, Appended};
use crate::error::{Error, Result, SqlState};
use crate::ledger::{Limits, LogId, Outcome};
use crate::policy::{Capability, Policies, Principal, Table};
use crate::query::statement::{CopyIn, CopyInFormat};

/// A load that waits for its rows. Dropped: nothing was loaded.
pub struct Load {
    table: Table,
    /// The columns that are sent; where a value must be there, the field says so.
    schema: SchemaRef,
    /// Of each of the table's columns: its place among those that are sent.
    places: Vec<Option<usize>>,
    format: CopyInFormat,
    append: Append,
    log: LogId,
    began: Instant,
    deadline: Option<Instant>,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("table", &self.table.name).finish_non_exhaustive()
    }
}

impl Load {
    pub fn table(&self) -> &str {
        &self.table.name
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn format(&self) -> &CopyInFormat {
        &self.format
    }

    /// When `statement_timeout` is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Rows in the columns of [`Load::schema`].
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = self.append.schema().clone();
        let columns = self.places.iter().zip(schema.fields()).map(|(place, field)| match place {
            Some(place) => batch.column(*place).clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        });
        let whole = RecordBatch::try_new(schema.clone(), columns.collect()).map_err(|_| Error::internal())?;
        self.append.write(whole).await
    }
}

/// Loads of an open block, on disk and not yet part of their tables.
#[derive(Default)]
pub(super) struct Loads {
    /// With the number of savepoints there were.
    waiting: Vec<(usize, Table, Appended)>,
}

impl Loads {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// `before`: the savepoints before the one that is gone back to.
    pub fn rollback_to(&mut self, before: usize) {
        self.waiting.retain(|(depth, ..)| *depth <= before);
    }

    pub fn release(&mut self, before: usize) {
        for (depth, ..) in &mut self.waiting {
            *depth = (*depth).min(before);
        }
    }
}

impl Session {
    pub(super) async fn begin_load(&mut self, asked: &Asked<'_>, copy: &CopyIn) -> Result<Answer, Failure> {
        // A table of this block may be loaded in it: COMMIT makes the table first.
        let policies = self.policies_seen();
        let principal = self.principal()?;
        let table = loadable(&policies, &principal, &copy.table).map_err(|error| error.at(copy.position))?;
        let (schema, places) = columns(table, copy.columns.as_deref())?;
        let append = self.server.files.append(table).await?;
        let mut entry = self.entry(asked)?;
        entry.tables = vec![table.name.clone()];
        entry.columns = schema.fields().iter().map(|field| format!("{}.{}", table.name, field.name())).collect();
        let paid = self.server.ledger.reserve(entry, vec![], &Limits::new(&policies.settings)?).await?;
        let limit = match self.settings_in_force().statement_timeout_ms {
            0 => None,
            milliseconds => Some(Duration::from_millis(milliseconds)),
        };
        Ok(Answer::of_load(Load {
            table: table.clone(),
            schema,
            places,
            format: copy.format.clone(),
            append,
            log: paid.log_id(),
            began: asked.began,
            deadline: limit.map(|limit| asked.began + limit),
        }))
    }

    /// The columns of `SELECT columns FROM table`, for who may load the table and not ask: clients that load in binary prepare this to
    /// learn the types. To run it is refused all the same.
    pub(super) fn loaded_columns(&self, query: &ast::Query) -> Result<Option<SchemaRef>> {
        let policies = self.policies_seen();
        let ast::SetExpr::Select(select) = query.body.as_ref() else {
            return Ok(None);
        };
        let [from] = select.from.as_slice() else {
            return Ok(None);
        };
        let ast::TableFactor::Table { name, args: None, .. } = &from.relation else {
            return Ok(None);
        };
        let folded = |ident: &ast::Ident| match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_lowercase(),
        };
        let name = name.0.last().and_then(ast::ObjectNamePart::as_ident).map(folded).unwrap_or_default();
        let plain = from.joins.is_empty() && select.selection.is_none() && query.with.is_none();
        let Ok(table) = loadable(&policies, &self.principal()?, &name) else {
            return Ok(None);
        };
        let (whole, _) = columns(table, None)?;
        let mut fields = Vec::new();
        for item in &select.projection {
            match item {
                ast::SelectItem::Wildcard(_) => fields.extend(whole.fields().iter().cloned()),
                ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(ident)) => {
                    match whole.column_with_name(&folded(ident)) {
                        Some((_, field)) => fields.push(Arc::new(field.clone())),
                        None => return Ok(None),
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(plain.then(|| Arc::new(Schema::new(fields))))
    }

    /// The client has sent all rows. They are part of the table when this returns, or wait for `COMMIT`.
    pub async fn finish_load(&mut self, load: Box<Load>, cancel: &CancellationToken) -> Result<Answer> {
        let (log, began) = (load.log, load.began);
        let finished = tokio::select! {
            biased;
            finished = self.keep(load) => finished,
            () = cancel.cancelled() => Err(canceled()),
        };
        match finished {
            Ok((rows, notices)) => {
                let outcome = Outcome::Answered { rows, from_store: false, persons: None };
                self.server.ledger.finish(log, outcome, began.elapsed(), Vec::new()).await?;
                let answer = Answer::done(format!("COPY {rows}")).with_notices(notices);
                Ok(answer.noticing(|notice| self.variables.wants(notice)))
            }
            Err(error) => Err(self.failed_load(log, began, error).await?),
        }
    }

    /// The load ends without its rows. Gives the error to tell.
    pub async fn give_up_load(&mut self, load: Box<Load>, error: Error) -> Result<Error> {
        let (log, began) = (load.log, load.began);
        drop(load);
        self.failed_load(log, began, error).await
    }

    async fn failed_load(&mut self, log: LogId, began: Instant, error: Error) -> Result<Error> {
        self.transaction.fail();
        let outcome = match error.sqlstate {
            SqlState::QueryCanceled => Outcome::Cancelled,
            sqlstate => Outcome::Failed { sqlstate },
        };
        self.server.ledger.finish(log, outcome, began.elapsed(), Vec::new()).await?;
        Ok(error)
    }

    async fn keep(&mut self, load: Box<Load>) -> Result<(u64, Vec<Notice>)> {
        let Load { table, append, .. } = *load;
        let appended = append.close().await?;
        let rows = appended.rows;
        let keyed = !table.unique_keys.is_empty();
        if self.transaction.in_block() {
            self.loads.waiting.push((self.transaction.depth(), table, appended));
        } else {
            self.publish(&table, appended).await?;
        }
        let notice = Notice::new(
            "rows whose key the table has already are left out; nobody is told how many, as that would tell who is in it",
        );
        Ok((rows, if keyed { vec![notice] } else { vec![] }))
    }

    /// Before a block is committed. A failure ends the block, as in Postgres.
    pub(super) async fn publish_loads(&mut self) -> Result<()> {
        if self.transaction.state() != super::TransactionState::InTransaction {
            return Ok(());
        }
        for (_, table, appended) in std::mem::take(&mut self.loads.waiting) {
            if let Err(error) = self.publish(&table, appended).await {
                self.roll_back();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Who may load no more since, or where the table is another by now, has loaded nothing.
    async fn publish(&self, table: &Table, appended: Appended) -> Result<()> {
        self.server.catalog.refresh().await?;
        let policies = self.server.catalog.policies();
        let now = loadable(&policies, &self.principal()?, &table.name)?;
        if now.location != table.location || now.columns.len() != table.columns.len() {
            return Err(Error::new(
                SqlState::ObjectNotInPrerequisiteState,
                format!("table \"{}\" changed while rows were loaded", table.name),
            )
            .hint("send the rows again"));
        }
        self.server.files.publish(now, appended).await
    }
}

/// The table, if `principal` may add rows to it. What one may not see is not there.
fn loadable<'a>(policies: &'a Policies, principal: &Principal, name: &str) -> Result<&'a Table> {
    let absent = || Error::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"));
    if policies.views.contains_key(name) && policies.may_see(principal, name) {
        return Err(Error::new(SqlState::WrongObjectType, format!("cannot copy to view \"{name}\""))
            .hint("load the rows into a table that it reads"));
    }
    let known = policies.tables.get(name);
    if !policies.may_load(principal, name) {
        let seen = known.is_some() && policies.may_see(principal, name);
        let denied = principal.denied(Capability::Load, format!("permission denied for table \"{name}\""));
        return Err(if seen || !principal.can(Capability::Load) { denied } else { absent() });
    }
    let table = known.ok_or_else(absent)?;
    if !principal.can(Capability::Administer)
        && let Some(policy) = table.row_policy_of(principal)
    {
        return Err(Error::new(SqlState::FeatureNotSupported, "COPY FROM not supported with row-level security")
            .detail(format!(
                "policy \"{}\" says which rows of \"{name}\" are yours, and rows that come are not held against it",
                policy.name
            ))
            .hint("an insights administrator loads the rows, or alters the policy to name other roles"));
    }
    Ok(table)
}

/// What is sent, and where each of the table's columns is in it.
fn columns(table: &Table, named: Option<&[String]>) -> Result<(SchemaRef, Vec<Option<usize>>)> {
    let whole = crate::catalog::files::arrow_schema(table)?;
    let keys: BTreeSet<&String> = table.unique_keys.iter().flat_map(|key| &key.columns).collect();
    let required = |field: &Field| !field.is_nullable() || keys.contains(field.name());
    let all: Vec<String> = whole.fields().iter().map(|field| field.name().clone()).collect();
    let sent = named.unwrap_or(&all);
    let mut seen = BTreeSet::new();
    let mut fields = Vec::new();
    for name in sent {
        let field = whole.field_with_name(name).map_err(|_| {
            Error::new(
                SqlState::UndefinedColumn,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            )
        })?;
        if !seen.insert(name) {
            return Err(Error::new(SqlState::DuplicateColumn, format!("column \"{name}\" specified more than once")));
        }
        fields.push(field.clone().with_nullable(!required(field)));
    }
    if let Some(missing) = whole.fields().iter().find(|field| required(field) && !seen.contains(field.name())) {
        return Err(Error::new(
            SqlState::NotNullViolation,
            format!("column \"{}\" of relation \"{}\" needs a value", missing.name(), table.name),
        )
        .detail("it is declared NOT NULL, or is part of a key")
        .hint("send the column, too"));
    }
    let places = whole.fields().iter().map(|field| sent.iter().position(|name| name == field.name())).collect();
    Ok((Arc::new(Schema::new(fields)), places))
}

fn canceled() -> Error {
    Error::new(SqlState::QueryCanceled, "canceling statement due to user request")
}
