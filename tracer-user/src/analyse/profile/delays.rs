//! From wake-up to poll: how long tasks that could run had to wait for a thread.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::spread::Spread;
use crate::analyse::history::{History, Poll, PollCause, PollIndex};

/// Delays of tasks of one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DelayRow {
    /// Path of the future; `None` for tasks whose future is not known.
    pub future: Option<Arc<str>>,
    /// Their delays.
    #[serde(flatten)]
    pub delays: Spread,
}

/// Delays of all polls whose cause is known. A wake-up during a poll counts from that poll's end,
/// as the task could not be polled before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// From wake-up to poll.
    pub woken: Spread,
    /// From spawn to the first poll.
    pub spawned: Spread,
    /// From wake-up to poll by type of task, those that were kept for longest in all first.
    pub by_type: Vec<DelayRow>,
}

/// The delays of a history.
#[must_use]
pub fn delays(history: &History) -> Delays {
    let mut woken = Vec::new();
    let mut spawned = Vec::new();
    let mut by_type: HashMap<Option<&Arc<str>>, Vec<u64>> = HashMap::new();
    for unit in &history.units {
        let Some(task) = unit.task() else { continue };
        let mut before: Option<PollIndex> = None;
        for &index in &unit.polls {
            let poll = &history[index];
            match delay(history, poll, before) {
                Some((delay, true)) => {
                    woken.push(delay);
                    by_type.entry(task.future.as_ref()).or_default().push(delay);
                }
                Some((delay, false)) => spawned.push(delay),
                None => {}
            }
            before = Some(index);
        }
    }
    let mut by_type: Vec<DelayRow> = by_type
        .into_iter()
        .map(|(future, mut delays)| DelayRow {
            future: future.cloned(),
            delays: Spread::of(&mut delays),
        })
        .collect();
    by_type.sort_by_key(|row| (Reverse(row.delays.total_ns), row.future.clone()));
    Delays {
        woken: Spread::of(&mut woken),
        spawned: Spread::of(&mut spawned),
        by_type,
    }
}

/// The delay before a poll, and whether a wake-up was its cause.
fn delay(history: &History, poll: &Poll, before: Option<PollIndex>) -> Option<(u64, bool)> {
    let free = before.and_then(|before| history[before].end).unwrap_or(0);
    match poll.cause? {
        PollCause::Wake(wake) => {
            let since = history[wake].time.max(free);
            Some((poll.begin.saturating_sub(since), true))
        }
        PollCause::Spawn => {
            let spawn = history[poll.task].task()?.spawned?;
            Some((poll.begin.saturating_sub(spawn.time), false))
        }
    }
}
