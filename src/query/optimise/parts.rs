//! What a plan is made of, as far as the engine's rules are about it.
//!
//! In: a plan, or a rule's name. Out: what the plan holds; whether the rule can do something with that.

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{ExpressionPlacement, LogicalPlan};

use crate::query::search::is_subquery;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    /// In expressions or beside tables.
    pub subqueries: bool,
    /// In expressions.
    pub nested: bool,
    pub joins: bool,
    /// Unions and DISTINCT.
    pub sets: bool,
    pub limits: bool,
    /// Fields of structures, and what else is best read where the rows are.
    pub fields: bool,
}

impl Parts {
    pub fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut parts = Self::default();
        plan.apply(|node| {
            parts.add_node(node);
            node.apply_expressions(|expression| {
                expression.apply(|part| {
                    parts.nested |= is_subquery(part);
                    parts.fields |= part.placement() == ExpressionPlacement::MoveTowardsLeafNodes;
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        parts.subqueries |= parts.nested;
        Ok(parts)
    }

    fn add_node(&mut self, node: &LogicalPlan) {
        match node {
            LogicalPlan::Join(_) => self.joins = true,
            LogicalPlan::Union(_) | LogicalPlan::Distinct(_) | LogicalPlan::RecursiveQuery(_) => self.sets = true,
            LogicalPlan::Limit(_) => self.limits = true,
            LogicalPlan::Subquery(_) => self.subqueries = true,
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => {}
        }
    }

    /// Can the rule of this name do something? Subqueries become joins, and DISTINCT over nothing a limit, while the rules go on. A
    /// rule that is not known here is applied.
    pub fn concern(self, rule: &str) -> bool {
        let Self { subqueries, nested: _, joins, sets, limits, fields } = self;
        match rule {
            "rewrite_set_comparison" | "decorrelate_predicate_subquery" | "scalar_subquery_to_join" => subqueries,
            "decorrelate_lateral_join"
            | "eliminate_join"
            | "extract_equijoin_predicate"
            | "eliminate_cross_join"
            | "filter_null_join_keys"
            | "eliminate_outer_join" => joins || subqueries,
            "optimize_unions" | "unions_to_filter" | "replace_distinct_aggregate" => sets || subqueries,
            "eliminate_limit" | "push_down_limit" => limits || sets || subqueries,
            "extract_leaf_expressions" | "push_down_leaf_projections" => fields || subqueries,
            _ => true,
        }
    }
}
