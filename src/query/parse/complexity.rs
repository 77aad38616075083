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
/// How many `UNION`, `INTERSECT`, `EXCEPT`: their levels are large.
pub(super) const SET_OPERATIONS: usize = 30;

pub(super) fn too_deep() -> Error {
    Error::new(SqlState::ProgramLimitExceeded, "the statement is nested too deeply")
        .hint("write parts of it as common table expressions, and long chains of OR as IN (…)")
}

pub(super) fn refuse_too_complex(slice: &Slice<'_>) -> Result<()> {
    refuse_more_than(OPERATORS, "operators", is_operator, slice)?;
    refuse_more_than(SET_OPERATIONS, "UNION, INTERSECT and EXCEPT", is_set_operator, slice)
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
