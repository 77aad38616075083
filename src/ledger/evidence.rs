//! What the log says about grants of access and about purposes.
//!
//! In: the log. Out: counts and sums of what it holds anyway. Must never: read anything but the log and the outcomes.

use std::collections::BTreeMap;

use super::Ledger;
use crate::error::Result;

impl Ledger {
    /// How many statements read rows under each grant of access.
    pub async fn access_uses(&self) -> Result<BTreeMap<u64, u64>> {
        self.state
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT access_grant, count(*) FROM query_log WHERE access_grant IS NOT NULL GROUP BY access_grant",
                )?;
                let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
                let mut uses = BTreeMap::new();
                for row in rows {
                    let (id, count) = row?;
                    uses.insert(u64::try_from(id).unwrap_or_default(), u64::try_from(count).unwrap_or_default());
                }
                Ok(uses)
            })
            .await
    }
}
