//! `regclass` and its like: OIDs that are written and shown as names.
//!
//! In: casts to and from these types. Out: calls of functions that look the name or the OID up. The types themselves stay
//! integers, so that comparing them with OIDs works.

use datafusion::sql::sqlparser::ast::{BinaryOperator, DataType, Expr, SelectItem, SetExpr, Value};

use super::adapt::{call, cast};
use super::set_functions::{column_name, counts_from_zero};

/// The kind of an OID alias type: `regclass`, `regtype`, …
fn reg_kind(data_type: &DataType) -> Option<&'static str> {
    let name = data_type.to_string().to_lowercase();
    let bare = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    ["regclass", "regtype", "regnamespace", "regrole"].into_iter().find(|kind| *kind == bare)
}

/// `'name'::regclass` and `$1::regclass`: the OID.
pub(super) fn reg_lookup(operand: &Expr, data_type: &DataType) -> Option<Expr> {
    match operand {
        Expr::Value(value) if matches!(&value.value, Value::SingleQuotedString(_) | Value::Placeholder(_)) => {}
        // A name put together.
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("format") => {}
        Expr::BinaryOp { op: BinaryOperator::StringConcat, .. } => {}
        _ => return None,
    }
    // Columns of this type hold names here, not OIDs.
    if ["regproc", "pg_catalog.regproc"].contains(&data_type.to_string().to_lowercase().as_str()) {
        return Some(operand.clone());
    }
    let kind = reg_kind(data_type)?;
    Some(call(&format!("to_{kind}"), vec![operand.clone()]))
}

/// `oid::regclass::text`: the name.
pub(super) fn reg_name(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { expr: inner, data_type, .. } = expr else {
        return None;
    };
    let text = data_type.to_string().to_lowercase();
    let is_text = ["text", "varchar", "name"].contains(&text.strip_prefix("pg_catalog.").unwrap_or(&text));
    match inner.as_ref() {
        Expr::Cast { expr: oid, data_type, .. } if is_text => reg_name_of(oid, data_type),
        _ => None,
    }
}

fn reg_name_of(oid: &Expr, data_type: &DataType) -> Option<Expr> {
    let kind = reg_kind(data_type)?;
    if reg_lookup(oid, data_type).is_some() {
        return None;
    }
    Some(match kind {
        "regtype" => call("format_type", vec![oid.clone(), Expr::Value(Value::Null.with_empty_span())]),
        "regrole" => call("pg_get_userbyid", vec![oid.clone()]),
        _ => call(&format!("{kind}_name"), vec![oid.clone()]),
    })
}

/// What goes out as Postgres shows it: `SELECT c.oid::regclass` is a name, `SELECT 1` an integer of four bytes.
pub(super) fn outputs(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                    && let Some(new) = output(expr)
                {
                    *expr = new;
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            outputs(left);
            outputs(right);
        }
        _ => {}
    }
}

fn output(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits.parse::<i32>().is_ok() => Some(cast(expr.clone(), DataType::Int4(None))),
            _ => None,
        },
        Expr::Cast { expr: operand, data_type, .. } => match reg_lookup(operand, data_type) {
            Some(oid) => reg_name_of(&oid, data_type),
            None => reg_name_of(operand, data_type),
        },
        // An int2vector is written `1 2`; psqlodbc reads it so, whatever stands there.
        Expr::Identifier(_) | Expr::CompoundIdentifier(_)
            if column_name(expr).is_some_and(|name| counts_from_zero(&name)) =>
        {
            let blank = Expr::Value(Value::SingleQuotedString(" ".to_owned()).with_empty_span());
            Some(call("array_to_string", vec![expr.clone(), blank]))
        }
        _ => None,
    }
}
