//! Live tasks of one future that only become more.
//!
//! A leak of tasks and connections that pile up look the same from outside: more and more, none
//! ends. `likely` needs all of this: 20 seconds of it, growth in each part of the session, next to
//! none finished, the older ones no longer polled, and none of them waiting for what has an end of
//! its own or comes from outside (a socket, a sleep, a timeout). Everything else is `possible`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::case::{Case, Moment};
use super::model::{Certainty, Kind, Role, Sighting, Subject};
use super::place::{self, Place};
use super::told::{duration, is_share, percent, plural};
use crate::analyse::history::{AwaitIndex, AwaitOutcome, History, UnitIndex};
use crate::rebuild::tree::AwaitNode;

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
        Some("events were lost: ends of tasks may be among them")
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

/// Where tasks of a future wait.
#[derive(Debug, Default)]
struct Waits {
    /// Those of which it is known.
    known: u64,
    /// Those that wait for I/O or time, perhaps beside others.
    outside: u64,
    /// The places, the most common first.
    places: Vec<(String, u64)>,
    common: Option<Place>,
}

/// Places that are told.
const MAX_PLACES: usize = 3;

/// Tasks that are looked at.
const MAX_LOOKED: usize = 20_000;

fn waits(case: &Case<'_>, future: &Arc<str>, growth: &Growth) -> Waits {
    let mut waits = Waits::default();
    let mut places: BTreeMap<String, (Place, u64)> = BTreeMap::new();
    let mut add = |place: Place, outside: bool| {
        waits.known += 1;
        waits.outside += u64::from(outside);
        places.entry(place.text()).or_insert((place, 0)).1 += 1;
    };
    let tasks = case.now().map(|moment| &moment.snapshot.tasks);
    let trees = tasks
        .into_iter()
        .flatten()
        .filter(|task| task.future == *future)
        .filter_map(|task| task.tree.as_ref());
    let mut any = false;
    for tree in trees.take(MAX_LOOKED) {
        any = true;
        add(place::of_tree(tree), waits_outside(tree));
    }
    if !any {
        for unit in growth.live.iter().take(MAX_LOOKED) {
            let leaves = open_leaves(case.history, *unit);
            if let Some(leaf) = leaves.first() {
                let outside = leaves
                    .iter()
                    .any(|leaf| is_outside(case.history[*leaf].awaited.waits_for.as_deref()));
                add(place::of_await(case.history, *leaf), outside);
            }
        }
    }
    let mut sorted: Vec<(Place, u64)> = places.into_values().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    waits.common = sorted.first().map(|(place, _)| place.clone());
    let told = sorted.into_iter().take(MAX_PLACES);
    waits.places = told.map(|(place, count)| (place.text(), count)).collect();
    waits
}

/// What ends without the program's doing, or comes from outside.
fn is_outside(waits_for: Option<&str>) -> bool {
    matches!(
        waits_for,
        Some("io" | "sleep" | "interval" | "timeout" | "signal" | "process")
    )
}

fn waits_outside(tree: &AwaitNode) -> bool {
    let mut outside = false;
    tree.visit(&mut |node| {
        outside |= is_outside(node.waits_for.as_ref().map(|waits_for| waits_for.kind));
    });
    outside
}

/// The awaits of a task that are open at the end and hold no other.
fn open_leaves(history: &History, unit: UnitIndex) -> Vec<AwaitIndex> {
    let awaits = history[unit].awaits.iter().copied();
    let open: Vec<AwaitIndex> = awaits
        .filter(|row| history[*row].outcome == AwaitOutcome::Open)
        .collect();
    let is_parent = |at: &AwaitIndex| open.iter().any(|other| history[*other].parent == Some(*at));
    if open.len() > 64 {
        return open.last().copied().into_iter().collect();
    }
    open.iter().copied().filter(|at| !is_parent(at)).collect()
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
mod tests {
    use super::*;
    use crate::analyse::findings::case::Thresholds;
    use crate::analyse::history::{TaskEnd, UnitKind};
    use crate::analyse::sample::{Sample, thread_by};
    use crate::rebuild::event::Outcome;

    const SECOND: u64 = 1_000_000_000;

    /// Tasks that are spawned every 100 ms for 30 s and wait for this; every `finish`th finishes.
    fn spawned(waits_for: &str, finish: Option<u64>, polled: bool) -> Sample {
        let mut sample = Sample::default();
        sample.history.span = 0..30 * SECOND;
        let worker = sample.thread("worker");
        for number in 0..300 {
            let time = number * SECOND / 10;
            let task = sample.spawn("app::leaked", time, thread_by(worker, None));
            let root = sample.instance(task, None, "app::leaked", 0, None, (time, 30 * SECOND));
            let leaf = sample.instance(
                task,
                Some(root),
                "tokio::Leaf",
                9,
                Some(waits_for),
                (time, 30 * SECOND),
            );
            sample.open(root);
            sample.open(leaf);
            sample.poll(task, time, time + 10);
            if polled {
                sample.poll(task, 29 * SECOND, 29 * SECOND + 10);
            }
            if finish.is_some_and(|every| number % every == 0)
                && let UnitKind::Task(task) = &mut sample.history.units[task.0 as usize].kind
            {
                task.end = Some(TaskEnd {
                    time: time + SECOND / 20,
                    outcome: Outcome::Ready,
                    aborted: None,
                });
            }
        }
        sample
    }

    fn found(sample: &Sample) -> Vec<Sighting> {
        find(&Case {
            history: &sample.history,
            moments: &[],
            thresholds: Thresholds::default(),
        })
    }

    fn surest(sample: &Sample) -> Option<Certainty> {
        found(sample)
            .iter()
            .map(|sighting| sighting.certainty)
            .max()
    }

    /// As in a process with very many tasks, whose memory was not read in time.
    #[test]
    fn old_tasks_that_are_first_seen_when_they_are_polled_are_no_growth() {
        let mut sample = spawned("lock", None, false);
        for unit in &mut sample.history.units {
            if let UnitKind::Task(task) = &mut unit.kind {
                task.spawned = None;
            }
        }
        assert_eq!(surest(&sample), None);
    }

    #[test]
    fn tasks_that_wait_for_a_lock_for_ever_are_likely() {
        let sample = spawned("lock", None, false);
        let found = found(&sample);
        let [sighting] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(sighting.certainty, Certainty::Likely, "{sighting:?}");
        assert_eq!(sighting.sites[0].line, Some(9));
        assert!(sighting.summary.contains("from 1 to 300"), "{sighting:?}");
    }

    #[test]
    fn connections_timers_and_progress_are_possible_only() {
        for kind in ["io", "sleep"] {
            assert_eq!(
                surest(&spawned(kind, None, false)),
                Some(Certainty::Possible)
            );
        }
        assert_eq!(
            surest(&spawned("lock", None, true)),
            Some(Certainty::Possible)
        );
        assert_eq!(
            surest(&spawned("lock", Some(5), false)),
            Some(Certainty::Possible)
        );
    }

    #[test]
    fn tasks_that_come_and_go_are_nothing() {
        assert_eq!(surest(&spawned("lock", Some(1), false)), None);
        let mut sample = spawned("lock", None, false);
        // All were there after half of the time.
        for unit in &mut sample.history.units {
            unit.first = unit.first.min(15 * SECOND);
        }
        assert_eq!(surest(&sample), None);
    }

    #[test]
    fn lost_events_leave_it_possible() {
        let mut sample = spawned("lock", None, false);
        sample.history.missing.records_lost = 1;
        assert_eq!(surest(&sample), Some(Certainty::Possible));
    }
}
