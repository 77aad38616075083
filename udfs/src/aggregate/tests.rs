//! Laws of the aggregates: merging equals one pass, partition and order change nothing, one person
//! moves a sum by at most its bound.

use super::*;
use crate::unreleased::Words;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal, lit};
use proptest::prelude::*;

const CAP: i64 = 3;
const BOUND: i64 = 10;
const GROUPS: usize = 4;

/// One row: group, sum, count.
type Line = (usize, Option<i64>, Option<i64>);

fn with_args<T>(udaf: &AggregateUDF, literals: &[i64], make: impl FnOnce(AccumulatorArgs) -> Result<T>) -> Result<T> {
    let columns = ["s", "c"].map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
    let taken = if literals.len() == 2 || udaf.name() == "dp_share" { 2 } else { 1 };
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    for (index, column) in columns.iter().enumerate().take(taken) {
        exprs.push(Arc::new(Column::new(column.name(), index)));
    }
    exprs.extend(literals.iter().map(|value| lit(*value)));
    let schema = Schema::new(columns.to_vec());
    make(AccumulatorArgs {
        return_field: udaf.return_field(&[])?,
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: udaf.name(),
        is_distinct: false,
        exprs: &exprs,
        expr_fields: &[],
    })
}

fn cases() -> Vec<(Arc<AggregateUDF>, Vec<i64>, usize)> {
    vec![
        (dp_count_udaf(), vec![CAP], 2),
        (dp_sum_udaf(), vec![CAP, BOUND], 2),
        (dp_avg_udaf(), vec![CAP, BOUND], 3),
        (dp_share_udaf(), vec![CAP], 3),
    ]
}

fn columns(udaf: &AggregateUDF, lines: &[Line]) -> Vec<ArrayRef> {
    let sums: ArrayRef = Arc::new(lines.iter().map(|line| line.1).collect::<Int64Array>());
    let counts: ArrayRef = Arc::new(lines.iter().map(|line| line.2).collect::<Int64Array>());
    if udaf.name() == "dp_count" { vec![counts] } else { vec![sums, counts] }
}

fn accumulator(udaf: &AggregateUDF, literals: &[i64]) -> Box<dyn GroupsAccumulator> {
    with_args(udaf, literals, |args| udaf.create_groups_accumulator(args)).unwrap()
}

fn update(state: &mut dyn GroupsAccumulator, udaf: &AggregateUDF, lines: &[Line]) {
    let groups: Vec<usize> = lines.iter().map(|line| line.0).collect();
    state.update_batch(&columns(udaf, lines), &groups, None, GROUPS).unwrap();
}

fn words(array: &ArrayRef, words: usize) -> Vec<i128> {
    let read = Words::new(array, words).unwrap();
    (0..read.len())
        .flat_map(|row| (0..words).map(move |word| (row, word)))
        .map(|(row, word)| read.get(row, word))
        .collect()
}

fn one_pass(udaf: &AggregateUDF, literals: &[i64], count: usize, lines: &[Line]) -> Vec<i128> {
    let mut state = accumulator(udaf, literals);
    update(state.as_mut(), udaf, lines);
    words(&state.evaluate(EmitTo::All).unwrap(), count)
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let value = prop_oneof![Just(None), any::<i64>().prop_map(Some), (-50_i64..50).prop_map(Some)];
    let rows = prop_oneof![Just(None), any::<i64>().prop_map(Some), (-1_i64..9).prop_map(Some)];
    proptest::collection::vec((0..GROUPS, value, rows), 0..40)
}

