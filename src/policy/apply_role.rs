//! Changes of roles, memberships and grants.
//!
//! In: a change whose actor is already known to be allowed to make it. Out: the changed policies, or a refusal.

use std::collections::BTreeSet;

use super::{Grant, Policies, Principal, Role, RoleName, Table, Verifier};
use crate::error::{Error, Result, SqlState};

impl Policies {
    pub(super) fn role_mut(&mut self, name: &str) -> Result<&mut Role> {
        self.roles.get_mut(name).ok_or_else(|| unknown_role(name))
    }

    pub(super) fn create_role(&mut self, name: RoleName, role: Role) -> Result<()> {
        refuse_reserved(&name)?;
        if self.roles.contains_key(&name) {
            return Err(Error::new(SqlState::DuplicateObject, format!("role \"{name}\" already exists")));
        }
        for group in &role.member_of {
            self.refuse_unknown_role(group)?;
        }
        self.roles.insert(name, role);
        Ok(())
    }

    pub(super) fn alter_role(
        &mut self,
        name: &str,
        login: Option<bool>,
        verifier: Option<Verifier>,
        valid_until: Option<i64>,
    ) -> Result<()> {
        let role = self.role_mut(name)?;
        let only_password = login.is_none_or(|login| login == role.login) && valid_until.is_none();
        if role.built_in && !(role.login && only_password) {
            return Err(refuse_built_in("alter", name));
        }
        role.login = login.unwrap_or(role.login);
        role.verifier = verifier.or_else(|| role.verifier.take());
        role.valid_until = valid_until.or(role.valid_until);
        Ok(())
    }

    /// Its grants and memberships go with it.
    pub(super) fn drop_role(&mut self, actor: &Principal, name: &str, if_exists: bool) -> Result<()> {
        match self.roles.get(name) {
            None if if_exists => return Ok(()),
            None => return Err(unknown_role(name)),
            Some(role) if role.built_in => {
                return Err(refuse_built_in("drop", name));
            }
            Some(_) => {}
        }
        if actor.name() == name {
            return Err(Error::new(SqlState::ObjectInUse, "current user cannot be dropped"));
        }
        self.roles.remove(name);
        for role in self.roles.values_mut() {
            role.member_of.remove(name);
        }
        self.grants.retain(|grant| grant.role != name);
        self.end_access(|grant| grant.principal == name);
        Ok(())
    }

    pub(super) fn grant_role(&mut self, actor: &Principal, role: RoleName, to: &str) -> Result<()> {
        self.refuse_unknown_role(&role)?;
        self.refuse_unknown_role(to)?;
        refuse_own_gain(actor, to)?;
        if self.roles.get(to).is_some_and(|member| member.built_in) {
            return Err(refuse_built_in("add memberships to", to));
        }
        if self.memberships(&role).contains(to) {
            return Err(Error::new(
                SqlState::InvalidGrantOperation,
                format!("role \"{to}\" is a member of role \"{role}\""),
            )
            .detail("memberships must not form a circle"));
        }
        self.role_mut(to)?.member_of.insert(role);
        Ok(())
    }

    pub(super) fn revoke_role(&mut self, role: &str, from: &str) -> Result<()> {
        self.refuse_unknown_role(role)?;
        self.role_mut(from)?.member_of.remove(role);
        Ok(())
    }

    pub(super) fn grant_select(
        &mut self,
        actor: &Principal,
        table: &str,
        columns: Option<BTreeSet<String>>,
        to: &str,
    ) -> Result<()> {
        if !self.refuse_columns_of_view(table, columns.as_ref())? {
            refuse_unknown_columns(self.known_table(table)?, columns.as_ref())?;
        }
        self.refuse_unknown_role(to)?;
        refuse_own_gain(actor, to)?;
        let same = |grant: &&mut Grant| {
            grant.role == to && grant.table == table && grant.columns.is_some() == columns.is_some()
        };
        match self.grants.iter_mut().find(same) {
            Some(grant) => {
                if let (Some(held), Some(more)) = (&mut grant.columns, columns) {
                    held.extend(more);
                }
            }
            None => self.grants.push(Grant { role: to.to_owned(), table: table.to_owned(), columns }),
        }
        Ok(())
    }

    /// Revoking the whole table revokes its columns too, as in Postgres; revoking columns leaves a grant of the whole table.
    pub(super) fn revoke_select(&mut self, table: &str, columns: Option<BTreeSet<String>>, from: &str) -> Result<()> {
        if !self.refuse_columns_of_view(table, columns.as_ref())? {
            refuse_unknown_columns(self.known_table(table)?, columns.as_ref())?;
        }
        self.refuse_unknown_role(from)?;
        self.grants.retain_mut(|grant| {
            if grant.role != from || grant.table != table {
                return true;
            }
            match (&mut grant.columns, &columns) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(held), Some(gone)) => {
                    held.retain(|column| !gone.contains(column));
                    !held.is_empty()
                }
            }
        });
        Ok(())
    }

    fn refuse_unknown_role(&self, name: &str) -> Result<()> {
        if self.roles.contains_key(name) { Ok(()) } else { Err(unknown_role(name)) }
    }
}

fn unknown_role(name: &str) -> Error {
    Error::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist"))
}

fn refuse_built_in(verb: &str, name: &str) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("cannot {verb} role \"{name}\""))
        .detail("it is one of the server's own roles")
}

/// Nobody widens what they may do themselves, nor what a role they act as may do.
fn refuse_own_gain(actor: &Principal, to: &str) -> Result<()> {
    if !actor.is(to) {
        return Ok(());
    }
    Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied to grant to role \"{to}\""))
        .detail("nobody may grant to a role they act as"))
}

fn refuse_reserved(name: &str) -> Result<()> {
    if name.is_empty() || name == "public" || name == "none" || name.starts_with("pg_") {
        return Err(Error::new(SqlState::ReservedName, format!("role name \"{name}\" is reserved")));
    }
    Ok(())
}

fn refuse_unknown_columns(table: &Table, columns: Option<&BTreeSet<String>>) -> Result<()> {
    for column in columns.into_iter().flatten() {
        table.known_column(column)?;
    }
    Ok(())
}
