//! Polls that hold their worker for long: computing, or asleep in a system call. While one goes on,
//! the worker polls nobody else.
//!
//! Counted is the time on the CPU and asleep; not the time that the scheduler took from the thread,
//! which is the machine's doing. What remains may still be the machine's: a page fault, a lock of
//! the C library whose holder was preempted, a CPU that the hypervisor took. So single outliers of
//! such kinds are `possible` (see [`judge`]), and only sleeps that a program asks for, very long
//! polls, and those that come again at the same place are more.

mod judge;
mod length;
mod moments;
mod starved;
#[cfg(test)]
mod tests;
mod waited;

use std::collections::HashMap;
use std::sync::Arc;

use self::judge::{Missing, Verdict};
use self::length::Length;
pub(super) use self::length::{Foreign, slept_for_others};
use self::starved::{Starved, Waits};
use super::case::Case;
use super::model::{Kind, Role, Sighting, Site};
use super::place::{self, Place};
use super::told::{duration, percent, plural};
use crate::analyse::history::{AwaitIndex, Awaited, History, PollIndex, TaskHistory, UnitKind};
use crate::analyse::profile::Spread;
use crate::locate::syscall_text;

/// What kept the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Held {
    /// It computed.
    Cpu,
    /// It slept in this system call.
    Syscall(u32),
    /// It slept, in no system call as far as is known: a page fault, mostly.
    Elsewhere,
}

/// Long polls with one cause.
#[derive(Debug)]
struct Group<'h> {
    task: &'h TaskHistory,
    place: Option<Place>,
    held: Held,
    polls: Vec<Length>,
    /// Keys of [`Began`] that are in it.
    began: Vec<Began<'h>>,
}

/// What a poll began at, as cheap as it can be told: for counting those that were short.
type Began<'h> = (Option<&'h str>, Option<*const Awaited>);

/// All of them.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let mut sightings = from_history(case);
    sightings.extend(moments::find(case));
    sightings
}

fn from_history(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let mut groups: HashMap<String, Group<'_>> = HashMap::new();
    let foreign = length::Foreign::of(case);
    for (number, poll) in (0..).zip(&history.polls) {
        let Some(task) = history[poll.task].task().filter(|task| !task.blocking) else {
            continue;
        };
        let threshold = case.thresholds.long_poll;
        let Some(length) = length::of(case, &foreign, PollIndex(number), threshold) else {
            continue;
        };
        let place = place::before(history, poll);
        let cause = cause(task, place.as_ref(), length.held);
        let group = groups.entry(cause).or_insert_with(|| Group {
            task,
            place,
            held: length.held,
            polls: Vec::new(),
            began: Vec::new(),
        });
        let began = began(history, task, &poll.waited_in);
        if !group.began.contains(&began) && group.began.len() < MAX_KEYS {
            group.began.push(began);
        }
        group.polls.push(length);
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let all = polls_by_begin(history);
    let waits = Waits::of(case);
    let stolen = is_stolen(case, groups.values().flat_map(|group| &group.polls));
    let mut found = Vec::new();
    for (cause, group) in groups {
        let of_all = group.began.iter().filter_map(|began| all.get(began)).sum();
        let starved = waits.explain(history, &group.polls, case.thresholds.long_poll);
        report(case, &cause, group, (of_all, starved, stolen), &mut found);
    }
    found
}

/// Whether a hypervisor may be what made these polls, all long ones of the process, compute for long.
/// The kernel counts what it took for the machine, not for threads: when what was computed too long
/// is more than that, some of them did by themselves.
fn is_stolen<'l>(case: &Case<'_>, polls: impl Iterator<Item = &'l Length>) -> bool {
    let threshold = case.thresholds.long_poll;
    let excess = polls
        .map(|length| length.on_cpu.saturating_sub(threshold))
        .fold(0, u64::saturating_add);
    excess > 0 && case.stolen().is_some_and(|taken| excess <= taken)
}

