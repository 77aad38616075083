//! From the text of a location to the files behind it, in a fixed order.
//!
//! In: a path (relative ones lie under the data folder) or a `file://` URL, of one file or of a folder. Out: its files.
//! A folder means the files of the table's format directly in it; names that begin with `.` or `_` are not data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::{Error, Result, SqlState};
use crate::policy::{Format, Location};

#[derive(Debug, Clone)]
pub(super) struct DataFile {
    pub meta: ObjectMeta,
    pub url: ListingTableUrl,
}

impl DataFile {
    /// The last part of its path: how errors name it.
    pub fn name(&self) -> &str {
        self.meta.location.filename().unwrap_or_default()
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/").join(self.meta.location.as_ref())
    }
}

pub(super) async fn locate(data_dir: &Path, runtime: &RuntimeEnv, location: &Location) -> Result<Vec<DataFile>> {
    let text = location.url.as_str();
    let url = local_url(data_dir, text)?;
    let store = runtime.object_store(url.object_store()).map_err(|_| Error::internal())?;
    let path = Path::new("/").join(url.prefix().as_ref());
    let found = tokio::fs::metadata(&path).await.map_err(|error| unopened(text, &error))?;
    let metas = if found.is_dir() {
        files_in(&store, &url, location).await?
    } else if url.is_collection() {
        return Err(no_such(text, "not a folder"));
    } else {
        vec![store.head(url.prefix()).await.map_err(|_| unreadable(text))?]
    };
    metas
        .into_iter()
        .map(|meta| {
            let url = file_url(&format!("/{}", meta.location)).ok_or_else(Error::internal)?;
            Ok(DataFile { meta, url })
        })
        .collect()
}

/// Where a location is in the file system.
pub(super) fn path(data_dir: &Path, location: &Location) -> Result<PathBuf> {
    Ok(Path::new("/").join(local_url(data_dir, &location.url)?.prefix().as_ref()))
}

/// One file, whatever it is called.
pub(super) async fn file(runtime: &RuntimeEnv, path: &Path) -> Result<DataFile> {
    let path = std::path::absolute(path).map_err(|_| Error::internal())?;
    let url = path.to_str().and_then(file_url).ok_or_else(Error::internal)?;
    let store = runtime.object_store(url.object_store()).map_err(|_| Error::internal())?;
    let meta = store.head(url.prefix()).await.map_err(|_| Error::internal())?;
    Ok(DataFile { meta, url })
}

async fn files_in(store: &Arc<dyn ObjectStore>, url: &ListingTableUrl, location: &Location) -> Result<Vec<ObjectMeta>> {
    let suffix = match location.format {
        Format::Parquet => ".parquet",
        Format::Csv => ".csv",
    };
    let listed = store.list_with_delimiter(Some(url.prefix())).await.map_err(|_| unreadable(&location.url))?;
    let mut metas: Vec<ObjectMeta> = listed
        .objects
        .into_iter()
        .filter(|meta| {
            meta.location
                .filename()
                .is_some_and(|name| name.to_ascii_lowercase().ends_with(suffix) && !name.starts_with(['.', '_']))
        })
        .collect();
    if metas.is_empty() {
        return Err(
            no_such(&location.url, &format!("no {suffix} file in the folder")).hint(format!(
                "a folder stands for the files directly in it whose names end in {suffix}; name one file to read it whatever it is called"
            )),
        );
    }
    metas.sort_by(|left, right| left.location.cmp(&right.location));
    Ok(metas)
}

fn local_url(data_dir: &Path, text: &str) -> Result<ListingTableUrl> {
    if let Some((scheme, _)) = text.split_once("://") {
        if !scheme.eq_ignore_ascii_case("file") {
            return Err(Error::new(
                SqlState::FeatureNotSupported,
                format!("locations of scheme \"{scheme}\" are not supported"),
            )
            .hint("copy the files to a folder of the server and give its path"));
        }
        return ListingTableUrl::parse(text).map_err(|_| no_such(text, "not a file URL"));
    }
    let path = std::path::absolute(data_dir.join(text)).map_err(|_| no_such(text, "not a path"))?;
    let path = path.to_str().ok_or_else(|| no_such(text, "not a path"))?;
    file_url(path).ok_or_else(|| no_such(text, "not a path"))
}

/// The path of a file, for what takes a URL.
pub(super) fn literal_url(path: &Path) -> Option<String> {
    std::path::absolute(path).ok()?.to_str().map(escaped)
}

/// An absolute path as a URL that is taken literally: `?`, `*` and `[` in a name are no pattern.
fn file_url(path: &str) -> Option<ListingTableUrl> {
    ListingTableUrl::parse(escaped(path)).ok()
}

fn escaped(path: &str) -> String {
    let mut url = String::from("file://");
    for byte in path.bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' | b'=' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

fn unopened(text: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => no_such(text, "no such file"),
        std::io::ErrorKind::PermissionDenied => unreadable(text),
        _ => no_such(text, "the system refuses"),
    }
}

fn unreadable(text: &str) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("could not open location \"{text}\": permission denied"))
        .hint("the account the server runs as must be able to read it")
}

fn no_such(text: &str, why: &str) -> Error {
    Error::new(SqlState::UndefinedFile, format!("could not open location \"{text}\": {why}"))
        .hint("locations are paths on the server; a relative one lies under the server's data folder")
}
