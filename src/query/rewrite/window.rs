//! Windows and DISTINCT ON over one person's own rows: partitioned by the person key, so that no row sees another person's.
//!
//! Rows that do not fit a profile have partitions of their own, as if they had been left out before the window. Where the order
//! leaves ties, the other columns decide, so that which row is first does not depend on how rows happen to be read.

use datafusion::common::Column;
use datafusion::logical_expr::expr::{Sort as SortKey, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    DistinctOn, Expr, LogicalPlanBuilder, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};

use super::Rewriter;
use super::calls::metric_bounds;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Bounds, Class};
use crate::query::expression::{Derived, Scope, literal, refuse_identifier, refuse_window};
use crate::query::facts::{Node, Part, PersonColumn, Rows, built, weight};
use crate::query::{allow, bounds, position};

impl Rewriter<'_> {
    pub(super) fn person_window(&mut self, node: &Node, window: &Window) -> Result<Node> {
        let scope = Scope::new(self.context, node)?;
        let calls = window.window_expr.iter().map(|call| of_person(&scope, call)).collect::<Result<Vec<_>>>()?;
        let width = node.plan.schema().fields().len();
        let functions: Vec<Expr> =
            calls.iter().enumerate().map(|(i, call)| call.expression.clone().alias(format!("__w{i}"))).collect();
        let plan = LogicalPlanBuilder::from(node.plan.clone()).window(functions).and_then(LogicalPlanBuilder::build);
        let plan = built(plan)?;
        let at = |index: usize| Expr::Column(Column::from(plan.schema().qualified_field(index)));
        let mut wanted: Vec<Expr> = (0..node.visible).map(at).collect();
        for (i, written) in window.window_expr.iter().enumerate() {
            let (relation, name) = written.qualified_name();
            wanted.push(at(width + i).alias_qualified(relation, name));
        }
        wanted.extend((node.visible..width).map(at));
        let mut person = scope.person.clone();
        person.columns.extend(calls.iter().map(|call| call.facts.clone()));
        let visible = node.visible + calls.len();
        let plan = built(LogicalPlanBuilder::from(plan).project(wanted).and_then(LogicalPlanBuilder::build))?;
        Ok(Node { plan, visible, rows: Rows::Person(person) })
    }

    /// The first row of each of a person's groups: `row_number() = 1`.
    pub(super) fn person_distinct_on(&mut self, node: Node, on: &DistinctOn) -> Result<Node> {
        let scope = Scope::new(self.context, &node)?;
        let groups = on.on_expr.iter().map(|e| scope.derive(e)).collect::<Result<Vec<_>>>()?;
        if !groups.iter().any(|group| group.facts.key) {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                "DISTINCT ON over rows of persons is not released",
            )
            .detail("it would show single rows, one person's instead of another's")
            .hint(
                "put the person key among its expressions and aggregate above, or use GROUP BY with count, sum or avg",
            )
            .at(on.on_expr.first().and_then(|e| position::of_expression(self.context, e))));
        }
        let number = self.context.functions.window.get("row_number").cloned().ok_or_else(Error::internal)?;
        let order_by = on.sort_expr.clone().unwrap_or_default();
        let order_by = order(&scope, &order_by)?.into_iter().map(|(sort, _)| sort).collect();
        let call = Expr::from(WindowFunction {
            fun: WindowFunctionDefinition::WindowUDF(number),
            params: WindowFunctionParams {
                args: Vec::new(),
                partition_by: partition(&scope, groups.iter().map(|group| group.expression.clone())),
                order_by: with_ties(&scope, order_by),
                window_frame: WindowFrame::new(Some(false)),
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        });
        let name = self.hidden_name("first");
        let width = node.plan.schema().fields().len();
        let first = Expr::Column(Column::new_unqualified(name.clone())).eq(lit(1_u64));
        let columns: Vec<Expr> = (0..width).map(|i| Expr::Column(node.column(i))).collect();
        let plan = LogicalPlanBuilder::from(node.plan.clone())
            .window(vec![call.alias(name)])
            .and_then(|plan| plan.filter(first)?.project(columns)?.build());
        let mut person = scope.person.clone();
        // What depends on the person alone needs no naming beside the key.
        let parts = on.on_expr.iter().zip(&groups).filter(|(_, group)| !group.facts.determined);
        let parts: Option<Vec<Part>> = parts.map(|(e, _)| scope.index_of(e).map(Part::Visible)).collect();
        let parts = parts.filter(|_| !person.profile);
        person.unique.extend(parts.map(|parts| parts.into_iter().chain([Part::Key]).collect()));
        if person.one_row() {
            person.max_rows = Some(1);
        }
        let first_rows = Node { plan: built(plan)?, visible: node.visible, rows: Rows::Person(person) };
        self.person_projection(&first_rows, &on.select_expr)
    }
}

