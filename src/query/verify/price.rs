//! Proves that the noise in a release costs no more than is charged, from the literals in the plan.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use paravent_udfs::{AdditiveNoise, BoundGroups, Measurement, Release, What};

use super::{selection, unproven};
use crate::error::Result;
use crate::query::bounds::number;
use crate::query::context::Context;
use crate::query::private::ReleaseFacts;

/// Checks floor, threshold and price; gives back the aggregate of states, for the proof of ownership.
pub(super) fn verify<'a>(context: &Context, release: &'a Release, facts: &ReleaseFacts) -> Result<&'a Aggregate> {
    let spec = release.spec();
    if spec.floor < floor(context, &facts.policies) || spec.floor < 10 {
        return Err(unproven("the floor is too low"));
    }
    if spec.threshold <= i64::try_from(spec.floor).unwrap_or(i64::MAX) {
        return Err(unproven("the threshold is not above the floor"));
    }
    let (states, columns) = states_below(release.input())?;
    if states.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return Err(unproven("several groupings in one release"));
    }
    let groups = max_groups(states, facts)?;
    let reaches = reaches(release, facts)?;
    let (mut rho, mut epsilon) = (0.0, 0.0);
    for (measurement, reach) in spec.measurements.iter().zip(&reaches) {
        match measurement.noise {
            AdditiveNoise::Gaussian(gaussian) => {
                rho += reach.l2_squared() / (2.0 * gaussian.std_dev().powi(2));
                epsilon = f64::INFINITY;
            }
            AdditiveNoise::Laplace(laplace) => {
                let part = reach.l1() / laplace.scale();
                rho += part * part / 2.0;
                epsilon += part;
            }
        }
    }
    // Rounding in these sums only; the samplers' own rounding is towards more noise.
    let pays = |cost: f64, price: f64| cost <= price * (1.0 + 1e-9);
    if !pays(rho, facts.rho.get()) || facts.epsilon.is_some_and(|price| !pays(epsilon, price.get())) {
        return Err(unproven("the noise is smaller than the price"));
    }
    selection::verify(states, &columns, groups, spec, facts)?;
    Ok(states)
}

/// What the settings ask, and every rule for this principal on a table whose policy pays.
pub(super) fn floor(context: &Context, policies: &BTreeSet<String>) -> u64 {
    let mut floor = context.policies.settings.min_group_size;
    for table in context.policies.tables.values() {
        let pays = table.policy().is_some_and(|policy| policies.contains(policy));
        for rule in table.row_policies.iter().filter(|_| pays) {
            let named = rule.roles.is_empty() || rule.roles.iter().any(|role| context.principal.belongs_to(role));
            floor = floor.max(rule.min_group_size.filter(|_| named).unwrap_or(0));
        }
    }
    floor
}

/// How far one person moves a measurement: `reach` in each of `times` of its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    reach: f64,
    times: f64,
}

impl Reach {
    pub fn l1(&self) -> f64 {
        self.reach * self.times
    }

    pub fn l2_squared(&self) -> f64 {
        self.reach * self.reach * self.times
    }
}

/// Of every measurement, over all groups and levels.
pub(super) fn reaches(release: &Release, facts: &ReleaseFacts) -> Result<Vec<Reach>> {
    let (states, columns) = states_below(release.input())?;
    let groups = max_groups(states, facts)?;
    let reach_of = |measurement: &Measurement| {
        let position =
            columns.get(measurement.column).copied().flatten().ok_or_else(|| unproven("a measurement of no state"))?;
        let reach = reach(states, position, measurement.what)?;
        Ok(Reach { reach, times: groups as f64 * f64::from(measurement.what.levels()) })
    };
    release.spec().measurements.iter().map(reach_of).collect()
}

