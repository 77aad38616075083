//! Persons by their key, whatever type the column has.
//!
//! In: values of person keys. Out: maps and sets by person. A whole number and a text that writes it the plain way are one
//! person ('7' and 7 are, '07' is another), so that tables that hold the key in different types mean the same persons.

use std::collections::HashMap;

/// The value of a person key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Person<'a> {
    Number(i64),
    Text(&'a str),
}

impl<'a> Person<'a> {
    pub fn of_text(text: &'a str) -> Self {
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Self::Number(number),
            Ok(_) | Err(_) => Self::Text(text),
        }
    }

    /// As it is written.
    pub fn to_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.to_owned(),
        }
    }
}

/// Something for each person.
#[derive(Debug, Clone)]
pub struct ByPerson<V> {
    numbers: HashMap<i64, V>,
    texts: HashMap<Box<str>, V>,
}

impl<V> Default for ByPerson<V> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), texts: HashMap::new() }
    }
}

impl<V: Copy> ByPerson<V> {
    pub fn get(&self, person: Person) -> Option<V> {
        match person {
            Person::Number(number) => self.numbers.get(&number).copied(),
            Person::Text(text) => self.texts.get(text).copied(),
        }
    }

    pub fn insert(&mut self, person: Person, value: V) {
        match person {
            Person::Number(number) => drop(self.numbers.insert(number, value)),
            Person::Text(text) => drop(self.texts.insert(text.into(), value)),
        }
    }

    pub fn len(&self) -> usize {
        self.numbers.len() + self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_in_two_types() {
        let mut known = ByPerson::default();
        known.insert(Person::of_text("7"), 1);
        known.insert(Person::of_text("07"), 2);
        known.insert(Person::of_text("p-7"), 3);
        assert_eq!(known.get(Person::Number(7)), Some(1));
        assert_eq!(known.get(Person::of_text("07")), Some(2));
        assert_eq!(known.get(Person::of_text("p-7")), Some(3));
        assert_eq!((known.get(Person::of_text("+7")), known.get(Person::of_text("-7")), known.len()), (None, None, 3));
        assert_eq!(Person::of_text("-7"), Person::Number(-7));
        assert_eq!(Person::of_text("-0"), Person::Text("-0"));
    }
}
