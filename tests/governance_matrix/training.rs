//! Training before access (W19), over the wire: it lapses in open sessions, and the refusal says why.

use crate::support::{TestServer, refused, rows, run, value};
use crate::{login, staffed};

const COUNT: &str = "SELECT count(*) FROM person";

fn told_of(server: &TestServer, commands: &str) -> String {
    String::from_utf8(server.psql(("ana", "ana"), commands).stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_without_a_valid_training_gives_nothing() {
    let server = staffed().await;
    let (pat, carol) = (login(&server, "pat").await, login(&server, "carol").await);
    let ana = login(&server, "ana").await;
    let lea = login(&server, "lea").await;
    value(&ana, COUNT).await;

    run(&carol, "CALL privacy.require_training('insights_analyst', valid_for => '1 year')").await;
    for sql in [COUNT, "EXPLAIN (PRIVACY) SELECT count(*) FROM person", "SELECT count(*) FROM place"] {
        let refusal = refused(&ana, sql).await;
        assert_eq!(refusal.sqlstate, "42501", "{refusal}");
        assert!(refusal.hint.as_ref().unwrap().contains("no training is recorded"), "{refusal}");
    }
    let said = told_of(&server, "SELECT 1;");
    assert!(said.contains("NOTICE") && said.contains("gives nothing: no training is recorded"), "{said}");
    value(&lea, COUNT).await;
    let says = "SELECT has_table_privilege('person', 'SELECT'), pg_has_role('insights_analyst', 'USAGE'), \
                pg_has_role('insights_analyst', 'MEMBER')";
    assert_eq!(rows(&ana, says).await, [["f", "f", "t"].map(|cell| Some(cell.to_owned()))]);

    let untrained = refused(&pat, "GRANT insights_analyst TO nemo").await;
    assert_eq!(untrained.sqlstate, "42501", "{untrained}");
    assert!(untrained.hint.as_ref().unwrap().contains("privacy.record_training('nemo'"), "{untrained}");
    assert_eq!(refused(&pat, "CREATE ROLE late LOGIN IN ROLE insights_analyst").await.sqlstate, "42501");

    let today = chrono::Utc::now().date_naive();
    let record = |who: &str, days: u64| {
        let day = today - chrono::Days::new(days);
        format!("CALL privacy.record_training('{who}', completed => DATE '{day}')")
    };
    run(&pat, &record("ana", 10)).await;
    run(&pat, &record("nemo", 10)).await;
    run(&pat, "GRANT insights_analyst TO nemo").await;
    value(&ana, COUNT).await;
    value(&login(&server, "nemo").await, COUNT).await;
    assert_eq!(rows(&ana, says).await, [["t", "t", "t"].map(|cell| Some(cell.to_owned()))]);
    let member = "SELECT requires_training, trained, in_force FROM privacy.memberships WHERE role = 'ana'";
    let trained = (today - chrono::Days::new(10)).to_string();
    let expected = [Some("1 year".to_owned()), Some(trained), Some("t".to_owned())];
    assert_eq!(rows(&ana, member).await, std::slice::from_ref(&expected), "one's own");
    assert_eq!(rows(&pat, member).await, [expected], "an administrator's view");

    // Told as they connect, and in the session that is open: that it ends soon, that it is over; once each.
    let told = |commands: &str| told_of(&server, commands);
    assert!(!told("SELECT 1;").contains("training"), "in a year is not soon");
    run(&carol, "CALL privacy.require_training('insights_analyst', valid_for => '20 days')").await;
    let soon = format!("insights_analyst is valid until {}", today + chrono::Days::new(10));
    let said = told("SELECT 1; SELECT 2;");
    assert!(said.contains("NOTICE") && said.matches(&soon).count() == 1, "{said}");
    assert!(said.contains("privacy.record_training('ana'"), "{said}");

    // A shorter validity, and the day is past: in the session that is open.
    run(&carol, "CALL privacy.require_training('insights_analyst', valid_for => '10 days')").await;
    let lapsed = refused(&ana, COUNT).await;
    assert_eq!(lapsed.sqlstate, "42501", "{lapsed}");
    assert!(lapsed.hint.as_ref().unwrap().contains(&format!("valid until {today}")), "{lapsed}");
    run(&pat, &record("ana", 9)).await;
    value(&ana, COUNT).await;
    run(&carol, "CALL privacy.require_training('insights_analyst', valid_for => '9 days')").await;
    assert_eq!(refused(&ana, COUNT).await.sqlstate, "42501");
    run(&carol, "CALL privacy.waive_training('insights_analyst')").await;
    value(&ana, COUNT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_said_of_a_training_is_refused() {
    let server = staffed().await;
    let admin = server.admin().await;
    let tomorrow = chrono::Utc::now().date_naive() + chrono::Days::new(2);
    let future = format!("CALL privacy.record_training('ana', DATE '{tomorrow}')");
    for (sql, sqlstate) in [
        (future.as_str(), "22023"),
        ("CALL privacy.record_training('ana', 'yesterday')", "22023"),
        ("CALL privacy.record_training('ana', NULL)", "22023"),
        ("CALL privacy.record_training('ana')", "22023"),
        ("CALL privacy.record_training('nobody', DATE '2026-01-05')", "42704"),
        ("CALL privacy.record_training('insights_analyst', DATE '2026-01-05')", "42809"),
        ("CALL privacy.record_training('ana', DATE '2026-01-05', 'more')", "42883"),
        ("CALL privacy.record_training('ana', when => DATE '2026-01-05')", "42883"),
        ("CALL privacy.require_training('insights_analyst')", "22023"),
        ("CALL privacy.require_training('insights_analyst', NULL)", "22023"),
        ("CALL privacy.require_training('insights_analyst', '0 days')", "22023"),
        ("CALL privacy.require_training('insights_analyst', '-1 year')", "22023"),
        ("CALL privacy.require_training('insights_analyst', 'NaN')", "22023"),
        ("CALL privacy.require_training('ana', '1 year')", "42809"),
        ("CALL privacy.require_training('nobody', '1 year')", "42704"),
    ] {
        let refusal = refused(&admin, sql).await;
        assert_eq!(refusal.sqlstate, sqlstate, "{sql}: {refusal}");
        assert!(refusal.hint.is_some(), "{sql}: {refusal}");
    }
}