/// The aggregate under a release, and where each of the release's input columns comes from in it.
fn states_below(plan: &LogicalPlan) -> Result<(&Aggregate, Vec<Option<usize>>)> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Ok((aggregate, (0..aggregate.schema.fields().len()).map(Some).collect())),
        LogicalPlan::Projection(projection) => {
            let (aggregate, below) = states_below(&projection.input)?;
            let from = |e: &Expr| {
                plain(e).and_then(|c| projection.input.schema().maybe_index_of_column(c)).and_then(|i| below[i])
            };
            Ok((aggregate, projection.expr.iter().map(from).collect()))
        }
        _ => Err(unproven("a release over something other than an aggregate")),
    }
}

fn plain(expression: &Expr) -> Option<&Column> {
    match expression {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

/// Groups one person reaches: what the plan enforces, or 1 where the rewrite has a proof.
fn max_groups(states: &Aggregate, facts: &ReleaseFacts) -> Result<u64> {
    let mut below = states.input.as_ref();
    loop {
        match below {
            LogicalPlan::Extension(extension) => {
                let bound = extension.node.as_any().downcast_ref::<BoundGroups>();
                return bound
                    .map(BoundGroups::max_groups)
                    .ok_or_else(|| unproven("an unknown operator under a release"));
            }
            LogicalPlan::Projection(projection) => below = projection.input.as_ref(),
            _ if facts.max_groups == 1 => return Ok(1),
            _ => return Err(unproven("nothing bounds the groups of a person")),
        }
    }
}

/// How far one person moves a word of a state, or one level of its tree, in one group: by the state's own definition. The nodes of a level
/// have no row in common, so that it is moved by no more than its rows in L1, and in L2 by no more than in L1.
fn reach(states: &Aggregate, position: usize, what: What) -> Result<f64> {
    let call = call_at(states, position).ok_or_else(|| unproven("a measurement of a group key"))?;
    if call.params.distinct || call.params.filter.is_some() || !call.params.order_by.is_empty() {
        return Err(unproven("a state with a modifier"));
    }
    let literal = |index: usize| -> Result<f64> {
        match call.params.args.get(index) {
            Some(Expr::Literal(value, _)) => {
                number(value).filter(|n| *n >= 1.0).ok_or_else(|| unproven("a bound below 1"))
            }
            Some(_) | None => Err(unproven("a bound that is not a literal")),
        }
    };
    let name = call.func.name();
    let word = match what {
        What::Word(word) => word,
        What::Tree { leaves, .. } if histogram_leaves(name) == Some(leaves) => return literal(1),
        // A person's rows, at most the cap, fit or do not: each is in one of the words 0 and 1.
        What::Tree { leaves: 2, branching: 2 } if name == "dp_share" => return literal(2),
        What::Tree { .. } => return Err(unproven("a tree of a state that is no histogram of that size")),
    };
    match (name, word) {
        ("dp_persons", 0) | ("dp_count", 1) | ("dp_avg" | "dp_share", 2) => Ok(1.0),
        ("dp_count", 0) => literal(1),
        ("dp_sum" | "dp_avg", 0) => Ok(literal(2)? * literal(3)?),
        ("dp_avg", 1) => literal(2),
        // A person shows at most 4^word values, and at most the cap.
        ("dp_distinct", 0..4) => Ok(literal(1)?.min(4_f64.powi(word as i32))),
        _ => Err(unproven("a measurement of a word that has no price")),
    }
}

/// The state in a column of the aggregate; nothing for a group key.
pub(super) fn call_at(states: &Aggregate, position: usize) -> Option<&AggregateFunction> {
    position.checked_sub(states.group_expr.len()).and_then(|index| states.aggr_expr.get(index)).and_then(function)
}

/// A person's rows fall into at most `cap` leaves of one of these.
fn histogram_leaves(name: &str) -> Option<usize> {
    match name {
        "dp_histogram_4" => Some(4),
        "dp_histogram_16" => Some(16),
        "dp_histogram_64" => Some(64),
        "dp_histogram_256" => Some(256),
        _ => None,
    }
}

fn function(expression: &Expr) -> Option<&AggregateFunction> {
    match expression {
        Expr::AggregateFunction(call) => Some(call),
        Expr::Alias(alias) => function(&alias.expr),
        _ => None,
    }
}
