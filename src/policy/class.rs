//! Classes of columns and the bounds of their values.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, SqlState};

/// What a column may be used for (requirements W1, W9, W17). A column without a class is unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Says who a person is: joins and `count(DISTINCT …)` only, never compared with a literal, never an output.
    Identifier,
    /// Says which group a person belongs to: predicates and group keys.
    Attribute,
    /// A value about a person: aggregates; predicates on it are profiles and are masked.
    Measure,
    /// A special category: like `measure`, with a higher floor and a purpose.
    Sensitive,
    /// Feeds metrics that administrators define, nothing else.
    Hidden,
    /// Bodies and attachments: refused at registration.
    Content,
    /// Independent of persons.
    Public,
}

impl Class {
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "identifier" => Ok(Self::Identifier),
            "attribute" => Ok(Self::Attribute),
            "measure" => Ok(Self::Measure),
            "sensitive" => Ok(Self::Sensitive),
            "hidden" => Ok(Self::Hidden),
            "content" => Ok(Self::Content),
            "public" => Ok(Self::Public),
            _ => Err(Error::new(SqlState::InvalidParameterValue, "invalid value for parameter \"class\"")
                .hint("classes are identifier, attribute, measure, sensitive, hidden, content and public")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Identifier => "identifier",
            Self::Attribute => "attribute",
            Self::Measure => "measure",
            Self::Sensitive => "sensitive",
            Self::Hidden => "hidden",
            Self::Content => "content",
            Self::Public => "public",
        }
    }
}

/// A closed interval of finite numbers that values are clamped to. `lower <= upper`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(String, String)", into = "(String, String)")]
pub struct Bounds {
    lower: f64,
    upper: f64,
}

impl Bounds {
    pub fn new(lower: f64, upper: f64) -> Result<Self> {
        if lower.is_finite() && upper.is_finite() && lower <= upper {
            Ok(Self { lower, upper })
        } else {
            Err(Error::new(SqlState::InvalidParameterValue, "bounds must be finite numbers with lower <= upper"))
        }
    }

    pub fn lower(self) -> f64 {
        self.lower
    }

    pub fn upper(self) -> f64 {
        self.upper
    }

    /// Middle of the interval: means are taken of the differences from it.
    pub fn mid(self) -> f64 {
        self.lower / 2.0 + self.upper / 2.0
    }

    /// The largest absolute value in the interval: how far one row can move a sum.
    pub fn magnitude(self) -> f64 {
        self.lower.abs().max(self.upper.abs())
    }
}

/// Kept as text, which comes back as the very same number.
impl TryFrom<(String, String)> for Bounds {
    type Error = Error;

    fn try_from((lower, upper): (String, String)) -> Result<Self> {
        let number = |text: String| text.parse().unwrap_or(f64::NAN);
        Self::new(number(lower), number(upper))
    }
}

impl From<Bounds> for (String, String) {
    fn from(bounds: Bounds) -> Self {
        (bounds.lower.to_string(), bounds.upper.to_string())
    }
}
