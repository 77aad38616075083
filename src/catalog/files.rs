//! Data files of registered tables: found, looked through, identified, read, and added to.
//!
//! In: a [`Location`] or a [`Table`] that an administrator wrote. Out: columns, an identity of the data, and the real
//! source, which only the release room may ask for.
//! Locations are trusted: an administrator may name any path the server can read, through `..` and symbolic links too.
//! Nothing here may put a value from a file into an error.

mod append;
mod csv;
mod key;
mod locate;
mod memory;
mod parquet;
mod seen;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, SqlState};
use crate::policy::{Column, Format, Location, Table, TextForm, UniqueKey};
pub use append::{Append, Appended};
use locate::DataFile;
pub use memory::{Memory, batch_rows, insufficient_resources};
use seen::{Seen, Stamp};

/// Reads the files of tables. One runtime, so that footers and statistics of Parquet files are read once; whatever is remembered of a
/// listing is held against the file system each time, so that a changed file or folder is seen by the next statement.
#[derive(Debug, Clone)]
pub struct Files {
    data_dir: PathBuf,
    runtime: Arc<RuntimeEnv>,
    seen: Arc<Seen>,
}

/// Identity of a table's data. Another value means that something about the files changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot(String);

/// The files of a table at one moment.
#[derive(Debug, Clone)]
pub struct Listing {
    files: Arc<[DataFile]>,
    snapshot: Snapshot,
    /// Of a table of one file: what the file system said of it, before and after it was listed.
    stamp: Option<Stamp>,
}

impl Listing {
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.meta.size).fold(0, u64::saturating_add)
    }
}

