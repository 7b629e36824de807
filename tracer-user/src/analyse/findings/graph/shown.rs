//! The graph of waits as it is shown: tasks and resources, equal ones as one node with a count.
//!
//! Its JSON form is the contract of `check --graph json` (docs/findings.md): fields may be added,
//! never renamed or removed.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::super::case::Case;
use super::super::model::{Role, Site};
use super::super::source::{awaited_in, place, site};
use super::circles::{Kept, circles};
use super::facts::{Claim, Facts, How, Member, On, Resource};
use super::progress::Progress;
use super::rules::Rules;
use crate::rebuild::snapshot::TaskState;

/// Version of the JSON contract.
const SCHEMA: u32 = 1;
/// Tasks that one node names.
const MAX_NAMED: usize = 16;
/// Ends of waits that are told.
const MAX_ROOTS: usize = 16;

/// Who waits for whom, through what.
#[derive(Clone, Debug, Serialize)]
pub struct WaitGraph {
    /// Version of the JSON contract.
    pub schema: u32,
    /// When memory was read: CLOCK_MONOTONIC, nanoseconds; `None` when it was not.
    pub time_ns: Option<u64>,
    /// Tasks and what they share.
    pub nodes: Vec<GraphNode>,
    /// Waits lead from a task to what it waits for, holds from a resource to who holds it: along the
    /// arrows one comes to what is to blame.
    pub edges: Vec<GraphEdge>,
    /// Where waits end, the one that most tasks wait for first.
    pub roots: Vec<Root>,
    /// Circles of waits: ids of their nodes, in order.
    pub circles: Vec<Vec<String>>,
}

/// Whether a node is tasks or something that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphNodeKind {
    /// Tasks that are alike: of one future, at one place, waiting for and holding the same.
    Task,
    /// A lock, semaphore or channel; several where each has one that waits and one that holds it.
    Resource,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct GraphNode {
    /// Names it in this graph: `t3`, `r1`.
    pub id: String,
    /// What it is.
    pub kind: GraphNodeKind,
    /// The future's path, or what the resource is: `mutex`, `mpsc channel`, ...
    pub name: Arc<str>,
    /// How many there are of them.
    pub count: u64,
    /// The tasks, at most 16; none for a resource.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Arc<str>>,
    /// The state of the tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// What tasks wait for that is no node: `sleep`, `io`, ...
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<Arc<str>>,
    /// Where a single resource is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<crate::address::Address>,
    /// Nothing but other stuck tasks could let these go on, as far as memory tells.
    pub stuck: bool,
}

/// What an edge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphEdgeKind {
    /// A task waits for a resource.
    Waits,
    /// A resource is held by a task, or a task has what others wait for in it.
    Holds,
    /// A task waits for another one to finish.
    Joins,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct GraphEdge {
    /// Id of the node it leads from.
    pub from: String,
    /// Id of the node it leads to.
    pub to: String,
    /// What it says.
    pub kind: GraphEdgeKind,
    /// Path of the future that waits or holds.
    pub future: Arc<str>,
    /// The await at which that stands: the file.
    pub file: Option<Arc<str>>,
    /// The line.
    pub line: Option<u32>,
    /// The future that holds it is kept by its task and not polled.
    pub not_polled: bool,
    /// Why it may not be held any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Arc<str>>,
    /// How many there are of it.
    pub count: u64,
}

/// A resource, or task, at which waits end: who has it waits for nothing that is a node.
#[derive(Clone, Debug, Serialize)]
pub struct Root {
    /// Id of the node.
    pub node: String,
    /// Tasks that wait for it, directly or not.
    pub waiting: u64,
    /// Why the waits end here, in words.
    pub because: String,
}

/// The graph of the last look of a case.
#[must_use]
pub fn graph(case: &Case<'_>) -> WaitGraph {
    let facts = Facts::of(case);
    let progress = Progress::of(&facts, Rules::ALL[1]);
    let mut drawing = Drawing::of(&facts, &progress);
    drawing.edges();
    let circles = circles(&facts, &progress, Kept::With)
        .iter()
        .map(|circle| {
            let steps = circle.steps.iter();
            let nodes = steps.flat_map(|step| {
                let resource = step.resource.map(|index| drawing.resources[index]);
                [Some(drawing.tasks[step.task]), resource]
            });
            nodes
                .flatten()
                .map(|node| drawing.nodes[node].id.clone())
                .collect()
        })
        .collect();
    WaitGraph {
        schema: SCHEMA,
        time_ns: case.now().map(|moment| moment.time),
        roots: super::roots::roots(&drawing.nodes, &drawing.links, MAX_ROOTS),
        edges: drawing.finished_edges(),
        nodes: drawing.nodes,
        circles,
    }
}

