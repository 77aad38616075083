//! The engine's simplification of expressions, without those that hold nothing to simplify.
//!
//! In: a node. Out: the node with simpler expressions of the same names and values. The engine's rule makes an evaluator of constants, a
//! simplifier and a name for every expression and a schema for every node, also where all of them are plain columns; most are.

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyExpressions};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug, Default)]
pub(super) struct Simplify(SimplifyExpressions);

impl OptimizerRule for Simplify {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut open = false;
        plan.apply_expressions(|expression| {
            open = open || !is_plain(expression);
            Ok(if open { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        match &plan {
            _ if !open => Ok(Transformed::no(plan)),
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Sort(_) => simplified(plan, config),
            // What aggregates and sources ask for besides.
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// A column or a literal, by any name.
pub(super) fn is_plain(expression: &Expr) -> bool {
    match expression {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(alias) => is_plain(&alias.expr),
        _ => false,
    }
}

/// As the engine does it.
fn simplified(plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    let context = SimplifyContext::builder()
        .with_schema(DFSchemaRef::new(merge_schema(&plan.inputs())))
        .with_config_options(config.options())
        .with_query_execution_start_time(config.query_execution_start_time())
        .build();
    let simplifier = ExprSimplifier::new(context);
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expression| {
        if is_plain(&expression) {
            return Ok(Transformed::no(expression));
        }
        let name = names.save(&expression);
        let (simpler, _) = simplifier.simplify_with_cycle_count_transformed(expression)?;
        Ok(Transformed::new_transformed(name.restore(simpler.data), simpler.transformed))
    })
}
