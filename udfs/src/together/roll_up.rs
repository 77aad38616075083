//! Coarser groups are added up from finer ones, where both are asked of the same rows.
//!
//! `GROUP BY u` over some rows is `GROUP BY u` over what `GROUP BY u, k` gave of them: groups of the finer are parts of groups of the
//! coarser. The finer pass has to be made anyhow, and what it gives is mostly much less than what it reads. It holds exactly for sums of
//! integers (which wrap, and so do not care for order or for the number of steps), for counts and for `bool_or`; a call of the
//! coarser groups that the finer do not have is made there, too.
//! Source: Gray et al. 1997, "Data Cube", section 5 (distributive functions).
//!
//! In: plans. Out: plans with equal rows, and the finer aggregations that they read. Must never: add up anything that was rounded.

use super::cut::{Cuts, HubPlan};
use super::memo::{Id, Memo, NodeId, Placed, What, column};
use crate::eager::How;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, lit, when};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How one aggregation is made of a finer one: where its parts are.
struct Coarser {
    finer: NodeId,
    groups: Vec<Id>,
    /// The coarser call's column, how parts are put together, and the column of the parts.
    calls: Vec<(Id, How, Id)>,
}

/// `plans` with every aggregation that can be made of a finer one made of it.
pub(super) fn roll_up(plans: &[LogicalPlan]) -> Result<(Vec<LogicalPlan>, Vec<HubPlan>)> {
    let mut memo = Memo::default();
    let placed = plans.iter().map(|plan| memo.add(plan)).collect::<Result<Vec<_>>>()?;
    let mut asked = BTreeMap::new();
    placed.iter().for_each(|plan| aggregations(plan, &mut asked));
    let mut coarser = BTreeMap::new();
    for (node, steps) in asked {
        let Some(steps) = steps else { continue };
        if let Some(finer) = finest_above(&memo, node) {
            coarser.insert(node, made_of(&mut memo, node, finer, steps)?);
        }
    }
    let finer: BTreeSet<NodeId> = coarser.values().map(|coarser| coarser.finer).collect();
    let mut cuts = Cuts::new(&memo, finer);
    placed.iter().for_each(|plan| cuts.want_of(plan));
    for of in coarser.values() {
        cuts.want(of.finer, of.groups.iter().copied().chain(of.calls.iter().map(|(_, _, part)| *part)));
    }
    cuts.make(0)?;
    let mut other = |cuts: &mut Cuts, placed: &Placed| -> Result<Option<LogicalPlan>> {
        let (LogicalPlan::Aggregate(_), Some(place)) = (placed.plan, &placed.place) else { return Ok(None) };
        let Some(coarser) = coarser.get(&place.node) else { return Ok(None) };
        let plan = coarser.plan(cuts, &memo)?;
        cuts.as_was(plan, place, placed.plan).map(Some)
    };
    let plans = placed.iter().map(|plan| cuts.cut(plan, &mut other)).collect::<Result<Vec<_>>>()?;
    Ok((plans, cuts.into_hubs()))
}

/// The aggregations of a plan, and how the parts of each call are put together; nothing where one cannot be.
fn aggregations(placed: &Placed, found: &mut BTreeMap<NodeId, Option<BTreeMap<Id, How>>>) {
    if let (LogicalPlan::Aggregate(aggregate), Some(place)) = (placed.plan, &placed.place) {
        let steps = aggregate.aggr_expr.iter().map(|call| how(aggregate, call)).collect::<Option<Vec<How>>>();
        let calls = place.columns.iter().skip(aggregate.group_expr.len()).copied();
        let known = found.entry(place.node).or_insert_with(|| Some(BTreeMap::new()));
        match (known.as_mut(), steps) {
            (Some(known), Some(steps)) => known.extend(calls.zip(steps)),
            (None, _) | (_, None) => *known = None,
        }
    }
    placed.inputs.iter().for_each(|input| aggregations(input, found));
}

