//! Plans that are cut where they read what others read, too, and the plans of what they read.
//!
//! In: the graph of the plans ([`Memo`]), and which of its nodes are cut off. Out: for each of these nodes a plan with the columns that
//! are wanted of it, and the plans with [`Shared`] leaves in their place. Must never: change what a plan gives, or its schema.

use super::exec::{Place as HubPlace, Shared};
use super::memo::{Id, Memo, Node, NodeId, Place, Placed, What, column, id_of};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, Projection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The plan of what several plans read.
pub(super) struct HubPlan {
    pub place: Arc<HubPlace>,
    pub plan: LogicalPlan,
    pub readers: usize,
}

/// Nodes that are cut off, and what is wanted of them.
pub(super) struct Cuts<'m> {
    memo: &'m Memo,
    off: BTreeMap<NodeId, Off>,
}

#[derive(Default)]
struct Off {
    wanted: BTreeSet<Id>,
    made: Option<Made>,
}

struct Made {
    hub: HubPlan,
    number: usize,
}

impl<'m> Cuts<'m> {
    pub fn new(memo: &'m Memo, off: impl IntoIterator<Item = NodeId>) -> Self {
        Self { memo, off: off.into_iter().map(|node| (node, Off::default())).collect() }
    }

    pub fn is_off(&self, node: NodeId) -> bool {
        self.off.contains_key(&node)
    }

    /// Wants columns of a node that is cut off.
    pub fn want(&mut self, node: NodeId, columns: impl IntoIterator<Item = Id>) {
        if let Some(off) = self.off.get_mut(&node) {
            off.wanted.extend(columns);
        }
    }

    /// Wants what a plan reads of nodes that are cut off.
    pub fn want_of(&mut self, placed: &Placed) {
        match &placed.place {
            Some(place) if self.is_off(place.node) => self.want(place.node, place.columns.iter().copied()),
            Some(_) | None => placed.inputs.iter().for_each(|input| self.want_of(input)),
        }
    }

    /// The plans of the nodes, when all that is wanted is known. `number`: of the first of them, for people.
    pub fn make(&mut self, number: usize) -> Result<()> {
        // A node's inputs are known before it, so their numbers are smaller.
        for node in self.off.keys().rev().copied().collect::<Vec<_>>() {
            let wanted = self.off.get(&node).map(|off| off.wanted.clone()).unwrap_or_default();
            self.want_below(node, &wanted);
        }
        for (nth, node) in self.off.keys().copied().collect::<Vec<_>>().into_iter().enumerate() {
            let wanted = self.off.get(&node).map(|off| off.wanted.clone()).unwrap_or_default();
            let mut plan = self.build(node, &wanted)?;
            if !wanted.is_empty() && plan.schema().fields().len() > wanted.len() {
                plan = self.projected(Arc::new(plan), &wanted, &[])?;
            }
            let hub = HubPlan { place: Arc::default(), plan, readers: 0 };
            if let Some(off) = self.off.get_mut(&node) {
                off.made = Some(Made { hub, number: number + nth });
            }
        }
        Ok(())
    }

    /// Each after those that it reads.
    pub fn into_hubs(self) -> Vec<HubPlan> {
        self.off.into_values().filter_map(|off| off.made.map(|made| made.hub)).collect()
    }

    /// One more reader of a node that is cut off.
    pub fn leaf(&mut self, node: NodeId) -> Result<LogicalPlan> {
        let Some(Made { hub, number }) = self.off.get_mut(&node).and_then(|off| off.made.as_mut()) else {
            return internal_err!("a shared plan that was not made");
        };
        let schema = Arc::clone(hub.plan.schema());
        hub.readers += 1;
        Ok(Shared::new(Arc::clone(&hub.place), *number, hub.readers - 1, schema).into_plan())
    }

    /// The plan, with leaves in the place of what is cut off; a node that `other` makes something else of is that.
    pub fn cut(
        &mut self,
        placed: &Placed,
        other: &mut impl FnMut(&mut Self, &Placed) -> Result<Option<LogicalPlan>>,
    ) -> Result<LogicalPlan> {
        if let Some(place) = placed.place.as_ref().filter(|place| self.is_off(place.node)) {
            let leaf = self.leaf(place.node)?;
            return self.as_was(leaf, place, placed.plan);
        }
        if let Some(other) = other(self, placed)? {
            return Ok(other);
        }
        let inputs = placed.inputs.iter().map(|input| self.cut(input, other)).collect::<Result<Vec<_>>>()?;
        let mut inputs = inputs.into_iter();
        let cut = placed.plan.clone().map_children(|was| Ok(Transformed::yes(inputs.next().unwrap_or(was))))?;
        Ok(cut.data)
    }

