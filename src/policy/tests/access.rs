//! Laws of access just in time: nobody decides about their own, nothing outlives its time, and nothing is inherited by a name.

use super::*;
use crate::policy::GROUP_MANAGER;
use crate::policy::access::*;

const NOW: i64 = 1_000_000;

fn request(seconds: u64) -> Change {
    let request = AccessRequest {
        table: "person".to_owned(),
        columns: ["name".to_owned()].into(),
        level: Level::Deidentified,
        seconds,
        reason: "why".to_owned(),
        rights_request: None,
        person: None,
    };
    Change::RequestAccess { request, now: NOW }
}

fn decide(id: u64, decision: Decision, now: i64) -> Change {
    Change::DecideAccess { id, decision, now }
}

/// The company, with an attribute granted to an analyst who asks for it.
fn asked() -> Policies {
    let policies = company();
    let admin = policies.principal(BOOTSTRAP_ROLE, NOW).unwrap();
    let changes = [
        alter("person", &[("person_key", "id")]),
        alter_column("name", &[("class", "attribute")]),
        role("ann", &["insights_analyst"]),
        role("ida", &["insights_admin"]),
        select("person", None, "insights_analyst"),
    ];
    let ready = changes.into_iter().fold(policies, |policies, change| policies.apply(&admin, change).unwrap());
    ready.apply(&ready.principal("ann", NOW).unwrap(), request(60)).unwrap()
}

#[test]
fn a_grant_is_live_from_its_approval_until_its_end_and_no_longer() {
    let policies = asked();
    let (ann, ida) = (policies.principal("ann", NOW).unwrap(), policies.principal("ida", NOW).unwrap());
    assert!(policies.live_access(&ann, "person", NOW).is_none(), "nobody approved it yet");
    let live = policies.apply(&ida, decide(1, Decision::Approve { person: None }, NOW)).unwrap();
    for (now, is_live) in [(NOW - 1, false), (NOW, true), (NOW + 59, true), (NOW + 60, false), (i64::MAX, false)] {
        assert_eq!(live.live_access(&ann, "person", now).is_some(), is_live, "{now}");
    }
    assert!(live.live_access(&ida, "person", NOW).is_none(), "it is nobody else's");
    for (now, is_done) in [(i64::MIN, false), (NOW, false), (NOW + 60, false), (NOW + 3660, true), (i64::MAX, true)] {
        assert_eq!(live.access[&1].is_done(now), is_done, "{now}: a clock may be an hour ahead");
    }
    assert!(!policies.access[&1].is_done(i64::MAX), "it may still be approved");
    assert!(live.live_access(&ann, "other", NOW).is_none());
    let ended = live.apply(&ida, decide(1, Decision::Revoke, NOW + 5)).unwrap();
    assert!(ended.live_access(&ann, "person", NOW + 5).is_none());
    assert!(ended.access[&1].is_done(NOW + 5));
    assert_eq!(live.release_epoch, policies.release_epoch, "who may read changes nothing that is released");
}

#[test]
fn nobody_decides_about_their_own_request_nor_about_that_of_a_role_related_to_them() {
    let policies = asked();
    // Duties are kept apart, so that these roles could not be made; the rule does not rest on it.
    let mut mixed = policies.clone();
    mixed.roles.get_mut("ann").unwrap().member_of.extend(["insights_admin".to_owned(), "above".to_owned()]);
    mixed.roles.insert("above".to_owned(), Role { member_of: ["insights_admin".to_owned()].into(), ..Role::default() });
    mixed.roles.insert("below".to_owned(), Role { member_of: ["ann".to_owned()].into(), ..Role::default() });
    for name in ["ann", "above", "below"] {
        let actor = mixed.principal(name, NOW).unwrap();
        assert!(actor.can(Capability::Administer), "{name}");
        for decision in [Decision::Approve { person: None }, Decision::Deny { reason: "no".to_owned() }] {
            let refusal = mixed.refuse_decision_by(&actor, 1, &decision).unwrap_err();
            assert_eq!(refusal.sqlstate, SqlState::InsufficientPrivilege, "{name}: {decision:?}");
        }
    }
    let ida = mixed.principal("ida", NOW).unwrap();
    assert!(mixed.refuse_decision_by(&ida, 1, &Decision::Approve { person: None }).is_ok());
}

#[test]
fn a_role_or_table_of_the_same_name_inherits_nothing() {
    let policies = asked();
    let (admin, ida) = (policies.principal(BOOTSTRAP_ROLE, NOW).unwrap(), policies.principal("ida", NOW).unwrap());
    let live = policies.apply(&ida, decide(1, Decision::Approve { person: None }, NOW)).unwrap();
    let without = live.apply(&admin, Change::DropRole { name: "ann".to_owned(), if_exists: false }).unwrap();
    let again = without.apply(&admin, role("ann", &["insights_analyst"])).unwrap();
    assert!(again.live_access(&again.principal("ann", NOW).unwrap(), "person", NOW).is_none());
    let dropped = live.apply(&admin, Change::DropTable { name: "person".to_owned(), if_exists: false }).unwrap();
    assert!(dropped.live_access(&dropped.principal("ann", NOW).unwrap(), "person", NOW).is_none());
    assert_eq!(dropped.access.len(), 1, "what was granted is kept as evidence");
}

