//! `CALL privacy.assess_column_risk(table)` and the view `privacy.column_risk`: attribute columns whose values single persons out
//! (requirement W10, the "CEO" problem).
//!
//! In: released numbers. Out: bands of persons. Must never: count anybody exactly.
//!
//! **What is counted.** Persons in all, less the persons of the values that an answer would show: what is left holds values that too few
//! share. Both are ordinary releases, so the difference is post-processing. An answer shows a value from its threshold on, which lies above
//! the floor; the report says where it lay.
//! **Noise.** That of the releases. A band reaches two standard errors of the difference to either side.
//! **Cost.** `privacy.analyze_epsilon` in all, once per data version: later calls find the stored releases.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::listing::Listing;
use super::path::{Asked, Failure, compile};
use super::procedures::Arguments;
use super::reports::between;
use super::{Notice, Session};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Capability, Class, Settings, Table};
use crate::query::parse;
use crate::query::statement::{Call, Statement};
use crate::release::Shaped;

pub(super) const PROCEDURE: &str = "privacy.assess_column_risk";

/// What was found of one column.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Risk {
    table: String,
    column: String,
    /// Persons whose value too few share.
    low: f64,
    high: f64,
    /// Values shared by fewer are not shown.
    threshold: i64,
}

/// Two standard errors to either side.
const WIDTH: f64 = 2.0;

impl Session {
    /// Errors: 42501 for anybody but administrators, 42P01, 42809 for tables with several rows a person, 53400 where the budget is spent.
    pub(super) async fn assess_column_risk(&mut self, asked: &Asked<'_>, call: &Call) -> Result<Answer, Failure> {
        if !self.principal()?.can(Capability::Administer) {
            return Err(Error::new(SqlState::InsufficientPrivilege, "permission denied to assess column risk")
                .detail("it spends the budget of everybody; only members of insights_admin do it")
                .hint("ask a member of insights_admin")
                .into());
        }
        let given = Arguments::new(call, &["table"])?;
        let policies = self.server.catalog.policies();
        let table = policies.tables.get(given.required("table")?).ok_or_else(|| refuse_unknown(&given))?.clone();
        if table.rows_per_person() != Some(1) {
            return Err(Error::new(
                SqlState::WrongObjectType,
                format!("table \"{}\" is not known to have one row a person", table.name),
            )
            .detail("column risk is of the attributes of persons, where each has one value")
            .hint("ALTER TABLE … ADD PRIMARY KEY (person key)")
            .into());
        }
        let attributes = table.columns.iter().filter(|column| column.class == Some(Class::Attribute));
        let columns: Vec<String> = attributes.map(|column| column.name.clone()).collect();
        let settings = policies.settings.clone();
        let part = Settings {
            epsilon: settings.analyze_epsilon / ((columns.len() + 1) as f64).sqrt(),
            delta: settings.delta / (columns.len() + 1) as f64,
            ..settings
        };
        let name = quoted(&table.name);
        let question = format!("SELECT count(*), dp_stddev(count(*)) FROM {name}");
        let (all, _) = self.persons_of(asked, &table, &question, &part).await?;
        let mut found = Vec::new();
        for column in columns {
            let question = format!("{question} GROUP BY {}", quoted(&column));
            let (shown, threshold) = self.persons_of(asked, &table, &question, &part).await?;
            let (rest, error) = (all.sum - shown.sum, (all.variance + shown.variance).sqrt());
            let (low, high) = (rest - WIDTH * error, rest + WIDTH * error);
            found.push(Risk { table: table.name.clone(), column, low, high, threshold });
        }
        let snapshot = self.statistics_snapshot(&table).await?;
        let text = serde_json::to_string(&found).map_err(|_| Error::internal())?;
        self.server.ledger.keep_statistics(&key(&table), &snapshot, text).await?;
        self.notices.push(Notice::new(format!(
            "privacy.column_risk is of the present data of table {}; it cost epsilon {} at most",
            table.name,
            self.server.catalog.policies().settings.analyze_epsilon
        )));
        Ok(Answer::done("CALL"))
    }

    /// The numbers of persons that one release shows, and its threshold; asked as nobody who can log in.
    async fn persons_of(
        &mut self,
        asked: &Asked<'_>,
        table: &Table,
        question: &str,
        settings: &Settings,
    ) -> Result<(Persons, i64), Failure> {
        let (policies, principal) = self.server.catalog.policies().with_statistician(&table.name);
        let principal = principal.ok_or_else(Error::internal)?;
        let query = match parse::parse(question).map(|mut parsed| parsed.pop().map(|parsed| parsed.statement)) {
            Ok(Some(Statement::Query(query))) => query,
            Ok(_) | Err(_) => return Err(Error::internal().into()),
        };
        let around = self.surroundings_as(&query, question, Arc::new(policies), principal, settings).await?;
        let verified = compile(&around, &query, &[])?;
        let threshold = verified.releases().first().map_or(0, |release| release.facts().threshold);
        let said = self.notices.len();
        let shaped = self.answered(asked, &around, &verified).await;
        self.notices.truncate(said);
        Ok((persons(&shaped?.0)?, threshold))
    }

    /// What was assessed of the data as it is now.
    pub(super) async fn column_risk(&self) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let mut found: Vec<Risk> = Vec::new();
        for table in policies.tables.values().filter(|table| table.protection().is_some()) {
            let Ok(snapshot) = self.statistics_snapshot(table).await else { continue };
            let kept = self.server.ledger.statistics(&key(table), &snapshot).await?;
            found.extend(kept.and_then(|text| serde_json::from_str::<Vec<Risk>>(&text).ok()).into_iter().flatten());
        }
        Listing::of(&found)
            .text("table_name", |risk| Some(risk.table.clone()))
            .text("column_name", |risk| Some(risk.column.clone()))
            .text("persons", |risk| Some(between(risk.low, risk.high)))
            .count("shared_by_fewer_than", |risk| u64::try_from(risk.threshold).unwrap_or_default())
            .batch()
    }
}

/// A sum of released counts, and how far the noise may have moved it.
struct Persons {
    sum: f64,
    variance: f64,
}

fn persons(shaped: &Shaped) -> Result<Persons> {
    let mut found = Persons { sum: 0.0, variance: 0.0 };
    for batch in shaped.batches() {
        let column = |index: usize| -> Result<Vec<f64>> {
            let column = batch.columns().get(index).ok_or_else(Error::internal)?;
            let column = cast(column, &DataType::Float64).map_err(|_| Error::internal())?;
            let values = column.as_primitive::<Float64Type>();
            Ok((0..values.len()).map(|row| if values.is_null(row) { 0.0 } else { values.value(row) }).collect())
        };
        found.sum += column(0)?.iter().sum::<f64>();
        found.variance += column(1)?.iter().map(|error| error * error).sum::<f64>();
    }
    Ok(found)
}

/// Beside the statistics of ANALYZE, under a name that no table has.
fn key(table: &Table) -> String {
    format!("column risk\n{}", table.name)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn refuse_unknown(given: &Arguments<'_>) -> Error {
    let name = given.optional("table").unwrap_or_default();
    Error::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))
        .hint("name a table with a person key")
}
