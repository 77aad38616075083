//! The keys of pseudonyms and of the noise in rows, kept apart from everything they protect.
//!
//! In: the name of a key. Out: 32 bytes, drawn from the operating system when the key is first asked for and the same from then on.
//! A tenant is one key service: two tenants have no key in common, so their pseudonyms cannot be linked. Must never: write a key
//! anywhere but into its own file, which its owner alone may read; go on with a file that others can read; keep a key that was
//! rotated away.
//!
//! Losing the file loses no data: every pseudonym becomes another one.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::error::Result;

pub use file::KeyFile;

/// Where keys come from: a file, or an organisation's own key service.
pub trait KeyService: Send + Sync {
    /// Errors: 55000 for an epoch that was rotated away, 58P01 where the service cannot be reached or is not to be trusted.
    fn key(&self, name: &KeyName) -> Result<Key>;

    /// Grants of access are over: their keys are gone when this returns. Ids without a key are nothing. Errors: as above.
    fn forget(&self, access: &BTreeSet<u64>) -> Result<()>;
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyName {
    /// Of the pseudonyms of one family of columns. A later epoch replaces an earlier one, which is gone then.
    Family { family: String, epoch: u64 },
    /// Of one grant of access: its noise, and the names of its rows.
    Access(u64),
}

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}
