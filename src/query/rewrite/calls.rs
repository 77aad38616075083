//! Calls of aggregates over rows of persons: what a release is asked for, and what is computed of one person's own rows.
//!
//! In: an aggregate as written. Out: a [`Call`] of total expressions, or a metric with what is known of it; or a refusal that says
//! what to use instead.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable};

use crate::error::{Error, Result, SqlState};
use crate::policy::{Bounds, Class};
use crate::query::contributions::{Call, Fractions};
use crate::query::expression::{Derived, Scope, literal, refuse_identifier};
use crate::query::facts::{Node, PersonColumn, built, weight};
use crate::query::{allow, bounds, position};

fn parts(call: &Expr) -> Result<&AggregateFunction> {
    match call {
        Expr::AggregateFunction(function) => Ok(function),
        Expr::Alias(alias) => parts(&alias.expr),
        _ => Err(Error::internal()),
    }
}

/// `within`: the aggregate is one of an ordered set, which is written with `WITHIN GROUP (ORDER BY …)`.
fn refuse_order(params: &AggregateFunctionParams, within: bool) -> Result<()> {
    let of_the_set = within && params.order_by.len() <= 1;
    if (params.order_by.is_empty() || of_the_set) && params.null_treatment.is_none() {
        return Ok(());
    }
    Err(Error::new(SqlState::FeatureNotSupported, "ORDER BY and IGNORE NULLS inside an aggregate are not supported"))
}

fn is_ordered_set(name: &str) -> bool {
    matches!(name, "percentile_cont" | "percentile_disc" | "approx_percentile_cont" | "mode")
}

/// One released aggregate. Errors: 0A000 with what to use instead, 22023 for a fraction that is none.
pub(super) fn call_of(scope: &Scope, written: &Expr, node: &Node) -> Result<Call> {
    released_call(scope, written, node).map_err(|error| error.at(position::of_expression(scope.context, written)))
}

fn released_call(scope: &Scope, written: &Expr, node: &Node) -> Result<Call> {
    let function = parts(written)?;
    let name = function.func.name().to_owned();
    let params = &function.params;
    if !allow::released_aggregate(&name) {
        return Err(Error::new(SqlState::FeatureNotSupported, format!("the aggregate {name} is not released"))
            .detail("it has no differentially private form here")
            .hint(allow::aggregate_hint(&name))
            .at(position::of_expression(scope.context, written)
                .or_else(|| position::of_word(&scope.context.text, &name))));
    }
    refuse_order(params, is_ordered_set(&name))?;
    refuse_distinct(&name, params)?;
    let values = if is_ordered_set(&name) { 1 } else { 2 };
    let mut arguments = params.args.iter().take(values).map(|argument| scope.derive(argument));
    let (argument, second) = (arguments.next().transpose()?, arguments.next().transpose()?);
    drop(arguments);
    if name != "count" && argument.iter().chain(&second).any(|d| d.facts.class == Class::Identifier) {
        return Err(refuse_identifier());
    }
    let filter = params.filter.as_ref().map(|filter| scope.derive(filter)).transpose()?;
    let schema = node.plan.schema();
    let first = params.args.first();
    let mut nullable = false;
    for argument in params.args.iter().take(values) {
        nullable |= built(argument.nullable(schema.as_ref()))?;
    }
    let of_first = first.map(|argument| uncast(argument).get_type(schema.as_ref())).transpose();
    let of_first = built(of_first)?;
    refuse_text(&name, of_first.as_ref())?;
    Ok(Call {
        fractions: fractions_of(&name, params)?,
        integer: of_first.as_ref().is_some_and(DataType::is_integer),
        plain: first.is_some_and(|argument| matches!(uncast(argument), Expr::Column(_))),
        name,
        argument,
        second,
        nullable,
        distinct: params.distinct,
        filter,
        written: written.clone(),
        data_type: built(written.get_type(schema.as_ref()))?,
    })
}

/// Without aliases, and without the casts that the planner adds.
fn uncast(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => uncast(&alias.expr),
        Expr::Cast(cast) => uncast(&cast.expr),
        _ => expression,
    }
}

