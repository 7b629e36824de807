//! The futures of one task as they were told last, and which of those that are told now are the
//! same ones.
//!
//! What is known of a future is where it lies, its type, its [mark](Marks) and who awaits it; not
//! whether it was made anew since. So:
//!
//! - The task's own future is always the same. Any other is the same if it lies at the same place,
//!   has the same path and mark, and is awaited by the same instance, which stands at the same
//!   await. (An async body leaves an await only when what it awaited is ready, so what it awaits
//!   elsewhere is another one.)
//! - Under another parent it is the same only if a mark inside it tells (the deadline of a sleep,
//!   the task of a join handle) and the async body around it is the same one as before. Memory of
//!   a future that is over is used again at once, so place and type alone prove nothing there.
//! - A future that is no async body (`Timeout`, what `select!` makes) does not change what lies
//!   inside it; where that has another mark, it is another one itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::moment::Moment;
use super::{AwaitIndex, Awaited};
use crate::rebuild::suspension::{FutureState, Marks, Place, Suspension};
use crate::rebuild::tree::{NodeKind, NodeState};

/// The futures of a task: those of its last suspension in preorder, then those of which it is not
/// known whether they are still there, then those that are gone and may come back.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

/// A future of a task.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) parent: Option<usize>,
    pub(super) place: Place,
    pub(super) mark: Option<u8>,
    pub(super) state: Arc<FutureState>,
    /// It holds no other.
    pub(super) leaf: bool,
    pub(super) standing: Standing,
    /// Its row; `None` beyond the limits, and before what the history is to show.
    pub(super) row: Option<AwaitIndex>,
    pub(super) awaited: Arc<Awaited>,
    pub(super) start: Moment,
    pub(super) at_least: bool,
}

/// What is known of a future since the task stands as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there.
    Here,
    /// It was there until this moment.
    Unsure(Moment),
    /// It was left by what awaited it, and has an end. It may be held elsewhere by the async body
    /// around it, which is its parent here.
    Left,
}

impl Node {
    /// Whether it is the body of an async function or block: awaits one thing at a time.
    pub(super) fn is_body(&self) -> bool {
        is_body(&self.state)
    }

    /// Whether it waits, and for nothing but itself.
    pub(super) fn waits(&self) -> bool {
        self.leaf
            && self.standing == Standing::Here
            && !matches!(self.state.state, NodeState::Unresumed)
    }
}

pub(super) fn is_body(state: &FutureState) -> bool {
    matches!(state.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}

impl Tree {
    /// Those that are there and hold no other.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&at| self.nodes[at].waits())
    }

    /// The only one of them.
    pub(super) fn only_leaf(&self) -> Option<usize> {
        let mut leaves = self.leaves();
        let leaf = leaves.next();
        leaf.filter(|_| leaves.next().is_none())
    }

    /// The innermost async body that holds all that wait.
    pub(super) fn running_body(&self) -> Option<usize> {
        let mut leaves = self.leaves();
        let mut common = match leaves.next() {
            Some(first) => self.path(first),
            // Not polled yet.
            None => self.path(0),
        };
        for leaf in leaves {
            let path = self.path(leaf);
            let agree = common
                .iter()
                .zip(&path)
                .take_while(|(one, other)| one == other);
            common.truncate(agree.count());
        }
        common
            .into_iter()
            .rev()
            .find(|&at| self.nodes[at].is_body() && self.nodes[at].standing == Standing::Here)
    }

    /// From the task's future to a node.
    fn path(&self, at: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut next = (at < self.nodes.len()).then_some(at);
        while let Some(here) = next {
            path.push(here);
            // Parents stand before their children.
            next = self.nodes[here].parent.filter(|parent| *parent < here);
        }
        path.reverse();
        path
    }
}

/// A future as it is told now.
#[derive(Debug)]
pub(super) struct Told<'s> {
    pub(super) parent: Option<usize>,
    pub(super) place: Place,
    pub(super) mark: Option<u8>,
    pub(super) state: &'s Arc<FutureState>,
    pub(super) leaf: bool,
    /// The node that it is.
    pub(super) same: Option<usize>,
    /// The node at the same place with the same path, whether it is that or was before it.
    candidate: Option<usize>,
}

/// What is told now, joined with what was told before.
#[derive(Debug)]
pub(super) struct Comparison<'s> {
    pub(super) told: Vec<Told<'s>>,
    /// Nodes that are told to have returned, or to have panicked.
    pub(super) over: Vec<(usize, NodeState)>,
}

/// Joins a suspension with the nodes of the last one. With `missed`, events in between are missing:
/// what looks the same at the same place may be another, unless a mark tells that it is not.
pub(super) fn compare<'s>(
    before: &[Node],
    suspension: &'s Suspension,
    marks: Marks,
    missed: bool,
) -> Comparison<'s> {
    let (mut told, finished) = read(suspension, marks);
    let mut candidates = Candidates::new(before);
    for (at, future) in told.iter_mut().enumerate() {
        future.candidate = candidates.take(at, future.place, &future.state.future);
    }
    let over = finished
        .into_iter()
        .filter_map(|(place, state)| {
            let at = candidates.take(usize::MAX, place, &state.future)?;
            Some((at, state.state))
        })
        .collect();
    let hints = Hints::new(before, &told, missed);
    for at in 0..told.len() {
        told[at].same = told[at]
            .candidate
            .filter(|&candidate| is_same(before, &told, &hints, at, candidate))
            .filter(|_| !missed || hints.same[at] || told[at].parent.is_none());
    }
    Comparison { told, over }
}

