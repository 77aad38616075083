//! Laws of the ledger: nobody overdraws, nothing is refunded, the log shows every change made to it.

use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use tempfile::TempDir;

use super::*;
use crate::policy::{Delta, Epsilon, Rho, epsilon_of};
use crate::state::{ChangeRow, record_change};

const DAY: i64 = 86_400;
const NOW: i64 = 20_000 * DAY;

struct Room {
    folder: TempDir,
    ledger: Ledger,
    now: Arc<AtomicI64>,
}

async fn room() -> Room {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(NOW));
    let ledger = open(&folder, &now).await;
    Room { folder, ledger, now }
}

async fn open(folder: &TempDir, now: &Arc<AtomicI64>) -> Ledger {
    let state = State::open(folder.path().join("state.db")).unwrap();
    let now = Arc::clone(now);
    let clock = Arc::new(move || now.load(Ordering::SeqCst) * 1_000_000);
    Ledger::open_with_clock(state, clock).await.unwrap()
}

fn entry(who: &str) -> Entry {
    Entry {
        who: who.to_owned(),
        roles: vec![who.to_owned(), "insights_analyst".to_owned()],
        statement: "SELECT count(*) FROM person".to_owned(),
        protocol: "simple".to_owned(),
        kind: "SELECT".to_owned(),
        tables: vec!["person".to_owned()],
        ..Entry::default()
    }
}

/// Of an epsilon of 1.
fn charge(policy: &str) -> Charge {
    let epsilon = Epsilon::new(1.0).unwrap();
    let price = Price { rho: Rho::of_epsilon(epsilon), delta: Delta::new(1e-9).unwrap(), epsilon: None };
    Charge { policy: policy.to_owned(), price }
}

/// The same of a statement with Laplace noise.
async fn pay_laplace(ledger: &Ledger, who: &str, limits: &Limits) -> Result<Reservation> {
    let mut charge = charge("people");
    charge.price.epsilon = Some(Epsilon::new(1.0).unwrap());
    ledger.reserve(entry(who), vec![charge], limits).await
}

/// What `statements` of [`charge`] come to, and no more.
fn limits_for(statements: u32) -> Limits {
    let rho = Rho::new(0.5 * f64::from(statements) + 1e-9).unwrap();
    let delta = Delta::new(1e-6 / 2.0).unwrap();
    let epsilon = epsilon_of(rho, delta);
    Limits {
        budget_epsilon: epsilon,
        budget_delta: Delta::new(1e-6).unwrap(),
        principal_budget_epsilon: epsilon,
        window_seconds: (30 * DAY) as u64,
    }
}

