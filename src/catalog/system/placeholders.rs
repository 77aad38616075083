//! The parameters of a statement, and the types that its text gives them.
//!
//! In: a parsed statement. Out: by number, the type of `$1::type` and of `= ANY ($1)`; nothing where the text does not say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, Visit, Visitor};

use super::types::short_name;

/// By number, from 1.
pub fn placeholders(statement: &Statement) -> BTreeMap<usize, Option<DataType>> {
    let mut found = Found(BTreeMap::new());
    let _ = statement.visit(&mut found);
    found.0
}

struct Found(BTreeMap<usize, Option<DataType>>);

impl Found {
    fn note(&mut self, expr: &Expr, data_type: Option<DataType>) {
        if let Some(number) = placeholder(expr) {
            let known = self.0.entry(number).or_default();
            *known = known.take().or(data_type);
        }
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr, data_type, .. } => self.note(expr, type_named(&short_name(&data_type.to_string()))),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => self.note(right, Some(list(DataType::Utf8))),
            other => self.note(other, None),
        }
        ControlFlow::Continue(())
    }
}

fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// By its name in pg_type. Types of names, such as regclass, take texts.
fn type_named(name: &str) -> Option<DataType> {
    if let Some(item) = name.strip_prefix('_') {
        return type_named(item).map(list);
    }
    Some(match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        // As a parameter it goes over the wire as what it is.
        "oid" => DataType::UInt32,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "text" | "varchar" | "bpchar" | "name" | "uuid" | "regclass" | "regtype" | "regnamespace" | "regrole" => {
            DataType::Utf8
        }
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        _ => return None,
    })
}
