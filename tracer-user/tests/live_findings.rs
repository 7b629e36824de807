//! Faults that show in events only: found by `check`, attached for a few seconds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use support::Build;
use support::faults::{check, compare_on, findings, in_words, markers};
use support::fixture::Fixture;
use support::lateness::Watch;

const SOURCES: &str = "src/bin/faults";

/// From this part of the time on in which a processor could not be had, findings on times are not
/// sure.
const LATE: f64 = 0.15;

/// Attaches to `faults FAULT...` and compares.
fn live(build: Build, faults: &[&str], seconds: &str, arguments: &[&str]) {
    let fixture = Fixture::start(build, "faults", faults);
    let pid = fixture.pid().to_string();
    let arguments = [&["--pid", &pid, "--duration", seconds], arguments].concat();
    let watch = Watch::start();
    let answer = check(&arguments);
    let late = watch.end().share();
    let name = format!("faults {} ({build:?})", faults.join(" "));
    eprintln!("{name}: the machine {:.1} % late", late * 100.0);
    // What looks the same when a machine has no time is only possible there.
    let surely = late < LATE;
    let markers = markers(&[SOURCES]);
    compare_on(&fixture.faults, &answer, &markers, surely).settle(&name);
}

/// Whatever holds a worker: asleep, computing, in a lock, in a read, in a resolver.
const BLOCKED: [&str; 5] = [
    "blocked_worker/sleeps",
    "blocked_worker/computes",
    "blocked_worker/std_mutex",
    "blocked_worker/reads",
    "blocked_worker/resolves",
];

#[test]
fn live_blocked_workers_are_found_by_what_blocks_them() {
    live(Build::Release, &BLOCKED, "4", &[]);
}

#[test]
fn live_blocked_workers_are_found_in_an_lto_build() {
    live(Build::Lto, &BLOCKED, "4", &[]);
}

#[test]
fn live_polls_below_the_threshold_are_no_finding() {
    let fixture = Fixture::start(Build::Release, "faults", &["blocked_worker/below"]);
    let pid = fixture.pid().to_string();
    let answer = check(&["--pid", &pid, "--duration", "2"]);
    for finding in findings(&answer) {
        let certainty = finding["certainty"].as_str();
        assert_eq!(certainty, Some("possible"), "{}", in_words(finding));
    }
    let answer = check(&["--pid", &pid, "--duration", "2", "--long-poll", "1ms"]);
    assert_eq!(findings(&answer)[0]["kind"], "blocked_worker");
}

#[test]
fn live_busy_polls_are_found() {
    for fault in ["wakes_itself", "two_tasks", "closed_channel", "ignored"] {
        live(Build::Release, &[&format!("busy_poll/{fault}")], "2", &[]);
    }
}

#[test]
fn live_busy_polls_are_found_in_an_lto_build() {
    live(Build::Lto, &["busy_poll/wakes_itself"], "2", &[]);
}

#[test]
fn live_tasks_that_wait_for_a_worker_are_found() {
    // Whose polls ask to sleep, and on a machine without a free CPU do so for long.
    let only = ["--only", "slow_to_run"];
    live(Build::Release, &["slow_to_run/queue"], "3", &only);
}

#[test]
fn live_a_task_unlike_its_equals_is_found() {
    let fault = "stalled/one_of_200";
    live(Build::Release, &[fault], "4", &["--stalled", "2s"]);
}

#[test]
fn live_growth_is_found() {
    // For less than twenty seconds it may be a rise in load.
    live(Build::Release, &["task_growth/per_tick"], "22", &[]);
}

#[test]
fn live_panics_are_found_with_their_await_tree() {
    live(Build::Release, &["panicked/nested"], "3", &[]);
}

/// What lies in memory is found while attached, too, and nothing else is.
#[test]
fn live_all_that_lies_in_memory_is_found_while_attached() {
    live(Build::Lto, &["all-now"], "3", &[]);
}
