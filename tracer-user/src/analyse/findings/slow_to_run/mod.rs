//! Tasks that were woken, or spawned, and not polled for long, with what ran instead.
//!
//! `likely` when polls of the program explain it: the workers were in polls that are long, one after
//! the other or all at once. A queue of many short polls is what load looks like, and a worker that
//! was without a CPU, or parked, is nobody's of the program: both are `possible`, and said.

mod ran;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use self::ran::{Busy, Instead};
use super::case::{Case, TaskName};
use super::model::{Certainty, Kind, Role, Sighting};
use super::place;
use super::told::{duration, is_share, plural};
use crate::analyse::history::{History, PollCause, PollIndex, TaskHistory, UnitIndex};
use crate::analyse::profile::Spread;
use crate::rebuild::event::WakeEffect;
use crate::rebuild::snapshot::TaskState;

/// A task that waited for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Delay {
    task: UnitIndex,
    from: u64,
    to: u64,
    /// The poll that it waited for; `None` when that did not come until the end.
    poll: Option<PollIndex>,
}

impl Delay {
    fn length(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// Delays of tasks of one future that are explained one by one.
const MAX_EXPLAINED: usize = 16;

/// The tasks that were in a run queue, or being polled, when memory was looked at last. Events alone
/// do not tell that a task still waits: its end may not have been seen.
#[derive(Debug, Default)]
struct Queued {
    /// When that was; `None` without a look.
    time: Option<u64>,
    tasks: HashSet<TaskName>,
}

impl Queued {
    fn of(case: &Case<'_>) -> Self {
        let Some(now) = case.now() else {
            return Self::default();
        };
        let waits = |state| !matches!(state, TaskState::Idle | TaskState::Complete);
        let tasks = now.snapshot.tasks.iter();
        Self {
            time: Some(now.time),
            tasks: tasks
                .filter(|task| waits(task.state))
                .map(TaskName::of)
                .collect(),
        }
    }

    /// Whether memory shows that a task does not wait since `from`: it is idle, or gone.
    fn denies(&self, task: &TaskHistory, from: u64) -> bool {
        let name = TaskName {
            address: task.address,
            id: Arc::clone(&task.name),
        };
        self.time.is_some_and(|time| time > from) && !self.tasks.contains(&name)
    }
}

/// All of them.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let queued = Queued::of(case);
    let mut delays: HashMap<Option<&str>, Vec<Delay>> = HashMap::new();
    for (index, unit) in (0..).zip(&history.units) {
        let Some(task) = unit.task().filter(|task| !task.blocking) else {
            continue;
        };
        let of_task = slow(case, &queued, UnitIndex(index), task);
        if !of_task.is_empty() {
            delays
                .entry(task.future.as_deref())
                .or_default()
                .extend(of_task);
        }
    }
    if delays.is_empty() {
        return Vec::new();
    }
    let busy = Busy::of(case);
    let mut found = Vec::new();
    for (future, mut delays) in delays {
        delays.sort_by_key(|delay| (Reverse(delay.length()), delay.from, delay.task));
        report(case, &busy, future, &delays, &mut found);
    }
    found
}

/// The delays of one task that are longer than the threshold.
fn slow(case: &Case<'_>, queued: &Queued, unit: UnitIndex, task: &TaskHistory) -> Vec<Delay> {
    let history = case.history;
    let row = &history[unit];
    let threshold = case.thresholds.slow_to_run;
    let mut found = Vec::new();
    let mut free = 0;
    for &index in &row.polls {
        let poll = &history[index];
        let from = match poll.cause {
            Some(PollCause::Wake(wake)) => Some(history[wake].time),
            Some(PollCause::Spawn) => task.spawned.map(|spawned| spawned.time),
            None => None,
        };
        // What was woken while it was polled can be polled again when that has ended.
        let from = from.map(|from| from.max(free));
        if let Some(from) = from
            && poll.begin_known
            && poll.begin.saturating_sub(from) > threshold
            && !has_gap(&row.gaps, from, poll.begin)
        {
            found.push(Delay {
                task: unit,
                from,
                to: poll.begin,
                poll: Some(index),
            });
        }
        free = poll.end.unwrap_or(u64::MAX);
    }
    found.extend(still(case, queued, unit, task, free));
    found
}

/// It was woken, and not polled until the end.
fn still(
    case: &Case<'_>,
    queued: &Queued,
    unit: UnitIndex,
    task: &TaskHistory,
    free: u64,
) -> Option<Delay> {
    let history = case.history;
    let row = &history[unit];
    if task.end.is_some() || free == u64::MAX {
        return None;
    }
    let left_out = &history.missing.left_out;
    if task
        .future
        .as_ref()
        .is_some_and(|future| left_out.contains(future))
    {
        return None;
    }
    let woken = row.woken.last().map(|wake| &history[*wake]);
    let from = match (woken, row.polls.last()) {
        (Some(wake), _) if wake.effect == WakeEffect::Scheduled && wake.time >= free => wake.time,
        (Some(wake), _) if wake.effect == WakeEffect::PollAgain && wake.poll.is_none() => {
            wake.time.max(free)
        }
        (None, None) => task.spawned?.time,
        _ => return None,
    };
    let to = history.span.end;
    let is_slow = to.saturating_sub(from) > case.thresholds.slow_to_run;
    if is_slow && queued.denies(task, from) {
        return None;
    }
    let is_known = history.is_watched_since(from) && !has_gap(&row.gaps, from, to);
    (is_slow && is_known).then_some(Delay {
        task: unit,
        from,
        to,
        poll: None,
    })
}

/// Whether events of a task are missing in a while: it may have been polled then.
fn has_gap(gaps: &[u64], from: u64, to: u64) -> bool {
    let at = gaps.partition_point(|gap| *gap < from);
    gaps.get(at).is_some_and(|gap| *gap <= to)
}

fn report(
    case: &Case<'_>,
    busy: &Busy<'_>,
    future: Option<&str>,
    delays: &[Delay],
    found: &mut Vec<Sighting>,
) {
    let history = case.history;
    let mut lengths: Vec<u64> = delays.iter().map(Delay::length).collect();
    let spread = Spread::of(&mut lengths);
    let counted = format!(
        "{} of tasks of {} took longer than {} to be polled: half of them {} and more, 99 of 100 no longer than {}, the longest {}",
        plural(spread.count, "wake-up"),
        future.unwrap_or("a future that is not known"),
        duration(case.thresholds.slow_to_run),
        duration(spread.p50_ns),
        duration(spread.p99_ns),
        duration(spread.max_ns)
    );
    let stolen = case.stolen().is_some_and(|taken| covered(delays) <= taken)
        && !is_share(delays.len() as u64, polls_of(history, future), MOSTLY);
    let mut last: Option<Explained> = None;
    let mut told: Vec<String> = Vec::new();
    for (number, delay) in delays.iter().enumerate() {
        let explained = match &last {
            // The rest are as the last one that was looked at.
            Some(last) if number >= MAX_EXPLAINED => last.clone(),
            _ => explain(case, busy, delay),
        };
        let Some(subject) = place::subject_of(history, delay.task) else {
            continue;
        };
        let cause = format!(
            "{} behind {}",
            future.unwrap_or("?"),
            explained.cause.as_deref().unwrap_or("what is not known")
        );
        let first = !told.contains(&cause);
        if first {
            told.push(cause.clone());
        }
        let certainty = if case.events_are_missing() || stolen {
            Certainty::Possible
        } else {
            explained.certainty
        };
        let mut evidence = Vec::new();
        if first {
            evidence.push(counted.clone());
            evidence.push(which(history, delay));
            evidence.extend(explained.evidence.iter().cloned());
            if stolen {
                evidence.push(STOLEN.to_owned());
            }
        }
        found.push(Sighting {
            kind: Kind::SlowToRun,
            certainty,
            summary: if first {
                summary(future, delay, &explained)
            } else {
                String::new()
            },
            cause,
            tasks: vec![subject],
            sites: if first {
                explained.sites.clone()
            } else {
                Vec::new()
            },
            evidence,
            began: Some(delay.from),
            ended: delay.poll.map(|_| delay.to),
            advice: explained.advice.to_owned(),
            weight: delay.length().saturating_add(u64::from(first)),
        });
        last = Some(explained);
    }
}

/// Late polls that are this part of all, in percent, are no accident.
const MOSTLY: u64 = 10;

/// Polls of all tasks with this future.
fn polls_of(history: &History, future: Option<&str>) -> u64 {
    let units = history.units.iter();
    let same = units.filter(|unit| {
        unit.task()
            .is_some_and(|task| task.future.as_deref() == future)
    });
    same.map(|unit| unit.polls.len() as u64).sum()
}

const STOLEN: &str =
    "a hypervisor took as much CPU time from this machine meanwhile as would explain all of it";

/// Nanoseconds in which at least one of them went on.
fn covered(delays: &[Delay]) -> u64 {
    let mut whiles: Vec<(u64, u64)> = delays.iter().map(|delay| (delay.from, delay.to)).collect();
    whiles.sort_unstable();
    let mut until = 0;
    whiles.iter().fold(0, |sum: u64, &(from, to)| {
        let new = to.saturating_sub(from.max(until));
        until = until.max(to);
        sum.saturating_add(new)
    })
}

fn which(history: &History, delay: &Delay) -> String {
    let by = delay.poll.and_then(|poll| history[poll].thread);
    format!(
        "the longest: {} of {}{}{}",
        duration(delay.length()),
        history[delay.task]
            .task()
            .map_or("a task", |task| task.name.as_ref()),
        by.map_or_else(String::new, |thread| format!(
            ", until {} polled it",
            ran::thread_name(history, thread)
        )),
        if delay.poll.is_none() {
            ", and it still waits"
        } else {
            ""
        }
    )
}

fn summary(future: Option<&str>, delay: &Delay, explained: &Explained) -> String {
    let behind = match &explained.cause {
        Some(cause) => format!(": {cause} had the workers"),
        None => String::new(),
    };
    format!(
        "{} was woken and not polled for up to {}{behind}",
        future.unwrap_or("a task"),
        duration(delay.length())
    )
}

/// The thread that was late: the one that polled the task in the end; for one that still waits, the
/// one that polled it last, or on which it was woken.
fn late(history: &History, delay: &Delay) -> Option<UnitIndex> {
    let row = &history[delay.task];
    let woken_in = || history[*row.woken.last()?].by.poll;
    let poll = delay
        .poll
        .or_else(|| row.polls.last().copied())
        .or_else(woken_in)?;
    history[poll].thread
}

/// Why a task waited.
#[derive(Clone, Debug)]
struct Explained {
    certainty: Certainty,
    cause: Option<String>,
    sites: Vec<super::model::Site>,
    evidence: Vec<String>,
    advice: &'static str,
}

/// A worker that was in polls for this part of the time, in percent, was busy.
const BUSY: u64 = 80;
/// One that was in polls for this part of it was so for most of it.
const MOST: u64 = 50;

fn explain(case: &Case<'_>, busy: &Busy<'_>, delay: &Delay) -> Explained {
    let history = case.history;
    let by = late(history, delay);
    let instead = busy.instead(delay.from, delay.to, by);
    let mut evidence = instead.tell(history, delay.from, delay.to);
    let verdict = instead.verdict(delay.length(), BUSY);
    let partly = instead.verdict(delay.length(), MOST) == Instead::Long;
    let (certainty, cause, advice) = match verdict {
        Instead::Long => (
            Certainty::Likely,
            instead.first_name(),
            "split the long polls with yield_now, or move them to spawn_blocking",
        ),
        Instead::Many => {
            evidence.push(
                "that is a queue of short polls: more work than the workers do, or a burst of it"
                    .to_owned(),
            );
            (
                Certainty::Possible,
                Some("many short polls".to_owned()),
                "more workers, less work at once, or a limit on what is taken in",
            )
        }
        Instead::Nothing if partly => {
            evidence.push(
                "the rest of the time the workers were in no poll: parked, in the runtime's own \
                 code, or without a CPU"
                    .to_owned(),
            );
            (
                Certainty::Possible,
                instead.first_name(),
                "split the long polls with yield_now, or move them to spawn_blocking; and look \
                 whether the machine has CPUs for this process",
            )
        }
        Instead::Nothing => {
            evidence.push(
                "for most of the time the workers were in no poll: parked, in the runtime's own \
                 code, or without a CPU"
                    .to_owned(),
            );
            (
                Certainty::Possible,
                None,
                "look whether the machine has CPUs for this process",
            )
        }
    };
    let sites = instead
        .first_place()
        .filter(|_| partly && verdict != Instead::Many)
        .map(|place| place.site(Role::Culprit))
        .into_iter()
        .collect();
    Explained {
        certainty,
        cause,
        sites,
        evidence,
        advice,
    }
}
