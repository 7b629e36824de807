//! One await tree as awaits: what is awaited where, in preorder, and a fingerprint that stays while
//! the task stands still.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::address::Address;
use crate::analyse::findings::preorder::{Preorder, SAME};
use crate::analyse::history::Awaited;
use crate::analyse::profile::awaits::is_own;
use crate::rebuild::tree::{AwaitNode, WaitsFor};

/// A future of a tree that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) awaited: Awaited,
    /// Place in the list of what holds it.
    pub(super) above: Option<usize>,
    /// Where it lies.
    pub(super) address: Option<Address>,
    /// Fingerprint of what it waits for.
    pub(super) waits: u64,
    /// Nothing that is waited for is below it.
    pub(super) leaf: bool,
    /// See [`super::SampledAwait::innermost_samples`].
    pub(super) innermost: bool,
}

/// A fingerprint of a whole tree: equal while the task stands still.
///
/// Two trees that differ are taken for one with a chance of 2^-64.
pub(super) fn fingerprint(root: &AwaitNode) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        node.address.hash(&mut hasher);
        node.state.hash(&mut hasher);
        node.kind.hash(&mut hasher);
        node.line.hash(&mut hasher);
        node.children.len().hash(&mut hasher);
        node.future.hash(&mut hasher);
        hash_waits(node.waits_for.as_ref(), &mut hasher);
        open.extend(&node.children);
    }
    hasher.finish()
}

fn hash_waits(waits: Option<&WaitsFor>, hasher: &mut DefaultHasher) {
    let Some(waits) = waits else { return };
    waits.kind.hash(hasher);
    for name in SAME {
        if let Some(value) = waits.details.get(name) {
            name.hash(hasher);
            value.hash(hasher);
        }
    }
}

/// What of a tree is waited for, in preorder.
pub(super) fn waiting(root: &AwaitNode) -> Vec<Waiting> {
    let order = Preorder::of(root);
    // Place in the result of each future of the tree that is in it.
    let mut places: Vec<Option<usize>> = Vec::with_capacity(order.futures.len());
    let mut found: Vec<Waiting> = Vec::new();
    for (index, future) in order.futures.iter().enumerate() {
        if !future.alive {
            places.push(None);
            continue;
        }
        places.push(Some(found.len()));
        let node = future.node;
        let by = future.above.and_then(|above| order.futures.get(above));
        // The nearest body around it: combinators have no place of their own.
        let site = order
            .outwards(index)
            .skip(1)
            .find(|around| around.node.file.is_some());
        let mut hasher = DefaultHasher::new();
        hash_waits(node.waits_for.as_ref(), &mut hasher);
        found.push(Waiting {
            awaited: Awaited {
                future: Arc::clone(&node.future),
                kind: node.kind,
                waits_for: node.waits_for.as_ref().map(|waits| waits.kind.into()),
                by: by.map(|by| Arc::clone(&by.node.future)),
                file: site.and_then(|site| site.node.file.clone()),
                line: site.and_then(|site| site.node.line),
            },
            above: future
                .above
                .and_then(|above| places.get(above).copied().flatten()),
            address: node.address,
            waits: hasher.finish(),
            leaf: !future.waits_inside,
            innermost: false,
        });
    }
    mark_innermost(&mut found);
    found
}

/// By the rule of the await profile of events.
fn mark_innermost(found: &mut [Waiting]) {
    let own: Vec<bool> = found
        .iter()
        .map(|waiting| waiting.awaited.file.as_deref().is_some_and(is_own))
        .collect();
    let mut inside = vec![false; found.len()];
    for at in (0..found.len()).rev() {
        if let Some(above) = found[at].above {
            inside[above] |= own[at] || inside[at];
        }
    }
    let mut around = vec![false; found.len()];
    for at in 0..found.len() {
        if let Some(above) = found[at].above {
            around[at] = own[above] || around[above];
        }
        found[at].innermost = if own[at] {
            !inside[at]
        } else {
            found[at].leaf && !around[at]
        };
    }
}
