//! Single expressions of catalog statements in words that the engine plans, with the same value.
//!
//! In: an expression. Out: another for it, or nothing where it can stay. Laws:
//! * `x LIKE p ESCAPE e` is `x LIKE` the same pattern with a backslash for its escape.
//! * `(x).f` is the field of a record; arrays of the type int2vector count from 0, those of the engine from 1.
//! * No index waits for the end of a transaction: `NOT indimmediate AND …` is false.
//! * Columns of the type regproc hold names here: 0 is written `-`, and they meet the names of pg_proc, not its OIDs.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Ident, Subscript, UnaryOperator, Value, ValueWithSpan,
};

use super::adapt::{call, cast};
use super::set_functions::{column_name, counts_from_zero};

const REGPROCS: [&str; 7] = ["typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout", "typanalyze"];

pub(super) fn reworded(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Like { negated, any: false, expr, pattern, escape_char: Some(escape) } => {
            like(expr, pattern, escape, *negated, false)
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char: Some(escape) } => {
            like(expr, pattern, escape, *negated, true)
        }
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
            [AccessExpr::Dot(Expr::Identifier(field))] => {
                Some(call("get_field", vec![(**root).clone(), text(&field.value.to_lowercase())]))
            }
            _ => from_one(root, access_chain),
        },
        Expr::BinaryOp { left, op: BinaryOperator::And, .. } if is_deferred(left) => {
            Some(Expr::Value(Value::Boolean(false).with_empty_span()))
        }
        Expr::BinaryOp { left, op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq), right } => {
            let new =
                |left: Expr, right: Expr| Expr::BinaryOp { left: left.into(), op: op.clone(), right: right.into() };
            let other = |one: &Expr, other: &Expr| procedure_for(one, other).or_else(|| truth_for(one, other));
            match (other(left, right), other(right, left)) {
                (Some(other), _) => Some(new((**left).clone(), other)),
                (_, Some(other)) => Some(new(other, (**right).clone())),
                (None, None) => None,
            }
        }
        // Arrays of types are texts here, `23 25`.
        Expr::Cast { expr, data_type: DataType::Array(_), .. }
            if column_name(expr).is_some_and(|name| ["proargtypes", "proallargtypes"].contains(&name.as_str())) =>
        {
            Some(call("string_to_array", vec![(**expr).clone(), text(" ")]))
        }
        // Their values are texts that went through this type, or go through it.
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type: DataType::Uuid, .. }
            if !matches!(&**expr, Expr::Cast { data_type: DataType::Text, .. }) =>
        {
            Some(cast((**expr).clone(), DataType::Text))
        }
        _ => None,
    }
}

fn is_deferred(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_deferred(inner),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => column_name(expr).as_deref() == Some("indimmediate"),
        _ => false,
    }
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).with_empty_span())
}

fn like(expr: &Expr, pattern: &Expr, escape: &ValueWithSpan, negated: bool, any_case: bool) -> Option<Expr> {
    let pattern = Box::new(call("like_pattern", vec![pattern.clone(), Expr::Value(escape.clone())]));
    let expr = Box::new(expr.clone());
    Some(if any_case {
        Expr::ILike { negated, any: false, expr, pattern, escape_char: None }
    } else {
        Expr::Like { negated, any: false, expr, pattern, escape_char: None }
    })
}

/// `indkey[0]` is the engine's first element.
fn from_one(root: &Expr, chain: &[AccessExpr]) -> Option<Expr> {
    let mut name = column_name(root);
    let mut changed = false;
    let mut new = Vec::with_capacity(chain.len());
    for access in chain {
        match access {
            AccessExpr::Subscript(Subscript::Index { index })
                if name.as_deref().is_some_and(counts_from_zero) && !is_from_one(index) =>
            {
                changed = true;
                new.push(AccessExpr::Subscript(Subscript::Index { index: plus_one(index) }));
            }
            AccessExpr::Dot(Expr::Identifier(field)) => {
                name = Some(field.value.to_lowercase());
                new.push(access.clone());
            }
            _ => {
                name = None;
                new.push(access.clone());
            }
        }
    }
    changed.then(|| Expr::CompoundFieldAccess { root: Box::new(root.clone()), access_chain: new })
}

/// Written by [`plus_one`]: not to be changed again.
fn is_from_one(index: &Expr) -> bool {
    matches!(index, Expr::UnaryOp { op: UnaryOperator::Plus, .. })
}

fn plus_one(index: &Expr) -> Expr {
    let one = Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
    let sum = Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(index.clone()))),
        op: BinaryOperator::Plus,
        right: Box::new(one),
    };
    Expr::UnaryOp { op: UnaryOperator::Plus, expr: Box::new(Expr::Nested(Box::new(sum))) }
}

/// `indisprimary = 't'`.
fn truth_for(column: &Expr, other: &Expr) -> Option<Expr> {
    const FLAGS: [&str; 8] = ["indis", "relhas", "relis", "attis", "atthas", "attnotnull", "datis", "typnotnull"];
    let name = column_name(column)?;
    match other {
        Expr::Value(value) if FLAGS.iter().any(|flag| name.starts_with(flag)) => match &value.value {
            Value::SingleQuotedString(text) if text == "t" || text == "f" => {
                Some(Expr::Value(Value::Boolean(text == "t").with_empty_span()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// What a column of procedures' names is compared with, where that is a number or an OID.
fn procedure_for(column: &Expr, other: &Expr) -> Option<Expr> {
    let name = column_name(column)?;
    if !REGPROCS.contains(&name.as_str()) {
        return None;
    }
    match other {
        Expr::Value(value) if matches!(&value.value, Value::Number(digits, _) if digits == "0") => Some(text("-")),
        Expr::CompoundIdentifier(parts) if parts.last()?.value.eq_ignore_ascii_case("oid") => {
            let mut parts = parts.clone();
            *parts.last_mut()? = Ident::new("proname");
            Some(Expr::CompoundIdentifier(parts))
        }
        _ => None,
    }
}
