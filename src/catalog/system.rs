//! pg_catalog, information_schema and the product's own views: what clients ask to find their way around.
//!
//! In: a parsed statement that [`is_system_query`] let through, and what the session may see. Out: its rows.
//! No row of a person can be reached from here: user tables are names and columns, files and other sources do not exist,
//! nothing can be written. What a role may not see is not there at all.

mod activity;
mod adapt;
mod any_equals;
mod correlated;
mod empty;
mod expressions;
mod functions;
mod functions_of_text;
mod information_schema;
mod moments;
mod names;
mod objects;
mod placeholders;
mod policies;
mod privileges;
mod references;
mod reg_types;
mod relations;
#[cfg(test)]
mod relations_tests;
mod rows;
mod schemas;
mod set_functions;
mod statics;
mod tables;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;
use futures::StreamExt;

use crate::catalog::files::insufficient_resources;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Policies, Principal};
pub use activity::{ActivityRow, Seen, Signal, Signals};
use adapt::Correlated;
use objects::Objects;
use placeholders::placeholders;
pub use relations::is_system_query;
use schemas::{StaticTables, SystemRows};
pub use types::type_name;

/// Of one answer.
const MOST_BYTES: usize = 256 << 20;

/// What `server_version` says: the Postgres whose catalog is imitated, then the product.
pub const SERVER_VERSION: &str = concat!("16.4 (Paravent ", env!("CARGO_PKG_VERSION"), ")");

/// A view of the product with the rows that the principal may see.
#[derive(Debug, Clone)]
pub struct View {
    /// `privacy` or `audit`.
    pub schema: &'static str,
    pub name: &'static str,
    pub rows: Arc<dyn TableProvider>,
}

impl View {
    pub fn of_rows(schema: &'static str, name: &'static str, batch: RecordBatch) -> Result<Self> {
        let rows = schemas::memory(vec![batch]).map_err(|_| Error::internal())?;
        Ok(Self { schema, name, rows })
    }
}

/// An open cursor of the session, as pg_cursors shows it.
#[derive(Debug, Clone)]
pub struct CursorRow {
    pub name: String,
    pub statement: String,
    pub holdable: bool,
    pub binary: bool,
    pub scrollable: bool,
    /// Microseconds since 1970.
    pub declared_at: i64,
}

/// What `now()` and its like say, in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    pub transaction: i64,
    pub statement: i64,
}

/// Name, value (`None`: the default) and whether it holds for the transaction only.
pub type SettingMade = (String, Option<String>, bool);

/// Who asks, and what there is for them.
#[derive(Debug, Clone)]
pub struct SystemSession {
    pub database: String,
    pub user: String,
    pub policies: Arc<Policies>,
    pub principal: Principal,
    pub views: Vec<View>,
    /// For `current_setting` and pg_settings.
    pub settings: BTreeMap<String, String>,
    pub backend_pid: i32,
    pub cursors: Vec<CursorRow>,
    /// The sessions that this one may see, where the statement asks for them.
    pub activity: Vec<ActivityRow>,
    pub signals: Signals,
    pub moments: Moments,
    /// What `set_config` was called with: for the session to set, once the statement has run.
    pub settings_made: Arc<Mutex<Vec<SettingMade>>>,
}

impl SystemSession {
    /// Takes them.
    pub fn settings_made(&self) -> Vec<SettingMade> {
        self.settings_made.lock().map(|mut made| std::mem::take(&mut *made)).unwrap_or_default()
    }
}

/// What is the same in every session: Postgres's own tables of types and functions, and the engine's functions. The
/// server holds one.
#[derive(Clone)]
pub struct SystemCatalog {
    template: SessionState,
    statics: Arc<StaticTables>,
    /// Names of tables in `statics` without a row.
    empty: Arc<HashSet<String>>,
    system_relations: Arc<Vec<objects::Relation>>,
    types: Arc<HashMap<String, i32>>,
    system_rows: Arc<SystemRows>,
}

