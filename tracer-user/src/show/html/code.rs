//! Enumerations as numbers, and the words for them that the page shows.
//!
//! Both stand here side by side, and the words travel with the data, so that the scripts know no
//! numbers.

use serde::Serialize;

use crate::analyse::critical_path::PieceKind;
use crate::analyse::history::{AwaitOutcome, UnitKind};
use crate::rebuild::event::{Origin, Outcome, WakeEffect};
use crate::rebuild::tree::NodeKind;

/// In place of an index or a time: not known, or there is none.
pub(super) const NONE: i64 = -1;
/// In place of an index: known, but not in this page.
pub(super) const LEFT_OUT: i64 = -2;
/// In place of the wake-up that caused a poll: the spawn did.
pub(super) const SPAWN: i64 = -3;

/// The words for every code.
#[derive(Serialize)]
pub(super) struct Words {
    poll: [&'static str; 6],
    ended: [&'static str; 7],
    effect: [&'static str; 5],
    unit: [&'static str; 6],
    future: [&'static str; 5],
    piece: [&'static str; 6],
}

pub(super) const WORDS: Words = Words {
    poll: [
        "pending",
        "ready",
        "cancelled",
        "panicked",
        "over",
        "unknown",
    ],
    ended: [
        "open",
        "detached",
        "ready",
        "cancelled",
        "panicked",
        "over",
        "not known",
    ],
    effect: [
        "scheduled it",
        "made it be polled again",
        "nothing: it was scheduled already",
        "nothing: it was over",
        "not known",
    ],
    unit: ["task", "thread", "I/O", "timer", "signal", "unknown"],
    future: ["async fn", "async block", "future", "leaf", "unknown"],
    piece: [
        "polled",
        "blocked",
        "preempted",
        "scheduled",
        "waiting",
        "unknown",
    ],
};

pub(super) fn poll(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Pending => 0,
        Outcome::Ready => 1,
        Outcome::Cancelled => 2,
        Outcome::Panicked => 3,
        Outcome::Over => 4,
        Outcome::Unknown => 5,
    }
}

pub(super) fn ended(outcome: AwaitOutcome) -> i64 {
    match outcome {
        AwaitOutcome::Open => 0,
        AwaitOutcome::Detached => 1,
        AwaitOutcome::Ready => 2,
        AwaitOutcome::Cancelled => 3,
        AwaitOutcome::Panicked => 4,
        AwaitOutcome::Over => 5,
        AwaitOutcome::Unknown => 6,
    }
}

pub(super) fn effect(effect: WakeEffect) -> i64 {
    match effect {
        WakeEffect::Scheduled => 0,
        WakeEffect::PollAgain => 1,
        WakeEffect::Redundant => 2,
        WakeEffect::AlreadyOver => 3,
        WakeEffect::Unknown => 4,
    }
}

pub(super) fn unit(kind: &UnitKind) -> i64 {
    match kind {
        UnitKind::Task(_) => 0,
        UnitKind::Thread { .. } => 1,
        UnitKind::Origin(Origin::Io { .. }) => 2,
        UnitKind::Origin(Origin::Timer) => 3,
        UnitKind::Origin(Origin::Signal) => 4,
        UnitKind::Unknown => 5,
    }
}

pub(super) fn future(kind: NodeKind) -> i64 {
    match kind {
        NodeKind::AsyncFn => 0,
        NodeKind::AsyncBlock => 1,
        NodeKind::Future => 2,
        NodeKind::Leaf => 3,
        NodeKind::Unknown => 4,
    }
}

pub(super) fn piece(kind: PieceKind) -> i64 {
    match kind {
        PieceKind::Polled(_) => 0,
        PieceKind::Blocked(_) => 1,
        PieceKind::Preempted(_) => 2,
        PieceKind::Scheduled(_) => 3,
        PieceKind::Waiting(_) => 4,
        PieceKind::Unknown => 5,
    }
}
