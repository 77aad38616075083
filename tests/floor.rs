//! The floor, tried ten thousand times in one statement (W3: a group of 9 never, a group of 200 always).
//!
//! 10,000 groups of 9 persons and 10,000 groups of 200, each with noise of its own, asked over the wire at epsilon 1. A group of 9
//! passes with probability 0: the floor is exact. A group of 200 fails with probability below 1e-300 (sigma 1, threshold below 30).
//! The groups of 10 between them, exactly at the floor, are what the threshold is for: one passes with probability below 1e-9.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fmt::Write;

use support::{TestServer, rows, run};

const GROUPS: usize = 10_000;

/// One row a person: `size` persons in each of `GROUPS` groups, groups of each size numbered from 0.
fn persons(sizes: &[usize]) -> String {
    let mut csv = String::from("person,size,grp\n");
    let mut person = 0;
    for size in sizes {
        for group in 0..GROUPS {
            for _ in 0..*size {
                writeln!(csv, "{person},{size},{group}").unwrap();
                person += 1;
            }
        }
    }
    csv
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_nine_is_never_shown_and_one_of_two_hundred_always() {
    let server = TestServer::start().await.with_people().await;
    server.file("crowd.csv", &persons(&[9, 10, 200]));
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE crowd STORED AS CSV LOCATION 'crowd.csv'",
        "ALTER TABLE crowd ADD PRIMARY KEY (person)",
        "ALTER TABLE crowd SET (person_key = 'person')",
        "ALTER TABLE crowd ALTER COLUMN size SET (class = 'attribute')",
        "ALTER TABLE crowd ALTER COLUMN grp SET (class = 'attribute')",
        "GRANT SELECT ON crowd TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    let analyst = server.analyst().await;
    let shown = "SELECT size, count(*) AS groups, min(n) AS smallest FROM \
                 (SELECT size, grp, count(*) AS n FROM crowd GROUP BY size, grp) AS released GROUP BY size ORDER BY size";
    let answer = rows(&analyst, shown).await;
    assert_eq!(answer.len(), 1, "only the groups of 200 are there: {answer:?}");
    assert_eq!(answer[0][0].as_deref(), Some("200"));
    assert_eq!(answer[0][1].as_deref(), Some("10000"), "all of them");

    // Raising the floor takes effect at once, in this open session and for the answer that is stored.
    run(&admin, "ALTER SYSTEM SET privacy.min_group_size = 300").await;
    assert_eq!(rows(&analyst, shown).await.len(), 0);
}