impl Snapshot {
    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Files {
    /// Relative locations lie under `data_dir`.
    pub fn new(data_dir: PathBuf, memory: &Memory) -> Result<Self> {
        let runtime = memory.runtime(&data_dir)?;
        Ok(Self { data_dir, runtime, seen: Arc::default() })
    }

    /// The runtime whose object stores a plan over [`Files::provider`] must be executed with.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// `CREATE EXTERNAL TABLE`: finds the files and their columns, or holds `declared` against them. Reads every row
    /// of CSV once, so that a row that does not fit is found now and not under an analyst's query.
    pub async fn inspect(&self, location: &Location, declared: &[Column]) -> Result<Vec<Column>> {
        let files = self.locate(location).await?;
        let columns = match location.format {
            Format::Parquet => parquet::inspect(&self.context(), location, &files, declared).await?,
            Format::Csv => csv::inspect(location, files.clone(), declared).await?,
        };
        let required: Vec<&str> =
            declared.iter().filter(|column| !column.nullable).map(|column| column.name.as_str()).collect();
        if !required.is_empty() {
            let provider = self.nullable_provider(location, &columns, &files)?;
            key::refuse_nulls(self.context(), provider, &required).await?;
        }
        Ok(columns)
    }

    /// Identity of the data behind `location`, from what the file system says of the files; reads none of them.
    pub async fn snapshot(&self, location: &Location) -> Result<Snapshot> {
        Ok(self.list(location).await?.snapshot)
    }

    /// The files as they are now, so that all that follows is about the same rows, whatever is loaded meanwhile.
    pub async fn list(&self, location: &Location) -> Result<Listing> {
        if let Some(seen) = self.seen.find(&location.url) {
            return Ok(seen);
        }
        let before = locate::path(&self.data_dir, location).ok().and_then(|path| Stamp::of(&path));
        let files = self.locate(location).await?;
        let stamp = before.filter(Stamp::still_holds);
        let mut hash = Sha256::new();
        for file in &files {
            let meta = &file.meta;
            for part in [
                meta.location.as_ref(),
                &meta.size.to_string(),
                &meta.last_modified.timestamp_nanos_opt().unwrap_or_default().to_string(),
                meta.e_tag.as_deref().unwrap_or_default(),
            ] {
                // A length before each part: no two lists of parts give the same bytes.
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
        let digest = hash.finalize();
        let snapshot = Snapshot(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        let listing = Listing { files: files.into(), snapshot, stamp };
        self.seen.keep(&location.url, &listing);
        Ok(listing)
    }

    /// Are these files what they were? Others that came since are not read, and do not matter.
    pub async fn is_unchanged(&self, listing: &Listing) -> bool {
        if listing.stamp.as_ref().is_some_and(Stamp::still_holds) {
            return true;
        }
        for file in listing.files.iter() {
            let now = locate::file(&self.runtime, &file.path()).await;
            let same = |now: &DataFile| {
                let (now, then) = (&now.meta, &file.meta);
                (now.size, now.last_modified, &now.e_tag) == (then.size, then.last_modified, &then.e_tag)
            };
            if !now.is_ok_and(|now| same(&now)) {
                return false;
            }
        }
        true
    }

    /// Bytes of all files.
    pub async fn size(&self, location: &Location) -> Result<u64> {
        Ok(self.locate(location).await?.iter().map(|file| file.meta.size).fold(0, u64::saturating_add))
    }

    /// The real rows of `table`, with its registered columns. Only the release room calls this.
    pub async fn provider(&self, table: &Table) -> Result<Arc<dyn TableProvider>> {
        self.provider_of(table, &self.list(&table.location).await?)
    }

    /// The same, of files that were listed before.
    pub fn provider_of(&self, table: &Table, listing: &Listing) -> Result<Arc<dyn TableProvider>> {
        self.listing(&table.location, arrow_schema(table)?, &listing.files)
    }

    /// Is `key` unique and never null? Exact, over the data as it is now.
    pub async fn key_holds(&self, table: &Table, key: &UniqueKey) -> Result<bool> {
        let files = self.locate(&table.location).await?;
        let provider = self.nullable_provider(&table.location, &table.columns, &files)?;
        key::holds(self.context(), provider, &key.columns).await
    }

    async fn locate(&self, location: &Location) -> Result<Vec<DataFile>> {
        locate::locate(&self.data_dir, &self.runtime, location).await
    }

    fn context(&self) -> SessionContext {
        let config = SessionConfig::new().with_batch_size(batch_rows(&self.runtime));
        SessionContext::new_with_config_rt(config, self.runtime.clone())
    }

    /// The rows with every column nullable. Where a key or NOT NULL is still to be proved, a schema that says so
    /// already would let the optimiser prove it from itself.
    fn nullable_provider(
        &self,
        location: &Location,
        columns: &[Column],
        files: &[DataFile],
    ) -> Result<Arc<dyn TableProvider>> {
        let fields: Vec<Field> =
            fields(columns, &BTreeSet::new())?.into_iter().map(|field| field.with_nullable(true)).collect();
        self.listing(location, Arc::new(Schema::new(fields)), files)
    }

    fn listing(&self, location: &Location, schema: SchemaRef, files: &[DataFile]) -> Result<Arc<dyn TableProvider>> {
        let format: Arc<dyn FileFormat> = match location.format {
            Format::Parquet => parquet::format(),
            Format::Csv => csv::Dialect::new(&location.options)?.format(),
        };
        // The files by name, not their folder: what was identified is what is read.
        let urls = files.iter().map(|file| file.url.clone()).collect();
        let config = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(ListingOptions::new(format).with_file_extension(""))
            .with_schema(schema);
        let table = ListingTable::try_new(config)
            .map_err(|_| Error::internal())?
            .with_cache(self.runtime.cache_manager.get_file_statistic_cache());
        Ok(Arc::new(table))
    }
}

/// The schema that `table` is planned and read with. The columns of a primary key are not null: the key was checked.
pub fn arrow_schema(table: &Table) -> Result<SchemaRef> {
    let primary = table
        .unique_keys
        .iter()
        .filter(|key| key.primary)
        .flat_map(|key| key.columns.iter().map(String::as_str))
        .collect();
    Ok(Arc::new(Schema::new(fields(&table.columns, &primary)?)))
}

fn fields(columns: &[Column], required: &BTreeSet<&str>) -> Result<Vec<Field>> {
    columns
        .iter()
        .map(|column| {
            let data_type = DataType::from_str(&column.data_type).map_err(|_| {
                Error::new(SqlState::UndefinedObject, format!("type \"{}\" does not exist", column.data_type))
            })?;
            let nullable = column.nullable && !required.contains(column.name.as_str());
            let field = Field::new(&column.name, data_type, nullable);
            Ok(match column.form {
                Some(form) => field.with_metadata([(TextForm::KEY.to_owned(), form.name().to_owned())].into()),
                None => field,
            })
        })
        .collect()
}

/// The type a column is registered with: text as views (what the Parquet reader gives without a copy, and what groups
/// fastest), timestamps in microseconds as Postgres has them.
fn registered_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, value) => registered_type(value),
        other => other.clone(),
    }
}

fn registered_column(field: &Field) -> Column {
    Column {
        name: field.name().clone(),
        data_type: registered_type(field.data_type()).to_string(),
        nullable: field.is_nullable(),
        class: None,
        bounds: None,
        domain: None,
        rules: Default::default(),
        form: None,
    }
}