async fn pay(ledger: &Ledger, who: &str, limits: &Limits) -> Result<Reservation> {
    ledger.reserve(entry(who), vec![charge("people")], limits).await
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> String {
    let column = batch.column_by_name(column).unwrap();
    column.as_string::<i32>().value(row).to_owned()
}

async fn outcomes(ledger: &Ledger) -> Vec<String> {
    let log = ledger.query_log(LogPart::default()).await.unwrap();
    (0..log.num_rows()).map(|row| text(&log, "outcome", row)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_race_for_the_last_budget_exactly_one_wins() {
    for _ in 0..10 {
        let room = room().await;
        let limits = limits_for(1);
        let second = open(&room.folder, &room.now).await;
        let race =
            [room.ledger.clone(), second].map(|ledger| tokio::spawn(async move { pay(&ledger, "ana", &limits).await }));
        let mut won = 0;
        for runner in race {
            match runner.await.unwrap() {
                Ok(_) => won += 1,
                Err(refusal) => {
                    assert_eq!(refusal.sqlstate, SqlState::ConfigurationLimitExceeded);
                    assert_eq!(refusal.message, "privacy budget exhausted");
                    assert!(refusal.detail.unwrap().contains("window ends at 2024-10-"));
                }
            }
        }
        assert_eq!(won, 1);
        let mut log = outcomes(&room.ledger).await;
        log.sort();
        assert_eq!(log, ["refused", "started"]);
    }
}

#[tokio::test]
async fn a_budget_pays_for_what_it_holds_and_not_for_more() {
    let room = room().await;
    let limits = limits_for(5);
    for _ in 0..5 {
        let _paid = pay(&room.ledger, "ana", &limits).await.unwrap();
    }
    pay(&room.ledger, "ana", &limits).await.unwrap_err();
    let policies = BTreeSet::from(["people".to_owned(), "other".to_owned()]);
    let lines = room.ledger.budget(&limits, &policies).await.unwrap();
    let names: Vec<_> =
        lines.iter().map(|line| (line.policy.as_str(), line.principal.as_deref(), line.statements)).collect();
    assert_eq!(names, [("other", None, 0), ("people", None, 5), ("people", Some("ana"), 5)]);
    assert_eq!(lines[0].epsilon_spent, 0.0);
    assert_eq!(lines[0].epsilon_left, lines[0].epsilon_budget);
    assert!(lines[1].epsilon_spent <= lines[1].epsilon_budget);
    assert!(lines[1].epsilon_left < 1e-3);
    let batch = budget_batch(&lines).unwrap();
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(text(&batch, "policy", 2), "people");
}

#[tokio::test]
async fn one_principal_cannot_take_what_all_share_nor_more_than_their_own() {
    let room = room().await;
    let mut limits = limits_for(4);
    limits.principal_budget_epsilon = limits_for(2).principal_budget_epsilon;
    for (who, fits) in [("ana", true), ("ana", true), ("ana", false), ("bea", true), ("bea", true), ("cleo", false)] {
        let result = pay(&room.ledger, who, &limits).await;
        assert_eq!(result.is_ok(), fits, "{who}");
        if let Err(refusal) = result {
            assert_eq!(refusal.detail.unwrap().contains("for role"), who == "ana");
        }
    }
}

#[tokio::test]
async fn a_statement_over_two_policies_pays_both_or_none() {
    let room = room().await;
    let limits = limits_for(1);
    let both = vec![charge("people"), charge("staff")];
    let _paid = room.ledger.reserve(entry("ana"), vec![charge("staff")], &limits).await.unwrap();
    room.ledger.reserve(entry("ana"), both, &limits).await.unwrap_err();
    let _paid = pay(&room.ledger, "ana", &limits).await.unwrap();
    let twice = vec![charge("new"), charge("new")];
    room.ledger.reserve(entry("ana"), twice, &limits).await.unwrap_err();
    let _free = room.ledger.reserve(entry("ana"), vec![], &limits).await.unwrap();
}

#[tokio::test]
async fn delta_runs_out_too() {
    let room = room().await;
    let mut limits = limits_for(100);
    limits.budget_delta = Delta::new(5e-9).unwrap();
    limits.budget_epsilon = Epsilon::new(100.0).unwrap();
    limits.principal_budget_epsilon = limits.budget_epsilon;
    for fits in [true, true, false] {
        assert_eq!(pay(&room.ledger, "ana", &limits).await.is_ok(), fits);
    }
}

#[tokio::test]
async fn a_window_rolls_over_and_a_shorter_one_forgets_nothing() {
    let room = room().await;
    let limits = limits_for(1);
    let end = (NOW.div_euclid(30 * DAY) + 1) * 30 * DAY;
    let _paid = pay(&room.ledger, "ana", &limits).await.unwrap();
    room.now.store(end - 1, Ordering::SeqCst);
    pay(&room.ledger, "ana", &limits).await.unwrap_err();
    let hourly = Limits { window_seconds: 3_600, ..limits };
    pay(&room.ledger, "ana", &hourly).await.unwrap_err();
    room.now.store(end, Ordering::SeqCst);
    let _paid = pay(&room.ledger, "ana", &limits).await.unwrap();
}

#[tokio::test]
async fn a_crash_keeps_the_debit() {
    let room = room().await;
    let limits = limits_for(1);
    drop(pay(&room.ledger, "ana", &limits).await.unwrap());
    let Room { folder, ledger, now } = room;
    drop(ledger);
    let ledger = open(&folder, &now).await;
    pay(&ledger, "ana", &limits).await.unwrap_err();
    assert_eq!(outcomes(&ledger).await, ["started", "refused"]);
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

#[tokio::test]
async fn the_log_tells_what_became_of_each_statement() {
    let room = room().await;
    let ledger = &room.ledger;
    let limits = limits_for(9);
    let elapsed = Duration::from_micros(1_500);
    let paid = pay(ledger, "ana", &limits).await.unwrap();
    let answered = Outcome::Answered { rows: 7, from_store: true, persons: None };
    ledger.finish(paid.log_id(), answered, elapsed, Vec::new()).await.unwrap();
    let failed = pay(ledger, "ana", &limits).await.unwrap();
    let sqlstate = SqlState::InternalError;
    ledger.finish(failed.log_id(), Outcome::Failed { sqlstate }, elapsed, Vec::new()).await.unwrap();
    let cancelled = pay(ledger, "ana", &limits).await.unwrap();
    ledger.finish(cancelled.log_id(), Outcome::Cancelled, elapsed, Vec::new()).await.unwrap();
    let no = Error::new(SqlState::InsufficientPrivilege, "no");
    ledger.refuse(entry("ana"), &no).await.unwrap();
    ledger.refuse(entry("ana"), &Error::internal()).await.unwrap();
    ledger.record(entry("ana")).await.unwrap();
    assert_eq!(outcomes(ledger).await, ["answered", "failed", "cancelled", "refused", "failed", "done"]);
    let log = ledger.query_log(LogPart::default()).await.unwrap();
    assert_eq!(text(&log, "policies", 0), "people");
    assert_eq!(text(&log, "roles", 0), "ana, insights_analyst");
    assert_eq!(text(&log, "sqlstate", 3), "42501");
    let number = |column: &str, row: usize| {
        let column = log.column_by_name(column).unwrap();
        column.as_primitive::<Float64Type>().value(row)
    };
    assert_eq!((number("rho", 0), number("epsilon", 0), number("delta", 0)), (0.5, 1.0, 1e-9));
    assert_eq!(number("elapsed_ms", 0), 1.5);
    assert_eq!(number("rho", 3), 0.0);
    assert_eq!(ledger.verify_chain().await.unwrap(), None);
}

#[tokio::test]
async fn the_chain_shows_rows_that_were_changed_removed_or_cut_off() {
    let frauds = [
        ("UPDATE query_log SET statement = 'SELECT 1' WHERE id = 2", "query_log", 2),
        ("UPDATE query_log SET charges = '[ ]' WHERE id = 3", "query_log", 3),
        ("UPDATE query_log SET at = at + 1 WHERE id = 1", "query_log", 1),
        ("DELETE FROM query_log WHERE id = 2", "query_log", 2),
        ("DELETE FROM query_log WHERE id = 3", "query_log", 3),
        ("DELETE FROM query_log", "query_log", 1),
        ("UPDATE query_outcome SET rows = 9 WHERE id = 2", "query_outcome", 2),
        ("DELETE FROM query_outcome WHERE id = 3", "query_outcome", 3),
        ("DELETE FROM chain_head", "query_log", 4),
        (
            "DELETE FROM query_log WHERE id = 3;
             UPDATE chain_head SET rows = 2, chain = (SELECT chain FROM query_log WHERE id = 2)
             WHERE name = 'query_log'",
            "query_log",
            3,
        ),
    ];
    for (fraud, table, id) in frauds {
        let room = room().await;
        for _ in 0..3 {
            room.ledger.record(entry("ana")).await.unwrap();
        }
        assert_eq!(room.ledger.verify_chain().await.unwrap(), None);
        let path = room.folder.path().join("state.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection.execute_batch(fraud).unwrap();
        let broken = room.ledger.verify_chain().await.unwrap();
        assert_eq!(broken, Some(Broken { table, id }), "{fraud}");
    }
}

async fn changed(room: &Room, epoch: i64) {
    let change = ChangeRow {
        epoch,
        at: 7,
        actor: "admin".to_owned(),
        change: format!("statement {epoch}"),
        differences: "[]".to_owned(),
    };
    let written = room.ledger.state.write(move |tx| {
        record_change(tx, &change)?;
        tx.execute("INSERT OR REPLACE INTO catalog_epoch (only, epoch, release_epoch) VALUES (1, ?1, 1)", [epoch])?;
        Ok(())
    });
    written.await.unwrap();
}

#[tokio::test]
async fn no_change_is_altered_removed_or_made_without_a_trace() {
    let frauds = [
        ("UPDATE catalog_change SET actor = 'bob' WHERE epoch = 5", 2),
        ("UPDATE catalog_change SET differences = '[ ]' WHERE epoch = 9", 3),
        ("UPDATE catalog_change SET epoch = 6 WHERE epoch = 5", 2),
        ("DELETE FROM catalog_change WHERE epoch = 5", 2),
        ("DELETE FROM catalog_change WHERE epoch = 9", 3),
        ("DELETE FROM catalog_change", 1),
        ("DELETE FROM chain_head WHERE name = 'catalog_change'", 4),
        ("INSERT INTO catalog_change VALUES (7, 7, 'admin', 'statement 7', '[]', NULL, NULL)", 0),
        ("UPDATE catalog_change SET chain = NULL", 0),
        (
            "INSERT INTO catalog_change SELECT 10, at, actor, change, differences, 4, chain FROM catalog_change WHERE id = 3",
            4,
        ),
        ("UPDATE catalog_epoch SET epoch = 10", 4),
        (
            "DELETE FROM catalog_change WHERE id = 3; UPDATE catalog_epoch SET epoch = 5;
             UPDATE chain_head SET rows = 2, chain = (SELECT chain FROM catalog_change WHERE id = 2)
             WHERE name = 'catalog_change'",
            3,
        ),
    ];
    for (fraud, id) in frauds {
        let room = room().await;
        room.ledger.record(entry("ana")).await.unwrap();
        for epoch in [2, 5, 9] {
            changed(&room, epoch).await;
        }
        assert_eq!(room.ledger.verify_chain().await.unwrap(), None);
        let path = room.folder.path().join("state.db");
        rusqlite::Connection::open(path).unwrap().execute_batch(fraud).unwrap();
        let broken = room.ledger.verify_chain().await.unwrap();
        assert_eq!(broken, Some(Broken { table: "catalog_change", id }), "{fraud}");
        let shown = room.ledger.integrity().await.unwrap();
        let whole = shown.column_by_name("whole").unwrap().as_boolean();
        assert_eq!(whole.iter().collect::<Vec<_>>(), [true, true, false, true].map(Some), "{fraud}");
    }
}

#[tokio::test]
async fn lines_that_hold_less_than_was_paid_show() {
    for fraud in [
        "DELETE FROM budget_line WHERE principal = 'ana'",
        "UPDATE budget_line SET rho = rho - 0.5 WHERE principal = ''",
        "UPDATE budget_line SET delta = 0",
        "UPDATE budget_line SET gaussian_rho = 0 WHERE principal = 'bea'",
        "UPDATE budget_line SET epsilon = 0 WHERE principal = ''",
    ] {
        let room = room().await;
        for who in ["ana", "bea", "ana"] {
            let _paid = pay(&room.ledger, who, &limits_for(4)).await.unwrap();
        }
        let _paid = pay_laplace(&room.ledger, "cai", &limits_for(4)).await.unwrap();
        pay(&room.ledger, "bea", &limits_for(4)).await.unwrap_err();
        assert_eq!(room.ledger.verify_chain().await.unwrap(), None);
        let path = room.folder.path().join("state.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch(fraud).unwrap();
        let broken = room.ledger.verify_chain().await.unwrap();
        assert_eq!(broken.map(|broken| broken.table), Some("budget_line"), "{fraud}");
    }
}

#[tokio::test]
async fn what_is_kept_about_rows_comes_back_the_oldest_first() {
    let room = room().await;
    let ledger = &room.ledger;
    let paid = pay(ledger, "ana", &limits_for(2)).await.unwrap();
    let key = [3; 32];
    assert!(ledger.stored(&key).await.unwrap().is_empty());
    let store = [("one", vec![1, 2, 3]), ("two", vec![9])]
        .map(|(answers, measured)| ToStore::new(&paid, key, answers.to_owned(), measured, 4));
    ledger.finish(paid.log_id(), Outcome::Cancelled, Duration::ZERO, store.into()).await.unwrap();
    let kept = ledger.stored(&key).await.unwrap();
    assert_eq!(kept.iter().map(|kept| kept.answers.as_str()).collect::<Vec<_>>(), ["one", "two"], "the oldest first");
    assert_eq!(ledger.measured(&kept[0]).await.unwrap(), [1, 2, 3]);
    assert!(ledger.stored(&[4; 32]).await.unwrap().is_empty());
    ledger.forget_before_epoch(4).await.unwrap();
    assert_eq!(ledger.stored(&key).await.unwrap().len(), 2);
    ledger.forget_before_epoch(5).await.unwrap();
    assert!(ledger.stored(&key).await.unwrap().is_empty());
}

/// Whoever wrote it, however its key begins, and whatever was dropped before it.
#[tokio::test]
async fn what_is_kept_about_rows_is_found_by_every_server() {
    let room = room().await;
    let other = open(&room.folder, &room.now).await;
    let paid = pay(&room.ledger, "ana", &limits_for(2)).await.unwrap();
    let log = paid.log_id();
    let key = |last: u8| {
        let mut key = [7; 32];
        key[31] = last;
        key
    };
    let keep = async |ledger: &Ledger, last: u8, words: &str, epoch: u64| {
        let store = vec![ToStore::new(&paid, key(last), words.to_owned(), vec![last], epoch)];
        ledger.finish(log, Outcome::Cancelled, Duration::ZERO, store).await.unwrap();
    };
    let words = async |ledger: &Ledger, last: u8| {
        let kept = ledger.stored(&key(last)).await.unwrap();
        kept.into_iter().map(|kept| kept.answers).collect::<Vec<_>>()
    };
    keep(&room.ledger, 1, "one", 4).await;
    assert_eq!(words(&other, 1).await, ["one"]);
    keep(&other, 2, "two", 4).await;
    keep(&other, 1, "once more", 4).await;
    for ledger in [&room.ledger, &other] {
        assert_eq!(words(ledger, 1).await, ["one", "once more"]);
        assert_eq!(words(ledger, 2).await, ["two"]);
        assert!(words(ledger, 3).await.is_empty(), "only its first bytes are the same");
    }
    // Nothing is left, and what comes then is found by who knew all that is gone.
    room.ledger.forget_before_epoch(5).await.unwrap();
    for ledger in [&room.ledger, &other] {
        assert!(words(ledger, 1).await.is_empty());
    }
    keep(&room.ledger, 2, "of later rules", 5).await;
    keep(&other, 3, "too", 5).await;
    for ledger in [&room.ledger, &other, &open(&room.folder, &room.now).await] {
        assert_eq!(words(ledger, 2).await, ["of later rules"]);
        assert_eq!(words(ledger, 3).await, ["too"]);
    }
}

/// Three answers with Laplace noise of epsilon 1 come to 3, which in zCDP would be 10; a Gaussian one in the window ends that.
#[tokio::test]
async fn a_window_of_laplace_answers_adds_up_their_epsilons() {
    let limits = Limits {
        budget_epsilon: Epsilon::new(3.0).unwrap(),
        budget_delta: Delta::new(1e-6).unwrap(),
        principal_budget_epsilon: Epsilon::new(3.0).unwrap(),
        window_seconds: (30 * DAY) as u64,
    };
    let room = room().await;
    for spent in 1..=3 {
        let _paid = pay_laplace(&room.ledger, "ana", &limits).await.unwrap();
        let lines = room.ledger.budget(&limits, &["people".to_owned()].into()).await.unwrap();
        assert!(lines.iter().all(|line| (line.epsilon_spent - f64::from(spent)).abs() < 1e-12), "{lines:?}");
    }
    let refusal = pay_laplace(&room.ledger, "ana", &limits).await.unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::ConfigurationLimitExceeded);
    assert!(refusal.detail.as_ref().unwrap().contains("would bring it to 4.000"), "{refusal:?}");
    let refusal = pay(&room.ledger, "ana", &limits).await.unwrap_err();
    assert!(refusal.detail.as_ref().unwrap().contains("has spent epsilon 3.000"), "{refusal:?}");
    assert!(refusal.hint.as_ref().unwrap().contains("SET privacy.mechanism = 'laplace'"), "{refusal:?}");
    let log = room.ledger.query_log(LogPart::default()).await.unwrap();
    let epsilons = log.column_by_name("epsilon").unwrap().as_primitive::<Float64Type>().values().to_vec();
    assert_eq!(epsilons, [1.0, 1.0, 1.0, 0.0, 0.0], "what each paid");
    assert_eq!(room.ledger.verify_chain().await.unwrap(), None);

    let roomier = Limits { budget_epsilon: Epsilon::new(9.0).unwrap(), ..limits };
    let roomier = Limits { principal_budget_epsilon: roomier.budget_epsilon, ..roomier };
    pay(&room.ledger, "ana", &roomier)
        .await
        .expect_err("with a Gaussian answer all of it counts in zCDP, which is above 10");
    room.now.fetch_add(40 * DAY, Ordering::SeqCst);
    let _paid = pay(&room.ledger, "ana", &roomier).await.unwrap();
    let _paid = pay_laplace(&room.ledger, "ana", &roomier).await.unwrap();
    pay_laplace(&room.ledger, "ana", &roomier).await.expect_err("three of rho 1/2 are above 9, though two would add 2");
}

/// Statements that share a commit, one of which fails after its debit: each of the others is decided and debited as if alone, in their
/// order, also where an administrator changes the length of the window between two of them.
#[tokio::test]
async fn statements_of_one_commit_are_decided_one_after_the_other() {
    let room = room().await;
    let shorter = Limits { window_seconds: DAY as u64, ..limits_for(4) };
    let (go_on, hold) = std::sync::mpsc::channel::<()>();
    let state = room.ledger.state.clone();
    let first = tokio::spawn(async move { state.write(move |_| hold.recv().map_err(|_| Error::internal())).await });
    tokio::task::yield_now().await;
    let mut asked = Vec::new();
    for (who, limits) in [("ana", limits_for(4)), ("bea", shorter), ("ana", shorter), ("bea", limits_for(4))] {
        let ledger = room.ledger.clone();
        asked.push(tokio::spawn(async move { pay(&ledger, who, &limits).await.is_ok() }));
        let (ledger, limits) = (room.ledger.clone(), limits_for(9));
        asked.push(tokio::spawn(async move {
            let charges = one_per_policy(vec![charge("people")]).unwrap();
            let failed = move |tx: &crate::state::Writing| -> Result<()> {
                budget::debit(tx, "ana", &charges, &limits, NOW * 1_000_000)?;
                Err(Error::internal())
            };
            ledger.state.write(failed).await.is_ok()
        }));
    }
    for who in ["ana", "bea", "ana"] {
        let (ledger, limits) = (room.ledger.clone(), limits_for(4));
        asked.push(tokio::spawn(async move { pay(&ledger, who, &limits).await.is_ok() }));
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    go_on.send(()).unwrap();
    first.await.unwrap().unwrap();
    let mut paid = Vec::new();
    for answer in asked {
        paid.push(answer.await.unwrap());
    }
    assert_eq!(paid, [true, false, true, false, true, false, true, false, false, false, false]);
    let path = room.folder.path().join("state.db");
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut lines =
        connection.prepare("SELECT principal, window_end - window_start, statements FROM budget_line").unwrap();
    let lines = lines.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut lines: Vec<(String, i64, i64)> = lines.map(|line| line.unwrap()).collect();
    lines.sort();
    let line = |who: &str, days: i64, statements| (who.to_owned(), days * DAY, statements);
    let of = |who, of_day, of_month| [line(who, 1, of_day), line(who, 30, of_month)];
    assert_eq!(lines, [of("", 2, 2), of("ana", 1, 1), of("bea", 1, 1)].concat());
    assert_eq!(room.ledger.verify_chain().await.unwrap(), None);
}
