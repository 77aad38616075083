//! What several plans have in common: each of their nodes is looked up among those that are known, and is one of them or a new one.
//!
//! In: optimised plans. Out: a graph in which a node that several plans have is one node, with every column that any of them reads, and
//! for each node of the plans its place in the graph. Two nodes are the same when they have the same rows: the same table and
//! conditions, the same join of the same sides, the same groups of the same rows. Projections have the rows of what they read, so they
//! only add columns; which columns a scan reads and which calls an aggregation makes is no difference either.
//! Source: Bruno et al. 2022, "Computation Reuse via Fusion in Amazon Athena".
//!
//! The columns of the graph are numbered; a column that is handed on keeps its number, whatever it is called, and an expression of the
//! graph names columns by their numbers. The second scan of a table in one plan is not the first one: so no plan reads a node twice.
//!
//! Must never: take a node in that has any chance in it (`BoundGroups`, a volatile function), or that has unreleased values.

use crate::by_person::is_person;
use crate::unreleased::is_unreleased;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType, NullEquality, Result, internal_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, TableScan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A column of the graph.
pub(super) type Id = usize;
/// A node of the graph.
pub(super) type NodeId = usize;

#[derive(Default)]
pub(super) struct Memo {
    pub nodes: Vec<Node>,
    /// Is the column one that carries a person key?
    persons: Vec<bool>,
}

pub(super) struct Node {
    pub what: What,
    /// Columns that are made of the node's own, and of those made before.
    pub made: Vec<(Expr, Id)>,
}

pub(super) enum What {
    /// Of the table's columns, those that are read.
    Scan {
        scan: TableScan,
        provider: Arc<dyn TableProvider>,
        conditions: Vec<Expr>,
        time: usize,
        columns: BTreeMap<usize, Id>,
    },
    Filter {
        input: NodeId,
        predicate: Expr,
    },
    Join {
        left: NodeId,
        right: NodeId,
        how: How,
    },
    /// Grouped by columns, ascending.
    Aggregate {
        input: NodeId,
        groups: Vec<Id>,
        calls: Vec<(Expr, Id)>,
    },
}

#[derive(PartialEq)]
pub(super) struct How {
    pub on: Vec<(Expr, Expr)>,
    pub filter: Option<Expr>,
    pub join_type: JoinType,
    pub constraint: JoinConstraint,
    pub null_equality: NullEquality,
    pub null_aware: bool,
}

/// A plan's node in the graph, and the columns that its own are.
#[derive(Clone)]
pub(super) struct Place {
    pub node: NodeId,
    pub columns: Vec<Id>,
}

/// A plan, and the places of its nodes.
pub(super) struct Placed<'a> {
    pub plan: &'a LogicalPlan,
    pub place: Option<Place>,
    pub inputs: Vec<Placed<'a>>,
}

