//! What several bodies claim to hold or keep, and only one can: told from all tasks together.
//!
//! A value that was moved leaves its bytes where it was. So two bodies may seem to hold one guard,
//! more bodies a sender than there are senders, and a future may seem to be kept by the body that
//! gave it to another task.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::address::Address;
use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tree::{AwaitNode, Held};

/// What is held: kind, which kind of it, address, end.
type What = (&'static str, Option<String>, Option<String>, Option<String>);

fn what(held: &Held) -> What {
    let text = |name: &str| held.what.text(name).map(str::to_owned);
    (
        held.what.kind,
        text("lock").or_else(|| text("channel")),
        text("address"),
        text("side"),
    )
}

/// How many can hold this at once; `None` when that is not known.
fn places(held: &Held) -> Option<u64> {
    match (held.what.kind, held.what.text("lock")) {
        ("lock", Some("rwlock_read")) => None,
        ("lock" | "oneshot", _) => Some(1),
        ("channel", _) => match held.what.text("side") {
            Some("receive") => Some(1),
            _ => held.what.number("senders"),
        },
        _ => None,
    }
}

/// Puts a doubt where more claim to hold something than can, and takes out kept futures that
/// another task awaits.
pub(super) fn settle(tasks: &mut [TaskInfo]) {
    // How many claim it, and how many can, as who knows the least of them tells.
    let mut claims: HashMap<What, (u64, u64)> = HashMap::new();
    let mut keeps_any = false;
    for tree in tasks.iter().filter_map(|task| task.tree.as_ref()) {
        each(tree, &mut |node| {
            keeps_any |= !node.not_awaited.is_empty();
            for held in node.holds.iter().filter(|held| held.doubt.is_none()) {
                // A reserved place is beside the sender that it was reserved with.
                if held.what.number("reserved").is_some() {
                    continue;
                }
                if let Some(places) = places(held) {
                    let (count, least) = claims.entry(what(held)).or_insert((0, places));
                    *count += 1;
                    *least = places.min(*least);
                }
            }
        });
    }
    let too_many = claims.values().any(|(count, least)| count > least);
    if !keeps_any && !too_many {
        return;
    }
    // The first local of a body lies where the body does: an address alone names no future.
    let awaited: HashSet<(Address, Arc<str>)> = if keeps_any {
        tasks.iter().flat_map(awaited).collect()
    } else {
        HashSet::new()
    };
    for tree in tasks.iter_mut().filter_map(|task| task.tree.as_mut()) {
        each_mut(tree, &mut |node| {
            for held in node.holds.iter_mut().filter(|held| held.doubt.is_none()) {
                let Some(places) = places(held) else { continue };
                let count = claims.get(&what(held)).map_or(0, |(count, _)| *count);
                if count > places && held.what.number("reserved").is_none() {
                    held.doubt = Some(doubt(held, count, places));
                }
            }
            node.not_awaited
                .retain(|kept| name(kept).is_none_or(|name| !awaited.contains(&name)));
        });
    }
}

fn doubt(held: &Held, count: u64, places: u64) -> String {
    match held.what.kind {
        "channel" if held.what.text("side") != Some("receive") => {
            let senders = if places == 1 { "sender" } else { "senders" };
            format!(
                "{count} bodies seem to hold a sender of this channel, which has {places} {senders}"
            )
        }
        _ => format!("{count} bodies seem to hold it, and only one can"),
    }
}

/// Futures that a task awaits.
fn awaited(task: &TaskInfo) -> Vec<(Address, Arc<str>)> {
    let mut found = Vec::new();
    if let Some(tree) = &task.tree {
        tree.visit(&mut |node| found.extend(name(node)));
    }
    found
}

fn name(node: &AwaitNode) -> Option<(Address, Arc<str>)> {
    Some((node.address?, Arc::clone(&node.future)))
}

/// Every node, those of kept futures, too. Trees are as deep as the walk's limit at most.
fn each(node: &AwaitNode, visit: &mut impl FnMut(&AwaitNode)) {
    visit(node);
    for below in node.children.iter().chain(&node.not_awaited) {
        each(below, visit);
    }
}

fn each_mut(node: &mut AwaitNode, visit: &mut impl FnMut(&mut AwaitNode)) {
    visit(node);
    for below in node.children.iter_mut().chain(&mut node.not_awaited) {
        each_mut(below, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::tree::WaitsFor;

    fn holder(future: &str, what: &WaitsFor, doubt: Option<&str>) -> TaskInfo {
        TaskInfo {
            tree: Some(AwaitNode {
                future: future.into(),
                holds: vec![Held {
                    local: "it".into(),
                    what: what.clone(),
                    doubt: doubt.map(str::to_owned),
                }],
                ..AwaitNode::default()
            }),
            ..TaskInfo::default()
        }
    }

    fn doubts(tasks: &[TaskInfo]) -> Vec<bool> {
        let trees = tasks.iter().filter_map(|task| task.tree.as_ref());
        trees
            .flat_map(|tree| &tree.holds)
            .map(|held| held.doubt.is_some())
            .collect()
    }

    #[test]
    fn only_one_can_hold_a_mutex_but_many_a_semaphore() {
        let mutex = WaitsFor::new("lock")
            .with("lock", "mutex")
            .with("address", "0x10");
        let other = WaitsFor::new("lock")
            .with("lock", "mutex")
            .with("address", "0x20");
        let semaphore = WaitsFor::new("semaphore").with("address", "0x10");
        let mut tasks = [
            holder("a", &mutex, None),
            holder("b", &mutex, None),
            holder("c", &other, None),
            holder("d", &semaphore, None),
            holder("e", &semaphore, None),
        ];
        settle(&mut tasks);
        assert_eq!(doubts(&tasks), [true, true, false, false, false]);
        // A claim that is doubtful already does not spoil another.
        let mut tasks = [
            holder("a", &mutex, Some("moved")),
            holder("b", &mutex, None),
        ];
        settle(&mut tasks);
        assert_eq!(doubts(&tasks), [true, false]);
    }

    #[test]
    fn as_many_hold_senders_as_there_are() {
        let send = |senders: u64| {
            WaitsFor::new("channel")
                .with("channel", "mpsc")
                .with("side", "send")
                .with("address", "0x10")
                .with("senders", senders)
        };
        for (senders, expected) in [(2, [false, false]), (1, [true, true])] {
            let mut tasks = [
                holder("a", &send(senders), None),
                holder("b", &send(senders), None),
            ];
            settle(&mut tasks);
            assert_eq!(doubts(&tasks), expected, "{senders} senders");
        }
    }

    #[test]
    fn a_future_that_another_task_awaits_is_not_kept() {
        let at = |address: u64| AwaitNode {
            address: Some(Address(address)),
            ..AwaitNode::default()
        };
        let mut giver = AwaitNode {
            future: "app::giver".into(),
            ..at(0x300)
        };
        // The last one lies where its body begins.
        giver.not_awaited = vec![at(0x200), at(0x300)];
        let mut taker = at(0x400);
        taker.children = vec![at(0x200)];
        let task = |tree| TaskInfo {
            tree: Some(tree),
            ..TaskInfo::default()
        };
        let mut tasks = [task(giver), task(taker)];
        settle(&mut tasks);
        let kept = &tasks[0].tree.as_ref().unwrap().not_awaited;
        let kept: Vec<_> = kept.iter().filter_map(|node| node.address).collect();
        assert_eq!(kept, [Address(0x300)]);
    }
}
