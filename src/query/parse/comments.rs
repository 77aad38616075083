//! `COMMENT ON TABLE | VIEW | COLUMN … IS '…'`.
//!
//! In: a statement after the word COMMENT. Out: what it is about, and the text; `NULL` takes it away.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::kinds::refuse_missing;
use super::reader::{DATABASE, Reader};
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{Admin, Statement};

pub(super) fn comment(reader: &mut Reader<'_>) -> Result<Statement> {
    let place = reader.position();
    reader.expect(&["ON"])?;
    let Some(kind) = reader.take_one(&["TABLE", "VIEW", "COLUMN"]) else {
        return Err(refuse_missing("COMMENT", "tables, views and their columns have comments").at(place));
    };
    let (relation, column) = if kind == "COLUMN" {
        let mut names = vec![reader.name()?];
        while reader.sign(&Token::Period) {
            names.push(reader.name()?);
        }
        match names.as_slice() {
            [table, column] => (table.clone(), Some(column.clone())),
            [schema, table, column] if schema == "public" => (table.clone(), Some(column.clone())),
            [database, schema, table, column] if database == DATABASE && schema == "public" => {
                (table.clone(), Some(column.clone()))
            }
            _ => {
                return Err(Error::new(SqlState::SyntaxError, "column name must be qualified")
                    .hint("write COMMENT ON COLUMN table.column IS '…'")
                    .at(place));
            }
        }
    } else {
        (reader.table()?, None)
    };
    reader.expect(&["IS"])?;
    let text = if reader.take(&["NULL"]) { None } else { Some(reader.text()?) };
    Ok(Statement::Admin(Admin::Comment { relation, column, text }))
}
