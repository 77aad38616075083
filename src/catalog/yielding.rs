//! Plans that can be stopped: a rule for both engines, the one of questions and the one of the catalog.
//!
//! In: a physical plan. Out: the same, in which what makes many rows of few (joins, unnesting) lets others run after some batches. The
//! engine does so where rows are read; a join of a few rows with many gives millions of batches for one that is read, and until it
//! had given them neither a cancellation nor a timeout reached it, nor anybody else the thread.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::unnest::UnnestExec;

#[derive(Debug)]
pub struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn name(&self) -> &str {
        "yielding"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|node| {
            let makes_many = node.children().len() > 1 || node.downcast_ref::<UnnestExec>().is_some();
            Ok(match makes_many {
                true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(node),
            })
        });
        wrapped.data()
    }

    fn schema_check(&self) -> bool {
        true
    }
}