/// A statement ready to run.
struct Planned {
    context: SessionContext,
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl SystemCatalog {
    pub fn new() -> Result<Self> {
        let loaded = statics::load().map_err(|_| Error::internal())?;
        Ok(Self {
            template: statics::template(&loaded.keywords).map_err(|_| Error::internal())?,
            statics: Arc::new(loaded.tables),
            empty: Arc::new(loaded.empty),
            system_relations: Arc::new(loaded.relations),
            types: Arc::new(loaded.types),
            system_rows: Arc::new(loaded.rows),
        })
    }

    /// The engine's plan. Not optimised; parameters are still placeholders.
    pub async fn plan(&self, session: &SystemSession, statement: &Statement) -> Result<(SessionContext, LogicalPlan)> {
        let planned = self.prepare(session, statement).await?;
        Ok((planned.context, planned.plan))
    }

    /// The types of the statement's parameters, `$1` first, and its columns. Runs nothing.
    pub async fn describe(&self, session: &SystemSession, statement: &Statement) -> Result<(Vec<DataType>, SchemaRef)> {
        let planned = self.prepare(session, statement).await?;
        let types = planned.plan.get_parameter_types().map_err(|error| refusal(&error))?;
        // The plan may have lost some: a part that has no rows is not planned.
        let written = placeholders(statement);
        let parameters = (1..=written.keys().max().copied().unwrap_or(0))
            .map(|number| {
                let found = types.get(&format!("${number}")).cloned().flatten();
                written.get(&number).cloned().flatten().or(found).unwrap_or(DataType::Utf8)
            })
            .collect();
        Ok((parameters, planned.schema))
    }

    pub async fn run(
        &self,
        session: &SystemSession,
        statement: &Statement,
        parameters: &[ScalarValue],
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let planned = self.prepare(session, statement).await?;
        let plan = if parameters.is_empty() {
            planned.plan
        } else {
            let values = ParamValues::from(parameters.to_vec());
            planned.plan.with_param_values(values).map_err(|error| refusal(&error))?
        };
        let frame = DataFrame::new(planned.context.state(), plan);
        let mut rows = frame.execute_stream().await.map_err(|error| failure(&error))?;
        let (schema, mut batches, mut bytes) = (planned.schema, Vec::new(), 0);
        while let Some(batch) = rows.next().await {
            let batch = named(&schema, &batch.map_err(|error| failure(&error))?)?;
            bytes += batch.get_array_memory_size();
            if bytes > MOST_BYTES {
                return Err(Error::new(SqlState::ProgramLimitExceeded, "the answer is too large")
                    .detail(format!("an answer about the system may have {} MB", MOST_BYTES >> 20))
                    .hint(
                        "ask for fewer rows or columns; the log can be read in parts: WHERE id > … ORDER BY id LIMIT …",
                    ));
            }
            batches.push(batch);
        }
        Ok((schema, batches))
    }

    async fn prepare(&self, session: &SystemSession, statement: &Statement) -> Result<Planned> {
        // The caller chose this path by the same question; here it is asked again of what is about to be planned.
        let user_tables = |name: &str| session.policies.is_relation(name);
        if !is_system_query(statement, &user_tables) {
            return Err(unsupported());
        }
        let context = self.context(session)?;
        let (mut first_error, mut unsure) = (None, None);
        for correlated in [Correlated::Keep, Correlated::Null] {
            let adapted = adapt::adapt(statement, &self.empty, correlated);
            match plan_adapted(&context, adapted).await {
                Ok((plan, false)) => unsure = unsure.or(Some(plan)),
                Ok((plan, true)) => {
                    let schema = output_schema(statement, &plan);
                    return Ok(Planned { context, plan, schema });
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(plan) = unsure {
            let schema = output_schema(statement, &plan);
            return Ok(Planned { context, plan, schema });
        }
        let adapted = adapt::adapt(statement, &self.empty, Correlated::Keep);
        refuse_missing_relation(&context, adapted).await?;
        Err(first_error.map_or_else(Error::internal, |error| refusal(&error)))
    }

    fn context(&self, session: &SystemSession) -> Result<SessionContext> {
        let objects = Objects::new(session)?;
        let mut known = objects.clone();
        known.relations.extend(self.system_relations.iter().cloned());
        known.types = self.types.clone();
        let list = schemas::catalog_list(session, &Arc::new(objects), &self.statics, &self.system_rows)
            .map_err(|_| Error::internal())?;
        let config = SessionConfig::from(self.template.config_options().as_ref().clone())
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(&session.database, "public");
        let state = SessionStateBuilder::new_from_existing(self.template.clone())
            .with_config(config)
            .with_catalog_list(list)
            .build();
        let context = SessionContext::new_with_state(state);
        for function in functions::all(session, &Arc::new(known)) {
            context.register_udf(function);
        }
        for function in paravent_udfs::postgres_functions() {
            context.register_udf(function.as_ref().clone());
        }
        Ok(context)
    }
}

/// The plan, and whether it is known to run: with parameters that is tried with nulls, and may fail because of them.
async fn plan_adapted(
    context: &SessionContext,
    statement: Statement,
) -> datafusion::error::Result<(LogicalPlan, bool)> {
    let state = context.state();
    let statement = EngineStatement::Statement(Box::new(statement));
    let plan = state.statement_to_plan(statement).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    // Whether a correlated subquery can be had shows only when it is planned to the end.
    let types = plan.get_parameter_types()?;
    if types.is_empty() {
        state.create_physical_plan(&plan).await?;
        return Ok((plan, true));
    }
    let nulls = types.iter().map(|(name, data_type)| {
        let null = ScalarValue::try_new_null(data_type.as_ref().unwrap_or(&DataType::Utf8))?;
        Ok((name.trim_start_matches('$').to_owned(), null.into()))
    });
    let nulls = nulls.collect::<datafusion::error::Result<HashMap<_, _>>>()?;
    let planned = match plan.clone().with_param_values(ParamValues::Map(nulls)) {
        Ok(bound) => state.create_physical_plan(&bound).await.is_ok(),
        Err(_) => false,
    };
    Ok((plan, planned))
}

fn output_schema(statement: &Statement, plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields();
    let names = names::output_names(statement).filter(|names| names.len() == fields.len());
    let fields: Vec<Field> = fields
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let name = match &names {
                Some(names) => names[at].clone(),
                None => field.name().trim_start_matches("__alias_").to_owned(),
            };
            Field::new(name, shown_type(field.data_type()), true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A column of nothing but `NULL` is text, as in Postgres.
fn shown_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    }
}

/// The rows under the statement's own column names, in the types that it was described with.
fn named(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| cast(column, field.data_type()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::internal())?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|_| Error::internal())
}

async fn refuse_missing_relation(context: &SessionContext, statement: Statement) -> Result<()> {
    let state = context.state();
    let statement = EngineStatement::Statement(Box::new(statement));
    let Ok(references) = state.resolve_table_references(&statement) else {
        return Ok(());
    };
    for reference in references {
        let known = match state.schema_for_ref(reference.clone()) {
            Ok(schema) => schema.table_exist(reference.table()),
            Err(_) => false,
        };
        let set_function = state.table_functions().contains_key(reference.table());
        if !known && !set_function {
            return Err(Error::new(SqlState::UndefinedTable, format!("relation \"{reference}\" does not exist"))
                .hint("\\d lists the relations you may see"));
        }
    }
    Ok(())
}

/// Why a catalog statement cannot be planned. The engine's text stays here: only names that the statement itself holds
/// are taken from it.
fn refusal(error: &DataFusionError) -> Error {
    let root = error.find_root();
    if let DataFusionError::External(inner) = root
        && let Some(own) = inner.downcast_ref::<Error>()
    {
        return own.clone();
    }
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let datafusion::common::SchemaError::FieldNotFound { field, .. } = schema_error.as_ref()
    {
        return Error::new(SqlState::UndefinedColumn, format!("column \"{}\" does not exist", field.name));
    }
    if let DataFusionError::Plan(text) = root
        && let Some(rest) = text.strip_prefix("Invalid function '")
        && let Some((name, _)) = rest.split_once('\'')
    {
        return Error::new(SqlState::UndefinedFunction, format!("function {name} does not exist")).hint(
            "settings are made with SET, data is asked for from tables; README.md names the functions there are",
        );
    }
    unsupported()
}

fn unsupported() -> Error {
    Error::new(SqlState::FeatureNotSupported, "this query of the system catalog is not supported")
        .hint("\\d, information_schema and simple selects from pg_catalog work")
}

/// Which rule of arithmetic or of types a value broke. Its text stays here: it may quote the value.
fn failure(error: &DataFusionError) -> Error {
    if let Some(error) = insufficient_resources(error) {
        return error;
    }
    let own = |error: &(dyn std::error::Error + 'static)| error.downcast_ref::<Error>().cloned();
    let (state, message) = match error.find_root() {
        DataFusionError::External(inner) => return own(inner.as_ref()).unwrap_or_else(Error::internal),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => (SqlState::DivisionByZero, "division by zero"),
            ArrowError::ArithmeticOverflow(_) => (SqlState::NumericValueOutOfRange, "a number is out of range"),
            ArrowError::CastError(text) if text.contains("imestamp") || text.contains("Date") => {
                (SqlState::DatetimeFieldOverflow, "a text is no date or time, or out of range")
            }
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                (SqlState::InvalidTextRepresentation, "a text is not of the type that is wanted")
            }
            _ => return Error::internal(),
        },
        _ => return Error::internal(),
    };
    Error::new(state, message)
}