fn refuse_distinct(name: &str, params: &AggregateFunctionParams) -> Result<()> {
    if params.distinct && name != "count" {
        return Err(Error::new(SqlState::FeatureNotSupported, format!("{name}(DISTINCT …) is not released"))
            .hint(format!("count(DISTINCT …) and {name}(…) are; or aggregate per person first")));
    }
    if name == "count" && params.args.len() > 1 {
        return Err(Error::new(SqlState::FeatureNotSupported, "count of several columns is not released")
            .hint("count one column, or the columns put together: count(DISTINCT concat_ws('|', a, b))"));
    }
    Ok(())
}

/// An extreme of a text, a date or a time lies in no bounds that could be declared.
fn refuse_text(name: &str, data_type: Option<&DataType>) -> Result<()> {
    let ranked = matches!(name, "min" | "max" | "median" | "percentile_disc");
    match data_type {
        Some(data_type) if ranked && !data_type.is_numeric() && !data_type.is_null() => {
            Err(Error::new(SqlState::FeatureNotSupported, format!("{name} is released of numbers only"))
                .hint("group by the column; of a time use clamp(extract(epoch FROM column), lo, hi)"))
        }
        _ => Ok(()),
    }
}

/// The fractions of a percentile, from the side that its order begins at.
fn fractions_of(name: &str, params: &AggregateFunctionParams) -> Result<Fractions> {
    if !is_ordered_set(name) || name == "mode" {
        return Ok(Fractions::default());
    }
    let refusal = || {
        Error::new(
            SqlState::InvalidParameterValue,
            format!("{name} takes a fraction between 0 and 1, or an array of them"),
        )
        .hint(format!("for example {name}(0.5) WITHIN GROUP (ORDER BY hours)"))
    };
    let written = params.args.get(1).ok_or_else(refusal)?;
    let (each, several) = match numbers(written) {
        Some(several) => (several, true),
        None => (vec![literal(written).as_ref().and_then(bounds::number).ok_or_else(refusal)?], false),
    };
    if each.is_empty() || each.len() > 100 || !each.iter().all(|fraction| (0.0..=1.0).contains(fraction)) {
        return Err(refusal());
    }
    let descending = params.order_by.first().is_some_and(|order| !order.asc);
    let each = each.into_iter().map(|fraction| if descending { 1.0 - fraction } else { fraction }).collect();
    Ok(Fractions { each, several })
}

/// The numbers of `ARRAY[…]`; nothing for anything else.
fn numbers(expression: &Expr) -> Option<Vec<f64>> {
    match expression {
        Expr::Alias(alias) => numbers(&alias.expr),
        Expr::Cast(cast) => numbers(&cast.expr),
        Expr::ScalarFunction(call) if call.func.name() == "make_array" => {
            call.args.iter().map(|part| literal(part).as_ref().and_then(bounds::number)).collect()
        }
        Expr::Literal(value @ ScalarValue::List(_), _) => {
            let to = DataType::new_list(DataType::Float64, true);
            match value.cast_to(&to) {
                Ok(ScalarValue::List(list)) => {
                    let values = (!list.is_empty()).then(|| list.value(0))?;
                    values.as_primitive_opt::<Float64Type>()?.iter().collect()
                }
                Ok(_) | Err(_) => None,
            }
        }
        _ => None,
    }
}

