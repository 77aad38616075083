//! Declared values of a column: `domain = '{a,b,"c d"}'`, an array as Postgres writes it.
//!
//! In: an option's text. Out: the values as texts, each once, or a refusal. What type they are of is for the caller to check.

use std::collections::BTreeSet;

use super::{Class, Column};
use crate::error::{Error, Result, SqlState};

/// Answers with every declared value stay readable, and a person's reach stays a number.
const MOST_VALUES: usize = 1_000;

pub(super) fn parse_domain(text: Option<&str>) -> Result<Option<Vec<String>>> {
    let Some(text) = text else { return Ok(None) };
    let values = elements(text).ok_or_else(|| refuse_domain("it is not an array of values"))?;
    let distinct: BTreeSet<&String> = values.iter().collect();
    if distinct.len() != values.len() {
        return Err(refuse_domain("a value stands in it twice"));
    }
    if values.is_empty() || values.len() > MOST_VALUES {
        return Err(refuse_domain(&format!("it has 1 to {MOST_VALUES} values")));
    }
    Ok(Some(values))
}

/// Errors: 22023 where declared values would say who a person is, 42804 where the type has no list of values.
pub(super) fn refuse_domain_of(column: &Column) -> Result<()> {
    if column.domain.is_none() {
        return Ok(());
    }
    if column.class == Some(Class::Identifier) {
        return Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("identifier \"{}\" cannot have a domain", column.name),
        )
        .detail("a list of identifiers would name persons"));
    }
    let name = column.data_type.split('(').next().unwrap_or_default();
    let listed = ["Utf8", "LargeUtf8", "Utf8View", "Boolean", "Date32"].contains(&name);
    if listed || (column.is_numeric() && !name.starts_with("Float")) {
        return Ok(());
    }
    Err(Error::new(SqlState::DatatypeMismatch, format!("column \"{}\" cannot have a domain", column.name))
        .detail("values are declared of text, integers, decimals, dates and booleans"))
}

/// The elements of an array as Postgres writes it; `None` where the text is no array without NULL.
pub fn elements(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut values = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (value, after) = if rest.starts_with('"') { quoted(rest)? } else { plain(rest)? };
        values.push(value);
        rest = match after.trim_start() {
            "" => "",
            more => Some(more.strip_prefix(',')?.trim_start()).filter(|more| !more.is_empty())?,
        };
    }
    Some(values)
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

fn plain(text: &str) -> Option<(String, &str)> {
    let end = text.find(',').unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    let value = value.trim();
    let odd = value.is_empty() || value.contains(['{', '}', '"', '\\']) || value.eq_ignore_ascii_case("null");
    (!odd).then(|| (value.to_owned(), rest))
}

fn refuse_domain(why: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, "invalid value for parameter \"domain\"")
        .detail(why.to_owned())
        .hint("for example domain = '{north,south,\"far east\"}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_as_postgres_writes_them() {
        let read = |text: &str| parse_domain(Some(text)).map(|values| values.unwrap().join("|")).ok();
        assert_eq!(read("{a,b}").as_deref(), Some("a|b"));
        assert_eq!(read(r#" { a , "b c" ,"d\"e","null"} "#).as_deref(), Some(r#"a|b c|d"e|null"#));
        assert_eq!(read(r#"{"",1}"#).as_deref(), Some("|1"));
        for bad in ["", "a,b", "{a", "{a,}", "{,a}", "{a,a}", "{}", "{NULL}", r#"{"a}"#, r#"{"a"b}"#, "{{a},{b}}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(parse_domain(None).unwrap(), None);
    }
}
