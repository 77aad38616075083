//! Good plans, spoiled at random: the verifier refuses each, or it does no harm.
//!
//! Harmless means here: the first law holds of what the plan measures, on random companies, whoever is taken away.

use proptest::prelude::*;

use super::world::{Person, person};
use super::{moves, reads_a_release, runtime, within};
use crate::query::verify_tests::mutations::mutated;

const HONEST: [&str; 20] = [
    "SELECT count(*), count(DISTINCT id) FROM person",
    "SELECT country, count(*) FROM person GROUP BY country",
    "SELECT country, avg(hours), share(hours > 9) FROM person JOIN week USING (id) GROUP BY country",
    "SELECT week, sum(hours), count(*) FROM week GROUP BY week",
    "SELECT week % 3, sum(hours), count(*) FROM week GROUP BY 1",
    "SELECT sum(size), count(*) FROM mail",
    "SELECT sum(size), avg(size) FILTER (WHERE size > 100) FROM mail",
    "SELECT country, sum(size) FROM person JOIN mail USING (id) GROUP BY country",
    "SELECT season, avg(hours) FROM week JOIN calendar USING (week) GROUP BY season",
    "SELECT season, week, sum(hours) FROM week JOIN calendar USING (week) GROUP BY season, week",
    "SELECT country, avg(n) FROM (SELECT id, count(*) AS n FROM mail GROUP BY id) m JOIN person USING (id) GROUP BY country",
    "SELECT n, count(*) FROM (SELECT id, max(week) AS n FROM week GROUP BY id) t GROUP BY n",
    "SELECT w, avg(h) FROM (SELECT id, week AS w, max(hours) AS h FROM week GROUP BY id, week) t GROUP BY w",
    "SELECT country, avg(hours), count(w.id) FROM person p LEFT JOIN week w ON p.id = w.id GROUP BY country",
    "SELECT country, sum(size) FROM person p FULL JOIN mail m ON p.id = m.id GROUP BY country",
    "SELECT a.week, sum(a.hours - b.hours) FROM week a JOIN week b ON a.id = b.id AND a.week = b.week + 1 GROUP BY a.week",
    "SELECT sum(a.hours), count(*) FROM week a JOIN mail b USING (id)",
    "SELECT country, count(*), avg(hours) FROM person JOIN week USING (id) WHERE hours > 20 AND week > 2 GROUP BY country",
    "SELECT country, count(DISTINCT p.id) FROM person p JOIN week w ON p.id = w.id WHERE hours > 60 GROUP BY country",
    "SELECT week, week % 7, count(*) FROM week JOIN mail USING (id) GROUP BY 1, 2",
];

/// Two people alike in everything and one who has as much as counts: what a spoiled bound or bond would show in.
fn people() -> impl Strategy<Value = Vec<Person>> {
    let heavy = Person { country: 0, weeks: (0..30).map(|week| (week, 80.0)).collect(), mails: vec![1000; 120] };
    prop::collection::vec(person(), 2..5).prop_map(move |mut people| {
        people.push(heavy.clone());
        people.push(heavy.clone());
        people
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_spoiled_plan_is_refused_or_harmless(people in people(), seeds in prop::collection::vec(any::<u64>(), 40)) {
        let (mut refused, mut accepted) = (0, 0);
        for seed in seeds {
            let sql = HONEST[seed as usize % HONEST.len()];
            let Some((what, verified)) = mutated(sql, seed) else { continue };
            let Ok(verified) = verified else {
                refused += 1;
                continue;
            };
            accepted += 1;
            let release = &verified.releases()[0];
            if reads_a_release(release) {
                continue;
            }
            // A plan that does not run answers nothing.
            for without in [0, people.len() - 1] {
                let moved = runtime().block_on(moves(release, &people, without));
                prop_assert!(moved.as_ref().is_none_or(within), "seed {}: {}\n{}\nmoves {:?}", seed, sql, what, moved);
            }
        }
        prop_assert!(refused > 0 && accepted > 0, "{} refused, {} accepted", refused, accepted);
    }
}
