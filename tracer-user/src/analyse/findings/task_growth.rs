//! Live tasks of one future that only become more.
//!
//! A leak of tasks and connections that pile up look the same from outside: more and more, none
//! ends. `likely` needs all of this: 20 seconds of it, growth in each part of the session, next to
//! none finished, the older ones no longer polled, and none of them waiting for what has an end of
//! its own or comes from outside (a socket, a sleep, a timeout). Everything else is `possible`.

mod waits;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::waits::{Waits, waits};
use super::case::{Case, Moment};
use super::model::{Certainty, Kind, Role, Sighting, Subject};
use super::place;
use super::told::{duration, is_share, percent, plural};
use crate::analyse::history::{AwaitIndex, History, UnitIndex};

/// Parts of the session, each of which must show growth.
const WINDOWS: u64 = 5;

/// Tasks that came in addition, at least; and as a part of those at the begin, in percent.
const MIN_GROWTH: u64 = 10;
const MIN_SHARE: u64 = 20;

/// For `likely`: that many more, and for so long.
const LIKELY_GROWTH: u64 = 20;
const LIKELY_SPAN: u64 = 20_000_000_000;

/// Of the tasks that lived, those that finished, in percent: with more it is no growth.
const MAX_FINISHED: u64 = 50;
const LIKELY_FINISHED: u64 = 5;

/// Shortest session that shows anything.
const MIN_SPAN: u64 = 1_000_000_000;

/// What is known of the tasks of one future.
#[derive(Debug, Default)]
struct Growth {
    /// Alive at the borders of the windows.
    alive: Vec<u64>,
    finished: u64,
    from: u64,
    to: u64,
    /// Of the older half, those that were polled in the last third.
    older: u64,
    older_polled: u64,
    /// Whether that is known.
    sees_polls: bool,
    live: Vec<UnitIndex>,
}

/// All of them.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let span = history.span.end.saturating_sub(history.span.start);
    let growths = if span >= MIN_SPAN && !history.units.is_empty() {
        by_events(case)
    } else {
        by_moments(case.moments)
    };
    let mut found: Vec<Sighting> = growths
        .into_iter()
        .filter_map(|(future, growth)| sighting(case, future, &growth))
        .collect();
    found.sort_by(|one, other| one.cause.cmp(&other.cause));
    found
}

/// The borders of the windows.
fn borders(from: u64, to: u64) -> impl Iterator<Item = u64> {
    let span = to.saturating_sub(from);
    (0..=WINDOWS).map(move |number| from + span / WINDOWS * number)
}

fn by_events<'a>(case: &Case<'a>) -> BTreeMap<&'a Arc<str>, Growth> {
    let history = case.history;
    let (from, to) = (history.span.start, history.span.end);
    // Where memory was not looked at near the begin, a task that is first seen when it is polled may
    // be an old one that has slept.
    let known = case
        .moments
        .first()
        .is_some_and(|first| first.time <= from + (to - from) / WINDOWS);
    let mut units: BTreeMap<&Arc<str>, Vec<(u64, u64, UnitIndex)>> = BTreeMap::new();
    for (index, unit) in (0..).zip(&history.units) {
        let Some(task) = unit.task().filter(|task| !task.blocking) else {
            continue;
        };
        let Some(future) = &task.future else { continue };
        let is_new = !task.existing && (known || task.spawned.is_some());
        let begin = if is_new { unit.first } else { 0 };
        let end = task.end.map_or(u64::MAX, |end| end.time);
        units
            .entry(future)
            .or_default()
            .push((begin, end, UnitIndex(index)));
    }
    let mut growths = BTreeMap::new();
    for (future, mut tasks) in units {
        let mut begins: Vec<u64> = tasks.iter().map(|(begin, ..)| *begin).collect();
        let mut ends: Vec<u64> = tasks.iter().map(|(_, end, _)| *end).collect();
        begins.sort_unstable();
        ends.sort_unstable();
        let until = |times: &[u64], time: u64| times.partition_point(|at| *at <= time) as u64;
        let alive = borders(from, to)
            .map(|time| until(&begins, time).saturating_sub(until(&ends, time)))
            .collect();
        let finished = until(&ends, to);
        tasks.retain(|(_, end, _)| *end > to);
        tasks.sort_unstable();
        let live: Vec<UnitIndex> = tasks.iter().map(|(.., unit)| *unit).collect();
        let older = live.get(..live.len() / 2).unwrap_or_default();
        let late = to - (to - from) / 3;
        let polled = |unit: &&UnitIndex| {
            let last = history[**unit].polls.last().map(|poll| &history[*poll]);
            last.is_some_and(|poll| poll.end.is_none_or(|end| end > late))
        };
        growths.insert(
            future,
            Growth {
                alive,
                finished,
                from,
                to,
                older: older.len() as u64,
                older_polled: older.iter().filter(polled).count() as u64,
                sees_polls: true,
                live,
            },
        );
    }
    growths
}

