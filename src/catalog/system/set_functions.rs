//! Functions that give several rows, in the words of the engine: an array, unnested.
//!
//! In: calls of `generate_subscripts`, `_pg_expandarray` and their like, in a SELECT list or in FROM. Out: `unnest` of an array
//! that a scalar function makes; a function in FROM whose one column is called as Postgres calls it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int32Builder, ListArray, ListBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName,
    Query, Select, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value,
    WildcardAdditionalOptions,
};

use super::adapt::call;
use super::functions::function;

/// Columns of pg_index whose arrays count from 0.
const FROM_ZERO: [&str; 4] = ["indkey", "indoption", "indclass", "indcollation"];

pub(super) fn all() -> Vec<ScalarUDF> {
    let int_list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let pairs = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(pair()), true)));
    vec![
        function("array_subscripts", int_list.clone(), Arc::new(subscripts)),
        function("expand_array", pairs, Arc::new(|arrays, _| expanded(arrays))),
        function(
            "no_channels",
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            Arc::new(|_, rows| Ok(empty_texts(rows))),
        ),
    ]
}

/// A call in a SELECT list.
pub(super) fn in_select(function: &Function) -> Option<Expr> {
    let array = array(&last_name(&function.name)?, &arguments(function)?)?;
    Some(call("unnest", vec![array]))
}

/// `generate_series` as a value of its own in a SELECT list; elsewhere it is an array already.
pub(super) fn series_in_select(select: &mut Select) {
    for item in &mut select.projection {
        let (SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) = item else { continue };
        if matches!(value, Expr::Function(function) if last_name(&function.name).as_deref() == Some("generate_series"))
        {
            *value = call("unnest", vec![value.clone()]);
        }
    }
}

/// The rows of such a call, as an array.
fn array(function: &str, arguments: &[Expr]) -> Option<Expr> {
    Some(match function {
        "generate_subscripts" => {
            let array = arguments.first()?;
            let zero = column_name(array).is_some_and(|name| counts_from_zero(&name));
            let base = Expr::Value(Value::Number(if zero { "0" } else { "1" }.to_owned(), false).with_empty_span());
            call("array_subscripts", vec![array.clone(), base])
        }
        "_pg_expandarray" => call("expand_array", vec![arguments.first()?.clone()]),
        "pg_listening_channels" => call("no_channels", vec![]),
        _ => return None,
    })
}

/// A call in FROM: its column is called by the alias, else by the function.
pub(super) fn in_from(factor: &mut TableFactor) {
    if let TableFactor::UNNEST { alias: Some(alias), .. } = factor {
        name_column(alias);
        return;
    }
    let (name, alias, args) = match &*factor {
        TableFactor::Table { name, alias, args: Some(args), .. } => (name, alias, &args.args),
        TableFactor::Function { name, alias, args, .. } => (name, alias, args),
        _ => return,
    };
    let Some(function) = last_name(name) else { return };
    let unnamed = || TableAlias { explicit: true, name: Ident::new(&function), columns: vec![], at: None };
    let mut alias = alias.clone().unwrap_or_else(unnamed);
    name_column(&mut alias);
    let arguments: Vec<Expr> = args.iter().filter_map(argument).collect();
    let array = match function.as_str() {
        // The engine gives them one by one, as many as there are.
        "generate_series" if args.iter().all(is_literal) => {
            if let TableFactor::Table { alias: place, .. } | TableFactor::Function { alias: place, .. } = factor {
                *place = Some(alias);
            }
            return;
        }
        "generate_series" => call("generate_series", arguments),
        // One row, whose value is the array.
        "string_to_array" | "current_schemas" => call("make_array", vec![call(&function, arguments)]),
        _ => match array(&function, &arguments) {
            Some(array) => array,
            None => return,
        },
    };
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![array],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
}

