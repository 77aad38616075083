//! How much memory queries may take, and where what does not fit goes.
//!
//! In: a [`Memory`]. Out: the engine's runtime. What is spilled holds rows of persons, so its folder is the server's own (0700), each
//! server has one of its own in it, and what a server left behind when it was killed is removed by the next to start.
//!
//! Whoever can read the disk can read the data files beside it; a folder elsewhere should be as well guarded as those.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

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
                    .with_memory_pool(Arc::new(FairSpillPool::new(bytes)))
                    .with_disk_manager_builder(disk.with_mode(DiskManagerMode::Directories(vec![own])))
            }
        };
        builder.build_arc().map_err(|_| Error::internal())
    }
}

/// The refusal of what needed more memory than there was; `None` for other failures.
pub fn out_of_memory(error: &DataFusionError) -> Option<Error> {
    let exhausted = matches!(error.find_root(), DataFusionError::ResourcesExhausted(_));
    exhausted.then(|| {
        Error::new(SqlState::OutOfMemory, "out of memory").detail("the memory that queries may take is used up").hint(
            "ask of fewer groups or rows, or again when fewer others do; who runs the server may raise --memory-limit",
        )
    })
}

/// A folder for this process, in a folder that only its owner reads.
fn own_folder(folder: &Path) -> std::io::Result<PathBuf> {
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
    fn without_a_limit_there_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        Memory::default().runtime(folder.path()).unwrap();
        assert!(!folder.path().join("spill").exists());
    }
}
