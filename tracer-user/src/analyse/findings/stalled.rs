//! Tasks that were not polled for long, with what they wait for. That is no fault by itself: most
//! such tasks wait for what has not happened. So it is always `possible`, and ranked by how unlike
//! its equals a task is: where 199 tasks of one future were polled meanwhile and one was not, that
//! one is told first; where all wait, they are one entry with a count.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::case::Case;
use super::model::{Certainty, Kind, Role, Sighting, Subject};
use super::place::{self, Place};
use super::told::{duration, percent, plural};
use crate::analyse::history::{
    AwaitIndex, AwaitOutcome, History, TaskHistory, UnitHistory, UnitIndex,
};
use crate::analyse::is_root_name;
use crate::analyse::profile::Spread;
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, WaitsFor};

/// A task that was not polled for long.
#[derive(Debug)]
struct Stalled {
    subject: Subject,
    place: Option<Place>,
    /// Nanoseconds without a poll, as far as is known.
    length: u64,
    /// The part of the trace that was watched, where there were pauses in these: then it may have
    /// been polled.
    watched: Option<f64>,
    /// When its last poll ended; `None` when that was before anybody looked.
    since: Option<u64>,
    /// What it waits for, with details.
    waits: Option<String>,
    /// Why that is known though nobody looked for so long.
    because: Option<String>,
}

/// What became of the tasks of one future.
#[derive(Debug, Default)]
struct Equals {
    /// Polled within the threshold, or finished in the session.
    progressed: u64,
    /// Not polled for longer than that.
    stalled: u64,
}

/// All of them.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let looked: HashMap<&str, &TaskInfo> = case
        .now()
        .map(|moment| {
            let tasks = moment.snapshot.tasks.iter();
            tasks.map(|task| (task.id.as_str(), task)).collect()
        })
        .unwrap_or_default();
    let mut equals: HashMap<Option<Arc<str>>, Equals> = HashMap::new();
    let mut stalled = Vec::new();
    let mut known: HashSet<&str> = HashSet::new();
    for (index, unit) in (0..).zip(&history.units) {
        let Some(task) = unit.task().filter(|task| !task.blocking) else {
            continue;
        };
        known.insert(&task.name);
        let equal = equals.entry(task.future.clone()).or_default();
        let info = looked.get(task.name.as_ref()).copied();
        match of_unit(case, UnitIndex(index), unit, task, info) {
            Some(one) => {
                equal.stalled += 1;
                stalled.push(one);
            }
            None => equal.progressed += 1,
        }
    }
    let end = case.end();
    for (id, info) in looked {
        if known.contains(id) {
            continue;
        }
        let equal = equals.entry(Some(Arc::clone(&info.future))).or_default();
        match of_memory(case, info) {
            Some(one) => {
                equal.stalled += 1;
                stalled.push(one);
            }
            None => equal.progressed += 1,
        }
    }
    report(history, end, &equals, stalled)
}

fn of_unit(
    case: &Case<'_>,
    index: UnitIndex,
    unit: &UnitHistory,
    task: &TaskHistory,
    info: Option<&TaskInfo>,
) -> Option<Stalled> {
    let history = case.history;
    if task.end.is_some() || is_root_name(&task.name) {
        return None;
    }
    let last = unit.polls.last().map(|poll| &history[*poll]);
    if last.is_some_and(|last| last.end.is_none()) {
        return None;
    }
    let since = last.and_then(|last| last.end);
    // One that was spawned and never polled waits for a worker, which is another finding.
    if last.is_none() && !task.existing {
        return None;
    }
    let from = since.unwrap_or(history.span.start);
    let tree = info
        .filter(|info| is_idle(info))
        .and_then(|info| info.tree.as_ref());
    let told = tree.map(leaf).and_then(|leaf| leaf.waits_for.as_ref());
    let mut one = Stalled {
        subject: place::subject(task),
        place: None,
        length: history.span.end.saturating_sub(from),
        watched: (!history.is_watched_since(from)).then(|| case.watched()),
        since,
        waits: told.map(describe),
        because: None,
    };
    if one.length < case.thresholds.stalled {
        // Memory may know that it is longer, where nothing was seen.
        let age = told.filter(|_| since.is_none()).and_then(age)?;
        if age.0 < case.thresholds.stalled {
            return None;
        }
        (one.length, one.because) = (age.0, Some(age.1));
        one.watched = None;
    }
    let open = last_leaf(history, index);
    one.place = match tree {
        Some(tree) => Some(place::of_tree(tree)),
        None => open.map(|leaf| place::of_await(history, leaf)),
    };
    Some(one)
}

