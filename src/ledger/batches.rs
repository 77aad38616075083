//! `privacy.budget` and `audit.query_log` as Arrow.
//!
//! In: ledger rows. Out: record batches of fixed schemas. No value here comes from a person's row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Array, Float64Builder, Int64Array, Int64Builder, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use rusqlite::{Connection, Row};

use super::BudgetLine;
use super::log::Charged;
use crate::error::{Error, Result};

const UTC: &str = "UTC";

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

fn schema(fields: Vec<(&str, DataType, bool)>) -> SchemaRef {
    let fields: Vec<Field> =
        fields.into_iter().map(|(name, data_type, nullable)| Field::new(name, data_type, nullable)).collect();
    Arc::new(Schema::new(fields))
}

/// `principal` is NULL on the line of all principals together.
pub fn budget_schema() -> SchemaRef {
    schema(vec![
        ("policy", DataType::Utf8, false),
        ("principal", DataType::Utf8, true),
        ("window_start", instant(), false),
        ("window_end", instant(), false),
        ("epsilon_budget", DataType::Float64, false),
        ("epsilon_spent", DataType::Float64, false),
        ("epsilon_left", DataType::Float64, false),
        ("delta_budget", DataType::Float64, false),
        ("delta_spent", DataType::Float64, false),
        ("statements", DataType::Int64, false),
    ])
}

pub fn budget_batch(lines: &[BudgetLine]) -> Result<RecordBatch> {
    let instants = |of: fn(&BudgetLine) -> i64| -> ArrayRef {
        let micros = lines.iter().map(|line| of(line).saturating_mul(1_000_000));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone(UTC))
    };
    let numbers =
        |of: fn(&BudgetLine) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(lines.iter().map(of))) };
    let policies = lines.iter().map(|line| &line.policy);
    let principals = lines.iter().map(|line| line.principal.as_deref());
    let statements = lines.iter().map(|line| line.statements as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(policies)),
        Arc::new(StringArray::from_iter(principals)),
        instants(|line| line.window_start),
        instants(|line| line.window_end),
        numbers(|line| line.epsilon_budget),
        numbers(|line| line.epsilon_spent),
        numbers(|line| line.epsilon_left),
        numbers(|line| line.delta_budget),
        numbers(|line| line.delta_spent),
        Arc::new(Int64Array::from_iter_values(statements)),
    ];
    RecordBatch::try_new(budget_schema(), columns).map_err(|_| Error::internal())
}

/// `rho`, `epsilon` and `delta` are what each of the statement's policies paid (the largest, should they differ);
/// `epsilon` is the setting that bought it. A statement without an outcome yet is `started`.
pub fn query_log_schema() -> SchemaRef {
    schema(vec![
        ("id", DataType::Int64, false),
        ("at", instant(), false),
        ("principal", DataType::Utf8, false),
        ("roles", DataType::Utf8, false),
        ("database", DataType::Utf8, false),
        ("application", DataType::Utf8, false),
        ("purpose", DataType::Utf8, true),
        ("protocol", DataType::Utf8, false),
        ("kind", DataType::Utf8, false),
        ("statement", DataType::Utf8, false),
        ("tables", DataType::Utf8, false),
        ("policies", DataType::Utf8, false),
        ("rho", DataType::Float64, false),
        ("epsilon", DataType::Float64, false),
        ("delta", DataType::Float64, false),
        ("protections", DataType::Utf8, false),
        ("outcome", DataType::Utf8, false),
        ("sqlstate", DataType::Utf8, true),
        ("rows", DataType::Int64, true),
        ("from_store", DataType::Boolean, false),
        ("elapsed_ms", DataType::Float64, true),
        ("columns", DataType::Utf8, true),
        ("access_grant", DataType::Int64, true),
    ])
}

const TEXT_COLUMNS: [&str; 13] = [
    "principal",
    "roles",
    "database",
    "application",
    "purpose",
    "protocol",
    "kind",
    "statement",
    "tables",
    "protections",
    "outcome",
    "sqlstate",
    "columns",
];

/// Builders for one batch, filled row by row.
struct LogColumns {
    /// Of the columns that are wanted.
    schema: SchemaRef,
    rows_read: usize,
    id: Int64Builder,
    at: TimestampMicrosecondBuilder,
    texts: [StringBuilder; 13],
    policies: StringBuilder,
    rho: Float64Builder,
    epsilon: Float64Builder,
    delta: Float64Builder,
    rows: Int64Builder,
    from_store: BooleanBuilder,
    elapsed_ms: Float64Builder,
    access_grant: Int64Builder,
}

/// Rows of the log for which all of this holds; moments are microseconds since 1970, and every end is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    pub first_id: Option<i64>,
    pub last_id: Option<i64>,
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub principal: Option<String>,
    /// The columns that are wanted, by their places in [`query_log_schema`]; `None`: all.
    pub columns: Option<Vec<usize>>,
}

