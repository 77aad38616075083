//! Rows added to a table: a new Parquet file in its folder, whole or not at all.
//!
//! In: batches of the table's columns, one after the other. Out: one more file, that appears under its name when all rows are on disk;
//! until then it has a hidden name, which no reader looks at, and it goes when its load is given up. What a killed server left is
//! removed at the next start, or by the next load into the folder.
//!
//! A declared key stays true: rows that agree in it among themselves refuse the load, rows whose key the table has already are left
//! out. Nothing says how many: an error, or a count, would tell who loads which persons are in the table.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use rand::TryRng;
use rand::rngs::SysRng;

use super::{Files, arrow_schema, key, locate};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Format, Location, Table};

const HIDDEN: &str = ".load-";
const LOCK: &str = ".load.lock";
/// What of a row group is held in memory before it is written.
const ROW_GROUP_BYTES: usize = 16 * 1024 * 1024;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Where `CREATE TABLE` puts folders, in the data folder.
const OWN_FOLDERS: &str = "tables";

/// A load under way. Dropped before [`Files::publish`]: it never was.
pub struct Append {
    schema: SchemaRef,
    file: Hidden,
    writer: Option<ArrowWriter<File>>,
    rows: u64,
}

/// A load that is whole and on disk, and that nobody sees yet. Dropped: it never was.
pub struct Appended {
    file: Hidden,
    /// Locked, so that the next load does not take it for what a killed server left.
    _locked: File,
    pub rows: u64,
}

/// A file under a hidden name, removed with this.
struct Hidden {
    folder: PathBuf,
    name: String,
    published: bool,
}

impl Hidden {
    fn new(folder: PathBuf) -> Result<Self> {
        let name = format!("load-{}-{}.parquet", chrono::Utc::now().format("%Y%m%dT%H%M%S"), random_name()?);
        Ok(Self { folder, name, published: false })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{HIDDEN}{}", self.name))
    }

    fn publish(mut self) -> io::Result<()> {
        fs::rename(self.path(), self.folder.join(&self.name))?;
        self.published = true;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if !self.published && !fs::remove_file(self.path()).map_or_else(gone, |()| true) {
            tracing::error!("a load that was given up could not be removed; the next load into its folder will");
        }
    }
}

impl Append {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Errors: 53100 where the disk is full.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let mut writer = self.writer.take().ok_or_else(Error::internal)?;
        self.rows += batch.num_rows() as u64;
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&batch).map_err(io::Error::other)?;
            if writer.in_progress_size() > ROW_GROUP_BYTES {
                writer.flush().map_err(io::Error::other)?;
            }
            Ok(writer)
        });
        self.writer = Some(written.await.map_err(|_| Error::internal())?.map_err(unwritten)?);
        Ok(())
    }

    /// All rows are there: on disk when this returns.
    pub async fn close(mut self) -> Result<Appended> {
        let writer = self.writer.take().ok_or_else(Error::internal)?;
        let closed = tokio::task::spawn_blocking(move || {
            let file = writer.into_inner().map_err(io::Error::other)?;
            file.sync_all()?;
            Ok(file)
        });
        let file = closed.await.map_err(|_| Error::internal())?.map_err(unwritten)?;
        Ok(Appended { file: self.file, _locked: file, rows: self.rows })
    }
}

impl Files {
    /// Errors: 42809 where the table is no folder of Parquet files, 42501 where the server may not write there.
    pub async fn append(&self, table: &Table) -> Result<Append> {
        let folder = self.folder_of(table).await?;
        let schema = arrow_schema(table)?;
        begin(folder, schema).map_err(unwritten)
    }

    /// Makes the rows part of the table. One load at a time does this in a folder, also where several servers share it.
    /// Errors: 23505 where rows of the load agree in a declared key.
    pub async fn publish(&self, table: &Table, appended: Appended) -> Result<()> {
        let folder = appended.file.folder.clone();
        let _turn = turn(&folder).await?;
        remove_abandoned(&folder);
        let appended =
            if table.unique_keys.is_empty() { appended } else { self.without_known(table, appended).await? };
        appended.file.publish().map_err(unwritten)
    }

    /// The load without the rows whose keys the table has.
    async fn without_known(&self, table: &Table, appended: Appended) -> Result<Appended> {
        let own = [locate::file(&self.runtime, &appended.file.path()).await?];
        let held = self.locate(&table.location).await?;
        let source = |files: &[locate::DataFile]| self.nullable_provider(&table.location, &table.columns, files);
        for unique in &table.unique_keys {
            if !key::holds(self.context(), source(&own)?, &unique.columns).await? {
                return Err(Error::new(
                    SqlState::UniqueViolation,
                    format!(
                        "rows of the load agree in the key ({}) of table \"{}\"",
                        unique.columns.join(", "),
                        table.name
                    ),
                )
                .detail("a key names one row; nothing was loaded")
                .hint("send each row once"));
            }
        }
        let keys: Vec<&[String]> = table.unique_keys.iter().map(|unique| unique.columns.as_slice()).collect();
        let context = self.context();
        if key::disjoint(&context, source(&own)?, source(&held)?, &keys).await? {
            return Ok(appended);
        }
        let kept = Hidden::new(appended.file.folder.clone())?;
        let path = kept.path();
        let url = locate::literal_url(&path).ok_or_else(Error::internal)?;
        key::write_new(&context, source(&own)?, source(&held)?, &keys, &url).await?;
        let on_disk = || {
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            let file = File::open(&path)?;
            file.sync_all().map(|()| file)
        };
        Ok(Appended { _locked: on_disk().map_err(unwritten)?, file: kept, rows: appended.rows })
    }

