//! Critical paths: of one request, and added up over the slow ones.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::text::{FAINT, heading, plural, share, table};
use super::words::{self, Cause};
use super::{AwaitedPlace, Material, place_of};
use crate::analyse::critical_path::{
    Aggregate, CriticalPath, NamedEvent, Piece, PieceKind, Question, Share, aggregate, walk,
};
use crate::analyse::history::History;
use crate::analyse::requests::{Request, UserAwaits};

/// Pieces of one path at most; what does not fit is one unknown piece.
pub const PIECES: usize = 100_000;

/// Rows of a table at most.
const ROWS: usize = 15;

/// Pieces that are shown at most: the longest.
const SHOWN: usize = 40;

/// A critical path in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct PathView {
    /// Nanoseconds: the sum of the pieces.
    pub length_ns: u64,
    /// The pieces, in order of time; each begins where the one before ends.
    pub pieces: Vec<PieceView>,
    /// The walk was given up: the first piece is what it did not come to.
    pub cut_off: bool,
}

/// A piece in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct PieceView {
    /// Nanoseconds from the begin of the path.
    pub at_ns: u64,
    /// Nanoseconds.
    pub length_ns: u64,
    /// `polled`, `blocked`, `preempted`, `scheduled`, `waiting`, `unknown`.
    pub kind: &'static str,
    /// The task or thread in which the time went by.
    pub unit: String,
    /// What was awaited.
    pub awaited: Option<AwaitedPlace>,
    /// The same in the user's own code: the await that it was a part of.
    pub at: Option<AwaitedPlace>,
    /// What ended it, for a wait.
    pub cause: Option<Cause>,
    /// The event that ended it or began it, as `--between` takes it.
    pub event: Option<String>,
}

/// The critical paths of a kind of request.
#[derive(Clone, Debug, Serialize)]
pub struct KindPaths {
    /// Path of the async function.
    pub what: Arc<str>,
    /// Of the slowest tenth.
    pub slow: Aggregate,
    /// Of the others.
    pub others: Aggregate,
}

impl Material<'_> {
    fn question(&self, request: &Request) -> Question {
        Question {
            unit: request.task,
            within: Some(request.root),
            from: request.start,
            to: request.end.unwrap_or(self.history.span.end),
        }
    }

    /// The critical path of a request.
    pub(super) fn path(&self, request: &Request) -> PathView {
        let path = walk(self.history, self.question(request), PIECES);
        view(self.history, &self.awaits, &path)
    }

    /// The critical paths of each kind, of the slowest tenth (one at least) and of the others.
    pub(super) fn paths(&self) -> Vec<KindPaths> {
        let mut by_kind: HashMap<&str, Vec<&Request>> = HashMap::new();
        for request in self.requests.list.iter().filter(|it| it.is_whole()) {
            by_kind.entry(&*request.what).or_default().push(request);
        }
        let mut of = |what: &Arc<str>| {
            let mut whole = by_kind.remove(&**what).unwrap_or_default();
            whole.sort_by_key(|request| Reverse(request.duration(0)));
            let (slow, others) = whole.split_at(whole.len().div_ceil(10));
            let sum = |requests: &[&Request]| {
                aggregate(
                    self.history,
                    &self.awaits,
                    requests.iter().map(|request| self.question(request)),
                )
            };
            KindPaths {
                what: Arc::clone(what),
                slow: sum(slow),
                others: sum(others),
            }
        };
        self.kinds.iter().map(|kind| of(&kind.what)).collect()
    }
}

/// A path in JSON.
#[must_use]
pub fn view(history: &History, awaits: &UserAwaits, path: &CriticalPath) -> PathView {
    let from = path.pieces.first().map_or(0, |piece| piece.from);
    PathView {
        length_ns: path.length(),
        pieces: path
            .pieces
            .iter()
            .map(|piece| PieceView {
                at_ns: piece.from - from,
                length_ns: piece.length(),
                kind: piece.kind.word(),
                unit: words::unit(history, piece.unit),
                awaited: place_of(history, piece.within),
                at: place_of(history, piece.within.map(|within| awaits.of(within))),
                cause: piece.kind.wake().map(|wake| words::cause(history, wake)),
                event: event(history, piece).map(|event| event.to_string()),
            })
            .collect(),
        cut_off: path.cut_off,
    }
}

