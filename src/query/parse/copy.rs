//! `COPY … TO STDOUT` and `COPY table FROM STDIN`.
//!
//! In: a statement after its first word. Out: the query whose answer is wanted, or the table that rows are for; and how the rows are
//! written. Only the connection itself is a place to copy to or from.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursors::{invalid, query};
use super::kinds::refuse_missing;
use super::reader::Reader;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{CopyFormat, CopyIn, CopyInFormat, Header, Statement};

pub(super) fn copy(reader: &mut Reader<'_>) -> Result<Statement> {
    let binary = reader.take(&["BINARY"]);
    if reader.sign(&Token::LParen) {
        let query = query(reader)?;
        reader.expect_sign(&Token::RParen)?;
        return copy_to(reader, query, binary);
    }
    let mut ahead = 0;
    while !reader.is(ahead, &Token::EOF) && !matches!(reader.peek(ahead).as_deref(), Some("FROM" | "TO")) {
        ahead += 1;
    }
    if reader.peek(ahead).as_deref() == Some("FROM") {
        return copy_from(reader, binary);
    }
    let table = reader.table_tokens()?;
    let columns = if reader.peek_is(&Token::LParen) { reader.parenthesized(Reader::name)? } else { vec![] };
    let query = reader.select_from(table, &columns)?;
    copy_to(reader, query, binary)
}

fn copy_to(
    reader: &mut Reader<'_>,
    query: Box<datafusion::sql::sqlparser::ast::Query>,
    binary: bool,
) -> Result<Statement> {
    reader.expect(&["TO"])?;
    if !reader.take(&["STDOUT"]) {
        return Err(Error::new(SqlState::InsufficientPrivilege, "COPY to a file or a program is not allowed")
            .detail("answers leave through the connection only")
            .hint("write COPY … TO STDOUT, or \\copy in psql")
            .at(reader.position()));
    }
    let start = reader.position();
    let options = Options::read(reader, binary, true)?;
    let format = options.outward().map_err(|error| error.at(start))?;
    Ok(Statement::CopyOut { query, format })
}

fn copy_from(reader: &mut Reader<'_>, binary: bool) -> Result<Statement> {
    let position = reader.position();
    let table = reader.table()?;
    let columns = if reader.peek_is(&Token::LParen) { Some(reader.parenthesized(Reader::name)?) } else { None };
    reader.expect(&["FROM"])?;
    if !reader.take(&["STDIN"]) {
        return Err(Error::new(SqlState::InsufficientPrivilege, "COPY from a file or a program is not allowed")
            .detail("rows come through the connection only, so that who sends them is known")
            .hint("write COPY … FROM STDIN, or \\copy in psql; an administrator registers files with CREATE EXTERNAL TABLE")
            .at(reader.position()));
    }
    let start = reader.position();
    let options = Options::read(reader, binary, false)?;
    let format = options.inward().map_err(|error| error.at(start))?;
    if reader.peek(0).as_deref() == Some("WHERE") {
        return Err(refuse_missing("COPY FROM with WHERE", "send the rows that are wanted").at(reader.position()));
    }
    Ok(Statement::CopyIn(CopyIn { table, columns, format, position }))
}

#[derive(Default)]
struct Options {
    binary: bool,
    csv: bool,
    header: Header,
    delimiter: Option<u8>,
    null: Option<String>,
    quote: Option<u8>,
    escape: Option<u8>,
}

impl Options {
    /// `out`: of COPY TO.
    fn read(reader: &mut Reader<'_>, binary: bool, out: bool) -> Result<Self> {
        let mut options = Self { binary, ..Self::default() };
        reader.take(&["WITH"]);
        if reader.sign(&Token::LParen) {
            loop {
                options.option(reader, true, out)?;
                if !reader.sign(&Token::Comma) {
                    break;
                }
            }
            reader.expect_sign(&Token::RParen)?;
        } else {
            while !reader.at_end() && reader.peek(0).as_deref() != Some("WHERE") {
                options.option(reader, false, out)?;
            }
        }
        Ok(options)
    }

