//! What the log says about grants of access and about purposes.
//!
//! In: the log. Out: counts and sums of what it holds anyway. Must never: read anything but the log and the outcomes.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Row;

use super::Ledger;
use super::log::Charged;
use super::spent::Spent;
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

/// What was done for one purpose.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PurposeUse {
    pub purpose: String,
    pub answered: u64,
    pub refused: u64,
    /// Failed or cancelled, after they were paid for.
    pub failed: u64,
    pub principals: BTreeSet<String>,
    pub tables: BTreeSet<String>,
    pub columns: BTreeSet<String>,
    /// By policy.
    pub spent: BTreeMap<String, Spent>,
    /// Of the answer about the most persons: as released, with noise.
    pub persons: Option<u64>,
    /// Microseconds since 1970.
    pub first: i64,
    pub last: i64,
}

const QUERIES: &str = "
SELECT purpose, principal, query_log.at AS at, tables, columns, charges, outcome, persons
FROM query_log JOIN query_outcome AS o ON o.id = (SELECT max(id) FROM query_outcome WHERE log_id = query_log.id)
WHERE purpose IS NOT NULL AND outcome <> 'done'
ORDER BY query_log.id";

impl Ledger {
    /// By purpose: queries that were answered, refused or failed. Statements about the system are none.
    pub async fn purpose_uses(&self) -> Result<Vec<PurposeUse>> {
        self.state
            .read(|connection| {
                let mut uses: BTreeMap<String, PurposeUse> = BTreeMap::new();
                let mut statement = connection.prepare_cached(QUERIES)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let purpose: String = row.get("purpose")?;
                    let used = uses.entry(purpose.clone()).or_insert_with(|| PurposeUse {
                        purpose,
                        first: i64::MAX,
                        ..PurposeUse::default()
                    });
                    used.add(row)?;
                }
                Ok(uses.into_values().collect())
            })
            .await
    }
}

impl PurposeUse {
    fn add(&mut self, row: &Row) -> Result<()> {
        let outcome: String = row.get("outcome")?;
        match outcome.as_str() {
            "answered" => self.answered += 1,
            "refused" => self.refused += 1,
            _ => self.failed += 1,
        }
        self.principals.insert(row.get("principal")?);
        let list = |text: Option<String>| -> Vec<String> {
            text.iter().flat_map(|text| text.split(", ")).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        self.tables.extend(list(row.get("tables")?));
        self.columns.extend(list(row.get("columns")?));
        for charge in Charged::read(row)? {
            let line = self.spent.entry(charge.policy().to_owned()).or_default();
            *line = line.and(charge.spent());
        }
        let persons: Option<i64> = row.get("persons")?;
        self.persons = self.persons.max(persons.and_then(|persons| u64::try_from(persons).ok()));
        let at: i64 = row.get("at")?;
        (self.first, self.last) = (self.first.min(at), self.last.max(at));
        Ok(())
    }
}
