//! Names to tables, columns and functions: the syntax tree becomes a typed logical plan.
//!
//! In: a query and the tables the principal may see. Out: [`Resolved`], a plan over sources that cannot be read.
//! This stage decides nothing about privacy; it only sees to it that no name leads anywhere else.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DataFusionError, ParamValues, ScalarValue, SchemaError, TableReference};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast;

use super::context::{Context, KnownTable, Source, SourceKind};
use super::decorrelate::{below_aggregates, decorrelate};
use super::decorrelate_lists::lists_beside;
use super::opened::RowRecipe;
use super::search::{holds, holds_subquery};
use super::text_forms::as_texts;
use super::views::Rights;
use super::{any_list, directory, names, opened, optimise, position};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Access, Capability, Principal, TextForm};

/// A typed plan whose names all lead to sources of the context.
#[derive(Debug)]
pub struct Resolved {
    pub(super) plan: LogicalPlan,
    /// The answer's columns by the names that the client will see.
    pub(super) columns: SchemaRef,
}

/// What a query's parameters and columns are, found without values.
#[derive(Debug)]
pub struct Unbound {
    plan: LogicalPlan,
    columns: SchemaRef,
}

/// Errors: 42P01, 42703, 42702, 42883, 42803, 42804, 42501, 0A000.
pub fn resolve(context: &Context, query: &ast::Query, parameters: &[ScalarValue]) -> Result<Resolved> {
    let unbound = plan(context, query)?;
    let columns = unbound.columns();
    let bound = with_values(unbound.plan, parameters).map_err(|error| refuse_plan(context, &error))?;
    let bound = any_list::in_lists(bound).map_err(|error| refuse_plan(context, &error))?;
    analyze(context, bound).map(|plan| Resolved { plan, columns })
}

/// The engine makes the columns of every node again, also where there is no parameter.
fn with_values(plan: LogicalPlan, parameters: &[ScalarValue]) -> datafusion::common::Result<LogicalPlan> {
    match holds(&plan, |part| matches!(part, Expr::Placeholder(_)))? {
        true => plan.with_param_values(ParamValues::from(parameters.to_vec())),
        false => Ok(plan),
    }
}

/// The plan before its parameters have values.
pub fn plan(context: &Context, query: &ast::Query) -> Result<Unbound> {
    let unbound = planned(context, query, &Names::new(context))?;
    if opened::asks_for_rows(context, &unbound.plan)? {
        // The same question of what the grant shows.
        return planned(context, query, &Names::of_rows(context))
            .map_err(|error| opened::refuse_unshown(context, error));
    }
    Ok(unbound)
}

fn planned(context: &Context, query: &ast::Query, names: &Names) -> Result<Unbound> {
    let mut options = ParserOptions::new();
    options.collect_spans = true;
    let planner = SqlToRel::new_with_options(names, options);
    planner
        .sql_statement_to_plan(ast::Statement::Query(Box::new(names::name_columns(&as_texts(query)?))))
        .map(|plan| Unbound { columns: names::output_schema(query, plan.schema().inner()), plan })
        .map_err(|error| refuse_plan(context, &error))
}

impl Unbound {
    /// The columns that the answer will have.
    pub fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    /// With the types that the columns have once every expression is coerced, as the answer's will; where that cannot be told
    /// without the parameters, as it is.
    pub fn typed(mut self, context: &Context, query: &ast::Query) -> Self {
        let lists = any_list::in_lists(self.plan.clone());
        if let Ok(plan) = lists.map_err(|_| Error::internal()).and_then(|plan| analyze(context, plan)) {
            self.columns = names::output_schema(query, plan.schema().inner());
        }
        self
    }

