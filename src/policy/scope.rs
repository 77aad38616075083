//! Whose rows a question may count at all: reporting lines, row policies, persons taken out.
//!
//! In: changes by administrators. Out: the rules as data; what they mean for the data of today is found by the rooms above.
//! All rules hold at once (Postgres's RESTRICTIVE): each can only take rows away.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::apply_table::invalid_option;
use super::settings::parse_group_size;
use super::{Access, Class, Policies, Principal, RoleName, Table};
use crate::error::{Error, Result, SqlState};

/// The group whose members ask about those who report to them, and about nobody else, whatever other roles they have.
pub const GROUP_MANAGER: &str = "group_manager";

/// What ties a login to its person: `ALTER ROLE … SET privacy.person`. Kept as a digest.
pub const PERSON_SETTING: &str = "privacy.person";

/// `CREATE POLICY name ON table [TO roles] [USING (…)] [WITH (min_group_size = n)]`.
///
/// On a table with one row a person it says which persons take part at all, in every table under the same privacy policy; on any other
/// table, which of its rows do; of a directory, which are shown. Where the expression is not true, the row is out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowPolicy {
    pub name: String,
    /// Empty: everybody.
    pub roles: BTreeSet<RoleName>,
    /// As written; checked before it was kept. `None`: every row is allowed.
    pub using: Option<String>,
    /// A released row of these principals, from tables under the same privacy policy, describes at least so many persons.
    pub min_group_size: Option<u64>,
}

/// What of a row policy is altered; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowPolicyChange {
    pub roles: Option<BTreeSet<RoleName>>,
    pub using: Option<Option<String>>,
    /// `min_group_size`; a value of `None` resets.
    pub options: Vec<(String, Option<String>)>,
}

/// A person taken out. The key of the map is a digest of the person key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    pub reason: Option<String>,
    /// Seconds since 1970.
    pub since: i64,
}

impl RowPolicy {
    pub fn concerns(&self, principal: &Principal) -> bool {
        self.roles.is_empty() || self.roles.iter().any(|role| principal.belongs_to(role))
    }

    pub(super) fn set_options(&mut self, options: &[(String, Option<String>)], system: u64) -> Result<()> {
        for (name, value) in options {
            if !name.eq_ignore_ascii_case("min_group_size") {
                return Err(Error::new(SqlState::InvalidParameterValue, format!("unrecognized parameter \"{name}\""))
                    .hint("a row policy has min_group_size"));
            }
            self.min_group_size = match value {
                None => None,
                Some(text) => Some(parse_group_size(text).filter(|size| *size >= system).ok_or_else(|| {
                    invalid_option(name)
                        .detail(format!(
                            "a row policy raises privacy.min_group_size, which is {system}, and never lowers it"
                        ))
                        .hint(format!("valid is an integer from {system} to 1000000"))
                })?),
            };
        }
        Ok(())
    }
}

impl Table {
    /// One row of each person, whose key it names itself?
    pub fn is_of_persons(&self) -> bool {
        self.protection().is_some_and(|(_, key)| self.is_unique(&[key]))
    }
}

