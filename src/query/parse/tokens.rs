//! A query string as tokens: where each one lies, which statement it belongs to, what the log may keep of it.
//!
//! In: SQL text. Out: statements as slices of tokens whose positions count from the statement's own start, and texts
//! without passwords. Never looks at what a statement means beyond that.

use std::ops::Range;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::persons::persons;
use crate::error::{Error, Result, SqlState};

/// One token, whitespace and comments included.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub token: TokenWithSpan,
    /// Where it lies in the text.
    pub bytes: Range<usize>,
    /// Characters of the text before it.
    pub chars: usize,
}

/// One statement of a query string, from its first token that means something to its last.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    pub text: &'a str,
    /// Characters of the query string before it.
    pub offset: usize,
    /// Places and spans count from the start of `text`.
    pub pieces: Vec<Piece>,
}

pub(super) fn tokenize(sql: &str) -> Result<Vec<Piece>> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| {
        let message = if error.message.to_lowercase().contains("unterminated") {
            error.message.to_lowercase()
        } else {
            "syntax error in a literal or a comment".to_owned()
        };
        Error::new(SqlState::SyntaxError, message).at(position_in(sql, error.location))
    })?;
    Ok(locate(sql, tokens))
}

/// Token spans lie end to end, and only a line feed begins a line: one walk over the characters finds every place.
fn locate(sql: &str, tokens: Vec<TokenWithSpan>) -> Vec<Piece> {
    let mut rest = sql.char_indices().peekable();
    let mut here = Location { line: 1, column: 1 };
    let mut chars = 0;
    let mut pieces = Vec::with_capacity(tokens.len());
    for token in tokens {
        let start = rest.peek().map_or(sql.len(), |(byte, _)| *byte);
        let before = chars;
        while here < token.span.end
            && let Some((_, c)) = rest.next()
        {
            chars += 1;
            if c == '\n' {
                here.line += 1;
                here.column = 1;
            } else {
                here.column += 1;
            }
        }
        let end = rest.peek().map_or(sql.len(), |(byte, _)| *byte);
        pieces.push(Piece { token, bytes: start..end, chars: before });
    }
    pieces
}

/// Cuts at semicolons; what holds no token but whitespace and comments is no statement.
pub(super) fn statements<'a>(sql: &'a str, pieces: &[Piece]) -> Vec<Slice<'a>> {
    pieces
        .split(|piece| piece.token.token == Token::SemiColon)
        .filter_map(|part| {
            let first = part.iter().position(is_significant)?;
            let last = part.iter().rposition(is_significant)?;
            Some(slice(sql, &part[first..=last]))
        })
        .collect()
}

fn slice<'a>(sql: &'a str, part: &[Piece]) -> Slice<'a> {
    let (first, last) = (&part[0], &part[part.len() - 1]);
    let origin = first.token.span.start;
    let rebase = |at: Location| Location {
        line: at.line - origin.line + 1,
        column: if at.line == origin.line { at.column - origin.column + 1 } else { at.column },
    };
    let pieces = part
        .iter()
        .map(|piece| Piece {
            token: TokenWithSpan::new(
                piece.token.token.clone(),
                Span::new(rebase(piece.token.span.start), rebase(piece.token.span.end)),
            ),
            bytes: piece.bytes.start - first.bytes.start..piece.bytes.end - first.bytes.start,
            chars: piece.chars - first.chars,
        })
        .collect();
    Slice { text: &sql[first.bytes.start..last.bytes.end], offset: first.chars, pieces }
}

fn is_significant(piece: &Piece) -> bool {
    !matches!(piece.token.token, Token::Whitespace(_))
}

/// The character, from 1, at a line and column of `text`.
pub(super) fn position_in(text: &str, location: Location) -> Option<usize> {
    let mut lines = text.split_inclusive('\n');
    let mut before = 0;
    for _ in 1..location.line {
        before += lines.next()?.chars().count();
    }
    let column = usize::try_from(location.column).ok()?;
    (location.line > 0 && column > 0).then_some(before + column)
}

