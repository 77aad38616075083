//! Statements around a query: `EXPLAIN`, `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
//!
//! In: a statement after its first word. Out: the same query a plain `SELECT` would be, and what is wanted of its answer.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::kinds::{refuse, refuse_missing};
use super::reader::Reader;
use super::reports;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{CursorOptions, Direction, Statement};

/// `SELECT`, `VALUES`, `WITH`, `( … )`, and `TABLE name` as `SELECT * FROM name`.
pub(super) fn query(reader: &mut Reader<'_>) -> Result<Box<Query>> {
    if reader.take(&["TABLE"]) {
        reader.take(&["ONLY"]);
        let table = reader.table_tokens()?;
        return reader.select_from(table, &[]);
    }
    if !starts_query(reader, 0) {
        return Err(refuse(reader));
    }
    let mut query = reader.query()?;
    reports::as_views(&mut query)?;
    Ok(query)
}

fn starts_query(reader: &Reader<'_>, ahead: usize) -> bool {
    match reader.peek(ahead) {
        Some(word) => ["SELECT", "VALUES", "WITH", "TABLE"].contains(&word.as_str()),
        None => reader.is(ahead, &Token::LParen),
    }
}

pub(super) fn explain(reader: &mut Reader<'_>) -> Result<Statement> {
    let mut privacy = false;
    if reader.peek_is(&Token::LParen) && !starts_query(reader, 1) {
        let options = reader.parenthesized(explain_option)?;
        privacy = options.contains(&true);
    } else {
        if matches!(reader.peek(0).as_deref(), Some("ANALYZE" | "ANALYSE")) {
            return Err(refuse_analyze(reader));
        }
        reader.take(&["VERBOSE"]);
        if matches!(reader.peek(0).as_deref(), Some("ANALYZE" | "ANALYSE")) {
            return Err(refuse_analyze(reader));
        }
    }
    let query = query(reader)?;
    Ok(Statement::Explain { privacy, query })
}

fn refuse_analyze(reader: &Reader<'_>) -> Error {
    Error::new(SqlState::InsufficientPrivilege, "EXPLAIN ANALYZE is not allowed")
        .detail("EXPLAIN ANALYZE prints row counts")
        .hint("write EXPLAIN (PRIVACY): price, bounds and expected error, without running anything")
        .at(reader.position())
}

/// One option of `EXPLAIN ( … )`: is it `PRIVACY`, and on?
fn explain_option(reader: &mut Reader<'_>) -> Result<bool> {
    let place = reader.position();
    let refused = refuse_analyze(reader);
    let name = reader.name()?;
    let value = if reader.peek_is(&Token::Comma) || reader.peek_is(&Token::RParen) {
        "on".to_owned()
    } else {
        reader.value()?.to_ascii_lowercase()
    };
    let on = match value.as_str() {
        "on" | "true" | "1" | "yes" => true,
        "off" | "false" | "0" | "no" | "none" => false,
        "text" if name == "format" => return Ok(false),
        _ if name == "format" => {
            return Err(refuse_missing("EXPLAIN in a format other than text", "write EXPLAIN (FORMAT TEXT)").at(place));
        }
        _ => return Err(invalid(&name, &value).at(place)),
    };
    match name.as_str() {
        "privacy" => Ok(on),
        "analyze" | "analyse" if on => Err(refused),
        "timing" | "buffers" | "wal" | "serialize" | "memory" if on => {
            Err(refuse_missing(&format!("EXPLAIN option {name}"), "write EXPLAIN (PRIVACY)").at(place))
        }
        "analyze" | "analyse" | "timing" | "buffers" | "wal" | "serialize" | "memory" | "verbose" | "costs"
        | "settings" | "summary" | "generic_plan" => Ok(false),
        _ => Err(Error::new(SqlState::SyntaxError, format!("unrecognized EXPLAIN option \"{name}\"")).at(place)),
    }
}