/// One aggregate of a person's own rows, with what is known of its value.
pub(super) fn metric(scope: &Scope, written: &Expr, node: &Node, determined: bool) -> Result<Derived> {
    let function = parts(written)?;
    let (name, params) = (function.func.name(), &function.params);
    if !allow::per_person_aggregate(name) {
        return Err(Error::new(
            SqlState::FeatureNotSupported,
            format!("the aggregate {name} is not supported per person"),
        )
        .hint(allow::aggregate_hint(name))
        .at(position::of_expression(scope.context, written)));
    }
    refuse_order(params, false).map_err(|error| error.at(position::of_expression(scope.context, written)))?;
    let arguments = params.args.iter().map(|argument| scope.derive(argument)).collect::<Result<Vec<_>>>()?;
    if name != "count" && arguments.iter().any(|d| d.facts.class == Class::Identifier) {
        return Err(refuse_identifier().at(position::of_expression(scope.context, written)));
    }
    let filter = params.filter.as_ref().map(|filter| scope.derive(filter)).transpose()?;
    let class = arguments.iter().chain(&filter).map(|d| d.facts.class).filter(|class| *class != Class::Identifier);
    let class = class.chain([Class::Measure]).max_by_key(|class| weight(*class)).unwrap_or(Class::Measure);
    let bounds = metric_bounds(name, arguments.first().and_then(|d| d.facts.bounds), scope.person.max_rows);
    let fits = node.profile().map(Expr::Column).into_iter().chain(filter.map(|d| d.expression)).reduce(Expr::and);
    let extreme = matches!(name, "min" | "max");
    let arguments = arguments.into_iter().zip(&params.args);
    let arguments =
        arguments.map(|(d, was)| if extreme { without_nan(scope, d.expression, was) } else { Ok(d.expression) });
    let expression = Expr::AggregateFunction(AggregateFunction::new_udf(
        order_free(scope, function),
        arguments.collect::<Result<Vec<_>>>()?,
        params.distinct,
        fits.map(Box::new),
        vec![],
        None,
    ));
    let facts = PersonColumn { class, determined, bounds, ..PersonColumn::constant(None) };
    Ok(Derived { expression, facts })
}

/// The engine's extremes of floats depend on where a NaN stands among the rows. NaN is no value here.
fn without_nan(scope: &Scope, total: Expr, written: &Expr) -> Result<Expr> {
    let of = built(written.get_type(scope.node.plan.schema().as_ref()))?;
    if !of.is_floating() {
        return Ok(total);
    }
    let nothing = Expr::Literal(built(ScalarValue::try_from(&of))?, None);
    Ok(datafusion::functions::math::expr_fn::nanvl(total.unalias(), nothing))
}

/// Sums of floats depend on the order of the rows, and that may depend on other persons: such aggregates add up exactly, or get
/// their rows sorted.
fn order_free(scope: &Scope, function: &AggregateFunction) -> std::sync::Arc<AggregateUDF> {
    let floats = matches!(
        function.func.name(),
        "sum"
            | "avg"
            | "mean"
            | "stddev"
            | "stddev_samp"
            | "stddev_pop"
            | "var"
            | "var_samp"
            | "var_sample"
            | "var_pop"
            | "var_population"
    );
    let schema = scope.node.plan.schema();
    let argument = function.params.args.first().map(|argument| argument.get_type(schema.as_ref()));
    // Integers and decimals add up exactly, in any order.
    let exact = function.func.name() == "sum" && matches!(&argument, Some(Ok(of)) if !of.is_floating());
    if !floats || exact {
        return function.func.clone();
    }
    let of_doubles = matches!(argument, Some(Ok(DataType::Float64))) && !function.params.distinct;
    let summed = of_doubles.then(|| paravent_udfs::exact(function.func.name())).flatten();
    summed.unwrap_or_else(|| paravent_udfs::order_free(function.func.clone()))
}

pub(super) fn metric_bounds(name: &str, argument: Option<Bounds>, max_rows: Option<u64>) -> Option<Bounds> {
    let rows = max_rows.map(|rows| rows as f64);
    match name {
        "count" => rows.and_then(|rows| Bounds::new(0.0, rows).ok()),
        "sum" => argument
            .zip(rows)
            .and_then(|(b, rows)| Bounds::new(b.lower().min(0.0) * rows, b.upper().max(0.0) * rows).ok()),
        "avg" | "mean" | "min" | "max" | "median" => argument,
        "share" => Bounds::new(0.0, 1.0).ok(),
        "stddev" | "stddev_samp" | "stddev_pop" => argument.and_then(|b| Bounds::new(0.0, b.upper() - b.lower()).ok()),
        _ => None,
    }
}
