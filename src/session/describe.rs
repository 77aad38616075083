//! What statements want and give, without running them: for the extended protocol's Describe, and EXPLAIN.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast;

use super::answer::{Answer, Rows};
use super::path::{Asked, Failure, compile};
use super::{Description, Prepared, Protocol, Session};
use crate::error::{Result, SqlState};
use crate::query;
use crate::query::statement::Statement;

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

    async fn describe_query(
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
