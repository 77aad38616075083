//! Laws of training (W19): what lapses, when, for whom, and who may say so.

use super::*;

const DENIED: SqlState = SqlState::InsufficientPrivilege;
const DAY: i64 = 86_400;

fn require(group: &str, valid_for: &str) -> Change {
    Change::RequireTraining { group: group.to_owned(), period: Some(TrainingPeriod::parse(valid_for).unwrap()) }
}

fn record(login: &str, day: &str) -> Change {
    Change::RecordTraining { login: login.to_owned(), completed: TrainingDay::parse(day).unwrap() }
}

fn at(day: &str) -> i64 {
    TrainingDay::parse(day).unwrap().begins()
}

#[test]
fn a_membership_lapses_to_the_day_and_comes_back() {
    let policies = apply(&company(), "carol", require("insights_analyst", "1 year")).unwrap();
    assert_eq!(capabilities(&policies.principal("ana", NOW).unwrap()), [], "nobody was trained yet");
    let trained = apply(&policies, "admin", record("ana", "2023-01-05")).unwrap();
    let ana = |now: i64| trained.principal("ana", now).unwrap();
    let end = at("2024-01-05");
    assert_eq!(capabilities(&ana(end - 1)), [Capability::Analyse, Capability::HoldAccess]);
    assert_eq!(ana(end - 1).why_lapsed(), None);
    assert_eq!(capabilities(&ana(end)), []);
    assert!(!ana(end).is("insights_analyst"), "what the group was granted is gone as well");
    let refusal = ana(end).require(Capability::Analyse).unwrap_err();
    assert_eq!(refusal.sqlstate, DENIED);
    let hint = refusal.hint.unwrap();
    assert!(hint.contains("2024-01-05") && hint.contains("privacy.record_training('ana'"), "{hint}");
    let waived = Change::RequireTraining { group: "insights_analyst".to_owned(), period: None };
    let waived = apply(&policies, "carol", waived).unwrap();
    assert!(waived.principal("ana", NOW).unwrap().can(Capability::Analyse));
    assert_eq!(trained.release_epoch, company().release_epoch, "who may ask does not change what is released");
}

#[test]
fn months_are_the_calendars() {
    let policies = apply(&company(), "carol", require("insights_analyst", "1 month")).unwrap();
    let policies = apply(&policies, "admin", record("ana", "2023-01-31")).unwrap();
    assert!(policies.principal("ana", at("2023-02-28") - 1).unwrap().may_ask());
    assert!(!policies.principal("ana", at("2023-02-28")).unwrap().may_ask());
    for (text, shown) in [("1 year 6 months", "1 year 6 mons"), ("2 weeks", "14 days"), ("13 months", "1 year 1 mon")] {
        assert_eq!(TrainingPeriod::parse(text).unwrap().to_string(), shown);
    }
    for text in ["", "0 days", "-1 year", "1", "year", "1.5 years", "11 years", "1 fortnight", "NaN days", "1 year 1"] {
        assert_eq!(TrainingPeriod::parse(text).unwrap_err().sqlstate, SqlState::InvalidParameterValue, "{text}");
    }
    for text in ["", "yesterday", "2023-02-30", "05.01.2023", "infinity"] {
        assert_eq!(TrainingDay::parse(text).unwrap_err().sqlstate, SqlState::InvalidParameterValue, "{text}");
    }
}

#[test]
fn the_untrained_are_not_let_in_by_any_door() {
    let policies = apply(&company(), "carol", require("insights_analyst", "1 year")).unwrap();
    let policies = apply(&policies, "admin", grant("insights_analyst", "team")).unwrap();
    for change in [grant("insights_analyst", "nemo"), grant("team", "nemo"), role("new", &["team"])] {
        refused(&policies, "admin", change, DENIED);
    }
    let late = apply(&policies, "admin", record("nemo", "2022-11-14")).unwrap();
    refused(&late, "admin", grant("team", "nemo"), DENIED);
    let trained = apply(&policies, "admin", record("nemo", "2022-11-16")).unwrap();
    let member = apply(&trained, "admin", grant("team", "nemo")).unwrap();
    assert!(member.principal("nemo", NOW).unwrap().may_ask());
    assert!(!member.principal("nemo", NOW + 2 * DAY).unwrap().may_ask(), "through a group it lapses as well");
    assert!(member.principal("nemo", NOW + 2 * DAY).unwrap().is("team"), "which asks for none itself");
}

#[test]
fn nobody_decides_on_their_own_training() {
    let policies = apply(&company(), "admin", role("pat", &["platform_admin"])).unwrap();
    refused(&policies, "carol", record("nemo", "2023-01-05"), DENIED);
    refused(&policies, "pat", require("insights_analyst", "1 year"), DENIED);
    refused(&policies, "pat", record("pat", "2023-01-05"), DENIED);
    refused(&policies, "carol", require("insights_admin", "1 year"), DENIED);
    refused(&policies, "ana", record("ana", "2023-01-05"), DENIED);
    refused(&policies, "admin", record("ana", "2023-11-15"), SqlState::InvalidParameterValue);
    apply(&policies, "admin", record("ana", "2023-11-14")).unwrap();
    refused(&policies, "admin", record("team", "2023-01-05"), SqlState::WrongObjectType);
    refused(&policies, "admin", require("ana", "1 year"), SqlState::WrongObjectType);
    refused(&policies, "admin", record("nobody", "2023-01-05"), SqlState::UndefinedObject);
    refused(&policies, "admin", require("nobody", "1 year"), SqlState::UndefinedObject);
}

#[test]
fn a_lapsed_training_mixes_no_duties() {
    let policies = apply(&company(), "carol", require("insights_analyst", "1 year")).unwrap();
    refused(&policies, "admin", grant("auditor", "ana"), DENIED);
}

#[test]
fn what_a_role_takes_away_stays_taken_when_its_training_lapses() {
    let policies = apply(&company(), "admin", grant("group_manager", "ana")).unwrap();
    let policies = apply(&policies, "carol", require("group_manager", "1 year")).unwrap();
    let ana = policies.principal("ana", NOW).unwrap();
    assert!(ana.can(Capability::Analyse) && !ana.can(Capability::AnalyseReports));
    assert!(!ana.is("group_manager"), "it gives nothing");
    assert!(ana.belongs_to("group_manager"), "and leaves nobody more than their reports");
    let rule = RowPolicy {
        name: "rule".to_owned(),
        roles: ["group_manager".to_owned()].into(),
        using: None,
        min_group_size: Some(20),
    };
    assert!(rule.concerns(&ana));
    // Nobody's own gain either.
    let policies = apply(&company(), "admin", role("pat", &["platform_admin", "team"])).unwrap();
    let policies = apply(&policies, "carol", require("team", "1 year")).unwrap();
    let recorded = apply(&policies, "admin", record("pat", "2022-01-05")).unwrap();
    for policies in [policies, recorded] {
        assert!(!policies.principal("pat", NOW).unwrap().is("team"));
        refused(&policies, "pat", grant("platform_admin", "team"), DENIED);
    }
}

/// Statistics are asked for by nobody, who was never trained.
#[test]
fn statistics_need_no_training() {
    let policies = apply(&company(), "carol", require("insights_analyst", "1 year")).unwrap();
    let (_, statistician) = policies.with_statistician("person");
    assert!(statistician.unwrap().may_ask());
}
