//! `EXPLAIN` and `EXPLAIN (PRIVACY)`: the plan, and what it will cost and show. Nothing is run, nothing is spent, no statistics.

use super::private::{ColumnFacts, Proof, ReleaseFacts, Selects};
use super::verify::Verified;

/// The rewritten, optimised plan: the releases in order, then what stands above them.
pub fn plan_lines(verified: &Verified) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, release) in verified.releases().iter().enumerate() {
        lines.push(format!("Release {number}:"));
        lines.extend(release.plan().display_indent().to_string().lines().map(|line| format!("  {line}")));
    }
    for opened in verified.opened() {
        lines.push(format!("Rows of {}:", opened.table()));
        lines.extend(opened.plan().display_indent().to_string().lines().map(|line| format!("  {line}")));
    }
    lines.extend(verified.shape().display_indent().to_string().lines().map(str::to_owned));
    lines
}

/// What each release protects with, costs and promises. `sources` says where each answer will come from.
pub fn privacy_lines(verified: &Verified, sources: &[&str]) -> Vec<String> {
    if !verified.opened().is_empty() {
        return verified
            .opened()
            .iter()
            .map(|opened| format!("rows are shown: {}; free of charge", opened.in_words()))
            .collect();
    }
    if verified.releases().is_empty() {
        return vec!["no release: public data only, free of charge".to_owned()];
    }
    let numbered = verified.releases().iter().zip(sources).enumerate();
    numbered.flat_map(|(number, (release, source))| release_lines(number, release.facts(), source)).collect()
}

fn selects(selects: Selects) -> String {
    match selects {
        Selects::Persons { part } => format!("the noisy person count, {:.0} % of the price", 100.0 * part),
        Selects::Share => "the noisy persons of the share, at no price of their own".to_owned(),
    }
}

fn release_lines(number: usize, facts: &ReleaseFacts, source: &str) -> Vec<String> {
    let list = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(", ");
    let keys = if facts.keys.is_empty() { "none: one row".to_owned() } else { list(&mut facts.keys.iter()) };
    let mut lines = vec![
        format!("release {number}"),
        format!("  tables: {}", list(&mut facts.tables.iter())),
        format!("  policy: {}", list(&mut facts.policies.iter())),
        format!("  person key: {}", facts.person_key),
        format!("  group keys: {keys}"),
        format!("  groups per person (M): {} ({})", facts.max_groups, groups_proof(facts.groups_proof)),
        match facts.cap {
            Some(rows) => format!("  rows per person and group: {rows} ({})", rows_proof(facts.rows_proof)),
            None => "  rows per person and group: unbounded (persons are counted, rows are not)".to_owned(),
        },
        format!("  floor (k): {} persons, exact", facts.floor),
        format!("  threshold (tau): {} on {}", facts.threshold, selects(facts.selects)),
    ];
    if let Some((persons, group)) = facts.persons {
        lines.push(match facts.keys.is_empty() {
            true => format!("  persons: about {persons:.0} (statistics)"),
            false => format!("  persons: about {persons:.0} (statistics), {group:.0} a group if a key has ten values"),
        });
    }
    for column in &facts.columns {
        lines.push(format!(
            "  column {}: {}",
            column.label,
            column_line(column, facts.persons.map(|(_, group)| group))
        ));
    }
    let (rho, delta) = (facts.rho.get(), facts.delta.get());
    lines.push(match facts.epsilon {
        None => format!("  price: rho {rho:.6}, delta {delta:.1e}"),
        Some(epsilon) => format!("  price: epsilon {:.6} (laplace; rho {rho:.6}), delta {delta:.1e}", epsilon.get()),
    });
    lines.push(format!("  source: {source}"));
    lines
}

fn column_line(column: &ColumnFacts, group: Option<f64>) -> String {
    let bounds = column.bounds.map(|b| format!("bounds [{}, {}], ", b.lower(), b.upper())).unwrap_or_default();
    let error = if column.of_rank {
        format!("expected standard error {:.4} rows of rank in each node", column.sigma)
    } else if column.per_group_size {
        let here = group.map(|group| format!(" ({:.4} for {group:.0} persons)", column.sigma / group));
        format!("expected standard error about {:.4} / size of the group{}", column.sigma, here.unwrap_or_default())
    } else {
        format!("expected standard error {:.4}", column.sigma)
    };
    let mask = if column.masked { ", masked at the edges of the band" } else { "" };
    format!("{bounds}{error}{mask}, {:.0} % of the price", 100.0 * column.part)
}

fn groups_proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Key => "proven: one row per person",
        Proof::Dependency => "proven: the group keys depend on the person",
        Proof::Domain => "declared values of the group keys, enforced by BoundGroups",
        Proof::Declared => "declared, enforced by BoundGroups",
    }
}

fn rows_proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Key | Proof::Dependency => "proven by a key",
        Proof::Domain | Proof::Declared => "declared, enforced by scaling",
    }
}
