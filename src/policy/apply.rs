//! One change, checked and made: who may make it, whether it makes sense, what the policies are then.
//!
//! In: the acting principal and a [`Change`]. Out: the next value, or a refusal that changes nothing.
//! A change that changes nothing (`IF EXISTS`, a grant that is already there) gives the same value with the same epoch.

use super::apply_role::Altered;
use super::{Capability, Change, PERSON_SETTING, Policies, Principal, Setting, Settings};
use crate::error::{Error, Result, SqlState};

impl Policies {
    pub fn apply(&self, actor: &Principal, change: Change) -> Result<Self> {
        self.refuse_unauthorised(actor, &change)?;
        let mut next = self.clone();
        next.make(actor, change)?;
        if next == *self {
            return Ok(next);
        }
        next.refuse_mixed_duties(self)?;
        next.refuse_broken_links()?;
        next.refuse_broken_scopes()?;
        next.epoch = self.epoch + 1;
        if next.tables != self.tables || !next.settings.releases_as(&self.settings) || next.excluded != self.excluded {
            next.release_epoch = next.epoch;
        }
        Ok(next)
    }

    fn refuse_unauthorised(&self, actor: &Principal, change: &Change) -> Result<()> {
        let needed = match change {
            // One's own password.
            Change::AlterRole { name, login: None, createrole: None, verifier: Some(Some(_)), valid_until: None }
                if name == actor.name() =>
            {
                return Ok(());
            }
            Change::DecideAccess { id, decision, .. } => return self.refuse_decision_by(actor, *id, decision),
            Change::RequestAccess { .. } => Capability::HoldAccess,
            Change::CreateRole { .. }
            | Change::AlterRole { .. }
            | Change::LimitConnections { .. }
            | Change::DropRole { .. }
            | Change::GrantRole { .. }
            | Change::RevokeRole { .. }
            | Change::RecordTraining { .. } => Capability::ManageRoles,
            Change::RequireTraining { .. }
            | Change::Comment { .. }
            | Change::CreatePurpose { .. }
            | Change::EndPurpose { .. }
            | Change::GrantSelect { .. }
            | Change::RevokeSelect { .. }
            | Change::SetSystem { .. }
            | Change::SetRole { .. }
            | Change::CreateTable { .. }
            | Change::DropTable { .. }
            | Change::AlterTable { .. }
            | Change::AlterColumn { .. }
            | Change::AddUniqueKey { .. }
            | Change::AddReference { .. }
            | Change::CreateView { .. }
            | Change::DropView { .. }
            | Change::RotateKey { .. }
            | Change::CreatePolicy { .. }
            | Change::AlterPolicy { .. }
            | Change::DropPolicy { .. }
            | Change::ExcludePerson { .. }
            | Change::IncludePerson { .. } => Capability::Administer,
        };
        actor.require(needed)
    }

    fn make(&mut self, actor: &Principal, change: Change) -> Result<()> {
        match change {
            Change::CreateRole { name, login, createrole, verifier, valid_until, member_of } => {
                let created = self.epoch + 1;
                let role = super::Role {
                    login,
                    createrole,
                    verifier,
                    valid_until,
                    member_of,
                    created,
                    ..super::Role::default()
                };
                self.create_role(actor, name, role)
            }
            Change::AlterRole { name, login, createrole, verifier, valid_until } => {
                self.alter_role(actor, &name, Altered { login, createrole, verifier, valid_until })
            }
            Change::LimitConnections { role, limit } => self.limit_connections(actor, &role, limit),
            Change::DropRole { name, if_exists } => self.drop_role(actor, &name, if_exists),
            Change::GrantRole { role, to } => self.grant_role(actor, role, &to),
            Change::RevokeRole { role, from } => self.revoke_role(actor, &role, &from),
            Change::RequireTraining { group, period } => self.require_training(actor, &group, period),
            Change::RecordTraining { login, completed } => self.record_training(actor, &login, completed),
            Change::GrantSelect { table, columns, to } => self.grant_select(actor, &table, columns, &to),
            Change::RevokeSelect { table, columns, from } => self.revoke_select(&table, columns, &from),
            Change::SetSystem { name, value } => self.set_system(&name, value.as_deref()),
            Change::SetRole { role, name, value } => self.set_role(&role, &name, value),
            Change::CreateTable { name, location, columns, unique_keys, references, if_not_exists } => {
                self.create_table(name, location, columns, unique_keys, references, if_not_exists)
            }
            Change::DropTable { name, if_exists } => self.drop_table(&name, if_exists),
            Change::AlterTable { name, options } => self.alter_table(&name, &options),
            Change::AlterColumn { table, column, options } => self.alter_column(&table, &column, &options),
            Change::AddUniqueKey { table, key } => self.add_unique_key(&table, key),
            Change::CreateView { view, or_replace } => self.create_view(view, or_replace),
            Change::DropView { name, if_exists } => self.drop_view(&name, if_exists),
            Change::Comment { relation, column, text } => self.comment_on(&relation, column, text),
            Change::CreatePurpose { purpose, now } => self.create_purpose(actor, purpose, now),
            Change::EndPurpose { name, now } => self.end_purpose(&name, now),
            Change::CreatePolicy { table, policy, options } => self.create_policy(&table, policy, &options),
            Change::AlterPolicy { table, name, change } => self.alter_policy(&table, &name, change),
            Change::DropPolicy { table, name, if_exists } => self.drop_policy(&table, &name, if_exists),
            Change::ExcludePerson { digest, exclusion } => self.exclude_person(digest, exclusion),
            Change::IncludePerson { digest } => self.include_person(&digest),
            Change::RequestAccess { request, now } => self.request_access(actor, request, now),
            Change::DecideAccess { id, decision, now } => self.decide_access(actor, id, decision, now),
            Change::AddReference { table, reference } => self.add_reference(&table, reference),
            Change::RotateKey { family } => self.rotate_key(&family),
        }
    }

    fn set_system(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let setting = Setting::by_name(name).ok_or_else(|| unknown_setting(name))?;
        self.settings = match value {
            Some(value) => self.settings.set(setting, value)?,
            None => self.settings.reset(setting)?,
        };
        Ok(())
    }

    fn set_role(&mut self, role: &str, name: &str, value: Option<String>) -> Result<()> {
        let name = name.to_ascii_lowercase();
        if name == PERSON_SETTING {
            self.role_mut(role)?.person = value;
            return Ok(());
        }
        if let Some(value) = &value {
            refuse_role_setting(&self.settings, &name, value)?;
        }
        let role = self.role_mut(role)?;
        match value {
            Some(value) => role.settings.insert(name, value),
            None => role.settings.remove(&name),
        };
        Ok(())
    }
}

/// What a session may set beside the few privacy settings; the session gives these their meaning.
const SESSION_SETTINGS: [&str; 10] = [
    "privacy.prefer",
    "privacy.purpose",
    "privacy.show_suppressed",
    "application_name",
    "client_encoding",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "search_path",
    "timezone",
];

fn refuse_role_setting(system: &Settings, name: &str, value: &str) -> Result<()> {
    match Setting::by_name(name) {
        Some(setting) => system.session_setting_allowed(setting, value).map(|_| ()),
        None if SESSION_SETTINGS.contains(&name) => Ok(()),
        None => Err(unknown_setting(name)),
    }
}

fn unknown_setting(name: &str) -> Error {
    let shown: String = name.escape_debug().collect();
    Error::new(SqlState::UndefinedObject, format!("unrecognized configuration parameter \"{shown}\""))
        .hint("SHOW ALL lists the parameters there are")
}
