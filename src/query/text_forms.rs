//! Casts to uuid, json and jsonb, whose values are texts here.
//!
//! In: a query's syntax tree. Out: the same tree without such casts: of a literal, the text as such values are kept; of anything else, a cast
//! to text. Errors: 22P02 for a literal that has not the form.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Query, TypedString, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::resolve::column_form;
use crate::error::{Error, Result, SqlState};
use crate::policy::TextForm;

pub(super) fn as_texts(query: &Query) -> Result<Query> {
    let mut query = query.clone();
    match VisitMut::visit(&mut query, &mut Forms) {
        ControlFlow::Continue(()) => Ok(query),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Forms;

impl VisitorMut for Forms {
    type Break = Error;

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Error> {
        match expression {
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, .. } => {
                let Some(form) = column_form(data_type) else {
                    return ControlFlow::Continue(());
                };
                if let Expr::Value(value) = expr.as_mut()
                    && let Err(error) = read(form, value)
                {
                    return ControlFlow::Break(error);
                }
                *data_type = DataType::Text;
            }
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                if let Some(form) = column_form(data_type) {
                    if let Err(error) = read(form, value) {
                        return ControlFlow::Break(error);
                    }
                    *expression = Expr::Value(value.clone());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn read(form: TextForm, literal: &mut ValueWithSpan) -> Result<()> {
    let text = match &literal.value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text,
        // Null is of every type, and a parameter's value is not known yet.
        _ => return Ok(()),
    };
    let kept = form.read(text).ok_or_else(|| {
        Error::new(SqlState::InvalidTextRepresentation, format!("invalid input syntax for type {}", form.name()))
    })?;
    literal.value = Value::SingleQuotedString(kept);
    Ok(())
}
