//! Requests: the await instances that a user thinks of as one piece of work, and everything that
//! was done for them.
//!
//! In: a [`History`](super::history::History) and patterns. Out: [`Request`]s ([`find()`]), the
//! graph of one ([`graph`]), what slow ones have in common ([`compare`]) and when they came
//! ([`clusters`]). Pure.

pub mod clusters;
mod code;
pub mod compare;
pub mod graph;
mod pattern;
mod roots;
mod totals;

#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod roots_tests;

use std::sync::Arc;

use serde::Serialize;

use super::history::{AwaitIndex, AwaitOutcome, UnitIndex};

pub(crate) use code::{crate_of, is_own};
pub use pattern::Patterns;
pub use roots::find;
pub use totals::UserAwaits;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in this trace, from 1, in order of start.
    pub id: u32,
    /// Path of the async function whose instance it is.
    pub what: Arc<str>,
    /// The instance.
    pub root: AwaitIndex,
    /// Its task.
    pub task: UnitIndex,
    /// When it began, CLOCK_MONOTONIC in nanoseconds.
    pub start: u64,
    /// It is older than `start` says.
    pub at_least: bool,
    /// When it ended; `None`: it goes on at the end of the trace.
    pub end: Option<u64>,
    /// How it ended.
    pub outcome: AwaitOutcome,
}

impl Request {
    /// Its duration in nanoseconds, up to `now` (the end of the trace) when it is open.
    #[must_use]
    pub fn duration(&self, now: u64) -> u64 {
        self.end.unwrap_or(now).saturating_sub(self.start)
    }

    /// Whether its whole duration was seen; otherwise what is known is a lower bound.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.end.is_some() && !self.at_least && !matches!(self.outcome, AwaitOutcome::Unknown)
    }
}

/// The requests of a trace, and how they were found.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// The requests in order of start.
    pub list: Vec<Request>,
    /// Which functions' instances they are, and why; the most frequent first.
    pub chosen: Vec<Choice>,
    /// What was considered and left out.
    pub left_out: Vec<LeftOut>,
    /// Patterns that named nothing in this trace.
    pub unmatched: Vec<String>,
    /// Async functions of the program by number of instances, the most frequent first: what could
    /// be named instead. At most 10.
    pub candidates: Vec<Candidate>,
}

/// An async function whose instances are requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Its path.
    pub what: Arc<str>,
    /// How many of its instances are requests.
    pub instances: u64,
    /// Why.
    pub reason: Reason,
}

/// Why the instances of a function are requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// The user's pattern names it.
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// The user's pattern names the function that this body is in, and no function itself.
    BodyOfPattern {
        /// The pattern.
        pattern: String,
    },
    /// A library calls it as a service.
    Service {
        /// `hyper`, `axum`, `tonic`, `tower`.
        library: &'static str,
    },
    /// It is awaited again and again by one instance.
    Loop {
        /// Path of what awaits it.
        by: Option<Arc<str>>,
    },
    /// It is a task, and there are many of its kind.
    Job,
}

/// Something that was considered and left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Path of the async function.
    pub what: Arc<str>,
    /// How many instances it has.
    pub instances: u64,
    /// Why it was left out.
    pub reason: &'static str,
}

/// An async function that could be named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its path.
    pub what: Arc<str>,
    /// How many instances it has.
    pub instances: u64,
}

/// The value at `rank` (0 to 1) of sorted values, by nearest rank; `None` when there is none.
#[must_use]
pub fn quantile(sorted: &[u64], rank: f64) -> Option<u64> {
    let index = (sorted.len() as f64 * rank).ceil() as usize;
    sorted
        .get(index.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), Some(50));
        assert_eq!(quantile(&values, 0.95), Some(95));
        assert_eq!(quantile(&values, 1.0), Some(100));
        assert_eq!(quantile(&values, 0.0), Some(1));
        assert_eq!(quantile(&[7], 0.99), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
