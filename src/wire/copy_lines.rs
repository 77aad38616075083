//! Lines of text or CSV, as `COPY … FROM STDIN` sends them → fields.
//!
//! In: bytes, cut anywhere. Out: one record after the other, as fields without quotes and escapes. As Postgres' `copyfromparse.c` reads
//! them: which lines there are is found first, with quotes and escapes in mind; then what stands in each.
//! Must never hold more than one record and what came with it, nor say in an error what stands in one.

use bytes::{Buf, BytesMut};

use crate::error::{Error, Result, SqlState};

/// The longest record.
const RECORD_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Dialect {
    pub delimiter: u8,
    pub null: Vec<u8>,
    /// Of CSV: quote and escape. `None`: text, with backslashes.
    pub quotes: Option<(u8, u8)>,
}

/// How lines end; the first one decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Newline,
    Return,
    Both,
}

pub(super) struct Lines {
    dialect: Dialect,
    buffer: BytesMut,
    /// How far the record in front was looked through, and what holds there.
    scanned: usize,
    quoted: bool,
    escaped: bool,
    /// Line ends within quotes.
    inner_lines: u64,
    line_end: Option<LineEnd>,
    /// Of the record that was given last, from 1.
    line: u64,
    next_line: u64,
    complete: bool,
    ended: bool,
}

/// The fields of one record, one behind the other.
#[derive(Default)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    /// Where each ends, and is it null?
    ends: Vec<(usize, bool)>,
}

impl Fields {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// `None`: null.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, null))| (!null).then(|| &self.bytes[start..*end]))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn end(&mut self, null: bool) {
        self.ends.push((self.bytes.len(), null));
    }
}

impl Lines {
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            buffer: BytesMut::new(),
            scanned: 0,
            quoted: false,
            escaped: false,
            inner_lines: 0,
            line_end: None,
            line: 0,
            next_line: 1,
            complete: false,
            ended: false,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Nothing more comes: what is left is the last record.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Of the record that was given last, or that was found wrong.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next record's fields; `false`: more bytes are needed, or there are no more. Errors: 22P04, 54000.
    pub fn next(&mut self, fields: &mut Fields) -> Result<bool> {
        let Some(record) = self.record()? else {
            return Ok(false);
        };
        if &record[..] == b"\\." {
            self.ended = true;
            self.buffer.clear();
            return Ok(false);
        }
        fields.clear();
        match self.dialect.quotes {
            None => text(&record, &self.dialect, fields),
            Some(quotes) => csv(&record, &self.dialect, quotes, fields)?,
        }
        Ok(true)
    }

    fn record(&mut self) -> Result<Option<BytesMut>> {
        if self.ended {
            return Ok(None);
        }
        self.line = self.next_line;
        while let Some(byte) = self.buffer.get(self.scanned).copied() {
            if !self.inside(byte) && matches!(byte, b'\n' | b'\r') {
                match self.line_end_at(self.scanned, byte)? {
                    Some(bytes) => return Ok(Some(self.take(self.scanned, bytes))),
                    None => return Ok(None),
                }
            }
            self.scanned += 1;
        }
        if self.buffer.len() > RECORD_BYTES {
            return Err(Error::new(SqlState::ProgramLimitExceeded, format!("a row may have {RECORD_BYTES} bytes"))
                .hint("is there a quote without its end?"));
        }
        match self.complete && !self.buffer.is_empty() {
            true if self.quoted => Err(unterminated()),
            true => Ok(Some(self.take(self.buffer.len(), 0))),
            false => Ok(None),
        }
    }

    /// Looks at one byte: is it quoted or escaped, so that it ends no line?
    fn inside(&mut self, byte: u8) -> bool {
        let Some((quote, escape)) = self.dialect.quotes else {
            let escaped = std::mem::take(&mut self.escaped);
            self.escaped = !escaped && byte == b'\\';
            self.inner_lines += u64::from(escaped && byte == b'\n');
            return escaped;
        };
        let escapes = escape != quote && byte == escape;
        if self.quoted && escapes {
            self.escaped = !self.escaped;
        }
        if byte == quote && !self.escaped {
            self.quoted = !self.quoted;
        }
        if !escapes {
            self.escaped = false;
        }
        self.inner_lines += u64::from(self.quoted && byte == b'\n');
        self.quoted
    }

    /// How many bytes the line end has; `None`: the next byte must tell. Errors: another end than the first line's.
    fn line_end_at(&mut self, at: usize, byte: u8) -> Result<Option<usize>> {
        let after = self.buffer.get(at + 1).copied();
        let found = match (byte, self.line_end, after) {
            (b'\n', ..) => LineEnd::Newline,
            (_, Some(LineEnd::Return), _) => LineEnd::Return,
            (_, _, Some(b'\n')) => LineEnd::Both,
            (_, Some(LineEnd::Newline), _) | (_, _, Some(_)) => LineEnd::Return,
            (_, _, None) if self.complete => LineEnd::Return,
            (_, _, None) => return Ok(None),
        };
        if self.line_end.is_some_and(|first| first != found) {
            return Err(self.refuse_line_end(byte));
        }
        self.line_end = Some(found);
        Ok(Some(if found == LineEnd::Both { 2 } else { 1 }))
    }

