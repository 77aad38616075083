//! Directories: tables whose rows may be read, each column behind its mask (requirement K1).
//!
//! In: a table and who looks at it. Out: a plan of its rows in which a masked value stands only where its condition holds for the
//! viewer. The conditions are administrators' SQL over the row, `session_person()`, directories and public tables; they read those
//! unmasked. Must never: read a protected table, or let what the viewer wrote see a value that the mask hides.
//!
//! Row policies of the directory that concern the viewer take rows away, below the masks. The conditions read other rows, and other
//! directories, whole, as they read values unmasked: a `NOT EXISTS` over rows that were taken away would show more.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Column;
use datafusion::common::cast::as_string_array;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, Operator, ScalarUDF, Signature, SimpleScalarUDF,
    Volatility,
};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast;
use paravent_udfs::viewer_mask_udf;

use super::context::{Context, KnownTable, Viewer};
use super::facts::built;
use super::opened::{Opened, OpenedKind, showable};
use super::resolve::{Names, analyze, refuse_plan};
use super::statement::Statement;
use super::views::Rights;
use super::{names, parse};
use crate::error::{Error, Result, SqlState};
use crate::policy::Table;

/// The person that the login is tied to, as text; NULL where it is tied to nobody.
pub(super) const SESSION_PERSON: &str = "session_person";

/// Of plans only: no statement can name it.
const IS_VIEWER: &str = "dp_is_session_person";

/// The rows of a directory with, behind the columns, whether each condition holds. Errors: as for a query, in the conditions.
pub fn directory_query(table: &Table) -> Result<ast::Query> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut wanted: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    for (number, condition) in conditions(table) {
        refuse_more_than_a_condition(condition)?;
        // A comment at its end goes no further than its line.
        wanted.push(format!("({condition}\n) AS {}", quoted(&flag(number))));
    }
    select(&format!("SELECT {} FROM {}", wanted.join(", "), quoted(&table.name)))
}

/// `visible_when` of each column that has one, by the column's place.
fn conditions(table: &Table) -> impl Iterator<Item = (usize, &str)> {
    let columns = table.columns.iter().enumerate();
    columns.filter_map(|(number, column)| Some((number, column.rules.visible_when.as_deref()?)))
}

fn flag(number: usize) -> String {
    format!("__visible_{number}")
}

fn select(text: &str) -> Result<ast::Query> {
    match parse::parse(text)?.pop().map(|parsed| parsed.statement) {
        Some(Statement::Query(query)) => Ok(*query),
        Some(_) | None => Err(Error::internal()),
    }
}

/// By itself it is one expression: nothing that it holds can end the parentheses around it.
fn refuse_more_than_a_condition(condition: &str) -> Result<()> {
    let refuse = || {
        Error::new(SqlState::SyntaxError, "visible_when is not a condition")
            .detail("it is an SQL expression over the columns of the row that is true where the value may be seen")
            .hint("for example EXISTS (SELECT 1 FROM contact WHERE owner = session_person() AND person = member.person_id)")
    };
    let query = select(&format!("SELECT 1 WHERE {condition}\n")).map_err(|_| refuse())?;
    let plain =
        query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none() && query.locks.is_empty();
    match query.body.as_ref() {
        ast::SetExpr::Select(select) if plain => {
            let empty = matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty());
            let more = select.having.is_some() || select.qualify.is_some() || !select.named_window.is_empty();
            if empty && !more && select.selection.is_some() { Ok(()) } else { Err(refuse()) }
        }
        _ => Err(refuse()),
    }
}

/// The masked rows for this viewer.
pub(super) fn open(context: &Context, known: &KnownTable) -> Result<Opened> {
    let rows = rows(context, &known.table)?;
    let column = |index: usize| Expr::Column(Column::from(rows.schema().qualified_field(index)));
    let width = known.table.columns.len();
    let mut flags = (width..).map(column);
    let (mut shown, mut fields, mut masked) = (Vec::new(), Vec::new(), Vec::new());
    for (index, described) in known.table.columns.iter().enumerate() {
        let visible = described.rules.visible_when.is_some().then(|| flags.next()).flatten();
        if !showable(described.class) {
            continue;
        }
        let value = column(index);
        let expression = match described.rules.mask()? {
            None => value,
            Some(mask) => {
                masked.push(described.name.clone());
                let hidden = viewer_mask_udf(mask).call(vec![value.clone()]);
                match visible {
                    None => hidden,
                    Some(visible) => Expr::Case(Case::new(
                        None,
                        vec![(Box::new(Expr::IsTrue(Box::new(visible))), Box::new(value))],
                        Some(Box::new(hidden)),
                    )),
                }
            }
        };
        shown.push(expression.alias(&described.name));
        fields.push(known.schema.field(index).clone().with_nullable(true));
    }
    let (rows, policies) = allowed(context, &known.table, rows)?;
    let plan = built(LogicalPlanBuilder::from(rows).project(shown).and_then(LogicalPlanBuilder::build))?;
    let schema = Arc::new(Schema::new(fields));
    Ok(Opened { table: known.table.name.clone(), kind: OpenedKind::Directory { masked, policies }, plan, schema })
}

