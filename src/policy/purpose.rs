//! Purposes: what data is asked for, decided before anybody asks (requirements W16, W17, W18).
//!
//! In: what an administrator registers. Out: whether a session may declare a purpose, and what its queries may then read. Must never:
//! let a purpose read a sensitive column that it does not name, nor anything once it has ended. Purposes are kept for good: they are evidence.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Class, Column, Policies, Principal, RoleName};
use crate::error::{Error, Result, SqlState};

/// One registered purpose. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    pub name: String,
    /// The tables that it reads, and which columns of each; `None`: every column that is not sensitive.
    pub tables: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Whose data it is about: prose, or a condition. It is evidence; row policies are what enforces conditions.
    pub population: Option<String>,
    /// Who may declare it; `None`: whoever may query.
    pub roles: Option<BTreeSet<RoleName>>,
    pub reason: String,
    /// From this moment on it is over.
    pub expires: i64,
    pub created: i64,
    pub created_by: RoleName,
    /// When an administrator ended it.
    pub ended: Option<i64>,
}

/// As a call of `privacy.create_purpose` says it; a column is `column` or `table.column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPurpose {
    pub name: String,
    pub tables: BTreeSet<String>,
    pub columns: Option<BTreeSet<String>>,
    pub population: Option<String>,
    pub roles: Option<BTreeSet<RoleName>>,
    pub reason: String,
    pub expires: i64,
}

impl Purpose {
    pub fn is_live(&self, now: i64) -> bool {
        self.ended.is_none() && now < self.expires
    }

    /// `live`, `expired` or `ended`.
    pub fn state_at(&self, now: i64) -> &'static str {
        match self.ended {
            Some(_) => "ended",
            None if self.is_live(now) => "live",
            None => "expired",
        }
    }

    /// Does it name this column, by name?
    pub fn names(&self, table: &str, column: &str) -> bool {
        self.tables.get(table).and_then(Option::as_ref).is_some_and(|columns| columns.contains(column))
    }

    /// May its queries read this column? Identifiers are never shown nor compared: they only say whose rows these are, and go with
    /// their table.
    pub fn covers(&self, table: &str, column: &Column) -> bool {
        let Some(columns) = self.tables.get(table) else { return false };
        match column.class {
            Some(Class::Identifier) => true,
            Some(Class::Sensitive) => self.names(table, &column.name),
            Some(Class::Attribute | Class::Measure | Class::Hidden | Class::Public) => {
                columns.as_ref().is_none_or(|columns| columns.contains(&column.name))
            }
            Some(Class::Content) | None => false,
        }
    }

    fn is_open_to(&self, principal: &Principal) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.iter().any(|role| principal.is(role)))
    }
}

impl Policies {
    /// The purpose that a session of `principal` which declares `name` has at `now` (seconds since 1970); none where it declares none, or
    /// where nobody ever registered one: any text then goes to the log.
    ///
    /// Errors: 22023 where no live purpose of this name is open to the principal.
    pub fn purpose(&self, principal: &Principal, name: &str, now: i64) -> Result<Option<&Purpose>> {
        if name.is_empty() || self.purposes.is_empty() {
            return Ok(None);
        }
        let live = |purpose: &&Purpose| purpose.is_live(now) && purpose.is_open_to(principal);
        self.purposes.get(name).filter(live).map(Some).ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, "invalid value for parameter \"privacy.purpose\"")
                .detail("a session declares a purpose that is registered, has not ended, and is open to one of its roles")
                .hint("SELECT name FROM privacy.purposes WHERE state = 'live' names them; an administrator registers more: CALL privacy.create_purpose(…)")
        })
    }

    pub(super) fn create_purpose(&mut self, actor: &Principal, new: NewPurpose, now: i64) -> Result<()> {
        if self.purposes.contains_key(&new.name) {
            return Err(Error::new(SqlState::DuplicateObject, format!("purpose \"{}\" already exists", new.name))
                .detail("a purpose stays what it was registered as, also after its end")
                .hint("register it under another name"));
        }
        if new.expires <= now {
            return Err(Error::new(SqlState::InvalidParameterValue, "invalid value for argument \"expires\"")
                .detail("a purpose that is over from the start is none")
                .hint("valid is a moment in the future, such as '2030-01-01'"));
        }
        for role in new.roles.iter().flatten() {
            if !self.roles.contains_key(role) {
                return Err(Error::new(SqlState::UndefinedObject, format!("role \"{role}\" does not exist"))
                    .hint("name roles that there are, or leave the argument out"));
            }
        }
        let tables = self.purpose_tables(&new.tables, new.columns.as_ref())?;
        let purpose = Purpose {
            name: new.name.clone(),
            tables,
            population: new.population,
            roles: new.roles,
            reason: new.reason,
            expires: new.expires,
            created: now,
            created_by: actor.name().to_owned(),
            ended: None,
        };
        self.purposes.insert(new.name, purpose);
        Ok(())
    }

    /// Every column must be one of a table.
    fn purpose_tables(
        &self,
        tables: &BTreeSet<String>,
        columns: Option<&BTreeSet<String>>,
    ) -> Result<BTreeMap<String, Option<BTreeSet<String>>>> {
        if tables.is_empty() {
            return Err(Error::new(SqlState::InvalidParameterValue, "a purpose needs tables")
                .detail("a query reads only what its purpose names")
                .hint("name them: ARRAY['person', 'person_week']"));
        }
        let mut named = BTreeMap::new();
        for table in tables {
            self.known_table(table).map_err(|error| error.hint("name registered tables"))?;
            named.insert(table.clone(), columns.map(|_| BTreeSet::new()));
        }
        for column in columns.into_iter().flatten() {
            let mut found = false;
            for (table, held) in &mut named {
                let name =
                    column.strip_prefix(table.as_str()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(column);
                if self.known_table(table)?.column(name).is_some()
                    && let Some(held) = held
                {
                    held.insert(name.to_owned());
                    found = true;
                }
            }
            if !found {
                return Err(Error::new(SqlState::UndefinedColumn, format!("column \"{column}\" does not exist"))
                    .detail("a purpose names columns of its tables")
                    .hint("write column, or table.column"));
            }
        }
        Ok(named)
    }

    pub(super) fn end_purpose(&mut self, name: &str, now: i64) -> Result<()> {
        let Some(purpose) = self.purposes.get_mut(name) else {
            return Err(Error::new(SqlState::UndefinedObject, format!("purpose \"{name}\" does not exist"))
                .hint("SELECT name FROM privacy.purposes names them"));
        };
        if !purpose.is_live(now) {
            return Err(Error::new(
                SqlState::ObjectNotInPrerequisiteState,
                format!("purpose \"{name}\" is {} already", purpose.state_at(now)),
            )
            .hint("SELECT name, state FROM privacy.purposes says what is live"));
        }
        purpose.ended = Some(now);
        Ok(())
    }

    /// A table that comes later under the same name is another one.
    pub(super) fn forget_in_purposes(&mut self, table: &str) {
        for purpose in self.purposes.values_mut() {
            purpose.tables.remove(table);
        }
    }
}