/// The futures of a suspension that go on, and those that are over.
fn read(suspension: &Suspension, marks: Marks) -> (Vec<Told<'_>>, Vec<(Place, &Arc<FutureState>)>) {
    let mut told: Vec<Told<'_>> = Vec::with_capacity(suspension.futures.len());
    let mut finished = Vec::new();
    // The way from the task's future to the last one told: its depth, its index.
    let mut way: Vec<(u16, usize)> = Vec::new();
    let mut skip = None;
    for future in &suspension.futures {
        if skip.is_some_and(|depth| future.depth > depth) {
            continue;
        }
        skip = None;
        if matches!(
            future.state.state,
            NodeState::Returned | NodeState::Panicked
        ) {
            skip = Some(future.depth);
            finished.push((future.place, &future.state));
            continue;
        }
        while way.last().is_some_and(|(depth, _)| *depth >= future.depth) {
            way.pop();
        }
        let parent = way.last().map(|(_, at)| *at);
        if let Some(parent) = parent {
            told[parent].leaf = false;
        }
        way.push((future.depth, told.len()));
        told.push(Told {
            parent,
            place: future.place,
            mark: marks.of(future),
            state: &future.state,
            leaf: true,
            same: None,
            candidate: None,
        });
    }
    (told, finished)
}

/// Nodes by place and path, each to be taken once.
struct Candidates<'n> {
    before: &'n [Node],
    /// The same nodes in the same order, so far.
    aligned: bool,
    taken: usize,
    rest: Option<HashMap<(Place, &'n str), Vec<usize>>>,
}

impl<'n> Candidates<'n> {
    fn new(before: &'n [Node]) -> Self {
        Self {
            before,
            aligned: true,
            taken: 0,
            rest: None,
        }
    }

    fn take(&mut self, at: usize, place: Place, future: &'n str) -> Option<usize> {
        if self.aligned
            && let Some(node) = self.before.get(at)
            && node.place == place
            && *node.state.future == *future
        {
            self.taken = at + 1;
            return Some(at);
        }
        self.aligned = false;
        let (before, taken) = (self.before, self.taken);
        let rest = self.rest.get_or_insert_with(|| {
            let mut rest: HashMap<_, Vec<usize>> = HashMap::new();
            // In reverse, as they are taken from the back.
            for at in (taken..before.len()).rev() {
                let node = &before[at];
                rest.entry((node.place, &*node.state.future))
                    .or_default()
                    .push(at);
            }
            rest
        });
        rest.get_mut(&(place, future))?.pop()
    }
}

/// What marks say, for each future that is told.
struct Hints {
    /// A mark inside it tells that it is the same.
    same: Vec<bool>,
    /// A mark inside it tells that it is another.
    other: Vec<bool>,
}

impl Hints {
    fn new(before: &[Node], told: &[Told<'_>], missed: bool) -> Self {
        let mut hints = Self {
            same: vec![false; told.len()],
            other: vec![false; told.len()],
        };
        for (at, future) in told.iter().enumerate().rev() {
            let Some(candidate) = future.candidate else {
                continue;
            };
            let node = &before[candidate];
            let differs = marks_differ(node.mark, future.mark);
            let waits_for = future.state.waits_for.as_deref();
            // Memory of a task that is over is soon another's, a deadline never another's.
            let tells = is_telling(waits_for) && (!missed || waits_for == Some("sleep"));
            hints.same[at] |= future.mark.is_some() && future.mark == node.mark && tells;
            hints.other[at] |= differs;
            let Some(parent) = future.parent else {
                continue;
            };
            let held = told[parent].candidate.is_some() && told[parent].candidate == node.parent;
            if held {
                hints.same[parent] |= hints.same[at] && !hints.other[at];
                hints.other[parent] |= hints.other[at]
                    && !is_body(told[parent].state)
                    && matches!(future.place, Place::Inside(_));
            }
        }
        hints
    }
}

/// Whether marks of such leaves are those of one instance only.
pub(super) fn is_telling(waits_for: Option<&str>) -> bool {
    matches!(waits_for, Some("sleep" | "join"))
}

fn marks_differ(one: Option<u8>, other: Option<u8>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

fn is_same(before: &[Node], told: &[Told<'_>], hints: &Hints, at: usize, candidate: usize) -> bool {
    let node = &before[candidate];
    let was_root = node.parent.is_none() && node.standing != Standing::Left;
    let Some(parent) = told[at].parent else {
        return was_root;
    };
    if hints.other[at] || was_root {
        return false;
    }
    let Some(then) = node.parent else {
        return false;
    };
    let is_left = node.standing == Standing::Left && before[then].standing != Standing::Left;
    if told[parent].same == Some(then) && !is_left {
        return !moved_on(&before[then], told[parent].state);
    }
    hints.same[at]
        && body_around(before, then).is_some_and(|then| body_now(told, parent) == Some(then))
}

/// The nearest async body that a node is or lies in.
pub(super) fn body_around(before: &[Node], at: usize) -> Option<usize> {
    let mut next = Some(at);
    while let Some(here) = next
        && !before[here].is_body()
    {
        next = before[here].parent.filter(|parent| *parent < here);
    }
    next
}

/// The node that the nearest async body is which a told future is or lies in.
fn body_now(told: &[Told<'_>], at: usize) -> Option<usize> {
    let mut next = Some(at);
    while let Some(here) = next
        && !is_body(told[here].state)
    {
        next = told[here].parent;
    }
    told[next?].same
}

/// Whether an async body stands at another await.
pub(super) fn moved_on(before: &Node, now: &FutureState) -> bool {
    let then = &before.state;
    before.is_body()
        && then.line.is_some()
        && now.line.is_some()
        && (then.line != now.line || then.file != now.file)
}
