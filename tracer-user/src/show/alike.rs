//! Which tasks and trees differ only in values (deadlines, addresses, ids), and are shown as one.

use std::hash::{Hash, Hasher};

use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tree::{AwaitNode, Held};

/// A task that equals every task of its kind which stands where it stands.
#[derive(Clone, Copy)]
pub(super) struct AlikeTask<'t>(pub &'t TaskInfo);

/// The same of a tree.
#[derive(Clone, Copy)]
pub(super) struct AlikeTree<'t>(pub &'t AwaitNode);

impl PartialEq for AlikeTask<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.0, other.0);
        a.state == b.state
            && a.scheduler == b.scheduler
            && a.future == b.future
            && a.notes == b.notes
            && a.tree.as_ref().map(AlikeTree) == b.tree.as_ref().map(AlikeTree)
    }
}

impl Eq for AlikeTask<'_> {}

impl Hash for AlikeTask<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.state.hash(hasher);
        self.0.future.hash(hasher);
        self.0.notes.hash(hasher);
        self.0.tree.as_ref().map(AlikeTree).hash(hasher);
    }
}

fn wait(node: &AwaitNode) -> Option<&'static str> {
    node.waits_for.as_ref().map(|waits_for| waits_for.kind)
}

fn held(held: &Held) -> (&str, &'static str, bool) {
    (&held.local, held.what.kind, held.doubt.is_some())
}

/// All of a node but what is below it.
fn own(node: &AwaitNode) -> impl Hash + PartialEq + '_ {
    (
        &node.future,
        node.line,
        node.state,
        wait(node),
        node.holds.len(),
        node.children.len(),
        node.not_awaited.len(),
    )
}

impl PartialEq for AlikeTree<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.0, other.0);
        let alike =
            |a: &[AwaitNode], b: &[AwaitNode]| a.iter().map(AlikeTree).eq(b.iter().map(AlikeTree));
        own(a) == own(b)
            && a.file == b.file
            && a.holds.iter().map(held).eq(b.holds.iter().map(held))
            && alike(&a.children, &b.children)
            && alike(&a.not_awaited, &b.not_awaited)
    }
}

impl Eq for AlikeTree<'_> {}

impl Hash for AlikeTree<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        own(self.0).hash(hasher);
        for below in &self.0.children {
            AlikeTree(below).hash(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rebuild::snapshot::TaskState;
    use crate::rebuild::tree::{NodeState, WaitsFor};

    fn leaf(kind: &'static str, deadline: u64) -> AwaitNode {
        AwaitNode {
            future: "Sleep".into(),
            waits_for: Some(WaitsFor::new(kind).with("deadline", deadline)),
            ..AwaitNode::default()
        }
    }

    fn task(id: u64, tree: AwaitNode) -> TaskInfo {
        TaskInfo {
            id: format!("tokio/{id}"),
            tree: Some(tree),
            ..TaskInfo::default()
        }
    }

    #[test]
    fn values_make_no_difference_and_all_else_does() {
        let hold = |what: u64, doubt: Option<&str>| Held {
            local: "guard".into(),
            what: WaitsFor::new("lock").with("address", what),
            doubt: doubt.map(str::to_owned),
        };
        let body = |line, below: Vec<AwaitNode>| AwaitNode {
            line: Some(line),
            children: below,
            holds: vec![hold(line.into(), None)],
            ..AwaitNode::default()
        };
        let example = || body(3, vec![leaf("sleep", 1), leaf("sleep", 2)]);
        let mut all = vec![
            task(1, example()),
            task(2, body(3, vec![leaf("sleep", 7), leaf("sleep", 8)])),
            // From here on each is like no other.
            task(3, body(4, vec![leaf("sleep", 1), leaf("sleep", 2)])),
            task(4, body(3, vec![leaf("sleep", 1)])),
            task(5, body(3, vec![leaf("sleep", 1), leaf("io", 2)])),
            task(
                6,
                body(3, vec![body(3, vec![leaf("sleep", 1)]), leaf("sleep", 2)]),
            ),
            TaskInfo {
                state: TaskState::Idle,
                ..task(7, example())
            },
            TaskInfo {
                notes: vec!["torn".to_owned()],
                ..task(8, example())
            },
            TaskInfo {
                scheduler: "local_set",
                ..task(9, example())
            },
        ];
        let mut changed = |change: &dyn Fn(&mut AwaitNode)| {
            let mut tree = example();
            change(&mut tree);
            all.push(task(10, tree));
        };
        changed(&|tree| tree.holds = vec![hold(9, Some("moved"))]);
        changed(&|tree| tree.holds.push(hold(9, None)));
        changed(&|tree| tree.not_awaited.push(leaf("sleep", 1)));
        changed(&|tree| tree.file = Some("src/main.rs".into()));
        changed(&|tree| tree.state = NodeState::Returned);
        let different: HashSet<AlikeTask<'_>> = all.iter().map(AlikeTask).collect();
        assert_eq!(different.len(), all.len() - 1);
        assert!(AlikeTask(&all[0]) == AlikeTask(&all[1]));
    }
}
