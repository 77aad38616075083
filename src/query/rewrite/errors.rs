//! How far noise may have moved an expression over released columns: `dp_stddev(100 * avg(x) + 1)`, `dp_interval_low(sum(a) / count(*))`.
//!
//! In: an expression of released columns and numbers. Out: a standard error, or the end of an interval, as an expression over the
//! columns' own; nothing where the expression is none that is followed here.
//!
//! **Law of the standard error** first order, with the absolute values of the parts added up: exact for what is affine in one column,
//! and never too small where several columns were noised together. **Law of the interval** interval arithmetic over intervals that
//! hold all at once: with k columns each has the level 1 − (1 − level) / k (Bonferroni), so the interval covers at least its level;
//! with one column in an increasing or decreasing expression it covers exactly what the column's covers. **Source** Moore 1966,
//! "Interval Analysis".

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::{greatest, least};
use datafusion::functions::math::expr_fn::{abs, ceil, exp, floor, ln, round, sqrt, trunc};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast, lit, when};

use crate::query::bounds;
use crate::query::expression::keeps_apart;
use crate::query::facts::{ErrorColumns, Node, Public};

/// Products and quotients of two noised values in one another: more would make expressions too long.
const NESTED_AT_MOST: usize = 3;

/// A value as Float64, how far noise may have moved it, and the ends that it lies within; both the value itself where there is none.
struct Moved {
    value: Expr,
    stddev: Expr,
    low: Expr,
    high: Expr,
    exact: Option<f64>,
    nested: usize,
}

/// The error columns of a released column at one level.
pub(super) struct Follow<'a> {
    pub node: &'a Node,
    pub rows: &'a Public,
    /// The number of the level among those of the statement.
    pub level: Option<usize>,
}

/// What is wanted of an expression.
pub(super) struct Errors {
    pub stddev: Expr,
    pub low: Expr,
    pub high: Expr,
}

impl Follow<'_> {
    /// Nothing where the expression has no noised column, or one whose error is not known.
    pub fn errors(&self, expression: &Expr) -> Option<Errors> {
        let moved = self.moved(expression).filter(|moved| moved.exact.is_none())?;
        Some(Errors { stddev: moved.stddev, low: moved.low, high: moved.high })
    }

    fn moved(&self, expression: &Expr) -> Option<Moved> {
        if let Some(index) = plain_index(self.node, expression) {
            let error = self.rows.columns.get(index)?.error.as_ref()?;
            return self.column(Expr::Column(self.node.column(index)), error);
        }
        match expression {
            Expr::Alias(alias) => self.moved(&alias.expr),
            Expr::Literal(value, _) => bounds::number(value).map(exactly),
            Expr::Cast(inner) => {
                let moved = self.moved(&inner.expr)?;
                match inner.field.data_type() {
                    to if to.is_floating() || matches!(to, DataType::Decimal128(..)) => Some(moved),
                    // The engine cuts fractions off.
                    to if to.is_integer() => Some(moved.through(trunc_one)),
                    _ => None,
                }
            }
            Expr::Negative(inner) => self.moved(inner).map(|moved| times(moved, -1.0)),
            Expr::BinaryExpr(binary) => self.binary(binary, expression),
            Expr::ScalarFunction(call) => self.function(call),
            _ => None,
        }
    }

    fn column(&self, value: Expr, error: &ErrorColumns) -> Option<Moved> {
        let ends = self.level.map(|level| error.ends.get(level)).unwrap_or_default();
        let column = |column: &datafusion::common::Column| Expr::Column(column.clone());
        // Where only the standard error is wanted, the ends are never looked at.
        let (low, high) = match ends {
            Some([low, high]) => (column(low), column(high)),
            None if self.level.is_none() => (null(), null()),
            None => return None,
        };
        let value = cast(value, DataType::Float64);
        Some(Moved { value, stddev: column(&error.stddev), low, high, exact: None, nested: 0 })
    }

    fn binary(&self, binary: &BinaryExpr, whole: &Expr) -> Option<Moved> {
        let (left, right) = (self.moved(&binary.left)?, self.moved(&binary.right)?);
        match binary.op {
            Operator::Plus => Some(sum(left, right)),
            Operator::Minus => Some(sum(left, times(right, -1.0))),
            Operator::Multiply => product(left, right),
            Operator::Divide => {
                let integer = whole.get_type(self.node.plan.schema().as_ref()).ok()?.is_integer();
                let quotient = quotient(left, right)?;
                Some(if integer { quotient.through(trunc_one) } else { quotient })
            }
            _ => None,
        }
    }

    fn function(&self, call: &ScalarFunction) -> Option<Moved> {
        let first = self.moved(call.args.first()?)?;
        let not_negative = |x: Expr| greatest(vec![x, lit(0.0)]);
        match (call.func.name(), call.args.len()) {
            ("round", 1) => Some(first.through(|x| round(vec![x]))),
            ("trunc", 1) => Some(first.through(trunc_one)),
            ("floor", 1) => Some(first.through(floor)),
            ("ceil", 1) => Some(first.through(ceil)),
            // The value itself, or NULL.
            ("nullif", 2) => Some(first),
            ("exp", 1) => {
                let stddev = first.stddev.clone() * exp(first.value.clone());
                Some(Moved { stddev, ..first.through(exp) })
            }
            ("sqrt", 1) => {
                let stddev = first.stddev.clone() / (lit(2.0) * sqrt(not_negative(first.value.clone())));
                Some(Moved { stddev, ..first.through(|x| sqrt(not_negative(x))) })
            }
            ("ln", 1) => {
                let stddev = first.stddev.clone() / first.value.clone();
                Some(Moved { stddev, ..first.through(|x| ln(not_negative(x))) })
            }
            ("abs", 1) => {
                let least_of = greatest(vec![lit(0.0), first.low.clone(), lit(-1.0) * first.high.clone()]);
                let most = greatest(vec![abs(first.low.clone()), abs(first.high.clone())]);
                let there = first.low.clone().is_not_null();
                let low = when(there, least_of).end().ok()?;
                Some(Moved { value: abs(first.value), low, high: most, ..first })
            }
            _ => None,
        }
    }
}

