//! Plans that run at the same time read what they have in common once.
//!
//! Releases of one statement mostly ask the same rows: each grouping of GROUPING SETS is a release, and so is each subquery that is
//! joined with another. Planned one by one, each scans, joins and groups by person for itself. Here they are looked at together: what
//! several read becomes a plan of its own, a hub, whose batches go to all of them ([`hub`]).
//!
//! Three steps. Groupings that can be added up from a finer one are ([`roll_up`]). Sums go below joins in each plan, as in a plan by
//! itself ([`eager`]). What is left in common, as high up as it is, becomes a hub ([`memo`], [`cut`]): a scan with the columns of all,
//! or a join, or an aggregation with all their calls.
//!
//! In: optimised plans. Out: physical plans with the same rows each, to be run all at once. Must never: share what has any chance in
//! it, so that every release draws for itself: noise and the choice of a person's groups stand above all hubs.
//!
//! This is done to plans that are proved already, and held to what they give one by one by laws on random data and questions.
//!
//! **Sensitivity** unchanged: each release reads the rows that it would have read. **Noise**, **Cost** none.

mod cut;
mod exec;
mod hub;
mod memo;
mod roll_up;
#[cfg(test)]
mod tests;

pub(crate) use exec::Shared;

use crate::eager::eager;
use crate::noise::Noise;
use crate::planner::{ReleasePlanner, physical};
use cut::{Cuts, HubPlan};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::DefaultPhysicalPlanner;
use exec::SharedExec;
use hub::{Hub, Limits};
use memo::{Memo, NodeId, Placed};
use roll_up::roll_up;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Physical plans that share what they have in common.
#[derive(Debug)]
pub struct Together {
    /// In the order of the logical plans. Those that share must all run, and at the same time: each takes its rows as they come.
    pub plans: Vec<Arc<dyn ExecutionPlan>>,
    /// Does the plan read anything that another does, too?
    pub shares: Vec<bool>,
    /// What is read by several: each runs once, with them.
    pub shared: Vec<Arc<dyn ExecutionPlan>>,
}

/// Plans releases that do not read each other. Each must be run once.
///
/// Errors: the engine's, of planning.
pub async fn plan_together(plans: Vec<LogicalPlan>, noise: Noise, session: &dyn Session) -> Result<Together> {
    planned(plans, noise, session, Limits::default()).await
}

async fn planned(plans: Vec<LogicalPlan>, noise: Noise, session: &dyn Session, limits: Limits) -> Result<Together> {
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(ReleasePlanner { noise })]);
    let (plans, hubs) = shared(plans)?;
    let mut shared = Vec::new();
    for hub in hubs {
        let plan = physical(&planner, hub.plan, session).await?;
        shared.push(Arc::clone(&plan));
        hub.place.fill(Hub::new(plan, hub.readers, limits))?;
    }
    let mut all = Vec::new();
    for plan in plans {
        all.push(physical(&planner, plan, session).await?);
    }
    let shares = all.iter().map(reads_shared).collect();
    Ok(Together { plans: all, shares, shared })
}

fn reads_shared(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<SharedExec>().is_some() || plan.children().into_iter().any(reads_shared)
}

/// The plans with what they share cut off, and the plans of that, each after those that it reads.
fn shared(plans: Vec<LogicalPlan>) -> Result<(Vec<LogicalPlan>, Vec<HubPlan>)> {
    let (plans, finer) = roll_up(&plans)?;
    let count = plans.len();
    let all = plans.into_iter().chain(finer.iter().map(|hub| hub.plan.clone()));
    let all = all.map(eager).collect::<Result<Vec<_>>>()?;
    let mut memo = Memo::default();
    let placed = all.iter().map(|plan| memo.add(plan)).collect::<Result<Vec<_>>>()?;
    let mut cuts = Cuts::new(&memo, read_by_several(&memo, &placed));
    placed.iter().for_each(|plan| cuts.want_of(plan));
    cuts.make(finer.len())?;
    let mut plans = placed.iter().map(|plan| cuts.cut(plan, &mut |_, _| Ok(None))).collect::<Result<Vec<_>>>()?;
    let of_finer = plans.split_off(count);
    let finer = finer.into_iter().zip(of_finer).map(|(hub, plan)| HubPlan { plan, ..hub });
    let mut hubs = cuts.into_hubs();
    hubs.extend(finer);
    Ok((plans, hubs))
}

/// Nodes with several readers: other nodes, or plans from where they are no longer of the graph.
fn read_by_several(memo: &Memo, placed: &[Placed]) -> Vec<NodeId> {
    let mut readers: BTreeMap<NodeId, usize> = BTreeMap::new();
    for node in 0..memo.nodes.len() {
        memo.inputs(node).into_iter().for_each(|input| *readers.entry(input).or_default() += 1);
    }
    let mut tops: Vec<&Placed> = placed.iter().collect();
    while let Some(placed) = tops.pop() {
        match &placed.place {
            Some(place) => *readers.entry(place.node).or_default() += 1,
            None => tops.extend(&placed.inputs),
        }
    }
    readers.into_iter().filter(|(_, readers)| *readers > 1).map(|(node, _)| node).collect()
}
