//! Who waits for what, and who holds it: tasks and the resources that they share, from the last look
//! at memory.

use std::collections::HashMap;

use super::super::case::Case;
use super::super::preorder::Preorder;
use super::super::source::is_never;
use super::super::still::{Standing, Still};
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, WaitsFor};

/// Why a future that is kept may claim nothing.
const MAY_BE_GONE: &str = "the future that has it may have been moved out or dropped";

/// Kept futures inside kept futures that are looked at.
const MAX_KEPT: usize = 4_096;

/// What tasks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::analyse::findings) enum Class {
    /// A lock or semaphore: its permits.
    Permits,
    /// A channel: its messages.
    Messages,
    /// A channel: room for a message.
    Room,
    /// A oneshot channel: its value.
    Value,
}

/// Something that tasks share.
#[derive(Clone, Debug)]
pub(in crate::analyse::findings) struct Resource<'a> {
    /// What it is.
    pub class: Class,
    /// Where it is.
    pub address: u64,
    /// How it is called: `mutex`, `semaphore`, `channel`.
    pub name: &'a str,
    /// Leaves that wait for it: of which task, at which index.
    pub waiters: Vec<(usize, usize)>,
    /// Who holds it, or has what others need to go on.
    pub claims: Vec<Claim<'a>>,
    /// Senders of a channel, by its own counter.
    pub senders: Option<u64>,
}

/// How a resource is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analyse::findings) enum How {
    /// A guard, a permit or an end of a channel in a saved local.
    Held,
    /// It was given to a waiter in the queue, which has not been polled since.
    Given,
    /// A waiter in the queue, to which it will be given. Nothing is held yet.
    Queued,
}

/// Somebody holds a resource.
#[derive(Clone, Copy, Debug)]
pub(in crate::analyse::findings) struct Claim<'a> {
    /// The task.
    pub task: usize,
    /// The body that holds it, or the waiter.
    pub holder: &'a AwaitNode,
    /// The future that its task keeps without polling it, when the holder is in there.
    pub kept: Option<&'a AwaitNode>,
    /// How.
    pub how: How,
    /// Name of the local.
    pub local: &'a str,
    /// What is held.
    pub what: &'a WaitsFor,
    /// Why it may not be held any more.
    pub doubt: Option<&'a str>,
}

/// What a leaf waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::analyse::findings) enum On {
    /// A resource that tasks share: its index.
    Resource(usize),
    /// One of these tasks to finish.
    Tasks(Vec<usize>),
    /// Nothing: it is never ready.
    Never,
    /// Something outside: time, the network, a task that is not known.
    Outside,
}

/// A task.
#[derive(Clone, Debug)]
pub(in crate::analyse::findings) struct Member<'a> {
    /// The task.
    pub info: &'a TaskInfo,
    /// When it stood still.
    pub still: Option<Still<'a>>,
    /// Its tree.
    pub tree: Preorder<'a>,
    /// What its leaves wait for: index of the leaf, and what.
    pub waits: Vec<(usize, On)>,
}

/// All tasks and what they share.
#[derive(Clone, Debug, Default)]
pub(in crate::analyse::findings) struct Facts<'a> {
    /// In the order of the last look.
    pub tasks: Vec<Member<'a>>,
    /// In the order in which they were met.
    pub resources: Vec<Resource<'a>>,
}

impl<'a> Facts<'a> {
    /// Of the last look.
    pub(in crate::analyse::findings) fn of(case: &Case<'a>) -> Self {
        let Some(last) = case.moments.last() else {
            return Self::default();
        };
        let mut still: Vec<Option<Still<'a>>> = vec![None; last.snapshot.tasks.len()];
        for task in Standing::of(case).tasks {
            still[task.index] = Some(task);
        }
        let mut builder = Builder::new(&last.snapshot.tasks);
        for (index, (info, still)) in last.snapshot.tasks.iter().zip(still).enumerate() {
            let tree = info.tree.as_ref().map(Preorder::of).unwrap_or_default();
            let waits = if info.state == TaskState::Complete {
                Vec::new()
            } else {
                builder.waits(index, &tree)
            };
            if let Some(root) = info.tree.as_ref().filter(|_| !waits.is_empty()) {
                builder.claims(index, root);
            }
            builder.facts.tasks.push(Member {
                info,
                still,
                tree,
                waits,
            });
        }
        builder.facts
    }
}

struct Builder<'a> {
    facts: Facts<'a>,
    by_key: HashMap<(Class, u64), usize>,
    by_address: HashMap<u64, usize>,
    by_id: HashMap<&'a str, usize>,
}

