//! Types of Postgres that are texts of a form here: uuid, json, jsonb.
//!
//! In: a text. Out: the text as it is kept, if it has the form. A uuid is kept in the one way that Postgres prints it, so that equal ones
//! are equal texts and it can be a person key like any text; json and jsonb are kept as they were written.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextForm {
    Uuid,
    Json,
    Jsonb,
}

impl TextForm {
    /// Under which a field's metadata says it.
    pub const KEY: &str = "paravent.form";

    /// As Postgres calls the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Uuid, Self::Json, Self::Jsonb].into_iter().find(|form| form.name() == name)
    }

    /// The text as it is kept; `None`: it is not of this form.
    pub fn read(self, text: &str) -> Option<String> {
        match self {
            Self::Uuid => uuid(text).map(print_uuid),
            Self::Json | Self::Jsonb => serde_json::from_str::<IgnoredAny>(text).is_ok().then(|| text.to_owned()),
        }
    }
}

/// As `uuid_in`: 32 hexadecimal digits, a hyphen after any four of them, in braces or not, in any case.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut digits = 0;
    let mut value: u128 = 0;
    let mut after_hyphen = false;
    for char in inner.chars() {
        if char == '-' {
            if digits == 0 || digits % 4 != 0 || digits >= 32 || after_hyphen {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        after_hyphen = false;
        digits += 1;
        if digits > 32 {
            return None;
        }
        value = value << 4 | u128::from(char.to_digit(16)?);
    }
    (digits == 32).then(|| value.to_be_bytes())
}

pub fn print_uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_kept_one_way() {
        let kept = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [
            kept,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(TextForm::Uuid.read(text).as_deref(), Some(kept), "{text}");
        }
        for text in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            "a0eebc9-99c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(TextForm::Uuid.read(text), None, "{text}");
        }
    }

    #[test]
    fn json_is_kept_as_it_was_written() {
        for text in ["{\"b\": 1,  \"a\": [null, 1e400]}", " 1 ", "\"a\"", "null"] {
            assert_eq!(TextForm::Jsonb.read(text).as_deref(), Some(text));
        }
        for text in ["", "{", "{a: 1}", "1 2", "'a'", "{\"a\": 1,}"] {
            assert_eq!(TextForm::Json.read(text), None, "{text}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(TextForm::Json.read(&deep).is_some(), "and the stack is not what holds it");
    }
}
