//! Tasks that are polled again and again without progress, because they wake themselves.
//!
//! A future that finds nothing to do, wakes its own task and returns `Pending` is polled as fast as
//! a worker can. What proves that nothing was achieved? The task stands in the very instance it
//! stood in before: no await of it ended or began. That alone looks the same in a loop that makes
//! the same await again (limits.md), so more is asked for before it is `likely`:
//!
//! - The wake-up was done inside the poll before, by the task itself, or compiled into it. What I/O,
//!   a timer, a channel or another task woke has a reason to be polled.
//! - It waits for one thing, and that is a future of the program's own (hand-written, or a closure
//!   in `poll_fn`). The runtime's futures wake their task where its budget is used up, collections
//!   of futures where they have polled many, protocol libraries to give way.
//! - It is not called after yielding: a loop that computes and yields looks the same, and is meant.
//! - Its polls are short. A computation in portions is no waste.
//!
//! Where a condition does not hold, what goes on for long is `possible`; yields are nothing.

mod excuse;
mod idle;
mod pair;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use self::excuse::{Excuse, excuse, own_crates};
use self::idle::{Idle, Way, idle_polls};
use super::case::Case;
use super::model::{Certainty, Kind, Role, Sighting, Site};
use super::place;
use super::told::{duration, percent, plural};
use crate::analyse::history::{AwaitIndex, TaskHistory, UnitIndex};
use crate::analyse::profile::Spread;
use crate::rebuild::tree::WaitsFor;

/// Polls of one task that are a finding.
const MIN_POLLS: u64 = 1_000;

/// How long that went on at least, in all: nanoseconds.
const MIN_TIME: u64 = 50_000_000;

/// Polls that are no longer than this do nothing: nanoseconds, our own probes included (two traps,
/// 2 to 6 us).
const SHORT: u64 = 20_000;

/// All of them.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let mut own = None;
    let mut found = Vec::new();
    for (index, unit) in (0..).zip(&history.units) {
        let Some(task) = unit.task().filter(|task| !task.blocking) else {
            continue;
        };
        if (unit.polls.len() as u64) < MIN_POLLS {
            continue;
        }
        for (leaf, way, idle) in idle_polls(history, UnitIndex(index)) {
            // That nobody was seen to wake it tells nothing where nobody would be.
            let is_seen = history.wakers.probed.wakes == Some(true) && !case.events_are_missing();
            if way == Way::Unseen && !is_seen {
                continue;
            }
            if idle.polls >= MIN_POLLS && idle.time >= MIN_TIME {
                let own = own.get_or_insert_with(|| own_crates(history));
                found.extend(sighting(case, task, (leaf, way), idle, own));
            }
        }
    }
    found.extend(pair::find(case));
    found
}

