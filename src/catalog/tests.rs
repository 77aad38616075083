//! Laws of the kept policies: they survive a restart, a refusal keeps nothing, two servers agree.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::AsArray;

use super::*;
use crate::policy::{AccessRequest, Column, Decision, Format, Level, Location, NewPurpose, UniqueKey};

async fn open(path: &Path) -> Catalog {
    let state = State::open(path).unwrap();
    Catalog::open(state, Some("secret".to_owned())).await.unwrap().0
}

fn role(name: &str) -> Change {
    Change::CreateRole {
        name: name.to_owned(),
        login: true,
        createrole: false,
        verifier: None,
        valid_until: None,
        member_of: BTreeSet::from(["insights_analyst".to_owned()]),
    }
}

fn table(name: &str) -> Change {
    let column = |name: &str| Column {
        name: name.to_owned(),
        data_type: "Float64".to_owned(),
        nullable: true,
        class: None,
        bounds: None,
        domain: None,
        rules: Default::default(),
    };
    Change::CreateTable {
        name: name.to_owned(),
        location: Location {
            format: Format::Csv,
            url: "/data/t/".to_owned(),
            options: [("delimiter".to_owned(), ";".to_owned())].into(),
        },
        columns: vec![column("a"), column("b")],
        unique_keys: vec![UniqueKey { columns: vec!["a".to_owned()], primary: true }],
        references: vec![],
        if_not_exists: false,
    }
}

fn admin(catalog: &Catalog) -> Principal {
    catalog.policies().principal(BOOTSTRAP_ROLE, 0).unwrap()
}

async fn changes(catalog: &Catalog) -> Vec<(i64, String, String)> {
    catalog
        .inner
        .state
        .read(|connection| {
            let mut statement = connection.prepare("SELECT epoch, actor, change FROM catalog_change ORDER BY epoch")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn the_first_start_makes_one_administrator_and_later_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    let (first, generated) = Catalog::open(state.clone(), None).await.unwrap();
    assert_eq!(generated.unwrap().len(), 24);
    let policies = first.policies();
    assert!(policies.login_verifier(BOOTSTRAP_ROLE, 0).is_some());
    let (again, generated) = Catalog::open(state, Some("other".to_owned())).await.unwrap();
    assert_eq!(generated, None);
    assert_eq!(again.policies(), policies);
    assert_eq!(again.mock_secret(), first.mock_secret());
}

#[tokio::test]
async fn a_change_survives_a_restart_and_a_refusal_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let catalog = open(&path).await;
    let actor = admin(&catalog);
    catalog.apply(&actor, &[role("ana")], "CREATE ROLE ana").await.unwrap();
    let set = Change::SetSystem { name: "privacy.min_group_size".to_owned(), value: Some("15".to_owned()) };
    catalog.apply(&actor, &[set], "ALTER SYSTEM").await.unwrap();
    let low = Change::SetSystem { name: "privacy.min_group_size".to_owned(), value: Some("9".to_owned()) };
    let before = catalog.policies();
    catalog.apply(&actor, &[low], "ALTER SYSTEM").await.unwrap_err();
    assert_eq!(catalog.policies(), before);
    drop(catalog);
    let catalog = open(&path).await;
    assert_eq!(catalog.policies(), before);
    catalog.refresh().await.unwrap();
    assert_eq!(before.settings.min_group_size, 15);
    let said: Vec<String> = changes(&catalog).await.into_iter().map(|row| row.2).collect();
    assert_eq!(said, ["first start", "CREATE ROLE ana", "ALTER SYSTEM"]);
}

#[tokio::test]
async fn everything_about_a_table_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let catalog = open(&path).await;
    let actor = admin(&catalog);
    let name = "t".to_owned();
    let option = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    for change in [
        table("t"),
        Change::AlterTable {
            name: name.clone(),
            options: vec![option("person_key", "a"), option("max_rows_per_person", "53")],
        },
        Change::AlterColumn {
            table: name.clone(),
            column: "b".to_owned(),
            options: vec![option("class", "measure"), option("lower", "0.1"), option("upper", "1234567.000000123")],
        },
        role("ana"),
        Change::GrantSelect {
            table: name.clone(),
            columns: Some(BTreeSet::from(["b".to_owned()])),
            to: "ana".to_owned(),
        },
        Change::Comment { relation: name.clone(), column: Some("b".to_owned()), text: Some("why".to_owned()) },
        Change::CreatePurpose {
            purpose: NewPurpose {
                name: "audit".to_owned(),
                tables: BTreeSet::from([name.clone()]),
                columns: Some(BTreeSet::from(["t.b".to_owned()])),
                population: None,
                roles: None,
                reason: "why".to_owned(),
                expires: 10,
            },
            now: 1,
        },
        Change::EndPurpose { name: "audit".to_owned(), now: 2 },
    ] {
        catalog.apply(&actor, &[change], "…").await.unwrap();
    }
    let ana = catalog.policies().principal("ana", 1).unwrap();
    let request = AccessRequest {
        table: name.clone(),
        columns: BTreeSet::from(["b".to_owned()]),
        level: Level::Direct,
        seconds: 60,
        reason: "why".to_owned(),
        rights_request: Some("17".to_owned()),
        person: Some("digest".to_owned()),
    };
    catalog.apply(&ana, &[Change::RequestAccess { request, now: 1 }], "…").await.unwrap();
    let decision =
        Change::DecideAccess { id: 1, decision: Decision::Approve { person: Some("digest".to_owned()) }, now: 2 };
    catalog.apply(&actor, &[decision], "…").await.unwrap();
    let before = catalog.policies();
    drop(catalog);
    let catalog = open(&path).await;
    assert_eq!(catalog.policies(), before);

    let key = before.tables["t"].unique_keys[0].clone();
    catalog.record_verified_key("t", &key, "one").await.unwrap();
    let drop = Change::DropTable { name, if_exists: false };
    catalog.apply(&actor, &[drop], "DROP TABLE").await.unwrap();
    assert!(catalog.policies().grants.is_empty());
    assert!(!catalog.key_is_verified("t", &key, "one").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_lose_no_change_and_see_each_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let servers = [open(&path).await, open(&path).await];
    let changes = (0..20).map(|i| {
        let catalog = servers[i % 2].clone();
        tokio::spawn(async move {
            let actor = admin(&catalog);
            catalog.apply(&actor, &[role(&format!("r{i}"))], "CREATE ROLE").await
        })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap().unwrap();
    }
    for catalog in &servers {
        catalog.refresh().await.unwrap();
        let policies = catalog.policies();
        assert!((0..20).all(|i| policies.roles.contains_key(&format!("r{i}"))));
        assert_eq!(policies.epoch, 21);
    }
}

#[tokio::test]
async fn an_actor_that_was_dropped_changes_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(&folder.path().join("state.db")).await;
    let actor = admin(&catalog);
    let second = Change::CreateRole {
        name: "second".to_owned(),
        login: true,
        createrole: true,
        verifier: None,
        valid_until: None,
        member_of: BTreeSet::new(),
    };
    catalog.apply(&actor, &[second], "CREATE ROLE").await.unwrap();
    let second = catalog.policies().principal("second", 0).unwrap();
    catalog.apply(&second, &[role("a")], "CREATE ROLE").await.unwrap();
    let drop = Change::DropRole { name: "second".to_owned(), if_exists: false };
    catalog.apply(&actor, &[drop], "DROP ROLE").await.unwrap();
    let refusal = catalog.apply(&second, &[role("b")], "CREATE ROLE").await.unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::InvalidAuthorizationSpecification);
}

