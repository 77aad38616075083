//! Declared keys that were checked against the data. A declaration alone proves nothing about one row per person.
//!
//! In: a table's key and the snapshot of the data it was found to hold in. Out: whether it is known to hold in a snapshot.

use rusqlite::OptionalExtension;

use super::Catalog;
use crate::error::{Error, Result};
use crate::policy::UniqueKey;

impl Catalog {
    /// Was `key` found to hold in exactly this snapshot of `table`?
    pub async fn key_is_verified(&self, table: &str, key: &UniqueKey, snapshot: &str) -> Result<bool> {
        let (table, columns) = (table.to_owned(), column_list(key)?);
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
        Ok(held.as_deref() == Some(snapshot))
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