/// The unquoted word a token is, in capitals.
pub(super) fn word(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// What a query string that was not understood may leave in the log: with every text blanked that may be a password.
/// Where it cannot even be cut into tokens and might hold one, nothing of it.
pub fn redact(sql: &str) -> String {
    match tokenize(sql) {
        Ok(pieces) => {
            let secret: Vec<bool> =
                pieces.split_inclusive(|piece| piece.token.token == Token::SemiColon).flat_map(suspects).collect();
            blank(sql, &pieces, &secret)
        }
        Err(_) if may_hold_secret(sql) || is_about_roles(sql) || is_about_persons(sql) => WITHHELD.to_owned(),
        Err(_) => sql.to_owned(),
    }
}

const WITHHELD: &str = "<statement withheld>";

/// The text of a statement that was understood, as the log keeps it.
pub(super) fn without_secrets(slice: &Slice<'_>) -> String {
    blank(slice.text, &slice.pieces, &either(secrets(&slice.pieces), persons(&slice.pieces)))
}

fn blank(text: &str, pieces: &[Piece], secret: &[bool]) -> String {
    pieces
        .iter()
        .zip(secret)
        .map(|(piece, secret)| match (secret, &piece.token.token) {
            (false, _) => &text[piece.bytes.clone()],
            (true, Token::Whitespace(Whitespace::SingleLineComment { .. })) => "-- ***\n",
            (true, Token::Whitespace(_)) => "/* *** */",
            (true, _) => "'***'",
        })
        .collect()
}

/// Understood: the text right after `PASSWORD`, the values of options whose name speaks of a secret, and comments that do.
fn secrets(pieces: &[Piece]) -> Vec<bool> {
    // The value of a secret comes; names and values of options come; a name goes on.
    let (mut expected, mut options, mut dotted) = (false, false, false);
    pieces
        .iter()
        .map(|piece| {
            let token = &piece.token.token;
            let continues = std::mem::replace(&mut dotted, *token == Token::Period);
            match token {
                Token::Whitespace(_) => return may_hold_secret(comment(token)),
                Token::Eq | Token::Period => return false,
                _ => {}
            }
            let name = word(token);
            let is_value = is_text(token) || options && !continues;
            if name.as_deref() == Some("TO") && !options {
                return false;
            }
            if expected && is_value {
                expected = false;
                return true;
            }
            options |= name.as_deref() == Some("OPTIONS");
            expected = name.as_deref() == Some("PASSWORD")
                || options && (expected && continues || may_hold_secret(&token.to_string()));
            false
        })
        .collect()
}

/// Not understood: whatever may be a password or a person.
pub(super) fn suspects(pieces: &[Piece]) -> Vec<bool> {
    either(passwords(pieces), persons(pieces))
}

fn either(one: Vec<bool>, other: Vec<bool>) -> Vec<bool> {
    one.into_iter().zip(other).map(|(one, other)| one || other).collect()
}

/// Every text of a statement about roles, and everything but bare words and signs after a word that speaks of a secret; the
/// first bare word too.
fn passwords(pieces: &[Piece]) -> Vec<bool> {
    let roles = is_about_roles(
        &pieces.iter().filter_map(|piece| word(&piece.token.token)).take(4).collect::<Vec<_>>().join(" "),
    );
    // A secret was spoken of; a bare word would be it; a role's name comes.
    let (mut seen, mut bare, mut named) = (false, false, false);
    pieces
        .iter()
        .map(|piece| match &piece.token.token {
            token @ Token::Whitespace(_) => {
                let comment = comment(token);
                !comment.is_empty() && (seen || roles || may_hold_secret(comment))
            }
            token if is_text(token) => {
                let speaks = may_hold_secret(&token.to_string());
                let secret = seen || roles || speaks;
                seen |= speaks;
                secret
            }
            Token::Word(word) => {
                let quoted = word.quote_style.is_some();
                let secret = !is_filler(&word.value) && !named && (seen && (quoted || bare) || roles && quoted);
                let speaks = may_hold_secret(&word.value);
                bare = speaks || (bare && is_filler(&word.value));
                seen |= speaks;
                named = ["ROLE", "USER", "GROUP"].iter().any(|kind| word.value.eq_ignore_ascii_case(kind));
                secret
            }
            Token::Number(..) | Token::Placeholder(_) | Token::Char(_) => seen,
            _ => false,
        })
        .collect()
}

fn is_filler(word: &str) -> bool {
    ["TO", "IS", "AS", "BY", "NULL"].iter().any(|filler| word.eq_ignore_ascii_case(filler))
}

fn comment(token: &Token) -> &str {
    match token {
        Token::Whitespace(Whitespace::SingleLineComment { comment, .. } | Whitespace::MultiLineComment(comment)) => {
            comment
        }
        _ => "",
    }
}

fn may_hold_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["passw", "pwd", "secret", "scram-sha", "token", "access_key"].iter().any(|sign| text.contains(sign))
}

fn is_about_persons(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("privacy") && ["person", "request_access", "approve_access"].iter().any(|sign| text.contains(sign))
}

fn is_about_roles(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    (text.contains("create") || text.contains("alter"))
        && (text.contains("role") || text.contains("user") || text.contains("group"))
}

/// Every form of a text literal there is, in any dialect.
pub(super) fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::QuoteDelimitedStringLiteral(_)
            | Token::NationalQuoteDelimitedStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}