/// The person, and whether the row fits, before whatever else rows are parted by.
fn partition(scope: &Scope, others: impl Iterator<Item = Expr>) -> Vec<Expr> {
    let own = [Some(scope.node.key()), scope.node.profile()];
    own.into_iter().flatten().map(Expr::Column).chain(others).collect()
}

fn order(scope: &Scope, keys: &[SortKey]) -> Result<Vec<(SortKey, PersonColumn)>> {
    let derive = |key: &SortKey| {
        let derived = scope.derive(&key.expr)?;
        Ok((SortKey { expr: derived.expression, ..key.clone() }, derived.facts))
    };
    keys.iter().map(derive).collect()
}

/// Every column that may be read, behind what was asked for.
fn with_ties(scope: &Scope, mut order: Vec<SortKey>) -> Vec<SortKey> {
    for (index, column) in scope.person.columns.iter().enumerate() {
        let data_type = scope.node.plan.schema().field(index).data_type();
        let expression = Expr::Column(scope.node.column(index));
        let known = order.iter().any(|key| key.expr == expression);
        if column.refusal.is_none() && !column.determined && !known && !data_type.is_nested() {
            order.push(SortKey::new(expression, true, false));
        }
    }
    order
}

fn of_person(scope: &Scope, written: &Expr) -> Result<Derived> {
    let derived = match written {
        Expr::Alias(alias) => return of_person(scope, &alias.expr),
        Expr::WindowFunction(function) => window_function(scope, function),
        _ => Err(Error::internal()),
    };
    derived.map_err(|error| {
        error.at(position::of_expression(scope.context, written).or_else(|| match written {
            Expr::WindowFunction(function) => position::of_word(&scope.context.text, function.fun.name()),
            _ => None,
        }))
    })
}

fn window_function(scope: &Scope, function: &WindowFunction) -> Result<Derived> {
    let (name, params) = (function.fun.name().to_owned(), &function.params);
    let aggregate = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_));
    refuse_unknown(&name, aggregate, params)?;
    let parts = params.partition_by.iter().map(|e| scope.derive(e)).collect::<Result<Vec<_>>>()?;
    if !parts.iter().any(|part| part.facts.key) {
        return Err(refuse_window());
    }
    let arguments = params.args.iter().map(|e| scope.derive(e)).collect::<Result<Vec<_>>>()?;
    if name != "count" && arguments.iter().any(|argument| argument.facts.class == Class::Identifier) {
        return Err(refuse_identifier());
    }
    let filter = params.filter.as_ref().map(|filter| scope.derive(filter)).transpose()?;
    let keys = order(scope, &params.order_by)?;
    let whole = params.order_by.is_empty() && parts.iter().all(|part| part.facts.determined);
    let least = if aggregate { Class::Measure } else { Class::Attribute };
    let told =
        arguments.iter().map(|d| &d.facts).chain(filter.iter().map(|d| &d.facts)).chain(keys.iter().map(|(_, f)| f));
    let told = told.chain(parts.iter().map(|d| &d.facts));
    let class = told.map(|facts| facts.class).filter(|class| *class != Class::Identifier).chain([least]);
    let class = class.max_by_key(|class| weight(*class)).unwrap_or(Class::Measure);
    let bounds = bounds_of(scope, &name, &arguments, params);
    let order_by: Vec<SortKey> = keys.into_iter().map(|(key, _)| key).collect();
    let expression = Expr::from(WindowFunction {
        fun: function.fun.clone(),
        params: WindowFunctionParams {
            args: arguments.into_iter().map(|d| d.expression).collect(),
            partition_by: partition(scope, parts.into_iter().map(|d| d.expression)),
            order_by: if asks_for_ties(&name, aggregate, params) { with_ties(scope, order_by) } else { order_by },
            filter: filter.map(|d| Box::new(d.expression)),
            ..params.clone()
        },
    });
    let facts = PersonColumn { class, determined: aggregate && whole, bounds, ..PersonColumn::constant(None) };
    Ok(Derived { expression, facts })
}

