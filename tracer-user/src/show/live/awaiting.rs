//! One line that says where a task waits, from its await tree.

use std::sync::Arc;

use super::table::Awaiting;
use crate::rebuild::tree::{AwaitNode, NodeState};
use crate::show::waits::describe;

/// Branches of a fork that are named.
const BRANCHES: usize = 3;

/// Where the task with this tree waits: the innermost await in the program's own code on the way
/// to the leaf, and what the leaf waits for. The way ends where the tree forks: a join or a select
/// waits for several things, and none of them is *the* one, so all are named.
#[must_use]
pub fn summarise(tree: &AwaitNode, read_at_poll: u64) -> Awaiting {
    let mut best: Option<(Origin, &AwaitNode)> = None;
    let mut node = tree;
    loop {
        if let Some(file) = &node.file {
            let origin = Origin::of(file);
            if best.is_none_or(|(known, _)| origin <= known) {
                best = Some((origin, node));
            }
        }
        match &node.children[..] {
            [child] => node = child,
            _ => break,
        }
    }
    let what: Arc<str> = if node.children.is_empty() {
        leaf(node).into()
    } else {
        branches(node).into()
    };
    let site = best.and_then(|(_, node)| Some((node.file.clone()?, node.line?)));
    Awaiting {
        site,
        what,
        read_at_poll,
    }
}

/// What a leaf waits for.
fn leaf(node: &AwaitNode) -> String {
    if let Some(waits_for) = &node.waits_for {
        return describe(waits_for);
    }
    match node.state {
        NodeState::Unresumed => format!("not polled yet: {}", node.future),
        NodeState::Returned => format!("returned: {}", node.future),
        NodeState::Panicked => format!("panicked: {}", node.future),
        NodeState::Suspended | NodeState::Unknown => node.future.to_string(),
    }
}

/// What the branches of a fork wait for: `[tcp read, fd 9 | sleep, 3.0s left]`.
fn branches(fork: &AwaitNode) -> String {
    let mut leaves = Vec::new();
    let mut more = 0;
    fork.visit(
        &mut |node| match (node.children.is_empty(), leaves.len() < BRANCHES) {
            (true, true) => leaves.push(leaf(node)),
            (true, false) => more += 1,
            (false, _) => {}
        },
    );
    let mut text = format!("[{}", leaves.join(" | "));
    if more > 0 {
        text.push_str(&format!(" | {more} more"));
    }
    text.push(']');
    text
}

/// Whose source a file is, the most telling first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// The program's own, or a dependency by path.
    Program,
    /// A crate from a registry or a git checkout.
    Dependency,
    /// A runtime, a crate of combinators, or the standard library.
    Plumbing,
}

impl Origin {
    fn of(file: &str) -> Self {
        const PLUMBING: [&str; 9] = [
            "/tokio-",
            "/futures-",
            "/hyper-",
            "/h2-",
            "/tower-",
            "/async-",
            "/smol-",
            "/pin-project-",
            "/mio-",
        ];
        if file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/") {
            return Self::Plumbing;
        }
        for folder in ["/registry/src/", "/git/checkouts/"] {
            if let Some((_, inside)) = file.split_once(folder) {
                // The folder of the registry, then that of the crate.
                let crate_folder = inside.find('/').map_or("", |at| &inside[at..]);
                let plumbing = PLUMBING.iter().any(|name| crate_folder.starts_with(name));
                return if plumbing {
                    Self::Plumbing
                } else {
                    Self::Dependency
                };
            }
        }
        Self::Program
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::tree::{NodeKind, WaitsFor};

    fn node(future: &str, file: Option<&str>, children: Vec<AwaitNode>) -> AwaitNode {
        AwaitNode {
            future: future.into(),
            kind: NodeKind::AsyncFn,
            state: NodeState::Suspended,
            file: file.map(Into::into),
            line: file.map(|_| 7),
            waits_for: None,
            notes: Vec::new(),
            children,
            ..AwaitNode::default()
        }
    }

    const REGISTRY: &str = "/home/u/.cargo/registry/src/index.crates.io-0/";

    #[test]
    fn the_programs_own_await_wins_over_deeper_ones_of_libraries() {
        let mut leaf = node("tokio::time::Sleep", None, vec![]);
        leaf.waits_for = Some(WaitsFor::new("sleep").with("remaining_ms", 12_000));
        let tokio = node(
            "tokio::x",
            Some(&format!("{REGISTRY}tokio-1.54.1/src/a.rs")),
            vec![leaf],
        );
        let db = node(
            "sqlx::y",
            Some(&format!("{REGISTRY}sqlx-0.8.0/src/b.rs")),
            vec![tokio],
        );
        let inner = node("app::inner", Some("src/inner.rs"), vec![db.clone()]);
        let tree = node("app::outer", Some("src/outer.rs"), vec![inner]);
        let awaiting = summarise(&tree, 3);
        assert_eq!(awaiting.site.unwrap().0.as_ref(), "src/inner.rs");
        assert_eq!(&*awaiting.what, "sleep, 12.0s left");
        assert_eq!(awaiting.read_at_poll, 3);

        // Where the whole program came from a registry, the innermost crate that is not plumbing.
        let file = summarise(&db, 0).site.unwrap().0;
        assert!(file.ends_with("sqlx-0.8.0/src/b.rs"), "{file}");
    }

    #[test]
    fn a_fork_names_its_branches_and_guesses_none() {
        let branch = |future: &str| node(future, Some("src/branch.rs"), vec![]);
        let tree = |count: usize| {
            let branches = (0..count).map(|index| branch(&format!("app::b{index}")));
            node("app::both", Some("src/both.rs"), branches.collect())
        };
        let awaiting = summarise(&tree(2), 0);
        assert_eq!(awaiting.site.unwrap().0.as_ref(), "src/both.rs");
        assert_eq!(&*awaiting.what, "[app::b0 | app::b1]");
        let many = summarise(&tree(1_000), 0).what;
        assert_eq!(&*many, "[app::b0 | app::b1 | app::b2 | 997 more]");
    }
}