    /// Types of `$1, $2, …` as far as the query says; `None` where it does not.
    pub fn parameters(&self) -> Result<Vec<Option<DataType>>> {
        let found = self.plan.get_parameter_types().map_err(|_| Error::internal())?;
        let number = |name: &String| name.trim_start_matches('$').parse::<usize>().ok();
        let count = found.keys().filter_map(number).max().unwrap_or(0);
        let mut types = vec![None; count];
        for (name, data_type) in &found {
            if let Some(slot) = number(name).and_then(|n| n.checked_sub(1)).and_then(|n| types.get_mut(n)) {
                *slot = data_type.clone();
            }
        }
        for (name, list) in any_list::parameter_types(&self.plan).map_err(|_| Error::internal())? {
            if let Some(slot) = number(&name).and_then(|n| n.checked_sub(1)).and_then(|n| types.get_mut(n)) {
                *slot = Some(list);
            }
        }
        // What LIMIT and OFFSET take is a number, whatever the planner leaves open.
        let limited = self.plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Limit(limit) = node {
                for expression in limit.skip.iter().chain(&limit.fetch) {
                    if let Expr::Placeholder(placeholder) = expression.as_ref()
                        && let Some(slot) =
                            number(&placeholder.id).and_then(|n| n.checked_sub(1)).and_then(|n| types.get_mut(n))
                    {
                        slot.get_or_insert(DataType::Int64);
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        limited.map_err(|_| Error::internal())?;
        Ok(types)
    }
}

/// Explicit casts, `count(*)` spelled out, subqueries as joins: what every later stage relies on.
pub(super) fn analyze(context: &Context, plan: LogicalPlan) -> Result<LogicalPlan> {
    let plain = match holds_subquery(&plan) {
        Ok(true) => lists_beside(plan).and_then(below_aggregates),
        Ok(false) => Ok(plan),
        Err(error) => Err(error),
    };
    plain.and_then(optimise::typed).and_then(decorrelate).map_err(|error| refuse_plan(context, &error))
}

pub(super) struct Names<'a> {
    pub context: &'a Context,
    pub rights: Rights,
    /// Views around what is looked up.
    pub depth: usize,
    /// Inside a metric of an administrator.
    pub metric: bool,
    /// Tables of which there is a live grant stand for their de-identified rows.
    rows: bool,
}

impl<'a> Names<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self::inside(context, Rights::Invoker, 0)
    }

    /// Below `depth` views, with the rights that count there.
    pub fn inside(context: &'a Context, rights: Rights, depth: usize) -> Self {
        Self { context, rights, depth, metric: false, rows: false }
    }

    fn of_rows(context: &'a Context) -> Self {
        Self { rows: true, ..Self::new(context) }
    }

