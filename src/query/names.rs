//! What columns without an alias are called: as in Postgres, a function's name, a cast's type, `case`, else `?column?`.
//!
//! In: the query's syntax tree. Out: the same tree with the aliases that make subqueries' columns reachable by those names, and
//! the names of the answer's columns, which may repeat.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident,
    ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor,
    VisitMut, VisitorMut,
};

/// Aliases what has no name of its own in every SELECT below the outermost, where the name is not taken.
pub(super) fn name_columns(query: &Query) -> Query {
    let mut query = query.clone();
    let _ = VisitMut::visit(&mut query, &mut Namer { depth: 0 });
    query
}

struct Namer {
    depth: usize,
}

impl Namer {
    /// Every SELECT of a set operation; queries in parentheses are visited by themselves.
    fn name(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                group_by_places(select);
                if self.depth > 1 {
                    name_items(select);
                }
                name_twins(select);
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.name(left);
                self.name(right);
                if let (Some(names), SetExpr::Select(right)) = (column_names(left), right.as_mut()) {
                    name_alike(right, &names);
                }
            }
            _ => {}
        }
    }
}

impl VisitorMut for Namer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        self.name(&mut query.body);
        name_ordinals(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let Some(lists) = lists_of(table) {
            *table = lists;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// `unnest(…)` in FROM as the engine plans it, also after LATERAL. The column of one list is called what the table is called,
/// as in Postgres; a written list becomes the call that makes it, as the engine looks for other tables' columns only there.
fn lists_of(table: &TableFactor) -> Option<TableFactor> {
    let (array_exprs, alias) = match table {
        TableFactor::UNNEST { array_exprs, alias, with_offset: false, with_ordinality: false, .. } => {
            (array_exprs.clone(), alias)
        }
        TableFactor::Function { name, args, alias, with_ordinality: false, .. }
            if name.to_string().eq_ignore_ascii_case("unnest") =>
        {
            let list = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(list)) => Some(list.clone()),
                _ => None,
            };
            (args.iter().map(list).collect::<Option<Vec<_>>>()?, alias)
        }
        _ => return None,
    };
    let array_exprs: Vec<Expr> = array_exprs.into_iter().map(list_call).collect();
    let name = Ident::with_quote('"', "unnest");
    let mut alias = alias.clone().unwrap_or(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    if alias.columns.is_empty() && array_exprs.len() == 1 {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    let alias = Some(alias);
    Some(TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

fn list_call(expression: Expr) -> Expr {
    let Expr::Array(list) = expression else {
        return expression;
    };
    let args = list.elem.into_iter().map(|element| FunctionArg::Unnamed(FunctionArgExpr::Expr(element))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("make_array")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn name_items(select: &mut Select) {
    let mut taken: Vec<String> = select.projection.iter().filter_map(own_name).collect();
    // A name that is also grouped or ordered by is left to mean what it means there.
    if let GroupByExpr::Expressions(keys, _) = &select.group_by {
        taken.extend(keys.iter().map(ToString::to_string));
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expression) = item
            && !matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            let name = name_of(expression);
            if name != "?column?" && !taken.contains(&name) {
                taken.push(name.clone());
                *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias: Ident::with_quote('"', name) };
            }
        }
    }
}

/// What a set operation's columns are called: as in its first SELECT.
fn column_names(body: &SetExpr) -> Option<Vec<String>> {
    let items = outermost(body)?;
    let named = |item: &SelectItem| match (own_name(item), item) {
        (Some(name), _) => Some(name),
        (None, SelectItem::UnnamedExpr(expression)) => Some(name_of(expression)),
        (None, _) => None,
    };
    items.iter().map(named).collect()
}

/// The further SELECTs' columns under the names of the first: the engine renames some of them itself, and then takes two for one.
fn name_alike(select: &mut Select, names: &[String]) {
    let plain = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if select.projection.len() != names.len() || !select.projection.iter().all(plain) {
        return;
    }
    for (item, name) in select.projection.iter_mut().zip(names).filter(|(_, name)| *name != "?column?") {
        if let SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } = item {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
        }
    }
}

/// `ROLLUP (1, 2)` and its kin: a number is the column at that place, as it is in a plain GROUP BY, which the engine knows itself.
fn group_by_places(select: &mut Select) {
    let columns: Vec<Option<Expr>> = select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => {
                Some(expression.clone())
            }
            _ => None,
        })
        .collect();
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else {
        return;
    };
    let sets = keys.iter_mut().filter_map(|key| match key {
        Expr::GroupingSets(sets) | Expr::Rollup(sets) | Expr::Cube(sets) => Some(sets),
        _ => None,
    });
    for key in sets.flatten().flatten() {
        let place = match &*key {
            Expr::Value(value) => match &value.value {
                ast::Value::Number(number, false) => number.to_string().parse::<usize>().ok(),
                _ => None,
            },
            _ => None,
        };
        if let Some(Some(column)) = place.and_then(|place| columns.get(place.checked_sub(1)?)) {
            *key = column.clone();
        }
    }
}

