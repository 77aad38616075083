//! What rows show of a column, where rows may be read at all: its mask, who sees it whole, and the family of its pseudonyms.
//!
//! In: options' texts. Out: rules, or a refusal. Who may read rows is decided elsewhere: a directory's readers by `GRANT`, readers of
//! de-identified rows by an access grant. What is read of a condition here is only that it is there; that it is SQL is for the
//! caller to check.
//! Must never: make a column readable that was not.

use paravent_udfs::ViewerMask;
use serde::{Deserialize, Serialize};

use super::{Access, Class, Column, Policies, Table};
use crate::error::{Error, Result, SqlState};

/// `ALTER TABLE … ALTER COLUMN … SET (mask = …, visible_when = …, family = …)`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RowRules {
    /// `null`, `partial(prefix, suffix)`, `generalise('month')`, `generalise(10)`: as written, checked when it was set.
    pub mask: Option<String>,
    /// An SQL condition over the row: where it holds, the value is shown whole.
    pub visible_when: Option<String>,
    /// Columns of one family give a value the same pseudonym.
    pub family: Option<String>,
}

impl RowRules {
    /// The mask, read again from its text.
    pub fn mask(&self) -> Result<Option<ViewerMask>> {
        self.mask.as_deref().map(parse_mask).transpose()
    }

    /// Takes one option. `None`: it is not one of these.
    pub(super) fn set(&mut self, option: &str, value: Option<&str>) -> Option<Result<()>> {
        let text = value.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        match option {
            "mask" => self.mask = text,
            "visible_when" => self.visible_when = text,
            "family" => self.family = text,
            _ => return None,
        }
        Some(self.mask().map(|_| ()))
    }
}

impl Column {
    /// Errors: 22023 for a rule that says nothing, 42804 for a mask that the type has no room for.
    pub(super) fn refuse_idle_rules(&self) -> Result<()> {
        let idle = |why: &str| {
            Error::new(SqlState::InvalidParameterValue, format!("column \"{}\" cannot have this option", self.name))
                .detail(why.to_owned())
        };
        if self.rules.family.is_some() && self.class != Some(Class::Identifier) {
            return Err(
                idle("only identifiers have pseudonyms, and so a family").hint("SET (class = 'identifier') first")
            );
        }
        if self.rules.visible_when.is_some() && self.rules.mask.is_none() {
            return Err(
                idle("visible_when says who sees a masked column whole").hint("set a mask in the same statement")
            );
        }
        let Some(mask) = self.rules.mask()? else { return Ok(()) };
        let name = self.data_type.split('(').next().unwrap_or_default();
        let fits = match mask {
            ViewerMask::Null => true,
            ViewerMask::Partial { .. } => ["Utf8", "LargeUtf8", "Utf8View"].contains(&name),
            ViewerMask::Calendar(_) => ["Date32", "Date64", "Timestamp"].contains(&name),
            ViewerMask::Band(_) => self.is_numeric(),
        };
        if fits {
            return Ok(());
        }
        Err(Error::new(SqlState::DatatypeMismatch, format!("column \"{}\" cannot have this mask", self.name))
            .detail("partial is for text, generalise('month') for dates and times, generalise(10) for numbers")
            .hint("mask = 'null' is for every type"))
    }
}

impl Table {
    /// Values of this table's rows may be read row by row, under some rule?
    pub(super) fn refuse_rules_against_access(&self, column: &Column) -> Result<()> {
        match &self.access {
            Access::Public if column.rules.mask.is_some() => Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("table \"{}\" is public and cannot have masks", self.name),
            )
            .detail("a public table holds no data about persons")
            .hint(format!("ALTER TABLE {} SET (access = 'directory')", self.name))),
            Access::Public
            | Access::Unclassified
            | Access::Directory
            | Access::Protected { .. }
            | Access::Linked { .. } => Ok(()),
        }
    }
}

/// Foreign keys that are followed to find a family; more of them would be a circle.
const FARTHEST: usize = 16;

impl Policies {
    /// Whose pseudonyms a column of identifiers has: of its declared family; of the persons of its policy, where it is the person
    /// key; of what it refers to; else of nobody but itself.
    pub fn family_of(&self, table: &Table, column: &str) -> String {
        self.family_within(table, column, FARTHEST)
    }

