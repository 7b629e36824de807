//! What became of the futures that a task no longer holds.
//!
//! What is certain: an async body leaves an await only when what it awaited is ready; what is held
//! by a future that was dropped was dropped; a task that is over took everything with it. Of the
//! arms of a `select!`, or of anything else that holds several and is no async body, one may have
//! been ready and the others dropped: which one is told by what woke the task, if only one arm fits
//! that, and otherwise it is not known.

use super::AwaitOutcome;
use super::task::Evidence;
use super::tree::{Node, Standing, Told, moved_on};
use crate::rebuild::tree::NodeState;

/// What became of a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Goes,
    /// It ended.
    Ends(AwaitOutcome),
    /// It is not told, and not known to have ended.
    Unsure,
    /// It had an end already.
    Left,
}

/// What is known when a task is told to stand elsewhere, or to be over.
pub(super) struct Circumstances<'c> {
    /// What the task holds now; nothing when it is over.
    pub(super) told: &'c [Told<'c>],
    /// Nodes whose memory says that they returned or panicked.
    pub(super) over: &'c [(usize, NodeState)],
    /// Live branches are missing in what is told.
    pub(super) partial: bool,
    /// It happened in one poll, of which both ends are known.
    pub(super) exact: bool,
    /// What had that poll run.
    pub(super) evidence: Evidence,
    /// How the task ended, when it did.
    pub(super) end: Option<AwaitOutcome>,
}

/// The fate of each node.
pub(super) fn fates(before: &[Node], now: &Circumstances<'_>) -> Vec<Fate> {
    let mut successor = vec![None; before.len()];
    for (at, told) in now.told.iter().enumerate() {
        if let Some(same) = told.same {
            successor[same] = Some(at);
        }
    }
    let has_child = {
        let mut has_child = vec![false; now.told.len()];
        for parent in now.told.iter().filter_map(|told| told.parent) {
            has_child[parent] = true;
        }
        has_child
    };
    let arms = Arms::new(before);
    let mut fates = Vec::with_capacity(before.len());
    for (at, node) in before.iter().enumerate() {
        let fate = if successor[at].is_some() {
            Fate::Goes
        } else if node.standing == Standing::Left {
            Fate::Left
        } else if let Some((_, state)) = now.over.iter().find(|(over, _)| *over == at) {
            Fate::Ends(match state {
                NodeState::Panicked => AwaitOutcome::Panicked,
                _ => AwaitOutcome::Ready,
            })
        } else if let Some(end) = now.end {
            match (node.standing, node.parent) {
                (Standing::Unsure(_), Some(_)) => Fate::Ends(AwaitOutcome::Over),
                (_, None) => Fate::Ends(end),
                (_, Some(parent)) => with_parent(before, &arms, at, parent, &fates, now),
            }
        } else {
            match node.parent {
                _ if matches!(node.standing, Standing::Unsure(_)) => {
                    unsure_unless(!now.partial, AwaitOutcome::Over)
                }
                None => unsure_unless(!now.partial, AwaitOutcome::Over),
                Some(parent) => match successor[parent] {
                    Some(holder) => {
                        left(&before[parent], &now.told[holder], has_child[holder], now)
                    }
                    None => with_parent(before, &arms, at, parent, &fates, now),
                },
            }
        };
        fates.push(fate);
    }
    fates
}

fn unsure_unless(known: bool, outcome: AwaitOutcome) -> Fate {
    if known {
        Fate::Ends(outcome)
    } else {
        Fate::Unsure
    }
}

/// Of a future that what held it holds no longer.
fn left(parent: &Node, holder: &Told<'_>, holds_other: bool, now: &Circumstances<'_>) -> Fate {
    let ready = if now.exact {
        AwaitOutcome::Ready
    } else {
        AwaitOutcome::Over
    };
    if parent.is_body() {
        let known = !now.partial || holds_other || moved_on(parent, holder.state);
        return unsure_unless(known, ready);
    }
    let outcome = if collects(&parent.state.future) {
        ready
    } else {
        AwaitOutcome::Over
    };
    unsure_unless(!now.partial, outcome)
}

