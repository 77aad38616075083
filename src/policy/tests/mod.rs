//! What the tests of the policies share: a small company, and changes in few words.

mod access;
mod links;
mod roles;
mod separation;
mod settings;
mod tables;
mod training;

use std::collections::BTreeSet;

use super::*;
use crate::error::SqlState;

/// 14 November 2023.
const NOW: i64 = 1_700_000_000;

const CAPABILITIES: [Capability; 6] = [
    Capability::ManageRoles,
    Capability::Administer,
    Capability::Analyse,
    Capability::AnalyseReports,
    Capability::HoldAccess,
    Capability::Audit,
];

fn capabilities(principal: &Principal) -> Vec<Capability> {
    CAPABILITIES.into_iter().filter(|capability| principal.can(*capability)).collect()
}

fn role(name: &str, member_of: &[&str]) -> Change {
    Change::CreateRole {
        name: name.to_owned(),
        login: true,
        createrole: false,
        verifier: None,
        valid_until: None,
        member_of: member_of.iter().map(|group| (*group).to_owned()).collect(),
    }
}

fn group(name: &str) -> Change {
    Change::CreateRole {
        name: name.to_owned(),
        login: false,
        createrole: false,
        verifier: None,
        valid_until: None,
        member_of: BTreeSet::new(),
    }
}

fn grant(role: &str, to: &str) -> Change {
    Change::GrantRole { role: role.to_owned(), to: to.to_owned() }
}

fn select(table: &str, columns: Option<&[&str]>, to: &str) -> Change {
    Change::GrantSelect {
        table: table.to_owned(),
        columns: columns.map(|columns| columns.iter().map(|c| (*c).to_owned()).collect()),
        to: to.to_owned(),
    }
}

fn revoke(table: &str, columns: Option<&[&str]>, from: &str) -> Change {
    Change::RevokeSelect {
        table: table.to_owned(),
        columns: columns.map(|columns| columns.iter().map(|c| (*c).to_owned()).collect()),
        from: from.to_owned(),
    }
}

fn options(options: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    options
        .iter()
        .map(|(name, value)| {
            let value = (*value != "RESET").then(|| (*value).to_owned());
            ((*name).to_owned(), value)
        })
        .collect()
}

fn alter(table: &str, set: &[(&str, &str)]) -> Change {
    Change::AlterTable { name: table.to_owned(), options: options(set) }
}

fn alter_column(column: &str, set: &[(&str, &str)]) -> Change {
    Change::AlterColumn { table: "person".to_owned(), column: column.to_owned(), options: options(set) }
}

fn system(name: &str, value: &str) -> Change {
    Change::SetSystem { name: name.to_owned(), value: (value != "RESET").then(|| value.to_owned()) }
}

fn column(name: &str, data_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        class: None,
        bounds: None,
        domain: None,
        rules: Default::default(),
        form: None,
    }
}

fn person_table() -> Change {
    Change::CreateTable {
        name: "person".to_owned(),
        location: Location { format: Format::Parquet, url: "person.parquet".to_owned(), options: BTreeMap::new() },
        columns: vec![column("id", "Int64"), column("name", "Utf8"), column("salary", "Decimal128(10, 2)")],
        unique_keys: vec![],
        references: vec![],
        if_not_exists: false,
    }
}

fn apply(policies: &Policies, actor: &str, change: Change) -> Result<Policies, crate::error::Error> {
    policies.apply(&policies.principal(actor, NOW).unwrap(), change)
}

/// admin, carol (insights_admin), ana (insights_analyst), otto (auditor), nemo (nothing), group team; table person.
fn company() -> Policies {
    let verifier = Verifier::mock(&[1; 32], "admin");
    let mut policies = Policies::new_with_built_ins().with_bootstrap_account(verifier);
    for change in [
        role("carol", &["insights_admin"]),
        role("ana", &["insights_analyst"]),
        role("otto", &["auditor"]),
        role("nemo", &[]),
        group("team"),
        person_table(),
    ] {
        policies = apply(&policies, "admin", change).unwrap();
    }
    policies
}

fn refused(policies: &Policies, actor: &str, change: Change, sqlstate: SqlState) {
    let said = format!("{change:?}");
    let before = policies.clone();
    let refusal = apply(policies, actor, change).expect_err(&said);
    assert_eq!(refusal.sqlstate, sqlstate, "{said}: {refusal}");
    assert!(!refusal.message.ends_with('.'), "{refusal}");
    assert_eq!(*policies, before);
}
