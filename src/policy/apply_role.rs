//! Changes of roles, memberships and grants.
//!
//! In: a change whose actor is already known to be allowed to make it. Out: the changed policies, or a refusal.

use std::collections::BTreeSet;

use super::look_alike::{is_plain, looks_like};
use super::role::BUILT_IN_ROLES;
use super::{BOOTSTRAP_ROLE, Grant, Policies, Principal, Role, RoleName, Table, Verifier};
use crate::error::{Error, Result, SqlState};

/// What `ALTER ROLE` says; `None` where it says nothing.
pub(super) struct Altered {
    pub login: Option<bool>,
    pub createrole: Option<bool>,
    pub verifier: Option<Option<Verifier>>,
    pub valid_until: Option<Option<i64>>,
}

impl Policies {
    pub(super) fn role_mut(&mut self, name: &str) -> Result<&mut Role> {
        self.roles.get_mut(name).ok_or_else(|| unknown_role(name))
    }

    pub(super) fn create_role(&mut self, actor: &Principal, name: RoleName, role: Role) -> Result<()> {
        refuse_name(&name)?;
        if self.roles.contains_key(&name) {
            return Err(Error::new(SqlState::DuplicateObject, format!("role \"{name}\" already exists"))
                .hint("ALTER ROLE changes it"));
        }
        if role.createrole {
            refuse_handing_on(actor)?;
        }
        let groups = role.member_of.clone();
        self.roles.insert(name.clone(), Role { member_of: BTreeSet::new(), ..role });
        groups.into_iter().try_for_each(|group| self.grant_role(actor, group, &name))
    }

    /// Errors: 42501 for a change of oneself but the password, which is decided before, and of a role with `CREATEROLE` by one without.
    pub(super) fn alter_role(&mut self, actor: &Principal, name: &str, change: Altered) -> Result<()> {
        let Altered { login, createrole, verifier, valid_until } = change;
        let held = self.known_role(name)?;
        let only_password = login.is_none_or(|login| login == held.login)
            && createrole.is_none_or(|createrole| createrole == held.createrole)
            && valid_until.is_none();
        if held.built_in && !(held.login && only_password && !matches!(verifier, Some(None))) {
            return Err(refuse_built_in("alter", name));
        }
        if actor.belongs_to(name) && !only_password {
            return Err(refuse_oneself(name));
        }
        self.refuse_above(actor, "alter", name)?;
        if createrole == Some(true) {
            refuse_handing_on(actor)?;
        }
        let role = self.role_mut(name)?;
        role.login = login.unwrap_or(role.login);
        role.createrole = createrole.unwrap_or(role.createrole);
        role.verifier = verifier.unwrap_or_else(|| role.verifier.take());
        role.valid_until = valid_until.unwrap_or(role.valid_until);
        Ok(())
    }

