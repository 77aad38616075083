//! `privacy.weights`: which values of an answer an analyst wants exact, at the expense of the others.
//!
//! In: text such as `hours=4, persons=1`. Out: a weight by label, 1 where none is given. A weight moves noise from one value of a
//! statement to another at the same price, so it is the analyst's to choose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, SqlState};

const LARGEST: f64 = 1_000.0;
const ENTRIES: usize = 100;

/// The label that stands for the person count that selects groups.
pub const PERSONS: &str = "persons";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// By lower-case label.
    by_label: BTreeMap<String, f64>,
}

impl Weights {
    /// `label=number, …`; empty text gives every value the weight 1. Labels are aliases, or aggregates as they are written.
    pub fn parse(text: &str) -> Result<Self> {
        let mut by_label = BTreeMap::new();
        for part in entries(text) {
            let (label, number) = part.rsplit_once('=').ok_or_else(refuse_weights)?;
            let label = label.trim().trim_matches('"').to_lowercase();
            let number: f64 = number.trim().parse().map_err(|_| refuse_weights())?;
            if label.is_empty() || !(1.0 / LARGEST..=LARGEST).contains(&number) {
                return Err(refuse_weights());
            }
            if by_label.insert(label, number).is_some() || by_label.len() > ENTRIES {
                return Err(refuse_weights());
            }
        }
        Ok(Self { by_label })
    }

    pub fn of_only_persons(weight: f64) -> Self {
        Self { by_label: [(PERSONS.to_owned(), weight)].into() }
    }

    pub fn show(&self) -> String {
        let entries: Vec<String> = self.by_label.iter().map(|(label, number)| format!("{label}={number}")).collect();
        entries.join(", ")
    }

    pub fn of(&self, label: &str) -> Option<f64> {
        self.by_label.get(&label.to_lowercase()).copied()
    }

    /// What the person count weighs where it only selects, if the analyst says so.
    pub fn of_persons(&self) -> Option<f64> {
        self.of(PERSONS)
    }
}

/// The parts between commas that stand outside parentheses and quotes: `corr(a, b)=2` is one.
fn entries(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start, mut parts) = (0_i32, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth <= 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if text.trim().is_empty() { vec![] } else { parts }
}

fn refuse_weights() -> Error {
    Error::new(SqlState::InvalidParameterValue, "invalid value for parameter \"privacy.weights\"").hint(
        "valid is a list such as 'hours=4, persons=1': labels of the answer's columns with numbers from 0.001 to 1000",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_labels() {
        let weights = Weights::parse(" Hours = 4, persons=0.5, corr(a, b)=2, \"x, y\"=3 ").unwrap();
        assert_eq!(weights.of("hours"), Some(4.0));
        assert_eq!(weights.of("Corr(a, b)"), Some(2.0));
        assert_eq!(weights.of("x, y"), Some(3.0));
        assert_eq!(weights.of_persons(), Some(0.5));
        assert_eq!(weights.of("other"), None);
        assert_eq!(Weights::parse("").unwrap(), Weights::default());
    }

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for text in ["", "a=1", "b=2.5, sum(x)=1000", "sum(a)=0.001"] {
            let weights = Weights::parse(text).unwrap();
            assert_eq!(Weights::parse(&weights.show()).unwrap(), weights);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a", "a=", "=1", "a=0", "a=-1", "a=NaN", "a=inf", "a=1001", "a=1,", "a=1, a=2", "a=x"] {
            assert!(Weights::parse(text).is_err(), "{text}");
        }
    }
}