/// A task that only memory tells of.
fn of_memory(case: &Case<'_>, info: &TaskInfo) -> Option<Stalled> {
    if !is_idle(info) || is_root_name(&info.id) {
        return None;
    }
    let tree = info.tree.as_ref()?;
    let waits_for = leaf(tree).waits_for.as_ref()?;
    let (length, because) = age(waits_for)?;
    (length >= case.thresholds.stalled).then(|| Stalled {
        subject: Subject {
            id: info.id.as_str().into(),
            future: Some(Arc::clone(&info.future)),
        },
        place: Some(place::of_tree(tree)),
        length,
        watched: None,
        since: None,
        waits: Some(describe(waits_for)),
        because: Some(because),
    })
}

fn is_idle(info: &TaskInfo) -> bool {
    matches!(info.state, TaskState::Idle | TaskState::Unknown)
}

/// The first thing that a tree waits for.
fn leaf(tree: &AwaitNode) -> &AwaitNode {
    let mut at = tree;
    while let Some(child) = at.children.first() {
        at = child;
    }
    at
}

/// Since when at least nothing has come for a leaf, as the kernel or the runtime keeps it.
fn age(waits_for: &WaitsFor) -> Option<(u64, String)> {
    let received = waits_for.number("last_received_ms")?;
    let length = received.saturating_mul(1_000_000);
    // What lies in the queue came, and nobody has read it.
    if waits_for
        .number("receive_queue")
        .is_some_and(|bytes| bytes > 0)
    {
        return None;
    }
    Some((
        length,
        format!("its socket received nothing for {}", duration(length)),
    ))
}

/// What a leaf waits for, with those of its details that a person looks for.
fn describe(waits_for: &WaitsFor) -> String {
    let mut text = waits_for.kind.to_owned();
    for name in [
        "lock",
        "channel",
        "side",
        "task",
        "fd",
        "protocol",
        "local",
        "peer",
        "socket_state",
    ] {
        if let Some(value) = waits_for.details.get(name).filter(|value| !value.is_null()) {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text += &format!(" {name}={value}");
        }
    }
    text
}

fn last_leaf(history: &History, unit: UnitIndex) -> Option<AwaitIndex> {
    let awaits = history[unit].awaits.iter().rev().copied();
    awaits
        .filter(|row| history[*row].outcome == AwaitOutcome::Open)
        .max_by_key(|row| history[*row].awaited.waits_for.is_some())
}

fn report(
    history: &History,
    end: u64,
    equals: &HashMap<Option<Arc<str>>, Equals>,
    stalled: Vec<Stalled>,
) -> Vec<Sighting> {
    let mut by_cause: BTreeMap<String, Vec<Stalled>> = BTreeMap::new();
    for one in stalled {
        let future = one.subject.future.as_deref().unwrap_or("?");
        let cause = match &one.place {
            Some(place) => format!("{future} in {} waits for {}", place.text(), place.leaf),
            None => future.to_owned(),
        };
        by_cause.entry(cause).or_default().push(one);
    }
    let waits = if by_cause.is_empty() {
        HashMap::new()
    } else {
        finished_waits(history)
    };
    let mut found = Vec::new();
    for (cause, mut group) in by_cause {
        group.sort_by_key(|one| (Reverse(one.length), one.subject.id.clone()));
        let Some(first) = group.first() else { continue };
        let nothing = Equals::default();
        let equal = equals.get(&first.subject.future).unwrap_or(&nothing);
        // One in 200 is stranger than 200 in 200.
        let weight = equal.progressed.saturating_mul(1_000) / (group.len() as u64).max(1);
        let evidence = evidence(first, &group, equal, &waits);
        let summary = summary(first, group.len() as u64);
        let sites = first
            .place
            .iter()
            .map(|place| place.site(Role::WaitsAt))
            .collect();
        let mut full = Some((summary, sites, evidence));
        for one in group {
            // The first stands for all.
            let weight = weight.saturating_add(u64::from(full.is_some()));
            let (summary, sites, evidence) = full.take().unwrap_or_default();
            found.push(Sighting {
                kind: Kind::Stalled,
                certainty: Certainty::Possible,
                cause: cause.clone(),
                summary,
                tasks: vec![one.subject],
                sites,
                evidence,
                began: one
                    .since
                    .filter(|since| *since <= end && one.watched.is_none()),
                ended: None,
                advice: "look at who should make ready what it waits for; put a timeout around it if nobody must".to_owned(),
                weight,
            });
        }
    }
    found
}

