//! Changes of tables: registering, protecting, classifying, bounding.
//!
//! In: a change whose actor is already known to be allowed to make it. Out: the changed policies, or a refusal.
//! The options of one statement are taken together: their order does not matter.

use std::collections::{BTreeMap, BTreeSet};

use super::change::Reference;
use super::domain::{parse_domain, refuse_domain_of};
use super::link::{PersonKey, refuse_policy_alone};
use super::look_alike::refuse_relation_name;
use super::{Access, Bounds, Class, Column, DEFAULT_POLICY, ForeignKey, Location, Policies, Table, UniqueKey};
use crate::error::{Error, Result, SqlState};

/// `None` resets.
type Options = [(String, Option<String>)];

const LARGEST_BOUND: u64 = 1_000_000;

impl Policies {
    pub(super) fn known_table(&self, name: &str) -> Result<&Table> {
        self.tables.get(name).ok_or_else(|| unknown_table(name))
    }

    pub(super) fn table_mut(&mut self, name: &str) -> Result<&mut Table> {
        self.tables.get_mut(name).ok_or_else(|| unknown_table(name))
    }

    pub(super) fn create_table(
        &mut self,
        name: String,
        location: Location,
        columns: Vec<Column>,
        unique_keys: Vec<UniqueKey>,
        references: Vec<Reference>,
        if_not_exists: bool,
    ) -> Result<()> {
        if self.tables.contains_key(&name) || self.views.contains_key(&name) {
            if if_not_exists {
                return Ok(());
            }
            return Err(Error::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists")));
        }
        refuse_relation_name(&name)?;
        let mut table = Table {
            name: name.clone(),
            location,
            columns,
            unique_keys: vec![],
            foreign_keys: vec![],
            access: Access::Unclassified,
            max_rows_per_person: None,
            max_groups_per_person: None,
            purpose_required: false,
            manager_key: None,
            row_policies: vec![],
        };
        table.refuse_malformed_columns()?;
        for key in unique_keys {
            table.add_unique_key(key)?;
        }
        self.tables.insert(name.clone(), table);
        references.into_iter().try_for_each(|reference| self.add_reference(&name, reference))
    }

    pub(super) fn drop_table(&mut self, name: &str, if_exists: bool) -> Result<()> {
        if self.tables.remove(name).is_none() && !if_exists {
            return Err(unknown_table(name));
        }
        self.refuse_left_behind(name)?;
        self.refuse_read_by_view(name)?;
        self.grants.retain(|grant| grant.table != name);
        self.forget_loaders(|table, _| table == name);
        self.end_access(|grant| grant.table == name);
        self.forget_in_purposes(name);
        self.comments.remove(name);
        Ok(())
    }

    pub(super) fn alter_table(&mut self, name: &str, options: &Options) -> Result<()> {
        let mut table = self.known_table(name)?.clone();
        table.set_options(options, &self.tables)?;
        *self.table_mut(name)? = table;
        Ok(())
    }

    pub(super) fn alter_column(&mut self, table: &str, column: &str, options: &Options) -> Result<()> {
        self.table_mut(table)?.set_column_options(column, options)
    }

    pub(super) fn add_unique_key(&mut self, table: &str, key: UniqueKey) -> Result<()> {
        self.table_mut(table)?.add_unique_key(key)
    }

    pub(super) fn add_reference(&mut self, table: &str, reference: Reference) -> Result<()> {
        let key = self.known_table(table)?.foreign_key(reference, &self.tables)?;
        let held = &mut self.table_mut(table)?.foreign_keys;
        if !held.contains(&key) {
            held.push(key);
        }
        Ok(())
    }
}

impl Table {
    pub(super) fn known_column(&self, name: &str) -> Result<&Column> {
        self.column(name).ok_or_else(|| self.unknown_column(name))
    }

    pub(super) fn unknown_column(&self, name: &str) -> Error {
        Error::new(SqlState::UndefinedColumn, format!("column \"{name}\" of relation \"{}\" does not exist", self.name))
    }

    fn refuse_malformed_columns(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for column in &self.columns {
            if !seen.insert(&column.name) {
                return Err(Error::new(
                    SqlState::DuplicateColumn,
                    format!("column \"{}\" specified more than once", column.name),
                ));
            }
            refuse_content(column.class)?;
            refuse_bounds_of_text(column)?;
        }
        Ok(())
    }

