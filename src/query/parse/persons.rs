//! What of a statement names a person: person keys, where an administrator has to write one.
//!
//! In: a statement's tokens. Out: which of them the log must not keep. It errs on the side of blanking, as the statement may not even
//! be one that there is.

use datafusion::sql::sqlparser::tokenizer::{Token, Whitespace};

use super::tokens::{Piece, is_text, word};

/// What a question begins with.
const ASKS: [&str; 8] = ["SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "COPY", "DECLARE", "ANALYZE"];

/// Everything written after `privacy.person`, and every argument and comment of a procedure about one person.
pub(super) fn persons(pieces: &[Piece]) -> Vec<bool> {
    let begins = pieces.iter().map(|piece| &piece.token.token).find(|token| !matches!(token, Token::Whitespace(_)));
    // What an analyst asks is logged as it is: nobody blanks a question by a word in it.
    let asks =
        begins.is_some_and(|token| *token == Token::LParen || word(token).is_some_and(|w| ASKS.contains(&w.as_str())));
    let first = (0..pieces.len()).filter(|_| !asks).find(|place| names_person(pieces, *place));
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

/// The end of `privacy.person`, `privacy.exclude_person` or another procedure about one; in quotes, too. An argument `person`, or one so
/// far behind that it would be it.
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
    let argument = own == "person" && matches!(next(pieces, place), Some(Token::RArrow | Token::Assignment));
    let far = FAR.iter().any(|(procedure, commas)| {
        (dotted && own == *procedure || own.strip_prefix("privacy.") == Some(procedure))
            && commas_after(pieces, place) >= *commas
    });
    argument || far || own.starts_with("privacy.") && own.ends_with("person") || dotted && own.ends_with("person")
}

/// Procedures whose last argument is a person, and how many commas are before it.
const FAR: [(&str, usize); 2] = [("request_access", 6), ("approve_access", 1)];

/// Those in the brackets of an array are none of the call's.
fn commas_after(pieces: &[Piece], place: usize) -> usize {
    let (mut depth, mut inside, mut outside) = (0_usize, 0, 0);
    for piece in pieces.iter().skip(place) {
        match piece.token.token {
            Token::LBracket => depth += 1,
            Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth > 0 => inside += 1,
            Token::Comma => outside += 1,
            _ => {}
        }
    }
    if depth > 0 { outside + inside } else { outside }
}

fn is_filler(word: Option<&str>) -> bool {
    matches!(word, Some("TO" | "DEFAULT" | "NULL" | "SET" | "RESET"))
}

fn next(pieces: &[Piece], place: usize) -> Option<&Token> {
    let mut rest = pieces.iter().skip(place + 1).map(|piece| &piece.token.token);
    rest.find(|token| !matches!(token, Token::Whitespace(_)))
}

#[cfg(test)]
mod tests {
    use crate::query::parse::{parse, redact};

    /// As the log keeps it, whether it was understood or not.
    fn kept(sql: &str) -> String {
        match parse(sql) {
            Ok(parsed) => parsed.into_iter().map(|parsed| parsed.text).collect::<Vec<_>>().join(";"),
            Err(_) => redact(sql),
        }
    }

    #[test]
    fn nobody_is_named_however_it_is_written() {
        for sql in [
            "ALTER ROLE m SET privacy.person = 'WHO'",
            "ALTER ROLE m SET privacy.person TO who",
            "ALTER ROLE m SET privacy . /* WHO */ person = \"WHO\"",
            "alter user m set Privacy.Person = $$WHO$$ -- WHO",
            "ALTER ROLE m SET \"privacy.person\" = 'WHO'",
            "ALTER ROLE m SET privacy.person = E'WHO' 'WHO'",
            "SET privacy.person = 'WHO'",
            "SET LOCAL privacy.person TO WHO",
            "CALL privacy.exclude_person('WHO', 'WHO asked for it')",
            "CALL privacy.exclude_person(person => 'WHO', reason => $r$WHO$r$)",
            "CALL privacy.include_person(\"WHO\")",
            "/* WHO */ CALL privacy.exclude_person('WHO'",
            "CAL privacy.exclude_person('WHO')",
            "CALL privacy.exclude_person(WHO, 'x)",
            "CALL privacy.request_access('t', '{c}', 'direct', '1 hour', 'WHO asked', 'letter of WHO', 'WHO')",
            "CALL privacy.request_access('t', ARRAY['c', 'd'], 'direct', '1 hour', 'why', 'letter', WHO)",
            "CALL privacy.request_access('t', ARRAY['c', 'd', 'direct', '1 hour', 'why', 'letter', 'WHO')",
            "CALL privacy.request_access(person => 'WHO', \"table\" => 'WHO')",
            "CALL privacy.request_acces(PERSON := $$WHO$$, reason => 'WHO')",
            "CALL privacy.approve_access(1, 'WHO')",
            "CALL privacy.approve_access(person => 'WHO', id => 1) -- WHO",
            "CALL \"privacy\".\"approve_access\"(1, \"WHO\"",
            "CALL privacy.approve_access(1, 'WHO",
        ] {
            let kept = kept(sql);
            assert!(!kept.to_lowercase().contains("who"), "{sql} is kept as {kept}");
        }
        assert!(!kept("CALL privacy.exclude_person(4711)").contains("4711"));
        assert!(!kept("ALTER ROLE m SET privacy.person = 4711").contains("4711"));
        assert_eq!(kept("ALTER ROLE m SET privacy.person = 'x'"), "ALTER ROLE m SET privacy.person = '***'");
        let call = "CALL privacy.exclude_person(person => 'x', reason => 'y')";
        assert_eq!(kept(call), "CALL privacy.exclude_person(person => '***', reason => '***')");
    }

    #[test]
    fn what_names_nobody_is_kept() {
        for sql in [
            "CALL privacy.request_access('t', ARRAY['a', 'b', 'c', 'd'], 'deidentified', '1 hour', 'a study')",
            "CALL privacy.approve_access(7)",
            "CALL privacy.deny_access(7, 'no')",
        ] {
            assert_eq!(kept(sql), sql);
        }
        assert!(!kept("CALL privacy.approve_access(1, person => 4711)").contains("4711"));
    }

    #[test]
    fn questions_are_kept_as_they_were_asked() {
        for sql in [
            "SELECT count(*) FROM person WHERE country = 'DE'",
            "SELECT 1 AS \"privacy.person\", count(*) /* all */ FROM person WHERE country = 'DE'",
            "WITH a AS (SELECT privacy.exclude_person('DE')) SELECT 'FR' FROM a",
            "(SELECT count(*) FROM privacy.person WHERE country = 'DE')",
        ] {
            assert_eq!(kept(sql), sql);
        }
    }
}
