//! Laws of separation: no way leads an administrator to data, or a platform administrator beyond accounts.

use super::*;

/// `ALTER ROLE` with createrole, password, valid until.
fn altered(
    name: &str,
    createrole: Option<bool>,
    verifier: Option<Option<Verifier>>,
    valid_until: Option<Option<i64>>,
) -> Change {
    Change::AlterRole { name: name.to_owned(), login: None, createrole, verifier, valid_until }
}

fn creator(name: &str) -> Change {
    Change::CreateRole {
        name: name.to_owned(),
        login: true,
        createrole: true,
        verifier: None,
        valid_until: None,
        member_of: BTreeSet::new(),
    }
}

/// The company with a platform administrator, pat.
fn staffed() -> Policies {
    apply(&company(), "admin", role("pat", &["platform_admin"])).unwrap()
}

const DENIED: SqlState = SqlState::InsufficientPrivilege;

#[test]
fn every_pair_of_duties_is_apart_and_one_duty_is_not() {
    let duties = [
        &["platform_admin"][..],
        &["insights_admin"],
        &["insights_analyst", "business_leader", "group_manager"],
        &["auditor"],
        &["carrier"],
        &["collector"],
    ];
    let policies = company();
    for (a, first) in duties.iter().enumerate() {
        apply(&policies, "admin", role("one", first)).unwrap();
        for (b, second) in duties.iter().enumerate() {
            for (one, other) in first.iter().flat_map(|one| second.iter().map(move |other| (*one, *other))) {
                let both = role("both", &[one, other]);
                if a == b {
                    apply(&policies, "admin", both).unwrap();
                } else {
                    refused(&policies, "admin", both, DENIED);
                }
            }
        }
    }
    for group in ["insights_analyst", "auditor", "carrier", "collector", "group_manager"] {
        let with = apply(&policies, "admin", creator("boss")).unwrap();
        refused(&with, "admin", grant(group, "boss"), DENIED);
    }
}

#[test]
fn a_platform_administrator_reaches_nothing_but_accounts() {
    let policies = staffed();
    for change in [
        system("privacy.epsilon", "0.5"),
        alter("person", &[("person_key", "id")]),
        select("person", None, "team"),
        grant("insights_admin", "pat"),
        grant("insights_analyst", "pat"),
        grant("pat", "pat"),
        grant("team", "platform_admin"),
        creator("helper"),
        grant("admin", "nemo"),
        role("helper", &["admin"]),
        altered("pat", Some(true), None, None),
        altered("nemo", Some(true), None, None),
        altered("pat", None, None, Some(None)),
        altered("admin", None, Some(Some(Verifier::mock(&[3; 32], "x"))), None),
        Change::DropRole { name: "platform_admin".to_owned(), if_exists: false },
        Change::DropRole { name: "admin".to_owned(), if_exists: false },
        Change::SetRole { role: "ana".to_owned(), name: "privacy.epsilon".to_owned(), value: Some("0.5".to_owned()) },
    ] {
        refused(&policies, "pat", change, DENIED);
    }
    for change in [role("new", &["insights_analyst"]), grant("insights_admin", "nemo"), group("more")] {
        apply(&policies, "pat", change).unwrap();
    }
    let own = Change::DropRole { name: "pat".to_owned(), if_exists: false };
    refused(&policies, "pat", own, SqlState::ObjectInUse);
    // Through a group in between it is the same.
    let grouped = apply(&policies, "admin", grant("platform_admin", "team")).unwrap();
    let grouped = apply(&grouped, "admin", grant("team", "nemo")).unwrap();
    refused(&grouped, "nemo", grant("insights_admin", "team"), DENIED);
    refused(&grouped, "nemo", grant("team", "ana"), DENIED);
}

#[test]
fn a_role_with_createrole_is_decided_on_by_its_like_only() {
    let policies = apply(&staffed(), "admin", creator("boss")).unwrap();
    let more = apply(&policies, "boss", creator("second")).unwrap();
    assert_eq!(
        capabilities(&more.principal("second", NOW).unwrap()),
        [Capability::ManageRoles, Capability::Administer]
    );
    let dropped = Change::DropRole { name: "boss".to_owned(), if_exists: false };
    refused(&policies, "pat", dropped.clone(), DENIED);
    refused(&policies, "pat", Change::RevokeRole { role: "team".to_owned(), from: "boss".to_owned() }, DENIED);
    apply(&policies, "admin", dropped).unwrap();
    let lowered = altered("boss", Some(false), None, None);
    refused(&policies, "boss", lowered.clone(), DENIED);
    let lowered = apply(&policies, "admin", lowered).unwrap();
    assert_eq!(capabilities(&lowered.principal("boss", NOW).unwrap()), []);
}

