//! Proves that groups, and parts of groups, are shown for enough persons, and that delta pays for the rest.
//!
//! Law: a row is shown only where an exact count of persons reaches the floor and a noised count reaches the threshold. A group of
//! exactly `floor` persons then passes with P[N ≥ threshold − floor · cap], where one person adds at most `cap` to the noised
//! count; one person reaches `groups` groups, and each has one such selection and one more for every cell.
//! Source: pre-thresholding, Google's differential-privacy library, `common_docs/pre_thresholding.md`.

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
    let mut chance = passes(&selects.noise, spec.threshold, spec.floor, 1.0);
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
    let cap = match (call.func.name(), count.what, cell.word) {
        ("dp_count", What::Word(0), 1) => 1,
        ("dp_avg", What::Word(1), 2) => 2,
        // The persons themselves are noised.
        ("dp_count", What::Word(1), 1) | ("dp_avg" | "dp_share", What::Word(2), 2) => {
            return Ok(passes(&count.noise, cell.threshold, spec.floor, 1.0));
        }
        _ => return Err(unproven("a cell that does not count persons")),
    };
    let cap = match call.params.args.get(cap) {
        Some(Expr::Literal(value, _)) => number(value),
        Some(_) | None => None,
    };
    let cap = cap.ok_or_else(|| unproven("a bound that is not a literal"))?;
    Ok(passes(&count.noise, cell.threshold, spec.floor, cap))
}

/// P[floor · cap + N ≥ threshold].
fn passes(noise: &AdditiveNoise, threshold: i64, floor: u64, cap: f64) -> f64 {
    let above = threshold as f64 - floor as f64 * cap;
    if above >= 1.0 { noise.upper_tail(above as i64) } else { 1.0 }
}
