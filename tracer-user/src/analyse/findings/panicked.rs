//! Tasks that panicked: where, with what message, and what their futures were then.
//!
//! A panic is a fact once its event is there; what has to be judged is what became of the task. It is
//! over where its end was seen in the poll that panicked, or its thread ended in it (`panic =
//! "abort"`). It survived where it was polled again, or that poll ended otherwise: the panic was
//! caught, which may be as it is meant to be. Otherwise it is not known. The absence of events
//! therefore never makes more than `likely`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::case::Case;
use super::model::{Certainty, Kind, Role, Sighting, Site, Subject};
use super::preorder::is_body;
use super::source::is_dependency;
use crate::analyse::history::{History, Panic, TaskHistory, UnitKind};
use crate::rebuild::event::{EndSeen, Outcome};
use crate::rebuild::suspension::FutureState;
use crate::rebuild::tree::NodeState;

/// Awaits of its tree that are named.
const MAX_SITES: usize = 8;

/// What became of who panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The task ended in the poll that panicked.
    Ended,
    /// So it did; but one of its futures catches panics, and may have caught this one.
    EndedOrCaught,
    /// The thread ended in that poll.
    ThreadEnded,
    /// The task went on.
    Survived,
    /// It was outside any task.
    NoTask,
    /// Not seen.
    Unknown,
}

impl Fate {
    const fn certainty(self) -> Certainty {
        match self {
            Self::Ended | Self::ThreadEnded => Certainty::Proved,
            Self::EndedOrCaught | Self::Unknown => Certainty::Likely,
            Self::Survived | Self::NoTask => Certainty::Possible,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Ended => "the task ended in that poll",
            Self::EndedOrCaught => {
                "the task ended in that poll; one of its futures catches panics, so that it may \
                 have ended otherwise"
            }
            Self::ThreadEnded => "its thread ended in that poll, as with panic = \"abort\"",
            Self::Survived => "the task went on: the panic was caught in its poll",
            Self::NoTask => "it was outside any poll of a task: on a thread, or in a block_on root",
            Self::Unknown => "what became of the task was not seen",
        }
    }
}

/// A panic, judged.
struct Judged<'a> {
    panic: &'a Panic,
    task: Option<&'a TaskHistory>,
    fate: Fate,
    cause: String,
}

pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let judged: Vec<Judged<'_>> = history
        .panics
        .iter()
        .map(|panic| judge(history, panic))
        .collect();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in &judged {
        let (all, survived) = counts.entry(&one.cause).or_default();
        *all += 1;
        *survived += usize::from(one.fate == Fate::Survived);
    }
    judged
        .iter()
        .map(|one| {
            let (all, survived) = counts.get(&*one.cause).copied().unwrap_or((1, 0));
            sighting(history, one, all, survived)
        })
        .collect()
}

fn judge<'a>(history: &'a History, panic: &'a Panic) -> Judged<'a> {
    let unit = history.units.get(panic.unit.0 as usize);
    let task = unit.and_then(|unit| unit.task());
    let who = match (task, unit.map(|unit| &unit.kind)) {
        (Some(task), _) => task.future.as_deref().unwrap_or("a task").to_owned(),
        (
            None,
            Some(UnitKind::Thread {
                name: Some(name), ..
            }),
        ) => format!("thread {name}"),
        _ => "a thread".to_owned(),
    };
    let at = match &panic.location {
        Some(at) => format!("{}:{}:{}", at.file, at.line, at.column),
        None => "a place that is not known".to_owned(),
    };
    Judged {
        panic,
        task,
        fate: fate(history, panic, task),
        cause: format!("{who} at {at}"),
    }
}

fn fate(history: &History, panic: &Panic, task: Option<&TaskHistory>) -> Fate {
    let Some(task) = task else {
        return Fate::NoTask;
    };
    let row = panic
        .poll
        .and_then(|poll| history.polls.get(poll.0 as usize));
    let unit = history.units.get(panic.unit.0 as usize);
    let last = unit.and_then(|unit| unit.polls.last().copied());
    if panic.poll.is_some() && last > panic.poll {
        return Fate::Survived;
    }
    let Some(poll) = row else {
        return Fate::Unknown;
    };
    match poll.outcome {
        Outcome::Pending | Outcome::Ready | Outcome::Cancelled => Fate::Survived,
        Outcome::Panicked if task.end.is_some_and(|end| end.outcome == Outcome::Panicked) => {
            if catches(panic) {
                Fate::EndedOrCaught
            } else {
                Fate::Ended
            }
        }
        _ if panic.raised && poll.end.is_some() && poll.seen == EndSeen::ThreadExit => {
            Fate::ThreadEnded
        }
        _ => Fate::Unknown,
    }
}

/// Whether one of the task's futures is there to catch panics: `futures::future::CatchUnwind`,
/// tower-http's `CatchPanic`, what their users call alike.
fn catches(panic: &Panic) -> bool {
    let stood = panic.stood.iter().flat_map(|stood| &stood.futures);
    stood.into_iter().any(|future| {
        let name = &future.state.future;
        ["CatchUnwind", "catch_unwind", "CatchPanic", "catch_panic"]
            .iter()
            .any(|word| name.contains(word))
    })
}