proptest! {
    #[test]
    fn merging_equals_one_pass_in_any_order(lines in lines(), cut in 0_usize..40, turn in 0_usize..40) {
        let cut = cut.min(lines.len());
        let mut turned = lines.clone();
        turned.rotate_left(turn.min(lines.len()));
        for (udaf, literals, count) in cases() {
            let expected = one_pass(&udaf, &literals, count, &lines);
            prop_assert_eq!(&one_pass(&udaf, &literals, count, &turned), &expected);
            let mut left = accumulator(&udaf, &literals);
            update(left.as_mut(), &udaf, &lines[..cut]);
            let mut right = accumulator(&udaf, &literals);
            update(right.as_mut(), &udaf, &lines[cut..]);
            let state = right.state(EmitTo::All).unwrap();
            let all: Vec<usize> = (0..state[0].len()).collect();
            left.merge_batch(&state, &all, GROUPS).unwrap();
            prop_assert_eq!(&words(&left.evaluate(EmitTo::All).unwrap(), count), &expected);
        }
    }

    #[test]
    fn rows_as_states_equal_one_pass(lines in lines()) {
        let filter: BooleanArray = (0..lines.len()).map(|row| [Some(true), Some(false), None][row % 3]).collect();
        let groups: Vec<usize> = lines.iter().map(|line| line.0).collect();
        for (udaf, literals, count) in cases() {
            let values = columns(&udaf, &lines);
            let mut direct = accumulator(&udaf, &literals);
            direct.update_batch(&values, &groups, Some(&filter), GROUPS).unwrap();
            let mut merged = accumulator(&udaf, &literals);
            let states = merged.convert_to_state(&values, Some(&filter)).unwrap();
            merged.merge_batch(&states, &groups, GROUPS).unwrap();
            let first = merged.evaluate(EmitTo::First(1)).unwrap();
            let rest = merged.evaluate(EmitTo::All).unwrap();
            let merged = [words(&first, count), words(&rest, count)].concat();
            prop_assert_eq!(merged, words(&direct.evaluate(EmitTo::All).unwrap(), count));
        }
    }

    #[test]
    fn one_person_more_moves_each_word_by_at_most_its_bound(lines in lines(), sum: Option<i64>, rows: Option<i64>) {
        let more: Vec<Line> = lines.iter().copied().chain([(0, sum, rows)]).collect();
        for (udaf, literals, count) in cases() {
            let (before, after) = (one_pass(&udaf, &literals, count, &lines), one_pass(&udaf, &literals, count, &more));
            let limit = i128::from(CAP * literals.get(1).unwrap_or(&1));
            for word in 0..count {
                let bound = match word { 0 => limit, last if last + 1 == count => 1, _ => i128::from(CAP) };
                prop_assert!((after[word] - before[word]).abs() <= bound);
            }
            if udaf.name() == "dp_share" {
                // Its two counts are one measurement: a row is counted in one of them, and never taken out of the other.
                let moved = [0, 1].map(|word| after[word] - before[word]);
                prop_assert!(moved.iter().all(|moved| *moved >= 0) && moved.iter().sum::<i128>() <= i128::from(CAP));
            }
            prop_assert_eq!(&after[count..], &before[count..]);
        }
    }

    #[test]
    fn without_groups_it_is_the_same_sum(lines in lines()) {
        let lines: Vec<Line> = lines.into_iter().map(|(_, sum, rows)| (0, sum, rows)).collect();
        for (udaf, literals, count) in cases() {
            let mut state: Box<dyn Accumulator> = with_args(&udaf, &literals, |args| udaf.accumulator(args)).unwrap();
            state.update_batch(&columns(&udaf, &lines)).unwrap();
            let once = state.evaluate().unwrap();
            prop_assert_eq!(&once, &state.evaluate().unwrap());
            let partial = state.state().unwrap()[0].to_array().unwrap();
            state.merge_batch(&[partial]).unwrap();
            let doubled = words(&state.evaluate().unwrap().to_array().unwrap(), count);
            let expected = &one_pass(&udaf, &literals, count, &lines)[..count];
            prop_assert_eq!(words(&once.to_array().unwrap(), count), expected);
            prop_assert!(doubled.iter().zip(expected).all(|(twice, once)| *twice == 2 * once));
        }
    }
}

/// The engine spills what it has and asks for less than before: an aggregate that keeps its room would end the query.
#[test]
fn what_was_given_out_takes_no_memory() {
    let rows: usize = 3 << 20;
    let groups: Vec<usize> = (0..rows).map(|row| row / 30).collect();
    let numbers: ArrayRef = Arc::new((0..rows as i64).map(|row| Some(row % 4)).collect::<Int64Array>());
    let floats: ArrayRef = Arc::new(numbers.as_primitive::<Int64Type>().unary::<_, Float64Type>(|x| x as f64));
    let of_one = [person_bins_udaf(), person_values_udaf()].map(|udaf| (udaf, vec![]));
    let of_cap = [dp_distinct_udaf(), dp_histogram_udaf(4)].map(|udaf| (udaf, vec![CAP]));
    let of_floats = ["sum", "avg"].map(|name| (exact(name).unwrap(), vec![]));
    let of_persons = cases().into_iter().map(|(udaf, literals, _)| (udaf, literals));
    for (udaf, literals) in of_persons.chain(of_one).chain(of_cap).chain(of_floats) {
        let mut state = accumulator(&udaf, &literals);
        let empty = state.size();
        let values = if exact(udaf.name()).is_some() { Arc::clone(&floats) } else { Arc::clone(&numbers) };
        for emit in [EmitTo::All, EmitTo::First(2)] {
            state.update_batch(&[values.clone(), numbers.clone()], &groups, None, rows / 30 + 1).unwrap();
            assert!(state.size() > 100 * empty, "{}", udaf.name());
            state.state(emit).unwrap();
            state.state(EmitTo::All).unwrap();
            assert!(state.size() <= 2 * empty, "{}: {} bytes, {empty} before", udaf.name(), state.size());
        }
    }
}

#[test]
fn bounds_must_be_literals_within_range() {
    let udaf = dp_sum_udaf();
    for literals in [[0, 1], [1, 0], [-1, 5], [i64::MAX, 2]] {
        assert!(with_args(&udaf, &literals, |args| udaf.create_groups_accumulator(args)).is_err());
    }
    let exprs: Vec<Arc<dyn PhysicalExpr>> = vec![
        Arc::new(Column::new("s", 0)),
        Arc::new(Column::new("c", 1)),
        Arc::new(Column::new("c", 1)),
        Arc::new(Literal::new(1_i64.into())),
    ];
    let made = with_args(&udaf, &[1, 1], |args| udaf.accumulator(AccumulatorArgs { exprs: &exprs, ..args }));
    assert!(made.is_err());
    let distinct = with_args(&udaf, &[1, 1], |args| udaf.accumulator(AccumulatorArgs { is_distinct: true, ..args }));
    assert!(distinct.is_err());
}