impl<'a> Builder<'a> {
    fn new(tasks: &'a [TaskInfo]) -> Self {
        let indexed = || tasks.iter().enumerate();
        Self {
            facts: Facts::default(),
            by_key: HashMap::new(),
            by_address: indexed()
                .map(|(index, task)| (task.address.0, index))
                .collect(),
            by_id: indexed()
                .map(|(index, task)| (task.id.as_str(), index))
                .collect(),
        }
    }

    fn resource(&mut self, class: Class, address: u64, name: &'a str) -> &mut Resource<'a> {
        let resources = &mut self.facts.resources;
        let index = *self.by_key.entry((class, address)).or_insert_with(|| {
            resources.push(Resource {
                class,
                address,
                name,
                waiters: Vec::new(),
                claims: Vec::new(),
                senders: None,
            });
            resources.len() - 1
        });
        &mut resources[index]
    }

    fn waits(&mut self, task: usize, tree: &Preorder<'a>) -> Vec<(usize, On)> {
        let leaves = tree.leaves();
        leaves
            .map(|leaf| {
                let node = tree.futures[leaf].node;
                let on = if is_never(node) {
                    On::Never
                } else {
                    let waits = node.waits_for.as_ref();
                    waits.map_or(On::Outside, |waits| self.on(task, leaf, waits))
                };
                (leaf, on)
            })
            .collect()
    }

    fn on(&mut self, task: usize, leaf: usize, waits: &'a WaitsFor) -> On {
        if waits.kind == "join" {
            return self.joined(waits);
        }
        let Some((class, address)) = resource_of(waits) else {
            return On::Outside;
        };
        let resource = self.resource(class, address, name_of(waits));
        resource.waiters.push((task, leaf));
        resource.senders = waits.number("senders").or(resource.senders);
        On::Resource(self.by_key[&(class, address)])
    }

    /// The tasks of a join: of a handle by its address, of a `JoinSet` by their names. One that is
    /// not known, or blocking work, is outside.
    fn joined(&self, waits: &WaitsFor) -> On {
        if let Some(address) = address(waits) {
            let task = self.by_address.get(&address);
            return task.map_or(On::Outside, |&task| On::Tasks(vec![task]));
        }
        let Some(named) = waits
            .details
            .get("tasks")
            .and_then(|tasks| tasks.as_array())
        else {
            return On::Outside;
        };
        let tasks: Option<Vec<usize>> = named
            .iter()
            .map(|name| self.by_id.get(name.as_str()?).copied())
            .collect();
        let all = waits.number("tasks_waited_for") == u64::try_from(named.len()).ok();
        match tasks {
            Some(tasks) if all && !tasks.is_empty() => On::Tasks(tasks),
            _ => On::Outside,
        }
    }

    /// What the futures of a tree hold, and what those hold that they keep without polling them.
    fn claims(&mut self, task: usize, root: &'a AwaitNode) {
        // The root of a tree, and the kept future that it belongs to.
        let mut open: Vec<(&'a AwaitNode, Option<&'a AwaitNode>)> = vec![(root, None)];
        let mut seen = 0;
        while let Some((root, kept)) = open.pop() {
            seen += 1;
            if seen > MAX_KEPT {
                return;
            }
            let tree = Preorder::of(root);
            let in_doubt = kept
                .is_some_and(|kept| kept.in_doubt)
                .then_some(MAY_BE_GONE);
            for at in tree.futures.iter().filter(|at| at.alive) {
                for held in &at.node.holds {
                    let claim = Claim {
                        task,
                        holder: at.node,
                        kept,
                        how: How::Held,
                        local: &held.local,
                        what: &held.what,
                        doubt: held.doubt.as_deref().or(in_doubt),
                    };
                    self.claim(claim);
                }
                let waits = at.node.waits_for.as_ref();
                if let (Some(_), Some(waits)) = (kept, waits)
                    && waits
                        .details
                        .get("queued")
                        .and_then(serde_json::Value::as_bool)
                        == Some(true)
                {
                    let given = waits.ready() == Some(true) && !is_free(waits);
                    self.claim(Claim {
                        task,
                        holder: at.node,
                        kept,
                        how: if given { How::Given } else { How::Queued },
                        local: "",
                        what: waits,
                        doubt: in_doubt,
                    });
                }
                let keeps = at.node.not_awaited.iter();
                open.extend(keeps.map(|inner| (inner, Some(kept.unwrap_or(inner)))));
            }
        }
    }

    fn claim(&mut self, claim: Claim<'a>) {
        // A reserved place in a channel is beside the sender that it was reserved with.
        if claim.what.number("reserved").is_some() {
            return;
        }
        let class = match (claim.what.kind, claim.what.text("side")) {
            ("lock" | "semaphore", _) => Class::Permits,
            // A waiter for room is in the same queue as one for a permit.
            ("channel", Some("send")) if claim.how != How::Held => Class::Room,
            ("channel", Some("send")) => Class::Messages,
            ("channel", Some("receive")) => Class::Room,
            ("oneshot", side) if side != Some("receive") => Class::Value,
            _ => return,
        };
        if let Some(address) = address(claim.what) {
            let resource = self.resource(class, address, name_of(claim.what));
            resource.claims.push(claim);
        }
    }
}

/// The resource that a leaf waits for.
fn resource_of(waits: &WaitsFor) -> Option<(Class, u64)> {
    let class = match (waits.kind, waits.text("side")) {
        ("lock" | "semaphore", _) => Class::Permits,
        ("channel", Some("send")) => Class::Room,
        ("channel", _) => Class::Messages,
        ("oneshot", _) => Class::Value,
        _ => return None,
    };
    Some((class, address(waits)?))
}

fn name_of(waits: &WaitsFor) -> &str {
    let inner = match waits.kind {
        "lock" => waits.text("lock"),
        "channel" => waits.text("channel"),
        _ => None,
    };
    match inner {
        Some("mutex") => "mutex",
        Some("rwlock_read" | "rwlock_write" | "rwlock") => "rwlock",
        Some("once_cell") => "once_cell",
        Some("mpsc") => "mpsc channel",
        Some("watch") => "watch channel",
        Some("broadcast") => "broadcast channel",
        _ => waits.kind,
    }
}

/// Whether as many permits are free as a waiter asks for: then it was given none.
fn is_free(waits: &WaitsFor) -> bool {
    match (waits.number("permits_available"), waits.number("permits")) {
        (Some(available), Some(wanted)) => available >= wanted,
        _ => false,
    }
}

/// The address that a detail tells as hexadecimal text.
fn address(waits: &WaitsFor) -> Option<u64> {
    let text = waits.text("address")?;
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::hand::{
        Hand, acquire, body, detail, holding, keeping, lock, sleep, task, waits,
    };
    use super::*;

    #[test]
    fn locks_join_those_who_wait_and_those_who_hold() {
        let holder = task(1, holding(body("app::a", 3, sleep(9)), lock(0x99)));
        let waiter = task(2, body("app::b", 4, acquire(0x99)));
        let hand = Hand::twice(vec![holder, waiter]);
        let case = hand.case();
        let facts = Facts::of(&case);
        assert_eq!(facts.resources.len(), 1);
        let mutex = &facts.resources[0];
        assert_eq!(
            (mutex.class, mutex.address, mutex.name),
            (Class::Permits, 0x99, "mutex")
        );
        assert_eq!(mutex.waiters, [(1, 1)]);
        assert_eq!((mutex.claims[0].task, mutex.claims[0].how), (0, How::Held));
        assert_eq!(facts.tasks[1].waits, [(1, On::Resource(0))]);
        assert_eq!(facts.tasks[0].waits, [(1, On::Outside)]);
    }

    #[test]
    fn what_a_kept_future_holds_or_was_given_is_told_apart() {
        let inner = holding(body("app::slow", 8, sleep(9)), lock(0x77));
        let given = detail(acquire(0x99), "ready", true);
        let kept = body("app::update", 5, given);
        let owner = keeping(keeping(body("app::a", 3, sleep(9)), kept), inner);
        let hand = Hand::twice(vec![task(1, owner)]);
        let case = hand.case();
        let facts = Facts::of(&case);
        let told: Vec<_> = facts
            .resources
            .iter()
            .flat_map(|resource| {
                resource
                    .claims
                    .iter()
                    .map(|claim| (resource.address, claim))
            })
            .map(|(address, claim)| {
                let kept = claim.kept.map(|kept| &*kept.future);
                (address, claim.how, kept)
            })
            .collect();
        assert!(told.contains(&(0x99, How::Given, Some("app::update"))));
        assert!(told.contains(&(0x77, How::Held, Some("app::slow"))));
    }

    #[test]
    fn joins_lead_to_tasks_and_unknown_ones_outside() {
        let joins = |address: &str| {
            let join = waits("tokio::runtime::task::join::JoinHandle<()>", "join");
            body("app::a", 3, detail(join, "address", address))
        };
        let set = waits("core::future::poll_fn::PollFn<x>", "join");
        let set = detail(
            detail(set, "tasks_waited_for", 2),
            "tasks",
            vec!["tokio/1", "tokio/2"],
        );
        let tasks = vec![
            task(1, joins("0x2000")),
            task(2, joins("0x9000")),
            task(3, body("app::c", 4, set)),
        ];
        let hand = Hand::twice(tasks);
        let case = hand.case();
        let facts = Facts::of(&case);
        let on: Vec<_> = facts
            .tasks
            .iter()
            .map(|task| task.waits[0].1.clone())
            .collect();
        assert_eq!(on, [On::Tasks(vec![1]), On::Outside, On::Tasks(vec![0, 1])]);
    }
}
