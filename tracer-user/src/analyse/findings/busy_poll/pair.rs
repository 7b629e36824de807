//! Two tasks that wake each other, and next to nothing else does. That is how a conversation over
//! channels looks, too, so it is never more than `possible`.

use std::collections::HashMap;
use std::sync::Arc;

use super::{MIN_TIME, SHORT};
use crate::analyse::findings::case::Case;
use crate::analyse::findings::model::{Certainty, Kind, Role, Sighting};
use crate::analyse::findings::place;
use crate::analyse::findings::told::{duration, is_share, plural};
use crate::analyse::history::{History, PollCause, UnitIndex};
use crate::analyse::profile::Spread;

/// Polls of each of the two, at least.
const MIN_POLLS: usize = 5_000;

/// Polls a second, at least.
const MIN_RATE: u128 = 1_000;

/// Of the polls of each, those that the other caused, in percent.
const MOSTLY: u64 = 90;

/// A task that another one wakes.
struct Woken {
    by: UnitIndex,
    polls: u64,
}

/// All of them.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let history = case.history;
    let mut woken: HashMap<UnitIndex, Woken> = HashMap::new();
    for (index, unit) in (0..).zip(&history.units) {
        let is_async = unit.task().is_some_and(|task| !task.blocking);
        if is_async
            && unit.polls.len() >= MIN_POLLS
            && let Some(by) = mostly_by(history, UnitIndex(index))
        {
            woken.insert(UnitIndex(index), by);
        }
    }
    let mut pairs: Vec<(UnitIndex, UnitIndex)> = woken
        .iter()
        .filter(|(task, by)| {
            **task < by.by && woken.get(&by.by).is_some_and(|other| other.by == **task)
        })
        .map(|(task, by)| (*task, by.by))
        .collect();
    pairs.sort_unstable();
    pairs
        .into_iter()
        .filter_map(|(one, other)| sighting(case, one, other, woken.get(&one)?.polls))
        .collect()
}

/// The other task that caused most polls of this one.
fn mostly_by(history: &History, task: UnitIndex) -> Option<Woken> {
    let polls = &history[task].polls;
    let wakers = || {
        polls.iter().filter_map(|poll| match history[*poll].cause {
            Some(PollCause::Wake(wake)) => Some(history[wake].by.unit),
            _ => None,
        })
    };
    // What is nine in ten of all is left over when different ones cancel each other.
    let mut candidate = (task, 0_u64);
    for by in wakers() {
        match candidate {
            (_, 0) => candidate = (by, 1),
            (known, count) if known == by => candidate = (known, count + 1),
            (known, count) => candidate = (known, count - 1),
        }
    }
    let by = candidate.0;
    let count = wakers().filter(|waker| *waker == by).count() as u64;
    let is_other = by != task && history[by].task().is_some();
    (is_other && is_share(count, polls.len() as u64, MOSTLY)).then_some(Woken { by, polls: count })
}

fn sighting(case: &Case<'_>, one: UnitIndex, other: UnitIndex, woken: u64) -> Option<Sighting> {
    let history = case.history;
    let polls = &history[one].polls;
    let (first, last) = (&history[*polls.first()?], &history[*polls.last()?]);
    let time = last.begin.saturating_sub(first.begin);
    let rate = u128::from(woken) * 1_000_000_000 / u128::from(time.max(1));
    let mut lengths: Vec<u64> = polls
        .iter()
        .filter_map(|poll| {
            let poll = &history[*poll];
            Some(poll.length()?.saturating_sub(poll.preempted))
        })
        .collect();
    let lengths = Spread::of(&mut lengths);
    if time < MIN_TIME || rate < MIN_RATE || lengths.p50_ns > SHORT {
        return None;
    }
    let places: Vec<_> = [one, other]
        .into_iter()
        .filter_map(|unit| place::before(history, &history[*history[unit].polls.last()?]))
        .collect();
    let mut names: Vec<Arc<str>> = [one, other]
        .into_iter()
        .filter_map(|unit| history[unit].task()?.future.clone())
        .collect();
    names.sort_unstable();
    let names = names.join(" and ");
    Some(Sighting {
        kind: Kind::BusyPoll,
        certainty: Certainty::Possible,
        cause: format!("each other: {names}"),
        summary: format!("{names} wake each other {rate} times a second, and next to nothing else wakes them"),
        tasks: [one, other]
            .into_iter()
            .filter_map(|unit| place::subject_of(history, unit))
            .collect(),
        sites: places.iter().map(|place| place.site(Role::WaitsAt)).collect(),
        evidence: vec![
            format!(
                "{} of {} in {} were caused by the other, and half of them took {} and less",
                plural(woken, "poll"),
                polls.len(),
                duration(time),
                duration(lengths.p50_ns)
            ),
            "whether they get anything done is not seen: a conversation over channels looks the same".to_owned(),
        ],
        began: Some(first.begin),
        ended: Some(last.begin).filter(|_| history.span.end.saturating_sub(last.begin) > MIN_TIME),
        advice: "see what they tell each other: wake only when something has changed".to_owned(),
        weight: woken,
    })
}