#[test]
fn what_may_not_be_shown_for_a_person_is_not_granted() {
    let policies = asked();
    let (admin, ida) = (policies.principal(BOOTSTRAP_ROLE, NOW).unwrap(), policies.principal("ida", NOW).unwrap());
    for class in ["sensitive", "hidden", "RESET"] {
        let changed = policies.apply(&admin, alter_column("name", &[("class", class)])).unwrap();
        // Also where the class changed after the request.
        let refusal = changed.apply(&ida, decide(1, Decision::Approve { person: None }, NOW)).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::InsufficientPrivilege, "{class}");
    }
}

/// A request for one person's own rows, by digest.
fn own(table: &str, rights_request: Option<&str>, person: Option<&str>) -> Change {
    let Change::RequestAccess { request, now } = request(60) else { unreachable!() };
    let request = AccessRequest {
        table: table.to_owned(),
        level: Level::Direct,
        rights_request: rights_request.map(str::to_owned),
        person: person.map(str::to_owned),
        ..request
    };
    Change::RequestAccess { request, now }
}

fn approving(person: Option<&str>) -> Decision {
    Decision::Approve { person: person.map(str::to_owned) }
}

#[test]
fn a_direct_grant_is_for_one_person_whom_both_sides_name() {
    let policies = asked();
    let (ann, ida) = (policies.principal("ann", NOW).unwrap(), policies.principal("ida", NOW).unwrap());
    // One table, one request, whatever its level.
    let second = policies.apply(&ann, own("person", Some("17"), Some("digest"))).unwrap_err();
    assert_eq!(second.sqlstate, SqlState::DuplicateObject);
    let free = policies.apply(&ann, decide(1, Decision::Revoke, NOW)).unwrap();
    for (rights_request, person) in [(None, None), (Some("17"), None), (None, Some("digest"))] {
        let refusal = free.apply(&ann, own("person", rights_request, person)).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::InvalidParameterValue, "{rights_request:?} {person:?}");
    }
    let requested = free.apply(&ann, own("person", Some("17"), Some("digest"))).unwrap();
    for person in [None, Some("another"), Some("")] {
        let refusal = requested.apply(&ida, decide(2, approving(person), NOW)).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::InvalidParameterValue, "{person:?}");
    }
    let live = requested.apply(&ida, decide(2, approving(Some("digest")), NOW)).unwrap();
    assert_eq!(live.live_access(&ann, "person", NOW).map(|grant| grant.id), Some(2));
    // One that names nobody, from before, shows nothing and is not approved.
    let mut old = requested.clone();
    old.access.get_mut(&2).unwrap().person = None;
    let refusal = old.apply(&ida, decide(2, approving(None), NOW)).unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::ObjectNotInPrerequisiteState);
    let mut old = live.clone();
    old.access.get_mut(&2).unwrap().person = None;
    assert!(old.live_access(&ann, "person", NOW).is_none());
    // Of two that are live, as there were before, the less telling.
    let mut both = live.clone();
    both.access.get_mut(&1).unwrap().state = AccessState::Approved;
    both.access.get_mut(&1).unwrap().from = Some(NOW);
    both.access.get_mut(&1).unwrap().until = Some(NOW + 60);
    assert_eq!(both.live_access(&ann, "person", NOW).map(|grant| grant.id), Some(1));
    let refusal = both.apply(&ida, decide(2, approving(Some("digest")), NOW)).unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::ObjectNotInPrerequisiteState, "it is decided already");
    both.access.get_mut(&2).unwrap().state = AccessState::Requested;
    let refusal = both.apply(&ida, decide(2, approving(Some("digest")), NOW)).unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::DuplicateObject, "another is live");
}

#[test]
fn a_group_manager_serves_no_rights_request() {
    let policies = asked();
    let ida = policies.principal("ida", NOW).unwrap();
    let free = policies.apply(&ida, decide(1, Decision::Revoke, NOW)).unwrap();
    let mut leads = free.clone();
    leads.roles.get_mut("ann").unwrap().member_of.insert(GROUP_MANAGER.to_owned());
    let refusal = leads.apply(&leads.principal("ann", NOW).unwrap(), own("person", Some("17"), Some("digest")));
    assert_eq!(refusal.unwrap_err().sqlstate, SqlState::InsufficientPrivilege);
    // Nor one who becomes a manager while the grant is live.
    let ann = free.principal("ann", NOW).unwrap();
    let live = free.apply(&ann, own("person", Some("17"), Some("digest"))).unwrap();
    let mut live = live.apply(&ida, decide(2, approving(Some("digest")), NOW)).unwrap();
    assert!(live.live_access(&ann, "person", NOW).is_some());
    live.roles.get_mut("ann").unwrap().member_of.insert(GROUP_MANAGER.to_owned());
    assert!(live.live_access(&live.principal("ann", NOW).unwrap(), "person", NOW).is_none());
}
