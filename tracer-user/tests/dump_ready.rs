//! Whether leaves say that they are ready, why, and whom they will wake: against fixtures in which
//! that is known.
//!
//! No root needed: the fixtures are of this user and let themselves be read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use serde_json::Value;
use support::expect::{Complaints, task};
use support::fixture::Fixture;
use support::tree::nodes;
use support::{Build, command};

const MULTI: &[&str] = &[];
const CURRENT: &[&str] = &["--current-thread"];

fn waits(task: &Value) -> Vec<&Value> {
    nodes(&task["tree"])
        .into_iter()
        .filter(|node| !matches!(node["state"].as_str(), Some("unresumed" | "returned")))
        .map(|node| &node["waits_for"])
        .filter(|wait| !wait.is_null())
        .collect()
}

/// In a program in which nothing is ready, no leaf says so; each keeps the waker of its own task, and
/// every task has a waker left.
fn nothing_is_ready(build: Build, arguments: &[&str]) {
    let fixture = Fixture::start(build, "leaves", arguments);
    let dump = command::dump(fixture.pid());
    let mut complaints = Complaints::default();
    complaints.unless(fixture.tasks.len() > 25, "the fixture has its tasks");
    for announced in &fixture.tasks {
        let name = &announced.name;
        let Some(task) = task(&dump, &announced.id) else {
            complaints.add(format!("{name}: not listed"));
            continue;
        };
        let waits = waits(task);
        complaints.unless(!waits.is_empty(), format!("{name} waits for something"));
        for wait in waits {
            // Whether a pipe has something the kernel does not tell us; the driver does.
            complaints.unless(
                wait["ready"] == false && wait["waker"] == "own",
                format!("{name}: {wait}"),
            );
        }
        complaints.unless(
            task["wakers"].as_u64().is_some_and(|wakers| wakers >= 1),
            format!("{name}: wakers {}", task["wakers"]),
        );
        complaints.unless(
            task.get("cancelled").is_none(),
            format!("{name}: cancelled"),
        );
    }
    // Both ends of a join speak of each other.
    let of = |name: &str| {
        let announced = fixture.tasks.iter().find(|task| task.name == name);
        task(&dump, &announced.expect("announced").id).expect("listed")
    };
    complaints.unless(
        of("join_target")["joined_by"] == of("join")["address"],
        format!(
            "join_target is joined by {}",
            of("join_target")["joined_by"]
        ),
    );
    complaints.settle(&format!("leaves, {build:?} {arguments:?}"));
}

/// Every kind of leaf that is ready and was not polled since says so, and why.
fn all_is_ready(build: Build, arguments: &[&str]) {
    let fixture = Fixture::start(build, "ready", arguments);
    let dump = command::dump(fixture.pid());
    let mut complaints = Complaints::default();
    complaints.unless(fixture.tasks.len() > 15, "the fixture has its tasks");
    for announced in &fixture.tasks {
        let name = &announced.name;
        let Some(task) = task(&dump, &announced.id) else {
            complaints.add(format!("{name}: not listed"));
            continue;
        };
        let expected = announced.waits_for.as_ref().expect("told");
        let expected = expected.as_object().expect("an object");
        let waits = waits(task);
        let fits = |wait: &&Value| {
            let mut fields = expected.iter();
            fields.all(|(field, value)| wait.get(field) == Some(value))
        };
        complaints.unless(
            waits.iter().any(fits),
            format!("{name}: it told {expected:?}, but seen was {waits:?}"),
        );
        complaints.unless(
            task["state"] == "idle",
            format!("{name}: {}", task["state"]),
        );
        // What wakes takes the waker out. A oneshot wakes by reference, and a task that has
        // finished keeps the waker of who awaited it as long as its handle is kept.
        let wakers =
            u64::from(name.starts_with("oneshot") || matches!(&**name, "join" | "hand_own"));
        complaints.unless(
            task["wakers"].as_u64() == Some(wakers),
            format!("{name}: wakers {}, not {wakers}", task["wakers"]),
        );
    }
    complaints.settle(&format!("ready, {build:?} {arguments:?}"));
}

macro_rules! in_each_build {
    ($($name:ident: $build:ident $arguments:ident;)*) => {
        mod nothing {
            use super::*;
            $(#[test]
            fn $name() {
                nothing_is_ready(Build::$build, $arguments);
            })*
        }
        mod all {
            use super::*;
            $(#[test]
            fn $name() {
                all_is_ready(Build::$build, $arguments);
            })*
        }
    };
}

in_each_build! {
    dev_multi_thread: Dev MULTI;
    dev_current_thread: Dev CURRENT;
    release_multi_thread: Release MULTI;
    release_current_thread: Release CURRENT;
    lto_multi_thread: Lto MULTI;
    lto_current_thread: Lto CURRENT;
}