    /// `plan`, which has the columns of `place`, under the names that they had.
    pub fn as_was(&self, plan: LogicalPlan, place: &Place, was: &LogicalPlan) -> Result<LogicalPlan> {
        let schema = was.schema();
        let named = place.columns.iter().zip(schema.iter());
        let named = named.map(|(id, (relation, field))| {
            self.named(&column(*id)).map(|column| column.alias_qualified(relation.cloned(), field.name()))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        Projection::try_new_with_schema(named, Arc::new(plan), Arc::clone(schema)).map(LogicalPlan::Projection)
    }

    /// An expression of the graph over the plans that are made of it.
    pub fn named(&self, expression: &Expr) -> Result<Expr> {
        let named = expression.clone().transform(|part| {
            Ok(match id_of(&part) {
                Some(id) => Transformed::yes(Expr::Column(Column::new_unqualified(self.memo.name(id)))),
                None => Transformed::no(part),
            })
        })?;
        Ok(named.data)
    }

    fn node(&self, node: NodeId) -> Result<&'m Node> {
        match self.memo.nodes.get(node) {
            Some(node) => Ok(node),
            None => internal_err!("no such node"),
        }
    }

    fn want_below(&mut self, node: NodeId, wanted: &BTreeSet<Id>) {
        for (input, wanted) in below(self.memo, node, wanted) {
            match self.is_off(input) {
                true => self.want(input, wanted),
                false => self.want_below(input, &wanted),
            }
        }
    }

    fn input(&mut self, node: NodeId, wanted: &BTreeSet<Id>) -> Result<Arc<LogicalPlan>> {
        let input = if self.is_off(node) { self.leaf(node)? } else { self.build(node, wanted)? };
        Ok(Arc::new(input))
    }

    /// A plan of a node with at least the wanted columns.
    fn build(&mut self, number: NodeId, wanted: &BTreeSet<Id>) -> Result<LogicalPlan> {
        let node = self.node(number)?;
        let own = own(node, wanted);
        let mut inputs = Vec::new();
        for (input, wanted) in below(self.memo, number, wanted) {
            inputs.push((self.input(input, &wanted)?, wanted));
        }
        let plan = match (&node.what, inputs.as_slice()) {
            (What::Scan { scan, columns, .. }, []) => {
                let read: BTreeMap<usize, Id> =
                    columns.iter().filter(|(_, id)| own.contains(id)).map(|(at, id)| (*at, *id)).collect();
                let scan = TableScanBuilder::new(scan.table_name.clone(), Arc::clone(&scan.source))
                    .with_projection(Some(read.keys().copied().collect()))
                    .with_filters(scan.filters.clone())
                    .build()?;
                let names = read.values().enumerate().map(|(at, id)| {
                    Expr::Column(Column::from(scan.projected_schema.qualified_field(at))).alias(self.memo.name(*id))
                });
                let names: Vec<Expr> = names.collect();
                let scan = LogicalPlan::TableScan(scan);
                if names.is_empty() {
                    scan
                } else {
                    LogicalPlan::Projection(Projection::try_new(names, Arc::new(scan))?)
                }
            }
            (What::Filter { predicate, .. }, [(input, _)]) => {
                LogicalPlan::Filter(Filter::try_new(self.named(predicate)?, Arc::clone(input))?)
            }
            (What::Join { how, .. }, [(left, _), (right, _)]) => {
                let on = how.on.iter().map(|(l, r)| Ok((self.named(l)?, self.named(r)?)));
                LogicalPlan::Join(Join::try_new(
                    Arc::clone(left),
                    Arc::clone(right),
                    on.collect::<Result<_>>()?,
                    how.filter.as_ref().map(|filter| self.named(filter)).transpose()?,
                    how.join_type,
                    how.constraint,
                    how.null_equality,
                    how.null_aware,
                )?)
            }
            (What::Aggregate { groups, calls, .. }, [(input, wanted)]) => {
                let input = match input.as_ref() {
                    LogicalPlan::Projection(_) => Arc::clone(input),
                    _ => Arc::new(self.projected(Arc::clone(input), wanted, &[])?),
                };
                let groups = groups.iter().map(|id| self.named(&column(*id))).collect::<Result<Vec<_>>>()?;
                let calls = calls.iter().filter(|(_, id)| own.contains(id));
                let calls = calls.map(|(call, id)| Ok(self.named(call)?.alias(self.memo.name(*id))));
                LogicalPlan::Aggregate(Aggregate::try_new(input, groups, calls.collect::<Result<Vec<_>>>()?)?)
            }
            (What::Scan { .. } | What::Filter { .. } | What::Join { .. } | What::Aggregate { .. }, _) => {
                return internal_err!("a node with other inputs than it has");
            }
        };
        self.with_made(plan, node, own, wanted)
    }

    /// The columns that are made of the node's own, those that need others after them.
    fn with_made(
        &self,
        mut plan: LogicalPlan,
        node: &Node,
        own: BTreeSet<Id>,
        wanted: &BTreeSet<Id>,
    ) -> Result<LogicalPlan> {
        let needed = needed(node, wanted);
        let mut to_come: Vec<&(Expr, Id)> = node.made.iter().filter(|(_, id)| needed.contains(id)).collect();
        let mut there = own;
        while !to_come.is_empty() {
            let (now, later): (Vec<_>, Vec<_>) = to_come.into_iter().partition(|(made, _)| ids(made).is_subset(&there));
            if now.is_empty() {
                return internal_err!("a column that cannot be made");
            }
            let used: BTreeSet<Id> =
                later.iter().flat_map(|(made, _)| ids(made)).chain(wanted.iter().copied()).collect();
            let kept: BTreeSet<Id> = there.intersection(&used).copied().collect();
            plan = self.projected(Arc::new(plan), &kept, &now)?;
            there = kept.into_iter().chain(now.iter().map(|(_, id)| *id)).collect();
            to_come = later;
        }
        Ok(plan)
    }

    fn projected(&self, plan: Arc<LogicalPlan>, kept: &BTreeSet<Id>, made: &[&(Expr, Id)]) -> Result<LogicalPlan> {
        let kept = kept.iter().map(|id| self.named(&column(*id)));
        let made = made.iter().map(|(made, id)| Ok(self.named(made)?.alias(self.memo.name(*id))));
        let columns = kept.chain(made).collect::<Result<Vec<_>>>()?;
        Projection::try_new(columns, plan).map(LogicalPlan::Projection)
    }
}

/// The columns of the graph that an expression names.
pub(super) fn ids(expression: &Expr) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    // Cannot fail: nothing in the closure does.
    let _ = expression.apply(|part| {
        found.extend(id_of(part));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The wanted columns, and those that they are made of at this node.
fn needed(node: &Node, wanted: &BTreeSet<Id>) -> BTreeSet<Id> {
    let mut needed = wanted.clone();
    // What a column is made of is known before it.
    for (made, id) in node.made.iter().rev() {
        if needed.contains(id) {
            needed.extend(ids(made));
        }
    }
    needed
}

/// Of these, the ones that are not made at this node.
fn own(node: &Node, wanted: &BTreeSet<Id>) -> BTreeSet<Id> {
    let made: BTreeSet<Id> = node.made.iter().map(|(_, id)| *id).collect();
    needed(node, wanted).difference(&made).copied().collect()
}

/// What a node with these columns wants of its inputs.
fn below(memo: &Memo, number: NodeId, wanted: &BTreeSet<Id>) -> Vec<(NodeId, BTreeSet<Id>)> {
    let Some(node) = memo.nodes.get(number) else { return Vec::new() };
    let mut own = own(node, wanted);
    match &node.what {
        What::Scan { .. } => Vec::new(),
        What::Filter { input, predicate } => {
            own.extend(ids(predicate));
            vec![(*input, own)]
        }
        What::Join { left, right, how } => {
            own.extend(how.on.iter().flat_map(|(l, r)| [ids(l), ids(r)]).flatten());
            own.extend(how.filter.iter().flat_map(ids));
            let of_left = provided(memo, *left);
            let (of_left, of_right) = own.into_iter().partition(|id| of_left.contains(id));
            vec![(*left, of_left), (*right, of_right)]
        }
        What::Aggregate { input, groups, calls } => {
            let calls = calls.iter().filter(|(_, id)| own.contains(id)).flat_map(|(call, _)| ids(call));
            vec![(*input, calls.chain(groups.iter().copied()).collect())]
        }
    }
}

/// Every column that a node has. No column is on both sides of a join: both would read one scan.
fn provided(memo: &Memo, number: NodeId) -> BTreeSet<Id> {
    let Some(node) = memo.nodes.get(number) else { return BTreeSet::new() };
    let mut all: BTreeSet<Id> = match &node.what {
        What::Scan { columns, .. } => columns.values().copied().collect(),
        What::Filter { input, .. } => provided(memo, *input),
        What::Join { left, right, .. } => provided(memo, *left).into_iter().chain(provided(memo, *right)).collect(),
        What::Aggregate { groups, calls, .. } => {
            groups.iter().copied().chain(calls.iter().map(|(_, id)| *id)).collect()
        }
    };
    all.extend(node.made.iter().map(|(_, id)| *id));
    all
}
