//! Whose rows a statement may count: the rules that concern its principal, and what they mean in the data of now.
//!
//! In: the policies, the principal and the tables of a statement. Out: [`Scopes`] for the compiler. Looked up anew for every
//! statement, so that a rule, an exclusion or a changed licence counts from the next statement on, in open sessions too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::sql::sqlparser::ast;

use super::Session;
use super::surroundings::Looked;
use crate::catalog::files::arrow_schema;
use crate::error::{Error, Result, SqlState};
use crate::policy::{DigestOf, GROUP_MANAGER, Person, Policies, Principal, ReportingLines, RowPolicy, Table};
use crate::query::{Excluded, PersonScope, PersonTest, RowRule, Scopes, parse, row_rule};

/// Persons who are out, with what is known of their digests; anew when the list changes.
#[derive(Default)]
pub(super) struct ExcludedNow(Mutex<Option<Arc<Excluded>>>);

/// The scopes of a statement, and the tables that they were found in, with the identity of their data.
#[derive(Default)]
pub(super) struct Scoped {
    pub scopes: Scopes,
    pub tables: Vec<(Table, String)>,
}

impl Session {
    /// Errors: 42501 for group managers whose reports nobody can tell.
    pub(super) async fn scopes(
        &self,
        policies: &Policies,
        principal: &Principal,
        tables: &[&Table],
        looked: &mut Looked,
    ) -> Result<Scoped> {
        let mut scoped = Scoped::default();
        let mut persons = BTreeMap::new();
        for policy in tables.iter().filter_map(|table| table.policy()).collect::<BTreeSet<_>>() {
            let scope = self.person_scope((policies, principal), policy, &mut scoped.tables, looked).await?;
            persons.insert(policy.to_owned(), Arc::new(scope));
        }
        let mut rules = BTreeMap::new();
        for table in tables.iter().filter(|table| !table.is_of_persons()) {
            let own = conditions(table, principal).map(|(rule, using)| self.rule(table, rule, using));
            let own = own.collect::<Result<Vec<_>>>()?;
            if !own.is_empty() {
                rules.insert(table.name.clone(), own);
            }
        }
        scoped.scopes = Scopes::new(tables.iter().copied(), &persons, rules);
        Ok(scoped)
    }

    async fn person_scope(
        &self,
        (policies, principal): (&Policies, &Principal),
        policy: &str,
        read: &mut Vec<(Table, String)>,
        looked: &mut Looked,
    ) -> Result<PersonScope> {
        let (mut tests, mut identity) = (Vec::new(), Identity::default());
        if principal.belongs_to(GROUP_MANAGER) {
            let own = policies.roles.get(principal.name()).and_then(|role| role.person.clone());
            let digest = own.ok_or_else(refuse_nobody)?;
            let table = policies.reporting_table(policy).ok_or_else(|| refuse_no_lines(policy))?;
            let (lines, snapshot) = self.lines(table, looked).await?;
            identity.add(["reports", &digest, &format!("{:?}", table.access), &snapshot]);
            identity.add([table.manager_key.as_deref().unwrap_or_default()]);
            tests.push(PersonTest::Reports { range: lines.reports_of(&digest), lines });
            read.push((table.clone(), snapshot));
        }
        for table in policies.tables.values().filter(|t| t.policy() == Some(policy) && t.is_of_persons()) {
            for (rule, using) in conditions(table, principal) {
                let (_, person_key) = table.protection().ok_or_else(Error::internal)?;
                let made = self.rule(table, rule, using)?;
                let listing = looked.at(&self.server.files, &table.location).await?;
                let snapshot = listing.snapshot().as_str().to_owned();
                let provider = self.server.files.provider_of(table, &listing).map_err(|_| Error::internal())?;
                let (engine, cache) = (&self.server.engine, &self.server.scopes);
                let found = engine.allowed_persons(cache, person_key, made, &snapshot, provider).await?;
                identity.add(["allowed", &table.name, person_key, using, &snapshot]);
                let (name, persons) = (rule.name.clone(), found);
                tests.push(PersonTest::Allowed { table: table.name.clone(), name, persons });
                read.push((table.clone(), snapshot));
            }
        }
        if !policies.excluded.is_empty() {
            let excluded = self.excluded(policies);
            // Who is out moves the epoch of releases, which is part of the same key.
            identity.add(["excluded"]);
            tests.push(PersonTest::NotExcluded(excluded));
        }
        Ok(PersonScope::new(tests, identity.0))
    }

