//! Functions that clients build names, literals and patterns with.
//!
//! In: texts. Out: texts. They know nothing of the session.

use datafusion::logical_expr::ScalarUDF;

use super::functions::{Arguments, Shared, text};
use super::tables::quoted;

pub(super) fn all(objects: &Shared) -> Vec<ScalarUDF> {
    let first = |arguments: &Arguments| arguments.first().copied().flatten().map(str::to_owned);
    vec![
        text("quote_literal", objects, move |_, arguments| first(arguments).map(|text| literal(&text))),
        text("quote_nullable", objects, move |_, arguments| {
            Some(first(arguments).map_or_else(|| "NULL".to_owned(), |text| literal(&text)))
        }),
        text("format", objects, |_, arguments| format(arguments)),
        text("like_pattern", objects, |_, arguments| {
            let [Some(pattern), Some(escape)] = arguments else {
                return None;
            };
            Some(like_pattern(pattern, escape))
        }),
    ]
}

fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// `format('%I.%s, %2$L', …)`; widths are not known here and give null.
fn format(arguments: &Arguments) -> Option<String> {
    let (template, values) = arguments.split_first()?;
    let mut out = String::new();
    let mut next = 0;
    let mut rest = (*template)?;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits: &str = &after[..after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
        let mut directive = after;
        if !digits.is_empty() {
            next = digits.parse::<usize>().ok()?.checked_sub(1)?;
            directive = after[digits.len()..].strip_prefix('$')?;
        }
        let mut letters = directive.chars();
        let kind = letters.next()?;
        if kind == '%' {
            out.push('%');
        } else {
            let value = *values.get(next)?;
            next += 1;
            match kind {
                's' => out.push_str(value.unwrap_or_default()),
                'I' => out.push_str(&quoted(value?)),
                'L' => out.push_str(&value.map_or_else(|| "NULL".to_owned(), literal)),
                _ => return None,
            }
        }
        rest = letters.as_str();
    }
    out.push_str(rest);
    Some(out)
}

/// A pattern of `LIKE … ESCAPE escape` as one whose escape is the backslash.
fn like_pattern(pattern: &str, escape: &str) -> String {
    let mut out = String::new();
    let mut letters = pattern.chars();
    let escape = escape.chars().next();
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            out.push('\\');
            out.extend(letters.next());
        } else if letter == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_as_postgres_has_it() {
        let values = [Some("%s has %I, %L; %1$s 100%%"), Some("it"), Some("a b"), None];
        assert_eq!(format(&values).unwrap(), "it has \"a b\", NULL; it 100%");
        assert_eq!(format(&[Some("%I"), None]), None);
        assert_eq!(format(&[Some("%s %s"), Some("one")]), None);
    }

    #[test]
    fn another_escape_is_a_backslash() {
        assert_eq!(like_pattern("pg/_%", "/"), "pg\\_%");
        assert_eq!(like_pattern("a//b\\c", "/"), "a\\/b\\\\c");
        assert_eq!(like_pattern("a\\b", ""), "a\\\\b");
    }

    #[test]
    fn literals_are_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }
}