#[tokio::test]
async fn a_key_is_verified_for_one_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(&folder.path().join("state.db")).await;
    let key = |columns: [&str; 2]| UniqueKey { columns: columns.map(str::to_owned).to_vec(), primary: false };
    let known = async |columns, snapshot| catalog.key_is_verified("t", &key(columns), snapshot).await.unwrap();
    assert!(!known(["a", "b"], "one").await);
    catalog.record_verified_key("t", &key(["a", "b"]), "one").await.unwrap();
    assert!(known(["b", "a"], "one").await);
    assert!(!known(["a", "b"], "two").await);
    assert!(!known(["a", "c"], "one").await);
}

#[tokio::test]
async fn a_file_of_an_earlier_version_gets_the_groups_that_came_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let before = open(&path).await.policies();
    let state = State::open(&path).unwrap();
    let later = "('platform_admin', 'business_leader', 'group_manager', 'carrier', 'collector')";
    let gone = state.write(move |tx| {
        let gone = tx.execute(&format!("DELETE FROM catalog_object WHERE kind = 'role' AND name IN {later}"), [])?;
        tx.execute("UPDATE catalog_object SET body = replace(body, ',\"created\":0', '')", [])?;
        Ok(gone)
    });
    assert_eq!(gone.await.unwrap(), 5);
    let catalog = open(&path).await;
    assert_eq!(catalog.policies().roles, before.roles);
    let log = catalog.changes().await.unwrap();
    let said = log.column_by_name("statement").unwrap().as_string::<i32>();
    assert_eq!(said.iter().filter(|text| *text == Some("new built-in roles")).count(), 5, "one row each");
    assert_eq!(open(&path).await.policies(), catalog.policies(), "once");
}
