//! Laws of the policies: who may change what, what is refused, and that a refusal changes nothing.

use std::collections::BTreeSet;

use super::*;
use crate::error::SqlState;

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
    Change::GrantRole {
        role: role.to_owned(),
        to: to.to_owned(),
    }
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
    Change::AlterTable {
        name: table.to_owned(),
        options: options(set),
    }
}

fn alter_column(column: &str, set: &[(&str, &str)]) -> Change {
    Change::AlterColumn {
        table: "person".to_owned(),
        column: column.to_owned(),
        options: options(set),
    }
}

fn system(name: &str, value: &str) -> Change {
    Change::SetSystem {
        name: name.to_owned(),
        value: (value != "RESET").then(|| value.to_owned()),
    }
}

fn column(name: &str, data_type: &str) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        class: None,
        bounds: None,
    }
}

fn person_table() -> Change {
    Change::CreateTable {
        name: "person".to_owned(),
        location: Location {
            format: Format::Parquet,
            url: "person.parquet".to_owned(),
            options: BTreeMap::new(),
        },
        columns: vec![
            column("id", "Int64"),
            column("name", "Utf8"),
            column("salary", "Decimal128(10, 2)"),
        ],
        unique_keys: vec![],
        if_not_exists: false,
    }
}

fn apply(
    policies: &Policies,
    actor: &str,
    change: Change,
) -> Result<Policies, crate::error::Error> {
    policies.apply(&policies.principal(actor).unwrap(), change)
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

#[test]
fn capabilities_follow_membership_and_keep_duties_apart() {
    let policies = company();
    let holds = |name: &str| policies.principal(name).unwrap().capabilities;
    assert_eq!(
        holds("admin"),
        BTreeSet::from([Capability::ManageRoles, Capability::Administer])
    );
    assert_eq!(holds("carol"), BTreeSet::from([Capability::Administer]));
    assert_eq!(holds("ana"), BTreeSet::from([Capability::Analyse]));
    assert_eq!(holds("otto"), BTreeSet::from([Capability::Audit]));
    assert_eq!(holds("nemo"), BTreeSet::new());
    assert_eq!(policies.principal("nobody"), None);
}

#[test]
fn only_the_right_role_makes_each_change() {
    let policies = company();
    let role_changes = [
        role("new", &[]),
        group("new"),
        grant("insights_analyst", "nemo"),
        Change::RevokeRole {
            role: "insights_analyst".to_owned(),
            from: "ana".to_owned(),
        },
        Change::DropRole {
            name: "ana".to_owned(),
            if_exists: false,
        },
        Change::AlterRole {
            name: "ana".to_owned(),
            login: Some(false),
            verifier: None,
            valid_until: None,
        },
    ];
    let other_changes = [
        alter("person", &[("person_key", "id")]),
        alter_column("name", &[("class", "attribute")]),
        select("person", None, "team"),
        system("privacy.epsilon", "0.5"),
        Change::SetRole {
            role: "ana".to_owned(),
            name: "privacy.epsilon".to_owned(),
            value: Some("0.5".to_owned()),
        },
        Change::DropTable {
            name: "person".to_owned(),
            if_exists: false,
        },
    ];
    for change in &role_changes {
        for actor in ["carol", "ana", "otto", "nemo"] {
            refused(
                &policies,
                actor,
                change.clone(),
                SqlState::InsufficientPrivilege,
            );
        }
        let next = apply(&policies, "admin", change.clone()).unwrap();
        assert_eq!(next.epoch, policies.epoch + 1);
        assert_eq!(next.release_epoch, policies.release_epoch);
    }
    for change in &other_changes {
        for actor in ["ana", "otto", "nemo"] {
            refused(
                &policies,
                actor,
                change.clone(),
                SqlState::InsufficientPrivilege,
            );
        }
        apply(&policies, "admin", change.clone()).unwrap();
        apply(&policies, "carol", change.clone()).unwrap();
    }
}

#[test]
fn a_refusal_for_want_of_a_role_names_the_role() {
    let policies = company();
    let refusal = apply(&policies, "ana", system("privacy.epsilon", "1")).unwrap_err();
    assert_eq!(
        refusal.detail.as_deref(),
        Some("this needs a member of role insights_admin")
    );
}

#[test]
fn nobody_combines_duties_directly_or_through_groups() {
    let policies = company();
    let apart = SqlState::InsufficientPrivilege;
    for (first, second) in [
        ("insights_analyst", "insights_admin"),
        ("insights_analyst", "auditor"),
    ] {
        refused(&policies, "admin", role("both", &[first, second]), apart);
        let grouped = apply(&policies, "admin", grant(first, "team")).unwrap();
        refused(&grouped, "admin", grant(second, "team"), apart);
        let member = apply(&grouped, "admin", grant("team", "nemo")).unwrap();
        refused(&member, "admin", grant(second, "nemo"), apart);
        let other = apply(&policies, "admin", grant(second, "nemo")).unwrap();
        let joined = apply(&other, "admin", grant("team", "nemo")).unwrap();
        refused(&joined, "admin", grant(first, "team"), apart);
    }
    refused(&policies, "admin", grant("admin", "ana"), apart);
    let creator = Change::CreateRole {
        name: "creator".to_owned(),
        login: true,
        createrole: true,
        verifier: None,
        valid_until: None,
        member_of: BTreeSet::from(["insights_analyst".to_owned()]),
    };
    refused(&policies, "admin", creator, apart);
}

#[test]
fn nobody_grants_to_themselves_and_built_ins_stay() {
    let policies = company();
    let denied = SqlState::InsufficientPrivilege;
    refused(
        &policies,
        "admin",
        grant("insights_analyst", "admin"),
        denied,
    );
    refused(&policies, "carol", select("person", None, "carol"), denied);
    refused(
        &policies,
        "carol",
        select("person", None, "insights_admin"),
        denied,
    );
    refused(
        &policies,
        "admin",
        grant("team", "insights_analyst"),
        denied,
    );
    for name in ["admin", "insights_admin", "insights_analyst", "auditor"] {
        let drop = Change::DropRole {
            name: name.to_owned(),
            if_exists: false,
        };
        refused(&policies, "admin", drop, denied);
        let login = Change::AlterRole {
            name: name.to_owned(),
            login: Some(name != "admin"),
            verifier: None,
            valid_until: None,
        };
        refused(&policies, "admin", login, denied);
    }
}

#[test]
fn unknown_and_duplicate_names_have_their_sqlstates() {
    let policies = company();
    let cases = [
        (role("ana", &[]), SqlState::DuplicateObject),
        (role("new", &["nobody"]), SqlState::UndefinedObject),
        (role("", &[]), SqlState::ReservedName),
        (role("public", &[]), SqlState::ReservedName),
        (role("pg_reader", &[]), SqlState::ReservedName),
        (grant("nobody", "ana"), SqlState::UndefinedObject),
        (grant("team", "nobody"), SqlState::UndefinedObject),
        (grant("team", "team"), SqlState::InvalidGrantOperation),
        (select("nowhere", None, "team"), SqlState::UndefinedTable),
        (select("person", None, "nobody"), SqlState::UndefinedObject),
        (
            select("person", Some(&["nothing"]), "team"),
            SqlState::UndefinedColumn,
        ),
        (person_table(), SqlState::DuplicateTable),
        (alter("nowhere", &[]), SqlState::UndefinedTable),
        (
            alter("person", &[("person_key", "nothing")]),
            SqlState::UndefinedColumn,
        ),
        (alter_column("nothing", &[]), SqlState::UndefinedColumn),
        (system("privacy.nothing", "1"), SqlState::UndefinedObject),
        (
            system("privacy.nothing", "RESET"),
            SqlState::UndefinedObject,
        ),
    ];
    for (change, sqlstate) in cases {
        refused(&policies, "admin", change, sqlstate);
    }
}

#[test]
fn memberships_form_no_circle() {
    let mut policies = company();
    for change in [group("a"), group("b"), grant("a", "b"), grant("team", "a")] {
        policies = apply(&policies, "admin", change).unwrap();
    }
    let circle = SqlState::InvalidGrantOperation;
    refused(&policies, "admin", grant("b", "team"), circle);
    refused(&policies, "admin", grant("b", "a"), circle);
}

#[test]
fn dropping_a_role_drops_its_grants_and_memberships() {
    let mut policies = company();
    for change in [
        select("person", None, "team"),
        grant("team", "ana"),
        Change::DropRole {
            name: "team".to_owned(),
            if_exists: false,
        },
    ] {
        policies = apply(&policies, "admin", change).unwrap();
    }
    assert!(policies.grants.is_empty());
    assert!(!policies.principal("ana").unwrap().is("team"));
    let again = Change::DropRole {
        name: "team".to_owned(),
        if_exists: true,
    };
    assert_eq!(apply(&policies, "admin", again).unwrap(), policies);
}

#[test]
fn grants_widen_and_revokes_narrow() {
    let mut policies = company();
    let may = |policies: &Policies, column: &str| {
        policies.may_read(&policies.principal("ana").unwrap(), "person", column)
    };
    let steps = [
        (select("person", Some(&["name"]), "ana"), (true, false)),
        (select("person", Some(&["salary"]), "ana"), (true, true)),
        (revoke("person", Some(&["name"]), "ana"), (false, true)),
        (select("person", None, "ana"), (true, true)),
        (revoke("person", Some(&["salary"]), "ana"), (true, true)),
        (revoke("person", None, "ana"), (false, false)),
    ];
    for (change, (name, salary)) in steps {
        policies = apply(&policies, "admin", change).unwrap();
        assert_eq!(
            (may(&policies, "name"), may(&policies, "salary")),
            (name, salary)
        );
    }
    assert!(policies.grants.is_empty());
}

#[test]
fn everyone_may_change_their_own_password_and_nothing_else_of_themselves() {
    let policies = company();
    let password = |name: &str| Change::AlterRole {
        name: name.to_owned(),
        login: None,
        verifier: Some(Verifier::mock(&[2; 32], name)),
        valid_until: None,
    };
    let next = apply(&policies, "ana", password("ana")).unwrap();
    assert!(next.login_verifier("ana", 0).is_some());
    refused(
        &policies,
        "ana",
        password("nemo"),
        SqlState::InsufficientPrivilege,
    );
    apply(&policies, "admin", password("admin")).unwrap();
    let longer = Change::AlterRole {
        name: "ana".to_owned(),
        login: None,
        verifier: None,
        valid_until: Some(1),
    };
    refused(
        &next,
        "ana",
        longer.clone(),
        SqlState::InsufficientPrivilege,
    );
    let ended = apply(&next, "admin", longer).unwrap();
    assert!(ended.login_verifier("ana", 0).is_some());
    assert!(ended.login_verifier("ana", 1).is_none());
    assert!(ended.login_verifier("team", 0).is_none());
    assert!(ended.login_verifier("nobody", 0).is_none());
}

#[test]
fn a_table_is_unclassified_until_it_is_protected_or_public() {
    let policies = company();
    assert_eq!(policies.tables["person"].access, Access::Unclassified);
    let protected = apply(&policies, "carol", alter("person", &[("person_key", "id")])).unwrap();
    let table = &protected.tables["person"];
    assert_eq!(table.protection(), Some(("people", "id")));
    assert_eq!(table.column("id").unwrap().class, Some(Class::Identifier));
    assert_eq!(table.rows_per_person(), None);
    assert_eq!(protected.release_epoch, protected.epoch);
    assert_eq!(
        protected.policy_names(),
        BTreeSet::from(["people".to_owned()])
    );

    let key = UniqueKey {
        columns: vec!["id".to_owned()],
        primary: true,
    };
    let add = Change::AddUniqueKey {
        table: "person".to_owned(),
        key,
    };
    let keyed = apply(&protected, "carol", add).unwrap();
    assert_eq!(keyed.tables["person"].rows_per_person(), Some(1));

    let invalid = SqlState::InvalidParameterValue;
    refused(
        &protected,
        "carol",
        alter("person", &[("public", "true")]),
        invalid,
    );
    refused(
        &protected,
        "carol",
        alter_column("id", &[("class", "attribute")]),
        invalid,
    );
    refused(
        &protected,
        "carol",
        alter_column("id", &[("class", "RESET")]),
        invalid,
    );
    refused(
        &policies,
        "carol",
        alter("person", &[("privacy_policy", "staff")]),
        invalid,
    );
    let bare = alter("person", &[("person_key", "RESET"), ("public", "true")]);
    refused(&protected, "carol", bare, invalid);
    for value in ["0", "1000001", "-1", "1.5", "many"] {
        let rows = alter("person", &[("max_rows_per_person", value)]);
        refused(&protected, "carol", rows, invalid);
    }
    refused(
        &protected,
        "carol",
        alter("person", &[("max_row", "1")]),
        invalid,
    );

    let named = [
        ("privacy_policy", "staff"),
        ("person_key", "id"),
        ("max_rows_per_person", "53"),
    ];
    let named = apply(&policies, "carol", alter("person", &named)).unwrap();
    assert_eq!(named.tables["person"].protection(), Some(("staff", "id")));
    assert_eq!(named.tables["person"].rows_per_person(), Some(53));
}

#[test]
fn a_public_table_holds_public_columns_only() {
    let policies = company();
    let public = apply(&policies, "carol", alter("person", &[("public", "true")])).unwrap();
    assert_eq!(public.tables["person"].access, Access::Public);
    let invalid = SqlState::InvalidParameterValue;
    refused(
        &public,
        "carol",
        alter_column("name", &[("class", "attribute")]),
        invalid,
    );
    refused(
        &public,
        "carol",
        alter("person", &[("person_key", "id")]),
        invalid,
    );
    apply(
        &public,
        "carol",
        alter_column("name", &[("class", "public")]),
    )
    .unwrap();
    let back = alter("person", &[("public", "false"), ("person_key", "id")]);
    apply(&public, "carol", back).unwrap();
}

#[test]
fn column_options_are_checked_together() {
    let policies = company();
    let both = alter_column(
        "salary",
        &[("class", "measure"), ("upper", "9e4"), ("lower", "0")],
    );
    let bounded = apply(&policies, "carol", both).unwrap();
    let salary = bounded.tables["person"].column("salary").unwrap().clone();
    assert_eq!(salary.class, Some(Class::Measure));
    assert_eq!(salary.bounds, Some(Bounds::new(0.0, 9e4).unwrap()));
    apply(
        &bounded,
        "carol",
        alter_column("salary", &[("lower", "10")]),
    )
    .unwrap();
    apply(
        &bounded,
        "carol",
        alter_column("salary", &[("lower", "RESET"), ("upper", "RESET")]),
    )
    .unwrap();

    let invalid = SqlState::InvalidParameterValue;
    for set in [
        &[("class", "content")][..],
        &[("class", "secret")],
        &[("lower", "0")],
        &[("lower", "2"), ("upper", "1")],
        &[("lower", "0"), ("upper", "inf")],
        &[("lower", "NaN"), ("upper", "1")],
        &[("middle", "0")],
    ] {
        refused(&policies, "carol", alter_column("salary", set), invalid);
    }
    refused(
        &bounded,
        "carol",
        alter_column("salary", &[("upper", "RESET")]),
        invalid,
    );
    refused(
        &bounded,
        "carol",
        alter_column("salary", &[("upper", "-1")]),
        invalid,
    );
    let text = alter_column("name", &[("lower", "0"), ("upper", "1")]);
    refused(&policies, "carol", text, SqlState::DatatypeMismatch);
}