/// Of a future whose parent is gone too.
fn with_parent(
    before: &[Node],
    arms: &Arms,
    at: usize,
    parent: usize,
    fates: &[Fate],
    now: &Circumstances<'_>,
) -> Fate {
    let outcome = match fates.get(parent) {
        Some(Fate::Ends(outcome)) => *outcome,
        Some(Fate::Unsure) => return Fate::Unsure,
        _ => return Fate::Ends(AwaitOutcome::Over),
    };
    Fate::Ends(match outcome {
        AwaitOutcome::Ready if !now.exact => AwaitOutcome::Over,
        AwaitOutcome::Ready if before[parent].is_body() => AwaitOutcome::Ready,
        AwaitOutcome::Ready => arms.outcome(before, at, parent, now.evidence),
        AwaitOutcome::Cancelled => AwaitOutcome::Cancelled,
        // The panic came out of one of the bodies; what the innermost awaited may have been ready.
        AwaitOutcome::Panicked if before[at].is_body() => AwaitOutcome::Panicked,
        _ => AwaitOutcome::Over,
    })
}

/// Whether a future of this path holds others until each of them is ready.
fn collects(path: &str) -> bool {
    [
        "FuturesUnordered",
        "FuturesOrdered",
        "JoinAll",
        "MaybeDone",
        "::join::Join",
        "JoinSet",
    ]
    .iter()
    .any(|name| path.contains(name))
}

/// What the leaves below each node wait for.
struct Arms {
    kinds: Vec<Kinds>,
    children: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    timer: bool,
    io: bool,
    other: bool,
    /// There is a leaf that does not tell.
    silent: bool,
}

impl Kinds {
    fn of(waits_for: Option<&str>) -> Self {
        let mut kinds = Self::default();
        match waits_for {
            Some("sleep") => kinds.timer = true,
            Some("io") => kinds.io = true,
            Some("never") => {}
            Some("channel" | "oneshot" | "notify" | "lock" | "semaphore" | "join") => {
                kinds.other = true;
            }
            _ => kinds.silent = true,
        }
        kinds
    }

    fn add(&mut self, other: Self) {
        self.timer |= other.timer;
        self.io |= other.io;
        self.other |= other.other;
        self.silent |= other.silent;
    }

    fn may_be(self, evidence: Evidence) -> bool {
        self.silent
            || match evidence {
                Evidence::None | Evidence::Unseen => true,
                Evidence::Timer => self.timer,
                Evidence::Io => self.io,
                Evidence::Other => self.other,
            }
    }
}

impl Arms {
    fn new(before: &[Node]) -> Self {
        let mut arms = Self {
            kinds: vec![Kinds::default(); before.len()],
            children: vec![0; before.len()],
        };
        for (at, node) in before.iter().enumerate().rev() {
            if node.leaf {
                arms.kinds[at].add(Kinds::of(node.state.waits_for.as_deref()));
            }
            if let Some(parent) = node.parent.filter(|_| node.standing == Standing::Here) {
                let kinds = arms.kinds[at];
                arms.kinds[parent].add(kinds);
                arms.children[parent] += 1;
            }
        }
        arms
    }

    /// Of a future that was held by a ready one which is no async body.
    fn outcome(
        &self,
        before: &[Node],
        at: usize,
        parent: usize,
        evidence: Evidence,
    ) -> AwaitOutcome {
        if collects(&before[parent].state.future) {
            return AwaitOutcome::Ready;
        }
        let fits = |arm: usize| self.kinds[arm].may_be(evidence);
        if self.children[parent] == 1 {
            return if fits(at) {
                AwaitOutcome::Ready
            } else {
                AwaitOutcome::Over
            };
        }
        if matches!(evidence, Evidence::None | Evidence::Unseen) {
            return AwaitOutcome::Over;
        }
        let arms = (0..before.len()).filter(|&arm| before[arm].parent == Some(parent));
        let mut fitting = arms.filter(|&arm| fits(arm));
        match (fitting.next(), fitting.next()) {
            (Some(winner), None) if winner == at => AwaitOutcome::Ready,
            (Some(_), None) => AwaitOutcome::Cancelled,
            _ => AwaitOutcome::Over,
        }
    }
}