fn summary(first: &Stalled, count: u64) -> String {
    let future = first.subject.future.as_deref().unwrap_or("a task");
    let at = first.place.as_ref().map_or_else(String::new, |place| {
        format!(
            ": {} in {}",
            match &place.waits_for {
                Some(kind) => format!("it waits for {kind}"),
                None => format!("it waits for {}", place.leaf),
            },
            place.text()
        )
    });
    let who = match count {
        1 => format!("a task of {future} was"),
        count => format!("{count} tasks of {future} were"),
    };
    let as_far = match first.watched {
        Some(_) => ", as far as that was watched",
        None => "",
    };
    format!(
        "{who} not polled for {} and more{as_far}{at}",
        duration(first.length)
    )
}

fn evidence(
    first: &Stalled,
    group: &[Stalled],
    equal: &Equals,
    waits: &HashMap<(Arc<str>, Option<u32>), Spread>,
) -> Vec<String> {
    let exact = group.iter().filter(|one| one.since.is_some()).count() as u64;
    let mut evidence = vec![match (first.since, &first.because) {
        (_, Some(because)) => because.clone(),
        (Some(_), None) => format!(
            "its last poll{} ended {} before the end",
            first.watched.map_or("", |_| " that was seen"),
            duration(first.length)
        ),
        (None, None) => format!(
            "it was not {}polled since the session began, {} before the end; since when is not known",
            first.watched.map_or("", |_| "seen "),
            duration(first.length)
        ),
    }];
    if let Some(watched) = first.watched {
        evidence.push(format!(
            "tracing watched {:.1} % of the time, to keep its budget: polls in between were not seen",
            100.0 * watched
        ));
    }
    if group.len() > 1 {
        let shortest = group.last().map_or(0, |one| one.length);
        evidence.push(format!(
            "{} wait so, for {} to {}; of {exact} the last poll was seen",
            plural(group.len() as u64, "task"),
            duration(shortest),
            duration(first.length)
        ));
    }
    evidence.push(format!(
        "of {} with this future {} were polled meanwhile ({})",
        plural(equal.progressed + equal.stalled, "task"),
        equal.progressed,
        percent(equal.progressed, equal.progressed + equal.stalled)
    ));
    let usual = first
        .place
        .as_ref()
        .and_then(|place| waits.get(&(Arc::clone(&place.leaf), place.line)));
    if let Some(usual) = usual {
        evidence.push(format!(
            "{} there ended: half of them within {}, 99 of 100 within {}",
            plural(usual.count, "wait"),
            duration(usual.p50_ns),
            duration(usual.p99_ns)
        ));
    }
    if let Some(waits) = &first.waits {
        evidence.push(format!("it waits for {waits}"));
    }
    evidence
}

/// How long waits took that ended, by leaf and by the line of the program's own await.
fn finished_waits(history: &History) -> HashMap<(Arc<str>, Option<u32>), Spread> {
    let mut waits: HashMap<(Arc<str>, Option<u32>), Vec<u64>> = HashMap::new();
    for (index, row) in (0..).zip(&history.awaits) {
        if row.end.is_none() || row.at_least || row.outcome == AwaitOutcome::Unknown {
            continue;
        }
        let place = place::of_await(history, AwaitIndex(index));
        let durations = waits.entry((place.leaf, place.line)).or_default();
        durations.push(row.duration(history.span.end));
    }
    waits
        .into_iter()
        .map(|(key, mut durations)| (key, Spread::of(&mut durations)))
        .collect()
}

#[cfg(test)]
#[path = "stalled_tests.rs"]
mod tests;