    /// `listed`: inside parentheses, where `FORMAT csv` stands for `CSV` and options may have values.
    fn option(&mut self, reader: &mut Reader<'_>, listed: bool, out: bool) -> Result<()> {
        let place = reader.position();
        let name = reader.name()?;
        let unsupported =
            |what: &str| refuse_missing(&format!("COPY with {what}"), "write FORMAT csv, text or binary").at(place);
        match (name.as_str(), listed) {
            ("format", true) => match reader.value()?.as_str() {
                "csv" => self.csv = true,
                "text" => self.csv = false,
                "binary" => self.binary = true,
                other => return Err(unsupported(&format!("FORMAT {other}"))),
            },
            ("csv", false) => self.csv = true,
            ("binary", false) => self.binary = true,
            ("header", true) if !reader.peek_is(&Token::Comma) && !reader.peek_is(&Token::RParen) => {
                self.header = match reader.value()?.to_ascii_lowercase().as_str() {
                    "on" | "true" | "1" => Header::Present,
                    "off" | "false" | "0" => Header::None,
                    "match" if !out => Header::Match,
                    other => return Err(invalid("header", other).at(place)),
                };
            }
            ("header", _) => self.header = Header::Present,
            ("delimiter", _) => self.delimiter = Some(character(reader, "delimiter", b"\r\n\"\\")?),
            ("null", _) => {
                reader.take(&["AS"]);
                self.null = Some(reader.text()?);
            }
            ("quote", _) => self.quote = Some(character(reader, "quote", b"\r\n")?),
            ("escape", _) => self.escape = Some(character(reader, "escape", b"\r\n")?),
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

    fn outward(self) -> Result<CopyFormat> {
        if self.quote.is_some_and(|quote| quote != b'"') || self.escape.is_some_and(|escape| escape != b'"') {
            return Err(refuse_missing(
                "COPY with another quote or escape character",
                "write FORMAT csv, text or binary",
            ));
        }
        if self.binary {
            self.refuse_of_text()?;
            return Ok(CopyFormat::Binary);
        }
        let header = self.header != Header::None;
        let csv = self.csv;
        let (delimiter, null) = self.delimiter_and_null()?;
        Ok(CopyFormat::Lines { csv, header, delimiter, null })
    }

    fn inward(self) -> Result<CopyInFormat> {
        if self.binary {
            self.refuse_of_text()?;
            return Ok(CopyInFormat::Binary);
        }
        let (csv, header) = (self.csv, self.header);
        if !csv && (self.quote.is_some() || self.escape.is_some()) {
            return Err(refuse_missing("COPY of text with QUOTE or ESCAPE", "write FORMAT csv"));
        }
        let quote = self.quote.unwrap_or(b'"');
        let escape = self.escape.unwrap_or(quote);
        let (delimiter, null) = self.delimiter_and_null()?;
        if !csv {
            return Ok(CopyInFormat::Text { header, delimiter, null });
        }
        if quote == delimiter {
            return Err(Error::new(SqlState::InvalidParameterValue, "COPY delimiter and quote must be different"));
        }
        if null.as_bytes().contains(&quote) {
            return Err(invalid("null", &null).hint("the quote character must not stand in it"));
        }
        Ok(CopyInFormat::Csv { header, delimiter, null, quote, escape })
    }

    fn refuse_of_text(&self) -> Result<()> {
        let of_text = self.csv
            || self.header != Header::None
            || self.delimiter.is_some()
            || self.null.is_some()
            || self.quote.is_some()
            || self.escape.is_some();
        if of_text {
            return Err(Error::new(SqlState::SyntaxError, "COPY in binary takes no options of text"));
        }
        Ok(())
    }

    fn delimiter_and_null(self) -> Result<(u8, String)> {
        let delimiter = self.delimiter.unwrap_or(if self.csv { b',' } else { b'\t' });
        let null = self.null.unwrap_or_else(|| if self.csv { "" } else { "\\N" }.to_owned());
        if null.bytes().any(|byte| byte == delimiter || byte == b'\n' || byte == b'\r') {
            return Err(invalid("null", &null));
        }
        Ok((delimiter, null))
    }
}

fn character(reader: &mut Reader<'_>, option: &str, not: &[u8]) -> Result<u8> {
    let place = reader.position();
    reader.take(&["AS"]);
    match reader.text()?.as_bytes() {
        [byte] if !not.contains(byte) => Ok(*byte),
        _ => Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("COPY {option} must be a single one-byte character"),
        )
        .at(place)),
    }
}
