//! Laws of roles and grants: who may change what, what is refused, and that a refusal changes nothing.

use super::*;

#[test]
fn capabilities_follow_membership_and_keep_duties_apart() {
    let policies = company();
    let holds = |name: &str| capabilities(&policies.principal(name, NOW).unwrap());
    assert_eq!(holds("admin"), [Capability::ManageRoles, Capability::Administer]);
    assert_eq!(holds("carol"), [Capability::Administer]);
    assert_eq!(holds("ana"), [Capability::Analyse, Capability::HoldAccess]);
    assert_eq!(holds("otto"), [Capability::Audit]);
    assert_eq!(holds("nemo"), []);
    assert_eq!(policies.principal("nobody", NOW), None);
    for (group, expected) in [
        ("platform_admin", &[Capability::ManageRoles][..]),
        ("business_leader", &[Capability::Analyse]),
        ("group_manager", &[Capability::AnalyseReports]),
        ("carrier", &[]),
        ("collector", &[]),
    ] {
        let member = apply(&policies, "admin", grant(group, "nemo")).unwrap().principal("nemo", NOW).unwrap();
        assert_eq!(capabilities(&member), expected, "{group}");
        assert_eq!(member.may_ask(), ["business_leader", "group_manager"].contains(&group), "{group}");
    }
}

#[test]
fn only_the_right_role_makes_each_change() {
    let policies = company();
    let role_changes = [
        role("new", &[]),
        group("new"),
        grant("insights_analyst", "nemo"),
        Change::RevokeRole { role: "insights_analyst".to_owned(), from: "ana".to_owned() },
        Change::DropRole { name: "ana".to_owned(), if_exists: false },
        Change::AlterRole {
            name: "ana".to_owned(),
            login: Some(false),
            createrole: None,
            verifier: None,
            valid_until: None,
        },
    ];
    let other_changes = [
        alter("person", &[("person_key", "id")]),
        alter_column("name", &[("class", "attribute")]),
        select("person", None, "team"),
        system("privacy.epsilon", "0.5"),
        Change::SetRole { role: "ana".to_owned(), name: "privacy.epsilon".to_owned(), value: Some("0.5".to_owned()) },
        Change::DropTable { name: "person".to_owned(), if_exists: false },
    ];
    for change in &role_changes {
        for actor in ["carol", "ana", "otto", "nemo"] {
            refused(&policies, actor, change.clone(), SqlState::InsufficientPrivilege);
        }
        let next = apply(&policies, "admin", change.clone()).unwrap();
        assert_eq!(next.epoch, policies.epoch + 1);
        assert_eq!(next.release_epoch, policies.release_epoch);
    }
    for change in &other_changes {
        for actor in ["ana", "otto", "nemo"] {
            refused(&policies, actor, change.clone(), SqlState::InsufficientPrivilege);
        }
        apply(&policies, "admin", change.clone()).unwrap();
        apply(&policies, "carol", change.clone()).unwrap();
    }
}

#[test]
fn a_refusal_for_want_of_a_role_names_the_role() {
    let policies = company();
    let refusal = apply(&policies, "ana", system("privacy.epsilon", "1")).unwrap_err();
    assert_eq!(refusal.detail.as_deref(), Some("this needs a member of role insights_admin"));
}

