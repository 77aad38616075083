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
const MOST_AT_ONCE: usize = 16;

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
            let mut rows = match plans {
                [_] => vec![None],
                several => self.at_once(several, sources, released).await?,
            };
            for (plan, rows) in plans.iter().zip(&mut rows) {
                all.push(match rows.take() {
                    Some(rows) => rows,
                    None => self.release(plan, sources, released).await?,
                });
            }
        }
        Ok(all)
    }

    /// The rows of each, run together where they share anything; nothing where that did not do.
    async fn at_once(
        &self,
        plans: &[&LogicalPlan],
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<Vec<Option<RecordBatch>>> {
        let mut bound = Vec::new();
        for plan in plans {
            bound.push(bind(&self.without_idle_bounds(plan, sources).await?, sources, released)?);
        }
        let mut all = vec![None; plans.len()];
        let Ok(Together { plans, shares, shared }) = plan_together(bound, self.noise(), self.state_for(sources)).await
        else {
            return Ok(all);
        };
        plans.iter().try_for_each(refuse_unreleased)?;
        let (mut sharing, mut numbers) = (Vec::new(), Vec::new());
        for (number, (plan, shares)) in plans.into_iter().zip(shares).enumerate() {
            if shares {
                sharing.push(plan);
                numbers.push(number);
            } else if let Some(rows) = all.get_mut(number) {
                *rows = Some(self.rows_of_release(plan, sources).await?);
            }
        }
        if let Ok(rows) = self.sharing(sharing, shared, sources).await {
            for (number, of_release) in numbers.into_iter().zip(rows) {
                if let Some(rows) = all.get_mut(number) {
                    *rows = Some(of_release);
                }
            }
        }
        Ok(all)
    }

    async fn rows_of_release(&self, plan: Arc<dyn ExecutionPlan>, sources: &Sources) -> Result<RecordBatch> {
        let (schema, batches) = self.run_physical(plan, sources).await?;
        concat_batches(&schema, &batches).map_err(|_| Error::internal())
    }

    /// All of them in one turn, and what they share. When one fails, or who waits for them goes away, all end.
    async fn sharing(
        &self,
        plans: Vec<Arc<dyn ExecutionPlan>>,
        shared: Vec<Arc<dyn ExecutionPlan>>,
        sources: &Sources,
    ) -> Result<Vec<RecordBatch>> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        let whole: Vec<Arc<dyn ExecutionPlan>> = shared.into_iter().chain(plans.iter().cloned()).collect();
        sources.enter(Stage::Waiting);
        let turn = self.admission().admit(&whole).await?;
        let _scanning = sources.scan(&whole);
        drop(whole);
        let task = self.task();
        let run = async move {
            let rows = plans.into_iter().map(|plan| {
                let (schema, task) = (plan.schema(), task.clone());
                async move {
                    let batches = collect(plan, task).await.map_err(failed)?;
                    concat_batches(&schema, &batches).map_err(|_| Error::internal())
                }
            });
            try_join_all(rows).await
        };
        turn.run(run).await?
    }
}
