//! The await profile: instances of the same await added up.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::spread::Spread;
use crate::analyse::history::{AwaitOutcome, Awaited, History};

/// Instances of one await: the same future, awaited at the same place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AwaitRow {
    /// What is awaited, and where.
    #[serde(flatten)]
    pub awaited: Arc<Awaited>,
    /// No instance of it held another: it is what was really waited for. The times of the others
    /// include those of the awaits inside them.
    pub leaf: bool,
    /// It is the innermost await in the program's own code, outside of dependencies, or a leaf of a
    /// task that has none: where the program waits, as its author would say it. Where that holds of
    /// some instances only, it does of those that waited for more than half of the time.
    pub innermost: bool,
    /// Durations of its instances; those that are open, or older than the trace, with what is
    /// known of theirs.
    #[serde(flatten)]
    pub durations: Spread,
    /// Nanoseconds of them outside polls.
    pub waiting_ns: u64,
    /// Nanoseconds of these in instances that were the innermost.
    pub innermost_waiting_ns: u64,
    /// Nanoseconds of them inside polls of the task.
    pub polled_ns: u64,
    /// Instances that were open at the end.
    pub open: u64,
    /// Instances that are older than what is known of them.
    pub at_least: u64,
    /// Instances that were dropped before they were ready.
    pub cancelled: u64,
}

struct Sum {
    leaf: bool,
    durations: Vec<u64>,
    waiting: u64,
    /// What of that is in instances that were the innermost, and how many these are.
    innermost_waiting: u64,
    innermost: usize,
    polled: u64,
    open: u64,
    at_least: u64,
    cancelled: u64,
}

impl Sum {
    /// Whether most of the time that was waited, was waited in instances that were the innermost.
    /// One of which it is only not known what it held makes no other row.
    fn is_innermost(&self) -> bool {
        match self.waiting {
            0 => self.innermost > self.durations.len() / 2,
            waiting => self.innermost_waiting > waiting / 2,
        }
    }
}

/// The awaits of a history, those that were waited in for longest first. Futures of tasks are not
/// among them, as nobody awaits those.
#[must_use]
pub fn awaits(history: &History) -> Vec<AwaitRow> {
    let now = history.span.end;
    let holds = Holds::new(history);
    // Equal ones are one object in a history.
    let mut sums: HashMap<*const Awaited, (Arc<Awaited>, Sum)> = HashMap::new();
    for (at, row) in history.awaits.iter().enumerate() {
        if row.awaited.by.is_none() {
            continue;
        }
        let (_, sum) = sums.entry(Arc::as_ptr(&row.awaited)).or_insert_with(|| {
            let sum = Sum {
                leaf: true,
                durations: Vec::new(),
                waiting: 0,
                innermost_waiting: 0,
                innermost: 0,
                polled: 0,
                open: 0,
                at_least: 0,
                cancelled: 0,
            };
            (Arc::clone(&row.awaited), sum)
        });
        sum.leaf &= !holds.any[at];
        if holds.is_innermost(at) {
            sum.innermost += 1;
            sum.innermost_waiting = sum.innermost_waiting.saturating_add(row.waiting);
        }
        sum.durations.push(row.duration(now));
        sum.waiting = sum.waiting.saturating_add(row.waiting);
        sum.polled = sum.polled.saturating_add(row.polled);
        let open = matches!(row.outcome, AwaitOutcome::Open | AwaitOutcome::Detached);
        sum.open += u64::from(open);
        sum.at_least += u64::from(row.at_least);
        sum.cancelled += u64::from(row.outcome == AwaitOutcome::Cancelled);
    }
    let mut rows: Vec<AwaitRow> = sums
        .into_values()
        .map(|(awaited, mut sum)| AwaitRow {
            awaited,
            leaf: sum.leaf,
            innermost: sum.is_innermost(),
            durations: Spread::of(&mut sum.durations),
            waiting_ns: sum.waiting,
            innermost_waiting_ns: sum.innermost_waiting,
            polled_ns: sum.polled,
            open: sum.open,
            at_least: sum.at_least,
            cancelled: sum.cancelled,
        })
        .collect();
    rows.sort_by_cached_key(|row| (Reverse(row.waiting_ns), Arc::clone(&row.awaited)));
    rows
}

/// What lies in and around each instance.
struct Holds {
    /// It holds another.
    any: Vec<bool>,
    /// It is awaited in the program's own code.
    own: Vec<bool>,
    /// Something inside it is.
    own_inside: Vec<bool>,
    /// Something around it is.
    own_around: Vec<bool>,
}

impl Holds {
    fn new(history: &History) -> Self {
        let count = history.awaits.len();
        let mut cache: HashMap<*const Awaited, bool> = HashMap::new();
        let mut holds = Self {
            any: vec![false; count],
            own: Vec::with_capacity(count),
            own_inside: vec![false; count],
            own_around: vec![false; count],
        };
        // Parents stand before their children.
        for (at, row) in history.awaits.iter().enumerate() {
            let own = *cache
                .entry(Arc::as_ptr(&row.awaited))
                .or_insert_with(|| row.awaited.file.as_deref().is_some_and(is_own));
            holds.own.push(own);
            if let Some(parent) = row.parent {
                let parent = parent.0 as usize;
                holds.own_around[at] = holds.own[parent] || holds.own_around[parent];
            }
        }
        for (at, row) in history.awaits.iter().enumerate().rev() {
            for parent in row.parent.iter().chain(&row.former_parents) {
                let parent = parent.0 as usize;
                holds.any[parent] = true;
                holds.own_inside[parent] |= holds.own[at] || holds.own_inside[at];
            }
        }
        holds
    }

    fn is_innermost(&self, at: usize) -> bool {
        if self.own[at] {
            !self.own_inside[at]
        } else {
            !self.any[at] && !self.own_around[at]
        }
    }
}

/// Whether a source file, as the compiler recorded it, is the program's own and not a dependency's
/// or the standard library's. Cargo's folder names are those of cargo 1.65 to 1.97.
pub(crate) fn is_own(file: &str) -> bool {
    let foreign = ["/registry/src/", "/git/checkouts/", "/rustlib/src/rust/"];
    !file.starts_with("/rustc/") && !foreign.iter().any(|folder| file.contains(folder))
}
