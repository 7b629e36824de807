//! Circles of waits among stuck tasks: strongly connected components (Tarjan), and the shortest way
//! around in each.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::facts::{Claim, Facts, On};
use super::progress::{Progress, holders};

/// A step of a circle: a task waits, and what holds it up is in the hands of the next task.
#[derive(Clone, Copy, Debug)]
pub(in crate::analyse::findings) struct Step<'a> {
    /// The task that waits.
    pub task: usize,
    /// Its leaf.
    pub leaf: usize,
    /// The resource that it waits for; `None` when it joins the next task.
    pub resource: Option<usize>,
    /// How the next task holds that.
    pub claim: Option<Claim<'a>>,
}

/// Tasks that wait for each other.
#[derive(Clone, Debug)]
pub(in crate::analyse::findings) struct Circle<'a> {
    /// The shortest way around that begins with the first of its tasks.
    pub steps: Vec<Step<'a>>,
    /// All tasks of the component, in order.
    pub tasks: Vec<usize>,
    /// Tasks that are in no circle and wait, directly or not, for this one; each is counted for one
    /// circle.
    pub behind: usize,
}

/// A node: a task or a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    Task(usize),
    Resource(usize),
}

/// Which holders make an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analyse::findings) enum Kept {
    /// Those too that are in futures which their task does not poll.
    With,
    /// Only those that are in futures which are polled.
    Without,
}

/// The circles among the tasks that are stuck by `progress`.
pub(in crate::analyse::findings) fn circles<'a>(
    facts: &Facts<'a>,
    progress: &Progress,
    kept: Kept,
) -> Vec<Circle<'a>> {
    let mut graph = DiGraph::<Node, ()>::new();
    let mut nodes: HashMap<Node, NodeIndex> = HashMap::new();
    let mut steps: HashMap<(usize, Node), Step<'a>> = HashMap::new();
    let mut resources = HashSet::new();
    let stuck = (0..facts.tasks.len()).filter(|&task| !progress.task(task));
    for task in stuck {
        for (leaf, on) in progress.stuck_leaves(&facts.tasks[task], task) {
            let mut edge = |to: Node, resource| {
                let mut node = |of: Node| *nodes.entry(of).or_insert_with(|| graph.add_node(of));
                let (from, into) = (node(Node::Task(task)), node(to));
                graph.add_edge(from, into, ());
                let step = Step {
                    task,
                    leaf,
                    resource,
                    claim: None,
                };
                steps.entry((task, to)).or_insert(step);
            };
            match on {
                On::Resource(index) => {
                    edge(Node::Resource(*index), Some(*index));
                    resources.insert(*index);
                }
                On::Tasks(tasks) => {
                    let tasks = tasks.iter().filter(|&&task| !progress.task(task));
                    tasks.for_each(|&task| edge(Node::Task(task), None));
                }
                On::Never | On::Outside => {}
            }
        }
    }
    let mut claims: HashMap<(usize, usize), Claim<'a>> = HashMap::new();
    for &index in &resources {
        let counts = |claim: &&Claim<'_>| {
            !progress.task(claim.task) && (kept == Kept::With || claim.kept.is_none())
        };
        for claim in holders(&facts.resources[index], progress.rules).filter(counts) {
            let mut node = |of: Node| *nodes.entry(of).or_insert_with(|| graph.add_node(of));
            let (from, into) = (node(Node::Resource(index)), node(Node::Task(claim.task)));
            graph.add_edge(from, into, ());
            claims.entry((index, claim.task)).or_insert(*claim);
        }
    }
    let mut components: Vec<Vec<NodeIndex>> = tarjan_scc(&graph)
        .into_iter()
        .filter(|component| is_circle(&graph, component))
        .collect();
    let rank = |node: Node| rank(facts, node);
    let lowest = |component: &Vec<NodeIndex>| {
        let ranks = component.iter().map(|&node| rank(graph[node]));
        ranks.min()
    };
    components.sort_by_key(lowest);
    let in_circle: HashSet<NodeIndex> = components.iter().flatten().copied().collect();
    let mut seen = in_circle;
    components
        .iter()
        .filter_map(|component| {
            let around = shortest(&graph, component, rank)?;
            let steps = named(&around, &steps, &claims)?;
            let mut tasks: Vec<usize> = component
                .iter()
                .filter_map(|&node| task_of(graph[node]))
                .collect();
            tasks.sort_unstable();
            Some(Circle {
                steps,
                tasks,
                behind: behind(&graph, component, &mut seen),
            })
        })
        .collect()
}

