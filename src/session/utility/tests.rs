use super::*;

fn variables() -> Variables {
    Variables::new(Settings::default(), "analyst_1")
}

fn shown(variables: &Variables, name: &str) -> String {
    variables.show(name).unwrap()
}

fn refused(name: &str, value: &str) -> SqlState {
    match variables().set(name, Some(value), false) {
        Ok(_) => panic!("{name} = {value}"),
        Err(error) => error.sqlstate,
    }
}

#[test]
fn what_drivers_look_at() {
    let variables = variables();
    for (name, value) in [
        ("server_version", "16.4 (Paravent 0.1.0)"),
        ("SERVER_ENCODING", "UTF8"),
        ("datestyle", "ISO, MDY"),
        ("timezone", "UTC"),
        ("transaction_isolation", "read committed"),
        ("search_path", "\"$user\", public"),
        ("session_authorization", "analyst_1"),
        ("is_superuser", "off"),
        ("privacy.min_group_size", "10"),
        ("privacy.epsilon", "1"),
        ("privacy.purpose", ""),
        ("statement_timeout", "1min"),
    ] {
        assert_eq!(shown(&variables, name), value, "{name}");
    }
    let reported = variables.reported();
    assert!(reported.contains(&("DateStyle".to_owned(), "ISO, MDY".to_owned())));
    assert!(reported.contains(&("is_superuser".to_owned(), "off".to_owned())));
    let all = variables.all();
    assert!(all.is_sorted_by_key(|(name, _)| name.to_ascii_lowercase()));
    assert!(all.iter().any(|(name, _)| name == "privacy.budget_epsilon"));
    let error = variables.show("nosuch").unwrap_err();
    assert_eq!(error.sqlstate, SqlState::UndefinedObject);
    assert_eq!(error.message, "unrecognized configuration parameter \"nosuch\"");
}

#[test]
fn every_first_value_is_one_the_variable_takes() {
    for variable in VARIABLES {
        if variable.takes != variable::Takes::Nothing {
            assert_eq!(variable.read(variable.value).unwrap(), variable.value, "{}", variable.name);
        }
    }
}

#[test]
fn values_are_shown_as_postgres_shows_them() {
    for (name, value, expected) in [
        ("DateStyle", "iso, dmy", "ISO, DMY"),
        ("timezone", "Etc/UTC", "UTC"),
        ("client_encoding", "'utf-8'".trim_matches('\''), "UTF8"),
        ("extra_float_digits", "3", "3"),
        ("row_security", "true", "on"),
        ("default_transaction_isolation", "SERIALIZABLE", "serializable"),
        ("lock_timeout", "5000", "5s"),
        ("statement_timeout", "500ms", "500ms"),
        ("enable_seqscan", "f", "off"),
        ("Application_Name", "psql", "psql"),
        ("my.own", "x", "x"),
        ("privacy.purpose", "meeting-load-2026", "meeting-load-2026"),
        ("privacy.epsilon", "0.5", "0.5"),
    ] {
        let mut variables = variables();
        assert!(variables.set(name, Some(value), false).unwrap().is_none());
        assert_eq!(shown(&variables, name), expected, "{name}");
        variables.set(name, None, false).unwrap();
        assert_eq!(variables.show(name).ok(), self::variables().show(name).ok(), "{name}");
    }
    for (name, value, state) in [
        ("timezone", "Europe/Berlin", SqlState::InvalidParameterValue),
        ("standard_conforming_strings", "off", SqlState::InvalidParameterValue),
        ("client_encoding", "LATIN1", SqlState::InvalidParameterValue),
        ("bytea_output", "escape", SqlState::InvalidParameterValue),
        ("datestyle", "German", SqlState::InvalidParameterValue),
        ("extra_float_digits", "4", SqlState::InvalidParameterValue),
        ("server_version", "17", SqlState::CantChangeRuntimeParam),
        ("session_authorization", "admin", SqlState::InsufficientPrivilege),
        ("is_superuser", "on", SqlState::CantChangeRuntimeParam),
        ("nosuch", "1", SqlState::UndefinedObject),
        ("privacy.nosuch", "1", SqlState::UndefinedObject),
        ("privacy.min_group_size", "10", SqlState::InsufficientPrivilege),
        ("privacy.epsilon", "2", SqlState::InvalidParameterValue),
        ("statement_timeout", "0", SqlState::InvalidParameterValue),
    ] {
        assert_eq!(refused(name, value), state, "{name}");
    }
}