#[test]
fn administrators_and_auditors_hold_no_data_by_any_way() {
    let policies = staffed();
    for role in ["insights_admin", "platform_admin", "auditor", "admin", "carol", "pat", "otto"] {
        refused(&policies, "admin", select("person", None, role), DENIED);
    }
    let granted = apply(&policies, "carol", select("person", Some(&["name"]), "team")).unwrap();
    for member in ["carol", "pat", "otto"] {
        refused(&granted, "admin", grant("team", member), DENIED);
    }
    let joined = apply(&policies, "admin", grant("team", "carol")).unwrap();
    refused(&joined, "admin", select("person", None, "team"), DENIED);
    for reader in ["team", "ana", "nemo", "business_leader", "insights_analyst"] {
        apply(&policies, "carol", select("person", None, reader)).unwrap();
    }
}

#[test]
fn a_role_made_anew_is_another_role() {
    let policies = apply(&company(), "admin", select("person", None, "ana")).unwrap();
    let created = |policies: &Policies| policies.roles["ana"].created;
    let first = created(&policies);
    assert!(policies.login("ana", first, NOW).is_some());
    let gone = apply(&policies, "admin", Change::DropRole { name: "ana".to_owned(), if_exists: false }).unwrap();
    assert!(gone.login("ana", first, NOW).is_none());
    let anew = apply(&gone, "admin", role("ana", &["auditor"])).unwrap();
    assert!(anew.login("ana", first, NOW).is_none());
    assert!(anew.login("ana", created(&anew), NOW).is_some());
    assert!(!anew.may_see(&anew.principal("ana", NOW).unwrap(), "person"), "what was granted went with the role");
    let ended = altered("ana", None, None, Some(Some(NOW)));
    let ended = apply(&policies, "admin", ended).unwrap();
    assert!(ended.login("ana", first, NOW - 1).is_some());
    assert!(ended.login("ana", first, NOW).is_none());
}

#[test]
fn names_that_look_like_the_servers_own_are_refused() {
    let policies = company();
    for name in ["Insights_Admin", "auditоr", "Admin", "adm1n", "PUBLIC", "none", "collect0r", "business-leader"] {
        refused(&policies, "admin", group(name), SqlState::ReservedName);
    }
    for name in [" ana2", "ana2 ", "ana\u{200b}", "a\u{7}b"] {
        refused(&policies, "admin", group(name), SqlState::InvalidName);
    }
    for name in ["administrators", "analyst_2", "jürgen", "Ana Li"] {
        apply(&policies, "admin", group(name)).unwrap();
    }
}

#[test]
fn a_file_of_an_earlier_version_gets_the_new_groups_and_keeps_its_own() {
    let mut old = company();
    for name in ["platform_admin", "business_leader", "group_manager", "collector"] {
        old.roles.remove(name);
    }
    // Somebody's own group, of a name that the server now has.
    old.roles.insert("carrier".to_owned(), Role::default());
    old.roles.insert("platform_admin".to_owned(), Role::default());
    let pat = Role { login: true, member_of: ["platform_admin".to_owned()].into(), ..Role::default() };
    old.roles.insert("pat".to_owned(), pat);
    // A combination that was allowed then.
    old.roles.get_mut("otto").unwrap().member_of.insert("insights_admin".to_owned());
    let new = old.clone().with_missing_built_ins();
    assert!(new.roles["business_leader"].built_in);
    assert!(!new.roles["carrier"].built_in);
    assert_eq!(capabilities(&new.principal("pat", NOW).unwrap()), []);
    assert_eq!(new.clone().with_missing_built_ins(), new);
    apply(&new, "admin", role("new", &[])).unwrap();
    refused(&new, "admin", grant("auditor", "carol"), DENIED);
}

/// Whoever hands out roles does not take a rule about persons away with one.
#[test]
fn a_role_that_a_row_policy_names_stays() {
    let rule =
        RowPolicy { name: "rule".to_owned(), roles: ["team".to_owned()].into(), using: None, min_group_size: None };
    let mut policies = staffed();
    for change in [
        alter_column("id", &[("class", "identifier")]),
        alter("person", &[("person_key", "id")]),
        Change::CreatePolicy { table: "person".to_owned(), policy: rule, options: vec![] },
    ] {
        policies = apply(&policies, "carol", change).unwrap();
    }
    let drop = Change::DropRole { name: "team".to_owned(), if_exists: false };
    refused(&policies, "pat", drop.clone(), SqlState::DependentObjectsStillExist);
    let none = Change::DropPolicy { table: "person".to_owned(), name: "rule".to_owned(), if_exists: false };
    let policies = apply(&policies, "carol", none).unwrap();
    apply(&policies, "pat", drop).unwrap();
}
