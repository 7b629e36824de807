//! `asynctrace dump` of real processes against the truth that they carry.
//!
//! No root needed: the fixtures are of this user and let themselves be read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::directives::Truth;
use support::expect::{Complaints, check_counts, check_tasks, check_tree};
use support::fixture::Fixture;
use support::tree::nodes;
use support::{Build, command};

const MULTI: &[&str] = &[];
const CURRENT: &[&str] = &["--current-thread"];

/// Every await shape has the tree that stands in its source; every task is counted.
fn shapes(build: Build, arguments: &[&str]) {
    whole("shapes", build, arguments, |dump, _, complaints| {
        complaints.unless(
            dump["coverage"]["opaque_nodes"] == 0,
            format!("opaque nodes: {}", dump["coverage"]["opaque_nodes"]),
        );
    });
}

/// Every kind of leaf says what it waits for, with the values that the process knows.
fn leaves(build: Build, arguments: &[&str]) {
    whole("leaves", build, arguments, |dump, fixture, complaints| {
        check_join_set(dump, fixture, complaints);
    });
}

fn whole(
    name: &str,
    build: Build,
    arguments: &[&str],
    further: impl Fn(&Value, &Fixture, &mut Complaints),
) {
    let truth = Truth::of(name);
    let mut fixture = Fixture::start(build, name, arguments);
    let dump = command::dump(fixture.pid());
    let mut complaints = check_tasks(&dump, &fixture, &truth, name);
    check_counts(&dump, fixture.count("alive_tasks"), &mut complaints);
    let announced: BTreeSet<&str> = fixture.tasks.iter().map(|task| &*task.name).collect();
    for name in truth.tasks.keys() {
        let told = announced.contains(name.as_str());
        complaints.unless(told, format!("{name}: a truth, but no such task"));
    }
    let scheduler = if arguments.is_empty() {
        "multi_thread"
    } else {
        "current_thread"
    };
    for task in dump["tasks"].as_array().into_iter().flatten() {
        complaints.unless(
            task["scheduler"] == scheduler && task["runtime"] == "tokio",
            format!(
                "{}: of {} {}",
                task["id"], task["runtime"], task["scheduler"]
            ),
        );
    }
    further(&dump, &fixture, &mut complaints);
    complaints.unless(fixture.is_alive(), "the fixture did not survive");
    complaints.settle(&format!("{name}, {build:?} {arguments:?}"));
}