fn event(history: &History, piece: &Piece) -> Option<NamedEvent> {
    let poll = match piece.kind {
        PieceKind::Polled(poll) | PieceKind::Blocked(poll) | PieceKind::Preempted(poll) => {
            history.polls.get(poll.0 as usize).map(|poll| poll.event)
        }
        _ => None,
    };
    let wake = || {
        let wake = piece.kind.wake()?;
        history.wakes.get(wake.0 as usize).map(|wake| wake.event)
    };
    poll.or_else(wake).map(NamedEvent)
}

/// Writes a path.
///
/// # Errors
/// What `out` returns.
pub fn write(path: &PathView, out: &mut dyn Write) -> io::Result<()> {
    heading(
        out,
        &format!(
            "Critical path: {} in {}",
            words::length(path.length_ns),
            plural(path.pieces.len() as u64, "piece")
        ),
    )?;
    // When there are too many the short ones are left out, and their sum is told.
    let mut lengths: Vec<u64> = path.pieces.iter().map(|piece| piece.length_ns).collect();
    lengths.sort_unstable_by_key(|&length| Reverse(length));
    let least = lengths
        .get(SHOWN)
        .map_or(0, |&length| length.saturating_add(1));
    let shown = |piece: &&PieceView| piece.length_ns >= least;
    let rows = path.pieces.iter().filter(shown).map(|piece| {
        let cause = match (&piece.cause, piece.kind) {
            (Some(cause), "waiting") => format!("until {}", cause.words()),
            (Some(cause), _) => format!("by {}", cause.words()),
            (None, _) => String::new(),
        };
        vec![
            format!("+{}", words::length(piece.at_ns)),
            words::length(piece.length_ns),
            share(piece.length_ns, path.length_ns),
            piece.kind.to_owned(),
            words::leaf_at(piece.awaited.as_ref(), piece.at.as_ref()),
            piece.unit.clone(),
            cause,
        ]
    });
    let headings = ["at", "length", "share", "", "in", "of", ""];
    writeln!(out, "{}", table(&headings, 3, rows.collect()))?;
    let left_out: Vec<&PieceView> = path
        .pieces
        .iter()
        .filter(|piece| piece.length_ns < least)
        .collect();
    if !left_out.is_empty() {
        let sum = left_out.iter().map(|piece| piece.length_ns).sum();
        writeln!(
            out,
            "  {FAINT}and {} shorter, {} together (--json lists them){FAINT:#}",
            plural(left_out.len() as u64, "piece"),
            words::length(sum)
        )?;
    }
    if path.cut_off {
        writeln!(
            out,
            "  {FAINT}the path was followed for its last {PIECES} pieces at most{FAINT:#}"
        )?;
    }
    Ok(())
}

/// Writes what is on the critical paths of a kind.
///
/// # Errors
/// What `out` returns.
pub(super) fn write_kind(paths: &KindPaths, out: &mut dyn Write) -> io::Result<()> {
    let slow = &paths.slow;
    if slow.requests == 0 {
        return Ok(());
    }
    heading(
        out,
        &format!(
            "On the critical paths of the slowest tenth of {} ({}, {} together)",
            words::path(&paths.what),
            plural(slow.requests, "request"),
            words::length(slow.total_ns),
        ),
    )?;
    let rows = slow.shares.iter().take(ROWS).map(|one| {
        let other = paths.others.shares.iter().find(|other| {
            let same = |it: &Share| (it.kind, it.awaited.clone(), it.at.clone(), it.task.clone());
            same(other) == same(one)
        });
        let usual = other.map_or(0, |other| other.total_ns);
        vec![
            words::length(one.total_ns),
            share(one.total_ns, slow.total_ns),
            if paths.others.requests == 0 {
                "-".to_owned()
            } else {
                share(usual, paths.others.total_ns)
            },
            one.requests.to_string(),
            one.kind.to_owned(),
            words::leaf_at(one.awaited.as_ref(), one.at.as_ref()),
            one.task
                .as_ref()
                .map_or_else(String::new, |task| words::path(task)),
        ]
    });
    let headings = ["time", "share", "others", "requests", "", "in", "of task"];
    writeln!(out, "{}", table(&headings, 4, rows.collect()))?;
    if slow.shares.len() > ROWS {
        writeln!(
            out,
            "  {FAINT}and {} more (--json lists them){FAINT:#}",
            slow.shares.len() - ROWS
        )?;
    }
    let left_out = slow.left_out + paths.others.left_out;
    if left_out > 0 {
        writeln!(
            out,
            "  {FAINT}without {}: their paths have too many pieces{FAINT:#}",
            plural(left_out, "request")
        )?;
    }
    Ok(())
}
