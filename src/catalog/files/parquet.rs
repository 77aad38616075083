//! Columns of Parquet files, from their footers.
//!
//! In: files and, where the administrator wrote them, declared columns. Out: the columns to register. Reads no row.

use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::prelude::SessionContext;

use super::locate::DataFile;
use super::registered_column;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Column, Location};

pub(super) fn format() -> Arc<dyn FileFormat> {
    Arc::new(ParquetFormat::default().with_options(TableParquetOptions::default()))
}

pub(super) async fn inspect(
    context: &SessionContext,
    location: &Location,
    files: &[DataFile],
    declared: &[Column],
) -> Result<Vec<Column>> {
    if let Some(name) = location.options.keys().next() {
        return Err(Error::new(SqlState::InvalidParameterValue, format!("unrecognized option \"{name}\""))
            .hint("Parquet files describe themselves: leave out OPTIONS"));
    }
    let mut schemas = Vec::with_capacity(files.len());
    for file in files {
        let state = context.state();
        let store = context.runtime_env().object_store(file.url.object_store()).map_err(|_| Error::internal())?;
        let schema = format()
            .infer_schema(&state, &store, std::slice::from_ref(&file.meta))
            .await
            .map_err(|_| not_parquet(file.name()))?;
        schemas.push(schema.as_ref().clone());
    }
    let schema = Schema::try_merge(schemas).map_err(|_| {
        Error::new(
            SqlState::DatatypeMismatch,
            format!("the files in \"{}\" do not have the same columns", location.url),
        )
        .hint("a column must have one type in all files of a table")
    })?;
    if declared.is_empty() {
        let columns = schema.fields().iter();
        return Ok(columns.map(|field| registered_column(field)).collect());
    }
    declared.iter().map(|column| hold_against(column, &schema)).collect()
}

/// A declared column must be in the files, under its exact name, with a type that can be read as the declared one.
fn hold_against(column: &Column, schema: &Schema) -> Result<Column> {
    let Ok(field) = schema.field_with_name(&column.name) else {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::new(
            SqlState::UndefinedColumn,
            format!("column \"{}\" does not exist in the files", column.name),
        )
        .detail(format!("the files have the columns {}", names.join(", ")))
        .hint("names with capital letters must be double-quoted"));
    };
    let wanted = DataType::from_str(&column.data_type).map_err(|_| Error::internal())?;
    if !arrow::compute::can_cast_types(field.data_type(), &wanted) {
        return Err(Error::new(
            SqlState::DatatypeMismatch,
            format!("column \"{}\" of the files has another type", column.name),
        )
        .detail(format!("declared {wanted}, found {}", field.data_type()))
        .hint("leave out the list of columns to take the files' own types"));
    }
    Ok(column.clone())
}

fn not_parquet(name: &str) -> Error {
    Error::new(SqlState::WrongObjectType, format!("\"{name}\" is not a readable Parquet file"))
        .hint("use STORED AS CSV for a CSV file")
}