fn sighting(history: &History, judged: &Judged<'_>, all: usize, survived: usize) -> Sighting {
    let Judged {
        panic,
        task,
        fate,
        cause,
    } = judged;
    let future = task.map(|task| task.future.clone().unwrap_or_else(|| "a task".into()));
    let subjects = task.map(|task| Subject {
        id: task.name.clone(),
        future: task.future.clone(),
    });
    let (who, at) = cause.split_once(" at ").unwrap_or((cause, "?"));
    let verb = if *fate == Fate::Survived {
        "panicked and went on"
    } else {
        "panicked"
    };
    let told = panic.stood.as_ref().map_or(0, |stood| stood.futures.len());
    let mut sites = Vec::new();
    if let Some(place) = &panic.location {
        let within = innermost(panic).map(|body| body.future.clone());
        sites.push(Site {
            role: Role::PanickedAt,
            future: within
                .or_else(|| future.clone())
                .unwrap_or_else(|| who.into()),
            file: Some(place.file.clone()),
            line: Some(place.line),
        });
    }
    if let Some(body) = innermost(panic).filter(|body| body.line.is_some()) {
        sites.push(Site {
            role: Role::BeganAt,
            future: body.future.clone(),
            file: body.file.clone(),
            line: body.line,
        });
    }
    let own = panic.stood.iter().flat_map(|stood| &stood.futures);
    let own = own.map(|future| &future.state).filter(|body| {
        let file = body.file.as_deref();
        body.line.is_some() && file.is_some_and(|file| !is_dependency(file))
    });
    for body in own.take(MAX_SITES) {
        let site = Site {
            role: Role::WaitsAt,
            future: body.future.clone(),
            file: body.file.clone(),
            line: body.line,
        };
        let mut known = sites.iter();
        if !known.any(|known| (&known.file, known.line) == (&site.file, site.line)) {
            sites.push(site);
        }
    }
    Sighting {
        kind: Kind::Panicked,
        certainty: fate.certainty(),
        cause: cause.clone(),
        summary: format!("{who} {verb} at {at}"),
        tasks: subjects.into_iter().collect(),
        sites,
        evidence: evidence(history, judged, all, survived),
        began: Some(panic.time),
        ended: Some(panic.time),
        advice: match &panic.location {
            Some(place) => format!(
                "see {}:{}; who awaits the task's JoinHandle gets a JoinError, otherwise the panic \
                 goes unnoticed",
                place.file, place.line
            ),
            None => "run it with RUST_BACKTRACE=1 to see where it began".to_owned(),
        },
        // How often; of equal ones the one that tells most of the futures stands for the others.
        weight: (all as u64) << 8 | told.min(255) as u64,
    }
}

fn evidence(history: &History, judged: &Judged<'_>, all: usize, survived: usize) -> Vec<String> {
    let panic = judged.panic;
    let mut evidence = Vec::new();
    if let Some(message) = &panic.message {
        evidence.push(format!("it says: {message}"));
    }
    if panic.location.is_none() {
        evidence.push(if panic.stood.is_none() {
            "it was raised again (std::panic::resume_unwind), or its begin was not seen".to_owned()
        } else {
            "where it began could not be read".to_owned()
        });
    }
    evidence.extend(thread(history, panic));
    evidence.extend(path(panic));
    evidence.push(judged.fate.sentence().to_owned());
    if all > 1 {
        let mut text = format!("{all} panics of this future at this place were seen");
        if survived > 0 {
            let _ = write!(text, ", {survived} of them survived by their task");
        }
        evidence.push(text);
    }
    evidence
}

fn thread(history: &History, panic: &Panic) -> Option<String> {
    let poll = history.polls.get(panic.poll?.0 as usize)?;
    let unit = history.units.get(poll.thread?.0 as usize)?;
    let UnitKind::Thread { tid, name, .. } = &unit.kind else {
        return None;
    };
    let name = name
        .as_ref()
        .map_or_else(String::new, |name| format!(" ({name})"));
    let after = panic.time.saturating_sub(poll.begin);
    let when = if poll.begin_known {
        format!(", {} after its poll began", super::past::duration(after))
    } else {
        String::new()
    };
    Some(format!("it panicked on thread {tid}{name}{when}"))
}

/// The futures from the root inwards, along the first branch.
fn chain(panic: &Panic) -> impl Iterator<Item = &FutureState> {
    let stood = panic.stood.iter().flat_map(|stood| &stood.futures);
    let mut next = 0;
    stood
        .take_while(move |future| {
            let deeper = future.depth == next;
            next += 1;
            deeper
        })
        .map(|future| &*future.state)
}

/// The innermost async body that is known to have been there, if there was one branch only.
fn innermost(panic: &Panic) -> Option<&FutureState> {
    let stood = panic.stood.as_deref()?;
    if chain(panic).count() != stood.futures.len() {
        return None;
    }
    chain(panic).filter(|future| is_body(future.kind)).last()
}

fn path(panic: &Panic) -> Option<String> {
    let stood = panic.stood.as_deref()?;
    let futures: Vec<String> = stood
        .futures
        .iter()
        .take(24)
        .map(|future| {
            let state = &future.state;
            let mut text = state.future.to_string();
            match (&state.file, state.line) {
                _ if state.state == NodeState::Unresumed => text += " (in its first poll)",
                (Some(file), Some(line)) => drop(write!(text, " ({file}:{line})")),
                _ => {}
            }
            text
        })
        .collect();
    let missing = stood.missing.as_deref();
    match (futures.is_empty(), missing) {
        (true, None) => None,
        (true, Some(missing)) => Some(format!("where its futures stood is not known: {missing}")),
        (false, missing) => {
            let missing = missing.map_or_else(String::new, |missing| format!("; {missing}"));
            Some(format!(
                "its futures when it panicked, each at its last suspension: {}{missing}",
                futures.join(" > ")
            ))
        }
    }
}

#[cfg(test)]
#[path = "panicked_tests.rs"]
mod tests;
