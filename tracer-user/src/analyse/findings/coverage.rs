//! What a case allows to be judged, and what it does not, with the reason: no finding of a kind that
//! could not be judged is no good news.

use serde::Serialize;

use super::case::Case;
use super::model::{Finding, Kind};
use crate::analyse::history::Missing;
use crate::rebuild::snapshot::{DebugInfoLevel, Snapshot};

/// What was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Whether events were watched; otherwise memory alone was looked at.
    pub events_watched: bool,
    /// Events.
    pub events: u64,
    /// Polls among them that are kept.
    pub polls: u64,
    /// Wake-ups among them that are kept.
    pub wakes: u64,
    /// Events that are missing.
    pub missing: Missing,
    /// Times that all of memory was looked at.
    pub looks: u64,
    /// Live tasks at the last look; without one, the tasks that events told of.
    pub tasks: u64,
    /// How much debug information there is, where that is known.
    pub debug_info: Option<DebugInfoLevel>,
    /// What the last look saw of the tasks.
    pub memory: Option<Memory>,
    /// Kinds that could not be judged.
    pub not_judged: Vec<NotJudged>,
}

/// What a look at memory saw of the tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// How much debug information there is.
    pub debug_info: DebugInfoLevel,
    /// Tasks found by walking the runtimes' lists.
    pub tasks_listed: u64,
    /// Tasks by the runtimes' own counters; `None` where one of them keeps none.
    pub tasks_counted: Option<u64>,
    /// Nodes of trees that could not be decoded.
    pub opaque_nodes: usize,
    /// Tasks whose memory changed while it was read, in every retry.
    pub torn_tasks: u64,
}

impl Memory {
    fn of(snapshot: &Snapshot) -> Self {
        let seen = &snapshot.coverage;
        let mut runtimes = snapshot.runtimes.iter();
        let all_count = runtimes.all(|runtime| runtime.tasks_counted.is_some());
        Self {
            debug_info: seen.debug_info,
            tasks_listed: seen.tasks_listed,
            tasks_counted: all_count.then_some(seen.tasks_counted),
            opaque_nodes: seen.opaque_nodes,
            torn_tasks: seen.torn_tasks,
        }
    }
}

/// A kind that could not be judged, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotJudged {
    /// The kind.
    pub kind: Kind,
    /// Why not, as a clause.
    pub reason: String,
}

/// What the caller knows of a case beside the case.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// Whether events were watched.
    pub events_watched: bool,
    /// Events.
    pub events: u64,
    /// Times that memory was looked at.
    pub looks: u64,
    /// How much debug information there is, where that is known.
    pub debug_info: Option<DebugInfoLevel>,
}

/// What a kind rests on.
struct Needs {
    events: bool,
    memory: bool,
    types: bool,
}

const fn needs(kind: Kind) -> Needs {
    let (events, memory, types) = match kind {
        Kind::LostWake => (false, true, false),
        Kind::WaitCycle | Kind::Futurelock | Kind::AbandonedFuture => (false, true, true),
        Kind::BlockedWorker
        | Kind::Panicked
        | Kind::BusyPoll
        | Kind::SlowToRun
        | Kind::TaskGrowth
        | Kind::Stalled => (true, false, false),
    };
    Needs {
        events,
        memory,
        types,
    }
}

/// What was looked at in a case, given what was found in it.
#[must_use]
pub fn coverage(case: &Case<'_>, looked: Looked, findings: &[Finding]) -> Coverage {
    let seen = case.now().map(|moment| Memory::of(&moment.snapshot));
    let debug_info = looked
        .debug_info
        .or_else(|| seen.as_ref().map(|seen| seen.debug_info));
    let tasks = case.now().map_or_else(
        || {
            let tasks = case.history.units.iter();
            tasks.filter(|unit| unit.task().is_some()).count() as u64
        },
        |moment| moment.snapshot.tasks.len() as u64,
    );
    Coverage {
        events_watched: looked.events_watched,
        events: looked.events,
        polls: case.history.polls.len() as u64,
        wakes: case.history.wakes.len() as u64,
        missing: case.history.missing.clone(),
        looks: looked.looks,
        tasks,
        debug_info,
        memory: seen,
        not_judged: Kind::ALL
            .into_iter()
            // What was found could be judged.
            .filter(|kind| findings.iter().all(|finding| finding.kind != *kind))
            .filter_map(|kind| {
                let reason = obstacle(case, looked, debug_info, kind)?;
                Some(NotJudged { kind, reason })
            })
            .collect(),
    }
}

/// Why a kind could not be judged.
fn obstacle(
    case: &Case<'_>,
    looked: Looked,
    debug_info: Option<DebugInfoLevel>,
    kind: Kind,
) -> Option<String> {
    let needs = needs(kind);
    if needs.events && !looked.events_watched {
        return Some("needs events, which neither --now nor --sample watches".to_owned());
    }
    if needs.types && debug_info.is_some_and(|level| level != DebugInfoLevel::Full) {
        return Some("needs types in the debug information of the binary (debug = 2)".to_owned());
    }
    if needs.memory {
        match case.moments.len() {
            0 => return Some("its memory was not looked at".to_owned()),
            1 => {
                return Some(
                    "its memory was looked at once: what does not change was not seen".to_owned(),
                );
            }
            _ => {}
        }
    }
    let span = case.end().saturating_sub(case.history.span.start);
    if kind == Kind::Stalled && span < case.thresholds.stalled {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        return Some(format!(
            "{:.1} s is less than --stalled ({:.1} s)",
            seconds(span),
            seconds(case.thresholds.stalled)
        ));
    }
    let missing = &case.history.missing;
    if (missing.pauses > 0 || missing.partly_ns > 0) && needs.events {
        return Some(format!(
            "all events were watched {:.1} % of the time, so that tracing kept its budget: what there was \
             may have been missed",
            100.0 * case.watched()
        ));
    }
    if case.events_are_missing() && needs.events {
        return Some("events are missing: what there was may have been missed".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::rebuild::snapshot::RuntimeInfo;

    #[test]
    fn tasks_are_counted_only_where_every_runtime_counts_them() {
        let runtime = |tasks_counted| RuntimeInfo {
            runtime: "tokio",
            scheduler: "multi_thread",
            address: Address(1),
            tasks_listed: 3,
            tasks_counted,
        };
        let counted = |runtimes: Vec<RuntimeInfo>| {
            let mut snapshot = Snapshot::empty(1);
            snapshot.coverage.tasks_counted = 6;
            snapshot.runtimes = runtimes;
            Memory::of(&snapshot).tasks_counted
        };
        assert_eq!(counted(vec![runtime(Some(3)), runtime(Some(3))]), Some(6));
        assert_eq!(counted(vec![runtime(Some(3)), runtime(None)]), None);
    }
}
