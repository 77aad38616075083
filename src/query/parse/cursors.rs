//! Statements around a query: `EXPLAIN`, `COPY … TO STDOUT`, `DECLARE`, `FETCH`, `CLOSE`.
//!
//! In: a statement after its first word. Out: the same query a plain `SELECT` would be, and what is wanted of its answer.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::kinds::{refuse, refuse_change, refuse_missing};
use super::reader::Reader;
use super::reports;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{FetchCount, Statement};

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

fn invalid(name: &str, value: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("invalid value for option \"{name}\": \"{value}\""))
}

pub(super) fn copy(reader: &mut Reader<'_>) -> Result<Statement> {
    let start = reader.position();
    reader.take(&["BINARY"]);
    let query = if reader.sign(&Token::LParen) {
        let query = query(reader)?;
        reader.expect_sign(&Token::RParen)?;
        query
    } else {
        let table = reader.table_tokens()?;
        let columns = if reader.peek_is(&Token::LParen) { reader.parenthesized(Reader::name)? } else { vec![] };
        if reader.peek(0).as_deref() == Some("FROM") {
            return Err(refuse_change("COPY FROM").at(start));
        }
        reader.select_from(table, &columns)?
    };
    reader.expect(&["TO"])?;
    if !reader.take(&["STDOUT"]) {
        return Err(Error::new(SqlState::InsufficientPrivilege, "COPY to a file or a program is not allowed")
            .detail("answers leave through the connection only")
            .hint("write COPY … TO STDOUT, or \\copy in psql")
            .at(reader.position()));
    }
    let format = copy_options(reader)?;
    Ok(Statement::CopyOut {
        query,
        csv: format.csv,
        header: format.header,
        delimiter: format.delimiter.unwrap_or(if format.csv { b',' } else { b'\t' }),
    })
}

#[derive(Default)]
struct CopyOptions {
    csv: bool,
    header: bool,
    delimiter: Option<u8>,
    null: Option<String>,
}

fn copy_options(reader: &mut Reader<'_>) -> Result<CopyOptions> {
    let mut options = CopyOptions::default();
    let start = reader.position();
    reader.take(&["WITH"]);
    if reader.sign(&Token::LParen) {
        loop {
            copy_option(reader, &mut options, true)?;
            if !reader.sign(&Token::Comma) {
                break;
            }
        }
        reader.expect_sign(&Token::RParen)?;
    } else {
        while !reader.at_end() {
            copy_option(reader, &mut options, false)?;
        }
    }
    let null = if options.csv { "" } else { "\\N" };
    if options.null.as_deref().is_some_and(|text| text != null) {
        return Err(refuse_missing("COPY with another text for NULL", "leave NULL out").at(start));
    }
    if options.header && !options.csv {
        return Err(refuse_missing("COPY with HEADER in text format", "add FORMAT csv").at(start));
    }
    Ok(options)
}

/// `listed`: inside parentheses, where `FORMAT csv` stands for `CSV` and options may have values.
fn copy_option(reader: &mut Reader<'_>, options: &mut CopyOptions, listed: bool) -> Result<()> {
    let place = reader.position();
    let name = reader.name()?;
    let unsupported =
        |what: &str| refuse_missing(&format!("COPY with {what}"), "write FORMAT csv or FORMAT text").at(place);
    match (name.as_str(), listed) {
        ("format", true) => match reader.value()?.as_str() {
            "csv" => options.csv = true,
            "text" => options.csv = false,
            other => return Err(unsupported(&format!("FORMAT {other}"))),
        },
        ("csv", false) => options.csv = true,
        ("header", true) if !reader.peek_is(&Token::Comma) && !reader.peek_is(&Token::RParen) => {
            options.header = match reader.value()?.to_ascii_lowercase().as_str() {
                "on" | "true" | "1" => true,
                "off" | "false" | "0" => false,
                other => return Err(invalid("header", other).at(place)),
            };
        }
        ("header", _) => options.header = true,
        ("delimiter", _) => {
            reader.take(&["AS"]);
            options.delimiter = Some(single_byte(&reader.text()?).map_err(|error| error.at(place))?);
        }
        ("null", _) => {
            reader.take(&["AS"]);
            options.null = Some(reader.text()?);
        }
        ("quote" | "escape", _) => {
            reader.take(&["AS"]);
            if reader.text()? != "\"" {
                return Err(unsupported("another quote or escape character"));
            }
        }
        ("encoding", _) => {
            let encoding = reader.text()?;
            if !["utf8", "utf-8"].contains(&encoding.to_ascii_lowercase().as_str()) {
                return Err(unsupported("an encoding other than UTF8"));
            }
        }
        (other, _) => return Err(unsupported(&other.to_uppercase())),
    }
    Ok(())
}

fn single_byte(text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if !b"\r\n\"\\".contains(byte) => Ok(*byte),
        _ => Err(Error::new(SqlState::InvalidParameterValue, "COPY delimiter must be a single one-byte character")),
    }
}

/// `DECLARE name [BINARY] [INSENSITIVE] [NO SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`
pub(super) fn declare(reader: &mut Reader<'_>) -> Result<Statement> {
    let name = reader.name()?;
    loop {
        if reader.peek(0).as_deref() == Some("SCROLL") {
            return Err(refuse_missing("a SCROLL cursor", "write NO SCROLL: an answer is read once, forwards")
                .at(reader.position()));
        }
        let known =
            reader.take(&["NO", "SCROLL"]) || reader.take_one(&["BINARY", "INSENSITIVE", "ASENSITIVE"]).is_some();
        if !known {
            break;
        }
    }
    reader.expect(&["CURSOR"])?;
    let hold = reader.take(&["WITH", "HOLD"]);
    reader.take(&["WITHOUT", "HOLD"]);
    reader.expect(&["FOR"])?;
    let query = query(reader)?;
    Ok(Statement::Declare { name, hold, query })
}

pub(super) fn fetch(reader: &mut Reader<'_>) -> Result<Statement> {
    let count = fetch_count(reader)?;
    reader.take_one(&["FROM", "IN"]);
    let name = reader.name()?;
    Ok(Statement::Fetch { name, count })
}

fn fetch_count(reader: &mut Reader<'_>) -> Result<FetchCount> {
    let place = reader.position();
    // A cursor may be called like a direction: then nothing follows.
    if reader.is(1, &Token::EOF) {
        return Ok(FetchCount::Rows(1));
    }
    if reader.take_one(&["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"]).is_some()
        || reader.peek_is(&Token::Minus)
    {
        return Err(refuse_backwards().at(place));
    }
    if reader.take(&["NEXT"]) {
        return Ok(FetchCount::Rows(1));
    }
    let forward = reader.take(&["FORWARD"]);
    if forward && reader.peek_is(&Token::Minus) {
        return Err(refuse_backwards().at(place));
    }
    if reader.take(&["ALL"]) {
        return Ok(FetchCount::All);
    }
    if !reader.at_number() {
        return Ok(FetchCount::Rows(1));
    }
    match reader.unsigned()? {
        0 => Err(refuse_backwards().at(place)),
        rows => Ok(FetchCount::Rows(rows)),
    }
}

fn refuse_backwards() -> Error {
    refuse_missing(
        "a cursor that reads a row again",
        "write FETCH [FORWARD] n or FETCH ALL: an answer is read once, forwards",
    )
}

pub(super) fn close(reader: &mut Reader<'_>) -> Result<Statement> {
    if reader.take(&["ALL"]) {
        return Ok(Statement::CloseCursor(None));
    }
    reader.name().map(|name| Statement::CloseCursor(Some(name)))
}
