//! The graph of waits in Graphviz' language.

use std::fmt::Write as _;

use super::super::source::place;
use super::shown::{GraphEdge, GraphEdgeKind, GraphNode, GraphNodeKind, WaitGraph};
use crate::analyse::findings::model::{Role, Site};
use crate::show::escape::escape_lines;

/// Tasks of a node that are named.
const MAX_NAMED: usize = 4;

impl WaitGraph {
    /// As a `digraph` for `dot`: what neither waits for a node nor is waited for is left out.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut dot = String::from(
            "digraph waits {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10];\n  edge \
             [fontname=\"sans-serif\", fontsize=9];\n",
        );
        let linked: std::collections::HashSet<&str> = self
            .edges
            .iter()
            .flat_map(|edge| [edge.from.as_str(), edge.to.as_str()])
            .collect();
        for node in &self.nodes {
            if linked.contains(node.id.as_str()) {
                self.node(node, &mut dot);
            }
        }
        for edge in &self.edges {
            self.edge(edge, &mut dot);
        }
        dot.push_str("}\n");
        dot
    }

    /// As JSON, the contract of `check --graph json`.
    ///
    /// # Errors
    ///
    /// None that come from this graph: every key is text.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    fn node(&self, node: &GraphNode, dot: &mut String) {
        let mut label = node.name.to_string();
        if node.count > 1 {
            let _ = write!(label, "\n{} of them", node.count);
            let named: Vec<&str> = node
                .tasks
                .iter()
                .take(MAX_NAMED)
                .map(AsRef::as_ref)
                .collect();
            if !named.is_empty() {
                let more = if node.tasks.len() > MAX_NAMED {
                    ", ..."
                } else {
                    ""
                };
                let _ = write!(label, "\n{}{more}", named.join(", "));
            }
        } else if let Some(task) = node.tasks.first() {
            let _ = write!(label, "\n{task}");
        } else if let Some(address) = node.address {
            let _ = write!(label, "\n{address}");
        }
        if !node.waits_for.is_empty() {
            let _ = write!(label, "\nwaits for {}", node.waits_for.join(", "));
        }
        let root = self.roots.iter().any(|root| root.node == node.id);
        let shape = match node.kind {
            GraphNodeKind::Task => "box",
            GraphNodeKind::Resource => "ellipse",
        };
        let style = match (node.stuck, root) {
            (true, true) => ", color=red, penwidth=2",
            (true, false) => ", color=red",
            (false, true) => ", penwidth=2",
            (false, false) => "",
        };
        let _ = writeln!(
            dot,
            "  {} [shape={shape}, label={}{style}];",
            node.id,
            quoted(&label)
        );
    }

    fn edge(&self, edge: &GraphEdge, dot: &mut String) {
        let says = match edge.kind {
            GraphEdgeKind::Waits => "waits",
            GraphEdgeKind::Holds if edge.not_polled => "held, not polled",
            GraphEdgeKind::Holds => "held",
            GraphEdgeKind::Joins => "joins",
        };
        let at = place(&Site {
            role: Role::WaitsAt,
            future: std::sync::Arc::clone(&edge.future),
            file: edge.file.clone(),
            line: edge.line,
        });
        let mut label = format!("{says}\n{at}");
        if edge.count > 1 {
            let _ = write!(label, "\n{} times", edge.count);
        }
        if edge.doubt.is_some() {
            label.push_str("\nin doubt");
        }
        let style = match (edge.kind, edge.doubt.is_some()) {
            (_, true) => ", style=dotted",
            (GraphEdgeKind::Holds, false) => ", style=dashed",
            _ => "",
        };
        let _ = writeln!(
            dot,
            "  {} -> {} [label={}{style}];",
            edge.from,
            edge.to,
            quoted(&label)
        );
    }
}

/// A quoted string of the language. Names come from the target: nothing in them ends the string, and
/// what a terminal or a text engine would act upon is made visible.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in escape_lines(text).chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::super::hand::{Hand, acquire, body, holding, lock, sleep, task};
    use super::super::shown::graph;
    use super::*;

    fn drawn() -> WaitGraph {
        let mut tasks = vec![
            task(1, holding(body("app::holds", 3, sleep(9)), lock(0x10))),
            task(2, body("app::idle", 4, sleep(9))),
        ];
        tasks.extend((10..5_000).map(|id| task(id, body("app::waits", 5, acquire(0x10)))));
        graph(&Hand::twice(tasks).case())
    }

    #[test]
    fn equal_tasks_are_one_node_and_the_end_of_waits_is_named() {
        let graph = drawn();
        let told: Vec<_> = graph
            .nodes
            .iter()
            .map(|node| (&*node.name, node.count, node.tasks.len()))
            .collect();
        assert_eq!(
            told,
            [
                ("app::holds", 1, 1),
                ("app::idle", 1, 1),
                ("app::waits", 4_990, 16),
                ("mutex", 1, 0),
            ]
        );
        assert_eq!(graph.edges.len(), 2);
        let root = &graph.roots[0];
        assert_eq!(
            (root.waiting, &*root.because),
            (4_990, "app::holds waits for sleep")
        );
        assert!(graph.circles.is_empty());
    }

    #[test]
    fn circles_are_stuck_and_named() {
        let tasks = vec![
            task(1, holding(body("app::a", 3, acquire(0x20)), lock(0x10))),
            task(2, holding(body("app::b", 4, acquire(0x10)), lock(0x20))),
        ];
        let graph = graph(&Hand::twice(tasks).case());
        assert_eq!(graph.circles.len(), 1);
        assert_eq!(graph.circles[0].len(), 4);
        assert!(graph.nodes[0].stuck && graph.nodes[1].stuck);
        assert_eq!(graph.roots[0].waiting, 2);
        assert!(graph.to_dot().contains("color=red"));
    }

    #[test]
    fn thousands_of_equal_pairs_are_one_pair() {
        let mut tasks = Vec::new();
        for pair in 1..1_000_u64 {
            let address = 0x10_0000 + pair;
            let (one, two) = (pair * 2, pair * 2 + 1);
            tasks.push(task(
                one,
                holding(body("app::a", 3, sleep(9)), lock(address)),
            ));
            tasks.push(task(two, body("app::b", 4, acquire(address))));
        }
        let graph = graph(&Hand::twice(tasks).case());
        assert_eq!(graph.nodes.len(), 3, "{:#?}", &graph.nodes[..3]);
        assert_eq!(graph.edges.len(), 2);
        assert_eq!(graph.edges[0].count, 999);
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        assert_eq!(quoted("a\"];\nb\\\u{1b}"), "\"a\\\"];\\nb\\\\\\\\x1b\"");
    }

    #[test]
    fn json_has_what_is_promised() {
        let json: serde_json::Value = serde_json::from_str(&drawn().to_json().unwrap()).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["nodes"][0]["kind"], "task");
        assert_eq!(json["edges"][0]["kind"], "holds");
        assert_eq!(json["edges"][1]["kind"], "waits");
        assert_eq!(json["edges"][1]["line"], 5);
        assert_eq!(json["roots"][0]["waiting"], 4_990);
    }
}
