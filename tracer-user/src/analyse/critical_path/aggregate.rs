//! What is on the critical paths of several requests, and with which share.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::{CriticalPath, PieceKind, Question, walk};
use crate::analyse::history::{AwaitIndex, Awaited, History};
use crate::analyse::requests::UserAwaits;

/// Pieces of all paths together at most; the paths that do not fit are left out and counted.
const PIECES: usize = 4_000_000;

/// Pieces of one path at most.
const PIECES_OF_ONE: usize = 100_000;

/// The critical paths of several requests, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Aggregate {
    /// How many requests.
    pub requests: u64,
    /// How many more there are, that were left out as there are too many pieces.
    pub left_out: u64,
    /// Their durations together, nanoseconds: the sum of all shares.
    pub total_ns: u64,
    /// What it consists of, the longest first.
    pub shares: Vec<Share>,
}

/// The time that went by in one await in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// What was awaited, and where; `None` where that is not known.
    pub awaited: Option<AwaitedPlace>,
    /// The same in the user's own code: the await that it was a part of.
    pub at: Option<AwaitedPlace>,
    /// Path of the future of the task whose time it was, where it is known.
    pub task: Option<Arc<str>>,
    /// `polled`, `blocked`, `preempted`, `scheduled`, `waiting`, `unknown`.
    pub kind: &'static str,
    /// Nanoseconds.
    pub total_ns: u64,
    /// In how many of the requests.
    pub requests: u64,
}

/// An [`Awaited`] in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AwaitedPlace {
    /// Path of the future.
    pub future: Arc<str>,
    /// What it waits for.
    pub waits_for: Option<Arc<str>>,
    /// Path of the future that awaits it.
    pub by: Option<Arc<str>>,
    /// Source file of the await.
    pub file: Option<Arc<str>>,
    /// Line of it, 1-based.
    pub line: Option<u32>,
}

impl From<&Awaited> for AwaitedPlace {
    fn from(awaited: &Awaited) -> Self {
        Self {
            future: Arc::clone(&awaited.future),
            waits_for: awaited.waits_for.clone(),
            by: awaited.by.clone(),
            file: awaited.file.clone(),
            line: awaited.line,
        }
    }
}

/// The critical paths of `questions`, added up.
#[must_use]
pub fn aggregate(
    history: &History,
    awaits: &UserAwaits,
    questions: impl IntoIterator<Item = Question>,
) -> Aggregate {
    let mut result = Aggregate::default();
    let mut shares: BTreeMap<Key<'_>, (u64, u64)> = BTreeMap::new();
    let mut pieces = 0_usize;
    for question in questions {
        if pieces > PIECES {
            result.left_out += 1;
            continue;
        }
        let path = walk(history, question, PIECES_OF_ONE);
        // A path of no pieces costs its walk, too.
        pieces += path.pieces.len() + 1;
        result.requests += 1;
        result.total_ns = result.total_ns.saturating_add(path.length());
        add(history, awaits, &path, &mut shares);
    }
    result.shares = shares
        .into_iter()
        .map(|((awaited, at, task, kind), (total_ns, requests))| Share {
            awaited: awaited.map(AwaitedPlace::from),
            at: at.map(AwaitedPlace::from),
            task: task.cloned(),
            kind,
            total_ns,
            requests,
        })
        .collect();
    // Stable: what is equally long stays in the order of its names.
    result
        .shares
        .sort_by_key(|share| std::cmp::Reverse(share.total_ns));
    result
}

type Key<'h> = (
    Option<&'h Awaited>,
    Option<&'h Awaited>,
    Option<&'h Arc<str>>,
    &'static str,
);

fn add<'h>(
    history: &'h History,
    awaits: &UserAwaits,
    path: &CriticalPath,
    shares: &mut BTreeMap<Key<'h>, (u64, u64)>,
) {
    let awaited = |instance: AwaitIndex| {
        let instance = history.awaits.get(instance.0 as usize)?;
        Some(&*instance.awaited)
    };
    let mut seen: HashSet<Key<'h>> = HashSet::new();
    for piece in &path.pieces {
        let within = piece.within.filter(|_| piece.kind != PieceKind::Unknown);
        let task = history
            .units
            .get(piece.unit.0 as usize)
            .and_then(|unit| unit.task()?.future.as_ref());
        let key = (
            within.and_then(awaited),
            within.map(|within| awaits.of(within)).and_then(awaited),
            task,
            piece.kind.word(),
        );
        let share = shares.entry(key).or_default();
        share.0 = share.0.saturating_add(piece.length());
        if seen.insert(key) {
            share.1 += 1;
        }
    }
}
