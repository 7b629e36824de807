//! What `dump` tells of threads, against a fixture that keeps each of its own in one state.
//!
//! No root needed: the fixture is of this user and lets itself be read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::fixture::Fixture;
use support::{Build, command};

fn threads(dump: &Value) -> Vec<&Value> {
    dump["threads"]
        .as_array()
        .expect("threads")
        .iter()
        .collect()
}

fn told(build: Build) {
    let fixture = Fixture::start(build, "stuck", &[]);
    // It says that it is ready just before it goes into block_on.
    std::thread::sleep(Duration::from_millis(200));
    let dump = command::dump(fixture.pid());
    let threads = threads(&dump);
    let polls = |fact: &str| {
        let id = &fixture.facts[fact]["id"];
        let mut polling = threads.iter().filter(|thread| &thread["polls"] == id);
        let thread = polling.next().copied();
        assert!(polling.next().is_none(), "{fact}: one thread polls {id}");
        thread
    };
    let sleeps = polls("sleeps").expect("a thread polls it");
    assert_eq!(sleeps["syscall"], "clock_nanosleep", "{sleeps}");
    assert_eq!(sleeps["parked"], false, "{sleeps}");
    let spins = polls("spins").expect("a thread polls it");
    assert_eq!((&spins["state"], spins.get("syscall")), (&"R".into(), None));
    assert!(spins["cpu_time"].as_u64() > sleeps["cpu_time"].as_u64());
    assert!(polls("closure").is_none(), "a closure is no async task");
    // Two workers, and the thread in block_on.
    let parked = threads.iter().filter(|thread| thread["parked"] == true);
    assert_eq!(parked.count(), 3, "{threads:?}");
    let inside = threads.iter().filter(|thread| thread["in_runtime"] == true);
    assert_eq!(inside.count(), 5, "{threads:?}");
    assert_eq!(threads.len(), 6);
    let run = command::run(&["dump", "--pid", &fixture.pid().to_string()]);
    let line = format!(
        "thread {} tokio-rt-worker polls {}, in clock_nanosleep",
        sleeps["tid"],
        fixture.facts["sleeps"]["id"].as_str().unwrap()
    );
    assert!(run.stdout.contains(&line), "{line}\n{}", run.stdout);
}

#[test]
fn threads_are_told_in_dev() {
    told(Build::Dev);
}

#[test]
fn threads_are_told_in_release() {
    told(Build::Release);
}

/// Without types, which thread polls is not known: nothing is said rather than something wrong.
#[test]
fn without_types_only_the_kernel_tells_of_threads() {
    let fixture = Fixture::start(Build::Stripped, "stuck", &[]);
    std::thread::sleep(Duration::from_millis(200));
    let dump = command::dump(fixture.pid());
    let threads = threads(&dump);
    assert_eq!(threads.len(), 6);
    assert!(threads.iter().all(|thread| thread.get("polls").is_none()));
    let sleeping = |thread: &&&Value| thread["syscall"] == "clock_nanosleep";
    assert_eq!(threads.iter().filter(sleeping).count(), 1, "{threads:?}");
    let parked: Vec<_> = threads
        .iter()
        .filter(|thread| thread["parked"] == true)
        .collect();
    let in_driver = |thread: &&&Value| thread["syscall"].as_str().unwrap().starts_with("epoll_");
    assert_eq!(
        parked.iter().filter(|thread| in_driver(thread)).count(),
        parked.len()
    );
}
