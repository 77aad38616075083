//! Subqueries inside expressions become joins and aggregates, so that later stages see whose rows meet whose.
//!
//! In: a plan. Out: the same question with semi, anti, mark and left joins in the place of `EXISTS`, `IN`, `ANY`, `ALL`,
//! `LATERAL` and scalar subqueries that refer to the query around them, these held to the groups that it asks for
//! ([`super::asked_groups`]). What has no such form stays an expression; the allow-list refuses it. Nothing is decided about privacy here: the rewrite treats the joins like any others.
//!
//! Source: the rules are the engine's own. They look into WHERE and SELECT only, so what stands inside an aggregate's
//! arguments is first moved to a projection below it, and `EXISTS` and `IN` in a SELECT list become counts ([`super::membership`]).

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::OptimizerContext;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;

use super::asked_groups::only_asked;
use super::membership::counted;
use super::optimise::{InnerJoins, OPTIONS, Rule, apply};
use super::search::holds_subquery;

/// Besides subqueries: every equality of a join among its pairs, also of `FROM a, b WHERE a.k = b.k`.
pub(super) fn decorrelate(plan: LogicalPlan) -> Result<LogicalPlan> {
    let run = |plan: LogicalPlan, rules: &[Rule]| {
        apply(rules, plan, &OptimizerContext::new_with_config_options(OPTIONS.clone()))
    };
    let plan = match holds_subquery(&plan)? {
        true => run(plan, &[Arc::new(RewriteSetComparison::new())])?.transform_up_with_subqueries(counted)?.data,
        false => plan,
    };
    let plan = run(
        plan,
        &[
            Arc::new(InnerJoins::default()),
            Arc::new(DecorrelatePredicateSubquery::new()),
            Arc::new(ScalarSubqueryToJoin::new()),
            Arc::new(DecorrelateLateralJoin::new()),
            Arc::new(ExtractEquijoinPredicate::new()),
        ],
    )?;
    only_asked(plan)
}

/// What stands inside of aggregates, before the analysis, which refuses some of it there.
pub(super) fn below_aggregates(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(below_aggregate).map(|moved| moved.data)
}

fn is_subquery(expression: &Expr) -> bool {
    matches!(expression, Expr::Exists(_) | Expr::InSubquery(_))
        || matches!(expression, Expr::ScalarSubquery(s) if !s.outer_ref_columns.is_empty())
}

/// `sum((SELECT …))` becomes `sum(s)` over a projection that gives `s`.
fn below_aggregate(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(aggregate) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let mut found: Vec<Expr> = Vec::new();
    for expression in aggregate.group_expr.iter().chain(&aggregate.aggr_expr) {
        expression.apply(|part| {
            if is_subquery(part) {
                if !found.contains(part) {
                    found.push(part.clone());
                }
                return Ok(TreeNodeRecursion::Jump);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let grouping = aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
    if found.is_empty() || grouping {
        return Ok(Transformed::no(plan));
    }
    let name = |index: usize| format!("__subquery_{index}");
    let mut columns: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    columns.extend(found.iter().enumerate().map(|(index, subquery)| subquery.clone().alias(name(index))));
    let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone()).project(columns)?.build()?;
    let replaced = |expression: &Expr| -> Result<Expr> {
        let moved = expression.clone().transform_down(|part| {
            Ok(match found.iter().position(|subquery| *subquery == part) {
                Some(index) => {
                    let column = Expr::Column(datafusion::common::Column::new_unqualified(name(index)));
                    Transformed::new(column, true, TreeNodeRecursion::Jump)
                }
                None => Transformed::no(part),
            })
        })?;
        let (relation, name) = expression.qualified_name();
        Ok(if moved.transformed { moved.data.unalias().alias_qualified(relation, name) } else { moved.data })
    };
    let keys = aggregate.group_expr.iter().map(replaced).collect::<Result<Vec<_>>>()?;
    let calls = aggregate.aggr_expr.iter().map(replaced).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), keys, calls)?)))
}
