//! From a checked plan to a private one: every release point becomes a release, bottom-up.
//!
//! In: [`Checked`]. Out: [`Private`], the releases in the order they must run and the plan above them. Rows that belong to
//! persons and reach the top are refused. Hidden columns (person key, profile, standard errors) travel behind the visible ones.

mod above;
mod calls;
mod conditions;
mod copies;
mod declared;
mod errors;
mod estimated;
mod exists;
mod grouping;
mod join;
mod link;
mod opened;
mod release_point;
mod scan;
mod subquery;
mod union;
mod unnest;
mod window;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Projection, Sort,
    SubqueryAlias, Window,
};

use conditions::conditions;

use super::check::Checked;
use super::context::Context;
use super::contributions::LeastShare;
use super::errors_of;
use super::expression::{Scope, refuse_window, unaliased};
use super::facts::{Node, Person, Public, PublicColumn, Rows, built};
use super::opened::Opened;
use super::private::{Draft, Private};
use super::split::Names;
use super::statistics::Use;
use super::subject::Subject;
use crate::error::{Error, Result, SqlState};
use paravent_udfs::{Epsilon, Mechanism, Rho};

/// Errors: 42501 for rows of persons at the top and unreadable columns, 0A000 for shapes without a private form, 22023 for
/// missing bounds.
pub fn rewrite(context: &Context, checked: Checked) -> Result<Private> {
    let budget_share = least_share(context, &checked.plan)?;
    let levels = errors_of::levels(&checked.plan)?;
    let names = Names::of(&checked.plan)?;
    let usage = usage(context, &checked.plan)?;
    let mut rewriter = Rewriter {
        context,
        budget_share,
        levels,
        names,
        usage,
        notices: vec![],
        drafts: vec![],
        opened: vec![],
        subject: None,
        hidden: 0,
    };
    let node = rewriter.node(&checked.plan)?;
    let Rows::Public(_) = &node.rows else {
        return Err(refuse_rows(&node));
    };
    let shape = rewriter.visible_only(node)?;
    let shape = rewriter.with_names_of_rows(shape)?;
    let private = Private::assemble(
        context,
        rewriter.drafts,
        budget_share.exact,
        rewriter.levels,
        rewriter.notices,
        shape,
        checked.columns,
    )?;
    Ok(Private { opened: rewriter.opened, ..private })
}

pub(super) struct Rewriter<'a> {
    pub context: &'a Context,
    /// The least rho that a measurement of this statement gets, however many there turn out to be.
    pub budget_share: LeastShare,
    /// What the query calls its columns, for `privacy.weights`.
    pub names: Names,
    /// Confidence levels that the statement names.
    pub levels: Vec<f64>,
    /// What bounds from statistics are weighed for.
    pub usage: Use,
    /// What is to be said beside the answer.
    pub notices: Vec<String>,
    /// Releases found so far; later ones may read earlier ones.
    pub drafts: Vec<Draft>,
    /// Tables whose rows are shown.
    pub opened: Vec<Opened>,
    /// The one person whose rows are being made ready, in the place of scopes.
    pub subject: Option<Subject>,
    /// Makes names of hidden columns unique.
    pub hidden: usize,
}

/// The statement's rho over more measurements than it can come to, six an aggregate and two a release. The wide steps: epsilon from
/// 0.1 up counts as 0.1, from 0.001 as 0.001, and the parts go by powers of 512.
fn least_share(context: &Context, plan: &LogicalPlan) -> Result<LeastShare> {
    use datafusion::common::tree_node::TreeNodeRecursion;
    let (mut releases, mut calls) = (0_u32, 0_u32);
    let counted = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Aggregate(aggregate) => {
                releases += 1;
                calls += aggregate.aggr_expr.len() as u32;
            }
            LogicalPlan::Distinct(_) => releases += 1,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    built(counted)?;
    let parts = f64::from(releases.max(1)) * f64::from(2 + 6 * calls);
    let share = |epsilon: f64, parts: f64| {
        let epsilon = Epsilon::new(epsilon).map_err(|_| Error::internal())?;
        Rho::new(Rho::of_epsilon(epsilon).get() / parts).map_err(|_| Error::internal())
    };
    let steps = ((context.epsilon.get().min(1.0).log10() - 1.0) / 2.0).floor();
    let coarse_epsilon = context.epsilon.get().min(10_f64.powf(2.0 * steps + 1.0));
    let coarse = share(coarse_epsilon, 512_f64.powf((parts.ln() / 512_f64.ln()).ceil()))?;
    Ok(LeastShare { coarse, exact: share(context.epsilon.get(), parts)? })
}

