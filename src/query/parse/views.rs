//! Views: `CREATE [OR REPLACE] VIEW`, `ALTER VIEW … RENAME TO`, `DROP VIEW`.
//!
//! In: a statement after the word VIEW. Out: names, options, and the query both as a tree and as it was written.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursors;
use super::kinds::refuse_missing;
use super::reader::Reader;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{Admin, Statement};

/// `name [(columns)] [WITH (security_invoker [= value], metric [= value])] AS query`
pub(super) fn create(reader: &mut Reader<'_>, or_replace: bool) -> Result<Statement> {
    if reader.peek(0).as_deref() == Some("IF") {
        return Err(refuse_missing("CREATE VIEW IF NOT EXISTS", "write CREATE OR REPLACE VIEW").at(reader.position()));
    }
    let name = reader.table()?;
    let columns = if reader.peek_is(&Token::LParen) { Some(reader.parenthesized(Reader::name)?) } else { None };
    let (mut security_invoker, mut metric) = (false, false);
    if reader.take(&["WITH"]) {
        let place = reader.position();
        for (option, value) in reader.parenthesized(option)? {
            let set = match option.as_str() {
                "security_invoker" => &mut security_invoker,
                "metric" => &mut metric,
                _ => return Err(refuse_option(&option).hint("valid are security_invoker and metric").at(place)),
            };
            *set = match value.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => true,
                "false" | "off" | "no" | "0" => false,
                _ => return Err(refuse_option(&option).hint("valid is true or false").at(place)),
            };
        }
    }
    reader.expect(&["AS"])?;
    let definition = reader.rest();
    let query = cursors::query(reader)?;
    if reader.peek(0).as_deref() == Some("WITH") {
        return Err(
            refuse_missing("WITH CHECK OPTION", "data does not change here: leave it out").at(reader.position())
        );
    }
    Ok(Statement::Admin(Admin::CreateView { name, columns, security_invoker, metric, or_replace, definition, query }))
}

/// `[IF EXISTS] name RENAME TO name`, after `ALTER VIEW`.
pub(super) fn alter(reader: &mut Reader<'_>) -> Result<Statement> {
    let if_exists = reader.take(&["IF", "EXISTS"]);
    let name = reader.table()?;
    let place = reader.position();
    match rename(reader, name, if_exists)? {
        Some(statement) => Ok(Statement::Admin(statement)),
        None if matches!(reader.peek(0).as_deref(), Some("SET" | "RESET" | "ALTER" | "OWNER" | "RENAME")) => {
            let hint = "write ALTER VIEW … RENAME TO …, or CREATE OR REPLACE VIEW for anything else";
            Err(refuse_missing("this form of ALTER VIEW", hint).at(place))
        }
        None => Err(reader.unexpected()),
    }
}

/// `RENAME TO name`. The new name has no schema.
pub(super) fn rename(reader: &mut Reader<'_>, name: String, if_exists: bool) -> Result<Option<Admin>> {
    if !reader.take(&["RENAME", "TO"]) {
        return Ok(None);
    }
    Ok(Some(Admin::RenameView { name, to: reader.name()?, if_exists }))
}

/// `[IF EXISTS] names [CASCADE | RESTRICT]`
pub(super) fn drop(reader: &mut Reader<'_>) -> Result<Statement> {
    let if_exists = reader.take(&["IF", "EXISTS"]);
    let names = reader.list(Reader::table)?;
    let cascade = reader.take(&["CASCADE"]);
    if !cascade {
        reader.take(&["RESTRICT"]);
    }
    Ok(Statement::Admin(Admin::DropView { names, if_exists, cascade }))
}

/// A name alone stands for `true`.
fn option(reader: &mut Reader<'_>) -> Result<(String, String)> {
    let name = reader.dotted_name()?;
    let value = if reader.sign(&Token::Eq) { reader.value()? } else { "true".to_owned() };
    Ok((name, value))
}

fn refuse_option(name: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("invalid option \"{name}\" of a view"))
}