/// From looks at memory alone: how many there were at each.
fn by_moments(moments: &[Moment]) -> BTreeMap<&Arc<str>, Growth> {
    let mut growths: BTreeMap<&Arc<str>, Growth> = BTreeMap::new();
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        return growths;
    };
    if last.time.saturating_sub(first.time) < MIN_SPAN || moments.len() < 3 {
        return growths;
    }
    for (number, moment) in moments.iter().enumerate() {
        let mut counts: HashMap<&Arc<str>, u64> = HashMap::new();
        for task in &moment.snapshot.tasks {
            *counts.entry(&task.future).or_default() += 1;
        }
        for (future, count) in counts {
            let growth = growths.entry(future).or_insert_with(|| Growth {
                from: first.time,
                to: last.time,
                ..Growth::default()
            });
            growth.alive.resize(number, 0);
            growth.alive.push(count);
        }
    }
    growths.retain(|_, growth| growth.alive.len() == moments.len());
    for (future, growth) in &mut growths {
        let ids = |moment: &Moment| -> Vec<String> {
            let tasks = moment.snapshot.tasks.iter();
            let of_it = tasks.filter(|task| task.future == **future);
            let mut ids: Vec<String> = of_it.map(|task| task.id.clone()).collect();
            ids.sort_unstable();
            ids
        };
        let now = ids(last);
        let gone = ids(first);
        let gone = gone.iter().filter(|id| now.binary_search(id).is_err());
        growth.finished = gone.count() as u64;
    }
    growths
}

fn sighting(case: &Case<'_>, future: &Arc<str>, growth: &Growth) -> Option<Sighting> {
    let (first, last) = (*growth.alive.first()?, *growth.alive.last()?);
    let grown = last.checked_sub(first)?;
    let steps = growth.alive.windows(2);
    let only_grows = steps.clone().all(|pair| pair[0] < pair[1]);
    let lived = last.saturating_add(growth.finished);
    if !only_grows
        || grown < MIN_GROWTH
        || !is_share(grown, first, MIN_SHARE)
        || is_share(growth.finished, lived, MAX_FINISHED)
    {
        return None;
    }
    let span = growth.to.saturating_sub(growth.from);
    let waits = waits(case, future, growth);
    let spawner = spawner(case.history, growth);
    let (certainty, doubt) = judge(case, growth, &waits, grown, lived);
    let place = waits.common.as_ref();
    let mut evidence = vec![
        format!(
            "from {first} to {last} live tasks in {}: {} at equal distances",
            duration(span),
            growth
                .alive
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        format!(
            "{} of {lived} finished ({})",
            growth.finished,
            percent(growth.finished, lived)
        ),
    ];
    if growth.sees_polls && growth.older > 0 {
        evidence.push(format!(
            "of the {} older ones {} in the last third of that time",
            growth.older,
            match growth.older_polled {
                0 => "none was polled".to_owned(),
                polled => format!("{polled} were polled"),
            }
        ));
    }
    if let Some((by, count)) = &spawner {
        evidence.push(format!(
            "{} were seen to be spawned by {by}",
            plural(*count, "task")
        ));
    }
    for (at, count) in &waits.places {
        evidence.push(format!("{} in {at}", wait_there(*count)));
    }
    evidence.extend(doubt.map(str::to_owned));
    let tasks = growth.live.iter().rev().take(3);
    let mut subjects: Vec<Subject> = tasks
        .filter_map(|unit| place::subject_of(case.history, *unit))
        .collect();
    if subjects.is_empty() {
        subjects.push(Subject {
            id: "-".into(),
            future: Some(Arc::clone(future)),
        });
    }
    Some(Sighting {
        kind: Kind::TaskGrowth,
        certainty,
        cause: future.to_string(),
        summary: format!(
            "live tasks of {future} only grow: from {first} to {last} in {}{}",
            duration(span),
            place.map_or_else(String::new, |place| format!(", most wait in {}", place.text()))
        ),
        tasks: subjects,
        sites: place.iter().map(|place| place.site(Role::WaitsAt)).collect(),
        evidence,
        began: None,
        ended: None,
        advice: "see what should end these tasks: a limit on how many there are, a timeout, or the other side of what they wait for".to_owned(),
        weight: grown,
    })
}

fn wait_there(count: u64) -> String {
    match count {
        1 => "1 waits".to_owned(),
        count => format!("{count} wait"),
    }
}

fn judge(
    case: &Case<'_>,
    growth: &Growth,
    waits: &Waits,
    grown: u64,
    lived: u64,
) -> (Certainty, Option<&'static str>) {
    let doubt = if growth.to.saturating_sub(growth.from) < LIKELY_SPAN || grown < LIKELY_GROWTH {
        Some("that is too short, or too few, to tell it from a rise in load")
    } else if is_share(growth.finished, lived, LIKELY_FINISHED) {
        Some("some of them finish: it may be a rise in load")
    } else if case.events_are_missing() {
        Some("not all events were seen: ends of tasks may be missing")
    } else if !growth.sees_polls || is_share(growth.older_polled, growth.older.max(1), 5) {
        Some("the older ones still make progress, or it is not known whether they do")
    } else if waits.known == 0 {
        Some("it is not known what they wait for")
    } else if waits.outside > 0 {
        Some("they wait for sockets or timers: connections that are kept open look the same")
    } else {
        None
    };
    match doubt {
        Some(doubt) => (Certainty::Possible, Some(doubt)),
        None => (Certainty::Likely, None),
    }
}

/// Who spawned most of them.
fn spawner(history: &History, growth: &Growth) -> Option<(String, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for unit in &growth.live {
        let Some(spawned) = history[*unit].task().and_then(|task| task.spawned) else {
            continue;
        };
        let by = history[spawned.by.unit].task();
        let name = match (spawned.by.within, by) {
            (Some(within), _) => within_text(history, within),
            (None, Some(task)) => place::future_of(task).to_owned(),
            (None, None) => "a thread outside tasks".to_owned(),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count)
}

/// The body that did it: what is awaited is the body itself.
fn within_text(history: &History, within: AwaitIndex) -> String {
    let row = &history[within].awaited;
    match (&row.file, row.line) {
        (Some(file), Some(line)) => format!("{} (awaited at {file}:{line})", row.future),
        _ => row.future.to_string(),
    }
}

#[cfg(test)]
#[path = "task_growth_tests.rs"]
mod tests;
