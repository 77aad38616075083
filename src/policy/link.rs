//! Tables that reach their person through other tables.
//!
//! In: a path (`person_key = 'l_orderkey → orders.o_custkey'`) or a declared foreign key. Out: the one foreign key by which a
//! table's rows belong to the persons of another table's rows.
//! Law: what lies beyond the first step is the referenced table's own way to its person. Were it another, taking one person's
//! rows away could take rows of a second person with them, and no noise is made for two.

use std::collections::{BTreeMap, BTreeSet};

use super::apply_table::{invalid_option, unknown_table};
use super::change::Reference;
use super::{Access, ForeignKey, Policies, Table};
use crate::error::{Error, Result, SqlState};

type Tables = BTreeMap<String, Table>;

/// What `person_key` says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PersonKey {
    Column(String),
    /// As it is already.
    Link(ForeignKey),
    Path(Path),
}

/// `first → table.column → table.column …`: each column leads to the unique key of the table after it; the last one is the
/// person key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    first: String,
    hops: Vec<(String, String)>,
}

impl PersonKey {
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = || {
            invalid_option("person_key")
                .detail("it is a column, or a path through other tables")
                .hint("for example 'person_id', or 'l_orderkey → orders.o_custkey'")
        };
        let text = text.replace('→', "->");
        let mut steps = text.split("->").map(str::trim);
        let first = steps.next().filter(|name| !name.is_empty()).ok_or_else(malformed)?.to_owned();
        let hop = |step: &str| {
            let (table, column) = step.split_once('.')?;
            let (table, column) = (table.trim(), column.trim());
            (!table.is_empty() && !column.is_empty()).then(|| (table.to_owned(), column.to_owned()))
        };
        let hops = steps.map(hop).collect::<Option<Vec<_>>>().ok_or_else(malformed)?;
        Ok(if hops.is_empty() { Self::Column(first) } else { Self::Path(Path { first, hops }) })
    }
}

impl Policies {
    /// What hangs on a table that is gone.
    pub(super) fn refuse_left_behind(&self, gone: &str) -> Result<()> {
        let refers = |table: &&Table| table.references().any(|key| key.table == gone);
        match self.tables.values().find(refers) {
            None => Ok(()),
            Some(table) => Err(refuse_dependent(gone, &table.name)),
        }
    }

    /// Whatever was changed, every foreign key still leads to a unique key, and every linked table to a person of its policy.
    pub(super) fn refuse_broken_links(&self) -> Result<()> {
        for table in self.tables.values() {
            for key in table.references() {
                let parent = self.tables.get(&key.table).ok_or_else(|| unknown_table(&key.table))?;
                // What is outside a domain is read as NULL, and then refers to nothing.
                let whole = |table: &Table, name: &str| table.column(name).is_some_and(|c| c.domain.is_none());
                let refers = table.column(&key.column).is_some() && whole(parent, &key.key);
                if !refers || !parent.is_unique(&[&key.key]) {
                    return Err(refuse_dependent(&key.table, &table.name));
                }
            }
            if let Access::Linked { policy, by } = &table.access {
                self.refuse_lost_person(table, policy, by)?;
            }
        }
        Ok(())
    }

    fn refuse_lost_person(&self, table: &Table, policy: &str, by: &ForeignKey) -> Result<()> {
        let mut seen = BTreeSet::from([&table.name]);
        let mut parent = &by.table;
        loop {
            let known = self.tables.get(parent).ok_or_else(|| unknown_table(parent))?;
            if known.policy() != Some(policy) {
                return Err(refuse_dependent(parent, &table.name)
                    .detail(format!("rows of \"{}\" belong to the persons of table \"{parent}\"", table.name)));
            }
            if !seen.insert(parent) {
                return Err(refuse_path(&format!("it comes back to table \"{parent}\"")));
            }
            match known.link() {
                None => return Ok(()),
                Some(next) => parent = &next.table,
            }
        }
    }
}

impl Table {
    /// Declared foreign keys, and the one that leads to the person.
    pub(super) fn references(&self) -> impl Iterator<Item = &ForeignKey> {
        self.foreign_keys.iter().chain(self.link())
    }

    /// A reference as written, with its key. Errors: 42P01, 42703, 42830.
    pub(super) fn foreign_key(&self, reference: Reference, tables: &Tables) -> Result<ForeignKey> {
        let Reference { column, table, key } = reference;
        let own = self.known_column(&column)?;
        let parent = tables.get(&table).ok_or_else(|| unknown_table(&table))?;
        let key = match key {
            Some(key) => key,
            None => parent.single_key().ok_or_else(|| refuse_unkeyed(&table))?.to_owned(),
        };
        let theirs = parent.known_column(&key)?;
        if theirs.domain.is_some() || !parent.unique_keys.iter().any(|held| held.columns == [key.clone()]) {
            return Err(refuse_unkeyed(&table));
        }
        if !comparable(&own.data_type, &theirs.data_type) {
            return Err(Error::new(
                SqlState::DatatypeMismatch,
                format!("column \"{column}\" cannot refer to \"{table}.{key}\""),
            )
            .detail("signed integers refer to signed integers and texts to texts; other types must be the same"));
        }
        Ok(ForeignKey { column, table, key })
    }