/// An order of nodes that does not depend on the order in which tasks were listed.
fn rank<'f>(facts: &'f Facts<'_>, node: Node) -> (u8, u64, &'f str) {
    match node {
        Node::Task(task) => {
            let info = facts.tasks[task].info;
            (0, info.address.0, &info.id)
        }
        Node::Resource(index) => {
            let resource = &facts.resources[index];
            (1 + resource.class as u8, resource.address, "")
        }
    }
}

const fn task_of(node: Node) -> Option<usize> {
    match node {
        Node::Task(task) => Some(task),
        Node::Resource(_) => None,
    }
}

fn is_circle(graph: &DiGraph<Node, ()>, component: &[NodeIndex]) -> bool {
    match component {
        [one] => graph.contains_edge(*one, *one),
        _ => true,
    }
}

/// The shortest way from the first task of a component back to it; over another one, where there is
/// one: of what several can hold, a task that holds a part itself waits for the others as well.
fn shortest<K: Ord>(
    graph: &DiGraph<Node, ()>,
    component: &[NodeIndex],
    rank: impl Fn(Node) -> K,
) -> Option<Vec<Node>> {
    let members: HashSet<NodeIndex> = component.iter().copied().collect();
    let is_task = |node: &NodeIndex| task_of(graph[*node]).is_some();
    let start = component
        .iter()
        .copied()
        .filter(is_task)
        .min_by_key(|&node| rank(graph[node]))?;
    let alone = component.iter().filter(|node| is_task(node)).count() == 1;
    // In a fixed order, whatever the order of the edges.
    let ordered = |of: NodeIndex| {
        let inside = graph.neighbors(of).filter(|next| members.contains(next));
        let mut next: Vec<NodeIndex> = inside.collect();
        next.sort_by_key(|&node| rank(graph[node]));
        next
    };
    // The task before, and the resource in between where there is one.
    let mut before: HashMap<NodeIndex, (NodeIndex, Option<NodeIndex>)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for via in ordered(at) {
            let (via, next) = if is_task(&via) {
                (None, vec![via])
            } else {
                (Some(via), ordered(via))
            };
            for next in next {
                if next == start && (at != start || alone) {
                    return Some(way(graph, &before, at, via));
                }
                if next != start
                    && let Entry::Vacant(unseen) = before.entry(next)
                {
                    unseen.insert((at, via));
                    queue.push_back(next);
                }
            }
        }
    }
    None
}

/// The way to the task `at` and over `via`, from where the rows of `before` begin.
fn way(
    graph: &DiGraph<Node, ()>,
    before: &HashMap<NodeIndex, (NodeIndex, Option<NodeIndex>)>,
    at: NodeIndex,
    via: Option<NodeIndex>,
) -> Vec<Node> {
    let mut around: Vec<Node> = via.into_iter().map(|via| graph[via]).collect();
    let mut at = Some(at);
    while let Some(task) = at {
        around.push(graph[task]);
        let earlier = before.get(&task);
        around.extend(earlier.and_then(|(_, via)| *via).map(|via| graph[via]));
        at = earlier.map(|(task, _)| *task);
    }
    around.reverse();
    around
}

/// A way around as steps from task to task.
fn named<'a>(
    around: &[Node],
    steps: &HashMap<(usize, Node), Step<'a>>,
    claims: &HashMap<(usize, usize), Claim<'a>>,
) -> Option<Vec<Step<'a>>> {
    let at = |index: usize| around[index % around.len()];
    let mut named = Vec::new();
    for index in 0..around.len() {
        let Some(task) = task_of(at(index)) else {
            continue;
        };
        let mut step = *steps.get(&(task, at(index + 1)))?;
        if let (Some(resource), Node::Task(holder)) = (step.resource, at(index + 2)) {
            step.claim = claims.get(&(resource, holder)).copied();
        }
        named.push(step);
    }
    Some(named)
}

/// How many tasks lead to a component and to none before it.
fn behind(
    graph: &DiGraph<Node, ()>,
    component: &[NodeIndex],
    seen: &mut HashSet<NodeIndex>,
) -> usize {
    let mut count = 0;
    let mut open: Vec<NodeIndex> = component.to_vec();
    while let Some(at) = open.pop() {
        for before in graph.neighbors_directed(at, petgraph::Direction::Incoming) {
            if seen.insert(before) {
                count += usize::from(task_of(graph[before]).is_some());
                open.push(before);
            }
        }
    }
    count
}