/// Different awaits (by libraries' lines) that one place of the program's may lead to.
const MAX_KEYS: usize = 64;

fn began<'h>(history: &'h History, task: &'h TaskHistory, leaves: &[AwaitIndex]) -> Began<'h> {
    let leaf = leaves
        .first()
        .map(|leaf| Arc::as_ptr(&history[*leaf].awaited));
    (task.future.as_deref(), leaf)
}

fn polls_by_begin(history: &History) -> HashMap<Began<'_>, u64> {
    let mut counts = HashMap::new();
    for poll in &history.polls {
        if let Some(task) = history[poll.task].task() {
            *counts
                .entry(began(history, task, &poll.waited_in))
                .or_default() += 1;
        }
    }
    counts
}

fn cause(task: &TaskHistory, place: Option<&Place>, held: Held) -> String {
    let at = place.map_or_else(|| "its first poll".to_owned(), Place::text);
    format!("{} began at {at}, {}", place::future_of(task), how(held))
}

fn how(held: Held) -> String {
    match held {
        Held::Cpu => "on the CPU".to_owned(),
        Held::Syscall(number) => format!("in {}", syscall_text(number)),
        Held::Elsewhere => "asleep outside system calls".to_owned(),
    }
}

fn report(
    case: &Case<'_>,
    cause: &str,
    mut group: Group<'_>,
    (of_all, starved, stolen): (u64, Starved, bool),
    found: &mut Vec<Sighting>,
) {
    let history = case.history;
    let all = judge::All {
        long: group.polls.len() as u64,
        polls: of_all.max(group.polls.len() as u64),
        threshold: case.thresholds.long_poll,
        missing: missing(case),
        starved,
        stolen,
    };
    let mut verdicts: Vec<(Verdict, Length)> = group
        .polls
        .drain(..)
        .map(|length| (judge::judge(&length, &all), length))
        .collect();
    // The surest and longest stands for all.
    verdicts.sort_by_key(|(verdict, length)| {
        std::cmp::Reverse((verdict.certainty, length.net(), length.poll))
    });
    let evidence = evidence(case, &verdicts, of_all);
    let summary = summary(&group, &verdicts);
    let sites = sites(history, &group, &verdicts);
    let mut full = Some((summary, sites, evidence));
    for (verdict, length) in verdicts {
        let poll = &history[length.poll];
        let Some(subject) = place::subject_of(history, poll.task) else {
            continue;
        };
        let weight = length.net().saturating_add(u64::from(full.is_some()));
        let (summary, sites, evidence) = full.take().unwrap_or_default();
        found.push(Sighting {
            kind: Kind::BlockedWorker,
            certainty: verdict.certainty,
            cause: cause.to_owned(),
            summary,
            tasks: vec![subject],
            sites,
            evidence,
            began: Some(poll.begin),
            ended: poll.end,
            advice: advice(group.held).to_owned(),
            weight,
        });
    }
}

fn missing(case: &Case<'_>) -> Option<Missing> {
    if case.events_are_lost() {
        Some(Missing::Lost)
    } else {
        case.events_are_missing().then_some(Missing::NotWatched)
    }
}

fn summary(group: &Group<'_>, verdicts: &[(Verdict, Length)]) -> String {
    let longest = verdicts.iter().map(|(_, length)| length.net()).max();
    let at = match &group.place {
        Some(place) => format!("after the await in {}", place.text()),
        None => "in its first poll, or in one of which it is not known where it began".to_owned(),
    };
    let what = match group.held {
        Held::Cpu => "computes for".to_owned(),
        Held::Syscall(number) => format!("blocks in {} for", syscall_text(number)),
        Held::Elsewhere => "is held for".to_owned(),
    };
    format!(
        "{} {what} up to {} {at}, and keeps its worker from polling others",
        place::future_of(group.task),
        duration(longest.unwrap_or(0))
    )
}

