//! The questions that the adversary asks, and what it makes of the answers.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::binomial::upper_tail;
use super::worlds::{self, WIDE, world_of};
use super::{Promise, Sample, Verdict, judge};
use crate::support::{TestServer, rows};

/// One statement about blocks of `wide` groups; its first column is the group.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub wide: i32,
    pub sql: &'static str,
}

const fn case(name: &'static str, wide: i32, sql: &'static str) -> Case {
    Case { name, wide, sql }
}

/// Pairs that differ by a person, whose measure lies far outside its bounds.
pub const OF_A_PERSON: [Case; 7] = [
    case("count", 1, "SELECT grp, count(*) FROM crowd GROUP BY grp"),
    case("sum", 1, "SELECT grp, sum(size) FROM crowd GROUP BY grp"),
    case("mean", 1, "SELECT grp, avg(size), count(*) FROM crowd GROUP BY grp"),
    case("share", 1, "SELECT grp, share(size > 60) FROM crowd GROUP BY grp"),
    case("distinct", 1, "SELECT grp, count(DISTINCT size) FROM crowd GROUP BY grp"),
    case(
        "quantile",
        1,
        "SELECT grp, median(size), percentile_cont(0.95) WITHIN GROUP (ORDER BY size) FROM crowd GROUP BY grp",
    ),
    case(
        "parts",
        1,
        "SELECT grp, count(*) FILTER (WHERE kind = 0), sum(size) FILTER (WHERE kind = 1) FROM crowd GROUP BY grp",
    ),
];

/// Pairs that differ by a person with many rows.
pub const OF_MANY_ROWS: [Case; 3] = [
    case("rows", 1, "SELECT grp, count(*), count(DISTINCT person) FILTER (WHERE kind >= 0) FROM event GROUP BY grp"),
    case(
        "join",
        1,
        "SELECT crowd.grp, count(*), avg(event.size) FROM crowd JOIN event USING (person) GROUP BY crowd.grp",
    ),
    case(
        "nested",
        1,
        "SELECT crowd.grp, avg(n), sum(n) FROM crowd JOIN (SELECT person, count(*) AS n FROM event GROUP BY person) AS e \
         USING (person) GROUP BY crowd.grp",
    ),
];

/// Pairs that differ by a person in many groups.
pub const OF_MANY_GROUPS: [Case; 3] = [
    case("groups", WIDE, "SELECT grp, count(*) FROM visit GROUP BY grp"),
    case("members", WIDE, "SELECT grp, count(DISTINCT person) FROM visit GROUP BY grp"),
    case("sums", WIDE, "SELECT grp, sum(size) FROM visit GROUP BY grp"),
];

/// Each world's samples. A block of several groups becomes the sum, the ends and the spread of each column over its groups.
pub async fn samples(analyst: &Client, case: &Case, blocks: usize) -> [Vec<Sample>; 2] {
    let mut answers: BTreeMap<i32, Vec<f64>> = BTreeMap::new();
    let mut columns = 0;
    for row in rows(analyst, case.sql).await {
        let grp: i32 = row[0].as_ref().unwrap().parse().unwrap();
        let values: Vec<f64> =
            row[1..].iter().map(|value| value.as_ref().map_or(f64::NAN, |value| value.parse().unwrap())).collect();
        columns = values.len();
        answers.insert(grp, values);
    }
    let mut worlds = [Vec::new(), Vec::new()];
    for block in 0..blocks as i32 {
        let (world, _) = world_of(block * case.wide, case.wide);
        let groups: Vec<Option<&Vec<f64>>> =
            (0..case.wide).map(|offset| answers.get(&(block * case.wide + offset))).collect();
        let sample = (0..columns).flat_map(|c| {
            let values: Vec<f64> = groups.iter().map(|group| group.map_or(f64::NAN, |values| values[c])).collect();
            if case.wide == 1 { values } else { of_block(&values) }
        });
        worlds[world].push(sample.collect());
    }
    worlds
}

fn of_block(values: &[f64]) -> Vec<f64> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    vec![values.iter().sum(), least, most, most - least]
}

/// Asks and judges. `blocks` as the file has.
pub async fn attack(analyst: &Client, case: &Case, promise: Promise, blocks: usize, alpha: f64) -> Verdict {
    let worlds = samples(analyst, case, blocks).await;
    let verdict = judge([&worlds[0], &worlds[1]], promise, alpha);
    println!(
        "{}: epsilon {} more {:?} less {:?} excess {:.4}",
        case.name, verdict.epsilon, verdict.more, verdict.less, verdict.excess
    );
    verdict
}

/// The threshold τ of a statement over one-row persons, as EXPLAIN says it; it depends on no data.
async fn threshold(analyst: &Client, sql: &str) -> usize {
    let lines = rows(analyst, &format!("EXPLAIN (PRIVACY) {sql}")).await;
    let line = lines.iter().filter_map(|row| row[0].as_ref()).find(|line| line.contains("threshold (tau)"));
    let number = line.unwrap().split_whitespace().find_map(|word| word.parse().ok());
    number.unwrap()
}

/// What groups are selected by: their persons, and the two counts of a share.
pub const SELECT: [(&str, &str); 2] = [("count", "count(*)"), ("share", "share(size > 60)")];

/// What is shown of groups below the floor, at the floor, and on either side of the threshold.
#[derive(Debug)]
pub struct Edges {
    pub of_nine: u64,
    pub of_ten: u64,
    pub groups: u64,
    /// P[shown] of one person less than the threshold against P[shown] at it.
    pub at_threshold: Verdict,
}

impl Edges {
    /// Would so many groups of ten pass with probability at most `alpha`, were each let through with probability `delta`?
    pub fn floor_is_broken(&self, delta: f64, alpha: f64) -> bool {
        self.of_nine > 0 || upper_tail(self.of_ten, self.groups, delta) < alpha
    }
}

/// Groups that `value`, which is called `name`, is asked of.
pub async fn edges(server: &TestServer, (name, value): (&str, &str), groups: i32, alpha: f64) -> Edges {
    let [small, edge] = ["small", "edge"].map(|kind| format!("{kind}_{name}"));
    let of = |table: &str| format!("SELECT kind, grp, {value} FROM {table} GROUP BY kind, grp");
    worlds::sizes(server, &small, groups, &[9, 10]).await;
    let analyst = server.analyst().await;
    let tau = threshold(&analyst, &of(&small)).await;
    worlds::sizes(server, &edge, groups, &[tau - 1, tau]).await;
    let shown = |answer: Vec<Vec<Option<String>>>| -> [Vec<Sample>; 2] {
        let mut samples = [vec![vec![f64::NAN]; groups as usize], vec![vec![f64::NAN]; groups as usize]];
        for row in answer {
            let number = |i: usize| row[i].as_ref().unwrap().parse::<usize>().unwrap();
            samples[number(0)][number(1)] = vec![row[2].as_ref().unwrap().parse().unwrap()];
        }
        samples
    };
    let small = shown(rows(&analyst, &of(&small)).await);
    let edge = shown(rows(&analyst, &of(&edge)).await);
    let passed = |samples: &[Sample]| samples.iter().filter(|sample| sample[0].is_finite()).count() as u64;
    let at_threshold = judge([&edge[0], &edge[1]], Promise::DEFAULT, alpha);
    println!("edges of {name}: tau {tau}, of ten {}, {at_threshold:?}", passed(&small[1]));
    Edges { of_nine: passed(&small[0]), of_ten: passed(&small[1]), groups: groups as u64, at_threshold }
}
