//! The expression of a row policy: checked when it is made, evaluated for every row that is read.
//!
//! In: its text, and the table. Out: a [`RowRule`], or a refusal. The expression is over columns of that table alone, cannot
//! fail, always gives the same for the same row, and holds no subquery: then whether a row counts tells nothing of other rows,
//! and no row makes a statement end. A rule may read what analysts may not, except who a person is.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, SchemaError, TableReference};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, HigherOrderUDF, Operator, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;

use super::context::Functions;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Class, Table};

/// A row policy's expression, ready to be asked of rows.
#[derive(Debug)]
pub struct RowRule {
    table: String,
    name: String,
    using: String,
    /// The columns that it reads.
    schema: SchemaRef,
    test: Arc<dyn PhysicalExpr>,
}

impl RowRule {
    pub fn table(&self) -> &str {
        &self.table
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn using(&self) -> &str {
        &self.using
    }

    pub fn columns(&self) -> impl ExactSizeIterator<Item = &String> {
        self.schema.fields().iter().map(|field| field.name())
    }

    /// Which of the rows are allowed; NULL is not.
    pub fn allows(&self, columns: &[ArrayRef], count: usize) -> datafusion::common::Result<BooleanArray> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns.to_vec(), &options)?;
        let value = self.test.evaluate(&rows)?.into_array(count)?;
        let value =
            value.as_boolean_opt().ok_or_else(|| DataFusionError::Plan("a rule that is no condition".to_owned()))?;
        Ok(value.iter().map(|allowed| Some(allowed == Some(true))).collect())
    }
}

/// Errors: 42703, 42804, 42803, 42501 for identifiers, 42P17 for what could fail or change, 0A000 for what has no place in a rule.
pub fn row_rule(
    functions: &Functions,
    table: &Table,
    schema: &SchemaRef,
    name: &str,
    (using, expression): (&str, ast::Expr),
) -> Result<RowRule> {
    let whole = DFSchema::try_from(schema.clone()).map_err(|_| Error::internal())?;
    let names = Names { functions, options: ConfigOptions::default() };
    let planned = SqlToRel::new(&names).sql_to_expr(expression, &whole, &mut PlannerContext::new());
    let planned = planned.map_err(|error| refuse_unplanned(table, &error))?;
    refuse_foreign(&planned)?;
    let mut coercion = TypeCoercionRewriter::new(&whole);
    let typed = planned.rewrite(&mut coercion).map_err(|_| refuse_types())?.data;
    let typed = with_literals(typed)?;
    refuse_failing(&typed, &whole)?;
    if typed.get_type(&whole).map_err(|_| refuse_types())? != DataType::Boolean {
        return Err(Error::new(SqlState::DatatypeMismatch, "argument of USING must be type boolean")
            .hint("write a condition, such as country <> 'DE' OR consent"));
    }
    let read: BTreeSet<&str> = typed.column_refs().into_iter().map(|column| column.name.as_str()).collect();
    for column in table.columns.iter().filter(|column| read.contains(column.name.as_str())) {
        if column.class == Some(Class::Identifier) {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("column {} names persons, and a row policy names none", column.name),
            )
            .hint("CALL privacy.exclude_person('…') takes one person out"));
        }
    }
    let fields = schema.fields().iter().filter(|field| read.contains(field.name().as_str()));
    let fields: Vec<_> = fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let own = Arc::new(Schema::new(fields));
    let own_columns = DFSchema::try_from(own.clone()).map_err(|_| Error::internal())?;
    let test = create_physical_expr(&typed, &own_columns, &ExecutionProps::new(), &PhysicalPlanningContext::default());
    let test = test.map_err(|_| refuse_types())?;
    Ok(RowRule { table: table.name.clone(), name: name.to_owned(), using: using.to_owned(), schema: own, test })
}

