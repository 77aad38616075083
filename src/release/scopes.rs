//! Finds in the data who is in a scope: reporting lines, and the persons whom a row policy allows.
//!
//! In: a table's real rows. Out: maps by person that stay inside the server and are asked one person at a time. What was found
//! is kept while the data stays the same. Must never: hand a person's key to anything but the scan's own filter.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::collect;

use super::Engine;
use crate::error::{Error, Result};
use crate::policy::{ByPerson, DigestOf, Digester, Person, ReportingLines};
use crate::query::{RowRule, for_each_person, texts};

/// What was found in one snapshot of the data, by what was looked for.
#[derive(Default)]
pub struct ScopeCache {
    lines: Kept<(String, String, String), ReportingLines>,
    allowed: Kept<(String, String, String), ByPerson<bool>>,
}

/// A table, its person key, and its manager key or the text of a rule.
pub type Looked = (String, String, String);

struct Kept<K, V>(Mutex<HashMap<K, (String, Arc<V>)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Rules come and go; what no statement asks for any more is not kept for ever.
const KEPT_AT_MOST: usize = 256;

impl<K: Eq + Hash, V> Kept<K, V> {
    fn get(&self, key: &K, snapshot: &str) -> Option<Arc<V>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(key).filter(|(of, _)| of == snapshot).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, snapshot: &str, value: Arc<V>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= KEPT_AT_MOST {
            held.clear();
        }
        held.insert(key, (snapshot.to_owned(), value));
    }
}

impl Engine {
    /// Reporting lines of the data as it is at `snapshot`.
    pub async fn reporting_lines(
        &self,
        cache: &ScopeCache,
        (table, person_key, manager_key): Looked,
        snapshot: &str,
        provider: Arc<dyn TableProvider>,
        digester: &Digester,
    ) -> Result<Arc<ReportingLines>> {
        let looked = (table, person_key, manager_key);
        if let Some(known) = cache.lines.get(&looked, snapshot) {
            return Ok(known);
        }
        let rows = self.columns_of(provider, &[&looked.1, &looked.2]).await?;
        let digester = digester.clone();
        let found = Arc::new(apart(move || lines(&rows, &digester)).await?);
        cache.lines.put(looked, snapshot, found.clone());
        Ok(found)
    }

    /// For every person with a row: does the rule allow all of them?
    pub async fn allowed_persons(
        &self,
        cache: &ScopeCache,
        person_key: &str,
        rule: Arc<RowRule>,
        snapshot: &str,
        provider: Arc<dyn TableProvider>,
    ) -> Result<Arc<ByPerson<bool>>> {
        let looked = (rule.table().to_owned(), person_key.to_owned(), rule.using().to_owned());
        if let Some(known) = cache.allowed.get(&looked, snapshot) {
            return Ok(known);
        }
        let wanted: Vec<&str> = std::iter::once(person_key).chain(rule.columns().map(String::as_str)).collect();
        let rows = self.columns_of(provider, &wanted).await?;
        let found = Arc::new(apart(move || allowed(&rows, &rule)).await?);
        cache.allowed.put(looked, snapshot, found.clone());
        Ok(found)
    }

    /// Errors: XX000 without a word of the cause, which may quote a cell.
    async fn columns_of(&self, provider: Arc<dyn TableProvider>, columns: &[&str]) -> Result<RecordBatch> {
        let wanted = columns
            .iter()
            .enumerate()
            .map(|(i, name)| Expr::Column(Column::new(Some("scoped"), *name)).alias(format!("column {i}")));
        let plan = LogicalPlanBuilder::scan("scoped", provider_as_source(provider), None)
            .and_then(|scan| scan.project(wanted.collect::<Vec<_>>())?.build())
            .and_then(|plan| self.state().optimize(&plan))
            .map_err(|_| Error::internal())?;
        let physical = self.state().query_planner().create_physical_plan(&plan, self.state()).await;
        let physical = physical.map_err(|_| Error::internal())?;
        let schema = physical.schema();
        let batches = collect(physical, self.task()).await.map_err(|_| Error::internal())?;
        concat_batches(&schema, &batches).map_err(|_| Error::internal())
    }
}

/// Work of a second goes to a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal())?
}

fn lines(rows: &RecordBatch, digester: &Digester) -> Result<ReportingLines> {
    let (persons, managers) = (keys(rows.column(0))?, keys(rows.column(1))?);
    let rows = (0..rows.num_rows()).filter_map(|row| Some((persons.at(row)?, managers.at(row))));
    Ok(ReportingLines::new(rows.collect(), |person| digester.digest(DigestOf::Login, person)))
}

fn allowed(rows: &RecordBatch, rule: &RowRule) -> Result<ByPerson<bool>> {
    let columns = rows.columns().split_first().ok_or_else(Error::internal)?;
    let allows = rule.allows(columns.1, rows.num_rows()).map_err(|_| Error::internal())?;
    let mut found: ByPerson<bool> = ByPerson::default();
    let mut row = 0;
    for_each_person(columns.0, |person| {
        if let Some(person) = person {
            found.insert(person, allows.value(row) && found.get(person).unwrap_or(true));
        }
        row += 1;
    })
    .map_err(|_| Error::internal())?;
    Ok(found)
}

/// A column of person keys, to be read in any order.
enum Keys {
    Numbers(arrow::array::Int64Array),
    Texts(arrow::array::StringViewArray),
}

impl Keys {
    fn at(&self, row: usize) -> Option<Person<'_>> {
        match self {
            Self::Numbers(numbers) => numbers.is_valid(row).then(|| Person::Number(numbers.value(row))),
            Self::Texts(texts) => texts.is_valid(row).then(|| Person::of_text(texts.value(row))),
        }
    }
}

fn keys(column: &ArrayRef) -> Result<Keys> {
    let fits = column.data_type().is_integer() && *column.data_type() != DataType::UInt64;
    Ok(if fits {
        let numbers = cast(column, &DataType::Int64).map_err(|_| Error::internal())?;
        Keys::Numbers(numbers.as_primitive::<Int64Type>().clone())
    } else {
        Keys::Texts(texts(column).map_err(|_| Error::internal())?.as_string_view().clone())
    })
}
