//! What `ANALYZE` released about a table, by the table and the snapshot of its data.
//!
//! In: texts made of released numbers that were paid for. Out: the same. What is known of one snapshot says nothing of another,
//! so it is only given back for the very same.

use rusqlite::OptionalExtension;

use super::Ledger;
use crate::error::Result;

impl Ledger {
    pub async fn statistics(&self, table: &str, snapshot: &str) -> Result<Option<String>> {
        let key = (table.to_owned(), snapshot.to_owned());
        self.state
            .read(move |connection| {
                Ok(connection
                    .prepare_cached("SELECT statistics FROM table_statistics WHERE table_name = ?1 AND snapshot = ?2")?
                    .query_row(key, |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Instead of what was kept for this snapshot before. Every server's next statement knows that something was.
    pub async fn keep_statistics(&self, table: &str, snapshot: &str, statistics: String) -> Result<()> {
        let row = (table.to_owned(), snapshot.to_owned(), statistics);
        self.state
            .write(move |tx| {
                tx.execute("INSERT OR REPLACE INTO table_statistics VALUES (?1, ?2, ?3)", row)?;
                tx.execute("UPDATE catalog_epoch SET statistics_epoch = statistics_epoch + 1", [])?;
                Ok(())
            })
            .await
    }

    /// Every table's, the newest snapshots last: table, snapshot, statistics.
    pub async fn all_statistics(&self) -> Result<Vec<(String, String, String)>> {
        self.state
            .read(|connection| {
                let mut statement = connection
                    .prepare("SELECT table_name, snapshot, statistics FROM table_statistics ORDER BY 1, 2")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}
