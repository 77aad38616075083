//! From the logical nodes of this crate to their physical ones.
//!
//! In: an optimised plan with [`Release`] and [`BoundGroups`] nodes, and the noise that they are to draw from.
//! Out: an execution plan, in which nothing is believed of outer joins and grouping sets that is not so ([`unordered`]). Must never:
//! plan a node that it does not know.

use crate::bound_groups::{BoundGroups, BoundGroupsExec};
use crate::by_person::by_person;
use crate::constants::without_constants;
use crate::eager::eager;
use crate::lookup::{Lookup, lookups};
use crate::noise::Noise;
use crate::release::{Release, ReleaseExec};
use crate::together::Shared;
use crate::unordered::{Unordered, unordered};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use std::pin::Pin;
use std::sync::Arc;

type Planned<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// An execution plan of an optimised plan whose sums are where they should be.
pub(crate) async fn physical(
    planner: &DefaultPhysicalPlanner,
    plan: LogicalPlan,
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = unordered(lookups(without_constants(plan)?)?)?;
    by_person(planner.create_physical_plan(&plan, session).await?)
}

/// Plans both nodes with the noise it was given.
#[derive(Debug, Clone)]
pub struct ReleasePlanner {
    pub noise: Noise,
}

impl ReleasePlanner {
    fn plan(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(shared) = node.as_any().downcast_ref::<Shared>() {
            return shared.exec().map(Some);
        }
        if let Some(lookup) = node.as_any().downcast_ref::<Lookup>() {
            return lookup.exec(inputs).map(Some);
        }
        let Some(input) = inputs.first().map(Arc::clone) else {
            return Ok(None);
        };
        if let Some(release) = node.as_any().downcast_ref::<Release>() {
            let exec = ReleaseExec::try_new(input, Arc::clone(release.spec()), self.noise.clone())?;
            return Ok(Some(Arc::new(exec)));
        }
        if let Some(bound) = node.as_any().downcast_ref::<BoundGroups>() {
            let person = planner.create_physical_expr(bound.person(), bound.input().schema(), session, context)?;
            let exec = BoundGroupsExec::new(input, person, bound.max_groups(), self.noise.clone());
            return Ok(Some(Arc::new(exec)));
        }
        Ok(node.as_any().downcast_ref::<Unordered>().map(|node| node.exec(input)))
    }
}

// Both traits are declared with `async_trait`; these are the signatures that it writes.
impl ExtensionPlanner for ReleasePlanner {
    fn plan_extension<'a, 'b, 'c, 'd, 'e, 'f, 'g, 'h, 'r>(
        &'a self,
        planner: &'b dyn PhysicalPlanner,
        node: &'c dyn UserDefinedLogicalNode,
        _logical_inputs: &'d [&'e LogicalPlan],
        physical_inputs: &'f [Arc<dyn ExecutionPlan>],
        session: &'g dyn Session,
        planning_ctx: &'h PhysicalPlanningContext,
    ) -> Planned<'r, Option<Arc<dyn ExecutionPlan>>>
    where
        'a: 'r,
        'b: 'r,
        'c: 'r,
        'd: 'r,
        'e: 'r,
        'f: 'r,
        'g: 'r,
        'h: 'r,
        Self: 'r,
    {
        let planned = self.plan(planner, node, physical_inputs, session, planning_ctx);
        Box::pin(std::future::ready(planned))
    }
}

/// A query planner that knows both nodes and nothing else beyond DataFusion's own.
pub fn planner(noise: Noise) -> Arc<dyn QueryPlanner + Send + Sync> {
    Arc::new(Planner { releases: ReleasePlanner { noise } })
}

#[derive(Debug)]
struct Planner {
    releases: ReleasePlanner,
}

impl QueryPlanner for Planner {
    fn create_physical_plan<'a, 'b, 'c, 'r>(
        &'a self,
        logical_plan: &'b LogicalPlan,
        session: &'c dyn Session,
    ) -> Planned<'r, Arc<dyn ExecutionPlan>>
    where
        'a: 'r,
        'b: 'r,
        'c: 'r,
        Self: 'r,
    {
        Box::pin(async move {
            let releases = Arc::new(self.releases.clone());
            let planner = DefaultPhysicalPlanner::with_extension_planners(vec![releases]);
            physical(&planner, eager(logical_plan.clone())?, session).await
        })
    }
}