    fn source(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        let name = reference.table();
        let in_reach = reference.schema().is_none_or(|schema| schema == "public");
        if let Some(view) = self.context.views.get(name).filter(|_| in_reach) {
            return self.view(name, view);
        }
        let known = self.context.tables.get(name).filter(|_| in_reach);
        let Some(known) = known else {
            return Err(Error::new(SqlState::UndefinedTable, format!("relation \"{reference}\" does not exist"))
                .hint("\\dt lists the tables you may query"));
        };
        self.refuse_unreadable(&known.table.access, name)?;
        let own = self.rights == Rights::Invoker;
        if own && !self.context.policies.may_see(&self.context.principal, name) {
            return Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied for table {name}"))
                .detail("the table is not granted to any of your roles")
                .hint(
                    self.context
                        .principal
                        .why_lapsed()
                        .unwrap_or_else(|| format!("an administrator grants it: GRANT SELECT ON {name} TO …")),
                ));
        }
        let below_masks = self.rights == Rights::Directory;
        let grant = self.context.access.get(name).filter(|_| self.rows && own);
        let (kind, schema) = match (&known.table.access, grant) {
            (Access::Public, _) => (SourceKind::Public(name.to_owned()), known.schema.clone()),
            (Access::Directory, _) if below_masks => (SourceKind::Directory(name.to_owned()), known.schema.clone()),
            (Access::Directory, _) => (SourceKind::Opened(name.to_owned()), self.directory_schema(known, own)),
            (Access::Protected { .. } | Access::Linked { .. }, Some(grant)) => {
                let shown = RowRecipe::of(self.context, known, grant)?.schema(known)?;
                (SourceKind::Opened(name.to_owned()), shown)
            }
            (Access::Protected { .. } | Access::Linked { .. } | Access::Unclassified, _) => {
                (SourceKind::Protected(name.to_owned()), known.schema.clone())
            }
        };
        Ok(Arc::new(Source { granted: !own, metric: self.metric, ..Source::new(kind, schema) }))
    }

    /// Of a directory only what may be read is there: another column does not exist.
    fn directory_schema(&self, known: &KnownTable, own: bool) -> SchemaRef {
        let (policies, principal, table) = (&self.context.policies, &self.context.principal, &known.table);
        let there = |name: &String| {
            opened::showable(table.column(name).and_then(|column| column.class))
                && (!own || policies.may_read(principal, &table.name, name))
        };
        let fields = known.schema.fields().iter().filter(|field| there(field.name()));
        Arc::new(Schema::new(fields.map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()))
    }

    fn refuse_unreadable(&self, access: &Access, name: &str) -> Result<()> {
        let principal = &self.context.principal;
        let denied = || Error::new(SqlState::InsufficientPrivilege, format!("permission denied for table {name}"));
        match access {
            Access::Unclassified => Err(denied()
                .detail("the table is not classified: until an administrator says whose rows it holds, nobody can read it")
                .hint(format!(
                    "ALTER TABLE {name} SET (person_key = '…'), or ALTER TABLE {name} SET (public = true), then a class for each column"
                ))),
            Access::Directory | Access::Public if self.rights == Rights::Directory => Ok(()),
            Access::Protected { .. } | Access::Linked { .. } if self.rights == Rights::Directory => Err(denied()
                .detail("whether a directory shows a value cannot depend on rows of persons that are only counted")
                .hint("visible_when reads the row itself, other directories and public tables")),
            Access::Directory if self.rights == Rights::Invoker && reads_nobody(principal) => Err(denied()
                .detail("administrators and auditors read nobody, also not behind masks")
                .hint("GRANT SELECT on the directory TO the login of a member")),
            Access::Directory => Ok(()),
            Access::Public | Access::Protected { .. } | Access::Linked { .. }
                if !principal.may_ask() && self.rights != Rights::Nobody =>
            {
                Err(principal
                    .denied(Capability::Analyse, format!("permission denied for table {name}"))
                    .detail("only members of insights_analyst or business_leader query data; administrators and auditors read nobody"))
            }
            Access::Public | Access::Protected { .. } | Access::Linked { .. } => Ok(()),
        }
    }
}

/// Those who prepare, and those who audit.
fn reads_nobody(principal: &Principal) -> bool {
    [Capability::Administer, Capability::ManageRoles, Capability::Audit].iter().any(|duty| principal.can(*duty))
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        self.source(&name).map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.context.functions.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == directory::SESSION_PERSON && self.rights == Rights::Directory {
            return Some(directory::session_person());
        }
        self.context.functions.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.context.functions.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.context.functions.window.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &optimise::OPTIONS
    }

    fn udf_names(&self) -> Vec<String> {
        self.context.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.context.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.context.functions.window.keys().cloned().collect()
    }
}

