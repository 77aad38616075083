//! Expressions above a release: any SQL, with released standard errors in the place of `dp_stddev(…)` and its kin.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, Subquery};

use super::errors::Follow;
pub(super) use super::errors::plain_index;
use super::{Rewriter, named_as, refuse_rows};
use crate::error::{Error, Result, SqlState};
use crate::query::errors_of::{self, ErrorOf, Side};
use crate::query::facts::{Node, Public, PublicColumn, Rows, built};
use crate::query::position;

impl Rewriter<'_> {
    /// Above a release anything goes; standard errors follow the columns that are handed on unchanged.
    pub(super) fn public_projection(&mut self, node: &Node, rows: &Public, wanted: &[Expr]) -> Result<Node> {
        let mut expressions = Vec::new();
        let mut columns = Vec::new();
        let mut errors = Vec::new();
        for expression in wanted {
            let index = plain_index(node, expression);
            let known = index.and_then(|i| rows.columns.get(i)).cloned().unwrap_or_default();
            let mut column = PublicColumn { error: None, ..known.clone() };
            if let Some(error) = &known.error {
                column.error = error.renamed(|was| {
                    let name = self.hidden_name("stddev");
                    errors.push(Expr::Column(was.clone()).alias(name.clone()));
                    Some(Column::new_unqualified(name))
                });
            }
            columns.push(column);
            expressions.push(named_as(self.public_expression(node, rows, expression)?, expression));
        }
        let place = |old: usize| wanted.iter().position(|e| plain_index(node, e) == Some(old));
        let unique = rows.unique.iter().filter_map(|set| set.iter().map(|i| place(*i)).collect()).collect();
        let visible = expressions.len();
        expressions.extend(errors);
        let plan = built(
            LogicalPlanBuilder::from(node.plan.clone()).project(expressions).and_then(LogicalPlanBuilder::build),
        )?;
        Ok(Node { plan, visible, rows: Rows::Public(Public { columns, unique, released: rows.released }) })
    }

    /// Puts released columns in the place of `dp_stddev(…)` and private plans in the place of subqueries.
    pub(super) fn public_expression(&mut self, node: &Node, rows: &Public, expression: &Expr) -> Result<Expr> {
        let mut refused = None;
        let outcome = expression.clone().transform_down(|part| {
            let replaced = match &part {
                Expr::ScalarFunction(call) => match ErrorOf::of(&call.func) {
                    Some(side) => self.error_column(node, rows, side, &call.args).map(Some),
                    None => Ok(None),
                },
                Expr::ScalarSubquery(subquery) => self.subquery(subquery).map(|s| Some(Expr::ScalarSubquery(s))),
                Expr::InSubquery(within) => self.subquery(&within.subquery).map(|s| {
                    let mut within = within.clone();
                    within.subquery = s;
                    Some(Expr::InSubquery(within))
                }),
                Expr::Exists(_) | Expr::SetComparison(_) => {
                    Err(Error::new(SqlState::FeatureNotSupported, "EXISTS, ANY and ALL are not supported")
                        .hint("join the two instead"))
                }
                _ => Ok(None),
            };
            Ok(match replaced {
                Ok(Some(Expr::InSubquery(within))) => {
                    Transformed::new(Expr::InSubquery(within), true, TreeNodeRecursion::Jump)
                }
                Ok(Some(other)) => Transformed::new(other, true, TreeNodeRecursion::Jump),
                Ok(None) => Transformed::no(part),
                Err(error) => {
                    refused.get_or_insert(error);
                    Transformed::new(part, false, TreeNodeRecursion::Stop)
                }
            })
        });
        match refused {
            Some(error) => Err(error.at(position::of_expression(self.context, expression))),
            None => built(outcome).map(|transformed| transformed.data),
        }
    }

    fn subquery(&mut self, subquery: &Subquery) -> Result<Subquery> {
        let node = self.node(&subquery.subquery)?;
        let Rows::Public(_) = &node.rows else {
            return Err(refuse_rows(&node));
        };
        let plan = self.visible_only(node)?;
        Ok(subquery.with_plan(Arc::new(plan)))
    }

    fn error_column(&self, node: &Node, rows: &Public, side: Side, arguments: &[Expr]) -> Result<Expr> {
        let argument = arguments.first().ok_or_else(Error::internal)?;
        let level = match side {
            Side::Error => None,
            Side::Low | Side::High => {
                let level = errors_of::level(arguments)?;
                Some(self.levels.iter().position(|known| *known == level).ok_or_else(Error::internal)?)
            }
        };
        let errors = Follow { node, rows, level }.errors(argument).ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, "the error of this expression is not known")
                .detail("it is known of released aggregates, and of sums, products, quotients and roots of them")
                .hint("for example dp_stddev(avg(hours)), or dp_interval_low(sum(hours) / count(*))")
        })?;
        Ok(match side {
            Side::Error => errors.stddev,
            Side::Low => errors.low,
            Side::High => errors.high,
        })
    }
}
