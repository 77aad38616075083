//! `audit.integrity`: is what was written still there, and nothing else?
//!
//! In: the log, its outcomes, the record of changes, the budget lines. Out: for each whether it is whole, and else its first wrong row.
//! It walks all of them, on a connection of its own.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rusqlite::Connection;

use super::{Ledger, budget};
use crate::error::{Error, Result};
use crate::state::{Broken, Chain, verify_changes};

pub(super) struct Record {
    pub table: &'static str,
    pub broken: Option<Broken>,
}

/// In the order in which one rests on another.
pub(super) fn verify(chain: &Chain, connection: &Connection) -> Result<Vec<Record>> {
    let record = |table, broken| Record { table, broken };
    Ok(vec![
        record("query_log", chain.verify_entries(connection)?),
        record("query_outcome", chain.verify_outcomes(connection)?),
        record("catalog_change", verify_changes(chain, connection)?),
        record("budget_line", budget::verify_lines(connection)?),
    ])
}

/// `first_broken`: an id of the table, 0 where it has none.
pub fn integrity_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("record", DataType::Utf8, false),
        Field::new("rows", DataType::Int64, false),
        Field::new("whole", DataType::Boolean, false),
        Field::new("first_broken", DataType::Int64, true),
    ]))
}

impl Ledger {
    pub async fn integrity(&self) -> Result<RecordBatch> {
        let chain = self.chain.clone();
        let counted = move |connection: &Connection| {
            let records = verify(&chain, connection)?;
            let rows = |record: &Record| -> Result<i64> {
                let count = format!("SELECT count(*) FROM {}", record.table);
                Ok(connection.query_row(&count, [], |row| row.get(0))?)
            };
            let rows = records.iter().map(rows).collect::<Result<Vec<_>>>()?;
            Ok((records, rows))
        };
        let (records, rows) = self.state.read_apart(counted).await?;
        let tables = StringArray::from_iter_values(records.iter().map(|record| record.table));
        let whole: BooleanArray = records.iter().map(|record| Some(record.broken.is_none())).collect();
        let broken: Int64Array = records.iter().map(|record| record.broken.map(|broken| broken.id)).collect();
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(tables), Arc::new(Int64Array::from(rows)), Arc::new(whole), Arc::new(broken)];
        RecordBatch::try_new(integrity_schema(), columns).map_err(|_| Error::internal())
    }
}