fn refuse_unknown(name: &str, aggregate: bool, params: &WindowFunctionParams) -> Result<()> {
    let refuse = |what: String| Err(Error::new(SqlState::FeatureNotSupported, what));
    let frame = &params.window_frame;
    let known = if aggregate { allow::per_person_aggregate(name) } else { allow::person_window(name) };
    if !known {
        return refuse(format!("the window function {name} is not supported over rows of persons"));
    }
    if params.distinct {
        return refuse("DISTINCT in a window function over rows of persons is not supported".to_owned());
    }
    let offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => !by.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let moving = !frame.start_bound.is_unbounded();
    // What is added to a value of a row may leave its type's range, and would then be an error.
    if frame.units == WindowFrameUnits::Range && (offset(&frame.start_bound) || offset(&frame.end_bound)) {
        return refuse("RANGE with an offset over rows of persons is not supported".to_owned())
            .map_err(|e| e.hint("use ROWS"));
    }
    if aggregate && moving && !matches!(name, "count" | "sum" | "avg" | "mean" | "min" | "max") {
        return refuse(format!("{name} over a moving frame is not supported over rows of persons"));
    }
    let numbers = params.args.iter().skip(1).all(|argument| literal(argument).is_some());
    let first = name != "ntile" || params.args.first().is_some_and(|argument| literal(argument).is_some());
    if !(aggregate || numbers && first) {
        return refuse(format!("{name} over rows of persons takes constants besides the column"));
    }
    Ok(())
}

/// Functions whose value depends on the order of rows that the query does not tell apart.
fn asks_for_ties(name: &str, aggregate: bool, params: &WindowFunctionParams) -> bool {
    let frame = &params.window_frame;
    match name {
        "row_number" | "ntile" | "lag" | "lead" => true,
        "first_value" => frame.start_bound.is_unbounded() || frame.units == WindowFrameUnits::Rows,
        "last_value" => frame.end_bound.is_unbounded() || frame.units == WindowFrameUnits::Rows,
        "nth_value" => frame.units == WindowFrameUnits::Rows,
        _ => aggregate && frame.units == WindowFrameUnits::Rows && !params.order_by.is_empty(),
    }
}

fn bounds_of(scope: &Scope, name: &str, arguments: &[Derived], params: &WindowFunctionParams) -> Option<Bounds> {
    let of = |index: usize| arguments.get(index).and_then(|argument| argument.facts.bounds);
    let rows = scope.person.max_rows.map(|rows| rows as f64);
    match name {
        "row_number" | "rank" | "dense_rank" => rows.and_then(|rows| Bounds::new(1.0, rows.max(1.0)).ok()),
        "percent_rank" | "cume_dist" => Bounds::new(0.0, 1.0).ok(),
        "ntile" => of(0).and_then(|n| Bounds::new(1.0, n.upper().max(1.0)).ok()),
        "lag" | "lead" if arguments.len() > 2 => {
            let default = params.args.get(2).and_then(literal)?;
            if default.is_null() { of(0) } else { bounds::hull([of(0), of(2)].into_iter()) }
        }
        "lag" | "lead" | "first_value" | "last_value" | "nth_value" => of(0),
        _ => metric_bounds(name, of(0), scope.person.max_rows),
    }
}