/// Aliases a column that is there already: the engine wants each once.
fn name_twins(select: &mut Select) {
    let mut seen: Vec<String> = Vec::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expression) = item else { continue };
        let written = expression.to_string();
        if seen.contains(&written) {
            let alias = Ident::with_quote('"', format!("?column?{}", place + 1));
            *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
        } else {
            seen.push(written);
        }
    }
}

/// Aliases nameless columns that ORDER BY points at by number: the engine looks for them by name, below the grouping.
fn name_ordinals(query: &mut Query) {
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| &order.kind) else {
        return;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    for key in order {
        let Expr::Value(value) = &key.expr else { continue };
        let ast::Value::Number(number, _) = &value.value else { continue };
        let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        if let Some(item) = place.and_then(|place| select.projection.get_mut(place))
            && let SelectItem::UnnamedExpr(expression) = item
            && !matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            let alias = Ident::with_quote('"', format!("?column?{number}"));
            *item = SelectItem::ExprWithAlias { expr: expression.clone(), alias };
        }
    }
}

fn own_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|name| name.value.clone()),
        SelectItem::UnnamedExpr(_)
        | SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

/// The answer's columns under the names that Postgres gives them.
pub(super) fn output_schema(query: &Query, schema: &SchemaRef) -> SchemaRef {
    let Some(items) = outermost(&query.body) else {
        return schema.clone();
    };
    let wildcards = items.iter().filter(|item| is_wildcard(item)).count();
    let expanded = (schema.fields().len() + wildcards).checked_sub(items.len());
    let Some(expanded) = expanded.filter(|_| wildcards <= 1) else {
        return schema.clone();
    };
    let mut names: Vec<Option<String>> = Vec::new();
    for item in items {
        match item {
            SelectItem::UnnamedExpr(expression)
                if !matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) =>
            {
                names.push(Some(name_of(expression)));
            }
            item if is_wildcard(item) => names.extend(vec![None; expanded]),
            // Its own name, unless it is there twice and was told apart.
            SelectItem::UnnamedExpr(expression) => {
                let told_apart = schema.fields().get(names.len()).is_some_and(|f| f.name().starts_with("?column?"));
                names.push(told_apart.then(|| name_of(expression)));
            }
            _ => names.push(None),
        }
    }
    let fields = schema.fields().iter().zip(names.into_iter().chain(std::iter::repeat(None)));
    let renamed: Vec<_> = fields
        .map(|(field, name)| match name {
            Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
            None => field.clone(),
        })
        .collect();
    Arc::new(Schema::new(renamed))
}

