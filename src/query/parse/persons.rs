//! What of a statement names a person: person keys, where an administrator has to write one.
//!
//! In: a statement's tokens. Out: which of them the log must not keep. It errs on the side of blanking, as the statement may not even
//! be one that there is.

use datafusion::sql::sqlparser::tokenizer::{Token, Whitespace};

use super::tokens::{Piece, is_text, word};

/// Everything written after `privacy.person`, and every argument and comment of a procedure about one person.
pub(super) fn persons(pieces: &[Piece]) -> Vec<bool> {
    let first = (0..pieces.len()).find(|place| names_person(pieces, *place));
    pieces
        .iter()
        .enumerate()
        .map(|(place, piece)| {
            let Some(first) = first else { return false };
            let token = &piece.token.token;
            match token {
                // A comment may say who, wherever it stands.
                Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => true,
                _ if place < first => is_text(token),
                Token::Number(..) | Token::Placeholder(_) | Token::Char(_) => true,
                Token::Word(named) => {
                    let argument =
                        next(pieces, place).is_some_and(|next| matches!(next, Token::RArrow | Token::Assignment));
                    place > first && !argument && (named.quote_style.is_some() || !is_filler(word(token).as_deref()))
                }
                token => is_text(token),
            }
        })
        .collect()
}

/// The end of `privacy.person`, `privacy.exclude_person` or another procedure about one; in quotes, too.
fn names_person(pieces: &[Piece], place: usize) -> bool {
    let name = |place: usize| match pieces.get(place).map(|piece| &piece.token.token) {
        Some(Token::Word(word)) => word.value.to_ascii_lowercase(),
        _ => String::new(),
    };
    let before: Vec<usize> =
        (0..place).rev().filter(|at| !matches!(pieces[*at].token.token, Token::Whitespace(_))).take(2).collect();
    let dotted = matches!(before.as_slice(), [dot, schema]
        if pieces[*dot].token.token == Token::Period && name(*schema) == "privacy");
    let own = name(place);
    own.starts_with("privacy.") && own.ends_with("person") || dotted && own.ends_with("person")
}

fn is_filler(word: Option<&str>) -> bool {
    matches!(word, Some("TO" | "DEFAULT" | "NULL" | "SET" | "RESET"))
}

fn next(pieces: &[Piece], place: usize) -> Option<&Token> {
    let mut rest = pieces.iter().skip(place + 1).map(|piece| &piece.token.token);
    rest.find(|token| !matches!(token, Token::Whitespace(_)))
}
