//! Laws of the state file: what returned is there after reopening, what failed is not, writers queue.

use std::os::unix::fs::PermissionsExt;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::flush::Flusher;
use super::writing::Job;
use super::*;
use crate::error::SqlState;

async fn names(state: &State) -> Vec<String> {
    state
        .read(|connection| {
            let mut statement = connection.prepare("SELECT name FROM secret ORDER BY name")?;
            let names = statement.query_map([], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap()
}

async fn insert(state: &State, name: String) -> Result<()> {
    state
        .write(move |transaction| {
            transaction.execute("INSERT INTO secret VALUES (?1, x'00')", [name])?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn what_was_written_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    insert(&state, "a".to_owned()).await.unwrap();
    let secret = state.secret("chain").await.unwrap();
    drop(state);
    let state = State::open(&path).unwrap();
    assert_eq!(names(&state).await, ["a", "chain"]);
    assert_eq!(state.secret("chain").await.unwrap(), secret);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_job_that_fails_or_panics_writes_nothing_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path().join("state.db")).unwrap();
    let refused: Result<()> = state
        .write(|transaction| {
            transaction.execute("INSERT INTO secret VALUES ('b', x'00')", [])?;
            Err(Error::new(SqlState::InvalidParameterValue, "no"))
        })
        .await;
    assert_eq!(refused.unwrap_err().message, "no");
    let panicked: Result<()> = state
        .write(|transaction| {
            transaction.execute("INSERT INTO secret VALUES ('c', x'00')", [])?;
            panic!("in a job")
        })
        .await;
    assert_eq!(panicked, Err(Error::internal()));
    insert(&state, "d".to_owned()).await.unwrap();
    assert_eq!(names(&state).await, ["d"]);
}

#[tokio::test]
async fn an_error_does_not_quote_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path().join("state.db")).unwrap();
    insert(&state, "twice".to_owned()).await.unwrap();
    let refused = insert(&state, "twice".to_owned()).await.unwrap_err();
    assert_eq!(refused, Error::internal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_two_servers_all_get_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let servers = [State::open(&path).unwrap(), State::open(&path).unwrap()];
    let writes = (0..40).map(|i| {
        let state = servers[i % 2].clone();
        tokio::spawn(async move { insert(&state, format!("{i:02}")).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap().unwrap();
    }
    for state in &servers {
        assert_eq!(names(state).await.len(), 40);
    }
}

/// Jobs that share a commit: each is answered for itself, and what a failed one wrote is not there.
#[tokio::test]
async fn jobs_that_wait_together_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path().join("state.db")).unwrap();
    let (held, hold) = mpsc::channel::<()>();
    let first = state.clone();
    let first = tokio::spawn(async move {
        let wait = move |_: &Writing| hold.recv().map_err(|_| Error::internal());
        first.write(wait).await
    });
    let job = |i: usize| {
        let state = state.clone();
        async move {
            state
                .write(move |transaction| {
                    transaction.execute("INSERT INTO secret VALUES (?1, x'00')", [format!("{i:02}")])?;
                    match i % 3 {
                        0 => Err(Error::new(SqlState::InvalidParameterValue, "no")),
                        1 if i == 7 => panic!("in a job"),
                        _ => Ok(i),
                    }
                })
                .await
        }
    };
    let jobs: Vec<_> = (0..30).map(|i| tokio::spawn(job(i))).collect();
    tokio::task::yield_now().await;
    held.send(()).unwrap();
    first.await.unwrap().unwrap();
    let mut kept = Vec::new();
    for (i, job) in jobs.into_iter().enumerate() {
        match job.await.unwrap() {
            Ok(number) => kept.push(format!("{number:02}")),
            Err(error) => assert_eq!(error.sqlstate == SqlState::InternalError, i == 7, "{error:?}"),
        }
    }
    assert_eq!(kept.len(), 19);
    assert_eq!(names(&state).await, kept);
}

/// Jobs that share a commit and a chain, some of which fail after their row was sealed: the others' rows are a whole chain.
#[tokio::test]
async fn a_job_that_fails_takes_its_links_of_the_chain_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    let (held, hold) = mpsc::channel::<()>();
    let first = state.clone();
    let first = tokio::spawn(async move {
        let wait = move |tx: &Writing| {
            tx.execute("INSERT INTO catalog_epoch (only, epoch, release_epoch) VALUES (1, 0, 1)", [])?;
            hold.recv().map_err(|_| Error::internal())
        };
        first.write(wait).await
    });
    let job = |epoch: i64| {
        let state = state.clone();
        async move {
            let recorded = move |tx: &Writing| {
                for epoch in [2 * epoch, 2 * epoch + 1] {
                    record_change(tx, &change(epoch))?;
                    tx.execute("UPDATE catalog_epoch SET epoch = ?1", [epoch])?;
                }
                match epoch % 3 {
                    1 => Err(Error::new(SqlState::InvalidParameterValue, "no")),
                    2 if epoch == 5 => panic!("in a job"),
                    _ => Ok(()),
                }
            };
            state.write(recorded).await.is_ok()
        }
    };
    let jobs: Vec<_> = (1..=20).map(|epoch| tokio::spawn(job(epoch))).collect();
    tokio::task::yield_now().await;
    held.send(()).unwrap();
    first.await.unwrap().unwrap();
    let mut done = 0;
    for job in jobs {
        done += usize::from(job.await.unwrap());
    }
    assert_eq!(done, 12);
    let recorded = |connection: &Connection| -> Result<(i64, i64)> {
        let rows = connection.query_row("SELECT count(*) FROM catalog_change", [], |row| row.get(0))?;
        let last = "SELECT rows FROM chain_head WHERE name = 'catalog_change'";
        Ok((rows, connection.query_row(last, [], |row| row.get(0))?))
    };
    assert_eq!(state.read(recorded).await.unwrap(), (24, 24));
    let chain = state.chain().await.unwrap();
    assert_eq!(state.read_apart(move |connection| verify_changes(&chain, connection)).await.unwrap(), None);
    // Nor is the next commit's first row sealed to one that is not there.
    drop(state);
    let state = State::open(&path).unwrap();
    let later = |tx: &Writing| {
        tx.execute("UPDATE catalog_epoch SET epoch = 99", [])?;
        record_change(tx, &change(99))
    };
    state.write(later).await.unwrap();
    let chain = state.chain().await.unwrap();
    assert_eq!(state.read_apart(move |connection| verify_changes(&chain, connection)).await.unwrap(), None);
}

fn change(epoch: i64) -> ChangeRow {
    ChangeRow { epoch, at: 6, actor: "bob".to_owned(), change: "a statement".to_owned(), differences: "[]".to_owned() }
}

/// A writer whose flushes are counted, and end as `flush` says of their number.
fn writer(
    path: &Path,
    flush: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static,
) -> (Arc<Writer>, Arc<AtomicUsize>) {
    let writable = file::open_for_writing(path).unwrap();
    let flushes = Arc::new(AtomicUsize::new(0));
    let counted = flushes.clone();
    let flush = Box::new(move || flush(counted.fetch_add(1, Ordering::SeqCst)));
    (Arc::new(Writer::start("test-writer", file::Writable { flush, ..writable }).unwrap()), flushes)
}

/// Takes long enough for many of them to take longer than a flush.
fn put(writer: &Arc<Writer>, name: String) -> tokio::task::JoinHandle<Result<()>> {
    let writer = writer.clone();
    tokio::spawn(async move {
        let put = move |tx: &Writing| {
            std::thread::sleep(Duration::from_micros(100));
            tx.execute("INSERT INTO secret VALUES (?1, x'00')", [name])?;
            Ok(())
        };
        writer.run(put).await
    })
}

fn count(path: &Path) -> usize {
    let connection = file::open_for_reading(path).unwrap();
    let rows: i64 = connection.query_row("SELECT count(*) FROM secret", [], |row| row.get(0)).unwrap();
    rows as usize
}

/// Also of those whose commit is written while the flush before it is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_before_a_flush_that_began_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    // What was committed when a flush began.
    let (began, flushing) = mpsc::channel::<usize>();
    let (go_on, may) = mpsc::channel::<()>();
    let (may, of_writer) = (Mutex::new(may), path.clone());
    let (writer, flushes) = writer(&path, move |_| {
        began.send(count(&of_writer)).unwrap();
        may.lock().unwrap().recv().map_err(io::Error::other)
    });
    let answered = Arc::new(AtomicUsize::new(0));
    for i in 0..64 {
        let (writer, answered) = (writer.clone(), answered.clone());
        tokio::spawn(async move {
            for turn in 0..10 {
                put(&writer, format!("{i} {turn}")).await.unwrap().unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let mut flushed = 0;
    while flushed < 640 {
        let committed = flushing.recv_timeout(Duration::from_secs(60)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(
            answered.load(Ordering::SeqCst) <= flushed,
            "who was committed after the last flush began waits for this one"
        );
        flushed = committed;
        go_on.send(()).unwrap();
    }
    while answered.load(Ordering::SeqCst) < 640 {
        // The last group may have been committed before a flush began, and have come too late for it.
        if flushing.try_recv().is_ok() {
            go_on.send(()).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(count(&path), 640);
    assert!(flushes.load(Ordering::SeqCst) < 640, "flushes are shared");
}

/// What the disk holds after a flush that failed nobody knows, though a later one succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_that_failed_nothing_is_written_or_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (writer, flushes) = writer(&path, |number| match number {
        3 => Err(io::Error::other("the disk is gone")),
        _ => Ok(()),
    });
    for i in 0..3 {
        put(&writer, format!("{i}")).await.unwrap().unwrap();
    }
    let mut refused = Vec::new();
    for i in 3..20 {
        refused.push(put(&writer, format!("{i}")).await.unwrap());
    }
    for job in (20..60).map(|i| put(&writer, format!("{i}"))).collect::<Vec<_>>() {
        refused.push(job.await.unwrap());
    }
    assert!(refused.iter().all(|answer| *answer == Err(Error::internal())));
    assert_eq!(flushes.load(Ordering::SeqCst), 4, "none is tried after it");
    assert_eq!(count(&path), 4, "the one whose flush failed was committed, none after it");
}

/// A group whose commit was written while the flush that failed was under way is not answered by the next one that succeeds.
#[test]
fn a_flush_after_one_that_failed_proves_nothing() {
    struct Told(mpsc::Sender<bool>);
    impl Job for Told {
        fn run(&mut self, _: &Writing) -> bool {
            true
        }
        fn answer(self: Box<Self>, durable: bool) {
            self.0.send(durable).unwrap();
        }
    }
    let (flushing, began) = mpsc::channel::<()>();
    let (go_on, may) = mpsc::channel::<bool>();
    let may = Mutex::new(may);
    let flush = move || {
        flushing.send(()).unwrap();
        let succeeds = may.lock().unwrap().recv().unwrap();
        succeeds.then_some(()).ok_or_else(|| io::Error::other("the disk is gone"))
    };
    let flusher = Flusher::start("test-flush", Box::new(flush), Arc::new(AtomicUsize::new(4))).unwrap();
    let (tell, told) = mpsc::channel();
    let group = || vec![Box::new(Told(tell.clone())) as Box<dyn Job>];
    flusher.hand_over(group());
    began.recv().unwrap();
    flusher.hand_over(group());
    flusher.flush(group());
    [false, true, true].into_iter().for_each(|succeeds| go_on.send(succeeds).unwrap());
    assert_eq!(told.iter().take(3).collect::<Vec<_>>(), [false; 3]);
    flusher.flush(group());
    assert!(!told.recv().unwrap());
}

#[tokio::test]
async fn the_reader_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path().join("state.db")).unwrap();
    let refused = state.read(|connection| Ok(connection.execute("DELETE FROM secret", [])?)).await;
    assert_eq!(refused, Err(Error::internal()));
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    drop(State::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    let refused = State::open(&path).unwrap_err();
    assert_eq!(refused.sqlstate, SqlState::ObjectNotInPrerequisiteState);
}

#[test]
fn a_folder_that_does_not_exist_is_named_as_the_problem() {
    let refused = State::open("/nonexistent/folder/state.db").unwrap_err();
    assert_eq!(refused.sqlstate, SqlState::UndefinedFile);
}

/// A file as the step before left it: its changes have neither ids nor seals, and their epochs have gaps.
#[tokio::test]
async fn changes_from_before_they_were_sealed_are_sealed_once() {
    use migrations::{MIGRATIONS, SEALED_CHANGES};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let before = MIGRATIONS.iter().position(|step| *step == SEALED_CHANGES).unwrap();
    let connection = Connection::open(&path).unwrap();
    MIGRATIONS[..before].iter().for_each(|step| connection.execute_batch(step).unwrap());
    for epoch in [1, 2, 7] {
        let row = (epoch, 5, "admin", "a statement", "[]");
        connection.execute("INSERT INTO catalog_change VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
    }
    connection.execute("INSERT INTO catalog_epoch VALUES (1, 7, 1)", []).unwrap();
    connection.pragma_update(None, "user_version", before as u32).unwrap();
    drop(connection);
    for _ in 0..2 {
        let state = State::open(&path).unwrap();
        let chain = state.chain().await.unwrap();
        assert_eq!(state.read_apart(move |connection| verify_changes(&chain, connection)).await.unwrap(), None);
    }
    let state = State::open(&path).unwrap();
    let recorded = state.write(move |tx| {
        tx.execute("UPDATE catalog_epoch SET epoch = 8", [])?;
        record_change(tx, &change(8))
    });
    recorded.await.unwrap();
    let chain = state.chain().await.unwrap();
    assert_eq!(state.read_apart(move |connection| verify_changes(&chain, connection)).await.unwrap(), None);
    // What is there without a seal from then on was put there, and stays so.
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE catalog_change SET actor = 'eve', id = NULL, chain = NULL WHERE epoch = 2")
        .unwrap();
    drop(state);
    let state = State::open(&path).unwrap();
    let chain = state.chain().await.unwrap();
    let broken = state.read_apart(move |connection| verify_changes(&chain, connection)).await.unwrap();
    assert_eq!(broken, Some(Broken { table: "catalog_change", id: 0 }));
}

/// What was spent before Laplace noise was there had no epsilon: a window with some of it is not added up by epsilons.
#[tokio::test]
async fn what_was_spent_before_there_were_epsilons_has_none() {
    use migrations::{MIGRATIONS, PURE_EPSILON};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let before = MIGRATIONS.iter().position(|step| *step == PURE_EPSILON).unwrap();
    let connection = Connection::open(&path).unwrap();
    MIGRATIONS[..before].iter().for_each(|step| connection.execute_batch(step).unwrap());
    connection.execute("INSERT INTO budget_line VALUES ('people', '', 0, 9, 0.5, 1e-9, 1)", []).unwrap();
    connection.pragma_update(None, "user_version", before as u32).unwrap();
    drop(connection);
    let state = State::open(&path).unwrap();
    let line = |connection: &Connection| -> Result<(f64, f64, f64)> {
        let line = "SELECT rho, epsilon, gaussian_rho FROM budget_line";
        Ok(connection.query_row(line, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    };
    assert_eq!(state.read(line).await.unwrap(), (0.5, 0.0, 0.5));
}

/// Answers that were stored when each key had a page of its own are there, under their ids, and no id comes twice.
#[tokio::test]
async fn answers_from_before_they_were_in_order_are_kept() {
    use migrations::{ANSWERS_IN_ORDER, MIGRATIONS};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let before = MIGRATIONS.iter().position(|step| *step == ANSWERS_IN_ORDER).unwrap();
    let connection = Connection::open(&path).unwrap();
    MIGRATIONS[..before].iter().for_each(|step| connection.execute_batch(step).unwrap());
    let put = "INSERT INTO stored_answer (id, rows, log_id, release_epoch, answers, measured) VALUES (?1, x'07', 1, 1, 'a', x'09')";
    let log = "INSERT INTO query_log VALUES (1, 0, 'ana', '', '', '', NULL, '', '', '', '', '', '', x'00', NULL, NULL)";
    connection.execute(log, []).unwrap();
    for id in [3, 8] {
        connection.execute(put, [id]).unwrap();
    }
    connection.pragma_update(None, "user_version", before as u32).unwrap();
    drop(connection);
    let state = State::open(&path).unwrap();
    let ids = |connection: &Connection| -> Result<Vec<i64>> {
        let mut ids = connection.prepare("SELECT id FROM stored_answer WHERE measured = x'09' ORDER BY id")?;
        let ids = ids.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    };
    assert_eq!(state.read(ids).await.unwrap(), [3, 8]);
    let connection = Connection::open(&path).unwrap();
    connection.execute("DELETE FROM stored_answer", []).unwrap();
    connection.execute(&put.replace("?1", "NULL"), []).unwrap();
    assert_eq!(state.read(ids).await.unwrap(), [9]);
}
