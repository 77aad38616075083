//! Separation of duties: who prepares the data does not read it, who hands out roles does neither, and who audits only watches.
//!
//! In: policies after a change, and before. Out: nothing, or the refusal of that change. Memberships count whether or not a
//! training has lapsed, since it can be renewed at any time.

use std::collections::BTreeSet;

use super::role::Duty;
use super::{Policies, RoleName};
use crate::error::{Error, Result, SqlState};

const RULE: &str = "no role may hold roles of two duties (accounts; data; analysis; audit; carrier; collector), directly or through \
                    groups; CREATEROLE is accounts and data";

impl Policies {
    /// Holds for every role, not for logins only: a group that combines duties could have no member anyway. What a file of an
    /// earlier version combined already stands in the way of nothing else.
    pub(super) fn refuse_mixed_duties(&self, before: &Self) -> Result<()> {
        for name in self.roles.keys() {
            if let Err(refusal) = self.refuse_mixed(name)
                && before.refuse_mixed(name).is_ok()
            {
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn refuse_mixed(&self, name: &str) -> Result<()> {
        let roles = self.memberships(name);
        let mut duties: Vec<&'static str> = Vec::new();
        let (mut held, createrole) = (self.duties(&roles), self.any_createrole(&roles));
        let reads = held.iter().all(|duty| duty.may_read()) && !createrole;
        let loads = createrole || held.iter().all(|duty| duty.may_load());
        if createrole {
            held.retain(|duty| !matches!(duty, Duty::Accounts | Duty::Data));
            duties.push("manage roles");
        }
        duties.extend(held.iter().map(|duty| duty.name()));
        if let [first, second, ..] = duties[..] {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("role \"{name}\" cannot both {first} and {second}"),
            )
            .detail(RULE)
            .hint("use two accounts"));
        }
        if !reads && let Some(table) = self.granted_to(&roles) {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("role \"{name}\" cannot {} and hold SELECT on \"{table}\"", duties.concat()),
            )
            .detail("administrators and auditors hold no data, directly or through groups")
            .hint("grant it to a role of analysts"));
        }
        if !loads && let Some(table) = self.loaded_by(&roles) {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("role \"{name}\" cannot {} and hold INSERT on \"{table}\"", duties.concat()),
            )
            .detail("who adds rows does not ask about them: rows of one's own making would lift anybody over the floor")
            .hint("grant it to a role of collectors"));
        }
        Ok(())
    }

    fn granted_to(&self, roles: &BTreeSet<RoleName>) -> Option<&str> {
        self.grants.iter().find(|grant| roles.contains(&grant.role)).map(|grant| grant.table.as_str())
    }
}
