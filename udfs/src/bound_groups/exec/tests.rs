//! Laws of the choice: at most M rows a person, everything where nobody exceeds, every row equally
//! likely wherever it arrives.

use super::choice::Choice;
use super::*;

fn kept(persons: &[u32], max_groups: u64) -> Vec<u32> {
    let mut counts = vec![0; persons.iter().max().map_or(0, |most| *most as usize + 1)];
    persons.iter().for_each(|&person| counts[person as usize] += 1);
    let mut stream = Noise::from_os().stream().unwrap();
    let kept = Choice::new(counts, max_groups).kept(persons, &mut stream);
    (0..persons.len() as u32).filter(|row| kept.as_ref().is_none_or(|kept| kept.value(*row as usize))).collect()
}

#[test]
fn at_most_m_rows_a_person_and_all_of_those_who_have_fewer() {
    let persons: Vec<u32> = (0..1000).map(|row| row % 7 * (row % 3)).collect();
    for max_groups in [1, 2, 50, 1000] {
        let kept = kept(&persons, max_groups);
        for person in 0..13 {
            let all = persons.iter().filter(|&&p| p == person).count();
            let left = kept.iter().filter(|&&row| persons[row as usize] == person).count();
            assert_eq!(left, all.min(max_groups as usize));
        }
    }
}

/// Two of six rows, 30,000 times: each of the 15 pairs 2,000 times. Chi-square with 14 degrees of
/// freedom exceeds 55.3 less than once in 10⁶ runs. Keeping the first two gives 420,000.
#[test]
fn every_subset_is_equally_likely_whatever_the_order_of_arrival() {
    let mut seen = std::collections::HashMap::new();
    for _ in 0..30_000 {
        *seen.entry(kept(&[0; 6], 2)).or_insert(0.0) += 1.0;
    }
    assert_eq!(seen.len(), 15);
    let chi: f64 = seen.values().map(|count: &f64| (count - 2000.0).powi(2) / 2000.0).sum();
    assert!(chi < 55.3, "{chi}");
}