/// An edge without a count.
type Bare = GraphEdge;

struct Drawing<'f, 'a> {
    facts: &'f Facts<'a>,
    nodes: Vec<GraphNode>,
    /// Node of each task.
    tasks: Vec<usize>,
    /// Node of each resource.
    resources: Vec<usize>,
    counted: HashMap<Bare, u64>,
    /// The same by index, without what they say.
    links: Vec<(usize, usize)>,
}

impl<'f, 'a> Drawing<'f, 'a> {
    fn of(facts: &'f Facts<'a>, progress: &Progress) -> Self {
        let mut held: Vec<Vec<usize>> = vec![Vec::new(); facts.tasks.len()];
        for (index, resource) in facts.resources.iter().enumerate() {
            for claim in &resource.claims {
                held[claim.task].push(index);
            }
        }
        let keys: Vec<String> = facts
            .resources
            .iter()
            .enumerate()
            .map(|(index, resource)| resource_key(facts, index, resource))
            .collect();
        let mut drawing = Self {
            facts,
            nodes: Vec::new(),
            tasks: Vec::with_capacity(facts.tasks.len()),
            resources: Vec::with_capacity(facts.resources.len()),
            counted: HashMap::new(),
            links: Vec::new(),
        };
        let mut known: HashMap<String, usize> = HashMap::new();
        for (index, member) in facts.tasks.iter().enumerate() {
            let stuck = !progress.task(index);
            let key = task_key(facts, member, &held[index], &keys, stuck);
            let node = drawing.node(&mut known, key, || task_node(member, stuck));
            let node_of = &mut drawing.nodes[node];
            node_of.count += 1;
            if node_of.tasks.len() < MAX_NAMED {
                node_of.tasks.push(member.info.id.as_str().into());
            }
            drawing.tasks.push(node);
        }
        for (resource, key) in facts.resources.iter().zip(keys) {
            let node = drawing.node(&mut known, key, || resource_node(resource));
            let node_of = &mut drawing.nodes[node];
            node_of.count += 1;
            if node_of.count > 1 {
                node_of.address = None;
            }
            drawing.resources.push(node);
        }
        drawing
    }

    fn node(
        &mut self,
        known: &mut HashMap<String, usize>,
        key: String,
        make: impl FnOnce() -> GraphNode,
    ) -> usize {
        let nodes = &mut self.nodes;
        *known.entry(key).or_insert_with(|| {
            let mut node = make();
            let letter = match node.kind {
                GraphNodeKind::Task => 't',
                GraphNodeKind::Resource => 'r',
            };
            node.id = format!("{letter}{}", nodes.len());
            nodes.push(node);
            nodes.len() - 1
        })
    }

    fn edges(&mut self) {
        let facts = self.facts;
        for (task, member) in facts.tasks.iter().enumerate() {
            for (leaf, on) in &member.waits {
                let at = waits_at(member, *leaf);
                match on {
                    On::Resource(index) => self.edge(
                        self.tasks[task],
                        self.resources[*index],
                        GraphEdgeKind::Waits,
                        &at,
                        None,
                    ),
                    On::Tasks(targets) => {
                        for &target in targets {
                            let (from, to) = (self.tasks[task], self.tasks[target]);
                            self.edge(from, to, GraphEdgeKind::Joins, &at, None);
                        }
                    }
                    On::Never | On::Outside => {}
                }
            }
        }
        for (index, resource) in facts.resources.iter().enumerate() {
            for claim in resource
                .claims
                .iter()
                .filter(|claim| claim.how != How::Queued)
            {
                let at = site(Role::HoldsAt, claim.holder);
                let (from, to) = (self.resources[index], self.tasks[claim.task]);
                self.edge(from, to, GraphEdgeKind::Holds, &at, Some(claim));
            }
        }
    }

    fn edge(
        &mut self,
        from: usize,
        to: usize,
        kind: GraphEdgeKind,
        at: &Site,
        claim: Option<&Claim<'_>>,
    ) {
        let bare = GraphEdge {
            from: self.nodes[from].id.clone(),
            to: self.nodes[to].id.clone(),
            kind,
            future: Arc::clone(&at.future),
            file: at.file.clone(),
            line: at.line,
            not_polled: claim.is_some_and(|claim| claim.kept.is_some()),
            doubt: claim.and_then(|claim| claim.doubt).map(Into::into),
            count: 0,
        };
        let count = self.counted.entry(bare).or_default();
        *count += 1;
        if *count == 1 {
            self.links.push((from, to));
        }
    }

