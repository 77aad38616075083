//! The engine's own rules over plans that cannot be read: types made explicit, then every logical optimisation that can do something.
//!
//! In: a plan. Out: the same rows by a better plan. Nothing is proven here: what comes out is what the verifier looks at, and a rule
//! that is left out where it could have done something costs time and never privacy.
//!
//! A rule goes over the whole plan, also where there is nothing for it. Most are about joins, subqueries, set operations or limits, which
//! most questions do not have below a release ([`parts`]); the others are taken once, and again where that may find more ([`passes`]); and
//! the costliest pass by what they would leave as it is ([`simplify`], [`cross_joins`], [`duplicates`], [`types`]).

mod cross_joins;
mod duplicates;
mod parts;
mod passes;
mod simplify;
#[cfg(test)]
pub(super) mod tests;
mod types;

use std::sync::{Arc, LazyLock};

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext, OptimizerRule};

use super::context::Context;
pub(super) use cross_joins::InnerJoins;
use duplicates::RepeatedKeys;
use parts::Parts;
pub(super) use passes::apply;
use simplify::Simplify;
use types::typed_again;

pub(super) type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// As the engine has them where nobody says otherwise.
pub(super) static OPTIONS: LazyLock<Arc<ConfigOptions>> = LazyLock::new(Arc::default);
static ANALYZER: LazyLock<Analyzer> = LazyLock::new(Analyzer::new);
/// The engine's, in its order.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let lighter = |rule: Rule| -> Rule {
        match rule.name() {
            "simplify_expressions" => Arc::new(Simplify::default()),
            "eliminate_cross_join" => Arc::new(InnerJoins::default()),
            "eliminate_duplicated_expr" => Arc::new(RepeatedKeys::default()),
            _ => rule,
        }
    };
    Optimizer::new().rules.into_iter().map(lighter).collect()
});

/// `plan`: made of typed plans.
pub(super) fn optimise(context: &Context, plan: LogicalPlan) -> Result<LogicalPlan> {
    let parts = Parts::of(&plan)?;
    // Rules rebuild joins again and again, with all columns of their inputs.
    let plan = if parts.joins { narrowed(plan)? } else { plan };
    let plan = if parts.nested { typed(plan)? } else { typed_again(plan)?.data };
    let config = OptimizerContext::new_with_config_options(OPTIONS.clone());
    apply(&RULES, plan, &config.with_query_execution_start_time(context.moment))
}

/// Scans without the columns that nothing above them uses.
pub(crate) fn narrowed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let config = OptimizerContext::new_with_config_options(OPTIONS.clone());
    OptimizeProjections::new().rewrite(plan, &config).map(|narrowed| narrowed.data)
}

/// Explicit casts, and `grouping` spelled out.
pub(super) fn typed(plan: LogicalPlan) -> Result<LogicalPlan> {
    ANALYZER.execute_and_check(plan, &OPTIONS, |_, _| {})
}
