//! The audit: is what leaves the server as private as it was charged for? Asked over the wire, with the noise of the product.
//!
//! 20,000 pairs of neighbouring worlds a question. The whole audit fails for a private server with probability at most 1e-6.
//! Alone: `cargo test --test audit`. That it would notice is shown by `audit_mutants`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adversary;
mod support;

use adversary::cases::{self, Case, OF_A_PERSON, OF_MANY_GROUPS, OF_MANY_ROWS};
use adversary::{Promise, worlds};
use support::{TestServer, run};
use tokio_postgres::Client;

/// Blocks of one group: 20,000 of either world.
const GROUPS: i32 = 40_000;

/// Blocks of many groups: 1,250 of either world.
const BLOCKS: i32 = 2_500;

/// One measurement, several of one person, a share that selects, and a tree.
const UNDER_LAPLACE: [Case; 4] = [OF_A_PERSON[0], OF_A_PERSON[2], OF_A_PERSON[3], OF_A_PERSON[5]];

/// Split over every verdict of this file, with room.
const ALPHA: f64 = 1e-6 / 25.0;

async fn server() -> TestServer {
    let server = TestServer::start().await.with_people().await;
    run(&server.admin().await, "ALTER SYSTEM SET statement_timeout = '10min'").await;
    server
}

async fn nothing_is_excluded(server: &TestServer, cases: &[Case], blocks: i32) {
    holds(&server.analyst().await, Promise::DEFAULT, cases, blocks).await;
}

async fn holds(analyst: &Client, promise: Promise, cases: &[Case], blocks: i32) {
    for case in cases {
        let verdict = cases::attack(analyst, case, promise, blocks as usize, ALPHA).await;
        assert!(!verdict.is_excluded(), "{} tells the worlds apart: {verdict:?}", case.name);
        assert!(verdict.more.1 > 500, "too few samples to say anything: {verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_more_or_less_is_not_told() {
    let server = server().await;
    worlds::crowd(&server, GROUPS).await;
    nothing_is_excluded(&server, &OF_A_PERSON, GROUPS).await;
    let analyst = server.analyst().await;
    run(&analyst, "SET privacy.mechanism = 'laplace'").await;
    holds(&analyst, Promise::LAPLACE, &UNDER_LAPLACE, GROUPS).await;
    worlds::event(&server, GROUPS).await;
    nothing_is_excluded(&server, &OF_MANY_ROWS, GROUPS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_in_many_groups_is_not_told() {
    let server = server().await;
    worlds::visit(&server, BLOCKS).await;
    nothing_is_excluded(&server, &OF_MANY_GROUPS, BLOCKS).await;
}

/// At the largest delta that can be set, so that 20,000 groups of the floor could tell a larger one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_floor_is_exact_and_passed_no_more_often_than_delta_allows() {
    let server = server().await;
    run(&server.admin().await, "ALTER SYSTEM SET privacy.delta = 1e-5").await;
    for selected in cases::SELECT {
        let edges = cases::edges(&server, selected, 20_000, ALPHA).await;
        assert_eq!(edges.of_nine, 0);
        assert!(!edges.floor_is_broken(1e-5, ALPHA), "{edges:?}");
        assert!(!edges.at_threshold.is_excluded(), "{edges:?}");
    }
}
