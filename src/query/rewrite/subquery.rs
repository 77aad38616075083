//! Scalar subqueries over rows of persons: a released or public value becomes a column beside every row.
//!
//! A subquery without a row is NULL, and one with two rows would be an error that depends on data, so only those are taken that
//! provably have one row at most. What it reads of persons, it reads through a release of its own.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Subquery, lit};

use super::{Rewriter, public, refuse_rows};
use crate::error::{Error, Result, SqlState};
use crate::query::facts::{Node, Rows, built};
use crate::query::position;

impl Rewriter<'_> {
    /// The rows with the subqueries' values behind the visible columns, and the expressions over them under their old names.
    pub(super) fn with_scalars(&mut self, node: Node, expressions: &[Expr]) -> Result<(Node, Vec<Expr>)> {
        let mut found: Vec<&Subquery> = Vec::new();
        for expression in expressions {
            let _ = expression.apply(|part| {
                if let Expr::ScalarSubquery(subquery) = part {
                    if !found.contains(&subquery) {
                        found.push(subquery);
                    }
                    return Ok(TreeNodeRecursion::Jump);
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        if found.is_empty() {
            return Ok((node, expressions.to_vec()));
        }
        let mut node = node;
        let mut columns = Vec::new();
        for subquery in &found {
            node = self.beside(&node, subquery)?;
            columns.push(node.column(node.visible.saturating_sub(1)));
        }
        let replace = |expression: &Expr| {
            let moved = expression.clone().transform_down(|part| match &part {
                Expr::ScalarSubquery(subquery) => match found.iter().position(|known| *known == subquery) {
                    Some(index) => {
                        let column = Expr::Column(columns[index].clone());
                        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
                    }
                    None => Ok(Transformed::no(part)),
                },
                _ => Ok(Transformed::no(part)),
            });
            let (relation, name) = expression.qualified_name();
            built(moved).map(|moved| match moved.transformed {
                true => moved.data.unalias().alias_qualified(relation, name),
                false => moved.data,
            })
        };
        let replaced = expressions.iter().map(replace).collect::<Result<Vec<_>>>()?;
        Ok((node, replaced))
    }

    fn beside(&mut self, node: &Node, subquery: &Subquery) -> Result<Node> {
        let value = self.node(&subquery.subquery)?;
        let Rows::Public(rows) = &value.rows else {
            return Err(refuse_rows(&value));
        };
        if !rows.unique.iter().any(|columns| columns.is_empty()) {
            let column = subquery.subquery.expressions().first().and_then(|e| position::of_expression(self.context, e));
            return Err(refuse_rows_of_scalar().at(column));
        }
        let rows = rows.clone();
        let alias = self.hidden_name("scalar");
        let plain = self.visible_only(value)?;
        let plan = LogicalPlanBuilder::from(plain).alias(alias).and_then(LogicalPlanBuilder::build);
        let value = public(built(plan)?, rows);
        let join = Join::try_new(
            Arc::new(node.plan.clone()),
            Arc::new(value.plan.clone()),
            Vec::new(),
            Some(lit(true)),
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        );
        let join = built(join)?;
        match (&node.rows, &value.rows) {
            (Rows::Person(person), Rows::Public(rows)) => self.join_lookup(&join, (node, person), (&value, rows), true),
            _ => Err(Error::internal()),
        }
    }

    /// The first `visible` columns, and what is hidden.
    pub(super) fn narrowed(&mut self, node: Node, visible: usize) -> Result<Node> {
        let Rows::Person(person) = &node.rows else {
            return Err(Error::internal());
        };
        if node.visible == visible {
            return Ok(node);
        }
        let mut person = person.clone();
        person.unique = person.unique_after(|index| Some(index).filter(|index| *index < visible));
        person.columns.truncate(visible);
        let wanted = (0..visible).chain(node.visible..node.plan.schema().fields().len());
        let wanted: Vec<Expr> = wanted.map(|i| Expr::Column(node.column(i))).collect();
        let plan: LogicalPlan =
            built(LogicalPlanBuilder::from(node.plan.clone()).project(wanted).and_then(LogicalPlanBuilder::build))?;
        Ok(Node { plan, visible, rows: Rows::Person(person) })
    }
}

fn refuse_rows_of_scalar() -> Error {
    Error::new(
        SqlState::CardinalityViolation,
        "a subquery used as an expression over rows of persons may give several rows",
    )
    .detail("whether it gives more than one would only be known while persons are read")
    .hint("aggregate it without GROUP BY, or add LIMIT 1")
}
