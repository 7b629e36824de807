//! Who could have run while polls held their workers.

use crate::analyse::findings::told::{duration, plural};
use crate::analyse::history::{History, PollIndex, UnitIndex};
use crate::rebuild::event::WakeEffect;

/// Polls that are looked at.
const MAX_POLLS: usize = 64;

/// Wake-ups that are looked at for one poll.
const MAX_WAKES: usize = 100_000;

/// A sentence on the tasks that were woken during these polls, and not polled before they ended.
/// `None` when there were none.
pub(super) fn meanwhile(history: &History, polls: &[PollIndex]) -> Option<String> {
    let mut tasks: Vec<UnitIndex> = Vec::new();
    let (mut waits, mut total) = (0_u64, 0_u64);
    for index in polls.iter().take(MAX_POLLS) {
        let poll = &history[*index];
        let end = history.end_of(*index);
        let from = history.wakes.partition_point(|wake| wake.time < poll.begin);
        let woken = history.wakes.iter().skip(from).take(MAX_WAKES);
        for wake in woken.take_while(|wake| wake.time < end) {
            let waits_on = wake.effect == WakeEffect::Scheduled
                && wake.task != poll.task
                && match wake.poll {
                    Some(poll) => history[poll].begin >= end,
                    None => !was_polled_after(history, wake.task, wake.time, end),
                };
            if waits_on {
                tasks.push(wake.task);
                waits += 1;
                total = total.saturating_add(end - wake.time);
            }
        }
    }
    if waits == 0 {
        return None;
    }
    tasks.sort_unstable();
    tasks.dedup();
    let looked = polls.len().min(MAX_POLLS);
    Some(format!(
        "{} woken meanwhile and not polled before the end: {} of waiting in {}{}",
        match tasks.len() {
            1 => "1 task was".to_owned(),
            count => format!("{count} tasks were"),
        },
        duration(total),
        plural(waits, "wake-up"),
        if looked < polls.len() {
            format!(" (in the {looked} longest polls)")
        } else {
            String::new()
        }
    ))
}

/// Whether a task was polled between a wake-up, of which it is not known what it caused, and `end`.
fn was_polled_after(history: &History, task: UnitIndex, woken: u64, end: u64) -> bool {
    let polls = &history[task].polls;
    let next = polls.partition_point(|poll| history[*poll].begin < woken);
    polls
        .get(next)
        .is_some_and(|poll| history[*poll].begin < end)
        || history[task].task().is_some_and(|task| task.end.is_some())
}