pub(super) fn invalid(name: &str, value: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("invalid value for option \"{name}\": \"{value}\""))
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`
pub(super) fn declare(reader: &mut Reader<'_>) -> Result<Statement> {
    let name = reader.name()?;
    let mut options = CursorOptions::default();
    loop {
        if reader.take(&["NO", "SCROLL"]) {
            options.no_scroll = true;
        } else {
            match reader.take_one(&["SCROLL", "BINARY", "INSENSITIVE", "ASENSITIVE"]) {
                Some("SCROLL") => options.scroll = true,
                Some("BINARY") => options.binary = true,
                Some(_) => {}
                None => break,
            }
        }
    }
    if options.scroll && options.no_scroll {
        return Err(Error::new(SqlState::InvalidCursorDefinition, "cannot specify both SCROLL and NO SCROLL"));
    }
    reader.expect(&["CURSOR"])?;
    options.hold = reader.take(&["WITH", "HOLD"]);
    reader.take(&["WITHOUT", "HOLD"]);
    reader.expect(&["FOR"])?;
    let query = query(reader)?;
    Ok(Statement::Declare { name, options, query })
}

/// `FETCH`, `MOVE`.
pub(super) fn fetch(reader: &mut Reader<'_>, moves: bool) -> Result<Statement> {
    // A cursor may be called like a direction: then nothing follows.
    let direction = if reader.is(1, &Token::EOF) { Direction::Forward(1) } else { direction(reader)? };
    reader.take_one(&["FROM", "IN"]);
    let name = reader.name()?;
    Ok(Statement::Fetch { name, direction, moves })
}

fn direction(reader: &mut Reader<'_>) -> Result<Direction> {
    let word =
        reader.take_one(&["NEXT", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "FORWARD", "BACKWARD", "ALL"]);
    let forward = |rows: i64| match rows {
        0 => Direction::Relative(0),
        rows if rows > 0 => Direction::Forward(rows.unsigned_abs()),
        rows => Direction::Backward(rows.unsigned_abs()),
    };
    Ok(match word {
        Some("PRIOR") => Direction::Backward(1),
        Some("FIRST") => Direction::Absolute(1),
        Some("LAST") => Direction::Absolute(-1),
        Some("ABSOLUTE") => Direction::Absolute(signed(reader)?),
        Some("RELATIVE") => Direction::Relative(signed(reader)?),
        Some("ALL") => Direction::Forward(u64::MAX),
        Some("FORWARD") if reader.take(&["ALL"]) => Direction::Forward(u64::MAX),
        Some("BACKWARD") if reader.take(&["ALL"]) => Direction::Backward(u64::MAX),
        Some("BACKWARD") => match if at_count(reader) { signed(reader)? } else { 1 } {
            0 => Direction::Relative(0),
            rows => forward(-rows),
        },
        Some("FORWARD") | None if at_count(reader) => forward(signed(reader)?),
        Some(_) | None => Direction::Forward(1),
    })
}

fn at_count(reader: &Reader<'_>) -> bool {
    reader.at_number() || reader.peek_is(&Token::Minus) || reader.peek_is(&Token::Plus)
}

/// Errors: 22003 where it is no four-byte integer, as Postgres has it.
fn signed(reader: &mut Reader<'_>) -> Result<i64> {
    let place = reader.position();
    let negative = reader.sign(&Token::Minus);
    if !negative {
        reader.sign(&Token::Plus);
    }
    let size = reader.unsigned()?;
    match i64::try_from(size) {
        Ok(size) if size <= i64::from(i32::MAX) => Ok(if negative { -size } else { size }),
        _ => Err(Error::new(SqlState::NumericValueOutOfRange, "integer out of range").at(place)),
    }
}

pub(super) fn close(reader: &mut Reader<'_>) -> Result<Statement> {
    if reader.take(&["ALL"]) {
        return Ok(Statement::CloseCursor(None));
    }
    reader.name().map(|name| Statement::CloseCursor(Some(name)))
}
