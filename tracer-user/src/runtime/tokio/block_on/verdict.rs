//! Which of several places holds the future: the one whose bytes decode to one that waits.

use super::Target;
use super::activations::Activation;
use super::candidates::{Candidate, Candidates, Via};
use super::plausible::Plausible;
use crate::address::Address;
use crate::dwarf::{DebugInfo, DieRef, VariantPart};
use crate::memory::Memory;
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState};
use crate::unwind::Stack;

/// Frames scanned from that of `block_on` outwards; the future is pinned in one of tokio's.
const FRAMES: usize = 16;
/// At most so many bytes are scanned.
const SCAN_LIMIT: u64 = 256 << 10;

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    One { address: Address, evidence: String },
    Several(usize),
    None,
}

/// What the bytes at a place decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A future that has been polled and waits.
    Waits,
    /// One that was not polled yet or is done: a stale copy.
    Stale,
    /// A future without a state that tells, or one of which parts cannot be decoded.
    Unclear,
    /// Nothing that could be one.
    Nonsense,
}

fn verdict(tree: &AwaitNode) -> Verdict {
    match tree.state {
        NodeState::Suspended if tree.opaque_nodes() == 0 => Verdict::Waits,
        NodeState::Suspended => Verdict::Unclear,
        NodeState::Unresumed | NodeState::Returned | NodeState::Panicked => Verdict::Stale,
        NodeState::Unknown if tree.kind == NodeKind::Unknown => Verdict::Nonsense,
        NodeState::Unknown => {
            let inner: Vec<Verdict> = tree.children.iter().map(verdict).collect();
            if inner.contains(&Verdict::Waits) && tree.opaque_nodes() == 0 {
                Verdict::Waits
            } else if !inner.is_empty() && inner.iter().all(|inner| *inner == Verdict::Stale) {
                Verdict::Stale
            } else {
                Verdict::Unclear
            }
        }
    }
}

/// How good a candidate is, 0 the best: first what waits; then, by reference rather than by value
/// (a copy is never referred to by a pin), what has no clear state; then, unless the thread is
/// parked, what is being polled for the first time.
fn rank(candidate: &Candidate, verdict: Verdict, parked: bool) -> Option<u8> {
    match (verdict, candidate.via) {
        (Verdict::Waits, _) => Some(0),
        (Verdict::Unclear, Via::Reference) => Some(1),
        (Verdict::Unclear, Via::Value) => Some(2),
        (Verdict::Stale, Via::Reference) if !parked => Some(3),
        (Verdict::Stale | Verdict::Nonsense, _) => None,
    }
}

/// Chooses among what variables lead to.
pub(super) fn judge(
    activation: &Activation,
    candidates: &Candidates,
    target: &Target<'_, '_>,
    memory: &dyn Memory,
) -> Choice {
    let ranked: Vec<(u8, &Candidate)> = candidates
        .found
        .iter()
        .filter_map(|candidate| {
            let tree = target
                .judge
                .tree(activation.future_type, candidate.address, memory);
            let rank = rank(candidate, verdict(&tree), activation.parked)?;
            Some((rank, candidate))
        })
        .collect();
    let Some(best) = ranked.iter().map(|(rank, _)| *rank).min() else {
        return Choice::None;
    };
    let chosen: Vec<&Candidate> = ranked
        .into_iter()
        .filter(|(rank, _)| *rank == best)
        .map(|(_, candidate)| candidate)
        .collect();
    decide(activation, &chosen, target, memory)
}

/// One of several equally good candidates: the one that is pinned, where only one is.
fn decide(
    activation: &Activation,
    chosen: &[&Candidate],
    target: &Target<'_, '_>,
    memory: &dyn Memory,
) -> Choice {
    let pinned = || {
        chosen
            .iter()
            .filter(|candidate| candidate.via == Via::Reference)
    };
    let mut addresses: Vec<Address> = pinned().map(|candidate| candidate.address).collect();
    if addresses.is_empty() {
        addresses = chosen.iter().map(|candidate| candidate.address).collect();
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() > 1 {
        addresses.retain(|address| {
            Plausible::new(target.info, memory).future(activation.future_type, *address)
        });
    }
    match addresses.as_slice() {
        [only] => Choice::One {
            address: *only,
            evidence: chosen
                .iter()
                .find(|candidate| candidate.address == *only)
                .map_or_else(String::new, |candidate| format!("by {}", candidate.origin)),
        },
        several => Choice::Several(several.len().max(2)),
    }
}

/// Where a future, or the first async body inside it, keeps its state; `None` without one.
fn state_of_body(info: &DebugInfo<'_>, future_type: DieRef) -> Option<u64> {
    let is_state = |part: &VariantPart<'_>| {
        part.discriminant
            .is_some_and(|discriminant| discriminant.name == "__state")
    };
    let body = info.field_of_type(future_type, |found, _| {
        found.variants().is_some_and(is_state)
    })?;
    let discriminant = info.type_at(body.type_die)?.variants()?.discriminant?;
    body.offset.checked_add(discriminant.offset)
}