/// About what a measurement of the statement gets, and the most group keys that an aggregate has.
fn usage(context: &Context, plan: &LogicalPlan) -> Result<Use> {
    let (mut keys, mut measured) = (0, 1.0);
    let counted = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            keys = keys.max(aggregate.group_expr.len());
            measured += aggregate.aggr_expr.len() as f64;
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
    built(counted)?;
    let rho = match context.mechanism {
        Mechanism::Gaussian => Rho::of_epsilon(context.epsilon).get() / measured,
        // The rho that buys Gaussian noise of the same variance: 1/(2 rho) = 2/epsilon^2.
        Mechanism::Laplace => (context.epsilon.get() / measured).powi(2) / 4.0,
    };
    Ok(Use { rho, keys, floor: context.policies.settings.min_group_size })
}

impl Rewriter<'_> {
    /// A plan's private form; rows of persons carry their person key.
    pub(super) fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let node = self.open_node(plan)?;
        self.closed(node)
    }

    /// The same, except that rows of linked tables may still wait for the join that leads to their person.
    pub(super) fn open_node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(distinct) => self.distinct(distinct),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::EmptyRelation(_) => {
                Ok(public(plan.clone(), Public { unique: vec![BTreeSet::new()], ..Public::default() }))
            }
            LogicalPlan::Values(values) => {
                let unique = if values.values.len() <= 1 { vec![BTreeSet::new()] } else { vec![] };
                Ok(public(plan.clone(), Public { unique, ..Public::default() }))
            }
            // A derived table that may refer to its neighbours, and does not.
            LogicalPlan::Subquery(subquery) if subquery.outer_ref_columns.is_empty() => self.node(&subquery.subquery),
            LogicalPlan::Subquery(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::RecursiveQuery(_) => Err(Error::internal()),
        }
    }

    fn alias(&mut self, alias: &SubqueryAlias) -> Result<Node> {
        let node = self.open_node(&alias.input)?;
        let plan = built(
            LogicalPlanBuilder::from(node.plan.clone()).alias(alias.alias.clone()).and_then(LogicalPlanBuilder::build),
        )?;
        let mut renamed = Node { plan, visible: node.visible, rows: node.rows.clone() };
        if let Rows::Public(rows) = &mut renamed.rows {
            for column in &mut rows.columns {
                column.error = column.error.take().and_then(|error| {
                    error.renamed(|name| {
                        let index = node.plan.schema().maybe_index_of_column(name)?;
                        Some(Column::from(renamed.plan.schema().qualified_field(index)))
                    })
                });
            }
        }
        Ok(renamed)
    }

    fn projection(&mut self, projection: &Projection) -> Result<Node> {
        let node = self.open_node(&projection.input)?;
        match &node.rows {
            Rows::Public(rows) => self.public_projection(&node, rows, &projection.expr),
            Rows::Person(_) => {
                let (node, wanted) = self.with_scalars(node, &projection.expr)?;
                self.person_projection(&node, &wanted)
            }
        }
    }

    pub(super) fn person_projection(&self, node: &Node, wanted: &[Expr]) -> Result<Node> {
        let scope = Scope::new(self.context, node)?;
        let places: Vec<Option<usize>> = wanted.iter().map(|e| scope.index_of(e)).collect();
        // Putting columns into another order, as the reordering of joins does, reads none of them.
        let moved: BTreeSet<usize> = wanted
            .iter()
            .zip(&places)
            .filter_map(|(e, place)| place.filter(|column| *column < node.visible && !matches!(e, Expr::Alias(_))))
            .collect();
        let reorders = moved.len() == node.visible;
        // Nor does leaving them where they are, as the projections that subqueries bring with them do.
        let stays = |(i, e): &(usize, &Expr)| matches!(e, Expr::Column(_)) && places.get(*i) == Some(&Some(*i));
        let staying = wanted.iter().enumerate().take_while(stays).count();
        let derive = |(i, e): (usize, &Expr)| if reorders || i < staying { scope.hand_on(e) } else { scope.derive(e) };
        let derived = wanted.iter().enumerate().map(derive).collect::<Result<Vec<_>>>()?;
        let place = |old: usize| places.iter().position(|place| *place == Some(old));
        let person = Person {
            unique: scope.person.unique_after(place),
            columns: derived.iter().map(|d| d.facts.clone()).collect(),
            ..scope.person.clone()
        };
        let visible = derived.len();
        let expressions: Vec<Expr> =
            derived.into_iter().map(|d| d.expression).zip(wanted).map(|(total, was)| named_as(total, was)).collect();
        let plan = built(project(node.plan.clone(), expressions, node.hidden()))?;
        Ok(Node { plan, visible, rows: Rows::Person(person) })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Node> {
        let node = self.open_node(&filter.input)?;
        match &node.rows {
            Rows::Public(rows) => {
                let predicate = self.public_expression(&node, rows, &filter.predicate)?;
                let plan = built(
                    LogicalPlanBuilder::from(node.plan.clone()).filter(predicate).and_then(LogicalPlanBuilder::build),
                )?;
                Ok(Node { plan, ..node })
            }
            Rows::Person(_) => {
                let visible = node.visible;
                let (node, predicate) = self.with_scalars(node, std::slice::from_ref(&filter.predicate))?;
                let predicate = predicate.first().ok_or_else(Error::internal)?;
                let node = self.person_filter(node, predicate)?;
                self.narrowed(node, visible)
            }
        }
    }

    /// Predicates on attributes choose the group; predicates on measures are a profile and only flag rows, so that the
    /// release can compare those who fit with their group (design §4).
    pub(super) fn person_filter(&mut self, node: Node, predicate: &Expr) -> Result<Node> {
        let scope = Scope::new(self.context, &node)?;
        let (mut group, mut profile) = (Vec::new(), Vec::new());
        for part in conditions(unaliased(predicate)) {
            let derived = scope.derive(&part)?;
            let side = if derived.facts.profiles() { &mut profile } else { &mut group };
            side.push(derived.expression);
        }
        let mut plan = node.plan.clone();
        if let Some(predicate) = group.into_iter().reduce(Expr::and) {
            plan = built(LogicalPlanBuilder::from(plan).filter(predicate).and_then(LogicalPlanBuilder::build))?;
        }
        match profile.into_iter().reduce(Expr::and) {
            None => Ok(Node { plan, ..node }),
            Some(predicate) => {
                let name = self.hidden_name("profile");
                flag_profile(Node { plan, ..node }, predicate, &name)
            }
        }
    }

    fn distinct(&mut self, distinct: &Distinct) -> Result<Node> {
        match distinct {
            Distinct::All(input) => {
                let node = self.node(input)?;
                match &node.rows {
                    Rows::Public(rows) => {
                        // Hidden standard errors would make equal rows distinct.
                        let columns = rows.columns.iter().map(|c| PublicColumn { error: None, ..c.clone() }).collect();
                        let kept = Public { columns, unique: rows.unique.clone(), released: rows.released };
                        let plan = self.visible_only(node.clone())?;
                        let plan =
                            built(LogicalPlanBuilder::from(plan).distinct().and_then(LogicalPlanBuilder::build))?;
                        Ok(public(plan, kept))
                    }
                    Rows::Person(_) => {
                        let keys: Vec<Expr> = (0..node.visible).map(|i| Expr::Column(node.column(i))).collect();
                        self.grouped(node, &keys, &[])
                    }
                }
            }
            Distinct::On(on) => {
                let node = self.node(&on.input)?;
                let Rows::Public(rows) = &node.rows else {
                    return self.person_distinct_on(node, on);
                };
                let mut on = on.clone();
                for list in [&mut on.on_expr, &mut on.select_expr] {
                    for expression in list {
                        *expression = self.public_expression(&node, rows, expression)?;
                    }
                }
                on.input = Arc::new(node.plan.clone());
                let columns = on.select_expr.iter().map(|_| PublicColumn::default()).collect();
                Ok(public(
                    LogicalPlan::Distinct(Distinct::On(on)),
                    Public { columns, unique: Vec::new(), released: rows.released },
                ))
            }
        }
    }

    fn sort(&mut self, sort: &Sort) -> Result<Node> {
        let node = self.node(&sort.input)?;
        let Rows::Public(rows) = &node.rows else {
            // The order of rows below an aggregate changes nothing; a fetch would choose among persons.
            return if sort.fetch.is_none() { Ok(node) } else { Err(refuse_limit()) };
        };
        let mut order = sort.expr.clone();
        for key in &mut order {
            key.expr = self.public_expression(&node, rows, &key.expr)?;
        }
        let plan = built(
            LogicalPlanBuilder::from(node.plan.clone())
                .sort_with_limit(order, sort.fetch)
                .and_then(LogicalPlanBuilder::build),
        )?;
        Ok(Node { plan, ..node })
    }

    fn limit(&mut self, limit: &Limit) -> Result<Node> {
        let node = self.node(&limit.input)?;
        let Rows::Public(rows) = &node.rows else {
            return Err(refuse_limit());
        };
        let plan = LogicalPlan::Limit(Limit {
            skip: limit.skip.clone(),
            fetch: limit.fetch.clone(),
            input: Arc::new(node.plan.clone()),
        });
        let mut rows = rows.clone();
        if matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1)))) {
            rows.unique.push(BTreeSet::new());
        }
        Ok(Node { plan, visible: node.visible, rows: Rows::Public(rows) })
    }

    fn window(&mut self, window: &Window) -> Result<Node> {
        let node = self.node(&window.input)?;
        let rows = match &node.rows {
            Rows::Public(rows) => rows,
            Rows::Person(_) => {
                let visible = node.visible;
                let (node, calls) = self.with_scalars(node, &window.window_expr)?;
                if node.visible != visible {
                    return Err(refuse_window());
                }
                let window = Window { window_expr: calls, ..window.clone() };
                return self.person_window(&node, &window);
            }
        };
        let functions =
            window.window_expr.iter().map(|e| self.public_expression(&node, rows, e)).collect::<Result<Vec<_>>>()?;
        // New columns stand behind the visible ones, so the hidden ones go: errors do not pass a window.
        let mut columns: Vec<PublicColumn> =
            rows.columns.iter().map(|c| PublicColumn { error: None, ..c.clone() }).collect();
        columns.resize(columns.len() + functions.len(), PublicColumn::default());
        let kept = Public { columns, unique: rows.unique.clone(), released: rows.released };
        let plan = self.visible_only(node.clone())?;
        let plan = built(LogicalPlanBuilder::from(plan).window(functions).and_then(LogicalPlanBuilder::build))?;
        Ok(public(plan, kept))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node> {
        let node = self.node(&aggregate.input)?;
        match &node.rows {
            Rows::Public(rows) => {
                let keys = aggregate
                    .group_expr
                    .iter()
                    .map(|e| self.public_expression(&node, rows, e))
                    .collect::<Result<Vec<_>>>()?;
                let calls = aggregate
                    .aggr_expr
                    .iter()
                    .map(|e| self.public_expression(&node, rows, e))
                    .collect::<Result<Vec<_>>>()?;
                let plan =
                    built(Aggregate::try_new(Arc::new(node.plan.clone()), keys, calls).map(LogicalPlan::Aggregate))?;
                let columns = plan.schema().fields().iter().map(|_| PublicColumn::default()).collect();
                // One row a group, unless several groupings stand below one another.
                let single = !aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
                let unique = if single { vec![(0..aggregate.group_expr.len()).collect()] } else { vec![] };
                Ok(public(plan, Public { columns, unique, released: rows.released }))
            }
            Rows::Person(_) => {
                let all: Vec<Expr> = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).cloned().collect();
                let (node, all) = self.with_scalars(node, &all)?;
                let (keys, calls) = all.split_at(aggregate.group_expr.len());
                match keys {
                    [Expr::GroupingSet(sets)] => self.grouping_sets(&node, aggregate, sets, calls),
                    keys => self.grouped(node, keys, calls),
                }
            }
        }
    }

    /// A plan of the visible columns alone.
    pub(super) fn visible_only(&self, node: Node) -> Result<LogicalPlan> {
        if node.plan.schema().fields().len() == node.visible {
            return Ok(node.plan);
        }
        let columns: Vec<Expr> = (0..node.visible).map(|i| Expr::Column(node.column(i))).collect();
        built(LogicalPlanBuilder::from(node.plan).project(columns).and_then(LogicalPlanBuilder::build))
    }
}