fn outermost(body: &SetExpr) -> Option<&[SelectItem]> {
    match body {
        SetExpr::Select(select) => Some(&select.projection),
        SetExpr::Query(query) => outermost(&query.body),
        SetExpr::SetOperation { left, .. } => outermost(left),
        SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => None,
    }
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// PostgreSQL's FigureColname (src/backend/parser/parse_target.c).
fn name_of(expression: &Expr) -> String {
    let nameless = || "?column?".to_owned();
    match expression {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map_or_else(nameless, |name| name.value.clone()),
        Expr::Function(call) => {
            call.name.0.last().and_then(|part| part.as_ident()).map_or_else(nameless, |name| name.value.to_lowercase())
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Cast { expr, data_type, .. } => {
            let inner = name_of(expr);
            if inner == "?column?" { cast_name(data_type) } else { inner }
        }
        Expr::Case { else_result, .. } => {
            let inner = else_result.as_deref().map_or_else(nameless, name_of);
            if inner == "?column?" { "case".to_owned() } else { inner }
        }
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Subquery(query) => match outermost(&query.body) {
            Some([SelectItem::UnnamedExpr(inner)]) => name_of(inner),
            Some([SelectItem::ExprWithAlias { alias, .. }]) => alias.value.clone(),
            Some(_) | None => nameless(),
        },
        _ => nameless(),
    }
}

fn cast_name(data_type: &ast::DataType) -> String {
    match data_type {
        ast::DataType::Int(_) | ast::DataType::Integer(_) => "int4".to_owned(),
        ast::DataType::BigInt(_) => "int8".to_owned(),
        ast::DataType::SmallInt(_) => "int2".to_owned(),
        ast::DataType::Double(_) | ast::DataType::DoublePrecision => "float8".to_owned(),
        ast::DataType::Real => "float4".to_owned(),
        ast::DataType::Boolean => "bool".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn query(sql: &str) -> Query {
        match Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop() {
            Some(ast::Statement::Query(query)) => *query,
            _ => panic!("not a query"),
        }
    }

    fn names(sql: &str, columns: usize) -> Vec<String> {
        let fields: Vec<Field> = (0..columns).map(|i| Field::new(format!("c{i}"), DataType::Int64, true)).collect();
        let schema = output_schema(&query(sql), &Arc::new(Schema::new(fields)));
        schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn columns_are_called_as_in_postgres() {
        assert_eq!(
            names("SELECT f, count(*), avg(x), avg(y), x + 1, x::int, 1::bigint, CASE WHEN a THEN 1 END FROM t", 8),
            ["c0", "count", "avg", "avg", "?column?", "x", "int8", "case"]
        );
        assert_eq!(names("SELECT *, count(*) OVER () FROM t", 4), ["c0", "c1", "c2", "count"]);
        assert_eq!(names("SELECT count(*) AS n, (SELECT max(x) FROM u) FROM t", 2), ["c0", "max"]);
    }

    #[test]
    fn columns_that_are_ordered_by_number_can_be_found() {
        let named = name_columns(&query("SELECT a, 2 * sum(x), b AS c FROM t GROUP BY a ORDER BY 2 DESC, 1, 3, a"));
        assert!(named.to_string().starts_with("SELECT a, 2 * sum(x) AS \"?column?2\", b AS c FROM t"), "{named}");
    }

    #[test]
    fn a_column_may_be_there_twice() {
        let named = name_columns(&query("SELECT a, count(*), count(*), a FROM t GROUP BY a"));
        assert!(named.to_string().contains("count(*) AS \"?column?3\", a AS \"?column?4\" FROM t"), "{named}");
    }

    #[test]
    fn subqueries_get_aliases_where_the_name_is_free() {
        let named =
            name_columns(&query("SELECT avg(count) FROM (SELECT k, count(*), sum(x), sum(y) FROM t GROUP BY k) s"));
        assert!(named.to_string().contains("count(*) AS \"count\", sum(x) AS \"sum\", sum(y) FROM t"), "{named}");
    }
}
