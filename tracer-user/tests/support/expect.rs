//! A whole dump against a fixture's whole truth. All that is wrong is said at once.

use std::fmt::Write as _;

use serde_json::Value;

use super::directives::Truth;
use super::fixture::{Announced, Fixture};
use super::tree::{Tree, all_agree, named_futures, nodes, reduce};

/// What a test found wrong.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Vec<String>);

impl Complaints {
    /// Notes one.
    pub(crate) fn add(&mut self, complaint: impl Into<String>) {
        self.0.push(complaint.into());
    }

    /// Notes one unless `holds`.
    pub(crate) fn unless(&mut self, holds: bool, complaint: impl Into<String>) {
        if !holds {
            self.add(complaint);
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the test here if anything is wrong.
    ///
    /// # Panics
    /// With everything that is wrong.
    pub(crate) fn settle(self, of: &str) {
        assert!(
            self.0.is_empty(),
            "{of}: {} complaints\n\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}

/// The task `id` in a dump.
pub(crate) fn task<'a>(dump: &'a Value, id: &str) -> Option<&'a Value> {
    dump["tasks"]
        .as_array()?
        .iter()
        .find(|task| task["id"] == id)
}

/// Every announced task is there with the tree that its source promises and the values it told.
pub(crate) fn check_tasks(
    dump: &Value,
    fixture: &Fixture,
    truth: &Truth,
    krate: &str,
) -> Complaints {
    let mut complaints = Complaints::default();
    complaints.unless(!fixture.tasks.is_empty(), "the fixture announced no task");
    for announced in &fixture.tasks {
        let Some(expected) = truth.tasks.get(&announced.name) else {
            complaints.add(format!("{}: no truth in the source", announced.name));
            continue;
        };
        let Some(task) = task(dump, &announced.id) else {
            complaints.add(format!("{} {}: not listed", announced.name, announced.id));
            continue;
        };
        check_tree(&announced.name, task, expected, krate, &mut complaints);
        check_wait(announced, task, &mut complaints);
    }
    complaints
}

/// Compares a task's tree with its truth.
pub(crate) fn check_tree(
    name: &str,
    task: &Value,
    expected: &Tree,
    krate: &str,
    to: &mut Complaints,
) {
    let tree = &task["tree"];
    if tree.is_null() {
        to.add(format!("{name}: no tree, notes: {}", task["notes"]));
        return;
    }
    let seen = reduce(tree, krate, &named_futures(expected));
    if !all_agree(std::slice::from_ref(expected), &seen) {
        let mut text = format!("{name}: expected\n{expected}  but saw\n");
        for tree in &seen {
            let _ = write!(text, "{tree}");
        }
        let _ = write!(text, "  of the whole tree\n{}", outline(tree, 2));
        to.add(text);
    }
}

/// Compares what some leaf of the task waits for with what the fixture told.
fn check_wait(announced: &Announced, task: &Value, to: &mut Complaints) {
    let Some(expected) = &announced.waits_for else {
        return;
    };
    let waits: Vec<&Value> = nodes(&task["tree"])
        .into_iter()
        .map(|node| &node["waits_for"])
        .filter(|wait| !wait.is_null())
        .collect();
    let fits = |wait: &&Value| {
        let fields = expected.as_object().expect("an object");
        fields.iter().all(|(name, value)| fits(name, value, wait))
    };
    if !waits.iter().any(fits) {
        to.add(format!(
            "{}: it told {expected}, but seen was {waits:?}",
            announced.name
        ));
    }
}

/// One value of a fixture's `waits_for` against what was seen.
pub(crate) fn fits(name: &str, expected: &Value, seen: &Value) -> bool {
    match name {
        // The fixture reads two clocks one after the other.
        "deadline_ns" => near(expected.as_u64(), seen[name].as_u64(), 1_000),
        // The address of a part, somewhere in the whole that the fixture can see.
        "within" => {
            let at = hex(&seen["address"]);
            at.is_some() && hex(&expected[0]) <= at && at < hex(&expected[1])
        }
        // The address of a part of what an Arc holds.
        "near" => near(hex(expected), hex(&seen["address"]), 1024),
        _ => seen.get(name) == Some(expected),
    }
}

fn near(one: Option<u64>, two: Option<u64>, limit: u64) -> bool {
    matches!((one, two), (Some(one), Some(two)) if one.abs_diff(two) <= limit)
}

fn hex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// A tree as it came, for the eye.
pub(crate) fn outline(node: &Value, level: usize) -> String {
    let mut text = format!(
        "{:2$}{} [{}",
        "",
        node["future"].as_str().unwrap_or("?"),
        level * 2,
    );
    for part in ["kind", "state"] {
        let _ = write!(text, " {}", node[part].as_str().unwrap_or("?"));
    }
    let _ = write!(
        text,
        " {}:{}]",
        node["file"].as_str().unwrap_or("-"),
        node["line"]
    );
    if !node["waits_for"].is_null() {
        let _ = write!(text, " waits for {}", node["waits_for"]);
    }
    if let Some(notes) = node.get("notes") {
        let _ = write!(text, " notes {notes}");
    }
    text.push('\n');
    for child in node["children"].as_array().into_iter().flatten() {
        text += &outline(child, level + 1);
    }
    text
}

/// Tasks listed, tasks counted by their runtimes, and tasks that the fixture knows it has, agree.
pub(crate) fn check_counts(dump: &Value, alive: u64, to: &mut Complaints) {
    let coverage = &dump["coverage"];
    let tasks = dump["tasks"].as_array().map_or(0, |tasks| {
        let is_root = |task: &&Value| {
            let id = task["id"].as_str().unwrap_or_default();
            id.contains("/block_on/")
        };
        tasks.iter().filter(|task| !is_root(task)).count() as u64
    });
    for (what, count) in [
        ("in `tasks`", Some(tasks)),
        ("listed", coverage["tasks_listed"].as_u64()),
        ("counted", coverage["tasks_counted"].as_u64()),
    ] {
        to.unless(
            count == Some(alive),
            format!("{alive} tasks are alive, but {what} are {count:?}"),
        );
    }
}