/// Adds `predicate` to the rows' profile flag.
fn flag_profile(node: Node, predicate: Expr, name: &str) -> Result<Node> {
    let Rows::Person(person) = &node.rows else {
        return Err(Error::internal());
    };
    let fits = match node.profile() {
        Some(flag) => Expr::Column(flag).and(predicate),
        None => predicate,
    };
    let mut expressions: Vec<Expr> = (0..=node.visible).map(|i| Expr::Column(node.column(i))).collect();
    expressions.push(Expr::IsTrue(Box::new(fits)).alias(name));
    let plan =
        built(LogicalPlanBuilder::from(node.plan.clone()).project(expressions).and_then(LogicalPlanBuilder::build))?;
    let person = Person { profile: true, ..person.clone() };
    Ok(Node { plan, visible: node.visible, rows: Rows::Person(person) })
}

/// `expressions`, then the hidden columns under the names they have.
pub(super) fn project(
    plan: LogicalPlan,
    mut expressions: Vec<Expr>,
    hidden: Vec<Column>,
) -> datafusion::common::Result<LogicalPlan> {
    expressions.extend(hidden.into_iter().map(Expr::Column));
    LogicalPlanBuilder::from(plan).project(expressions)?.build()
}

/// The total form of an expression keeps the name of what was written.
fn named_as(total: Expr, written: &Expr) -> Expr {
    let name = written.qualified_name();
    if total.qualified_name() == name { total } else { total.unalias().alias_qualified(name.0, name.1) }
}

pub(super) fn public(plan: LogicalPlan, mut rows: Public) -> Node {
    let visible = plan.schema().fields().len();
    rows.columns.resize(visible, PublicColumn::default());
    Node { plan, visible, rows: Rows::Public(rows) }
}

fn refuse_rows(node: &Node) -> Error {
    let tables = match &node.rows {
        Rows::Person(person) => person.tables.iter().cloned().collect::<Vec<_>>().join(", "),
        Rows::Public(_) => String::new(),
    };
    Error::new(SqlState::InsufficientPrivilege, format!("rows of persons are not released (table {tables})"))
        .detail("an answer describes groups of at least privacy.min_group_size persons, never single rows")
        .hint("aggregate: SELECT function, count(*), avg(hours) FROM … GROUP BY function")
}

fn refuse_limit() -> Error {
    Error::new(SqlState::FeatureNotSupported, "LIMIT over rows of persons is not released")
        .detail("which rows survive a LIMIT would depend on other persons")
        .hint("aggregate first; LIMIT above a GROUP BY is allowed")
}
