//! Reports for administrators: `privacy.purpose_report`, `privacy.data_categories`, `privacy.metrics`.
//!
//! In: the policies and the log. Out: rows of views. Must never: read a row of a person; numbers of persons are those that were released,
//! and are shown as bands.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;

use super::Session;
use super::listing::Listing;
use crate::error::Result;
use crate::ledger::PurposeUse;
use crate::policy::{Access, Capability, Column, Delta, Policies, Principal, Table, View};

impl Session {
    /// Evidence for an impact assessment: what was read for each purpose, of how many persons, at what price (W16).
    pub(super) async fn purpose_report(&self) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let uses = self.server.ledger.purpose_uses().await?;
        // A purpose that nobody used has a line, too; so has what was declared before there were any.
        let unused = policies.purposes.keys().filter(|name| !uses.iter().any(|used| used.purpose == **name));
        let unused: Vec<PurposeUse> =
            unused.map(|name| PurposeUse { purpose: name.clone(), ..PurposeUse::default() }).collect();
        let epsilon = |used: &PurposeUse| spent(used, policies.settings.budget_delta);
        let used_at = |used: &PurposeUse, at: i64| (used.last != 0).then_some(at / 1_000_000);
        Listing::of(uses.iter().chain(&unused))
            .text("purpose", |used| Some(used.purpose.clone()))
            .text("reason", |used| policies.purposes.get(&used.purpose).map(|purpose| purpose.reason.clone()))
            .text("population", |used| policies.purposes.get(&used.purpose)?.population.clone())
            .text("tables", |used| listed(&used.tables))
            .text("columns", |used| listed(&used.columns))
            .text("persons", |used| used.persons.map(band))
            .count("answered", |used| used.answered)
            .count("refused", |used| used.refused)
            .count("failed", |used| used.failed)
            .text("principals", |used| listed(&used.principals))
            .number("epsilon", epsilon)
            .number("rho", |used| used.spent.values().map(|spent| spent.rho).fold(0.0, f64::max))
            .moment("first_use", |used| used_at(used, used.first))
            .moment("last_use", |used| used_at(used, used.last))
            .batch()
    }

    /// What is collected, as which class, and why (R4). Of tables that the asker may see.
    pub(super) fn data_categories(&self, principal: &Principal) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let tables = policies.tables.values().filter(|table| sees(&policies, principal, &table.name));
        let columns: Vec<(&Table, &Column)> =
            tables.flat_map(|table| table.columns.iter().map(move |column| (table, column))).collect();
        Listing::of(&columns)
            .text("table_name", |(table, _)| Some(table.name.clone()))
            .text("about", |(table, _)| Some(about(table).to_owned()))
            .text("policy", |(table, _)| table.policy().map(str::to_owned))
            .text("column_name", |(_, column)| Some(column.name.clone()))
            .text("class", |(_, column)| column.class.map(|class| class.name().to_owned()))
            .text("description", |(table, column)| policies.column_comment(&table.name, &column.name))
            .text("table_description", |(table, _)| policies.comment(&table.name))
            .batch()
    }

    /// How each metric is computed, in SQL and in prose (W9, W12).
    pub(super) fn metrics(&self, principal: &Principal) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let visible = |view: &&View| view.metric && sees(&policies, principal, &view.name);
        let names = |view: &View| view.columns.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        Listing::of(policies.views.values().filter(visible))
            .text("name", |view| Some(view.name.clone()))
            .text("columns", |view| listed(&names(view)))
            .text("definition", |view| Some(view.definition.clone()))
            .text("description", |view| policies.comment(&view.name))
            .batch()
    }
}

fn sees(policies: &Policies, principal: &Principal, relation: &str) -> bool {
    principal.can(Capability::Audit) || policies.may_see(principal, relation)
}

fn about(table: &Table) -> &'static str {
    match table.access {
        Access::Protected { .. } | Access::Linked { .. } | Access::Directory => "persons",
        Access::Public => "nobody",
        Access::Unclassified => "not decided",
    }
}

/// Epsilon of the policy that paid most, at the delta of its budget.
fn spent(used: &PurposeUse, budget_delta: f64) -> f64 {
    let Ok(budget_delta) = Delta::new(budget_delta) else { return f64::INFINITY };
    used.spent.values().map(|spent| spent.epsilon_at(budget_delta)).fold(0.0, f64::max)
}

fn listed(names: &BTreeSet<String>) -> Option<String> {
    (!names.is_empty()).then(|| names.iter().cloned().collect::<Vec<_>>().join(", "))
}

/// A noised number of persons, as the powers of ten around it.
pub(super) fn band(persons: u64) -> String {
    between(persons as f64, persons as f64)
}

/// The same of a number that is not known better than this.
pub(super) fn between(low: f64, high: f64) -> String {
    let least = if low < 10.0 { 0.0 } else { 10_f64.powi(low.log10().floor() as i32) };
    let most = 10_f64.powi((high.max(1.0).log10().floor() as i32 + 1).max(1));
    format!("{least} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_powers_of_ten_around_a_number() {
        for (persons, said) in [
            (0, "0 to 10"),
            (9, "0 to 10"),
            (10, "10 to 100"),
            (99, "10 to 100"),
            (100, "100 to 1000"),
            (2_000, "1000 to 10000"),
        ] {
            assert_eq!(band(persons), said);
        }
        assert_eq!(between(-5.0, 40.0), "0 to 100");
        assert_eq!(between(90.0, 110.0), "10 to 1000");
    }
}
