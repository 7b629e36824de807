//! Roots of `block_on` on the stacks of a real process, in all ways that tokio has, against the
//! truth in its source.
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
use support::directives::Truth;
use support::expect::{Complaints, check_tree, outline};
use support::fixture::Fixture;
use support::{Build, command};

/// The name of the thread that a root's note tells.
fn thread_of(root: &Value) -> &str {
    root["notes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find_map(|note| note.strip_prefix("runs on thread ")?.split(" (").next())
        .unwrap_or_default()
}

fn roots(build: Build) {
    let truth = Truth::of("roots");
    let mut fixture = Fixture::start(build, "roots", &[]);
    let dump = command::dump(fixture.pid());
    let mut complaints = Complaints::default();
    let roots: Vec<&Value> = dump["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|task| {
            let id = task["id"].as_str().unwrap_or_default();
            id.starts_with("tokio/block_on/")
        })
        .collect();
    complaints.unless(
        roots.len() as u64 == fixture.count("block_on_roots"),
        format!("{} roots seen", roots.len()),
    );
    for (name, expected) in &truth.roots {
        let of_thread: Vec<&&Value> = roots
            .iter()
            .filter(|root| thread_of(root) == name)
            .collect();
        match of_thread.as_slice() {
            // An optimiser may keep a small future of which no one takes the address in
            // registers. Then it is said that it is there and cannot be shown.
            [root] if name == "receiving" && build != Build::Dev && root["tree"].is_null() => {
                let reason = root["notes"]
                    .as_array()
                    .is_some_and(|notes| notes.len() > 1);
                complaints.unless(reason, format!("{name}: no tree and no reason"));
            }
            [root] => {
                check_tree(name, root, expected, "roots", &mut complaints);
                complaints.unless(
                    root["state"] == "idle",
                    format!("{name}: it waits, and is {}", root["state"]),
                );
            }
            several => complaints.add(format!("{name}: {} roots", several.len())),
        }
    }
    for (name, scheduler) in [
        ("roots", "multi_thread"),
        ("handle", "multi_thread"),
        ("worker", "multi_thread"),
        ("current", "current_thread"),
        ("passenger", "current_thread"),
        ("local-set", "current_thread"),
    ] {
        let agrees = roots
            .iter()
            .any(|root| thread_of(root) == name && root["scheduler"] == scheduler);
        complaints.unless(agrees, format!("{name}: not of a {scheduler} runtime"));
    }
    // The one that blocks inside of a poll is there, and does not look as if it waited.
    match roots.iter().find(|root| thread_of(root) == "busy") {
        Some(busy) => complaints.unless(
            busy["state"] == "running",
            format!("busy: {}\n{}", busy["state"], outline(&busy["tree"], 2)),
        ),
        None => complaints.add("busy: no root"),
    }
    complaints.unless(fixture.is_alive(), "the target did not survive");
    complaints.settle(&format!("roots, {build:?}"));
}

#[test]
fn roots_dev() {
    roots(Build::Dev);
}

#[test]
fn roots_release() {
    roots(Build::Release);
}

#[test]
fn roots_lto() {
    roots(Build::Lto);
}
