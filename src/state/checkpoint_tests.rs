//! Laws of the copy of the log into the file: nothing that was answered is lost at any moment, and the log does not grow for ever.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::checkpoint::{Checkpoints, LONG};
use super::commit::Writer;
use super::file;
use super::*;

/// Bytes of a page in the log, with what stands before it.
const PAGE: u64 = 4_096 + 24;

/// Of the log's file. It does not get shorter when the log begins anew.
fn size_of_log(path: &Path) -> u64 {
    std::fs::metadata(path.with_extension("db-wal")).unwrap().len()
}

/// A row of 12 pages or more.
async fn write(state: &State, id: i64) -> Result<()> {
    let row = move |tx: &Writing| {
        let long = "INSERT INTO opened_row VALUES (?1, randomblob(48000))";
        tx.prepare_cached(long)?.execute([id])?;
        Ok(())
    };
    state.write(row).await
}

/// By several at once.
async fn write_all(state: &State, ids: std::ops::Range<i64>) {
    let next = Arc::new(AtomicI64::new(ids.start));
    let writers = (0..8).map(|_| {
        let (state, next) = (state.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= ids.end {
                    return;
                }
                write(&state, id).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// The rows that are there. Every page is as it should be.
fn rows(path: &Path) -> Vec<i64> {
    let connection = Connection::open(path).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let mut ids = connection.prepare("SELECT access_grant FROM opened_row ORDER BY access_grant").unwrap();
    let ids = ids.query_map([], |row| row.get(0)).unwrap();
    ids.collect::<Result<_, _>>().unwrap()
}

fn all(ids: std::ops::Range<i64>) -> Vec<i64> {
    ids.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_written_steadily_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    let written = i64::from(LONG);
    write_all(&state, 0..written).await;
    // How much is written while it is copied depends on the machine.
    let most = 8 * u64::from(LONG) * PAGE;
    assert!(
        size_of_log(&path) < most,
        "{} bytes where more than 12 times {LONG} pages were written",
        size_of_log(&path)
    );
    assert_eq!(rows(&path), all(0..written));
    drop(state);
    assert_eq!(rows(&path), all(0..written));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_an_older_state_keeps_it_and_the_log_begins_anew_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    write_all(&state, 0..10).await;
    let (began, begun) = mpsc::channel();
    let (go_on, may) = mpsc::channel::<()>();
    let reader = state.clone();
    let reading = tokio::spawn(async move {
        let twice = move |connection: &Connection| -> Result<(i64, i64)> {
            let count = || connection.query_row("SELECT count(*) FROM opened_row", [], |row| row.get(0));
            let first = count()?;
            began.send(()).unwrap();
            may.recv().unwrap();
            Ok((first, count()?))
        };
        reader.read_apart(twice).await.unwrap()
    });
    begun.recv_timeout(Duration::from_secs(60)).unwrap();
    let meanwhile = 10 + i64::from(LONG) / 4;
    write_all(&state, 10..meanwhile).await;
    assert!(size_of_log(&path) > 2 * u64::from(LONG) * PAGE, "all of it is needed");
    go_on.send(()).unwrap();
    assert_eq!(reading.await.unwrap(), (10, 10));
    // Until the next try, and what is written while it copies.
    let then = meanwhile + i64::from(LONG) / 4;
    write_all(&state, meanwhile..then).await;
    let size = size_of_log(&path);
    // More than six times as much as makes a log long.
    let at_last = then + i64::from(LONG) / 2;
    write_all(&state, then..at_last).await;
    let grown = size_of_log(&path) - size;
    assert!(
        grown < 3 * u64::from(LONG) * PAGE,
        "{grown} bytes: what is written takes the place of what is in the file"
    );
    assert_eq!(rows(&path), all(0..at_last));
}

fn first_of(writer: usize) -> i64 {
    1_000_000 * writer as i64
}

/// How many of its rows a writer keeps: the file stays so short that a copy of it takes less long than a life of the log.
const KEPT: i64 = 20;

/// Writes a row and takes away the oldest.
async fn write_in_turn(state: &State, id: i64) -> Result<()> {
    let turn = move |tx: &Writing| {
        tx.execute("INSERT INTO opened_row VALUES (?1, randomblob(48000))", [id])?;
        tx.execute("DELETE FROM opened_row WHERE access_grant = ?1", [id - KEPT])?;
        Ok(())
    };
    state.write(turn).await
}

/// The copy of a file and its log that a crash might leave: pages of the file from before and after the copy of the log, in any mix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_moment_finds_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::open(&path).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    // By each writer, who has ids of its own.
    let answered = Arc::new([const { AtomicI64::new(0) }; 4]);
    let writers = (0..4).map(|writer| {
        let (state, answered, stop) = (state.clone(), answered.clone(), stop.clone());
        tokio::spawn(async move {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                write_in_turn(&state, first_of(writer) + turn).await.unwrap();
                answered[writer].fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    let writers = writers.collect::<Vec<_>>();
    // Which of its lives the log is in.
    let salt = |log: &Path| {
        let mut header = [0; 24];
        File::open(log).unwrap().read_exact(&mut header).map(|()| header).ok()
    };
    let image = folder.path().join("image.db");
    let (log, of_image) = (path.with_extension("db-wal"), image.with_extension("db-wal"));
    let mut seen = 0;
    let mut lives = std::collections::BTreeSet::new();
    let start = Instant::now();
    while seen < 12 || lives.len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(300), "{seen} copies of {} lives", lives.len());
        let before = salt(&log);
        let sure = answered.each_ref().map(|rows| rows.load(Ordering::SeqCst));
        std::fs::copy(&path, &image).unwrap();
        std::fs::copy(&log, &of_image).unwrap();
        // Begun anew while it was copied: no disk ever held this.
        if salt(&log) == before && salt(&of_image) == before {
            let found = rows(&image);
            for (writer, sure) in sure.into_iter().enumerate() {
                let of_writer = first_of(writer)..first_of(writer + 1);
                let there: Vec<i64> = found.iter().copied().filter(|id| of_writer.contains(id)).collect();
                let written = there.last().map_or(0, |last| last + 1 - first_of(writer));
                assert!(written >= sure, "{written} rows where {sure} were answered");
                assert_eq!(there, all(first_of(writer) + 0.max(written - KEPT)..first_of(writer) + written));
            }
            seen += 1;
            lives.insert(before);
        }
        for file in [&image, &of_image, &image.with_extension("db-shm")] {
            let _ = std::fs::remove_file(file);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// A connection that may not write stands for a disk that refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_log_cannot_be_copied_nothing_more_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut writable = file::open_for_writing(&path).unwrap();
    let refusing = file::open_for_reading(&path).unwrap();
    writable.checkpoints =
        Checkpoints::start("test-checkpoint", &mut writable.connection, refusing, Duration::ZERO).unwrap();
    let writer = Writer::start("test-writer", writable).unwrap();
    let put = |id: i64| {
        let row = move |tx: &Writing| Ok(tx.execute("INSERT INTO opened_row VALUES (?1, randomblob(48000))", [id])?);
        writer.run(row)
    };
    let mut answered = 0;
    while answered < i64::from(LONG) && put(answered).await.is_ok() {
        answered += 1;
    }
    assert!((i64::from(LONG) / 20..i64::from(LONG)).contains(&answered), "{answered}");
    assert_eq!(put(-1).await, Err(Error::internal()));
    assert_eq!(rows(&path), all(0..answered), "what was answered is there, and nothing after it");
}