/// What is no condition over one row of this table.
fn refuse_foreign(expression: &Expr) -> Result<()> {
    let mut outcome = Ok(());
    let _ = expression.apply(|part| {
        outcome = foreign(part);
        Ok(if outcome.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    outcome
}

fn foreign(part: &Expr) -> Result<()> {
    match part {
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_) => Ok(()),
        Expr::Like(like) => match like.pattern.as_ref() {
            Expr::Literal(..) if like.escape_char.is_none() => Ok(()),
            _ => Err(refuse_part("LIKE with a pattern that is no literal").hint("write the pattern as a text")),
        },
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => Ok(()),
            _ => Err(refuse_fallible(&format!("the operator {}", binary.op))),
        },
        Expr::Negative(inner) if matches!(inner.as_ref(), Expr::Literal(..)) => Ok(()),
        Expr::Negative(_) => Err(refuse_fallible("a negation, which can overflow,")),
        Expr::ScalarFunction(call) if TOTAL.contains(&call.func.name()) => Ok(()),
        Expr::ScalarFunction(call) => Err(refuse_fallible(&format!("the function {}", call.func.name()))),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
            Err(refuse_subquery())
        }
        Expr::AggregateFunction(_) | Expr::GroupingSet(_) => {
            Err(Error::new(SqlState::GroupingError, "aggregate functions are not allowed in policy expressions")
                .detail("a row policy decides about one row at a time"))
        }
        Expr::WindowFunction(_) => {
            Err(Error::new(SqlState::GroupingError, "window functions are not allowed in policy expressions")
                .detail("a row policy decides about one row at a time"))
        }
        Expr::SimilarTo(_)
        | Expr::ScalarVariable(..)
        | Expr::Unnest(_)
        | Expr::Placeholder(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::HigherOrderFunction(_)
        | Expr::Lambda(_)
        | Expr::LambdaVariable(_) => Err(refuse_part("an expression of this kind")),
        #[expect(deprecated, reason = "the match names every variant")]
        Expr::Wildcard { .. } => Err(refuse_part("an expression of this kind")),
    }
}

/// The same for the same values, and a value for all.
const TOTAL: [&str; 13] = [
    "coalesce",
    "nullif",
    "lower",
    "upper",
    "character_length",
    "octet_length",
    "btrim",
    "ltrim",
    "rtrim",
    "starts_with",
    "ends_with",
    "contains",
    "strpos",
];

/// Literals in the types that they are compared in. Errors: 22P02 where one is no value of it.
fn with_literals(expression: Expr) -> Result<Expr> {
    let mut outcome = Ok(());
    let folded = expression.transform_up(|part| {
        let value = match &part {
            Expr::Cast(inner) => literal(&inner.expr).map(|value| value.cast_to(inner.field.data_type())),
            Expr::TryCast(inner) => literal(&inner.expr).map(|value| value.cast_to(inner.field.data_type())),
            Expr::Negative(inner) => literal(inner).map(ScalarValue::arithmetic_negate),
            _ => None,
        };
        Ok(match value {
            None => Transformed::no(part),
            Some(Ok(value)) => Transformed::yes(Expr::Literal(value, None)),
            Some(Err(_)) => {
                outcome = Err(Error::new(
                    SqlState::InvalidTextRepresentation,
                    "a literal is no value of the type it is compared in",
                )
                .hint("write literals of the column's own type"));
                Transformed::no(part)
            }
        })
    });
    outcome?;
    folded.map(|folded| folded.data).map_err(|_| Error::internal())
}

fn literal(expression: &Expr) -> Option<&ScalarValue> {
    match expression {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// Casts of columns that some value would not survive.
fn refuse_failing(expression: &Expr, schema: &DFSchema) -> Result<()> {
    let mut outcome = Ok(());
    let _ = expression.apply(|part| {
        let cast = match part {
            Expr::Cast(cast) => Some((&cast.expr, cast.field.data_type())),
            Expr::TryCast(cast) => Some((&cast.expr, cast.field.data_type())),
            _ => None,
        };
        if let Some((inner, to)) = cast
            && !inner.get_type(schema).is_ok_and(|from| always_fits(&from, to))
        {
            outcome = Err(refuse_fallible("a cast that some value does not survive"));
        }
        Ok(if outcome.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    outcome
}

fn always_fits(from: &DataType, to: &DataType) -> bool {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let width = |t: &DataType| t.primitive_width().unwrap_or(usize::MAX);
    from == to
        || text(to) && (text(from) || from.is_integer() || *from == DataType::Boolean)
        || from.is_signed_integer() && to.is_signed_integer() && width(from) <= width(to)
        || from.is_unsigned_integer() && to.is_integer() && width(from) < width(to)
        || from.is_numeric() && *to == DataType::Float64
}

fn refuse_part(what: &str) -> Error {
    Error::new(SqlState::FeatureNotSupported, format!("{what} is not supported in a row policy"))
}

fn refuse_subquery() -> Error {
    refuse_part("a subquery")
        .detail("a row policy decides by the columns of the row itself")
        .hint("keep what it needs in a column of the table")
}

fn refuse_fallible(what: &str) -> Error {
    Error::new(SqlState::InvalidObjectDefinition, format!("{what} is not allowed in a row policy"))
        .detail("its expression always gives a value, and the same one for the same row")
        .hint("compare columns with literals, combine with AND, OR and NOT; keep what is computed in a column of the table")
}

fn refuse_types() -> Error {
    Error::new(SqlState::DatatypeMismatch, "the types in the row policy do not fit")
        .hint("compare columns with literals of their own type")
}

/// Planning sees names and types only, so nothing here holds data.
fn refuse_unplanned(table: &Table, error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>().cloned().unwrap_or_else(Error::internal),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => refuse_unplanned(table, inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(Error::internal, |e| refuse_unplanned(table, e))
        }
        DataFusionError::Shared(inner) => refuse_unplanned(table, inner),
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { field, .. } => Error::new(
                SqlState::UndefinedColumn,
                format!("column \"{}\" of relation \"{}\" does not exist", field.name, table.name),
            )
            .detail("a row policy reads columns of its own table"),
            SchemaError::AmbiguousReference { .. }
            | SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. } => Error::internal(),
        },
        DataFusionError::Plan(text) if text.starts_with("Invalid function '") => {
            let name = text.trim_start_matches("Invalid function '").split('\'').next().unwrap_or_default();
            Error::new(
                SqlState::UndefinedFunction,
                format!("function {name} does not exist, or may give another value each time"),
            )
            .hint("compare columns with literals, combine with AND, OR and NOT")
        }
        DataFusionError::Plan(_)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::SQL(..)
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
        | DataFusionError::Ffi(_) => refuse_part("this expression"),
    }
}

/// No table but the rule's own; functions as in queries.
struct Names<'a> {
    functions: &'a Functions,
    options: ConfigOptions,
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, _name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Err(DataFusionError::External(Box::new(refuse_subquery())))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.functions.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window.keys().cloned().collect()
    }
}
