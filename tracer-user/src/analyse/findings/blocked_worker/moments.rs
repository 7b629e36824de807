//! The same from memory alone: a thread that polls the same task in two looks.
//!
//! When its counts of context switches have not changed, it did not run in between, or did not stop:
//! asleep in the same call, it slept all the while, and that is proved. When it computed all the
//! while, it may have been one poll or many.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::analyse::findings::case::{Case, Moment};
use crate::analyse::findings::model::{Certainty, Kind, Role, Sighting, Subject};
use crate::analyse::findings::place;
use crate::analyse::findings::told::{duration, is_share, percent};
use crate::analyse::history::UnitKind;
use crate::rebuild::snapshot::{Snapshot, TaskInfo, TaskState, ThreadInfo};

/// What a thread was seen to do between two looks.
struct Span<'a> {
    first: &'a ThreadInfo,
    last: &'a ThreadInfo,
    from: u64,
    to: u64,
    task: &'a TaskInfo,
}

/// Threads that were in one poll, as memory tells.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let Some((last, before)) = case.moments.split_last() else {
        return Vec::new();
    };
    let known = threads_with_polls(case);
    let tasks: HashMap<&str, &TaskInfo> = by_id(&last.snapshot);
    let mut found = Vec::new();
    for thread in &last.snapshot.threads {
        let Some(task) = polled(thread, &tasks) else {
            continue;
        };
        // Events tell more of the others.
        if known.contains(&thread.tid) {
            continue;
        }
        let Some((from, first)) = since(before, thread) else {
            continue;
        };
        let span = Span {
            first,
            last: thread,
            from,
            to: last.time,
            task,
        };
        found.extend(sighting(case, &span));
    }
    found
}

/// Threads of which events tell polls in the time of the looks.
fn threads_with_polls(case: &Case<'_>) -> HashSet<u32> {
    let history = case.history;
    let since = case.moments.first().map_or(0, |moment| moment.time);
    let from = history.polls.partition_point(|poll| poll.begin < since);
    let late = history.polls.iter().skip(from);
    let open = history.polls.iter().take(from);
    late.chain(open.filter(|poll| poll.end.is_none_or(|end| end >= since)))
        .filter_map(|poll| match &history[poll.thread?].kind {
            UnitKind::Thread { tid, .. } => Some(*tid),
            _ => None,
        })
        .collect()
}

fn by_id(snapshot: &Snapshot) -> HashMap<&str, &TaskInfo> {
    let tasks = snapshot.tasks.iter();
    tasks.map(|task| (task.id.as_str(), task)).collect()
}

/// The async task that a worker polls. Blocking work is in no list, and a thread that blocks in
/// place is not inside its runtime for that while.
fn polled<'a>(thread: &ThreadInfo, tasks: &HashMap<&str, &'a TaskInfo>) -> Option<&'a TaskInfo> {
    let task = tasks.get(thread.polls.as_deref()?)?;
    let running = matches!(task.state, TaskState::Running);
    (thread.in_runtime && !thread.parked && !thread.aside && running).then_some(*task)
}

/// The first of the looks since which the thread polls the same task without another in between.
fn since<'a>(before: &'a [Moment], last: &ThreadInfo) -> Option<(u64, &'a ThreadInfo)> {
    let looks = before.iter().rev().map_while(|moment| {
        let tasks = by_id(&moment.snapshot);
        let threads = &moment.snapshot.threads;
        let thread = threads.iter().find(|thread| thread.tid == last.tid)?;
        let same = thread.polls == last.polls && polled(thread, &tasks).is_some();
        same.then_some((moment.time, thread))
    });
    looks.last()
}

fn sighting(case: &Case<'_>, span: &Span<'_>) -> Option<Sighting> {
    let threshold = case.thresholds.long_poll;
    let (first, last) = (span.first, span.last);
    let length = span.to.saturating_sub(span.from);
    if length <= threshold {
        return None;
    }
    let still = first.switches == last.switches;
    let asleep = match (&first.syscall, &last.syscall) {
        (Some(then), Some(now)) if still && then == now && is_asleep(first) && is_asleep(last) => {
            Some(now)
        }
        _ => None,
    };
    let on_cpu = last.cpu_time.saturating_sub(first.cpu_time);
    let (certainty, what, evidence) = match asleep {
        Some(syscall) => (
            Certainty::Proved,
            format!("blocks in {syscall}"),
            format!(
                "its thread {} ({}) was in {syscall} in two looks {} apart, and did not run in between: its counts of context switches are the same ({} and {})",
                last.name,
                last.tid,
                duration(length),
                last.switches.0,
                last.switches.1
            ),
        ),
        None if is_share(on_cpu, length, 90) && first.switches.0 == last.switches.0 => (
            Certainty::Possible,
            "computes".to_owned(),
            format!(
                "its thread {} ({}) polled it in two looks {} apart and computed for {} of that without ever waiting; it may have been several polls",
                last.name,
                last.tid,
                duration(length),
                percent(on_cpu, length)
            ),
        ),
        None => return None,
    };
    let place = span.task.tree.as_ref().map(place::of_tree);
    let at = place.as_ref().map_or_else(String::new, |place| {
        format!(" after the await in {}", place.text())
    });
    Some(Sighting {
        kind: Kind::BlockedWorker,
        certainty,
        cause: format!("{} began at {at}, {what}", span.task.future),
        summary: format!(
            "{} {what} for {} and more{at}, and keeps its worker from polling others",
            span.task.future,
            duration(length)
        ),
        tasks: vec![Subject {
            id: span.task.id.as_str().into(),
            future: Some(Arc::clone(&span.task.future)),
        }],
        sites: place
            .iter()
            .map(|place| place.site(Role::BeganAt))
            .collect(),
        evidence: vec![evidence],
        began: None,
        ended: None,
        advice: "use the asynchronous form of this call, or move it to spawn_blocking".to_owned(),
        weight: length,
    })
}

/// As the kernel names states: asleep, with or without heed to signals.
fn is_asleep(thread: &ThreadInfo) -> bool {
    matches!(thread.state.as_str(), "S" | "D")
}
