//! Faults that lie in memory: found by `check --now`, without probes or root, in each build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use support::Build;
use support::faults::{check, compare, findings, in_words, markers, now};
use support::fixture::Fixture;

const SOURCES: &str = "src/bin/faults";

fn all_now(build: Build, arguments: &[&str]) {
    let arguments = [&["all-now"], arguments].concat();
    let (fixture, answer) = now(build, &arguments);
    assert!(fixture.faults.len() > 30, "{} faults", fixture.faults.len());
    let name = format!("faults {} ({build:?})", arguments.join(" "));
    compare(&fixture.faults, &answer, &markers(&[SOURCES])).settle(&name);
}

#[test]
fn all_that_lies_in_memory_is_found_in_a_dev_build() {
    all_now(Build::Dev, &[]);
}

#[test]
fn all_that_lies_in_memory_is_found_in_a_release_build() {
    all_now(Build::Release, &[]);
}

#[test]
fn all_that_lies_in_memory_is_found_in_an_lto_build() {
    all_now(Build::Lto, &[]);
}

#[test]
fn all_that_lies_in_memory_is_found_on_a_current_thread_runtime() {
    all_now(Build::Release, &["--current-thread"]);
}

/// One in twenty above two hundred requests a second: as many as the program knows of, as one
/// finding; at a hundred a second there is none.
#[test]
fn what_is_lost_above_a_rate_only_is_one_finding_with_its_count() {
    let (fixture, answer) = now(Build::Release, &["lost_wake/above_200"]);
    let count = fixture.faults[0]["count"].as_u64().expect("a count");
    assert!(count > 5, "{count} were lost");
    compare(&fixture.faults, &answer, &markers(&[SOURCES])).settle("above_200");

    let (_calm, answer) = now(Build::Release, &["lost_wake/above_200", "--calm"]);
    let found = findings(&answer);
    assert!(found.is_empty(), "{}", in_words(&found[0]));
}

/// A poll that never comes back shows in memory, too.
#[test]
fn a_worker_that_is_blocked_for_ever_is_found_from_memory() {
    let (fixture, answer) = now(Build::Release, &["blocked_worker/for_ever"]);
    compare(&fixture.faults, &answer, &markers(&[SOURCES])).settle("for_ever");
}

/// Loads that events find faults in, or none, make no false alarm when memory alone is looked at.
#[test]
fn healthy_memory_gives_no_finding() {
    for fault in ["blocked_worker/below", "stalled/one_of_200"] {
        let (_fixture, answer) = now(Build::Release, &[fault]);
        for finding in findings(&answer) {
            let certainty = finding["certainty"].as_str();
            assert_eq!(
                certainty,
                Some("possible"),
                "{fault}: {}",
                in_words(finding)
            );
        }
    }
}

/// What is not asked for is left out, of the exit code, too.
#[test]
fn only_kinds_and_certainties_that_are_asked_for_are_told() {
    let fixture = Fixture::start(
        Build::Dev,
        "faults",
        &["lost_wake/no_waker", "wait_cycle/itself"],
    );
    let pid = fixture.pid().to_string();
    let answer = check(&["--pid", &pid, "--now", "--only", "lost_wake"]);
    let kinds: Vec<_> = findings(&answer).iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["lost_wake"]);
    let answer = check(&["--pid", &pid, "--now", "--only", "busy_poll"]);
    assert!(findings(&answer).is_empty());
}
