//! `CALL schema.procedure(…)`.
//!
//! In: a statement after the word CALL. Out: the procedure's name and its arguments as texts; whether there is such a procedure, and
//! what it takes, is for who carries it out.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::Reader;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{Admin, Argument, Call, Statement};

/// `name(value, …, argument => value, …)`
pub(super) fn call(reader: &mut Reader<'_>) -> Result<Statement> {
    let position = reader.position();
    let procedure = reader.dotted_name()?;
    reader.expect_sign(&Token::LParen)?;
    let mut arguments = Vec::new();
    if !reader.sign(&Token::RParen) {
        arguments = reader.list(argument)?;
        reader.expect_sign(&Token::RParen)?;
    }
    if let Some(late) = arguments.iter().skip_while(|argument| argument.name.is_none()).find(|a| a.name.is_none()) {
        return Err(
            Error::new(SqlState::SyntaxError, "positional argument cannot follow named argument").at(late.position)
        );
    }
    Ok(Statement::Admin(Admin::Call(Call { procedure, arguments, position })))
}

fn argument(reader: &mut Reader<'_>) -> Result<Argument> {
    let position = reader.position();
    let named = reader.is(1, &Token::RArrow) || reader.is(1, &Token::Assignment);
    let name = if named { Some(reader.name()?) } else { None };
    if named {
        reader.skip();
    }
    Ok(Argument { name, value: value(reader)?, position })
}

/// A literal. `NULL` is none; `ARRAY['a', 'b']` is the text of the array; `INTERVAL '…'` and a cast of a text are its text.
fn value(reader: &mut Reader<'_>) -> Result<Option<String>> {
    if reader.take(&["NULL"]) {
        return Ok(None);
    }
    if reader.take(&["ARRAY"]) {
        reader.expect_sign(&Token::LBracket)?;
        let elements = if reader.peek_is(&Token::RBracket) { Vec::new() } else { reader.list(Reader::text)? };
        reader.expect_sign(&Token::RBracket)?;
        let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        return Ok(Some(format!("{{{}}}", elements.iter().map(quoted).collect::<Vec<_>>().join(","))));
    }
    let typed = reader.take_one(&["INTERVAL", "DATE", "TIMESTAMP", "TIMESTAMPTZ"]).is_some();
    let value = if typed { reader.text()? } else { reader.value()? };
    if reader.sign(&Token::DoubleColon) {
        reader.data_type()?;
    }
    Ok(Some(value))
}
