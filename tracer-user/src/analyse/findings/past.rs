//! What events tell of one task: its polls, and what woke it.

use std::sync::Arc;

use super::case::Case;
use crate::analyse::history::{History, UnitIndex, UnitKind, Wake};
use crate::rebuild::event::{Origin, WakeEffect};

/// What events tell of one task. Empty when they tell nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past<'a> {
    history: Option<&'a History>,
    /// Its unit in the history.
    pub unit: Option<UnitIndex>,
    /// Polls that were seen.
    pub polls: usize,
    /// End of the last one: CLOCK_MONOTONIC, nanoseconds.
    pub last_polled: Option<u64>,
}

impl<'a> Past<'a> {
    /// Of the task `unit`.
    pub(super) fn of(case: &Case<'a>, unit: Option<UnitIndex>) -> Self {
        let Some(unit) = unit else {
            return Self::default();
        };
        let history = case.history;
        let polls = &history[unit].polls;
        Self {
            history: Some(history),
            unit: Some(unit),
            polls: polls.len(),
            last_polled: polls.last().and_then(|&poll| history[poll].end),
        }
    }

    /// Whether it was polled, or scheduled to be, after `time`.
    pub(super) fn moved_after(&self, time: u64) -> bool {
        let (Some(history), Some(unit)) = (self.history, self.unit) else {
            return false;
        };
        let unit = &history[unit];
        // A poll that goes on, or whose end was lost, is one that may be later.
        let polled = unit.polls.last().is_some_and(|&poll| {
            let poll = &history[poll];
            poll.begin > time || poll.end.is_none_or(|end| end > time)
        });
        let woken = unit.woken.iter().rev().any(|&wake| {
            let wake = &history[wake];
            wake.time > time && schedules(wake.effect)
        });
        polled || woken
    }

    /// When it was first polled after `time`.
    pub(super) fn polled_after(&self, time: u64) -> Option<u64> {
        let (history, unit) = (self.history?, self.unit?);
        let polls = &history[unit].polls;
        let first = polls.partition_point(|&poll| history[poll].begin <= time);
        polls.get(first).map(|&poll| history[poll].begin)
    }

    /// "woken 3 times, last 2.1 s before by thread x (12)", where it was seen to be woken.
    pub(super) fn woken(&self, now: u64) -> Option<String> {
        let (history, unit) = (self.history?, self.unit?);
        let woken = &history[unit].woken;
        let last: &Wake = &history[*woken.last()?];
        let by = last.by.origin.unwrap_or(last.by.unit);
        Some(format!(
            "it was seen to be woken {}, last {} before by {}",
            times(woken.len()),
            duration(now.saturating_sub(last.time)),
            doer(history, by)
        ))
    }
}

fn schedules(effect: WakeEffect) -> bool {
    matches!(
        effect,
        WakeEffect::Scheduled | WakeEffect::PollAgain | WakeEffect::Unknown
    )
}

fn doer(history: &History, unit: UnitIndex) -> String {
    match &history[unit].kind {
        UnitKind::Task(task) => match &task.future {
            Some(future) => format!("{} ({future})", task.name),
            None => task.name.to_string(),
        },
        UnitKind::Thread { tid, name, .. } => {
            let name = name.as_ref().map_or_else(|| Arc::from("?"), Arc::clone);
            format!("thread {name} ({tid})")
        }
        UnitKind::Origin(Origin::Io { fd: Some(fd), .. }) => format!("I/O on descriptor {fd}"),
        UnitKind::Origin(Origin::Io { .. }) => "I/O".to_owned(),
        UnitKind::Origin(Origin::Timer) => "a timer".to_owned(),
        UnitKind::Origin(Origin::Signal) => "a signal".to_owned(),
        UnitKind::Unknown => "something unknown".to_owned(),
    }
}

/// "once", "3 times".
pub(super) fn times(count: usize) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{many} times"),
    }
}

/// Nanoseconds as a reader takes them in: `480 ns`, `12 ms`, `4.2 s`, `3 min`.
pub(super) fn duration(nanoseconds: u64) -> String {
    let (unit, name) = match nanoseconds {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        1_000_000_000..120_000_000_000 => (1_000_000_000, "s"),
        120_000_000_000..7_200_000_000_000 => (60_000_000_000, "min"),
        _ => (3_600_000_000_000, "h"),
    };
    let (whole, tenths) = (nanoseconds / unit, nanoseconds % unit * 10 / unit);
    if whole < 10 && tenths > 0 {
        format!("{whole}.{tenths} {name}")
    } else {
        format!("{whole} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_not_wrong() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.5 us"),
            (12_400_000, "12 ms"),
            (4_200_000_000, "4.2 s"),
            (119_000_000_000, "119 s"),
            (180_000_000_000, "3 min"),
            (u64::MAX, "5124095 h"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
        assert_eq!(times(1), "once");
        assert_eq!(times(5), "5 times");
    }
}
