//! How much memory queries may take, and where what does not fit goes.
//!
//! In: a [`Memory`]. Out: the engine's runtime. What is spilled holds rows of persons, so its folder is the server's own (0700), each
//! server has one of its own in it, and what a server left behind when it was killed is removed by the next to start.
//!
//! Whoever can read the disk can read the data files beside it; a folder elsewhere should be as well guarded as those.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::shares::Shares;
use crate::error::{Error, Result, SqlState};

/// Of all queries together.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Bytes. `None`: as much as they want, and nothing is ever spilled.
    pub limit: Option<usize>,
    /// Where to spill; `None`: the folder `spill` of the data folder.
    pub spill_dir: Option<PathBuf>,
}

impl Memory {
    /// The engine's runtime under this limit. Errors: 58P01 where there can be no folder to spill to.
    pub(super) fn runtime(&self, data_dir: &Path) -> Result<Arc<RuntimeEnv>> {
        let disk = DiskManagerBuilder::default();
        let builder = RuntimeEnvBuilder::new().with_object_list_cache_limit(0);
        let builder = match self.limit {
            None => builder.with_disk_manager_builder(disk.with_mode(DiskManagerMode::Disabled)),
            Some(bytes) => {
                let folder = self.spill_dir.clone().unwrap_or_else(|| data_dir.join("spill"));
                let own = own_folder(&folder).map_err(|error| {
                    Error::new(
                        SqlState::UndefinedFile,
                        format!("could not make the folder to spill to: {}", error.kind()),
                    )
                })?;
                builder
                    .with_memory_pool(Arc::new(Shares::new(bytes)))
                    .with_disk_manager_builder(disk.with_mode(DiskManagerMode::Directories(vec![own])))
            }
        };
        builder.build_arc().map_err(|_| Error::internal())
    }
}

/// Rows of a batch. Each part of a query needs room for some batches, however much it spills: to merge what it spilled, it reads
/// several files at once. Little memory asks for small batches; from 128 MiB on they have the engine's usual size.
pub fn batch_rows(runtime: &RuntimeEnv) -> usize {
    const MOST: usize = 8192;
    match runtime.memory_pool.memory_limit() {
        MemoryLimit::Finite(bytes) => (bytes >> 14).clamp(MOST / 32, MOST),
        MemoryLimit::Infinite | MemoryLimit::Unknown => MOST,
    }
}

/// The refusal of what needed more memory or disk than there was: 53200, 53100. `None` for other failures.
pub fn insufficient_resources(error: &DataFusionError) -> Option<Error> {
    if matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) {
        let refusal =
            Error::new(SqlState::OutOfMemory, "out of memory").detail("the memory that queries may take is used up");
        return Some(refusal.hint(
            "ask of fewer groups or rows, or again when fewer others do; who runs the server may raise --memory-limit",
        ));
    }
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return Some(
                Error::new(SqlState::DiskFull, "disk full")
                    .detail("there is no room left on a disk that the server writes to")
                    .hint("who runs the server may make room there, or name another --spill-dir"),
            );
        }
        cause = error.source();
    }
    None
}

/// A folder for this process, in a folder that only its owner reads.
fn own_folder(folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let process = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok());
        // Folders of processes that are no more; the number may by now be another program's, which then keeps it until the next start.
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            fs::remove_dir_all(path)?;
        }
    }
    let own = folder.join(std::process::id().to_string());
    DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_server_left_is_removed_and_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let spill = folder.path().join("spill");
        // No process has this number: the largest that Linux gives is 2^22.
        fs::create_dir_all(spill.join("4194305/rows")).unwrap();
        let memory = Memory { limit: Some(1 << 20), spill_dir: None };
        memory.runtime(folder.path()).unwrap();
        assert!(!spill.join("4194305").exists());
        let own = spill.join(std::process::id().to_string());
        for path in [&spill, &own] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn what_is_spilled_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory { limit: Some(1 << 20), spill_dir: None };
        let runtime = memory.runtime(folder.path()).unwrap();
        let file = runtime.disk_manager.create_tmp_file("test").unwrap();
        let path = file.path().unwrap().to_owned();
        assert!(path.starts_with(folder.path().join("spill")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
        // With the last who used it goes the folder.
        let inner = path.parent().unwrap();
        drop(runtime);
        assert!(!inner.exists());
    }

    #[test]
    fn a_full_disk_is_told_from_full_memory() {
        let full = || DataFusionError::IoError(io::Error::from(io::ErrorKind::StorageFull));
        let in_arrow = arrow::error::ArrowError::IoError("x".into(), io::Error::from(io::ErrorKind::StorageFull));
        for error in [full(), full().context("spilling"), DataFusionError::from(in_arrow)] {
            assert_eq!(insufficient_resources(&error).unwrap().sqlstate, SqlState::DiskFull);
        }
        let memory = DataFusionError::ResourcesExhausted(String::new()).context("spilling");
        assert_eq!(insufficient_resources(&memory).unwrap().sqlstate, SqlState::OutOfMemory);
        assert!(insufficient_resources(&DataFusionError::IoError(io::Error::other("x"))).is_none());
    }

    #[test]
    fn without_a_limit_there_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        Memory::default().runtime(folder.path()).unwrap();
        assert!(!folder.path().join("spill").exists());
    }
}
