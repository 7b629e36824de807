//! Our trees against those of a witness that we did not write: tokio's own task dump, taken by
//! the target itself right after ours.
//!
//! The witness prints, for each leaf, the frames of the poll that reaches it; each frame of the
//! fixture's own functions has its name and the line of its await. Each of its chains has to be
//! one of ours, in names and lines. It names blocks after the function around them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::Build;
use support::command;
use support::expect::{Complaints, task};
use support::fixture::Fixture;
use support::tree::without_generics;

/// A function of the fixture and the line where it waits.
type Frame = (String, u64);

/// Futures that the witness cannot see into: a set polls only members that were woken, and its
/// own poll wakes none.
const UNSEEN_BY_WITNESS: &[&str] = &[
    "buffer_unordered",
    "buffered",
    "for_each_concurrent",
    "futures_ordered",
    "futures_unordered",
    "futures_unordered_dyn",
    "join_all_large",
];

fn agree(name: &str) {
    let mut fixture = Fixture::start(Build::Witness, name, &[]);
    let dump = command::dump(fixture.pid());
    fixture.tell("dump");
    let mut complaints = Complaints::default();
    let mut compared = 0;
    loop {
        let line = fixture.next_line(Duration::from_secs(60));
        if let Some(count) = line["witnessed"].as_u64() {
            let ours = dump["coverage"]["tasks_listed"].as_u64();
            complaints.unless(
                ours == Some(count),
                format!("the witness saw {count} tasks, we list {ours:?}"),
            );
            break;
        }
        let id = line["witness"].as_str().expect("a task");
        let announced = fixture.tasks.iter().find(|task| task.id == id);
        if announced.is_some_and(|task| UNSEEN_BY_WITNESS.contains(&&*task.name)) {
            continue;
        }
        let theirs = witness_chains(line["trace"].as_str().expect("a trace"), name);
        let Some(task) = task(&dump, id) else {
            complaints.add(format!("{id}: the witness saw it, we did not"));
            continue;
        };
        let mut ours = Vec::new();
        our_chains(&task["tree"], name, &mut Vec::new(), &mut ours);
        for chain in theirs {
            compared += chain.len();
            complaints.unless(
                ours.iter().any(|ours| same(ours, &chain)),
                format!("{id}: the witness saw {chain:?}, we saw {ours:?}"),
            );
        }
    }
    // A test that compares nothing would pass.
    complaints.unless(
        compared >= fixture.tasks.len() / 2,
        format!("only {compared} frames compared"),
    );
    complaints.settle(&format!("{name}, by tokio's task dump"));
}

/// The witness's frames from the root to each leaf, its own crate's only.
fn witness_chains(trace: &str, krate: &str) -> Vec<Vec<Frame>> {
    let mut chains = Vec::new();
    let mut path: Vec<(usize, Option<Frame>)> = Vec::new();
    // Its blanks do not break, and two roots follow each other without a line end between them.
    let trace = trace
        .replace('\u{a0}', " ")
        .replace('╼', "\n╼")
        .replace("└\n╼", "└╼")
        .replace("├\n╼", "├╼");
    for line in trace.lines() {
        let Some((before, frame)) = line.split_once("╼ ") else {
            continue;
        };
        let depth = before.chars().count();
        let leave = path.iter().position(|(at, _)| *at >= depth);
        if let Some(leave) = leave {
            chains.push(frames(&path));
            path.truncate(leave);
        }
        path.push((depth, own_frame(frame, krate)));
    }
    chains.push(frames(&path));
    chains.retain(|chain| !chain.is_empty());
    chains
}

fn frames(path: &[(usize, Option<Frame>)]) -> Vec<Frame> {
    path.iter().filter_map(|(_, frame)| frame.clone()).collect()
}

/// `shapes::leaf::on_clock at /../leaf.rs:9:40` as a frame, if it is of the fixture's own crate.
fn own_frame(text: &str, krate: &str) -> Option<Frame> {
    let (function, place) = text.rsplit_once(" at ")?;
    // A hand-written `poll` is no await: ours has no line for it.
    if function.ends_with("as core::future::future::Future>") {
        return None;
    }
    if !place.contains(&format!("/src/bin/{krate}/")) {
        return None;
    }
    let mut parts = place.rsplit(':');
    let _column = parts.next()?;
    let line = parts.next()?.parse().ok()?;
    Some((function_of(function), line))
}

fn our_chains(node: &Value, krate: &str, path: &mut Vec<Frame>, to: &mut Vec<Vec<Frame>>) {
    if matches!(node["state"].as_str(), Some("unresumed" | "returned")) {
        return;
    }
    let own = node["file"]
        .as_str()
        .is_some_and(|file| file.contains(&format!("src/bin/{krate}/")));
    if own {
        let function = function_of(node["future"].as_str().unwrap_or_default());
        path.push((function, node["line"].as_u64().unwrap_or(0)));
    }
    let children = node["children"].as_array().map_or(&[][..], Vec::as_slice);
    if children.is_empty() {
        to.push(path.clone());
    }
    for child in children {
        our_chains(child, krate, path, to);
    }
    if own {
        path.pop();
    }
}

/// The last part of a path that a person has named.
fn function_of(path: &str) -> String {
    let path = without_generics(path);
    let named = path
        .trim_start_matches('<')
        .rsplit("::")
        .find(|part| !part.starts_with('{'));
    named.unwrap_or_default().to_owned()
}

/// Whether the witness's chain is ours. A closure of `poll_fn` has the name and often the line of
/// the function around it, and is no await: it may double that frame.
fn same(ours: &[Frame], theirs: &[Frame]) -> bool {
    let mut single = theirs.to_vec();
    single.dedup();
    ours == theirs || ours == single
}

#[test]
fn shapes_by_task_dump() {
    agree("shapes");
}

#[test]
fn leaves_by_task_dump() {
    agree("leaves");
}
