//! How large a statement may be: so that reading, copying and dropping its tree fits a thread's stack.
//!
//! In: a statement's tokens. Out: nothing, or a refusal before anything is parsed. Chains of operators (`a OR b OR c …`) nest
//! one level for each operator without any parenthesis, so the parser's own limit on depth does not see them.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::{self, Slice};
use crate::error::{Error, Result, SqlState};

/// How deep a statement may nest, in the parser's own count.
pub(super) const DEPTH: usize = 50;
/// How many tokens may each put another level on an expression.
pub(super) const OPERATORS: usize = 500;
/// How many conditions of `CASE`, of one operator each, are not counted among them.
const PLAIN_WHENS: usize = 2_000;
/// How many `UNION`, `INTERSECT`, `EXCEPT`: their levels are large.
pub(super) const SET_OPERATIONS: usize = 30;

pub(super) fn too_deep() -> Error {
    Error::new(SqlState::ProgramLimitExceeded, "the statement is nested too deeply")
        .hint("write parts of it as common table expressions, and long chains of OR as IN (…)")
}

pub(super) fn refuse_too_complex(slice: &Slice<'_>) -> Result<()> {
    let operators = slice.pieces.iter().map(|piece| &piece.token.token).filter(|token| is_operator(token)).count();
    if operators - plain_whens(slice).min(PLAIN_WHENS) > OPERATORS {
        return Err(too_deep().detail(format!("it has more than {OPERATORS} operators")));
    }
    refuse_more_than(SET_OPERATIONS, "UNION, INTERSECT and EXCEPT", is_set_operator, slice)
}

/// How many times `WHEN x = 'y' THEN` stands there: they stand beside one another, so that none adds a level. Drivers write
/// long lists of them.
fn plain_whens(slice: &Slice<'_>) -> usize {
    let tokens: Vec<&Token> = slice.pieces.iter().map(|piece| &piece.token.token).collect();
    let tokens: Vec<&&Token> = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let is = |at: usize, expected: &str| {
        tokens.get(at).and_then(|token| tokens::word(token)).is_some_and(|word| word == expected)
    };
    let sign = |at: usize, expected: &Token| tokens.get(at).is_some_and(|token| **token == expected);
    let plain = |at: &usize| {
        is(*at, "WHEN")
            && ((sign(at + 2, &Token::Eq) && is(at + 4, "THEN"))
                || (sign(at + 2, &Token::Period) && sign(at + 4, &Token::Eq) && is(at + 6, "THEN")))
    };
    (0..tokens.len()).filter(plain).count()
}

fn refuse_more_than(limit: usize, what: &str, counts: fn(&Token) -> bool, slice: &Slice<'_>) -> Result<()> {
    let tokens = slice.pieces.iter().map(|piece| &piece.token.token);
    if tokens.filter(|token| counts(token)).count() > limit {
        return Err(too_deep().detail(format!("it has more than {limit} {what}")));
    }
    Ok(())
}

fn is_set_operator(token: &Token) -> bool {
    tokens::word(token).is_some_and(|word| ["UNION", "EXCEPT", "INTERSECT", "MINUS"].contains(&word.as_str()))
}

/// Every sign but separators, and the words that join or follow an expression.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::Number(..) => false,
        Token::LParen | Token::RParen => false,
        Token::Word(_) => tokens::word(token).is_some_and(|word| {
            [
                "AND",
                "OR",
                "NOT",
                "IS",
                "IN",
                "LIKE",
                "ILIKE",
                "SIMILAR",
                "BETWEEN",
                "ESCAPE",
                "COLLATE",
                "AT",
                "ISNULL",
                "NOTNULL",
                "OVERLAPS",
                "OPERATOR",
                "XOR",
                "DIV",
                "RLIKE",
                "REGEXP",
                "GLOB",
                "MATCH",
                "MEMBER",
                "JOIN",
                "PIVOT",
                "UNPIVOT",
                "MATCH_RECOGNIZE",
                "ARRAY",
            ]
            .contains(&word.as_str())
        }),
        token => !tokens::is_text(token),
    }
}
