//! Texts that were parsed before: a dashboard sends the same ones again and again.
//!
//! In: a query string. Out: its statements, as the parser gave them; what they are follows from the text alone. Must never: hold a text
//! with anything but queries in it, as others may hold secrets.
//!
//! Two generations: when the younger one is full, the older one goes. So what is asked often stays, and what is asked once goes soon.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::query::parse;
use crate::query::statement::{Parsed, Statement};

/// Of a text, and of a generation. A syntax tree takes some hundred times the memory of its text.
const LONGEST: usize = 8 << 10;
const MOST_BYTES: usize = 256 << 10;

pub(super) type Statements = Arc<[Arc<Parsed>]>;

#[derive(Default)]
pub(super) struct Texts(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<String, Statements>,
    young_bytes: usize,
    old: HashMap<String, Statements>,
}

impl Texts {
    /// Errors: as [`parse::parse`].
    pub fn parse(&self, sql: &str) -> Result<Statements> {
        if sql.len() <= LONGEST
            && let Some(known) = self.lock().find(sql)
        {
            return Ok(known);
        }
        let statements: Statements = parse::parse(sql)?.into_iter().map(Arc::new).collect();
        let harmless = |parsed: &Arc<Parsed>| matches!(parsed.statement, Statement::Query(_));
        if sql.len() <= LONGEST && statements.iter().all(harmless) {
            self.lock().keep(sql, &statements);
        }
        Ok(statements)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&mut self, sql: &str) -> Option<Statements> {
        if let Some(known) = self.young.get(sql) {
            return Some(known.clone());
        }
        let (text, known) = self.old.remove_entry(sql)?;
        self.keep(&text, &known);
        Some(known)
    }

    fn keep(&mut self, sql: &str, statements: &Statements) {
        if self.young_bytes + sql.len() > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(sql.to_owned(), statements.clone()).is_none() {
            self.young_bytes += sql.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_parsed_again_and_secrets_are_not_held() {
        let texts = Texts::default();
        let first = texts.parse("SELECT 1; SELECT 2").unwrap();
        assert!(Arc::ptr_eq(&first, &texts.parse("SELECT 1; SELECT 2").unwrap()));
        assert_eq!(first.len(), 2);
        assert!(texts.parse("SELEC 1").is_err());
        for text in ["CREATE ROLE ana LOGIN PASSWORD 'x'", "SELECT 1; ALTER ROLE ana PASSWORD 'x'", "BEGIN"] {
            texts.parse(text).unwrap();
        }
        texts.parse(&format!("SELECT '{}'", "x".repeat(LONGEST))).unwrap();
        let held = texts.lock();
        assert_eq!(held.young.keys().collect::<Vec<_>>(), ["SELECT 1; SELECT 2"]);
    }

    #[test]
    fn what_is_asked_once_goes_and_what_is_asked_often_stays() {
        let texts = Texts::default();
        let often = texts.parse("SELECT 0").unwrap();
        let long = "x".repeat(4 << 10);
        for number in 0..1_000 {
            texts.parse(&format!("SELECT {number}, '{long}'")).unwrap();
            assert!(Arc::ptr_eq(&often, &texts.parse("SELECT 0").unwrap()), "{number}");
        }
        let held = texts.lock();
        let bytes = held.young.keys().chain(held.old.keys()).map(String::len).sum::<usize>();
        assert!(bytes <= 2 * MOST_BYTES, "{bytes}");
    }
}