impl Memo {
    /// One more plan.
    pub fn add<'a>(&mut self, plan: &'a LogicalPlan) -> Result<Placed<'a>> {
        self.placed(plan, &mut Vec::new())
    }

    /// `scans`: those of this plan so far.
    fn placed<'a>(&mut self, plan: &'a LogicalPlan, scans: &mut Vec<NodeId>) -> Result<Placed<'a>> {
        let inputs = plan.inputs().into_iter().map(|input| self.placed(input, scans)).collect::<Result<Vec<_>>>()?;
        let place = match takes_part(plan) {
            true => self.place(plan, &inputs, scans)?,
            false => None,
        };
        Ok(Placed { plan, place, inputs })
    }

    fn place(&mut self, plan: &LogicalPlan, inputs: &[Placed], scans: &mut Vec<NodeId>) -> Result<Option<Place>> {
        let places: Option<Vec<&Place>> = inputs.iter().map(|input| input.place.as_ref()).collect();
        let Some(places) = places else { return Ok(None) };
        match (plan, places.as_slice()) {
            (LogicalPlan::TableScan(scan), []) => self.scan(scan, scans),
            (LogicalPlan::Filter(filter), [input]) => self.filter(filter, input).map(Some),
            (LogicalPlan::Projection(projection), [input]) => {
                let schema = projection.input.schema();
                let made = projection.expr.iter().map(|expression| self.made(input, expression, schema));
                Ok(Some(Place { node: input.node, columns: made.collect::<Result<_>>()? }))
            }
            (LogicalPlan::SubqueryAlias(_), [input]) => Ok(Some((*input).clone())),
            (LogicalPlan::Join(join), [left, right]) => self.join(join, left, right),
            (LogicalPlan::Aggregate(aggregate), [input]) => self.aggregate(aggregate, input).map(Some),
            (_, _) => Ok(None),
        }
    }

    fn scan(&mut self, scan: &TableScan, scans: &mut Vec<NodeId>) -> Result<Option<Place>> {
        let Ok(provider) = source_as_provider(&scan.source) else { return Ok(None) };
        if scan.fetch.is_some() {
            return Ok(None);
        }
        let conditions = scan.filters.iter().map(bare).collect::<Result<Vec<_>>>()?;
        let is_same = |node: &Node| match &node.what {
            What::Scan { provider: known, conditions: of, .. } => Arc::ptr_eq(known, &provider) && *of == conditions,
            What::Filter { .. } | What::Join { .. } | What::Aggregate { .. } => false,
        };
        let of_plan = scans.iter().filter(|node| self.nodes.get(**node).is_some_and(is_same)).count();
        let known = self
            .nodes
            .iter()
            .position(|node| is_same(node) && matches!(&node.what, What::Scan { time, .. } if *time == of_plan));
        let node = known.unwrap_or_else(|| {
            let columns = BTreeMap::new();
            self.node(What::Scan { scan: scan.clone(), provider, conditions, time: of_plan, columns })
        });
        scans.push(node);
        let wanted = scan.projection.clone().unwrap_or_else(|| (0..scan.source.schema().fields().len()).collect());
        let mut placed = Vec::new();
        let Some(Node { what: What::Scan { columns, .. }, .. }) = self.nodes.get_mut(node) else {
            return internal_err!("a scan that is none");
        };
        for column in wanted {
            let next = self.persons.len();
            placed.push(*columns.entry(column).or_insert(next));
            if placed.last() == Some(&next) {
                self.persons.push(false);
            }
        }
        Ok(Some(Place { node, columns: placed }))
    }

    fn filter(&mut self, filter: &Filter, input: &Place) -> Result<Place> {
        let predicate = numbered(&filter.predicate, &[(filter.input.schema().as_ref(), input)])?;
        let known = self.nodes.iter().position(|node| match &node.what {
            What::Filter { input: of, predicate: is } => *of == input.node && *is == predicate,
            What::Scan { .. } | What::Join { .. } | What::Aggregate { .. } => false,
        });
        let node = known.unwrap_or_else(|| self.node(What::Filter { input: input.node, predicate }));
        Ok(Place { node, columns: input.columns.clone() })
    }

    fn join(&mut self, join: &Join, left: &Place, right: &Place) -> Result<Option<Place>> {
        let (of_left, of_right) = ((join.left.schema().as_ref(), left), (join.right.schema().as_ref(), right));
        let mut on = Vec::new();
        for (l, r) in &join.on {
            on.push((numbered(l, &[of_left])?, numbered(r, &[of_right])?));
        }
        let filter = join.filter.as_ref().map(|filter| numbered(filter, &[of_left, of_right])).transpose()?;
        let how = How {
            on,
            filter,
            join_type: join.join_type,
            constraint: join.join_constraint,
            null_equality: join.null_equality,
            null_aware: join.null_aware,
        };
        let columns = match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                [left.columns.clone(), right.columns.clone()].concat()
            }
            JoinType::LeftSemi | JoinType::LeftAnti => left.columns.clone(),
            JoinType::RightSemi | JoinType::RightAnti => right.columns.clone(),
            // They add a column.
            JoinType::LeftMark | JoinType::RightMark => return Ok(None),
        };
        let sides = (left.node, right.node);
        let known = self.nodes.iter().position(|node| match &node.what {
            What::Join { left, right, how: is } => (*left, *right) == sides && *is == how,
            What::Scan { .. } | What::Filter { .. } | What::Aggregate { .. } => false,
        });
        let node = known.unwrap_or_else(|| self.node(What::Join { left: sides.0, right: sides.1, how }));
        Ok(Some(Place { node, columns }))
    }

    fn aggregate(&mut self, aggregate: &Aggregate, input: &Place) -> Result<Place> {
        let schema = aggregate.input.schema();
        let made = aggregate.group_expr.iter().map(|group| self.made(input, group, schema));
        let mut columns = made.collect::<Result<Vec<_>>>()?;
        let mut groups = columns.clone();
        groups.sort_unstable();
        groups.dedup();
        let known = self.nodes.iter().position(|node| match &node.what {
            What::Aggregate { input: of, groups: by, .. } => *of == input.node && *by == groups,
            What::Scan { .. } | What::Filter { .. } | What::Join { .. } => false,
        });
        let node = known.unwrap_or_else(|| self.node(What::Aggregate { input: input.node, groups, calls: Vec::new() }));
        for call in &aggregate.aggr_expr {
            let call = numbered(call, &[(schema, input)])?;
            columns.push(self.call(node, call.unalias())?);
        }
        Ok(Place { node, columns })
    }

    /// The column that a call of an aggregation gives.
    pub fn call(&mut self, node: NodeId, call: Expr) -> Result<Id> {
        let next = self.persons.len();
        let Some(Node { what: What::Aggregate { calls, .. }, .. }) = self.nodes.get_mut(node) else {
            return internal_err!("a call of what is no aggregation");
        };
        if let Some((_, id)) = calls.iter().find(|(known, _)| *known == call) {
            return Ok(*id);
        }
        calls.push((call, next));
        self.persons.push(false);
        Ok(next)
    }

    /// The column that an expression over a node's columns is.
    fn made(&mut self, input: &Place, expression: &Expr, schema: &DFSchema) -> Result<Id> {
        let name = expression.schema_name().to_string();
        let expression = numbered(expression, &[(schema, input)])?.unalias();
        let next = self.persons.len();
        let Some(node) = self.nodes.get_mut(input.node) else { return internal_err!("no such node") };
        let known = node.made.iter().find(|(known, _)| *known == expression).map(|(_, id)| *id);
        let id = match (id_of(&expression), known) {
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => {
                node.made.push((expression, next));
                self.persons.push(false);
                next
            }
        };
        if let Some(person) = self.persons.get_mut(id) {
            *person |= is_person(&name);
        }
        Ok(id)
    }

    fn node(&mut self, what: What) -> NodeId {
        self.nodes.push(Node { what, made: Vec::new() });
        self.nodes.len() - 1
    }

    /// The nodes that a node reads.
    pub fn inputs(&self, node: NodeId) -> Vec<NodeId> {
        match self.nodes.get(node).map(|node| &node.what) {
            Some(What::Scan { .. }) | None => Vec::new(),
            Some(What::Filter { input, .. } | What::Aggregate { input, .. }) => vec![*input],
            Some(What::Join { left, right, .. }) => vec![*left, *right],
        }
    }

    /// What a column is called in the plans that are made of the graph.
    pub fn name(&self, id: Id) -> String {
        let person = self.persons.get(id).is_some_and(|person| *person);
        if person { format!("__person_shared_{id}") } else { format!("__shared_{id}") }
    }
}