/// `table CROSS JOIN UNNEST(its column) AS x`: the rows of the table, each as often as the array has elements. The same as
/// `(SELECT *, unnest(column) AS x FROM table)`.
pub(super) fn unnest_beside(select: &mut Select) {
    let pattern = select.clone();
    for from in &mut select.from {
        let Some(at) = from.joins.iter().position(|join| {
            matches!(&join.relation, TableFactor::UNNEST { array_exprs, alias: Some(_), .. }
                if matches!(array_exprs.as_slice(), [one] if column_name(one).is_some()))
                && matches!(join.join_operator, JoinOperator::CrossJoin(_))
        }) else {
            continue;
        };
        let TableFactor::Table { name, args: None, alias: outer, .. } = &from.relation else { continue };
        let TableFactor::UNNEST { array_exprs, alias: Some(inner), .. } = &from.joins[at].relation else { continue };
        let Some(outer) = outer.clone().or_else(|| {
            let name = Ident::new(last_name(name)?);
            Some(TableAlias { explicit: true, name, columns: vec![], at: None })
        }) else {
            continue;
        };
        let unnested = call("unnest", array_exprs.clone());
        let column = inner.columns.first().map_or_else(|| inner.name.clone(), |column| column.name.clone());
        let projection = vec![
            SelectItem::Wildcard(WildcardAdditionalOptions::default()),
            SelectItem::ExprWithAlias { expr: unnested, alias: column },
        ];
        let own = TableWithJoins { relation: from.relation.clone(), joins: vec![] };
        let plain = Select {
            projection,
            from: vec![own],
            distinct: None,
            selection: None,
            group_by: GroupByExpr::Expressions(vec![], vec![]),
            having: None,
            ..pattern.clone()
        };
        from.joins.remove(at);
        from.relation = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query_of(plain)),
            alias: Some(outer),
            sample: None,
        };
    }
}

fn query_of(select: Select) -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

fn name_column(alias: &mut TableAlias) {
    if alias.columns.is_empty() {
        alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
    }
}

fn last_name(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.to_lowercase())
}

fn arguments(function: &Function) -> Option<Vec<Expr>> {
    match &function.args {
        FunctionArguments::List(list) => Some(list.args.iter().filter_map(argument).collect()),
        FunctionArguments::None | FunctionArguments::Subquery(_) => None,
    }
}

fn argument(given: &FunctionArg) -> Option<Expr> {
    match given {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

fn is_literal(given: &FunctionArg) -> bool {
    match argument(given) {
        Some(Expr::Value(_)) => true,
        Some(Expr::UnaryOp { expr, .. }) => matches!(*expr, Expr::Value(_)),
        _ => false,
    }
}

/// The last part of a column's name.
pub(super) fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.to_lowercase()),
        Expr::CompoundIdentifier(parts) => Some(parts.last()?.value.to_lowercase()),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// Does a subscript of this column count from 0?
pub(super) fn counts_from_zero(name: &str) -> bool {
    FROM_ZERO.contains(&name)
}

fn pair() -> Fields {
    Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("n", DataType::Int32, true)])
}

fn lists(array: &ArrayRef) -> Result<ListArray> {
    let ints = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    Ok(cast(array, &ints)?.as_list::<i32>().clone())
}

fn subscripts(arrays: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let [array, base] = arrays else {
        return Err(DataFusionError::Internal("two arguments".to_owned()));
    };
    let base = cast(base, &DataType::Int32)?;
    let base = base.as_primitive::<Int32Type>();
    let array = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>(),
        _ => return Err(DataFusionError::Internal("an array".to_owned())),
    };
    let mut found = ListBuilder::new(Int32Builder::new());
    for row in 0..rows {
        if array.is_valid(row) {
            let length = array.value_length(row);
            (0..length).for_each(|at| found.values().append_value(base.value(row) + at));
        }
        found.append(array.is_valid(row));
    }
    Ok(Arc::new(found.finish()))
}

/// `{7,9}` as `{(7,1),(9,2)}`.
fn expanded(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let [array] = arrays else {
        return Err(DataFusionError::Internal("one argument".to_owned()));
    };
    let array = lists(array)?;
    let (mut values, mut numbers, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..array.len() {
        let items = if array.is_valid(row) { array.value(row) } else { Arc::new(Int32Array::from(Vec::<i32>::new())) };
        lengths.push(items.len());
        for (number, value) in (1..).zip(items.as_primitive::<Int32Type>()) {
            values.push(value);
            numbers.push(Some(number));
        }
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(values)), Arc::new(Int32Array::from(numbers))];
    let pairs = StructArray::try_new(pair(), columns, None)?;
    let item = Arc::new(Field::new_list_field(DataType::Struct(pair()), true));
    Ok(Arc::new(ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(pairs),
        array.nulls().cloned(),
    )?))
}

fn empty_texts(rows: usize) -> ArrayRef {
    let mut list = ListBuilder::new(arrow::array::StringBuilder::new());
    (0..rows).for_each(|_| list.append(true));
    Arc::new(list.finish())
}
