//! `privacy.row_policies`: the rules that say who is counted, for administrators. A condition may name columns that nobody else sees.

use arrow::array::RecordBatch;

use super::Session;
use super::answer::Rows;
use crate::error::{Error, Result};

impl Session {
    /// Columns `table_name`, `policy`, `holds_for` (persons everywhere, or rows of the table), `roles`, `condition` and
    /// `min_group_size`; empty where there is none.
    pub(super) fn row_policies(&self) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let mut columns: [Vec<String>; 6] = Default::default();
        for table in policies.tables.values() {
            for rule in &table.row_policies {
                let roles = rule.roles.iter().cloned().collect::<Vec<_>>().join(", ");
                let row = [
                    table.name.clone(),
                    rule.name.clone(),
                    if table.is_of_persons() { "persons" } else { "rows" }.to_owned(),
                    if roles.is_empty() { "public".to_owned() } else { roles },
                    rule.using.clone().unwrap_or_default(),
                    rule.min_group_size.map(|size| size.to_string()).unwrap_or_default(),
                ];
                columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
        }
        let names = ["table_name", "policy", "holds_for", "roles", "condition", "min_group_size"];
        let rows = Rows::texts(&names, columns.into())?;
        rows.batches().first().cloned().ok_or_else(Error::internal)
    }
}