#[test]
fn blocks_put_back_what_they_set() {
    let mut variables = variables();
    let notice = variables.set("my.x", Some("0"), true).unwrap();
    assert_eq!(notice.unwrap().message, "SET LOCAL can only be used in transaction blocks");
    assert!(variables.show("my.x").is_err());
    variables.set("my.x", Some("1"), false).unwrap();
    variables.begin();
    variables.set("my.x", Some("2"), true).unwrap();
    assert_eq!(shown(&variables, "my.x"), "2");
    variables.commit();
    assert_eq!(shown(&variables, "my.x"), "1");
    variables.begin();
    variables.set("my.x", Some("3"), false).unwrap();
    variables.set("privacy.epsilon", Some("0.1"), true).unwrap();
    assert_eq!(variables.settings().epsilon, 0.1);
    variables.rollback();
    assert_eq!(shown(&variables, "my.x"), "1");
    assert_eq!(variables.settings().epsilon, 1.0);
    variables.begin();
    variables.set("my.x", Some("4"), true).unwrap();
    variables.set("my.x", Some("5"), false).unwrap();
    assert_eq!(shown(&variables, "my.x"), "5");
    variables.commit();
    assert_eq!(shown(&variables, "my.x"), "5");
}

#[test]
fn savepoints_put_back_what_came_after_them() {
    let mut variables = variables();
    variables.begin();
    variables.set("my.x", Some("1"), false).unwrap();
    variables.savepoint();
    variables.set("my.x", Some("2"), false).unwrap();
    variables.savepoint();
    variables.set("my.x", Some("3"), true).unwrap();
    variables.rollback_to(1);
    assert_eq!(shown(&variables, "my.x"), "2");
    variables.release(1);
    variables.set("my.x", Some("4"), false).unwrap();
    variables.rollback_to(0);
    assert_eq!(shown(&variables, "my.x"), "1");
    variables.rollback_to(0);
    variables.commit();
    assert_eq!(shown(&variables, "my.x"), "1");
}

#[test]
fn modes_of_a_transaction_end_with_it() {
    let mode = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let mut variables = variables();
    let serializable = mode("transaction_isolation", "serializable");
    let notice = variables.set_modes(&serializable).unwrap();
    assert_eq!(notice.unwrap().message, "SET TRANSACTION can only be used in transaction blocks");
    variables.begin();
    variables.set_modes(&serializable).unwrap();
    assert_eq!(shown(&variables, "transaction_isolation"), "serializable");
    variables.commit();
    assert_eq!(shown(&variables, "transaction_isolation"), "read committed");
    variables.set_modes(&mode("default_transaction_isolation", "repeatable read")).unwrap();
    assert_eq!(shown(&variables, "transaction_isolation"), "repeatable read");
    variables.reset_all();
    assert_eq!(shown(&variables, "transaction_isolation"), "read committed");
}

#[test]
fn reset_goes_back_to_the_start() {
    let mut variables = variables();
    variables.start_with("application_name", "psql").unwrap();
    variables.start_with("privacy.epsilon", "0.5").unwrap();
    variables.set("application_name", Some("x"), false).unwrap();
    variables.set("privacy.epsilon", Some("0.25"), false).unwrap();
    assert_eq!(variables.settings().epsilon, 0.25);
    variables.reset("privacy.epsilon").unwrap();
    variables.reset("APPLICATION_NAME").unwrap();
    assert_eq!(variables.settings().epsilon, 0.5);
    assert_eq!(shown(&variables, "application_name"), "psql");
    variables.set("my.x", Some("1"), false).unwrap();
    variables.reset_all();
    assert!(variables.show("my.x").is_err());
    variables.reset("session_authorization").unwrap();
    assert!(variables.reset("server_version").is_err());
}

#[test]
fn a_lower_cap_is_obeyed_at_once() {
    let mut variables = variables();
    variables.set("privacy.epsilon", Some("0.5"), false).unwrap();
    let lower = Settings { epsilon: 0.25, ..Settings::default() };
    variables.follow(lower);
    assert_eq!(variables.settings().epsilon, 0.25);
    assert_eq!(shown(&variables, "privacy.epsilon"), "0.25");
    variables.follow(Settings::default());
    assert_eq!(variables.settings().epsilon, 0.5);
}
