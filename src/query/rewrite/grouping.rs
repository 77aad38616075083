//! GROUPING SETS, ROLLUP and CUBE over rows of persons: one release for each grouping, then all of them together.
//!
//! The answer has the engine's own layout: every key, NULL where a grouping leaves it out, the number that `grouping(…)` reads,
//! then the aggregates. Equal groupings are asked once.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Union};

use super::{Rewriter, public};
use crate::error::{Error, Result, SqlState};
use crate::query::facts::{ErrorColumns, Node, Public, PublicColumn, Rows, built};
use crate::query::position;

impl Rewriter<'_> {
    /// `sets`: the only grouping expression of `aggregate`; `calls`: its aggregates over `node`.
    pub(super) fn grouping_sets(
        &mut self,
        node: &Node,
        aggregate: &Aggregate,
        sets: &GroupingSet,
        calls: &[Expr],
    ) -> Result<Node> {
        let keys: Vec<Expr> = sets.distinct_expr().into_iter().cloned().collect();
        let sets = spelled_out(sets);
        let mut answers: Vec<(Vec<usize>, Node)> = Vec::new();
        for set in &sets {
            let chosen: Vec<usize> = (0..keys.len()).filter(|i| set.contains(&keys[*i])).collect();
            if !answers.iter().any(|(known, _)| *known == chosen) {
                let of_set: Vec<Expr> = chosen.iter().map(|i| keys[*i].clone()).collect();
                let answer = self.grouped_once(node, &of_set, calls)?;
                answers.push((chosen, answer));
            }
        }
        let types = (0..keys.len()).map(|key| type_of_key(&answers, key)).collect::<Option<Vec<DataType>>>();
        let types = types.ok_or_else(Error::internal)?;
        let mut inputs = Vec::new();
        let mut asked: Vec<Vec<usize>> = Vec::new();
        for set in &sets {
            let chosen: Vec<usize> = (0..keys.len()).filter(|i| set.contains(&keys[*i])).collect();
            let before = asked.iter().filter(|known| **known == chosen).count();
            let answer = answers.iter().find(|(known, _)| *known == chosen).map(|(_, answer)| answer);
            inputs.push(Arc::new(laid_out(aggregate, &types, &chosen, before, answer.ok_or_else(Error::internal)?)?));
            asked.push(chosen);
        }
        let rows = answers.first().and_then(|(_, answer)| match &answer.rows {
            Rows::Public(rows) => Some((answer.visible, rows)),
            Rows::Person(_) => None,
        });
        let (visible, rows) = rows.ok_or_else(Error::internal)?;
        let errors =
            rows.columns.iter().skip(visible - calls.len()).take(calls.len()).map(|column| column.error.clone());
        let mut columns = vec![PublicColumn::default(); keys.len() + 1];
        columns.extend(errors.enumerate().map(|(call, error)| PublicColumn {
            error: error.map(|error| errors_of_call(&error, call).0),
            ..PublicColumn::default()
        }));
        let unique = vec![(0..=keys.len()).collect()];
        let visible = columns.len();
        let plan = match inputs.len() {
            1 => inputs.pop().map(Arc::unwrap_or_clone).ok_or_else(Error::internal)?,
            _ => {
                let all = LogicalPlan::Union(built(Union::try_new(inputs))?);
                super::union::requalified(all, &aggregate.schema, visible)?
            }
        };
        let mut all = public(plan, Public { columns, unique, released: true });
        all.visible = visible;
        Ok(all)
    }

    fn grouped_once(&mut self, node: &Node, keys: &[Expr], calls: &[Expr]) -> Result<Node> {
        if keys.is_empty() && calls.is_empty() {
            return Err(Error::new(
                SqlState::FeatureNotSupported,
                "an empty grouping without an aggregate is not supported",
            )
            .hint("add count(*)"));
        }
        let answer = self.grouped(node.clone(), keys, calls)?;
        match answer.rows {
            Rows::Public(_) => Ok(answer),
            Rows::Person(_) => Err(Error::new(
                SqlState::FeatureNotSupported,
                "GROUPING SETS, ROLLUP and CUBE that group by the person key are not supported",
            )
            .hint("group by the person key in a subquery of its own, and by the sets above it")
            .at(keys.first().and_then(|key| position::of_expression(self.context, key)))),
        }
    }
}

/// The hidden columns of one aggregate under names that every grouping gives them, and the expressions that do.
fn errors_of_call(error: &ErrorColumns, call: usize) -> (ErrorColumns, Vec<Expr>) {
    let mut named = Vec::new();
    let renamed = error.renamed(|was| {
        let name = format!("__error_{call}_{}", named.len());
        named.push(Expr::Column(was.clone()).alias(name.clone()));
        Some(Column::new_unqualified(name))
    });
    (renamed.unwrap_or_else(|| error.clone()), named)
}

/// Every grouping by itself.
fn spelled_out(sets: &GroupingSet) -> Vec<Vec<Expr>> {
    match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(keys) => (0..=keys.len()).rev().map(|count| keys[..count].to_vec()).collect(),
        GroupingSet::Cube(keys) => {
            let chosen =
                |mask: u64| keys.iter().enumerate().filter(move |(i, _)| mask >> i & 1 == 0).map(|(_, k)| k.clone());
            (0..1_u64 << keys.len().min(16)).map(|mask| chosen(mask).collect()).collect()
        }
    }
}

/// What the groupings that hold a key give it as; not always the type that the engine's own operators would.
fn type_of_key(answers: &[(Vec<usize>, Node)], key: usize) -> Option<DataType> {
    answers.iter().find_map(|(chosen, answer)| {
        let place = chosen.iter().position(|index| *index == key)?;
        Some(answer.plan.schema().field(place).data_type().clone())
    })
}

/// One grouping's answer in the layout of `aggregate`, whose keys are of `types`; `before`: how many equal groupings there are
/// before it.
fn laid_out(
    aggregate: &Aggregate,
    types: &[DataType],
    chosen: &[usize],
    before: usize,
    answer: &Node,
) -> Result<LogicalPlan> {
    let (schema, keys) = (&aggregate.schema, types.len());
    let mut columns = Vec::new();
    let mut left_out = 0_u64;
    for (key, of_key) in types.iter().enumerate() {
        left_out <<= 1;
        columns.push(match chosen.iter().position(|index| *index == key) {
            Some(place) => Expr::Column(answer.column(place)),
            None => {
                left_out |= 1;
                Expr::Literal(built(ScalarValue::try_from(of_key))?, None)
            }
        });
    }
    let number = ScalarValue::UInt64(Some(left_out | (before as u64) << keys));
    columns.push(Expr::Literal(built(number.cast_to(schema.field(keys).data_type()))?, None));
    columns.extend((chosen.len()..answer.visible).map(|index| Expr::Column(answer.column(index))));
    let mut named: Vec<Expr> = Vec::new();
    for (index, column) in columns.into_iter().enumerate() {
        let (relation, field) = schema.qualified_field(index);
        named.push(column.alias_qualified(relation.cloned(), field.name()));
    }
    let Rows::Public(rows) = &answer.rows else {
        return Err(Error::internal());
    };
    for (call, column) in rows.columns.iter().take(answer.visible).skip(chosen.len()).enumerate() {
        named.extend(column.error.iter().flat_map(|error| errors_of_call(error, call).1));
    }
    built(LogicalPlanBuilder::from(answer.plan.clone()).project(named).and_then(LogicalPlanBuilder::build))
}
