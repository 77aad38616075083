//! The engine's removal of repeated keys, where a key is repeated.
//!
//! In: a node. Out: the node without the repetition. The engine makes every aggregate again, with the types of all its columns, to find
//! that there is none.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug, Default)]
pub(super) struct RepeatedKeys(EliminateDuplicatedExpr);

impl OptimizerRule for RepeatedKeys {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Aggregate(aggregate) if !repeats(&aggregate.group_expr) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

fn repeats(keys: &[Expr]) -> bool {
    keys.iter().enumerate().any(|(i, key)| keys.iter().skip(i + 1).any(|other| other == key))
}
