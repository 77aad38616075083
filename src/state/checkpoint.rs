//! The copy of the write-ahead log into the file, beside the writing.
//!
//! In: how many pages the log holds after each commit. Out: a log that begins anew. SQLite's own way is to copy the whole log inside the
//! COMMIT that makes it too long: whoever waits for the writer waits for that too, and it is half of the writer's work. Here a thread
//! with a connection of its own copies while others write, and the writer copies only the few pages that came meanwhile: when no page
//! is left that is not in the file, the next commit begins the log anew.
//!
//! Law: what was answered is in the log or in the file, on disk, at every moment. SQLite sees to it: a page is copied only after the log
//! was flushed, and the log is written over only after the file was flushed with all that was copied (`synchronous = NORMAL`,
//! <https://www.sqlite.org/wal.html#checkpointing>). A crash in between finds the whole log, and copies it again. When the disk refuses,
//! nobody knows what it holds, and nothing more is written, as after a flush that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode, MAIN_DB};

use crate::error::{Error, Result};

/// Pages in the log when it is to be copied: 16 MB. A flush of a log that grows takes several times as long as one of a log that is
/// written over, so more is not better.
pub(super) const LONG: u32 = 4_096;

/// Pages that the writer copies itself.
const REST: u32 = LONG / 8;

/// How often the thread copies what came while it copied, before the writer copies whatever is left.
const PASSES: u32 = 4;

/// Pages that are written until the next try, after one that somebody who reads an older state has cut short.
const AGAIN: u32 = LONG / 4;

/// How long the writer waits for those who still read from the log that it is to begin anew.
const PATIENCE: Duration = Duration::from_millis(10);

/// What stands between a log and its beginning anew, as the writer sees it.
pub(super) struct Checkpoints {
    /// In the log, after the last commit.
    pages: Arc<AtomicU32>,
    /// As of the commit before.
    before: u32,
    copy_now: mpsc::Sender<()>,
    copied: mpsc::Receiver<Result<Copied>>,
    phase: Phase,
    patience: Duration,
}

enum Phase {
    /// For a log of this many pages.
    Waiting { until: u32 },
    /// The thread is at its pass of this number, from 1, of a log that had this many pages.
    Copying { pass: u32, pages: u32 },
}

enum Copied {
    /// Of the log's pages, those up to this one are in the file.
    Until(u32),
    /// Somebody else copies, or reads from what is to be written over, or there is no room now: nothing is lost.
    Hindered,
}

impl Checkpoints {
    /// `writer`: the connection whose commits make the log longer, which waits for a lock for `patience`. `copier`: one that does nothing
    /// but copy. The thread ends when this is dropped.
    pub(super) fn start(name: &str, writer: &mut Connection, copier: Connection, patience: Duration) -> Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        writer.pragma_update(None, "wal_autocheckpoint", 0)?;
        writer.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            counted.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        let (copy_now, asked) = mpsc::channel::<()>();
        let (tell, copied) = mpsc::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || while asked.recv().is_ok() && tell.send(copy(&copier, CheckpointMode::PASSIVE)).is_ok() {})
            .map_err(|_| Error::internal())?;
        Ok(Self { pages, before: 0, copy_now, copied, phase: Phase::Waiting { until: LONG }, patience })
    }

    /// To be called after each commit of `writer`. An error says that the disk refused.
    pub(super) fn after_commit(&mut self, writer: &Connection) -> Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        let begun_anew = pages < self.before;
        self.before = pages;
        match self.phase {
            Phase::Waiting { .. } if begun_anew => self.phase = Phase::Waiting { until: LONG },
            Phase::Waiting { until } if pages >= until => self.ask(1, pages)?,
            Phase::Waiting { .. } => {}
            Phase::Copying { pass, pages: asked } => match self.copied.try_recv() {
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => return Err(Error::internal()),
                Ok(copied) => match copied? {
                    Copied::Until(copied) if copied + REST < asked && !begun_anew => self.try_again(pages),
                    Copied::Until(copied) if pages.saturating_sub(copied) > REST && pass < PASSES => {
                        self.ask(pass + 1, pages)?
                    }
                    Copied::Until(_) => self.end(writer, pages)?,
                    Copied::Hindered => self.try_again(pages),
                },
            },
        }
        Ok(())
    }

    fn ask(&mut self, pass: u32, pages: u32) -> Result<()> {
        self.phase = Phase::Copying { pass, pages };
        self.copy_now.send(()).map_err(|_| Error::internal())
    }

    fn try_again(&mut self, pages: u32) {
        self.phase = Phase::Waiting { until: pages + AGAIN };
    }

    /// Copies what is left and sees that nobody reads from the log: then the next commit begins it anew.
    fn end(&mut self, writer: &Connection, pages: u32) -> Result<()> {
        writer.busy_timeout(PATIENCE)?;
        let ended = copy(writer, CheckpointMode::RESTART);
        writer.busy_timeout(self.patience)?;
        match ended? {
            Copied::Until(_) => self.phase = Phase::Waiting { until: LONG },
            Copied::Hindered => self.try_again(pages),
        }
        Ok(())
    }
}

fn copy(connection: &Connection, mode: CheckpointMode) -> Result<Copied> {
    match connection.wal_checkpoint_v2(Some(MAIN_DB), mode) {
        Ok((_, copied)) => u32::try_from(copied).map(Copied::Until).map_err(|_| Error::internal()),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => Ok(Copied::Hindered),
            _ => Err(error.into()),
        },
    }
}
