//! Requests, as JSON (schema 1: fields may be added, never renamed or removed) and as text: the
//! list of them, one of them, critical paths.

pub mod list;
pub mod one;
pub mod path;
mod text;
mod tree;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::analyse::critical_path::AwaitedPlace;
use crate::analyse::history::{AwaitIndex, AwaitOutcome, History, Missing};
use crate::analyse::levels::{Level, Nesting};
use crate::analyse::requests::compare::{self, Comparison, Kind};
use crate::analyse::requests::{
    Candidate, Choice, LeftOut, Patterns, Request, Requests, UserAwaits, find,
};
use crate::export::recording::Header;

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// Everything that the views are made from.
#[derive(Debug)]
pub struct Material<'h> {
    header: &'h Header,
    history: &'h History,
    patterns: Vec<String>,
    requests: Requests,
    nesting: Nesting<'h>,
    awaits: UserAwaits,
    kinds: Vec<Kind>,
    /// Each kind's place by its name.
    kind_at: HashMap<Arc<str>, usize>,
    /// For slow requests that an await explains: its place among the reasons of its kind.
    because_at: HashMap<u32, usize>,
}

impl<'h> Material<'h> {
    /// Finds the requests that `patterns` name (none: sensible ones) and compares them.
    #[must_use]
    pub fn new(header: &'h Header, history: &'h History, patterns: &[String]) -> Self {
        let requests = find(history, &Patterns::new(patterns));
        let nesting = Nesting::new(history);
        let kinds = compare::kinds(history, &nesting, &requests.list);
        let kind_at = (0..)
            .zip(&kinds)
            .map(|(at, kind)| (Arc::clone(&kind.what), at))
            .collect();
        let because_at = kinds
            .iter()
            .filter_map(|kind| match &kind.slow {
                Comparison::Slow(slow) => Some(&slow.because),
                _ => None,
            })
            .flat_map(|because| because.iter().enumerate())
            .flat_map(|(at, because)| because.requests.iter().map(move |id| (*id, at)))
            .collect();
        Self {
            header,
            history,
            patterns: patterns.to_vec(),
            requests,
            nesting,
            awaits: UserAwaits::new(history),
            kinds,
            kind_at,
            because_at,
        }
    }

    /// The request with this number.
    #[must_use]
    pub fn request(&self, id: u32) -> Option<&Request> {
        let at = id.checked_sub(1)? as usize;
        self.requests.list.get(at)
    }

    /// How many requests there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.requests.list.len()
    }

    /// The kind that a request is of.
    fn kind_of(&self, request: &Request) -> Option<&Kind> {
        self.kinds.get(*self.kind_at.get(&request.what)?)
    }

    /// Why a slow request was slow.
    fn because(&self, request: &Request) -> Option<&compare::Because> {
        let Comparison::Slow(slow) = &self.kind_of(request)?.slow else {
            return None;
        };
        slow.because.get(*self.because_at.get(&request.id)?)
    }

    fn row(&self, request: &Request) -> Row {
        let task = words::task(self.history, request.task);
        Row {
            id: request.id,
            what: Arc::clone(&request.what),
            task: task.map(|task| Arc::clone(&task.name)),
            task_future: task.and_then(|task| task.future.clone()),
            start_ns: request.start.saturating_sub(self.history.span.start),
            start_unix_ns: self.header.realtime(request.start),
            duration_ns: request.duration(self.history.span.end),
            at_least: !request.is_whole(),
            open: request.end.is_none(),
            outcome: request.outcome,
            because: self.because(request).map(|because| because.awaited.clone()),
        }
    }
}

/// A request of the list.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its number in this trace.
    pub id: u32,
    /// Path of the async function.
    pub what: Arc<str>,
    /// Its task's name.
    pub task: Option<Arc<str>>,
    /// Path of its task's future.
    pub task_future: Option<Arc<str>>,
    /// Nanoseconds from the start of the trace.
    pub start_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC; `None` when the recording does not say.
    pub start_unix_ns: Option<u64>,
    /// Nanoseconds that it took, or has taken so far.
    pub duration_ns: u64,
    /// It took longer than that: its begin or its end was not seen.
    pub at_least: bool,
    /// It goes on at the end of the trace.
    pub open: bool,
    /// How it ended.
    pub outcome: AwaitOutcome,
    /// The await that made it slow, for a slow one that one await explains.
    pub because: Option<AwaitedPlace>,
}

/// The list of requests.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The trace's id.
    pub trace_id: String,
    /// The patterns that were asked for.
    pub patterns: Vec<String>,
    /// Which functions' instances the requests are, and why.
    pub chosen: Vec<Choice>,
    /// What was considered and left out.
    pub left_out: Vec<LeftOut>,
    /// Patterns that named nothing.
    pub unmatched: Vec<String>,
    /// Async functions that could be named instead.
    pub candidates: Vec<Candidate>,
    /// What is missing in the trace.
    pub missing: Missing,
    /// Durations by kind, and what slow ones have in common.
    pub kinds: Vec<Kind>,
    /// Requests, the slowest first.
    pub requests: Vec<Row>,
    /// How many more there are.
    pub not_listed: u64,
    /// What is inside the listed ones, in the same order, when they were opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<one::One>,
    /// What is on the critical paths, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical_paths: Option<Vec<path::KindPaths>>,
}

/// What a list shows beside the requests.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// Requests at most.
    pub top: usize,
    /// How far they are opened.
    pub level: Level,
    /// Critical paths, added up.
    pub critical_paths: bool,
}

/// An await instance for JSON: where it stands in the source.
fn place_of(history: &History, instance: Option<AwaitIndex>) -> Option<AwaitedPlace> {
    let instance = history.awaits.get(instance?.0 as usize)?;
    Some(AwaitedPlace::from(&*instance.awaited))
}
