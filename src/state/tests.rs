//! Laws of the state file: what returned is there after reopening, what failed is not, writers queue.

use std::os::unix::fs::PermissionsExt;

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
    let (held, hold) = std::sync::mpsc::channel::<()>();
    let first = state.clone();
    let first = tokio::spawn(async move {
        let wait = move |_: &Transaction| hold.recv().map_err(|_| Error::internal());
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
    let later = ChangeRow {
        epoch: 8,
        at: 6,
        actor: "bob".to_owned(),
        change: "another".to_owned(),
        differences: "[]".to_owned(),
    };
    let recorded = state.write(move |tx| {
        tx.execute("UPDATE catalog_epoch SET epoch = 8", [])?;
        record_change(tx, &later)
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