#[test]
fn nobody_combines_duties_directly_or_through_groups() {
    let policies = company();
    let apart = SqlState::InsufficientPrivilege;
    for (first, second) in [("insights_analyst", "insights_admin"), ("insights_analyst", "auditor")] {
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
    refused(&policies, "admin", grant("insights_analyst", "admin"), denied);
    refused(&policies, "carol", select("person", None, "carol"), denied);
    refused(&policies, "carol", select("person", None, "insights_admin"), denied);
    refused(&policies, "admin", grant("team", "insights_analyst"), denied);
    for name in ["admin", "insights_admin", "insights_analyst", "auditor"] {
        let drop = Change::DropRole { name: name.to_owned(), if_exists: false };
        refused(&policies, "admin", drop, denied);
        let login = Change::AlterRole {
            name: name.to_owned(),
            login: Some(name != "admin"),
            createrole: None,
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
        (select("person", Some(&["nothing"]), "team"), SqlState::UndefinedColumn),
        (person_table(), SqlState::DuplicateTable),
        (alter("nowhere", &[]), SqlState::UndefinedTable),
        (alter("person", &[("person_key", "nothing")]), SqlState::UndefinedColumn),
        (alter_column("nothing", &[]), SqlState::UndefinedColumn),
        (system("privacy.nothing", "1"), SqlState::UndefinedObject),
        (system("privacy.nothing", "RESET"), SqlState::UndefinedObject),
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
        Change::DropRole { name: "team".to_owned(), if_exists: false },
    ] {
        policies = apply(&policies, "admin", change).unwrap();
    }
    assert!(policies.grants.is_empty());
    assert!(!policies.principal("ana", NOW).unwrap().is("team"));
    let again = Change::DropRole { name: "team".to_owned(), if_exists: true };
    assert_eq!(apply(&policies, "admin", again).unwrap(), policies);
}

#[test]
fn grants_widen_and_revokes_narrow() {
    let mut policies = company();
    let may = |policies: &Policies, column: &str| {
        policies.may_read(&policies.principal("ana", NOW).unwrap(), "person", column)
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
        assert_eq!((may(&policies, "name"), may(&policies, "salary")), (name, salary));
    }
    assert!(policies.grants.is_empty());
}

#[test]
fn everyone_may_change_their_own_password_and_nothing_else_of_themselves() {
    let policies = company();
    let password = |name: &str| Change::AlterRole {
        name: name.to_owned(),
        login: None,
        createrole: None,
        verifier: Some(Some(Verifier::mock(&[2; 32], name))),
        valid_until: None,
    };
    let next = apply(&policies, "ana", password("ana")).unwrap();
    assert!(next.login_verifier("ana", 0).is_some());
    refused(&policies, "ana", password("nemo"), SqlState::InsufficientPrivilege);
    apply(&policies, "admin", password("admin")).unwrap();
    let longer = Change::AlterRole {
        name: "ana".to_owned(),
        login: None,
        createrole: None,
        verifier: None,
        valid_until: Some(Some(1)),
    };
    refused(&next, "ana", longer.clone(), SqlState::InsufficientPrivilege);
    let ended = apply(&next, "admin", longer).unwrap();
    assert!(ended.login_verifier("ana", 0).is_some());
    assert!(ended.login_verifier("ana", 1).is_none());
    assert!(ended.login_verifier("team", 0).is_none());
    assert!(ended.login_verifier("nobody", 0).is_none());
}

#[test]
fn a_role_keeps_its_own_epsilon_up_to_the_cap_of_today() {
    let policies = company();
    let own = |value: &str| Change::SetRole {
        role: "ana".to_owned(),
        name: "privacy.epsilon".to_owned(),
        value: (value != "RESET").then(|| value.to_owned()),
    };
    let set = apply(&policies, "carol", own("0.5")).unwrap();
    assert_eq!(set.session_settings("ana").epsilon, 0.5);
    assert_eq!(set.session_settings("nemo"), set.settings);
    let lower = apply(&set, "carol", system("privacy.epsilon", "0.25")).unwrap();
    assert_eq!(lower.session_settings("ana").epsilon, 0.25);
    let reset = apply(&set, "carol", own("RESET")).unwrap();
    assert_eq!(reset.session_settings("ana").epsilon, 1.0);
    refused(&policies, "carol", own("1.5"), SqlState::InvalidParameterValue);
    for (name, sqlstate) in
        [("privacy.min_group_size", SqlState::InsufficientPrivilege), ("privacy.nothing", SqlState::UndefinedObject)]
    {
        let change = Change::SetRole { role: "ana".to_owned(), name: name.to_owned(), value: Some("20".to_owned()) };
        refused(&policies, "carol", change, sqlstate);
    }
}