/// How an expression of the graph names a column.
pub(super) fn column(id: Id) -> Expr {
    Expr::Column(Column::new_unqualified(id.to_string()))
}

/// The column that an expression of the graph is, if it is one.
pub(super) fn id_of(expression: &Expr) -> Option<Id> {
    match expression {
        Expr::Column(Column { relation: None, name, .. }) => name.parse().ok(),
        _ => None,
    }
}

/// With the numbers of its columns in the place of their names.
fn numbered(expression: &Expr, sides: &[(&DFSchema, &Place)]) -> Result<Expr> {
    let numbered = expression.clone().transform(|part| {
        let Expr::Column(named) = &part else { return Ok(Transformed::no(part)) };
        for (schema, place) in sides {
            let at = schema.maybe_index_of_column(named);
            if let Some(id) = at.and_then(|at| place.columns.get(at)) {
                return Ok(Transformed::yes(column(*id)));
            }
        }
        internal_err!("a column that no input has")
    })?;
    Ok(numbered.data)
}

/// A scan's condition without the name that the table has in its plan.
fn bare(condition: &Expr) -> Result<Expr> {
    let bare = condition.clone().transform(|part| {
        Ok(match part {
            Expr::Column(named) => Transformed::yes(Expr::Column(Column::new_unqualified(named.name))),
            part => Transformed::no(part),
        })
    })?;
    Ok(bare.data)
}

/// Does the node always give the same rows of the same rows, and could its columns be anybody's?
fn takes_part(plan: &LogicalPlan) -> bool {
    let known = match plan {
        LogicalPlan::TableScan(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Join(_) => true,
        LogicalPlan::Aggregate(aggregate) => !aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))),
        LogicalPlan::Window(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => false,
    };
    let stays = |expression: &Expr| {
        let reaches_out = expression.exists(|part| {
            Ok(matches!(
                part,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::Placeholder(_)
                    | Expr::ScalarVariable(..)
            ))
        });
        !reaches_out.unwrap_or(true) && !expression.is_volatile()
    };
    known && plan.expressions().iter().all(stays) && !plan.schema().fields().iter().any(|field| is_unreleased(field))
}