    fn refuse_line_end(&self, byte: u8) -> Error {
        let what = if byte == b'\n' { "newline" } else { "carriage return" };
        let error = |how: &str| Error::new(SqlState::BadCopyFileFormat, format!("{how} {what} found in data"));
        match self.dialect.quotes {
            None => error("literal").hint(format!(
                "use \"\\{}\" for a {what}, and end all lines alike",
                if byte == b'\n' { 'n' } else { 'r' }
            )),
            Some(_) => error("unquoted").hint(format!("quote a field with a {what}, and end all lines alike")),
        }
    }

    fn take(&mut self, length: usize, line_end: usize) -> BytesMut {
        let record = self.buffer.split_to(length);
        self.buffer.advance(line_end);
        self.next_line = self.line + 1 + std::mem::take(&mut self.inner_lines);
        (self.scanned, self.quoted, self.escaped) = (0, false, false);
        record
    }
}

fn unterminated() -> Error {
    Error::new(SqlState::BadCopyFileFormat, "unterminated CSV quoted field")
        .hint("a quote in a value is written twice, or after the escape character")
}

/// What stands for null is compared as it was sent.
fn text(record: &[u8], dialect: &Dialect, fields: &mut Fields) {
    let mut start = 0;
    let mut at = 0;
    loop {
        let byte = record.get(at).copied();
        match byte {
            None => {
                end(&record[start..], dialect, fields);
                return;
            }
            Some(byte) if byte == dialect.delimiter => {
                end(&record[start..at], dialect, fields);
                start = at + 1;
            }
            Some(b'\\') if at + 1 < record.len() => {
                let (value, length) = escaped(&record[at + 1..]);
                fields.bytes.push(value);
                at += length;
            }
            Some(byte) => fields.bytes.push(byte),
        }
        at += 1;
    }
}

/// A field without quotes.
fn end(raw: &[u8], dialect: &Dialect, fields: &mut Fields) {
    let null = raw == dialect.null;
    if null {
        let start = fields.ends.last().map_or(0, |(end, _)| *end);
        fields.bytes.truncate(start);
    }
    fields.end(null);
}

/// What a backslash makes of the bytes after it, and of how many.
fn escaped(rest: &[u8]) -> (u8, usize) {
    let digits = |from: &[u8], most: usize, radix: u32| {
        let digit = |byte: &u8| char::from(*byte).to_digit(radix);
        let digits: Vec<u32> = from.iter().take(most).map_while(digit).collect();
        // As in Postgres, what is too large for a byte loses its highest bits.
        let value = digits.iter().fold(0, |value: u32, digit| value * radix + digit);
        (value.to_le_bytes()[0], digits.len())
    };
    match rest[0] {
        b'b' => (0x08, 1),
        b'f' => (0x0c, 1),
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'v' => (0x0b, 1),
        b'0'..=b'7' => digits(rest, 3, 8),
        b'x' => match digits(&rest[1..], 2, 16) {
            (_, 0) => (b'x', 1),
            (value, length) => (value, length + 1),
        },
        other => (other, 1),
    }
}

/// Quotes may begin and end anywhere in a field; within them nothing but the escape means something.
fn csv(record: &[u8], dialect: &Dialect, (quote, escape): (u8, u8), fields: &mut Fields) -> Result<()> {
    let (mut start, mut at) = (0, 0);
    let (mut saw_quote, mut quoted) = (false, false);
    loop {
        let Some(byte) = record.get(at).copied() else {
            if quoted {
                return Err(unterminated());
            }
            if saw_quote {
                fields.end(false)
            } else {
                end(&record[start..], dialect, fields)
            }
            return Ok(());
        };
        let after = record.get(at + 1).copied();
        match byte {
            _ if quoted && byte == escape && after.is_some_and(|next| next == escape || next == quote) => {
                fields.bytes.extend(after);
                at += 1;
            }
            _ if byte == quote => {
                quoted = !quoted;
                saw_quote = true;
            }
            _ if !quoted && byte == dialect.delimiter => {
                if saw_quote {
                    fields.end(false)
                } else {
                    end(&record[start..at], dialect, fields)
                }
                start = at + 1;
                saw_quote = false;
            }
            _ => fields.bytes.push(byte),
        }
        at += 1;
    }
}

#[cfg(test)]
#[path = "copy_lines_tests.rs"]
mod tests;