    /// The first step of a path, once the rest was found to be the referenced table's own way.
    pub(super) fn link_along(&self, path: &Path, tables: &Tables) -> Result<ForeignKey> {
        let Path { first, hops } = path;
        let Some(((table, next), rest)) = hops.split_first() else {
            return Err(Error::internal());
        };
        let by = self.foreign_key(Reference { column: first.clone(), table: table.clone(), key: None }, tables)?;
        refuse_other_way(table, next, rest, tables)?;
        Ok(by)
    }

    /// The declared foreign key that leads to a person of `policy`. Errors: 22023 where there is none, or several.
    pub(super) fn link_declared(&self, policy: &str, tables: &Tables) -> Result<ForeignKey> {
        let leads = |key: &&ForeignKey| tables.get(&key.table).is_some_and(|parent| parent.policy() == Some(policy));
        let mut found = self.foreign_keys.iter().filter(leads);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key.clone()),
            (None, _) => Err(refuse_policy_alone()),
            (Some(one), Some(other)) => Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("table \"{}\" refers to persons in more than one way", self.name),
            )
            .detail(format!("through {} and through {}", one.column, other.column))
            .hint("say which: SET (person_key = 'column → table.column')")),
        }
    }

    pub(super) fn link_by(&mut self, by: ForeignKey, policy: Option<String>, tables: &Tables) -> Result<()> {
        let parent = tables.get(&by.table).and_then(Table::policy);
        let held = parent.ok_or_else(|| refuse_path(&format!("table \"{}\" has no person key", by.table)))?;
        if policy.is_some_and(|policy| policy != held) {
            return Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("table \"{}\" belongs to privacy policy \"{held}\"", by.table),
            )
            .detail("rows share the policy of the persons they belong to"));
        }
        let policy = held.to_owned();
        // Who refers to a person by the person key holds the person key.
        if tables.get(&by.table).and_then(Table::protection).is_some_and(|(_, key)| key == by.key) {
            return self.protect(by.column, Some(policy));
        }
        self.make_identifier(&by.column)?;
        self.access = Access::Linked { policy, by };
        Ok(())
    }
}

/// Does `column` and what follows it lead to the person of `table` as the table itself says? A step from a person key to the
/// person key of another table is the same person, and is not made.
fn refuse_other_way(table: &str, column: &str, rest: &[(String, String)], tables: &Tables) -> Result<()> {
    let known = tables.get(table).ok_or_else(|| unknown_table(table))?;
    let own = match &known.access {
        Access::Protected { person_key, .. } => person_key,
        Access::Linked { by, .. } => &by.column,
        Access::Unclassified | Access::Public | Access::Directory => {
            return Err(refuse_path(&format!("table \"{table}\" has no person key"))
                .hint(format!("ALTER TABLE {table} SET (person_key = '…') first")));
        }
    };
    let strays = || refuse_path(&format!("the person of a row of \"{table}\" is found through its column \"{own}\""));
    if column != own {
        known.known_column(column)?;
        return Err(strays());
    }
    match (&known.access, rest.split_first()) {
        (Access::Protected { .. }, None) => Ok(()),
        (Access::Protected { policy, .. }, Some(((next, key), rest))) => {
            let person = tables.get(next).ok_or_else(|| unknown_table(next))?;
            let same = person.protection() == Some((policy.as_str(), key.as_str())) && person.is_unique(&[key]);
            if same { refuse_other_way(next, key, rest, tables) } else { Err(strays()) }
        }
        (Access::Linked { by, .. }, Some(((next, key), rest))) if *next == by.table => {
            refuse_other_way(next, key, rest, tables)
        }
        (Access::Linked { .. } | Access::Unclassified | Access::Public | Access::Directory, _) => Err(strays()),
    }
}

/// May two columns be equated without a cast that can fail?
pub(super) fn comparable(one: &str, other: &str) -> bool {
    let integer = |name: &str| ["Int8", "Int16", "Int32", "Int64"].contains(&name);
    let text = |name: &str| ["Utf8", "LargeUtf8", "Utf8View"].contains(&name);
    one == other || (integer(one) && integer(other)) || (text(one) && text(other))
}

pub(super) fn refuse_policy_alone() -> Error {
    Error::new(SqlState::InvalidParameterValue, "a privacy policy holds tables with a person key only")
        .detail("no declared foreign key of the table leads to a table of this policy")
        .hint("set person_key in the same statement, or declare FOREIGN KEY (…) REFERENCES … first")
}

fn refuse_path(why: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, "the path does not lead to a person").detail(why.to_owned())
}

fn refuse_unkeyed(table: &str) -> Error {
    Error::new(SqlState::InvalidForeignKey, format!("there is no unique key of table \"{table}\" to refer to"))
        .detail("a foreign key refers to one column that is declared PRIMARY KEY or UNIQUE")
        .hint(format!("ALTER TABLE {table} ADD PRIMARY KEY (…)"))
}

fn refuse_dependent(table: &str, dependent: &str) -> Error {
    Error::new(SqlState::DependentObjectsStillExist, format!("table \"{dependent}\" depends on table \"{table}\""))
        .hint(format!("drop \"{dependent}\" first, or give it another person key"))
}
