//! Declared keys that were checked against the data. A declaration alone proves nothing about one row per person.
//!
//! In: a table's key and the snapshot of the data it was found to hold in. Out: whether it is known to hold in a snapshot.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use rusqlite::OptionalExtension;

use super::Catalog;
use crate::error::{Error, Result};
use crate::policy::UniqueKey;

/// By table and columns: the snapshot that the key was last found to hold in.
pub(super) type VerifiedKeys = HashMap<(String, String), String>;

impl Catalog {
    /// Was `key` found to hold in exactly this snapshot of `table`?
    pub async fn key_is_verified(&self, table: &str, key: &UniqueKey, snapshot: &str) -> Result<bool> {
        let named = (table.to_owned(), column_list(key)?);
        if self.verified_keys().get(&named).is_some_and(|held| held == snapshot) {
            return Ok(true);
        }
        let (table, columns) = named.clone();
        let held: Option<String> = self
            .inner
            .state
            .read(move |connection| {
                Ok(connection
                    .query_row(
                        "SELECT snapshot FROM verified_key WHERE table_name = ?1 AND columns = ?2",
                        (table, columns),
                        |row| row.get(0),
                    )
                    .optional()?)
            })
            .await?;
        let holds = held.as_deref() == Some(snapshot);
        if holds {
            self.verified_keys().insert(named, snapshot.to_owned());
        }
        Ok(holds)
    }

    /// What held in a snapshot holds in it for good, so no other server can have changed it.
    fn verified_keys(&self) -> MutexGuard<'_, VerifiedKeys> {
        self.inner.verified_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last snapshot is kept, no earlier one.
    pub async fn record_verified_key(&self, table: &str, key: &UniqueKey, snapshot: &str) -> Result<()> {
        let row = (table.to_owned(), column_list(key)?, snapshot.to_owned());
        self.inner
            .state
            .write(move |tx| {
                tx.execute("INSERT OR REPLACE INTO verified_key VALUES (?1, ?2, ?3)", row)?;
                Ok(())
            })
            .await
    }
}

/// A key is a set: the order of its columns says nothing.
fn column_list(key: &UniqueKey) -> Result<String> {
    let mut columns: Vec<&String> = key.columns.iter().collect();
    columns.sort();
    serde_json::to_string(&columns).map_err(|_| Error::internal())
}
