//! `audit.changes`: who changed what, from what to what, and no secret in it.

use serde_json::{Value, json};

use crate::support::{TestServer, rows, run};
use crate::{login, staffed};

/// Kind, name, old and new of the last statement's changes.
async fn last(server: &TestServer) -> Vec<(String, String, Value, Value)> {
    let last = "SELECT kind, name, old, new FROM audit.changes WHERE epoch = (SELECT max(epoch) FROM audit.changes)";
    let json = |text: &Option<String>| text.as_ref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    rows(&login(server, "otto").await, last)
        .await
        .iter()
        .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap(), json(&row[2]), json(&row[3])))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_says_from_what_to_what() {
    let server = staffed().await;
    let (pat, carol) = (login(&server, "pat").await, login(&server, "carol").await);
    let setting = |name: &str, old: Value, new: Value| ("setting".to_owned(), name.to_owned(), old, new);

    run(&carol, "ALTER SYSTEM SET privacy.min_group_size = 15").await;
    assert_eq!(last(&server).await, [setting("min_group_size", json!(10), json!(15))]);

    run(&carol, "ALTER TABLE person ALTER COLUMN grp SET (domain = '{a,b,c}')").await;
    let [(kind, name, old, new)] = last(&server).await.try_into().unwrap();
    assert_eq!((kind.as_str(), name.as_str()), ("table", "person"));
    assert_eq!(new["columns"].as_array().unwrap().len(), 1, "the column that differs, and no other: {new}");
    assert_eq!((&old["columns"][0]["domain"], &new["columns"][0]["name"]), (&Value::Null, &json!("grp")));
    assert_eq!(new.as_object().unwrap().len(), 1, "{new}");

    run(&carol, "GRANT SELECT (grp) ON person TO nemo").await;
    let grant = ("grant".to_owned(), "person TO nemo".to_owned(), Value::Null, json!({ "columns": [["grp"]] }));
    assert_eq!(last(&server).await, [grant]);

    // One statement is one change, all of it or nothing.
    run(&pat, "GRANT business_leader, group_manager TO nemo").await;
    let member = |groups: Value| json!({ "member_of": groups });
    let change =
        ("role".to_owned(), "nemo".to_owned(), member(json!([])), member(json!(["business_leader", "group_manager"])));
    assert_eq!(last(&server).await, [change]);

    run(&pat, "ALTER ROLE nemo PASSWORD 'a new secret'").await;
    let [(_, _, old, new)] = last(&server).await.try_into().unwrap();
    let shown = format!("{old}{new}");
    assert!(shown.contains("***") && !shown.contains("SCRAM"), "{shown}");

    run(&pat, "DROP ROLE nemo").await;
    let found = last(&server).await;
    assert!(found.iter().any(|(kind, name, _, new)| kind == "role" && name == "nemo" && new.is_null()), "{found:?}");
    assert!(found.iter().any(|(kind, name, _, new)| kind == "grant" && name == "person TO nemo" && new.is_null()));

    let all = rows(&login(&server, "otto").await, "SELECT actor, statement, old, new FROM audit.changes").await;
    let all = format!("{all:?}");
    for secret in ["SCRAM", "a new secret", "PASSWORD 'ana'"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(all.contains("\"pat\"") && all.contains("\"carol\"") && all.contains("DROP ROLE nemo"));
}