    fn finished_edges(&mut self) -> Vec<GraphEdge> {
        let counted = std::mem::take(&mut self.counted);
        let mut edges: Vec<GraphEdge> = counted
            .into_iter()
            .map(|(edge, count)| GraphEdge { count, ..edge })
            .collect();
        edges.sort();
        edges
    }
}

fn task_node(member: &Member<'_>, stuck: bool) -> GraphNode {
    GraphNode {
        id: String::new(),
        kind: GraphNodeKind::Task,
        name: Arc::clone(&member.info.future),
        count: 0,
        tasks: Vec::new(),
        state: Some(member.info.state),
        waits_for: outside(member).into_iter().map(Into::into).collect(),
        address: None,
        stuck,
    }
}

fn resource_node(resource: &Resource<'_>) -> GraphNode {
    GraphNode {
        id: String::new(),
        kind: GraphNodeKind::Resource,
        name: resource.name.into(),
        count: 0,
        tasks: Vec::new(),
        state: None,
        waits_for: Vec::new(),
        address: Some(crate::address::Address(resource.address)),
        stuck: false,
    }
}

/// Kinds of what a task waits for outside, each once.
fn outside<'m>(member: &'m Member<'_>) -> Vec<&'m str> {
    let mut kinds: Vec<&str> = member
        .waits
        .iter()
        .filter(|(_, on)| matches!(on, On::Outside | On::Never))
        .filter_map(|(leaf, _)| {
            let node = member.tree.futures.get(*leaf)?.node;
            Some(
                node.waits_for
                    .as_ref()
                    .map_or(&*node.future, |waits| waits.kind),
            )
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn waits_at(member: &Member<'_>, leaf: usize) -> Site {
    awaited_in(&member.tree, leaf).map_or_else(
        || Site {
            role: Role::WaitsAt,
            future: Arc::clone(&member.info.future),
            file: None,
            line: None,
        },
        |at| site(Role::WaitsAt, at.node),
    )
}

/// What makes tasks alike.
fn task_key(
    facts: &Facts<'_>,
    member: &Member<'_>,
    held: &[usize],
    resources: &[String],
    stuck: bool,
) -> String {
    let mut key = format!("{}|{:?}|{stuck}", member.info.future, member.info.state);
    for (leaf, on) in &member.waits {
        key.push_str("|w:");
        match on {
            On::Resource(index) => key.push_str(&resources[*index]),
            On::Tasks(targets) => {
                for target in targets.iter().take(MAX_NAMED) {
                    key.push_str(&facts.tasks[*target].info.future);
                    key.push(',');
                }
            }
            On::Never | On::Outside => {
                let node = member.tree.futures[*leaf].node;
                key.push_str(
                    node.waits_for
                        .as_ref()
                        .map_or(&*node.future, |waits| waits.kind),
                );
            }
        }
        key.push('@');
        key.push_str(&place(&waits_at(member, *leaf)));
    }
    for index in held {
        key.push_str("|h:");
        key.push_str(&resources[*index]);
    }
    key
}

/// What makes resources alike: a channel from one task to one other is like the thousand others
/// between such tasks; what more of them share is itself.
fn resource_key(facts: &Facts<'_>, index: usize, resource: &Resource<'_>) -> String {
    let (waiters, claims) = (&resource.waiters[..], &resource.claims[..]);
    if waiters.len() > 1 || claims.len() > 1 {
        return format!("#{index}");
    }
    let waiter = waiters.first().map_or_else(String::new, |&(task, leaf)| {
        // A task is added after its resources.
        let member = facts.tasks.get(task);
        member.map_or_else(String::new, |member| {
            format!("{}@{}", member.info.future, place(&waits_at(member, leaf)))
        })
    });
    let claim = claims.first().map_or_else(String::new, |claim| {
        let itself = waiters.first().is_some_and(|&(task, _)| task == claim.task);
        format!(
            "{}@{}{itself}{:?}",
            facts.tasks[claim.task].info.future,
            place(&site(Role::HoldsAt, claim.holder)),
            claim.how
        )
    });
    format!("{:?} {}|{waiter}|{claim}", resource.class, resource.name)
}
