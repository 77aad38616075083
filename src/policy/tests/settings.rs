//! Laws of the settings: what each accepts, that nothing opens a floor or a band, what a session may move.

use super::*;

#[test]
fn the_floor_takes_whole_numbers_from_ten_on() {
    let settings = Settings::default();
    for text in [
        "9",
        "0",
        "-1",
        "NULL",
        "NaN",
        "10.5",
        "1e1",
        "",
        " ",
        "ten",
        "+15",
        "0x10",
        "1_0",
        "inf",
        "99999999999999999999",
        "１５",
    ] {
        let refusal = settings.set(Setting::MinGroupSize, text).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::InvalidParameterValue, "{text}");
        assert!(refusal.hint.is_some());
    }
    for (text, value) in [("10", 10), ("15", 15), (" 20 ", 20), ("0012", 12)] {
        let set = settings.set(Setting::MinGroupSize, text).unwrap();
        assert_eq!(set.min_group_size, value);
    }
}

#[test]
fn no_setting_switches_protection_off() {
    let settings = Settings::default();
    let refused = [
        (Setting::MaskLow, &["0", "0.009", "0.5", "-0.1", "NaN", ""][..]),
        (Setting::MaskHigh, &["1", "0.991", "0.5", "inf"]),
        (Setting::Epsilon, &["0", "-1", "10.1", "inf", "NaN"]),
        (Setting::Delta, &["0", "1.1e-5", "1", "-1e-9"]),
        (Setting::BudgetEpsilon, &["0", "101", "inf"]),
        (Setting::BudgetDelta, &["0", "2e-3"]),
        (Setting::PrincipalBudgetEpsilon, &["0", "inf"]),
        (Setting::Window, &["0", "59 minutes", "10 fortnights", "-1 day", "9999 days", "day"]),
        (Setting::StatementTimeout, &["-1", "5 parsecs", "", "s", "99999999999"]),
        (Setting::ResponseQuantum, &["-1", "11s", "1h", "NaN", ""]),
        (Setting::AnalyzeEpsilon, &["0", "-1", "10.1", "NaN"]),
        (Setting::Weights, &["hours", "hours=0", "hours=much", "=1"]),
    ];
    for (setting, texts) in refused {
        for text in texts {
            let refusal = settings.set(setting, text).expect_err(text);
            assert_eq!(refusal.sqlstate, SqlState::InvalidParameterValue);
        }
    }
}

#[test]
fn every_setting_is_found_by_name_and_shown_as_it_is_set() {
    let settings = Settings::default();
    for setting in Setting::ALL {
        assert_eq!(Setting::by_name(&setting.name().to_uppercase()), Some(setting));
        let shown = settings.show(setting);
        assert_eq!(settings.set(setting, &shown).unwrap(), settings, "{shown}");
        assert_eq!(settings.reset(setting).unwrap(), settings);
    }
    assert_eq!(Setting::by_name("privacy.nothing"), None);
    assert_eq!(settings.show(Setting::Delta), "1e-9");
    assert_eq!(settings.show(Setting::Window), "30 days");
    assert_eq!(settings.show(Setting::StatementTimeout), "1min");
}

#[test]
fn intervals_and_timeouts_read_as_in_postgres() {
    let settings = Settings::default();
    let window = |text: &str| settings.set(Setting::Window, text).unwrap();
    for (text, seconds, shown) in [
        ("12 hours", 43_200, "12:00:00"),
        ("1 day 12:30:00", 131_400, "1 day 12:30:00"),
        ("7days", 604_800, "7 days"),
        ("86400", 86_400, "1 day"),
        ("2 weeks", 1_209_600, "14 days"),
        ("1 mon", 2_592_000, "30 days"),
    ] {
        assert_eq!(window(text).window_seconds, seconds, "{text}");
        assert_eq!(window(text).show(Setting::Window), shown);
    }
    let timeout = |text: &str| settings.set(Setting::StatementTimeout, text).unwrap();
    for (text, milliseconds, shown) in [
        ("5s", 5_000, "5s"),
        ("500ms", 500, "500ms"),
        ("250", 250, "250ms"),
        ("1.5 s", 1_500, "1500ms"),
        ("1us", 1, "1ms"),
        ("2 min", 120_000, "2min"),
        ("0", 0, "0"),
    ] {
        assert_eq!(timeout(text).statement_timeout_ms, milliseconds, "{text}");
        assert_eq!(timeout(text).show(Setting::StatementTimeout), shown);
    }
}

#[test]
fn a_session_moves_epsilon_and_timeout_down_and_mechanism_and_weights_anywhere() {
    let system = Settings::default();
    let set = |setting, text: &str| system.session_setting_allowed(setting, text);
    assert_eq!(set(Setting::Epsilon, "0.5").unwrap().epsilon, 0.5);
    assert_eq!(set(Setting::Epsilon, "1").unwrap().epsilon, 1.0);
    for text in ["1.0001", "0", "-1", "NaN"] {
        let refusal = set(Setting::Epsilon, text).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::InvalidParameterValue);
    }
    assert_eq!(set(Setting::StatementTimeout, "5s").unwrap().statement_timeout_ms, 5_000);
    for text in ["0", "61s"] {
        assert!(set(Setting::StatementTimeout, text).is_err());
    }
    let endless = system.set(Setting::StatementTimeout, "0").unwrap();
    assert!(endless.session_setting_allowed(Setting::StatementTimeout, "1h").is_ok());
    assert_eq!(set(Setting::Mechanism, "Laplace").unwrap().mechanism, crate::policy::Mechanism::Laplace);
    assert_eq!(set(Setting::Mechanism, "none").unwrap_err().sqlstate, SqlState::InvalidParameterValue);
    for setting in Setting::ALL {
        let allowed = set(setting, &system.show(setting));
        assert_eq!(allowed.is_ok(), Setting::OF_SESSIONS.contains(&setting), "{}", setting.name());
        if !Setting::OF_SESSIONS.contains(&setting) {
            let refusal = allowed.unwrap_err();
            assert_eq!(refusal.sqlstate, SqlState::InsufficientPrivilege);
            let said = format!("permission denied to set parameter \"{}\"", setting.name());
            assert_eq!(refusal.message, said);
        }
    }
}