fn sighting(
    case: &Case<'_>,
    task: &TaskHistory,
    (leaf, way): (Option<AwaitIndex>, Way),
    mut idle: Idle,
    own: &HashSet<String>,
) -> Option<Sighting> {
    let history = case.history;
    let lengths = Spread::of(&mut idle.lengths);
    let closed = closed_channel(case, &task.name);
    let (certainty, doubt) = match excuse(history, leaf, way, lengths.p50_ns <= SHORT, own) {
        _ if closed && way == Way::Yielded => (Certainty::Likely, Some(CLOSED)),
        Excuse::Yields => return None,
        Excuse::None => (Certainty::Likely, None),
        Excuse::Doubt(doubt) => (Certainty::Possible, Some(doubt)),
    };
    let place = leaf.map(|leaf| place::of_await(history, leaf));
    let at = place
        .as_ref()
        .map_or_else(|| place::future_of(task).to_owned(), place::Place::text);
    let leaf_name = leaf.map(|leaf| &history[leaf].awaited.future);
    let rate = u128::from(idle.polls) * 1_000_000_000 / u128::from(idle.time.max(1));
    let span = history.span.end.saturating_sub(history.span.start);
    let mut evidence = vec![
        format!(
            "{} in {} ({rate} a second) left it in the same await, each {}",
            plural(idle.polls, "poll"),
            duration(idle.time),
            match way {
                Way::Itself => "caused by a wake-up that the task did itself in the poll before",
                Way::Unseen => "without a wake-up that was seen: it is compiled into its own poll",
                Way::Yielded => "after one in which it had used up its budget",
            }
        ),
        format!(
            "half of them took {} and less; in all {}, {} of one worker's time",
            duration(lengths.p50_ns),
            duration(idle.polled),
            percent(idle.polled.min(span), span)
        ),
    ];
    if idle.goes_on {
        evidence.push("it goes on".to_owned());
    }
    evidence.extend(doubt.map(str::to_owned));
    let mut sites: Vec<Site> = place
        .iter()
        .map(|place| place.site(Role::WaitsAt))
        .collect();
    if let Some(name) = leaf_name
        && certainty == Certainty::Likely
    {
        let (file, line) = defined(case, &task.name, name);
        sites.insert(
            0,
            Site {
                role: Role::Culprit,
                future: Arc::clone(name),
                file,
                line,
            },
        );
    }
    let name = leaf_name.map_or("a future that is not known", |name| name);
    Some(Sighting {
        kind: Kind::BusyPoll,
        certainty,
        cause: format!("{name} in {at}"),
        summary: format!(
            "{name}, awaited in {at}, {} {rate} times a second, and makes no progress",
            match way {
                Way::Itself | Way::Unseen => "wakes its own task whenever it is polled,",
                Way::Yielded => "is polled",
            }
        ),
        tasks: vec![place::subject(task)],
        sites,
        evidence,
        began: idle.first,
        ended: (!idle.goes_on).then_some(idle.last),
        advice: "wake the task when there is something to do, not in the poll that found nothing: keep the waker where the event is made".to_owned(),
        weight: idle.polls,
    })
}

const CLOSED: &str =
    "it receives from a channel that has no sender any more: that is ready at once, for ever";

/// Whether the task waits to receive from a channel without senders, whenever memory was looked at.
fn closed_channel(case: &Case<'_>, task: &str) -> bool {
    let looks = case.moments.iter().filter_map(|moment| {
        let tasks = &moment.snapshot.tasks;
        tasks.iter().find(|info| info.id == task)?.tree.as_ref()
    });
    let mut closed = looks.map(|tree| {
        let (mut waits, mut holds, mut receives) = (false, false, false);
        tree.visit(&mut |node| {
            waits |= node.waits_for.as_ref().is_some_and(has_no_sender);
            holds |= node.holds.iter().any(|held| has_no_sender(&held.what));
            // A loop around `select!` stands between two polls of it as often as not.
            receives |= is_receive(&node.future);
        });
        waits || holds && receives
    });
    closed.next() == Some(true) && closed.all(|closed| closed)
}

/// The end of a channel that receives, and nobody will send.
fn has_no_sender(what: &WaitsFor) -> bool {
    what.kind == "channel" && what.text("side") != Some("send") && what.number("senders") == Some(0)
}

/// `Receiver::recv` and others of tokio's channels (1.0 to 1.54).
fn is_receive(path: &str) -> bool {
    path.starts_with("tokio::sync::") && path.contains("::recv")
}

/// Where the `poll` of a hand-written future is written, as the last look at memory told.
fn defined(case: &Case<'_>, task: &str, future: &str) -> (Option<Arc<str>>, Option<u32>) {
    let tasks = case.now().map(|moment| &moment.snapshot.tasks);
    let mut place = None;
    for info in tasks.into_iter().flatten() {
        // The task itself, or another that waits in the same.
        let Some(tree) = info
            .tree
            .as_ref()
            .filter(|_| place.is_none() || info.id == task)
        else {
            continue;
        };
        tree.visit(&mut |node| {
            if *node.future == *future && place.is_none() {
                place.clone_from(&node.defined);
            }
        });
        if place.is_some() {
            break;
        }
    }
    match place {
        Some(place) => (Some(place.file), Some(place.line)),
        None => (None, None),
    }
}