fn sites(history: &History, group: &Group<'_>, verdicts: &[(Verdict, Length)]) -> Vec<Site> {
    let mut sites: Vec<Site> = group
        .place
        .iter()
        .map(|place| place.site(Role::BeganAt))
        .collect();
    // Where it stood after the poll: what held it lies between the two.
    let after = verdicts
        .first()
        .and_then(|(_, length)| after(history, length.poll));
    if let Some(after) = after {
        let site = after.site(Role::WaitsAt);
        if sites
            .first()
            .is_none_or(|first| (&first.file, first.line) != (&site.file, site.line))
        {
            sites.push(site);
        }
    }
    sites
}

/// Where the task stood after a poll, as its next one tells.
fn after(history: &History, poll: PollIndex) -> Option<Place> {
    let polls = &history[history[poll].task].polls;
    let begin = |index: &PollIndex| (history[*index].begin, index.0);
    let at = polls.binary_search_by_key(&begin(&poll), begin).ok()?;
    place::before(history, &history[*polls.get(at + 1)?])
}

fn evidence(case: &Case<'_>, verdicts: &[(Verdict, Length)], of_all: u64) -> Vec<String> {
    let history = case.history;
    let mut lengths: Vec<u64> = verdicts.iter().map(|(_, length)| length.net()).collect();
    let spread = Spread::of(&mut lengths);
    let mut evidence = vec![format!(
        "{} of {} that began there held a worker for more than {}: half of them for {} and more, the longest for {}{}",
        plural(spread.count, "poll"),
        of_all.max(spread.count),
        duration(case.thresholds.long_poll),
        duration(spread.p50_ns),
        duration(spread.max_ns),
        bound(verdicts),
    )];
    let Some((verdict, first)) = verdicts.first() else {
        return evidence;
    };
    evidence.push(format!(
        "that one: {} on the CPU, {} asleep{}, {} taken by the scheduler and not counted{}",
        duration(first.on_cpu),
        duration(first.asleep()),
        match first.longest_sleep {
            Some((number, length)) if length > 0 =>
                format!(" ({} in {})", duration(length), syscall_text(number)),
            _ => String::new(),
        },
        duration(first.preempted),
        thread_of(history, first.poll),
    ));
    let total = lengths
        .iter()
        .fold(0_u64, |sum, length| sum.saturating_add(*length));
    let span = history.span.end.saturating_sub(history.span.start);
    evidence.push(format!(
        "in all {}, {} of one worker's time",
        duration(total),
        percent(total, span)
    ));
    let polls: Vec<PollIndex> = verdicts.iter().map(|(_, length)| length.poll).collect();
    evidence.extend(waited::meanwhile(history, &polls));
    if history[first.poll].end.is_none() {
        evidence.push("it goes on".to_owned());
    }
    evidence.extend(verdict.doubt.map(str::to_owned));
    evidence
}

/// Whether lengths are bounds.
fn bound(verdicts: &[(Verdict, Length)]) -> &'static str {
    let loose = |length: &Length| {
        length.net() > length.least && length.net() - length.least > length.net() / 10
    };
    if verdicts.iter().any(|(_, length)| loose(length)) {
        " (at most: an end is noticed by what comes next on its thread)"
    } else {
        ""
    }
}

fn thread_of(history: &History, poll: PollIndex) -> String {
    match history[poll].thread.map(|thread| &history[thread].kind) {
        Some(UnitKind::Thread { tid, name, .. }) => match name {
            Some(name) => format!("; on thread {name} ({tid})"),
            None => format!("; on thread {tid}"),
        },
        _ => String::new(),
    }
}

fn advice(held: Held) -> &'static str {
    match held {
        Held::Cpu => {
            "move the computation to spawn_blocking or a thread pool, or split it with yield_now"
        }
        Held::Syscall(_) => "use the asynchronous form of this call, or move it to spawn_blocking",
        Held::Elsewhere => "look for page faults (swapped or file-backed memory) in this code",
    }
}