    fn add_unique_key(&mut self, key: UniqueKey) -> Result<()> {
        let distinct: BTreeSet<&String> = key.columns.iter().collect();
        if key.columns.is_empty() || distinct.len() != key.columns.len() {
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                "a unique key needs one or more different columns",
            ));
        }
        for column in &key.columns {
            self.known_column(column)?;
        }
        if key.primary && self.unique_keys.iter().any(|held| held.primary) {
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                format!("multiple primary keys for table \"{}\" are not allowed", self.name),
            ));
        }
        if !self.unique_keys.contains(&key) {
            self.unique_keys.push(key);
        }
        Ok(())
    }

    fn set_options(&mut self, options: &Options, tables: &BTreeMap<String, Table>) -> Result<()> {
        let mut person_key = match &self.access {
            Access::Protected { person_key, .. } => Some(PersonKey::Column(person_key.clone())),
            Access::Linked { by, .. } => Some(PersonKey::Link(by.clone())),
            Access::Unclassified | Access::Public | Access::Directory => None,
        };
        let mut policy = self.policy().map(str::to_owned);
        let mut named_policy = None;
        let mut public = self.access == Access::Public;
        let mut directory = self.access == Access::Directory;
        for (name, value) in options {
            match name.to_ascii_lowercase().as_str() {
                "person_key" => person_key = value.as_deref().map(PersonKey::parse).transpose()?,
                "privacy_policy" => {
                    policy = value.clone();
                    named_policy = value.clone();
                }
                "public" => public = parse_switch(name, value.as_deref())?,
                "purpose_required" => self.purpose_required = parse_switch(name, value.as_deref())?,
                "access" => directory = parse_access(value.as_deref())?,
                "manager_key" => self.set_manager_key(value.clone())?,
                "max_rows_per_person" => {
                    self.max_rows_per_person = parse_count(name, value.as_deref())?;
                }
                "max_groups_per_person" => {
                    self.max_groups_per_person = parse_count(name, value.as_deref())?;
                }
                _ => return Err(unknown_option(name)),
            }
        }
        if directory {
            return self.make_directory(person_key.is_some() || named_policy.is_some(), public);
        }
        match (person_key, public) {
            (Some(_), true) => Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("table \"{}\" cannot be public and have a person key", self.name),
            )
            .hint("ALTER TABLE … RESET (person_key) or SET (public = false) first")),
            (Some(PersonKey::Column(person_key)), false) => self.protect(person_key, policy),
            (Some(PersonKey::Link(by)), false) => self.link_by(by, policy, tables),
            (Some(PersonKey::Path(path)), false) => {
                let by = self.link_along(&path, tables)?;
                self.link_by(by, policy, tables)
            }
            (None, false) if let Some(policy) = named_policy => {
                let by = self.link_declared(&policy, tables)?;
                self.link_by(by, Some(policy), tables)
            }
            (None, true) if named_policy.is_some() => Err(refuse_policy_alone()),
            (None, true) => self.make_public(),
            (None, false) => {
                self.access = Access::Unclassified;
                Ok(())
            }
        }
    }

    /// Its rows are shown, so nothing of it may count among persons: neither as theirs nor as nobody's.
    fn make_directory(&mut self, protected: bool, public: bool) -> Result<()> {
        if protected || public {
            return Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("table \"{}\" cannot be a directory and be protected or public", self.name),
            )
            .detail("rows of a directory are shown, behind masks; rows of a protected table are only counted")
            .hint("ALTER TABLE … RESET (person_key), SET (public = false) or RESET (access) first"));
        }
        self.access = Access::Directory;
        Ok(())
    }

    /// An identifier from now on, if nothing else yet.
    fn set_manager_key(&mut self, column: Option<String>) -> Result<()> {
        if let Some(name) = &column {
            let unknown = self.unknown_column(name);
            let held = self.columns.iter_mut().find(|held| held.name == *name).ok_or(unknown)?;
            held.class = held.class.or(Some(Class::Identifier));
            refuse_domain_of(held)?;
        }
        self.manager_key = column;
        Ok(())
    }

    fn make_public(&mut self) -> Result<()> {
        let private = self.columns.iter().find(|column| !matches!(column.class, None | Some(Class::Public)));
        if let Some(column) = private {
            return Err(refuse_class_in_public_table(&self.name, &column.name));
        }
        self.columns.iter().filter(|column| column.rules.mask.is_some()).try_for_each(|column| {
            Self { access: Access::Public, ..self.clone() }.refuse_rules_against_access(column)
        })?;
        self.access = Access::Public;
        Ok(())
    }

    pub(super) fn protect(&mut self, person_key: String, policy: Option<String>) -> Result<()> {
        let policy = policy.unwrap_or_else(|| DEFAULT_POLICY.to_owned());
        if policy.trim().is_empty() {
            return Err(invalid_option("privacy_policy"));
        }
        self.make_identifier(&person_key)?;
        self.access = Access::Protected { policy, person_key };
        Ok(())
    }

    /// The column that says whose row it is.
    pub(super) fn make_identifier(&mut self, name: &str) -> Result<()> {
        let unknown = self.unknown_column(name);
        let column = self.columns.iter_mut().find(|column| column.name == name).ok_or(unknown)?;
        match column.class {
            None => {
                column.class = Some(Class::Identifier);
                refuse_domain_of(column)
            }
            Some(Class::Identifier) => Ok(()),
            Some(
                Class::Attribute | Class::Measure | Class::Sensitive | Class::Hidden | Class::Content | Class::Public,
            ) => Err(refuse_person_key_class(name)),
        }
    }

    fn set_column_options(&mut self, name: &str, options: &Options) -> Result<()> {
        let mut column = self.known_column(name)?.clone();
        let mut lower = column.bounds.map(Bounds::lower);
        let mut upper = column.bounds.map(Bounds::upper);
        for (option, value) in options {
            match option.to_ascii_lowercase().as_str() {
                "class" => column.class = value.as_deref().map(Class::parse).transpose()?,
                "lower" => lower = parse_bound(option, value.as_deref())?,
                "upper" => upper = parse_bound(option, value.as_deref())?,
                "domain" => column.domain = parse_domain(value.as_deref())?,
                other => column.rules.set(other, value.as_deref()).unwrap_or_else(|| Err(unknown_option(option)))?,
            }
        }
        column.bounds = match (lower, upper) {
            (Some(lower), Some(upper)) => Some(Bounds::new(lower, upper)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::new(
                    SqlState::InvalidParameterValue,
                    format!("column \"{name}\" needs both bounds or none"),
                )
                .hint("set lower and upper in one statement"));
            }
        };
        refuse_content(column.class)?;
        refuse_bounds_of_text(&column)?;
        refuse_domain_of(&column)?;
        column.refuse_idle_rules()?;
        self.refuse_class_against_access(&column)?;
        self.refuse_rules_against_access(&column)?;
        if let Some(held) = self.columns.iter_mut().find(|held| held.name == name) {
            *held = column;
        }
        Ok(())
    }

    fn refuse_class_against_access(&self, column: &Column) -> Result<()> {
        match &self.access {
            Access::Unclassified | Access::Directory => Ok(()),
            Access::Public => match column.class {
                None | Some(Class::Public) => Ok(()),
                Some(
                    Class::Identifier
                    | Class::Attribute
                    | Class::Measure
                    | Class::Sensitive
                    | Class::Hidden
                    | Class::Content,
                ) => Err(refuse_class_in_public_table(&self.name, &column.name)),
            },
            Access::Protected { person_key, .. } | Access::Linked { by: ForeignKey { column: person_key, .. }, .. } => {
                if *person_key == column.name && column.class != Some(Class::Identifier) {
                    return Err(refuse_person_key_class(person_key));
                }
                Ok(())
            }
        }
    }
}

