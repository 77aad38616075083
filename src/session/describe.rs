//! What statements want and give, without running them: for the extended protocol's Describe, and EXPLAIN.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast;

use super::answer::{Answer, Rows};
use super::path::{Asked, Failure, compile};
use super::recent::Key;
use super::{Description, Prepared, Protocol, Session};
use crate::error::{Result, SqlState};
use crate::query;
use crate::query::statement::Statement;

/// What was described, by everything that it depends on.
#[derive(Default)]
pub(super) struct Described(Mutex<HashMap<Key, Description>>);

/// Columns and types of a statement take a few kilobytes.
const MOST: usize = 2048;

impl Described {
    fn find(&self, key: &Key) -> Option<Description> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: Key, description: &Description) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(key, description.clone());
    }
}

impl Session {
    /// `declared` are the types a client gave for its parameters. Runs nothing, costs nothing; a refusal is logged.
    pub async fn describe(&mut self, statement: &Prepared, declared: &[Option<DataType>]) -> Result<Description> {
        let described = self.description(&statement.parsed.statement, &statement.parsed.text, declared).await;
        if let Err(error) = &described {
            self.transaction.fail();
            let (text, kind) = (&statement.parsed.text, statement.parsed.statement.kind());
            let asked = Asked { text, kind, parameters: &[], protocol: Protocol::Extended, began: Instant::now() };
            self.log_refusal(&asked, error).await?;
        }
        described
    }

    async fn description(
        &mut self,
        statement: &Statement,
        text: &str,
        declared: &[Option<DataType>],
    ) -> Result<Description> {
        self.follow_policies().await?;
        self.transaction.check(statement)?;
        let lines = |column: &str| Some(Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8, false)])));
        let columns = match statement {
            Statement::Query(query) => {
                let described = self.describe_query(query, text, declared, true).await;
                return match described {
                    Err(error) if error.sqlstate == SqlState::InsufficientPrivilege => {
                        let columns = self.loaded_columns(query)?.ok_or(error)?;
                        Ok(Description { parameters: Vec::new(), columns: Some(columns) })
                    }
                    described => described,
                };
            }
            Statement::CopyOut { query, .. } | Statement::Declare { query, .. } => {
                return self.describe_query(query, text, declared, false).await;
            }
            Statement::Explain { query, .. } => {
                let parameters = self.describe_query(query, text, declared, false).await?.parameters;
                return Ok(Description { parameters, columns: lines("QUERY PLAN") });
            }
            // One that is no cursor here may be a portal: the rows say what they are.
            Statement::Fetch { name, moves: false, .. } => self.cursor_columns(name),
            Statement::Fetch { moves: true, .. } => None,
            Statement::Show(Some(name)) => lines(name),
            Statement::Show(None) => {
                let field = |name: &str| Field::new(name, DataType::Utf8, false);
                Some(Arc::new(Schema::new(vec![field("name"), field("setting")])))
            }
            Statement::CopyIn(_)
            | Statement::CloseCursor(_)
            | Statement::Set { .. }
            | Statement::SetTransaction(_)
            | Statement::Reset(_)
            | Statement::Begin
            | Statement::Commit
            | Statement::Rollback
            | Statement::Savepoint(_)
            | Statement::ReleaseSavepoint(_)
            | Statement::RollbackTo(_)
            | Statement::Discard
            | Statement::Deallocate(_)
            | Statement::Unlisten
            | Statement::Analyze(_)
            | Statement::Admin(_) => None,
        };
        Ok(Description { parameters: Vec::new(), columns })
    }

    /// A driver describes each statement before it runs it: what was described under the same rules is described again. Columns and types
    /// follow from names, rights and settings; where a grant of access may show other columns, it is looked at each time.
    async fn describe_query(
        &self,
        query: &ast::Query,
        text: &str,
        declared: &[Option<DataType>],
        rows: bool,
    ) -> Result<Description> {
        let of = format!("{declared:?} {rows}");
        let question = self.question_of([text, "DESCRIBE", &of]).filter(|_| !self.may_open_rows());
        if let Some(known) = question.as_ref().and_then(|question| self.server.described.find(&question.key)) {
            return Ok(known);
        }
        let description = self.describe_anew(query, text, declared, rows).await?;
        if let Some(question) = question {
            self.server.described.keep(question.key, &description);
        }
        Ok(description)
    }

    /// Has it a grant of access to the rows of any table?
    fn may_open_rows(&self) -> bool {
        let policies = self.server.catalog.policies();
        policies.access.values().any(|grant| grant.principal == self.client.user)
    }

    async fn describe_anew(
        &self,
        query: &ast::Query,
        text: &str,
        declared: &[Option<DataType>],
        rows: bool,
    ) -> Result<Description> {
        let (inferred, columns): (Vec<Option<DataType>>, SchemaRef) = if self.is_system(query) {
            let system = self.system_session(query).await?;
            let statement = ast::Statement::Query(Box::new(query.clone()));
            let (types, columns) = self.server.system.describe(&system, &statement).await?;
            (types.into_iter().map(Some).collect(), columns)
        } else {
            let around = self.surroundings(query, text).await?;
            let unbound = query::plan(&around.context, query)?.typed(&around.context, query);
            (unbound.parameters()?, unbound.columns())
        };
        let count = inferred.len().max(declared.len());
        let parameter = |i: usize| {
            let declared = declared.get(i).cloned().flatten();
            declared.or_else(|| inferred.get(i).cloned().flatten()).unwrap_or(DataType::Utf8)
        };
        Ok(Description { parameters: (0..count).map(parameter).collect(), columns: rows.then_some(columns) })
    }

    /// `EXPLAIN` and `EXPLAIN (PRIVACY)`: compiled like the query itself, and neither run nor paid for.
    pub(super) async fn explain(
        &mut self,
        asked: &Asked<'_>,
        privacy: bool,
        query: &ast::Query,
    ) -> Result<Answer, Failure> {
        if self.is_system(query) {
            let rows =
                Rows::text("QUERY PLAN", vec!["catalog query: about what you may see, free of charge".to_owned()])?;
            return Ok(Answer::of_rows("EXPLAIN", rows));
        }
        let around = self.surroundings(query, asked.text).await?;
        let verified = compile(&around, query, asked.parameters)?;
        let lines = if privacy {
            let known = self.known(&around, &verified).await?;
            let sources: Vec<&str> = known.origins.iter().map(|origin| origin.in_words()).collect();
            let mut lines = query::privacy_lines(&verified, &sources);
            lines.extend(verified.notices().iter().map(|notice| format!("note: {notice}")));
            lines.extend(self.budget_lines(&verified).await?);
            lines
        } else {
            query::plan_lines(&verified)
        };
        Ok(Answer::of_rows("EXPLAIN", Rows::text("QUERY PLAN", lines)?))
    }
}
