//! Proves that groups, and parts of groups, are shown for enough persons, and that delta pays for the rest.
//!
//! Law: a row is shown only where an exact count of persons reaches the floor and a noised count reaches the threshold. A group of
//! exactly `floor` persons then passes with P[N ≥ threshold − floor · cap], where one person adds at most `cap` to the noised
//! count; one person reaches `groups` groups, and each has one such selection and one more for every cell. Where the two counts of a
//! share are the noised count, N is the sum of two draws.
//! Source: pre-thresholding, Google's differential-privacy library, `common_docs/pre_thresholding.md`.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use paravent_udfs::{AdditiveNoise, CellFloor, Release, ReleaseSpec, What};

use super::price::call_at;
use super::unproven;
use crate::error::Result;
use crate::query::bounds::number;
use crate::query::private::ReleaseFacts;

/// Where rows say whether they fit a profile, the floor is one of those who fit. Reads the plan before it is optimised.
pub(super) fn verify_profile(release: &Release) -> Result<()> {
    let LogicalPlan::Aggregate(states) = release.input() else {
        return Err(unproven("a release over something other than an aggregate"));
    };
    if !states.input.schema().has_column_with_unqualified_name("__p") {
        return Ok(());
    }
    let persons = call_at(states, release.spec().persons).and_then(|call| call.params.args.first());
    match persons {
        Some(Expr::Column(column)) if column.name == "__p" => Ok(()),
        Some(_) | None => Err(unproven("a floor of persons who do not fit")),
    }
}

/// `columns`: where each of the release's input columns comes from in `states`.
pub(super) fn verify(
    states: &Aggregate,
    columns: &[Option<usize>],
    groups: u64,
    spec: &ReleaseSpec,
    facts: &ReleaseFacts,
) -> Result<()> {
    let persons = columns.get(spec.persons).copied().flatten().and_then(|position| call_at(states, position));
    if persons.is_none_or(|call| call.func.name() != "dp_persons") {
        return Err(unproven("a floor that does not count persons"));
    }
    let selects = spec.measurements.first().ok_or_else(|| unproven("a release without a person count"))?;
    let mut chance = match selects.what {
        What::Word(_) => passes(&selects.noise, spec.threshold, spec.floor, 1.0),
        What::TWO_COUNTS => {
            let share = columns.get(selects.column).copied().flatten().and_then(|position| call_at(states, position));
            let share = share.filter(|call| call.func.name() == "dp_share");
            // Whoever is in the share is among the persons: they all are.
            let everyone = persons.is_some_and(|call| matches!(&call.params.args[..], [all] if is_true(all)));
            let share = share.filter(|_| everyone).ok_or_else(|| unproven("a selection by something else"))?;
            passes_of_two(&selects.noise, spec.threshold, spec.floor, cap(share, 2)?)
        }
        What::Tree { .. } => return Err(unproven("a selection by a tree")),
    };
    for cell in &spec.cells {
        chance += of_cell(states, columns, spec, cell)?;
    }
    if (groups as f64 * chance).is_nan() || groups as f64 * chance > facts.delta.get() * (1.0 + 1e-9) {
        return Err(unproven("a threshold that delta does not pay for"));
    }
    Ok(())
}

fn of_cell(states: &Aggregate, columns: &[Option<usize>], spec: &ReleaseSpec, cell: &CellFloor) -> Result<f64> {
    let count = spec.measurements.get(cell.count).ok_or_else(|| unproven("a cell without a count"))?;
    let call = columns.get(cell.column).copied().flatten().and_then(|position| call_at(states, position));
    let call = call.filter(|_| count.column == cell.column).ok_or_else(|| unproven("a cell without a state"))?;
    // The state's noised count, its exact persons, and the argument that caps a person's rows.
    match (call.func.name(), count.what, cell.word) {
        ("dp_count", What::Word(0), 1) => Ok(passes(&count.noise, cell.threshold, spec.floor, cap(call, 1)?)),
        ("dp_avg", What::Word(1), 2) => Ok(passes(&count.noise, cell.threshold, spec.floor, cap(call, 2)?)),
        // The persons themselves are noised.
        ("dp_count", What::Word(1), 1) | ("dp_avg" | "dp_share", What::Word(2), 2) => {
            Ok(passes(&count.noise, cell.threshold, spec.floor, 1.0))
        }
        // Only what selects is there when cells are told.
        ("dp_share", What::TWO_COUNTS, 2) if cell.count == 0 => {
            Ok(passes_of_two(&count.noise, cell.threshold, spec.floor, cap(call, 2)?))
        }
        _ => Err(unproven("a cell that does not count persons")),
    }
}

/// How many rows of a person a state counts at most: a literal in this place.
fn cap(call: &AggregateFunction, place: usize) -> Result<f64> {
    let cap = match call.params.args.get(place) {
        Some(Expr::Literal(value, _)) => number(value),
        Some(_) | None => None,
    };
    cap.ok_or_else(|| unproven("a bound that is not a literal"))
}

fn is_true(expression: &Expr) -> bool {
    matches!(expression, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

/// P[floor · cap + N ≥ threshold].
fn passes(noise: &AdditiveNoise, threshold: i64, floor: u64, cap: f64) -> f64 {
    above(threshold, floor, cap).map_or(1.0, |above| noise.upper_tail(above))
}

/// P[floor · cap + N + N′ ≥ threshold].
fn passes_of_two(noise: &AdditiveNoise, threshold: i64, floor: u64, cap: f64) -> f64 {
    above(threshold, floor, cap).map_or(1.0, |above| noise.upper_tail_of_two(above))
}

fn above(threshold: i64, floor: u64, cap: f64) -> Option<i64> {
    let above = threshold as f64 - floor as f64 * cap;
    (above >= 1.0).then_some(above as i64)
}