impl Policies {
    pub(super) fn create_policy(
        &mut self,
        table: &str,
        mut policy: RowPolicy,
        options: &[(String, Option<String>)],
    ) -> Result<()> {
        policy.set_options(options, self.settings.min_group_size)?;
        self.refuse_unknown_roles(&policy.roles)?;
        refuse_floor(self.known_table(table)?, &policy)?;
        let held = &mut self.table_mut(table)?.row_policies;
        if held.iter().any(|held| held.name == policy.name) {
            return Err(Error::new(
                SqlState::DuplicateObject,
                format!("policy \"{}\" for table \"{table}\" already exists", policy.name),
            ));
        }
        held.push(policy);
        held.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    pub(super) fn alter_policy(&mut self, table: &str, name: &str, change: RowPolicyChange) -> Result<()> {
        let system = self.settings.min_group_size;
        let known = self.known_table(table)?.clone();
        if let Some(roles) = &change.roles {
            self.refuse_unknown_roles(roles)?;
        }
        let held = &mut self.table_mut(table)?.row_policies;
        let policy = held.iter_mut().find(|held| held.name == name).ok_or_else(|| unknown_policy(table, name))?;
        if let Some(roles) = change.roles {
            policy.roles = roles;
        }
        if let Some(using) = change.using {
            policy.using = using;
        }
        policy.set_options(&change.options, system)?;
        if change.options.is_empty() { Ok(()) } else { refuse_floor(&known, policy) }
    }

    pub(super) fn drop_policy(&mut self, table: &str, name: &str, if_exists: bool) -> Result<()> {
        let held = &mut self.table_mut(table)?.row_policies;
        let before = held.len();
        held.retain(|held| held.name != name);
        if held.len() == before && !if_exists {
            return Err(unknown_policy(table, name));
        }
        Ok(())
    }

    pub(super) fn exclude_person(&mut self, digest: String, exclusion: Exclusion) -> Result<()> {
        if self.excluded.contains_key(&digest) {
            return Err(Error::new(SqlState::DuplicateObject, "this person is excluded already")
                .hint("CALL privacy.include_person('…') takes it back"));
        }
        self.excluded.insert(digest, exclusion);
        Ok(())
    }

    pub(super) fn include_person(&mut self, digest: &str) -> Result<()> {
        match self.excluded.remove(digest) {
            Some(_) => Ok(()),
            None => Err(Error::new(SqlState::UndefinedObject, "this person is not excluded")
                .hint("write the person key exactly as in CALL privacy.exclude_person(…)")),
        }
    }

    fn refuse_unknown_roles(&self, roles: &BTreeSet<RoleName>) -> Result<()> {
        match roles.iter().find(|role| !self.roles.contains_key(*role)) {
            None => Ok(()),
            Some(role) => Err(Error::new(SqlState::UndefinedObject, format!("role \"{role}\" does not exist"))
                .hint("name roles that exist, or leave TO out for everybody")),
        }
    }

    /// The table whose rows say who reports to whom under a privacy policy.
    pub fn reporting_table(&self, policy: &str) -> Option<&Table> {
        self.tables.values().find(|table| table.manager_key.is_some() && table.policy() == Some(policy))
    }

    /// Persons that a released row describes at least, where it is made of rows under these privacy policies.
    pub fn floor(&self, principal: &Principal, policies: &BTreeSet<String>) -> u64 {
        let under = |table: &&Table| table.policy().is_some_and(|policy| policies.contains(policy));
        let rules = self.tables.values().filter(under).flat_map(|table| &table.row_policies);
        let raised = rules.filter(|rule| rule.concerns(principal)).filter_map(|rule| rule.min_group_size);
        raised.fold(self.settings.min_group_size, u64::max)
    }

    /// Whatever was changed, every rule still says something about rows of persons.
    pub(super) fn refuse_broken_scopes(&self) -> Result<()> {
        let mut reporting: BTreeMap<&str, &Table> = BTreeMap::new();
        for table in self.tables.values() {
            if let Some(manager_key) = &table.manager_key {
                let policy = table.reporting_policy(manager_key)?;
                if let Some(other) = reporting.insert(policy, table) {
                    return Err(Error::new(
                        SqlState::InvalidParameterValue,
                        format!(
                            "table \"{}\" says already who reports to whom under privacy policy \"{policy}\"",
                            other.name
                        ),
                    )
                    .hint(format!("ALTER TABLE {} RESET (manager_key) first", other.name)));
                }
            }
            if table.access == Access::Public && !table.row_policies.is_empty() {
                return Err(Error::new(
                    SqlState::WrongObjectType,
                    format!("public table \"{}\" has no row policies", table.name),
                )
                .detail("row policies say which rows of persons count; a public table holds none")
                .hint("DROP POLICY … first, or leave out of its files what nobody should read"));
            }
            let gone =
                table.row_policies.iter().flat_map(|rule| &rule.roles).find(|role| !self.roles.contains_key(*role));
            if let Some(role) = gone {
                return Err(Error::new(
                    SqlState::DependentObjectsStillExist,
                    format!(
                        "role \"{role}\" cannot be dropped because a policy of table \"{}\" depends on it",
                        table.name
                    ),
                )
                .hint("DROP POLICY, or ALTER POLICY … TO other roles, first"));
            }
        }
        Ok(())
    }
}

impl Table {
    /// The privacy policy that the table's reporting lines are of.
    fn reporting_policy(&self, manager_key: &str) -> Result<&str> {
        let refuse = |why: &str| invalid_option("manager_key").detail(why.to_owned());
        let column = self.known_column(manager_key)?;
        let Some((policy, person_key)) = self.protection() else {
            return Err(refuse("managers are persons of the table's own person key")
                .hint(format!("ALTER TABLE {} SET (person_key = '…', manager_key = '…')", self.name)));
        };
        if !self.is_unique(&[person_key]) {
            return Err(refuse("a table that says who reports to whom has one row a person").hint(format!(
                "ALTER TABLE {} ADD PRIMARY KEY ({person_key}), or make a table with one row a person",
                self.name
            )));
        }
        if person_key == manager_key {
            return Err(refuse("the manager is another person than the row's own")
                .hint("name the column that holds the person key of the manager"));
        }
        let same =
            self.known_column(person_key).is_ok_and(|key| super::link::comparable(&key.data_type, &column.data_type));
        if !same {
            return Err(Error::new(
                SqlState::DatatypeMismatch,
                format!("column \"{manager_key}\" cannot hold person keys"),
            )
            .detail("it has another type than the person key"));
        }
        if column.class != Some(Class::Identifier) {
            return Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("manager key \"{manager_key}\" must have class identifier"),
            )
            .detail("it names a person")
            .hint("set the column's class to 'identifier'"));
        }
        Ok(policy)
    }
}

/// Rows of a directory are shown, not counted.
fn refuse_floor(table: &Table, policy: &RowPolicy) -> Result<()> {
    if table.access != Access::Directory || policy.min_group_size.is_none() {
        return Ok(());
    }
    Err(Error::new(SqlState::InvalidParameterValue, format!("directory \"{}\" has no min_group_size", table.name))
        .detail("its rows are shown to whom they are granted to; a floor is of answers that count persons")
        .hint("leave WITH (min_group_size = …) out"))
}

fn unknown_policy(table: &str, name: &str) -> Error {
    Error::new(SqlState::UndefinedObject, format!("policy \"{name}\" for table \"{table}\" does not exist"))
        .hint(format!("CREATE POLICY {name} ON {table} makes it"))
}
