//! `unnest(…)`: a row for each element of a list. The rows stay their person's, and what told rows apart does so no more.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan, Unnest};

use super::{Rewriter, public, unaliased};
use crate::error::{Error, Result, SqlState};
use crate::query::facts::{Node, Person, PersonColumn, Public, PublicColumn, Rows, built};

impl Rewriter<'_> {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Node> {
        if !unnest.struct_type_columns.is_empty() {
            return Err(Error::new(SqlState::FeatureNotSupported, "unnest of a composite value is not supported"));
        }
        let node = self.node(&unnest.input)?;
        let over = |plan: LogicalPlan| {
            let listed = unnest.exec_columns.clone();
            built(Unnest::try_new(Arc::new(plan), listed, unnest.options.clone())).map(LogicalPlan::Unnest)
        };
        match &node.rows {
            Rows::Public(rows) => {
                let columns = unnest.schema.fields().iter().map(|_| PublicColumn::default()).collect();
                let released = rows.released;
                let plan = over(self.visible_only(node)?)?;
                Ok(public(plan, Public { columns, unique: Vec::new(), released }))
            }
            Rows::Person(person) => {
                let listed = |index: usize| unnest.list_type_columns.iter().any(|(list, _)| *list == index);
                let of = |index: &usize| -> Result<PersonColumn> {
                    let column = person.columns.get(*index).ok_or_else(Error::internal)?.clone();
                    Ok(if listed(*index) { element(column) } else { column })
                };
                let columns = unnest.dependency_indices.iter().map(of).collect::<Result<Vec<_>>>()?;
                let times = longest(unnest);
                let more = |count: Option<u64>| count.zip(times).map(|(count, times)| count.saturating_mul(times));
                let person = Person {
                    columns,
                    unique: Vec::new(),
                    max_rows: more(person.max_rows),
                    max_groups: more(person.max_groups),
                    ..person.clone()
                };
                Ok(Node { plan: over(node.plan)?, visible: unnest.schema.fields().len(), rows: Rows::Person(person) })
            }
        }
    }
}

/// What is known of a list is known of its elements, but there can be several.
fn element(list: PersonColumn) -> PersonColumn {
    PersonColumn {
        class: list.class,
        bounds: list.bounds,
        outer: list.outer,
        refusal: list.refusal,
        determined: false,
        ..PersonColumn::constant(None)
    }
}

/// How many rows one can become, where the lists are written in the query.
fn longest(unnest: &Unnest) -> Option<u64> {
    let lengths = unnest.list_type_columns.iter().map(|(index, list)| {
        let length = written_length(&unnest.input, *index)?;
        u64::try_from(length).ok().filter(|_| list.depth == 1)
    });
    lengths.collect::<Option<Vec<u64>>>()?.into_iter().max()
}

/// Of the list that a column holds, as the query writes it.
fn written_length(plan: &LogicalPlan, index: usize) -> Option<usize> {
    match plan {
        LogicalPlan::Projection(projection) => match unaliased(projection.expr.get(index)?) {
            Expr::ScalarFunction(call) if call.func.name() == "make_array" => Some(call.args.len()),
            Expr::Literal(ScalarValue::List(list), _) => Some(list.values().len()),
            Expr::Column(column) => {
                written_length(&projection.input, projection.input.schema().maybe_index_of_column(column)?)
            }
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => written_length(&alias.input, index),
        LogicalPlan::Filter(filter) => written_length(&filter.input, index),
        _ => None,
    }
}
