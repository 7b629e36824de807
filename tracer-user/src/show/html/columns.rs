//! The data of a page: tables as columns of numbers.
//!
//! Times are nanoseconds since the begin of the trace; columns named `start`, `begin`, `time` and
//! `from` hold differences to the row before. Indexes are into the page's own tables;
//! [`NONE`](super::code::NONE) and [`LEFT_OUT`](super::code::LEFT_OUT) stand in their place where
//! there is none, or where it is not in the page.

use serde::Serialize;

use super::code::Words;
use super::common::Common;
use super::head::Shown;
use super::profile::{FlameColumns, PlaceColumns, ProfileColumns};
use crate::analyse::history::Missing;

/// The data of a page.
#[derive(Serialize)]
pub(super) struct Data {
    pub(super) version: u32,
    pub(super) head: Shown,
    /// Length of the trace.
    pub(super) span: i64,
    pub(super) missing: Missing,
    pub(super) totals: Totals,
    pub(super) left_out: Totals,
    pub(super) words: Words,
    pub(super) strings: Vec<String>,
    pub(super) places: PlaceColumns,
    pub(super) units: UnitColumns,
    pub(super) awaits: AwaitColumns,
    pub(super) polls: PollColumns,
    pub(super) wakes: WakeColumns,
    pub(super) requests: RequestColumns,
    pub(super) pieces: PieceColumns,
    pub(super) common: Vec<Common>,
    pub(super) profile: ProfileColumns,
    pub(super) flame: FlameColumns,
}

#[derive(Default, Serialize)]
pub(super) struct Totals {
    pub(super) requests: usize,
    pub(super) units: usize,
    pub(super) awaits: usize,
    pub(super) polls: usize,
    pub(super) wakes: usize,
    /// Requests whose critical path is not in the page.
    pub(super) paths: usize,
}

#[derive(Default, Serialize)]
pub(super) struct UnitColumns {
    pub(super) kind: Vec<i64>,
    /// Its number in the trace.
    pub(super) number: Vec<u64>,
    pub(super) name: Vec<i64>,
    pub(super) future: Vec<i64>,
    pub(super) first: Vec<i64>,
    pub(super) last: Vec<i64>,
    pub(super) blocking: Vec<i64>,
    pub(super) existing: Vec<i64>,
    pub(super) spawn: Vec<i64>,
    pub(super) spawn_by: Vec<i64>,
    pub(super) spawn_within: Vec<i64>,
    pub(super) end: Vec<i64>,
    pub(super) ended: Vec<i64>,
    pub(super) aborted_by: Vec<i64>,
    /// Of the whole trace, whether in the page or not.
    pub(super) polls: Vec<i64>,
    pub(super) awaits: Vec<i64>,
    pub(super) woken: Vec<i64>,
    pub(super) gaps: Vec<i64>,
    pub(super) polled: Vec<i64>,
    pub(super) longest_poll: Vec<i64>,
}

#[derive(Default, Serialize)]
pub(super) struct AwaitColumns {
    pub(super) task: Vec<i64>,
    pub(super) parent: Vec<i64>,
    pub(super) place: Vec<i64>,
    pub(super) start: Vec<i64>,
    pub(super) length: Vec<i64>,
    pub(super) at_least: Vec<i64>,
    pub(super) ended: Vec<i64>,
    pub(super) waiting: Vec<i64>,
    pub(super) polled: Vec<i64>,
    pub(super) polls: Vec<i64>,
    /// How many instances awaited it before its parent.
    pub(super) moved: Vec<i64>,
}

#[derive(Default, Serialize)]
pub(super) struct PollColumns {
    pub(super) task: Vec<i64>,
    pub(super) thread: Vec<i64>,
    pub(super) begin: Vec<i64>,
    pub(super) length: Vec<i64>,
    pub(super) begin_known: Vec<i64>,
    pub(super) exact: Vec<i64>,
    pub(super) outcome: Vec<i64>,
    pub(super) blocked: Vec<i64>,
    pub(super) preempted: Vec<i64>,
    pub(super) cause: Vec<i64>,
    /// The leaf that its task waited in before it, where there was one only.
    pub(super) leaf: Vec<i64>,
}

#[derive(Default, Serialize)]
pub(super) struct WakeColumns {
    pub(super) time: Vec<i64>,
    pub(super) task: Vec<i64>,
    pub(super) by: Vec<i64>,
    pub(super) within: Vec<i64>,
    pub(super) origin: Vec<i64>,
    pub(super) effect: Vec<i64>,
    pub(super) poll: Vec<i64>,
}

#[derive(Default, Serialize)]
pub(super) struct RequestColumns {
    pub(super) id: Vec<i64>,
    pub(super) what: Vec<i64>,
    pub(super) root: Vec<i64>,
    pub(super) task: Vec<i64>,
    pub(super) start: Vec<i64>,
    pub(super) length: Vec<i64>,
    pub(super) at_least: Vec<i64>,
    pub(super) ended: Vec<i64>,
    /// Await instances of its graph that are not in the page; [`LEFT_OUT`](super::code::LEFT_OUT): none of them is.
    pub(super) cut: Vec<i64>,
    /// The tasks that were spawned for it, after each other.
    pub(super) spawned: Vec<i64>,
    pub(super) spawned_from: Vec<i64>,
    /// Await instances of other tasks that woke it, after each other.
    pub(super) wakers: Vec<i64>,
    pub(super) wakers_from: Vec<i64>,
    /// What most of its critical path was: kind, place, nanoseconds.
    pub(super) most_kind: Vec<i64>,
    pub(super) most_place: Vec<i64>,
    pub(super) most: Vec<i64>,
    /// Its first piece.
    pub(super) pieces_from: Vec<i64>,
    pub(super) pieces: Vec<i64>,
}

#[derive(Default, Serialize)]
pub(super) struct PieceColumns {
    pub(super) from: Vec<i64>,
    pub(super) length: Vec<i64>,
    pub(super) unit: Vec<i64>,
    pub(super) within: Vec<i64>,
    /// Where it went by, also when the instance is not in the page.
    pub(super) place: Vec<i64>,
    pub(super) kind: Vec<i64>,
    /// The wake-up that ended it.
    pub(super) wake: Vec<i64>,
    pub(super) poll: Vec<i64>,
}
