//! Are columns unique, are they never null? Asked of the data itself, by ordinary plans without any release.
//!
//! In: rows whose schema claims nothing. Out: yes or no, or a refusal that names a column; never a row.

mod unique;

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DataFusionError};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, JoinType, lit};
use datafusion::prelude::{DataFrame, SessionContext};

use super::memory::insufficient_resources;
use crate::error::{Error, Result, SqlState};
use unique::Key;

pub(super) async fn holds(
    context: SessionContext,
    provider: Arc<dyn TableProvider>,
    columns: &[String],
) -> Result<bool> {
    if let Some(holds) = (Key { context: &context, provider: &provider, columns }).holds().await? {
        return Ok(holds);
    }
    let rows = read(&context, provider)?;
    for name in columns {
        if !none(rows.clone().filter(column(name).is_null())).await? {
            return Ok(false);
        }
    }
    Ok(!comes_twice(rows, columns).await?)
}

/// Do two rows agree in all columns? A table of the keys, whatever their types.
async fn comes_twice(rows: DataFrame, columns: &[String]) -> Result<bool> {
    let keys = columns.iter().map(|name| column(name)).collect();
    let groups = rows.aggregate(keys, vec![count(lit(1)).alias("rows of a key")]);
    let repeated = groups.and_then(|groups| groups.filter(column("rows of a key").gt(lit(1))));
    Ok(!none(repeated).await?)
}

pub(super) async fn refuse_nulls(
    context: SessionContext,
    provider: Arc<dyn TableProvider>,
    columns: &[&str],
) -> Result<()> {
    let rows = read(&context, provider)?;
    for name in columns {
        if !none(rows.clone().filter(column(name).is_null())).await? {
            return Err(Error::new(
                SqlState::NotNullViolation,
                format!("column \"{name}\" of the files contains null values"),
            )
            .hint("leave out NOT NULL, or take the rows without a value out of the files"));
        }
    }
    Ok(())
}

/// Writes the rows whose value of each of `keys` none of `held` has to a file, as they come.
pub(super) async fn write_new(
    context: &SessionContext,
    rows: Arc<dyn TableProvider>,
    held: Arc<dyn TableProvider>,
    keys: &[&[String]],
    file: &str,
) -> Result<()> {
    let mut left = read(context, rows)?;
    for key in keys {
        left = against(left, read(context, held.clone())?, key, JoinType::LeftAnti)?;
    }
    let options = DataFrameWriteOptions::new().with_single_file_output(true);
    left.write_parquet(file, options, None).await.map(|_| ()).map_err(|error| unread(&error))
}

/// Have `rows` and `held` no value of any of `keys` in common?
pub(super) async fn disjoint(
    context: &SessionContext,
    rows: Arc<dyn TableProvider>,
    held: Arc<dyn TableProvider>,
    keys: &[&[String]],
) -> Result<bool> {
    for key in keys {
        let common = against(read(context, rows.clone())?, read(context, held.clone())?, key, JoinType::LeftSemi)?;
        if !none(Ok(common)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn against(rows: DataFrame, held: DataFrame, key: &[String], join: JoinType) -> Result<DataFrame> {
    let name = |position: usize| format!("held {position}");
    let columns = key.iter().enumerate().map(|(position, held)| column(held).alias(name(position)));
    let held = held.select(columns.collect::<Vec<_>>()).map_err(|_| Error::internal())?;
    let same = key.iter().enumerate().map(|(position, own)| column(own).eq(column(&name(position))));
    rows.join_on(held, join, same).map_err(|_| Error::internal())
}

fn read(context: &SessionContext, provider: Arc<dyn TableProvider>) -> Result<DataFrame> {
    context.read_table(provider).map_err(|_| Error::internal())
}

/// A name as it is written, without folding its case.
fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

async fn none(rows: datafusion::error::Result<DataFrame>) -> Result<bool> {
    let batches = match rows.and_then(|rows| rows.limit(0, Some(1))) {
        Ok(rows) => rows.collect().await,
        Err(error) => Err(error),
    };
    let batches = batches.map_err(|error| unread(&error))?;
    Ok(batches.iter().all(|batch| batch.num_rows() == 0))
}

fn unread(error: &DataFusionError) -> Error {
    insufficient_resources(error).unwrap_or_else(|| {
        Error::new(SqlState::DataException, "the files do not fit the table's columns")
            .hint("the files changed since the table was made: put them right, or drop the table and create it again")
    })
}
