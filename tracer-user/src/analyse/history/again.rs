//! A task that stands after a poll where it stood before it: has it come round to the same await,
//! or has nothing happened to what it waits for?
//!
//! A loop that receives, handles without waiting, and receives again looks like a task that was
//! polled for nothing: the futures are at the same places, and have no marks that differ. It is
//! taken for another round only where a poll cannot have been for nothing:
//!
//! - the task waited in one leaf only;
//! - the leaf waits for what is there once it was woken (a message, a permit, a notification, the
//!   end of a task), and the task was scheduled by another task, or by a thread that no driver
//!   moved; or for I/O, and I/O woke it; or it does not say for what, and a timer woke it (a tick of
//!   an interval);
//! - a sleep is told by its deadline, so an unchanged one is the same; where the deadline is not
//!   known, a timer that woke the task tells.
//!
//! While wake-ups are not watched, a poll is taken to be for the only leaf there is: else a loop that
//! receives would look like one long wait.
//!
//! Then the leaf is another instance, and so are the runtime's own futures around it (`recv` of a
//! channel, `tick` of an interval): they await one thing once. Of the program's own functions around
//! these it is not known whether they were called again, and they count as the same.
//!
//! What remains uncertain: a waker that was kept from an earlier wait can wake a task for nothing.

use super::task::Evidence;
use super::tree::{Node, Tree};

/// The outermost node that came round, if any did.
pub(super) fn came_round(tree: &Tree, evidence: Evidence) -> Option<usize> {
    let leaf = tree.only_leaf()?;
    let node = &tree.nodes[leaf];
    let waits_for = node.state.waits_for.as_deref();
    // Where its deadline could not be read, the timer tells.
    let may_be_timer = matches!(evidence, Evidence::Timer | Evidence::Unseen);
    let is_ready = is_ready_once_woken(waits_for, evidence)
        || (waits_for == Some("sleep") && node.mark.is_none() && may_be_timer);
    if node.parent.is_none() || !is_ready {
        return None;
    }
    let mut outermost = leaf;
    while let Some(parent) = tree.nodes[outermost].parent
        && is_of_the_runtime(&tree.nodes[parent])
    {
        outermost = parent;
    }
    Some(outermost)
}

fn is_ready_once_woken(waits_for: Option<&str>, evidence: Evidence) -> bool {
    match evidence {
        Evidence::None => false,
        Evidence::Timer => waits_for.is_none(),
        Evidence::Io => waits_for == Some("io"),
        Evidence::Other => matches!(
            waits_for,
            Some("channel" | "oneshot" | "notify" | "lock" | "semaphore" | "join")
        ),
        Evidence::Unseen => [Evidence::Timer, Evidence::Io, Evidence::Other]
            .into_iter()
            .any(|one| is_ready_once_woken(waits_for, one)),
    }
}

/// Whether a node is the runtime's own, and not the task's future itself.
fn is_of_the_runtime(node: &Node) -> bool {
    let path = node.state.future.as_ref();
    node.parent.is_some() && (path.starts_with("tokio::") || path.starts_with("core::future::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wake_up_proves_depends_on_the_leaf_and_on_who_woke() {
        use Evidence::{Io, None as Nothing, Other, Timer, Unseen};
        let proves = |waits_for, evidence| is_ready_once_woken(waits_for, evidence);
        for kind in ["channel", "oneshot", "notify", "lock", "semaphore", "join"] {
            assert!(proves(Some(kind), Other), "{kind}");
            for evidence in [Nothing, Timer, Io] {
                assert!(!proves(Some(kind), evidence), "{kind} {evidence:?}");
            }
        }
        assert!(proves(Some("io"), Io) && !proves(Some("io"), Other));
        assert!(proves(None, Timer) && !proves(None, Other) && !proves(None, Io));
        for evidence in [Nothing, Timer, Io, Other, Unseen] {
            assert!(!proves(Some("sleep"), evidence), "{evidence:?}");
        }
        for kind in [Some("channel"), Some("io"), None] {
            assert!(proves(kind, Unseen), "{kind:?}");
        }
    }
}