/// The planner's error in Postgres's words. Planning sees names and types only, so its texts hold no data.
pub(super) fn refuse_plan(context: &Context, error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => Error::internal(),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => refuse_plan(context, inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(Error::internal, |first| refuse_plan(context, first))
        }
        DataFusionError::Shared(inner) => refuse_plan(context, inner),
        DataFusionError::SchemaError(inner, _) => refuse_schema(context, inner),
        DataFusionError::NotImplemented(text) => Error::new(SqlState::FeatureNotSupported, first_line(text)),
        DataFusionError::Plan(text) => refuse_text(text),
        DataFusionError::SQL(..)
        | DataFusionError::ArrowError(..)
        | DataFusionError::ParquetError(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::Internal(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::ExecutionJoin(_)
        | DataFusionError::ResourcesExhausted(_)
        | DataFusionError::Substrait(_)
        | DataFusionError::Ffi(_) => Error::new(SqlState::FeatureNotSupported, "this query cannot be planned"),
    }
}

fn refuse_schema(context: &Context, error: &SchemaError) -> Error {
    let name = |column: &Column| column.flat_name().replace('"', "");
    match error {
        SchemaError::FieldNotFound { field, .. } => {
            Error::new(SqlState::UndefinedColumn, format!("column \"{}\" does not exist", name(field)))
                .at(position::of_column(context, field))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(SqlState::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", name(field)))
                .at(position::of_column(context, field))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(SqlState::AmbiguousColumn, format!("column name \"{name}\" is used twice"))
                .hint("give one of them an alias")
        }
    }
}

fn refuse_text(text: &str) -> Error {
    let line = first_line(text);
    if let Some(name) = text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        if super::allow::unknown_aggregate(name) {
            return Error::new(SqlState::FeatureNotSupported, format!("the aggregate {name} is not supported"))
                .hint(super::allow::aggregate_hint(name));
        }
        return Error::new(SqlState::UndefinedFunction, format!("function {name} does not exist"))
            .hint("functions over people come from an allow-list; the README names them");
    }
    let state = if line.contains("GROUP BY") {
        SqlState::GroupingError
    } else if line.contains("coerc") || line.contains("type") {
        SqlState::DatatypeMismatch
    } else {
        SqlState::SyntaxError
    };
    Error::new(state, line)
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or("this query cannot be planned");
    let mut characters = line.trim_end_matches('.').chars();
    characters.next().map(|first| first.to_lowercase().collect::<String>() + characters.as_str()).unwrap_or_default()
}

/// The engine's type for a type of SQL, as `CREATE EXTERNAL TABLE` declares columns. Errors: 42704.
pub fn column_type(written: &ast::DataType) -> Result<DataType> {
    use ast::{DataType as Sql, ExactNumberInfo, TimezoneInfo};
    let decimal = |info: &ExactNumberInfo| match info {
        ExactNumberInfo::None => Some(DataType::Decimal128(38, 10)),
        ExactNumberInfo::Precision(precision) => u8::try_from(*precision).ok().map(|p| DataType::Decimal128(p, 0)),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            u8::try_from(*precision).ok().zip(i8::try_from(*scale).ok()).map(|(p, s)| DataType::Decimal128(p, s))
        }
    };
    let known = match written {
        Sql::SmallInt(_) | Sql::Int2(_) => Some(DataType::Int16),
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => Some(DataType::Int32),
        Sql::BigInt(_) | Sql::Int8(_) => Some(DataType::Int64),
        Sql::Real | Sql::Float4 => Some(DataType::Float32),
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float(_) => Some(DataType::Float64),
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => decimal(info),
        Sql::Uuid | Sql::JSON | Sql::JSONB => Some(DataType::Utf8),
        Sql::Text | Sql::Varchar(_) | Sql::CharacterVarying(_) | Sql::Char(_) | Sql::Character(_) | Sql::String(_) => {
            Some(DataType::Utf8)
        }
        Sql::Bool | Sql::Boolean => Some(DataType::Boolean),
        Sql::Date => Some(DataType::Date32),
        Sql::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        Sql::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        }
        _ => None,
    };
    known.ok_or_else(|| {
        Error::new(SqlState::UndefinedObject, format!("type \"{written}\" is not supported for a column")).hint(
            "there are SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, NUMERIC, TEXT, BOOLEAN, DATE, TIMESTAMP, UUID, JSON and JSONB",
        )
    })
}

/// The form that a declared column's texts have.
pub fn column_form(written: &ast::DataType) -> Option<TextForm> {
    match written {
        ast::DataType::Uuid => Some(TextForm::Uuid),
        ast::DataType::JSON => Some(TextForm::Json),
        ast::DataType::JSONB => Some(TextForm::Jsonb),
        _ => None,
    }
}