/// The index of a visible column that is handed on unchanged, at most widened: what is unique stays so.
pub(super) fn plain_index(node: &Node, expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Column(column) => node.plan.schema().maybe_index_of_column(column).filter(|index| *index < node.visible),
        Expr::Alias(alias) => plain_index(node, &alias.expr),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(node.plan.schema().as_ref()).ok()?;
            plain_index(node, &cast.expr).filter(|_| keeps_apart(&from, cast.field.data_type()))
        }
        _ => None,
    }
}

impl Moved {
    /// An increasing function that leaves the standard error as it is.
    fn through(self, f: impl Fn(Expr) -> Expr) -> Self {
        let Self { value, stddev, low, high, exact: _, nested } = self;
        // A number that is not followed any further is one whose ends are itself.
        Self { value: f(value), stddev, low: f(low), high: f(high), exact: None, nested }
    }
}

fn trunc_one(x: Expr) -> Expr {
    trunc(vec![x])
}

fn null() -> Expr {
    lit(ScalarValue::Float64(None))
}

fn exactly(number: f64) -> Moved {
    let value = || lit(number);
    Moved { value: value(), stddev: lit(0.0), low: value(), high: value(), exact: Some(number), nested: 0 }
}

fn sum(a: Moved, b: Moved) -> Moved {
    Moved {
        exact: a.exact.zip(b.exact).map(|(a, b)| a + b),
        value: a.value + b.value,
        stddev: a.stddev + b.stddev,
        low: a.low + b.low,
        high: a.high + b.high,
        nested: a.nested.max(b.nested),
    }
}

fn times(a: Moved, factor: f64) -> Moved {
    let by = |x: Expr| x * lit(factor);
    let (low, high) = if factor < 0.0 { (a.high, a.low) } else { (a.low, a.high) };
    Moved {
        exact: a.exact.map(|a| a * factor),
        value: by(a.value),
        stddev: a.stddev * lit(factor.abs()),
        low: by(low),
        high: by(high),
        nested: a.nested,
    }
}

fn product(a: Moved, b: Moved) -> Option<Moved> {
    match (a.exact, b.exact) {
        (_, Some(factor)) => Some(times(a, factor)),
        (Some(factor), None) => Some(times(b, factor)),
        (None, None) => {
            let corners = || {
                let of = |x: &Expr, y: &Expr| x.clone() * y.clone();
                vec![of(&a.low, &b.low), of(&a.low, &b.high), of(&a.high, &b.low), of(&a.high, &b.high)]
            };
            let nested = a.nested.max(b.nested) + 1;
            (nested <= NESTED_AT_MOST).then(|| Moved {
                exact: None,
                stddev: abs(a.value.clone()) * b.stddev.clone() + abs(b.value.clone()) * a.stddev.clone(),
                low: least(corners()),
                high: greatest(corners()),
                value: a.value.clone() * b.value.clone(),
                nested,
            })
        }
    }
}

/// Where the divisor may be zero there is no end.
fn quotient(a: Moved, b: Moved) -> Option<Moved> {
    if let Some(divisor) = b.exact {
        return (divisor != 0.0).then(|| times(a, 1.0 / divisor));
    }
    let nested = a.nested.max(b.nested) + 1;
    if nested > NESTED_AT_MOST {
        return None;
    }
    let of = |x: &Expr, y: &Expr| x.clone() / y.clone();
    let corners = || vec![of(&a.low, &b.low), of(&a.low, &b.high), of(&a.high, &b.low), of(&a.high, &b.high)];
    let apart = || b.low.clone().gt(lit(0.0)).or(b.high.clone().lt(lit(0.0)));
    let end = |corner: Expr, endless: f64| {
        let near = (b.low.clone() * b.high.clone()).lt_eq(lit(0.0));
        when(apart(), corner).when(near, lit(endless)).end().ok()
    };
    let (low, high) = (end(least(corners()), f64::NEG_INFINITY)?, end(greatest(corners()), f64::INFINITY)?);
    let value = of(&a.value, &b.value);
    let stddev = (a.stddev.clone() + abs(value.clone()) * b.stddev.clone()) / abs(b.value.clone());
    Some(Moved { exact: None, value, stddev, low, high, nested })
}
