//! Who may add rows to which table: `GRANT INSERT ON table TO role`.
//!
//! In: a change whose actor is already known to be allowed to make it. Out: the changed policies, or a refusal; and, of a
//! principal and a table, yes or no. Administrators of data may load every table, as its owner may in Postgres.
//! Must never give rows to somebody who reads: no role asks about people and adds rows, directly or through groups.

use std::collections::BTreeSet;

use super::apply_role::{refuse_own_gain, unknown_role};
use super::{Capability, Policies, Principal, RoleName, RowPolicy, Table};
use crate::error::{Error, Result, SqlState};

impl Policies {
    /// May `principal` add rows to `table`?
    pub fn may_load(&self, principal: &Principal, table: &str) -> bool {
        principal.can(Capability::Administer)
            || principal.can(Capability::Load)
                && self.loaders.get(table).is_some_and(|roles| roles.iter().any(|role| principal.is(role)))
    }

    pub(super) fn grant_insert(&mut self, actor: &Principal, table: &str, to: &str) -> Result<()> {
        self.refuse_not_a_table(table)?;
        self.refuse_no_role(to)?;
        refuse_own_gain(actor, to)?;
        self.loaders.entry(table.to_owned()).or_default().insert(to.to_owned());
        Ok(())
    }

    pub(super) fn revoke_insert(&mut self, table: &str, from: &str) -> Result<()> {
        self.refuse_not_a_table(table)?;
        self.refuse_no_role(from)?;
        self.forget_loaders(|held, role| held == table && role == from);
        Ok(())
    }

    /// Takes out what `gone` says of table and role.
    pub(super) fn forget_loaders(&mut self, gone: impl Fn(&str, &str) -> bool) {
        for (table, roles) in &mut self.loaders {
            roles.retain(|role| !gone(table, role));
        }
        self.loaders.retain(|_, roles| !roles.is_empty());
    }

    /// A table that one of these roles may add rows to.
    pub(super) fn loaded_by(&self, roles: &BTreeSet<RoleName>) -> Option<&str> {
        self.loaders.iter().find(|(_, held)| !held.is_disjoint(roles)).map(|(table, _)| table.as_str())
    }

    fn refuse_not_a_table(&self, name: &str) -> Result<()> {
        if self.views.contains_key(name) {
            return Err(Error::new(SqlState::WrongObjectType, format!("\"{name}\" is not a table"))
                .hint("rows are added to tables: GRANT INSERT ON a table that the view reads"));
        }
        self.known_table(name).map(|_| ())
    }

    fn refuse_no_role(&self, name: &str) -> Result<()> {
        if self.roles.contains_key(name) { Ok(()) } else { Err(unknown_role(name)) }
    }
}

impl Table {
    /// The row policy that says which of its rows `principal` deals with, if there is one.
    pub fn row_policy_of(&self, principal: &Principal) -> Option<&RowPolicy> {
        self.row_policies.iter().find(|policy| policy.using.is_some() && policy.concerns(principal))
    }
}
