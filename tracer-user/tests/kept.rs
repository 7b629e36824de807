//! What suspended bodies keep, as `asynctrace dump` tells it, against what the fixture `kept` knows:
//! what is held is found with its address, what is gone is never told as sure, and futures that are
//! kept without being awaited are found whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::expect::{Complaints, fits};
use support::fixture::Fixture;
use support::{Build, command, directives};

/// All nodes of a tree, those of kept futures, too.
fn nodes<'a>(tree: &'a Value, out: &mut Vec<&'a Value>) {
    out.push(tree);
    for part in ["children", "not_awaited"] {
        for below in tree[part].as_array().into_iter().flatten() {
            nodes(below, out);
        }
    }
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// A path without generic arguments, but for those in its middle.
fn base(path: &str) -> &str {
    match path.strip_suffix('>').and_then(|_| path.find('<')) {
        Some(at) => &path[..at],
        None => path,
    }
}

struct Task<'a> {
    name: &'a str,
    nodes: Vec<&'a Value>,
}

impl<'a> Task<'a> {
    /// Its holds with the futures that have them.
    fn holds(&self) -> Vec<(&'a str, &'a Value)> {
        let holds = self.nodes.iter().flat_map(|node| {
            let by = node["future"].as_str().unwrap_or_default();
            list(node, "holds").map(move |held| (by, held))
        });
        holds.collect()
    }

    /// Every hold that was announced is there for sure, and nothing else is.
    fn check_holds(&self, truth: &Value, to: &mut Complaints) {
        let mut seen = self.holds();
        for expected in list(truth, "holds") {
            let what = expected["what"].as_object().expect("an object");
            let found = seen.iter().position(|(by, held)| {
                base(by) == base(expected["by"].as_str().expect("a path"))
                    && held["local"] == expected["local"]
                    && held.get("doubt").is_none()
                    && what
                        .iter()
                        .all(|(name, value)| fits(name, value, &held["what"]))
            });
            match found {
                Some(index) => {
                    seen.remove(index);
                }
                None => to.add(format!(
                    "{}: {expected} is held, seen were {seen:?}",
                    self.name
                )),
            }
        }
        for (by, held) in seen {
            to.unless(
                held.get("doubt").is_some(),
                format!("{}: {by} does not hold {held}", self.name),
            );
        }
    }

    /// Exactly the kept futures that were announced are told, each suspended.
    fn check_kept(&self, truth: &Value, to: &mut Complaints) {
        let mut seen = Vec::new();
        for node in &self.nodes {
            for kept in list(node, "not_awaited") {
                bodies(kept, &mut seen);
            }
        }
        let mut expected: Vec<&str> = list(truth, "not_awaited")
            .filter_map(Value::as_str)
            .collect();
        seen.sort_unstable();
        expected.sort_unstable();
        to.unless(
            seen == expected,
            format!("{}: keeps {expected:?}, seen were {seen:?}", self.name),
        );
    }
}

/// The outermost async bodies of this fixture in a kept tree, that are told without a doubt.
fn bodies<'a>(tree: &'a Value, out: &mut Vec<&'a str>) {
    let path = tree["future"].as_str().unwrap_or_default();
    if tree.get("notes").is_some() {
        return;
    }
    if path.starts_with("kept::") && tree["state"] == "suspended" {
        out.push(path);
        return;
    }
    list(tree, "children").for_each(|child| bodies(child, out));
}

fn kept(build: Build) {
    let mut fixture = Fixture::start(build, "kept", &[]);
    let dump = command::dump(fixture.pid());
    let mut to = Complaints::default();
    let mut tasks = BTreeMap::new();
    for announced in &fixture.tasks {
        let task = support::expect::task(&dump, &announced.id);
        let Some(tree) = task
            .map(|task| &task["tree"])
            .filter(|tree| !tree.is_null())
        else {
            to.add(format!("{}: no tree", announced.name));
            continue;
        };
        let mut all = Vec::new();
        nodes(tree, &mut all);
        let name = announced.name.as_str();
        tasks.insert(name, Task { name, nodes: all });
    }
    let mut checked = 0;
    for (fact, truth) in &fixture.facts {
        if let Some(name) = fact.strip_prefix("kept/") {
            let task = &tasks[name];
            task.check_holds(truth, &mut to);
            task.check_kept(truth, &mut to);
            checked += 1;
        } else if fact.starts_with("pair/") {
            check_pair(fact, truth, &tasks, &mut to);
            checked += 1;
        }
    }
    to.unless(checked > 45, format!("only {checked} truths"));
    check_places(&tasks, &mut to);
    to.unless(fixture.is_alive(), "the fixture did not survive");
    to.settle(&format!("kept, {build:?}"));
}

/// What one task waits for and what the other holds have one name; of a channel the other end.
fn check_pair(fact: &str, truth: &Value, tasks: &BTreeMap<&str, Task<'_>>, to: &mut Complaints) {
    let of = |role: &str| &tasks[truth[role].as_str().expect("a task")];
    let waits: Vec<&Value> = of("waiter")
        .nodes
        .iter()
        .map(|node| &node["waits_for"])
        .filter(|wait| !wait.is_null())
        .collect();
    let held = of("holder").holds();
    let ([wait], [(_, held)]) = (waits.as_slice(), held.as_slice()) else {
        to.add(format!("{fact}: waits {waits:?}, holds {held:?}"));
        return;
    };
    let what = &held["what"];
    let is_other_end = match wait["side"].as_str() {
        Some("receive") => what["side"] == "send",
        Some("send") => what["side"] == "receive",
        _ => true,
    };
    to.unless(
        wait["kind"] == what["kind"]
            && wait["address"].is_string()
            && wait["address"] == what["address"]
            && wait["channel"] == what["channel"]
            && is_other_end
            && held.get("doubt").is_none(),
        format!("{fact}: waits for {wait}, which is not what is held: {held}"),
    );
}

/// Every future has an address, and a hand-written one says where its `poll` is.
fn check_places(tasks: &BTreeMap<&str, Task<'_>>, to: &mut Complaints) {
    let all = tasks.values().flat_map(|task| &task.nodes);
    let mut handmade = 0;
    let (file, line) = directives::marker("kept", "after_handmade_poll");
    for node in all {
        to.unless(
            node["address"].is_string(),
            format!("{}: no address", node["future"]),
        );
        if node["future"] == "kept::guards::Handmade" {
            handmade += 1;
            let defined = &node["defined"];
            to.unless(
                defined["file"] == file.as_str() && defined["line"] == line - 1,
                format!("Handmade::poll is at {file}:{}, told {defined}", line - 1),
            );
        }
        if node["future"] == "tokio::time::sleep::Sleep" {
            let told = node["defined"]["file"].as_str().unwrap_or_default();
            to.unless(
                told.ends_with("src/time/sleep.rs"),
                format!("Sleep::poll is in {told:?}"),
            );
        }
    }
    to.unless(handmade == 1, format!("{handmade} Handmade seen"));
}

#[test]
fn kept_dev() {
    kept(Build::Dev);
}

#[test]
fn kept_release() {
    kept(Build::Release);
}

#[test]
fn kept_lto() {
    kept(Build::Lto);
}
