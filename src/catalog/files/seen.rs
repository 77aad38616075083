//! Tables of one file that were listed before: while the file system says the same of the file, the listing is the same.
//!
//! In: a location and its listing; what the file system says of the file, before and after it was listed. Out: the listing again, for one
//! call to the file system. Must never: say of a file that changed that it did not. Whatever an identity is made of (path, size, time of
//! modification, inode) is compared each time, and the device and the time of the last change of the inode as well. Folders are listed
//! anew each time.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Listing;

/// Tables come and go.
const MOST: usize = 4096;

/// By the text of the location.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<String, Listing>>);

/// One file, and what the file system says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of what is a file now; `None`: it is none, or nobody can say. One call to the file system, made where it is asked for: to hand it to a
    /// thread takes longer.
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    pub fn still_holds(&self) -> bool {
        Self::of(&self.path).as_ref() == Some(self)
    }
}

impl Seen {
    pub fn find(&self, location: &str) -> Option<Listing> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(location).cloned()?;
        known.stamp.as_ref().is_some_and(Stamp::still_holds).then_some(known)
    }

    pub fn keep(&self, location: &str, listing: &Listing) {
        if listing.stamp.is_none() {
            return;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(location.to_owned(), listing.clone());
    }
}