/// Looks for a future that waits at every word of the frames from `block_on` outwards. Only async
/// bodies, and futures that hold one, are looked for: their state is a strong sign.
pub(super) fn scan(
    activation: &Activation,
    stack: &Stack,
    target: &Target<'_, '_>,
    memory: &dyn Memory,
) -> Choice {
    let future_type = activation.future_type;
    let Some(future) = target.info.type_at(future_type) else {
        return Choice::None;
    };
    let Some(state) = state_of_body(target.info, future_type) else {
        return Choice::None;
    };
    let mut scanned = 0;
    let mut found = Vec::new();
    for frame in stack.frames.iter().skip(activation.frame).take(FRAMES) {
        let Some(start) = frame.registers.stack_pointer() else {
            continue;
        };
        // The topmost word of a frame is its return address: no variable lies across it.
        let end = frame.frame_address.0.saturating_sub(8);
        scanned += end.saturating_sub(start.0);
        let mut at = Address(start.0.saturating_add(7) & !7);
        while at.0.saturating_add(future.size) <= end && scanned <= SCAN_LIMIT {
            // States from 3 on are suspended (rustc: 0 unresumed, 1 returned, 2 panicked).
            let suspended = memory.u8(at.add(state)).is_ok_and(|state| state >= 3);
            if suspended
                && Plausible::new(target.info, memory).future(future_type, at)
                && verdict(&target.judge.tree(future_type, at, memory)) == Verdict::Waits
            {
                found.push(at);
            }
            at = at.add(8);
        }
    }
    match found.as_slice() {
        [] => Choice::None,
        [only] => Choice::One {
            address: *only,
            evidence: format!("by a scan of {scanned} bytes of the stack"),
        },
        several => Choice::Several(several.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind, state: NodeState, children: Vec<AwaitNode>) -> AwaitNode {
        AwaitNode {
            future: "app::main".into(),
            kind,
            state,
            file: None,
            line: None,
            waits_for: None,
            notes: Vec::new(),
            children,
            ..AwaitNode::default()
        }
    }

    #[test]
    fn only_what_was_polled_waits() {
        let leaf = || node(NodeKind::Leaf, NodeState::Suspended, Vec::new());
        let body = |state, children| verdict(&node(NodeKind::AsyncFn, state, children));
        assert_eq!(body(NodeState::Suspended, vec![leaf()]), Verdict::Waits);
        for stale in [
            NodeState::Unresumed,
            NodeState::Returned,
            NodeState::Panicked,
        ] {
            assert_eq!(body(stale, Vec::new()), Verdict::Stale);
        }
        let unreadable = node(NodeKind::Unknown, NodeState::Unknown, Vec::new());
        assert_eq!(verdict(&unreadable), Verdict::Nonsense);
        let partly = body(NodeState::Suspended, vec![unreadable]);
        assert_eq!(partly, Verdict::Unclear);
    }

    #[test]
    fn a_future_without_a_state_is_judged_by_what_it_holds() {
        let holds = |children| verdict(&node(NodeKind::Future, NodeState::Unknown, children));
        let inner = |state| node(NodeKind::AsyncFn, state, Vec::new());
        assert_eq!(holds(vec![inner(NodeState::Suspended)]), Verdict::Waits);
        assert_eq!(holds(vec![inner(NodeState::Unresumed)]), Verdict::Stale);
        assert_eq!(holds(Vec::new()), Verdict::Unclear);
        let both = vec![inner(NodeState::Returned), inner(NodeState::Suspended)];
        assert_eq!(holds(both), Verdict::Waits);
    }

    #[test]
    fn references_count_more_than_copies() {
        let by = |via| Candidate {
            address: Address(0x1000),
            via,
            origin: String::new(),
        };
        let rank = |via, verdict, parked| rank(&by(via), verdict, parked);
        assert!(
            rank(Via::Value, Verdict::Waits, true) < rank(Via::Reference, Verdict::Unclear, true)
        );
        assert!(
            rank(Via::Reference, Verdict::Unclear, true) < rank(Via::Value, Verdict::Unclear, true)
        );
        // Unresumed while the thread is parked is a copy; while it polls, a first poll.
        assert_eq!(rank(Via::Reference, Verdict::Stale, true), None);
        assert!(rank(Via::Reference, Verdict::Stale, false).is_some());
        assert_eq!(rank(Via::Value, Verdict::Stale, false), None);
        assert_eq!(rank(Via::Reference, Verdict::Nonsense, false), None);
    }
}