    /// What a killed server left of its loads into `table`, gone. Where another server loads at the moment, it sees to that.
    pub async fn remove_abandoned(&self, table: &Table) {
        let Ok(folder) = self.folder_of(table).await else {
            return;
        };
        if hidden_in(&folder).is_empty() {
            return;
        }
        if let Ok(lock) = lock_of(&folder)
            && lock.try_lock().is_ok()
        {
            remove_abandoned(&folder);
        }
    }

    /// `CREATE TABLE`: a folder of its own for a table, with no rows in it.
    pub async fn create_folder(&self, table: &Table) -> Result<Location> {
        let readable: String =
            table.name.chars().take(40).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let url = format!("{OWN_FOLDERS}/{readable}-{}/", random_name()?);
        let folder = self.data_dir.join(&url);
        let schema = arrow_schema(table)?;
        let made = move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            if let Some(parent) = folder.parent() {
                File::open(parent)?.sync_all()?;
            }
            begin(folder, schema)
        };
        let empty = tokio::task::spawn_blocking(made).await.map_err(|_| Error::internal())?.map_err(unwritten)?;
        empty.close().await?.file.publish().map_err(unwritten)?;
        Ok(Location::managed(url))
    }

    /// Deletes what [`Files::create_folder`] made, and every row in it; other locations are left alone.
    pub async fn remove_folder(&self, location: &Location) {
        let own = location.is_managed() && location.url.starts_with(OWN_FOLDERS) && !location.url.contains("..");
        if own && tokio::fs::remove_dir_all(self.data_dir.join(&location.url)).await.is_err() {
            tracing::error!("the folder of a table that was dropped could not be removed");
        }
    }

    async fn folder_of(&self, table: &Table) -> Result<PathBuf> {
        let refused = |why: &str| {
            Error::new(SqlState::WrongObjectType, format!("rows cannot be loaded into table \"{}\"", table.name))
                .detail(why)
                .hint("CREATE TABLE name (column type, …) makes a table that rows are loaded into; so does CREATE EXTERNAL TABLE … STORED AS PARQUET LOCATION 'folder/'")
        };
        match table.location.format {
            Format::Parquet => {}
            Format::Csv => return Err(refused("it is made of CSV files, which others write")),
        }
        let folder = locate::path(&self.data_dir, &table.location)?;
        let found = tokio::fs::metadata(&folder).await.map_err(unwritten)?;
        if found.is_dir() { Ok(folder) } else { Err(refused("it is one file, which others write")) }
    }
}

/// A new hidden file, locked by this process.
fn begin(folder: PathBuf, schema: SchemaRef) -> io::Result<Append> {
    let file = Hidden::new(folder).map_err(io::Error::other)?;
    let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(file.path())?;
    opened.try_lock()?;
    let level = ZstdLevel::try_new(1).map_err(io::Error::other)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let writer = ArrowWriter::try_new(opened, Arc::clone(&schema), Some(properties)).map_err(io::Error::other)?;
    Ok(Append { schema, file, writer: Some(writer), rows: 0 })
}

/// Waits until no other load is at this point; the turn ends with the file.
async fn turn(folder: &Path) -> Result<File> {
    let lock = lock_of(folder).map_err(unwritten)?;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(unwritten(error)),
        }
    }
}

fn lock_of(folder: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK))
}

/// Removes the hidden files that no process holds locked. What cannot be looked at is left for another time.
fn remove_abandoned(folder: &Path) {
    for path in hidden_in(folder) {
        if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(path);
        }
    }
}

fn hidden_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let hidden = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(HIDDEN)));
    hidden.map(|entry| entry.path()).collect()
}

/// 96 bits from the operating system.
fn random_name() -> Result<String> {
    let mut bytes = [0; 12];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::internal())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unwritten(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::new(SqlState::InsufficientPrivilege, "could not write to the table's folder: permission denied")
                .detail("the account the server runs as must be able to write there")
                .hint("who runs the server gives it that right, or CREATE TABLE makes a folder of the server's own")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(SqlState::DiskFull, "could not write to the table's folder: no space left")
                .hint("nothing was loaded; free some space and send the rows again")
        }
        io::ErrorKind::NotFound => Error::new(SqlState::UndefinedFile, "the table's folder is gone")
            .hint("an administrator puts it back, or drops the table"),
        _ => Error::internal(),
    }
}
