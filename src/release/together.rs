//! Releases that do not read each other run at once where they read the same.
//!
//! In: their plans. Out: the measured rows of each. One turn for all that share; those that share nothing run one after the other, as
//! all do when running together fails: more of them at once need more memory. What such a run drew is dropped unseen, and the noise is
//! drawn afresh. Must never: hand on rows of a run that failed.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::future::try_join_all;
use paravent_udfs::{Together, plan_together};
use std::sync::Arc;

use super::Released;
use super::engine::{Engine, Sources, bind, failed, refuse_unreleased};
use super::progress::Stage;
use crate::error::{Error, Result};

/// How many run at once: each holds the groups and persons of its own.
const MOST_AT_ONCE: usize = 8;

impl Engine {
    /// The measured rows of each release.
    pub(super) async fn releases(
        &self,
        plans: &[&LogicalPlan],
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<Vec<RecordBatch>> {
        let mut all = Vec::new();
        for plans in plans.chunks(MOST_AT_ONCE) {
            let rows = match plans {
                [_] => None,
                several => self.at_once(several, sources, released).await?,
            };
            for (number, plan) in plans.iter().enumerate() {
                let known = rows.as_ref().and_then(|rows| rows.get(number).cloned().flatten());
                all.push(match known {
                    Some(rows) => rows,
                    None => self.release(plan, sources, released).await?,
                });
            }
        }
        Ok(all)
    }

    /// The rows of those that share something; nothing where there are none or where running them at once did not do.
    async fn at_once(
        &self,
        plans: &[&LogicalPlan],
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<Option<Vec<Option<RecordBatch>>>> {
        let mut bound = Vec::new();
        for plan in plans {
            bound.push(bind(&self.without_idle_bounds(plan, sources).await?, sources, released)?);
        }
        let Ok(Together { plans, shares, shared }) = plan_together(bound, self.noise(), self.state()).await else {
            return Ok(None);
        };
        if shared.is_empty() {
            return Ok(None);
        }
        plans.iter().try_for_each(refuse_unreleased)?;
        let sharing: Vec<Arc<dyn ExecutionPlan>> =
            plans.into_iter().zip(&shares).filter(|(_, shares)| **shares).map(|(plan, _)| plan).collect();
        let whole: Vec<Arc<dyn ExecutionPlan>> = shared.into_iter().chain(sharing.iter().cloned()).collect();
        sources.enter(Stage::Waiting);
        let turn = self.admission().admit(&whole).await?;
        let _scanning = sources.scan(&whole);
        drop(whole);
        let task = self.state().task_ctx();
        let run = async move {
            let rows = sharing.into_iter().map(|plan| {
                let (schema, task) = (plan.schema(), task.clone());
                async move {
                    let batches = collect(plan, task).await.map_err(failed)?;
                    concat_batches(&schema, &batches).map_err(|_| Error::internal())
                }
            });
            try_join_all(rows).await
        };
        let Ok(rows) = turn.run(run).await? else { return Ok(None) };
        let mut rows = rows.into_iter();
        let all = shares.into_iter().map(|shares| if shares { rows.next() } else { None }).collect();
        Ok(Some(all))
    }
}