    /// Reporting lines of a table with a manager key, and the identity of the data that they are of.
    pub(super) async fn lines(&self, table: &Table, looked: &mut Looked) -> Result<(Arc<ReportingLines>, String)> {
        let (_, person_key) = table.protection().ok_or_else(Error::internal)?;
        let manager_key = table.manager_key.clone().ok_or_else(Error::internal)?;
        let listing = looked.at(&self.server.files, &table.location).await?;
        let snapshot = listing.snapshot().as_str().to_owned();
        let provider = self.server.files.provider_of(table, &listing).map_err(|_| Error::internal())?;
        let looked = (table.name.clone(), person_key.to_owned(), manager_key);
        let (engine, cache) = (&self.server.engine, &self.server.scopes);
        let digester = self.server.catalog.digester();
        let lines = engine.reporting_lines(cache, looked, &snapshot, provider, digester).await?;
        Ok((lines, snapshot))
    }

    fn excluded(&self, policies: &Policies) -> Arc<Excluded> {
        let mut held = self.server.excluded.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref().filter(|held| held.digests().iter().eq(policies.excluded.keys())) {
            Some(known) => known.clone(),
            None => {
                let digests = policies.excluded.keys().cloned().collect();
                let made = Arc::new(Excluded::new(digests, self.server.catalog.digester().clone()));
                *held = Some(made.clone());
                made
            }
        }
    }

    fn rule(&self, table: &Table, rule: &RowPolicy, using: &str) -> Result<Arc<RowRule>> {
        let expression: ast::Expr = parse::expression(using)?;
        let schema = arrow_schema(table)?;
        row_rule(&self.server.functions, table, &schema, &rule.name, (using, expression)).map(Arc::new)
    }

    /// The digest that ties a login to a person; for administrators. Errors: 22023 where reporting lines are known and none has
    /// the person.
    pub(super) async fn person_of_login(&self, key: &str) -> Result<String> {
        let (policies, person) = (self.server.catalog.policies(), Person::of_text(key));
        let (mut known, mut asked) = (false, false);
        for table in policies.tables.values().filter(|table| table.manager_key.is_some()) {
            let (lines, _) = self.lines(table, &mut Looked::default()).await?;
            asked = true;
            known |= lines.position(person).is_some();
        }
        if asked && !known {
            return Err(Error::new(SqlState::InvalidParameterValue, "there is no such person")
                .detail("no table with a manager_key has a row with this person key")
                .hint("write the person key exactly as the table has it"));
        }
        Ok(self.server.catalog.digester().digest(DigestOf::Login, person))
    }
}

/// The rules of a table that take rows out for the principal.
fn conditions<'a>(table: &'a Table, principal: &'a Principal) -> impl Iterator<Item = (&'a RowPolicy, &'a str)> {
    let concerned = table.row_policies.iter().filter(|rule| rule.concerns(principal));
    concerned.filter_map(|rule| Some((rule, rule.using.as_deref()?)))
}

/// Parts with their lengths, so that no two lists of parts read alike.
#[derive(Default)]
struct Identity(String);

impl Identity {
    fn add<'a>(&mut self, parts: impl IntoIterator<Item = &'a str>) {
        for part in parts {
            self.0.push_str(&format!("{}:{part};", part.len()));
        }
        self.0.push('\n');
    }
}

fn refuse_nobody() -> Error {
    Error::new(SqlState::InsufficientPrivilege, "this login is tied to no person")
        .detail("a group manager asks about those who report to them")
        .hint("an administrator says who it is: ALTER ROLE … SET privacy.person = '…'")
}

fn refuse_no_lines(policy: &str) -> Error {
    Error::new(
        SqlState::InsufficientPrivilege,
        format!("nobody said who reports to whom under privacy policy \"{policy}\""),
    )
    .detail("a group manager asks about those who report to them")
    .hint("an administrator names the column: ALTER TABLE … SET (manager_key = '…')")
}
