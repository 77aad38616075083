//! Plans that the rewrite would never make: the verifier refuses each, for a reason of its own.
//!
//! Every case takes a good plan, of which it says that it is proven, and spoils one thing by hand. `above`: what stands on the
//! releases; `below`: rows of persons; `linked`: rows that find their person through another table; `priced`: noise, floor, threshold and charge; `scoped`: rows that rules take out;
//! `shown`: rows that are shown; `classed`: columns that the asker may not read. `mutations` spoils at random.

mod above;
mod below;
mod classed;
pub(crate) mod dice;
mod hand;
mod linked;
pub(crate) mod mutations;
mod priced;
mod scoped;
mod shown;

use super::compile_tests::private;
use super::private::Private;
use super::{Context, verify};

pub(super) const COUNTRY: &str = "SELECT country, count(*) FROM person GROUP BY country";
pub(super) const LAPLACE_COUNTRY: &str = "/* laplace */ SELECT country, count(*) FROM person GROUP BY country";
pub(super) const LAPLACE_WEEKS: &str = "/* laplace */ SELECT week, sum(hours), count(*) FROM week GROUP BY week";
pub(super) const WEEKS: &str = "SELECT week, sum(hours), count(*) FROM week GROUP BY week";
pub(super) const MAIL: &str = "SELECT sum(size), count(*) FROM mail";
pub(super) const PART: &str = "SELECT sum(size) FILTER (WHERE size > 100) FROM mail";
pub(super) const SHARE: &str =
    "SELECT country, share(hours > 9) FILTER (WHERE week > 5) FROM person JOIN week USING (id) GROUP BY country";
pub(super) const LAPLACE_SHARE: &str = "/* laplace */ SELECT share(hours > 9) FROM week";
/// Its two counts select.
pub(super) const PERSONS_SHARE: &str = "SELECT country, share(h > 9) FROM (SELECT id, avg(hours) AS h FROM week GROUP BY id) w JOIN person USING (id) \
     GROUP BY country";
pub(super) const JOINED: &str = "SELECT country, avg(hours) FROM person JOIN week USING (id) GROUP BY country";
pub(super) const NESTED: &str = "SELECT country, avg(n) FROM (SELECT id, count(*) AS n FROM mail GROUP BY id) m \
     JOIN person USING (id) GROUP BY country";
pub(super) const PROFILE: &str =
    "SELECT country, count(DISTINCT id) FROM person JOIN week USING (id) WHERE hours > 60 GROUP BY country";
pub(super) const TWO: &str = "WITH m AS (SELECT avg(hours) AS a FROM week) SELECT country, count(DISTINCT id) FROM week \
     JOIN person USING (id) CROSS JOIN m WHERE hours > m.a GROUP BY country";

/// One thing that is wrong, in a plan that is right otherwise.
pub(super) struct Bad {
    pub what: &'static str,
    pub sql: &'static str,
    /// Part of the verifier's reason.
    pub reason: &'static str,
    pub spoil: fn(&mut Context, &mut Private),
}

pub(super) fn bad(
    what: &'static str,
    sql: &'static str,
    reason: &'static str,
    spoil: fn(&mut Context, &mut Private),
) -> Bad {
    Bad { what, sql, reason, spoil }
}

/// What is wrong with the verifier's answer; nothing where it refuses for the reason given.
fn fault(bad: &Bad) -> Option<String> {
    let (context, honest) = private(bad.sql).unwrap();
    if verify(&context, honest).is_err() {
        return Some(format!("{}: the honest plan is not proven", bad.what));
    }
    let (mut context, mut spoiled) = private(bad.sql).unwrap();
    let spoiling = std::panic::AssertUnwindSafe(|| (bad.spoil)(&mut context, &mut spoiled));
    if std::panic::catch_unwind(spoiling).is_err() {
        return Some(format!("{}: could not be made", bad.what));
    }
    super::verify::REASON.take();
    match verify(&context, spoiled) {
        Ok(_) => Some(format!("{}: accepted", bad.what)),
        Err(error) => {
            let reason = super::verify::REASON.take();
            let expected = error.sqlstate.code() == "XX000" && reason.contains(bad.reason);
            (!expected).then(|| format!("{}: refused for {reason:?} ({error}), not for {:?}", bad.what, bad.reason))
        }
    }
}

fn all() -> Vec<Bad> {
    [
        above::cases(),
        below::of_rows(),
        below::of_joins(),
        classed::cases(),
        linked::cases(),
        priced::cases(),
        scoped::cases(),
        shown::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_bad_plan_is_refused_for_its_own_reason() {
    let faults: Vec<String> = all().iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn there_are_many_and_no_two_are_one() {
    let names: std::collections::BTreeSet<&str> = all().iter().map(|bad| bad.what).collect();
    assert_eq!(names.len(), all().len());
    assert!(names.len() >= 40, "{}", names.len());
}