/// `access = 'directory'`; what else a table may be has options of its own.
fn parse_access(value: Option<&str>) -> Result<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("directory") => Ok(true),
        None => Ok(false),
        Some(_) => Err(invalid_option("access").hint("valid is 'directory'; see also person_key and public")),
    }
}

fn parse_switch(name: &str, value: Option<&str>) -> Result<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "on" | "yes" | "1") => Ok(true),
        None | Some("false" | "off" | "no" | "0") => Ok(false),
        Some(_) => Err(invalid_option(name).hint("valid is true or false")),
    }
}

fn parse_count(name: &str, value: Option<&str>) -> Result<Option<u64>> {
    let Some(text) = value else { return Ok(None) };
    text.parse()
        .ok()
        .filter(|count| (1..=LARGEST_BOUND).contains(count))
        .map(Some)
        .ok_or_else(|| invalid_option(name).hint(format!("valid is an integer from 1 to {LARGEST_BOUND}")))
}

fn parse_bound(name: &str, value: Option<&str>) -> Result<Option<f64>> {
    let Some(text) = value else { return Ok(None) };
    let bound: Option<f64> = text.trim().parse().ok();
    bound
        .filter(|bound| bound.is_finite())
        .map(Some)
        .ok_or_else(|| invalid_option(name).hint("valid is a finite number"))
}

fn refuse_content(class: Option<Class>) -> Result<()> {
    if class == Some(Class::Content) {
        return Err(Error::new(SqlState::InvalidParameterValue, "columns of class \"content\" cannot be kept")
            .detail("bodies and attachments of messages are never held here, only their header facts")
            .hint("leave the column out of the table's files"));
    }
    Ok(())
}

fn refuse_bounds_of_text(column: &Column) -> Result<()> {
    if column.bounds.is_some() && !column.is_numeric() {
        return Err(Error::new(SqlState::DatatypeMismatch, format!("column \"{}\" cannot have bounds", column.name))
            .detail("only numeric columns have lower and upper"));
    }
    Ok(())
}

fn refuse_class_in_public_table(table: &str, column: &str) -> Error {
    Error::new(
        SqlState::InvalidParameterValue,
        format!("column \"{column}\" of public table \"{table}\" must have class public or none"),
    )
    .detail("a public table holds no data about persons")
}

fn refuse_person_key_class(column: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("person key \"{column}\" must have class identifier"))
        .hint("set the column's class to 'identifier'")
}

pub(super) fn unknown_table(name: &str) -> Error {
    Error::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))
}

fn unknown_option(name: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("unrecognized parameter \"{name}\""))
        .hint("README.md lists the options of tables and columns; ALTER SYSTEM SET has what holds for everything")
}

pub(super) fn invalid_option(name: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("invalid value for parameter \"{name}\""))
}
