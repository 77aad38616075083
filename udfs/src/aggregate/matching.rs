//! How many distinct values persons show when each may show at most ℓ: a greedy matching in a fixed order.
//!
//! In: each person's values. Out: D(ℓ) for several ℓ. Round after round, every person in turn adds the first of their values that
//! nobody has added yet; D(ℓ) is how many there are after ℓ rounds. The order of persons is that of their own lists and the order of
//! values that of their hashes, so that neither depends on anybody else. Must never: look at a person twice in a round.
//!
//! **Sensitivity** ℓ. Take one person away and run both sides step by step; S and S' are what has been added with and without
//! them. Claim: S' ⊆ S, and S has at most as many more as that person has added so far, which is at most ℓ. A step of that
//! person keeps it. In a step of another let v' be their first value outside S'. Is there none, there is none outside S either. Is
//! v' ∉ S, it is also the first outside S (S ⊇ S'), and both sides add it. Is v' ∈ S, only S' needs it: S' ∪ {v'} ⊆ S, the
//! difference loses v' and gains at most one. **Noise, Cost** none here. **Source** Knop, Steinke 2023, "Counting Distinct Elements
//! Under Person-Level Differential Privacy", algorithm 2 and lemma 3.4; their D(ℓ) is the largest matching, this one is at least
//! half of it and has the same sensitivity at a linear price.

use std::collections::HashSet;

/// The bounds ℓ that are tried; at a table's `max_rows_per_person` the rest is cut off.
pub(crate) const BOUNDS: [usize; 4] = [1, 4, 16, 64];

/// D(ℓ) for each of `bounds`, which ascend.
pub(super) fn shown(mut lists: Vec<Vec<u64>>, bounds: [usize; 4]) -> [u64; 4] {
    // Who has few values goes first: they have no other choice.
    lists.sort_unstable_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    let mut active: Vec<(usize, &[u64])> = lists.iter().map(|list| (0, list.as_slice())).collect();
    let mut added = HashSet::new();
    let mut shown = [0; 4];
    let mut done = 0;
    for (slot, bound) in shown.iter_mut().zip(bounds) {
        while done < bound && !active.is_empty() {
            active.retain_mut(|(next, list)| {
                let first = list[*next..].iter().position(|value| !added.contains(value));
                if let Some(at) = first {
                    *next += at + 1;
                    added.insert(list[*next - 1]);
                }
                first.is_some()
            });
            done += 1;
        }
        *slot = added.len() as u64;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists() -> impl Strategy<Value = Vec<Vec<u64>>> {
        let list = proptest::collection::btree_set(0_u64..12, 0..9).prop_map(|set| set.into_iter().collect());
        proptest::collection::vec(list, 0..9)
    }

    /// The largest matching of persons with capacity ℓ to values, by augmenting paths.
    fn largest(lists: &[Vec<u64>], bound: usize) -> usize {
        fn augment(
            person: usize,
            lists: &[Vec<u64>],
            owner: &mut std::collections::HashMap<u64, usize>,
            seen: &mut HashSet<u64>,
        ) -> bool {
            for &value in &lists[person] {
                if seen.insert(value) {
                    let now = owner.get(&value).copied();
                    if now.is_none_or(|now| augment(now, lists, owner, seen)) {
                        owner.insert(value, person);
                        return true;
                    }
                }
            }
            false
        }
        let mut owner = std::collections::HashMap::new();
        for person in 0..lists.len() {
            for _ in 0..bound {
                augment(person, lists, &mut owner, &mut HashSet::new());
            }
        }
        owner.len()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn one_person_moves_it_by_at_most_the_bound(lists in lists(), without in any::<prop::sample::Index>()) {
            prop_assume!(!lists.is_empty());
            let bounds = [1, 2, 3, 5];
            let all = shown(lists.clone(), bounds);
            let mut fewer = lists.clone();
            fewer.remove(without.index(lists.len()));
            let fewer = shown(fewer, bounds);
            for (i, bound) in bounds.iter().enumerate() {
                prop_assert!(fewer[i] <= all[i] && all[i] - fewer[i] <= *bound as u64, "{all:?} {fewer:?}");
            }
        }

        #[test]
        fn it_is_between_half_the_largest_matching_and_the_whole(lists in lists()) {
            let bounds = [1, 2, 3, 5];
            let greedy = shown(lists.clone(), bounds);
            for (i, bound) in bounds.iter().enumerate() {
                let most = largest(&lists, *bound) as u64;
                prop_assert!(greedy[i] <= most && 2 * greedy[i] >= most, "{greedy:?} {most}");
            }
        }

        #[test]
        fn the_order_of_persons_is_nothing(lists in lists(), turn in 0_usize..9) {
            let mut turned = lists.clone();
            turned.rotate_left(turn.min(lists.len()));
            prop_assert_eq!(shown(lists, BOUNDS), shown(turned, BOUNDS));
        }
    }

    #[test]
    fn enough_rounds_show_everything() {
        let lists = vec![(0..60).collect(), (50..70).collect(), vec![3]];
        assert_eq!(shown(lists, BOUNDS), [3, 9, 33, 70]);
    }
}