    /// `CONNECTION LIMIT`. Errors: 42501 as for other changes of a role.
    pub(super) fn limit_connections(&mut self, actor: &Principal, name: &str, limit: Option<u32>) -> Result<()> {
        let held = self.known_role(name)?;
        if held.connection_limit == limit {
            return Ok(());
        }
        if held.built_in {
            return Err(refuse_built_in("alter", name));
        }
        if actor.belongs_to(name) {
            return Err(refuse_oneself(name));
        }
        self.refuse_above(actor, "alter", name)?;
        self.role_mut(name)?.connection_limit = limit;
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
            return Err(Error::new(SqlState::ObjectInUse, "current user cannot be dropped")
                .hint("another administrator does it"));
        }
        self.refuse_above(actor, "drop", name)?;
        self.refuse_named_by_policy(name)?;
        self.roles.remove(name);
        for role in self.roles.values_mut() {
            role.member_of.remove(name);
        }
        self.grants.retain(|grant| grant.role != name);
        self.end_access(|grant| grant.principal == name);
        Ok(())
    }

    pub(super) fn grant_role(&mut self, actor: &Principal, role: RoleName, to: &str) -> Result<()> {
        self.known_role(&role)?;
        self.known_role(to)?;
        refuse_own_gain(actor, to)?;
        self.refuse_above(actor, "grant", &role)?;
        self.refuse_above(actor, "alter", to)?;
        if self.roles.get(to).is_some_and(|member| member.built_in) {
            return Err(refuse_built_in("add memberships to", to));
        }
        if self.memberships(&role).contains(to) {
            return Err(Error::new(
                SqlState::InvalidGrantOperation,
                format!("role \"{to}\" is a member of role \"{role}\""),
            )
            .detail("memberships must not form a circle")
            .hint("revoke the other membership first"));
        }
        self.refuse_untrained(to, &role, actor.at())?;
        self.role_mut(to)?.member_of.insert(role);
        Ok(())
    }

    pub(super) fn revoke_role(&mut self, actor: &Principal, role: &str, from: &str) -> Result<()> {
        self.known_role(role)?;
        self.refuse_above(actor, "alter", from)?;
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
        self.known_role(to)?;
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
        self.known_role(from)?;
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

    fn known_role(&self, name: &str) -> Result<&Role> {
        self.roles.get(name).ok_or_else(|| unknown_role(name))
    }

    /// A row policy that names a role takes rows from its members: it would take none if the role were gone.
    fn refuse_named_by_policy(&self, name: &str) -> Result<()> {
        let of = |table: &Table| {
            table.row_policies.iter().find(|rule| rule.roles.contains(name)).map(|rule| rule.name.clone())
        };
        match self.tables.values().find_map(|table| Some((table, of(table)?))) {
            None => Ok(()),
            Some((table, rule)) => Err(Error::new(
                SqlState::DependentObjectsStillExist,
                format!("role \"{name}\" cannot be dropped because some objects depend on it"),
            )
            .detail(format!("policy \"{rule}\" for table \"{}\" names the role", table.name))
            .hint(format!(
                "an insights administrator alters the policy first: ALTER POLICY {rule} ON {} TO …",
                table.name
            ))),
        }
    }

    /// Who lacks `CREATEROLE` does not reach it by way of a role that has it: by its password, or by a membership.
    fn refuse_above(&self, actor: &Principal, verb: &str, name: &str) -> Result<()> {
        if actor.createrole() || !self.any_createrole(&self.memberships(name)) {
            return Ok(());
        }
        Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied to {verb} role \"{name}\""))
            .detail("it has the CREATEROLE attribute, and only roles with that attribute decide on such a role")
            .hint("log in as a role with the CREATEROLE attribute"))
    }
}

fn unknown_role(name: &str) -> Error {
    Error::new(SqlState::UndefinedObject, format!("role \"{name}\" does not exist"))
        .hint("\\du lists the roles; names are as they are written there")
}

fn refuse_oneself(name: &str) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("permission denied to alter role \"{name}\""))
        .detail("nobody changes what they may do themselves, nor how long")
        .hint("another administrator does it")
}

fn refuse_built_in(verb: &str, name: &str) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("cannot {verb} role \"{name}\""))
        .detail("it is one of the server's own roles")
        .hint("make a role of your own with CREATE ROLE, and grant this one to it")
}

/// Nobody widens what they may do themselves, nor what a role they act as may do.
fn refuse_own_gain(actor: &Principal, to: &str) -> Result<()> {
    if !actor.belongs_to(to) {
        return Ok(());
    }
    Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied to grant to role \"{to}\""))
        .detail("nobody may grant to a role they act as")
        .hint("another administrator does it, for a role that may have it"))
}

fn refuse_handing_on(actor: &Principal) -> Result<()> {
    if actor.createrole() {
        return Ok(());
    }
    Err(Error::new(SqlState::InsufficientPrivilege, "permission denied to give the CREATEROLE attribute")
        .detail("it manages accounts and administers data, and only a role that has it may give it")
        .hint("GRANT platform_admin TO the role: it manages accounts"))
}

/// A name is plain, and is not to be mistaken for one of the server's own.
fn refuse_name(name: &str) -> Result<()> {
    let reserved = |rule: &str| {
        Err(Error::new(SqlState::ReservedName, format!("role name \"{name}\" is reserved"))
            .detail(rule)
            .hint("choose a name of letters and digits, such as analyst_1"))
    };
    if !is_plain(name) {
        let shown: String = name.escape_debug().collect();
        return Err(Error::new(SqlState::InvalidName, format!("role name \"{shown}\" is not plain"))
            .detail("names have no blanks at either end and no characters that cannot be seen")
            .hint("choose a name of letters and digits, such as analyst_1"));
    }
    if name.is_empty() || name.starts_with("pg_") || looks_like(name, "public") || looks_like(name, "none") {
        return reserved("the name means something else in SQL");
    }
    let own = BUILT_IN_ROLES.iter().map(|role| role.name).chain([BOOTSTRAP_ROLE]);
    match own.clone().find(|own| looks_like(name, own) && name != *own) {
        Some(own) => reserved(&format!("it looks like the server's own role {own}")),
        None => Ok(()),
    }
}

fn refuse_unknown_columns(table: &Table, columns: Option<&BTreeSet<String>>) -> Result<()> {
    for column in columns.into_iter().flatten() {
        table.known_column(column)?;
    }
    Ok(())
}