pub(super) fn query_log(connection: &Connection, part: &LogPart) -> Result<RecordBatch> {
    let mut statement = connection.prepare_cached(
        "SELECT query_log.*, coalesce(outcome, 'started') AS outcome, sqlstate, rows,
                coalesce(from_store, 0) AS from_store, elapsed_us
         FROM query_log LEFT JOIN query_outcome AS o
           ON o.id = (SELECT max(id) FROM query_outcome WHERE log_id = query_log.id)
         WHERE query_log.id BETWEEN ?1 AND ?2 AND query_log.at BETWEEN ?3 AND ?4
           AND (?5 IS NULL OR query_log.principal = ?5)
         ORDER BY query_log.id",
    )?;
    let schema = match &part.columns {
        Some(places) => Arc::new(query_log_schema().project(places).map_err(|_| Error::internal())?),
        None => query_log_schema(),
    };
    let mut columns = LogColumns::new(schema);
    let mut rows = statement.query((
        part.first_id.unwrap_or(i64::MIN),
        part.last_id.unwrap_or(i64::MAX),
        part.since.unwrap_or(i64::MIN),
        part.until.unwrap_or(i64::MAX),
        part.principal.as_deref(),
    ))?;
    while let Some(row) = rows.next()? {
        columns.append(row)?;
    }
    columns.finish()
}

/// The first and the last row's id; of an empty log the last comes before the first.
pub(super) fn log_ids(connection: &Connection) -> Result<(i64, i64)> {
    let ids = "SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM query_log";
    Ok(connection.query_row(ids, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

impl LogColumns {
    fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            rows_read: 0,
            id: Int64Builder::new(),
            at: TimestampMicrosecondBuilder::new().with_timezone(UTC),
            texts: std::array::from_fn(|_| StringBuilder::new()),
            policies: StringBuilder::new(),
            rho: Float64Builder::new(),
            epsilon: Float64Builder::new(),
            delta: Float64Builder::new(),
            rows: Int64Builder::new(),
            from_store: BooleanBuilder::new(),
            elapsed_ms: Float64Builder::new(),
            access_grant: Int64Builder::new(),
        }
    }

    fn append(&mut self, row: &Row) -> Result<()> {
        self.rows_read += 1;
        if self.wants("id") {
            self.id.append_value(row.get("id")?);
        }
        if self.wants("at") {
            self.at.append_value(row.get("at")?);
        }
        for (name, column) in TEXT_COLUMNS.iter().zip(&mut self.texts) {
            if self.schema.column_with_name(name).is_some() {
                column.append_option(row.get_ref(*name)?.as_str_or_null().map_err(rusqlite::Error::from)?);
            }
        }
        if ["rows", "from_store", "elapsed_ms", "access_grant"].iter().any(|name| self.wants(name)) {
            self.append_outcome(row)?;
        }
        if ["policies", "rho", "epsilon", "delta"].iter().any(|name| self.wants(name)) {
            self.append_charges(row)?;
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some()
    }

    fn append_charges(&mut self, row: &Row) -> Result<()> {
        let charges = Charged::read(row)?;
        let most = |of: fn(&Charged) -> f64| charges.iter().map(of).fold(0.0, f64::max);
        let policies: Vec<&str> = charges.iter().map(Charged::policy).collect();
        self.policies.append_value(policies.join(", "));
        self.rho.append_value(most(|charge| charge.spent().rho));
        self.epsilon.append_value(most(Charged::epsilon));
        self.delta.append_value(most(|charge| charge.spent().delta));
        Ok(())
    }

    fn append_outcome(&mut self, row: &Row) -> Result<()> {
        self.rows.append_option(row.get("rows")?);
        self.from_store.append_value(row.get("from_store")?);
        let elapsed_us: Option<i64> = row.get("elapsed_us")?;
        let elapsed_ms = elapsed_us.map(|micros| micros as f64 / 1_000.0);
        self.elapsed_ms.append_option(elapsed_ms);
        self.access_grant.append_option(row.get("access_grant")?);
        Ok(())
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let schema = self.schema.clone();
        let columns = schema.fields().iter().map(|field| self.column(field.name())).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows_read));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|_| Error::internal())
    }

    fn column(&mut self, name: &str) -> Result<ArrayRef> {
        if let Some(text) = TEXT_COLUMNS.iter().position(|text| *text == name) {
            return Ok(Arc::new(self.texts[text].finish()));
        }
        match name {
            "id" => Ok(Arc::new(self.id.finish())),
            "at" => Ok(Arc::new(self.at.finish())),
            "policies" => Ok(Arc::new(self.policies.finish())),
            "rho" => Ok(Arc::new(self.rho.finish())),
            "epsilon" => Ok(Arc::new(self.epsilon.finish())),
            "delta" => Ok(Arc::new(self.delta.finish())),
            "rows" => Ok(Arc::new(self.rows.finish())),
            "from_store" => Ok(Arc::new(self.from_store.finish())),
            "elapsed_ms" => Ok(Arc::new(self.elapsed_ms.finish())),
            "access_grant" => Ok(Arc::new(self.access_grant.finish())),
            _ => Err(Error::internal()),
        }
    }
}