/// The owner of a `JoinSet` waits for exactly its members.
fn check_join_set(dump: &Value, fixture: &Fixture, complaints: &mut Complaints) {
    let members: BTreeSet<&str> = fixture.facts["join_set_members"]["ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let owner = fixture.tasks.iter().find(|task| task.name == "join_set");
    let owner = owner.and_then(|owner| support::expect::task(dump, &owner.id));
    let seen: BTreeSet<&str> = owner
        .map(|owner| nodes(&owner["tree"]))
        .into_iter()
        .flatten()
        .filter_map(|node| node["waits_for"]["tasks"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    complaints.unless(
        members == seen,
        format!("join_set: members {members:?}, but seen were {seen:?}"),
    );
}

#[test]
fn shapes_dev_multi_thread() {
    shapes(Build::Dev, MULTI);
}

#[test]
fn shapes_dev_current_thread() {
    shapes(Build::Dev, CURRENT);
}

#[test]
fn shapes_release_multi_thread() {
    shapes(Build::Release, MULTI);
}

#[test]
fn shapes_release_current_thread() {
    shapes(Build::Release, CURRENT);
}

#[test]
fn shapes_lto_multi_thread() {
    shapes(Build::Lto, MULTI);
}

#[test]
fn shapes_lto_current_thread() {
    shapes(Build::Lto, CURRENT);
}

#[test]
fn leaves_dev_multi_thread() {
    leaves(Build::Dev, MULTI);
}

#[test]
fn leaves_dev_current_thread() {
    leaves(Build::Dev, CURRENT);
}

#[test]
fn leaves_release_multi_thread() {
    leaves(Build::Release, MULTI);
}

#[test]
fn leaves_release_current_thread() {
    leaves(Build::Release, CURRENT);
}

#[test]
fn leaves_lto_multi_thread() {
    leaves(Build::Lto, MULTI);
}

#[test]
fn leaves_lto_current_thread() {
    leaves(Build::Lto, CURRENT);
}

/// Several runtimes, a `LocalSet` and the roots of `block_on` in one process.
fn runtimes(build: Build) {
    let truth = Truth::of("runtimes");
    let fixture = Fixture::start(build, "runtimes", &[]);
    let dump = command::dump(fixture.pid());
    let mut complaints = check_tasks(&dump, &fixture, &truth, "runtimes");
    let all = fixture.count("alive_tasks") + fixture.count("local_tasks");
    check_counts(&dump, all, &mut complaints);
    let tasks: Vec<&Value> = dump["tasks"].as_array().into_iter().flatten().collect();
    for (scheduler, count) in [("multi_thread", 6), ("current_thread", 3), ("local_set", 3)] {
        let seen = tasks.iter().filter(|task| {
            let id = task["id"].as_str().unwrap_or_default();
            task["scheduler"] == scheduler && !id.contains("/block_on/")
        });
        let seen = seen.count();
        complaints.unless(
            seen == count,
            format!("{count} tasks are of a {scheduler}, seen {seen}"),
        );
    }
    // Work of `spawn_blocking` is a thread's, not an async task.
    let blocking = &fixture.facts["blocking"]["id"];
    complaints.unless(
        tasks.iter().all(|task| task["id"] != *blocking),
        "blocking work is listed as a task",
    );
    // A root has no task id: it is known by its tree.
    let roots: Vec<&Value> = tasks
        .into_iter()
        .filter(|task| {
            let id = task["id"].as_str().unwrap_or_default();
            id.starts_with("tokio/block_on/")
        })
        .collect();
    complaints.unless(
        roots.len() as u64 == fixture.count("block_on_roots"),
        format!("{} block_on roots seen", roots.len()),
    );
    for (name, expected) in &truth.roots {
        let found = roots.iter().any(|root| {
            let mut wrong = Complaints::default();
            check_tree(name, root, expected, "runtimes", &mut wrong);
            wrong.is_empty()
        });
        if !found {
            let trees: String = roots
                .iter()
                .map(|root| support::expect::outline(&root["tree"], 2))
                .collect();
            complaints.add(format!(
                "block_on {name}: no root is\n{expected}  seen were\n{trees}"
            ));
        }
    }
    complaints.settle(&format!("runtimes, {build:?}"));
}

#[test]
fn runtimes_dev() {
    runtimes(Build::Dev);
}

#[test]
fn runtimes_release() {
    runtimes(Build::Release);
}

#[test]
fn runtimes_lto() {
    runtimes(Build::Lto);
}

/// `--task` gives that task and no other.
#[test]
fn one_task_alone() {
    let fixture = Fixture::start(Build::Release, "leaves", MULTI);
    let pid = fixture.pid().to_string();
    let wanted = &fixture.tasks[3].id;
    let run = command::run(&["dump", "--pid", &pid, "--json", "--task", wanted]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let dump: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let ids: Vec<_> = dump["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .map(|task| &task["id"])
        .collect();
    assert_eq!(ids, [wanted]);
}

/// Without debug information every task is still listed and counted; what cannot be known is said
/// with its reason and with what would help.
fn without_debug_information(build: Build, level: &str) {
    let fixture = Fixture::start(build, "leaves", MULTI);
    let dump = command::dump(fixture.pid());
    let mut complaints = Complaints::default();
    complaints.unless(
        dump["coverage"]["debug_info"] == level,
        format!("coverage: {}", dump["coverage"]),
    );
    check_counts(&dump, fixture.count("alive_tasks"), &mut complaints);
    let announced: BTreeSet<&str> = fixture.tasks.iter().map(|task| &*task.id).collect();
    for task in dump["tasks"].as_array().into_iter().flatten() {
        let id = task["id"].as_str().unwrap_or_default();
        complaints.unless(announced.contains(id), format!("{id} was not announced"));
        let reasons = task["notes"].as_array().map_or(0, Vec::len);
        complaints.unless(
            task["tree"].is_null() && reasons > 0,
            format!("{id}: a tree without types, or no reason given: {task}"),
        );
    }
    let warnings = dump["warnings"].to_string();
    complaints.unless(
        warnings.contains("debug = 2"),
        format!("the profile line that would help is not in the warnings: {warnings}"),
    );
    complaints.settle(&format!("leaves, {build:?}"));
}

#[test]
fn default_release() {
    without_debug_information(Build::Plain, "symbols");
}

#[test]
fn stripped() {
    without_debug_information(Build::Stripped, "none");
}

/// With lines for backtraces there are names of functions, and so of futures: the same as with types.
#[test]
fn lines_only() {
    without_debug_information(Build::Lines, "symbols");
    let [typed, named] = [Build::Release, Build::Lines].map(|build| {
        let fixture = Fixture::start(build, "leaves", MULTI);
        let dump = command::dump(fixture.pid());
        let tasks = dump["tasks"].as_array().expect("tasks").iter();
        // Without types there are no roots of `block_on`.
        let tasks = tasks.filter(|task| !task["id"].as_str().unwrap_or("").contains("block_on"));
        let mut futures: Vec<String> = tasks.map(|task| task["future"].to_string()).collect();
        futures.sort();
        futures
    });
    assert!(typed.len() > 20, "{typed:?}");
    assert_eq!(named, typed);
}

/// Dumps of a program at full work: never a failure, a wrong count or a torn tree shown as whole.
#[test]
fn under_load() {
    let mut fixture = Fixture::start(
        Build::Release,
        "busy",
        &["--pairs", "20", "--yielders", "2", "--sleepers", "200"],
    );
    let mut complaints = Complaints::default();
    for round in 0..10 {
        let dump = command::dump(fixture.pid());
        check_counts(&dump, 242, &mut complaints);
        let torn = dump["coverage"]["torn_tasks"].as_u64();
        complaints.unless(
            torn.is_some_and(|torn| torn <= 42),
            format!("round {round}: {torn:?} torn, but 200 only sleep"),
        );
        let sleeping = dump["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|task| {
                !task["tree"].is_null()
                    && nodes(&task["tree"]).iter().any(|node| {
                        node["future"]
                            .as_str()
                            .is_some_and(|f| f.contains("busy::sleeper"))
                    })
            });
        let sleeping = sleeping.count();
        complaints.unless(
            sleeping == 200,
            format!("round {round}: {sleeping} of 200 sleepers have their tree"),
        );
    }
    complaints.unless(fixture.is_alive(), "the fixture did not survive");
    complaints.settle("busy, release");
}
