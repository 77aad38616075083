//! Statements about who takes part: `CREATE POLICY` and its kin, `CALL privacy.exclude_person`, the person of a login.
//!
//! In: what an administrator wrote. Out: changes of the policies, in which no person is named: keys become digests here.

use super::Session;
use super::procedures::Arguments;
use crate::catalog::files::arrow_schema;
use crate::error::{Error, Result};
use crate::policy::{
    Capability, Change, DigestOf, Exclusion, PERSON_SETTING, Person, Principal, RowPolicy, RowPolicyChange,
};
use crate::query::row_rule;
use crate::query::statement::{Admin, Call, Condition};

impl Session {
    /// The changes of a statement about row policies. The condition is tried against the table first.
    pub(super) fn row_policy(&self, actor: &Principal, admin: &Admin) -> Result<(&'static str, Vec<Change>)> {
        refuse_others(actor)?;
        let set = |roles: &Vec<String>| roles.iter().cloned().collect();
        Ok(match admin {
            Admin::CreatePolicy { name, table, roles, using, options } => {
                let using = using.as_ref().map(|using| self.checked(table, name, using)).transpose()?.flatten();
                let policy = RowPolicy { name: name.clone(), roles: set(roles), using, min_group_size: None };
                let change = Change::CreatePolicy { table: table.clone(), policy, options: options.clone() };
                ("CREATE POLICY", vec![change])
            }
            Admin::AlterPolicy { name, table, roles, using, options } => {
                let using = using.as_ref().map(|using| self.checked(table, name, using)).transpose()?;
                let change = RowPolicyChange { roles: roles.as_ref().map(set), using, options: options.clone() };
                ("ALTER POLICY", vec![Change::AlterPolicy { table: table.clone(), name: name.clone(), change }])
            }
            Admin::DropPolicy { name, table, if_exists } => {
                let change = Change::DropPolicy { table: table.clone(), name: name.clone(), if_exists: *if_exists };
                ("DROP POLICY", vec![change])
            }
            _ => return Err(Error::internal()),
        })
    }

    /// The text of a condition that may be one; `None` where it takes nothing out.
    fn checked(&self, table: &str, name: &str, using: &Condition) -> Result<Option<String>> {
        let policies = self.server.catalog.policies();
        // The change itself says that there is no such table.
        let Some(table) = policies.tables.get(table) else { return Ok(None) };
        let (schema, expression) = (arrow_schema(table)?, using.expression.as_ref().clone());
        row_rule(&self.server.functions, table, &schema, name, (&using.text, expression))
            .map_err(|error| error.at(using.position))?;
        Ok((!using.allows_all()).then(|| using.text.clone()))
    }

    /// `ALTER ROLE … SET`: a person becomes a digest.
    pub(super) async fn role_setting(
        &self,
        actor: &Principal,
        role: &str,
        name: &str,
        value: Option<&String>,
    ) -> Result<Change> {
        let mut value = value.cloned();
        if name.eq_ignore_ascii_case(PERSON_SETTING)
            && let Some(key) = value.take()
        {
            refuse_others(actor)?;
            value = Some(self.person_of_login(&key).await?);
        }
        Ok(Change::SetRole { role: role.to_owned(), name: name.to_owned(), value })
    }

    /// `privacy.exclude_person(person, reason)`: objection.
    pub(super) fn exclude_person(&self, call: &Call) -> Result<Vec<Change>> {
        let arguments = Arguments::new(call, &["person", "reason"])?;
        let digest = self.excluded_digest(arguments.required("person")?);
        let reason = arguments.optional("reason").map(str::to_owned);
        let exclusion = Exclusion { reason, since: chrono::Utc::now().timestamp() };
        Ok(vec![Change::ExcludePerson { digest, exclusion }])
    }

    /// `privacy.include_person(person, reason)`: the objection was taken back.
    pub(super) fn include_person(&self, call: &Call) -> Result<Vec<Change>> {
        let arguments = Arguments::new(call, &["person", "reason"])?;
        Ok(vec![Change::IncludePerson { digest: self.excluded_digest(arguments.required("person")?) }])
    }

    fn excluded_digest(&self, key: &str) -> String {
        self.server.catalog.digester().digest(DigestOf::Excluded, Person::of_text(key))
    }
}

fn refuse_others(actor: &Principal) -> Result<()> {
    if actor.can(Capability::Administer) {
        return Ok(());
    }
    Err(actor.denied(Capability::Administer, "permission denied: who takes part is an administrator's decision"))
}
