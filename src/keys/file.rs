//! Keys in one file, mode 0600.
//!
//! It is read whole and written whole, to a new file that takes the old one's place, so that it is never half there. Several servers
//! may share it: whoever adds a key holds a lock on the folder and reads the file again first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

use super::{Key, KeyName, KeyService};
use crate::error::{Error, Result, SqlState};

/// Bits by which a group or others could read or write the file.
const OTHERS: u32 = 0o077;

/// Keys in a file of their own.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    held: Mutex<Contents>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Contents {
    families: BTreeMap<String, Family>,
    access: BTreeMap<u64, Secret>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Family {
    epoch: u64,
    key: Secret,
}

/// Base64 in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Secret(Key);

impl KeyFile {
    /// Opens the file, or makes it. Errors: 58P01 where it cannot be read, holds something else, or others than its owner may read it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let contents = locked(&path, || match read(&path)? {
            Some(contents) => Ok(contents),
            None => {
                let contents = Contents::default();
                write(&path, &contents)?;
                Ok(contents)
            }
        })?;
        Ok(Self { path, held: Mutex::new(contents) })
    }
}

impl KeyService for KeyFile {
    fn key(&self, name: &KeyName) -> Result<Key> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = held.find(name)? {
            return Ok(key);
        }
        let (contents, key) = locked(&self.path, || {
            let mut contents = read(&self.path)?.ok_or_else(|| unusable("it is gone"))?;
            if let Some(key) = contents.find(name)? {
                return Ok((contents, key));
            }
            let key = draw()?;
            contents.put(name, key.clone());
            write(&self.path, &contents)?;
            Ok((contents, key))
        })?;
        *held = contents;
        Ok(key)
    }

    fn forget(&self, access: &BTreeSet<u64>) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = locked(&self.path, || {
            let mut contents = read(&self.path)?.ok_or_else(|| unusable("it is gone"))?;
            if contents.drop_access(access) {
                write(&self.path, &contents)?;
            }
            Ok(contents)
        })?;
        Ok(())
    }
}

impl Contents {
    /// Was there any?
    fn drop_access(&mut self, over: &BTreeSet<u64>) -> bool {
        let before = self.access.len();
        self.access.retain(|id, _| !over.contains(id));
        self.access.len() < before
    }

    /// `None`: not there yet. Errors: 55000 where a later one has taken its place.
    fn find(&self, name: &KeyName) -> Result<Option<Key>> {
        match name {
            KeyName::Access(id) => Ok(self.access.get(id).map(|secret| secret.0.clone())),
            KeyName::Family { family, epoch } => match self.families.get(family) {
                Some(held) if held.epoch == *epoch => Ok(Some(held.key.0.clone())),
                Some(held) if held.epoch > *epoch => Err(Error::new(
                    SqlState::ObjectNotInPrerequisiteState,
                    "the key of these pseudonyms was rotated while they were made",
                )
                .hint("ask again")),
                Some(_) | None => Ok(None),
            },
        }
    }

    fn put(&mut self, name: &KeyName, key: Key) {
        match name {
            KeyName::Access(id) => {
                self.access.insert(*id, Secret(key));
            }
            KeyName::Family { family, epoch } => {
                self.families.insert(family.clone(), Family { epoch: *epoch, key: Secret(key) });
            }
        }
    }
}

/// Alone among the servers that share the file.
fn locked<T>(path: &Path, job: impl FnOnce() -> Result<T>) -> Result<T> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).map_err(|error| unusable(&format!("its folder: {}", error.kind())))?;
    folder.lock().map_err(|error| unusable(&format!("its folder cannot be locked: {}", error.kind())))?;
    // Released with the handle.
    job()
}

fn read(path: &Path) -> Result<Option<Contents>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(&error.kind().to_string())),
    };
    let about = file.metadata().map_err(|error| unusable(&error.kind().to_string()))?;
    if !about.is_file() {
        return Err(unusable("it is no file"));
    }
    if about.mode() & OTHERS != 0 {
        return Err(unusable("others than its owner may read or write it").hint("chmod 600 the key file"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| unusable(&error.kind().to_string()))?;
    serde_json::from_str(&text).map(Some).map_err(|_| unusable("it does not hold keys"))
}

fn write(path: &Path, contents: &Contents) -> Result<()> {
    let failed = |error: std::io::Error| unusable(&format!("it cannot be written: {}", error.kind()));
    let text = serde_json::to_string_pretty(contents).map_err(|_| Error::internal())?;
    let next = path.with_extension("keys.next");
    // What a server that died here left behind.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&next, path).map_err(failed)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed),
        None => Ok(()),
    }
}

fn draw() -> Result<Key> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::internal())?;
    Ok(Key(bytes))
}

fn unusable(why: &str) -> Error {
    Error::new(SqlState::UndefinedFile, "the key file of pseudonyms cannot be used").detail(why.to_owned())
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        let bytes = STANDARD.decode(text).map_err(|_| "a key")?;
        bytes.try_into().map(|bytes| Self(Key(bytes))).map_err(|_| "a key")
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        STANDARD.encode(secret.0.bytes())
    }
}