    fn family_within(&self, table: &Table, column: &str, hops: usize) -> String {
        if let Some(declared) = table.column(column).and_then(|known| known.rules.family.clone()) {
            return declared;
        }
        if let Some((policy, key)) = table.protection()
            && key == column
        {
            return policy.to_owned();
        }
        let refers = table.references().find(|key| key.column == column);
        match refers.and_then(|key| Some((self.tables.get(&key.table)?, &key.key))) {
            Some((parent, key)) if hops > 0 => self.family_within(parent, key, hops - 1),
            Some(_) | None => format!("{}.{column}", table.name),
        }
    }

    /// Every family that an identifier has.
    pub fn families(&self) -> std::collections::BTreeSet<String> {
        let identifiers = |table: &Table| -> Vec<String> {
            let named = table.columns.iter().filter(|column| column.class == Some(Class::Identifier));
            named.map(|column| self.family_of(table, &column.name)).collect()
        };
        self.tables.values().flat_map(identifiers).collect()
    }

    /// Which key a family's pseudonyms are made with now: 1 until it is rotated.
    pub fn key_epoch(&self, family: &str) -> u64 {
        self.key_epochs.get(family).copied().unwrap_or(1)
    }

    /// `CALL privacy.rotate_key(family)`. The old pseudonyms lead nowhere from now on, and no new answer shows them.
    pub(super) fn rotate_key(&mut self, family: &str) -> Result<()> {
        if !self.families().contains(family) {
            let known = self.families().into_iter().collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                SqlState::UndefinedObject,
                format!("there is no family \"{family}\" of pseudonyms"),
            )
            .detail("a family is that of a column of class identifier: declared, or else of the persons of its policy")
            .hint(format!("there are: {known}")));
        }
        let next = self.key_epoch(family) + 1;
        self.key_epochs.insert(family.to_owned(), next);
        Ok(())
    }
}

fn parse_mask(text: &str) -> Result<ViewerMask> {
    read_mask(text).ok_or_else(|| {
        Error::new(SqlState::InvalidParameterValue, "invalid value for parameter \"mask\"")
            .detail("masks are null, partial(prefix, suffix), generalise('year' | 'quarter' | 'month' | 'week' | 'day') and generalise(width)")
            .hint("for example mask = 'partial(3, 2)'")
    })
}

fn read_mask(text: &str) -> Option<ViewerMask> {
    let text = text.trim().to_ascii_lowercase();
    if text == "null" {
        return Some(ViewerMask::Null);
    }
    let (name, rest) = text.split_once('(')?;
    let inner: Vec<&str> = rest.strip_suffix(')')?.split(',').map(str::trim).collect();
    match (name.trim(), inner.as_slice()) {
        ("partial", [prefix]) => ViewerMask::partial(prefix.parse().ok()?, 0).ok(),
        ("partial", [prefix, suffix]) => ViewerMask::partial(prefix.parse().ok()?, suffix.parse().ok()?).ok(),
        ("generalise" | "generalize", [unit]) => match unit.strip_prefix('\'').and_then(|u| u.strip_suffix('\'')) {
            Some(unit) => ViewerMask::calendar(unit).ok(),
            None => ViewerMask::band(unit.parse().ok()?).ok(),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_and_others_refused() {
        assert_eq!(parse_mask("NULL").unwrap(), ViewerMask::Null);
        assert_eq!(parse_mask("partial(3, 2)").unwrap(), ViewerMask::partial(3, 2).unwrap());
        assert_eq!(parse_mask(" partial( 4 ) ").unwrap(), ViewerMask::partial(4, 0).unwrap());
        assert_eq!(parse_mask("generalise('Month')").unwrap(), ViewerMask::calendar("month").unwrap());
        assert_eq!(parse_mask("generalise(10)").unwrap(), ViewerMask::band(10.0).unwrap());
        for bad in [
            "",
            "none",
            "partial",
            "partial()",
            "partial(-1)",
            "partial(1,2,3)",
            "generalise('hour')",
            "generalise(0)",
            "generalise(nan)",
            "generalise(-5)",
        ] {
            assert_eq!(parse_mask(bad).unwrap_err().sqlstate, SqlState::InvalidParameterValue, "{bad}");
        }
    }
}