fn how(aggregate: &Aggregate, call: &Expr) -> Option<How> {
    let mut call = call;
    while let Expr::Alias(alias) = call {
        call = &alias.expr;
    }
    let (how, argument) = How::of(call)?;
    let exact = match how {
        How::Sum => argument.get_type(aggregate.input.schema()).ok()? == DataType::Int64,
        How::Count | How::BoolOr => true,
    };
    exact.then_some(how)
}

/// Of the aggregations of the same rows by these groups and others, one of which no finer one is asked, by as few groups as may be.
fn finest_above(memo: &Memo, node: NodeId) -> Option<NodeId> {
    let (input, groups) = groups_of(memo, node)?;
    // Without groups there is a row also where there are no rows to group.
    if groups.is_empty() {
        return None;
    }
    let of_same =
        || (0..memo.nodes.len()).filter_map(|n| Some((n, groups_of(memo, n)?))).filter(|(_, of)| of.0 == input);
    let within = |few: &[Id], many: &[Id]| few.len() < many.len() && few.iter().all(|id| many.contains(id));
    let finer = of_same().filter(|(_, (_, by))| within(groups, by));
    let finest = finer.filter(|(_, (_, by))| !of_same().any(|(_, (_, others))| within(by, others)));
    finest.min_by_key(|(_, (_, by))| by.len()).map(|(n, _)| n)
}

fn groups_of(memo: &Memo, node: NodeId) -> Option<(NodeId, &[Id])> {
    match &memo.nodes.get(node)?.what {
        What::Aggregate { input, groups, .. } => Some((*input, groups)),
        What::Scan { .. } | What::Filter { .. } | What::Join { .. } => None,
    }
}

fn made_of(memo: &mut Memo, node: NodeId, finer: NodeId, steps: BTreeMap<Id, How>) -> Result<Coarser> {
    let (groups, calls) = match memo.nodes.get(node).map(|node| &node.what) {
        Some(What::Aggregate { groups, calls, .. }) => (groups.clone(), calls.clone()),
        Some(What::Scan { .. } | What::Filter { .. } | What::Join { .. }) | None => (Vec::new(), Vec::new()),
    };
    let mut parts = Vec::new();
    for (call, id) in calls {
        if let Some(how) = steps.get(&id) {
            parts.push((id, *how, memo.call(finer, call)?));
        }
    }
    Ok(Coarser { finer, groups, calls: parts })
}

impl Coarser {
    /// The coarser groups, and every call of theirs.
    fn plan(&self, cuts: &mut Cuts, memo: &Memo) -> Result<LogicalPlan> {
        let leaf = cuts.leaf(self.finer)?;
        let groups = self.groups.iter().map(|id| cuts.named(&column(*id))).collect::<Result<Vec<_>>>()?;
        let calls = self.calls.iter().map(|(id, how, part)| {
            let part = cuts.named(&column(*part))?;
            Ok(how.then(part).alias(memo.name(*id)))
        });
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let parts = self.groups.iter().copied().chain(self.calls.iter().map(|(_, _, part)| *part));
        let parts: BTreeSet<Id> = parts.collect();
        let parts = parts.into_iter().map(|id| cuts.named(&column(id))).collect::<Result<Vec<_>>>()?;
        let leaf = LogicalPlan::Projection(Projection::try_new(parts, Arc::new(leaf))?);
        let totals = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(leaf), groups.clone(), calls)?);
        // A count is never NULL.
        let mut shown = groups;
        for (id, how, _) in &self.calls {
            let total = cuts.named(&column(*id))?;
            shown.push(match how {
                How::Count => when(total.clone().is_null(), lit(0_i64)).otherwise(total)?.alias(memo.name(*id)),
                How::Sum | How::BoolOr => total,
            });
        }
        Projection::try_new(shown, Arc::new(totals)).map(LogicalPlan::Projection)
    }
}