/// The rows that the row policies leave to the viewer, and the policies' names.
fn allowed(context: &Context, table: &Table, rows: LogicalPlan) -> Result<(LogicalPlan, Vec<String>)> {
    let Some(scope) = context.scopes.of(&table.name) else { return Ok((rows, vec![])) };
    let column = |name: &String| {
        let index = table.columns.iter().position(|column| column.name == *name).ok_or_else(Error::internal)?;
        Ok(Expr::Column(Column::from(rows.schema().qualified_field(index))))
    };
    let columns = scope.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    let rows =
        LogicalPlanBuilder::from(rows.clone()).filter(scope.function.call(columns)).and_then(LogicalPlanBuilder::build);
    Ok((built(rows)?, scope.policies()))
}

/// Errors: what the conditions are refused for, as if they were asked by nobody in particular.
pub fn check_directory(context: &Context, table: &str) -> Result<()> {
    let known = context.tables.get(table).ok_or_else(Error::internal)?;
    open(context, known).map(|_| ())
}

fn rows(context: &Context, table: &Table) -> Result<LogicalPlan> {
    let query = directory_query(table)?;
    let names = Names::inside(context, Rights::Directory, 1);
    let planner = SqlToRel::new_with_options(&names, ParserOptions::new());
    let planned = planner
        .sql_statement_to_plan(ast::Statement::Query(Box::new(names::name_columns(&query))))
        .map_err(|error| refuse_plan(context, &error))?;
    let plan = analyze(context, planned)?;
    super::check::check_view(context, &plan)?;
    who_looks(plan, context.viewer.as_ref())
}

/// `x = session_person()` becomes a question of `x` alone: the server knows the person again and does not hold the key.
fn who_looks(plan: LogicalPlan, viewer: Option<&Viewer>) -> Result<LogicalPlan> {
    let question = is_viewer(viewer.cloned());
    let mut refused = false;
    let replaced = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expression| {
            let asked = expression.transform_down(|part| Ok(asked_of(part, &question)))?;
            refused |= asked.data.exists(|part| Ok(is_session_person(part)))?;
            Ok(asked)
        })
    });
    if refused {
        return Err(Error::new(SqlState::FeatureNotSupported, "session_person() can only be compared for equality")
            .hint("write column = session_person()"));
    }
    built(replaced.map(|replaced| replaced.data))
}

fn asked_of(part: Expr, question: &ScalarUDF) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &part else { return Transformed::no(part) };
    let value = match (is_session_person(left), is_session_person(right)) {
        (false, true) => left,
        (true, false) => right,
        (false, false) | (true, true) => return Transformed::no(part),
    };
    let asked = question.call(vec![value.as_ref().clone()]);
    match op {
        Operator::Eq => Transformed::new(asked, true, TreeNodeRecursion::Jump),
        Operator::NotEq => Transformed::new(Expr::Not(Box::new(asked)), true, TreeNodeRecursion::Jump),
        _ => Transformed::no(part),
    }
}

fn is_session_person(expression: &Expr) -> bool {
    match expression {
        // The planner brings the two sides to one type.
        Expr::Cast(cast) => is_session_person(&cast.expr),
        Expr::ScalarFunction(call) => call.func.name() == SESSION_PERSON,
        _ => false,
    }
}

/// Known where conditions are planned, and nowhere else; it is replaced before anything runs. A login that is tied to nobody is nobody.
pub(super) fn session_person() -> Arc<ScalarUDF> {
    let lost = Arc::new(|_: &[ColumnarValue]| {
        Err(datafusion::common::DataFusionError::Internal("a person was not looked up".to_owned()))
    });
    let signature = Signature::nullary(Volatility::Stable);
    Arc::new(ScalarUDF::new_from_impl(SimpleScalarUDF::new_with_signature(
        SESSION_PERSON,
        signature,
        DataType::Null,
        lost,
    )))
}

/// Does a value name the person behind the login? NULL names nobody.
fn is_viewer(viewer: Option<Viewer>) -> ScalarUDF {
    let ask = move |arguments: &[ColumnarValue]| {
        let values = ColumnarValue::values_to_arrays(arguments)?;
        let values = values.first().map(|values| cast(values, &DataType::Utf8)).transpose()?;
        let texts = values.as_ref().map(|values| as_string_array(values)).transpose()?;
        let mine = |text: Option<&str>| text.map(|text| viewer.as_ref().is_some_and(|viewer| viewer.is(text)));
        let answers: BooleanArray = texts.into_iter().flat_map(|texts| texts.iter().map(mine)).collect();
        Ok(ColumnarValue::Array(Arc::new(answers)))
    };
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(SimpleScalarUDF::new_with_signature(
        IS_VIEWER,
        signature,
        DataType::Boolean,
        Arc::new(ask),
    ))
}
