//! Where waits end: what all that waits comes down to.

use super::shown::{GraphNode, GraphNodeKind, Root};

/// The ends of the waits in a graph of `nodes` with `links` from what waits to what it waits for, at
/// most `most` of them, the one that most tasks wait for first.
///
/// An end is a node that somebody waits for and that waits for no other, or the nodes of a circle
/// that nothing leads out of (its first node stands for them).
pub(super) fn roots(nodes: &[GraphNode], links: &[(usize, usize)], most: usize) -> Vec<Root> {
    let mut graph = petgraph::graph::DiGraph::<usize, ()>::new();
    for index in 0..nodes.len() {
        graph.add_node(index);
    }
    let at = petgraph::graph::NodeIndex::new;
    for &(from, to) in links {
        graph.add_edge(at(from), at(to), ());
    }
    let components = petgraph::algo::tarjan_scc(&graph);
    let mut component_of = vec![0_usize; nodes.len()];
    for (number, component) in components.iter().enumerate() {
        for node in component {
            component_of[node.index()] = number;
        }
    }
    let mut leads_on = vec![false; components.len()];
    let mut is_waited_for = vec![false; components.len()];
    for &(from, to) in links {
        let (from, to) = (component_of[from], component_of[to]);
        if from != to {
            leads_on[from] = true;
            is_waited_for[to] = true;
        }
    }
    // Those that most lead to directly first, so that the bound leaves out what matters least.
    let mut ends: Vec<(u64, usize)> = (0..components.len())
        .filter(|&number| {
            !leads_on[number] && (is_waited_for[number] || components[number].len() > 1)
        })
        .map(|number| {
            let direct = components[number]
                .iter()
                .flat_map(|&node| graph.neighbors_directed(node, petgraph::Direction::Incoming));
            (direct.map(|node| nodes[node.index()].count).sum(), number)
        })
        .collect();
    ends.sort_unstable_by_key(|&(count, number)| (std::cmp::Reverse(count), number));
    let mut roots: Vec<(usize, Root)> = ends
        .into_iter()
        .take(most)
        .filter_map(|(_, number)| {
            let component = &components[number];
            let first = component.iter().map(|node| node.index()).min()?;
            let waiting = waiting(&graph, component, nodes);
            let because = because(&nodes[first], component.len());
            let node = nodes[first].id.clone();
            Some((
                first,
                Root {
                    node,
                    waiting,
                    because,
                },
            ))
        })
        .collect();
    roots.sort_by_key(|(first, root)| (std::cmp::Reverse(root.waiting), *first));
    roots.into_iter().map(|(_, root)| root).collect()
}

/// How many tasks lead to a component, its own in a circle included.
fn waiting(
    graph: &petgraph::graph::DiGraph<usize, ()>,
    component: &[petgraph::graph::NodeIndex],
    nodes: &[GraphNode],
) -> u64 {
    let mut seen = vec![false; nodes.len()];
    let mut open = component.to_vec();
    let mut count = 0_u64;
    let in_circle = component.len() > 1;
    for node in component {
        seen[node.index()] = true;
        count += if in_circle {
            tasks(&nodes[node.index()])
        } else {
            0
        };
    }
    while let Some(node) = open.pop() {
        for before in graph.neighbors_directed(node, petgraph::Direction::Incoming) {
            if !std::mem::replace(&mut seen[before.index()], true) {
                count += tasks(&nodes[before.index()]);
                open.push(before);
            }
        }
    }
    count
}

const fn tasks(node: &GraphNode) -> u64 {
    match node.kind {
        GraphNodeKind::Task => node.count,
        GraphNodeKind::Resource => 0,
    }
}

fn because(node: &GraphNode, size: usize) -> String {
    if size > 1 {
        return "they wait for each other in a circle".to_owned();
    }
    match node.kind {
        GraphNodeKind::Resource => {
            format!("who holds this {} is not to be seen in memory", node.name)
        }
        GraphNodeKind::Task if node.waits_for.is_empty() => {
            format!("{} waits for nothing that is known", node.name)
        }
        GraphNodeKind::Task => format!("{} waits for {}", node.name, node.waits_for.join(", ")),
    }
}
