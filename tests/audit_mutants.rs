//! The audit is itself tested: a server that is broken on purpose is caught, each way of breaking it by the question it belongs to.
//!
//! `cargo test --features mutants --test audit_mutants`. A mutant lives in a process of its own, chosen by `PARAVENT_MUTANT`; it
//! sits below the verifier, which would refuse a plan that does as much. The whole server is asked the same questions as in
//! `audit`, and must not be caught.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adversary;
mod support;

use std::process::Command;

use adversary::cases::{self, Case, OF_A_PERSON, OF_MANY_GROUPS, OF_MANY_ROWS};
use adversary::{Promise, worlds};
use paravent_udfs::mutants::Mutant;
use support::{TestServer, run};

/// Fewer than in the audit: a mutant leaves its tracks everywhere.
const GROUPS: i32 = 6_000;
const BLOCKS: i32 = 2_000;

/// As in the audit, for every verdict.
const ALPHA: f64 = 1e-6 / 25.0;

/// The questions by which this process's server is told from a private one, as a line of its output.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "what the other tests of this file start"]
async fn attack_this_process() {
    let server = TestServer::start().await.with_people().await;
    run(&server.admin().await, "ALTER SYSTEM SET statement_timeout = '10min'").await;
    worlds::crowd(&server, GROUPS).await;
    worlds::event(&server, GROUPS).await;
    worlds::visit(&server, BLOCKS).await;
    let analyst = server.analyst().await;
    let mut caught = Vec::new();
    let of_one = OF_A_PERSON.iter().chain(&OF_MANY_ROWS).map(|case| (case, GROUPS));
    for (case, blocks) in of_one.chain(OF_MANY_GROUPS.iter().map(|case| (case, BLOCKS))) {
        if cases::attack(&analyst, case, Promise::DEFAULT, blocks as usize, ALPHA).await.is_excluded() {
            caught.push(case.name.to_owned());
        }
    }
    run(&analyst, "SET privacy.mechanism = 'laplace'").await;
    let laplace = Case { name: "laplace", ..OF_A_PERSON[0] };
    if cases::attack(&analyst, &laplace, Promise::LAPLACE, GROUPS as usize, ALPHA).await.is_excluded() {
        caught.push(laplace.name.to_owned());
    }
    for selected in cases::SELECT {
        let edges = cases::edges(&server, selected, 2_000, ALPHA).await;
        if edges.floor_is_broken(1e-9, ALPHA) {
            caught.push(format!("floor_{}", selected.0));
        }
        if edges.at_threshold.is_excluded() {
            caught.push(format!("threshold_{}", selected.0));
        }
    }
    println!("caught by: {};", caught.join(" "));
}

/// The names of the questions that caught it.
fn caught(mutant: Option<Mutant>) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "attack_this_process", "--ignored", "--nocapture"]).env_remove("PARAVENT_MUTANT");
    if let Some(mutant) = mutant {
        child.env("PARAVENT_MUTANT", mutant.name());
    }
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{mutant:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = said.split("caught by: ").nth(1).unwrap_or_else(|| panic!("no verdict: {said}"));
    println!("{mutant:?}\n{said}");
    line.split(';').next().unwrap().split_whitespace().map(str::to_owned).collect()
}

fn is_caught(mutant: Mutant, by: &[&str]) {
    let caught = caught(Some(mutant));
    for question in by {
        assert!(caught.iter().any(|name| name == question), "{mutant:?} was not caught by {question}: {caught:?}");
    }
}

#[test]
fn a_server_without_a_defect_is_not_caught() {
    assert_eq!(caught(None), Vec::<String>::new());
}

#[test]
fn half_the_noise_is_caught() {
    is_caught(Mutant::HalfNoise, &["count", "laplace"]);
}

#[test]
fn values_beyond_their_bounds_are_caught() {
    is_caught(Mutant::NoClamp, &["sum", "mean"]);
}

#[test]
fn rows_counted_as_persons_are_caught() {
    is_caught(Mutant::RowsAsPersons, &["rows", "groups"]);
}

#[test]
fn noise_shared_between_groups_is_caught() {
    is_caught(Mutant::SharedNoise, &["groups", "sums"]);
}

#[test]
fn a_threshold_on_the_exact_count_is_caught() {
    is_caught(Mutant::ExactThreshold, &["threshold_count", "threshold_share"]);
}

#[test]
fn a_person_in_more_groups_than_were_paid_for_is_caught() {
    let caught = caught(Some(Mutant::UnboundedGroups));
    assert!(caught.iter().any(|name| ["groups", "members", "sums"].contains(&name.as_str())), "{caught:?}");
}

#[test]
fn every_mutant_has_a_test() {
    let source = include_str!("audit_mutants.rs");
    for mutant in Mutant::ALL {
        assert!(
            source.contains(&format!("(Mutant::{mutant:?}")) || source.contains(&format!("Some(Mutant::{mutant:?})")),
            "{mutant:?}"
        );
    }
}
