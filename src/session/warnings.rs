//! `privacy.warnings`: what administrators should put right in the data. How many persons it concerns is told in bands, and who
//! they are is not told: administrators read nobody.

use arrow::array::RecordBatch;

use super::Session;
use super::answer::Rows;
use super::surroundings::Looked;
use crate::error::{Error, Result};

impl Session {
    /// Columns `subject` (a table), `warning`, `persons` (a band) and `hint`.
    pub(super) async fn warnings(&self) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let mut columns: [Vec<String>; 4] = Default::default();
        for table in policies.tables.values().filter(|table| table.manager_key.is_some()) {
            let found = self.lines(table, &mut Looked::default()).await?.0.irregular();
            for (count, warning, hint) in [
                (
                    found.orphans,
                    "the manager has no row: nobody above them counts them",
                    "add the manager, or leave the manager empty",
                ),
                (
                    found.circles,
                    "managers form a circle: none of these persons reports to anybody",
                    "correct the manager of one of them",
                ),
                (
                    found.own_managers,
                    "persons are their own managers: they report to nobody",
                    "leave their manager empty",
                ),
                (
                    found.ambiguous,
                    "persons have rows with different managers: they report to nobody",
                    "keep one row a person",
                ),
                (found.repeated, "persons have several rows that agree", "keep one row a person"),
            ] {
                if count > 0 {
                    let row = [table.name.clone(), warning.to_owned(), band(count).to_owned(), hint.to_owned()];
                    columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
                }
            }
        }
        let rows = Rows::texts(&["subject", "warning", "persons", "hint"], columns.into())?;
        rows.batches().first().cloned().ok_or_else(Error::internal)
    }
}

fn band(count: usize) -> &'static str {
    match count {
        0..10 => "fewer than 10",
        10..100 => "10 to 99",
        _ => "100 or more",
    }
}
