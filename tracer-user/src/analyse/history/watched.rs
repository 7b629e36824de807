//! What was watched, and when not: events of a time in which nothing was watched are missing for
//! every unit, and none of them says so. Where only polls of some types or wake-ups were not, the
//! other units' polls are all there.

use std::sync::Arc;

use super::builder::Builder;
use super::task::TaskState;
use super::{Missing, UnitIndex, UnitKind};
use crate::rebuild::watching::Watching;

/// What is watched now.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Since when polls are not, CLOCK_MONOTONIC in nanoseconds.
    pause: Option<u64>,
    /// Since when some polls or wake-ups are not, while others are.
    partly: Option<u64>,
    /// Wake-ups are among these.
    without_wakes: bool,
    /// Futures of the tasks whose polls are not.
    left_out: Vec<Arc<str>>,
    /// Since when wake-ups are watched again; [`u64::MAX`] when they are not.
    pub(super) wakes_since: u64,
}

impl Missing {
    /// What was not watched in a trace of so many nanoseconds, so that tracing kept its budget, as
    /// a sentence; `None` when everything was.
    #[must_use]
    pub fn not_watched(&self, span: u64) -> Option<String> {
        if self.pauses == 0 && self.left_out.is_empty() && !self.wakes_left_out {
            return None;
        }
        let mut text = format!(
            "to keep its budget, tracing watched {:.1} % of the time, with {}: counts and rates are \
             of that part, and what happened in a pause is not known",
            share(span, self.unwatched_ns),
            match self.pauses {
                1 => "1 pause".to_owned(),
                pauses => format!("{pauses} pauses"),
            }
        );
        let mut less: Vec<String> = self
            .left_out
            .iter()
            .map(|future| format!("polls of {future}"))
            .collect();
        if self.wakes_left_out {
            less.push("wake-ups".to_owned());
        }
        if !less.is_empty() {
            text.push_str(&format!(
                "; {:.1} % of the time: {}",
                share(span, self.unwatched_ns.saturating_add(self.partly_ns)),
                less.join(", ")
            ));
        }
        Some(text)
    }

    /// How much of a span of so many nanoseconds the polls of tasks of this future were watched.
    #[must_use]
    pub fn watched_of(&self, span: u64, future: Option<&str>) -> u64 {
        let is_left_out = self
            .left_out
            .iter()
            .any(|left_out| future == Some(&**left_out));
        let partly = if is_left_out { self.partly_ns } else { 0 };
        span.saturating_sub(self.unwatched_ns)
            .saturating_sub(partly)
    }
}

/// What is left of a span without so many nanoseconds, in percent.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn share(span: u64, without: u64) -> f64 {
    100.0 * (1.0 - without as f64 / span.max(1) as f64).clamp(0.0, 1.0)
}

impl Builder {
    /// Takes note of what is watched from now on.
    pub fn watching(&mut self, watching: &Watching) {
        self.happens(watching.time);
        // What goes on at the end of what is shown goes on until there, whatever comes later.
        if watching.time > self.until {
            return;
        }
        if !watching.waker_counts {
            self.history.wakers.probed.clones = Some(false);
            self.history.wakers.probed.drops = Some(false);
        }
        if self.showing {
            self.is_left_out(&watching.left_out, watching.polls && !watching.wakes);
        }
        let watches_all = watching.are_all_polls() && watching.wakes;
        let watched_all = self.watched.pause.is_none() && self.watched.partly.is_none();
        if !watches_all {
            self.history.watched_since = u64::MAX;
        } else if !watched_all {
            self.history.watched_since = watching.time;
        }
        if !(watching.polls && watching.wakes) {
            self.watched.wakes_since = u64::MAX;
        } else if self.watched.wakes_since == u64::MAX {
            self.watched.wakes_since = watching.time;
        }
        if !watching.wakes {
            self.nothing_is_known(|_| true, |_| ());
        }

        let before = std::mem::replace(&mut self.watched.left_out, watching.left_out.clone());
        let was_left_out = |kind: &UnitKind| leaves_out(&before, kind);
        let is_left_out = |kind: &UnitKind| leaves_out(&watching.left_out, kind);
        match (watching.polls, self.watched.pause) {
            (false, None) => {
                self.watched.pause = Some(watching.time);
                if self.showing {
                    self.history.missing.pauses += 1;
                }
                self.nothing_is_known(|_| true, TaskState::pauses);
            }
            (true, Some(since)) => {
                self.watched.pause = None;
                let length = self.shown(since, watching.time);
                self.history.missing.unwatched_ns += length;
                // What a probe that was hit just before told just after, in the pause, is past too.
                self.nothing_is_known(|kind| !is_left_out(kind), TaskState::is_watched_again);
            }
            (true, None) => {
                let begins = |kind: &UnitKind| is_left_out(kind) && !was_left_out(kind);
                self.nothing_is_known(begins, TaskState::pauses);
                let ends = |kind: &UnitKind| was_left_out(kind) && !is_left_out(kind);
                self.nothing_is_known(ends, TaskState::is_watched_again);
            }
            (false, Some(_)) => {}
        }
        if let Some(since) = self.watched.partly.take() {
            let length = self.shown(since, watching.time);
            self.history.missing.partly_ns += length;
        }
        if watching.polls && !watches_all {
            self.watched.partly = Some(watching.time);
            self.watched.without_wakes = !watching.wakes;
        }
    }

    /// Whether polls of this task are not watched now.
    pub(super) fn is_not_watched(&self, task: UnitIndex) -> bool {
        let kind = self.history.units.get(task.0 as usize);
        self.watched.pause.is_some()
            || kind.is_some_and(|unit| leaves_out(&self.watched.left_out, &unit.kind))
    }

    /// Polls of these futures are left out in what is shown, and perhaps wake-ups.
    fn is_left_out(&mut self, futures: &[Arc<str>], wakes: bool) {
        let missing = &mut self.history.missing;
        missing.wakes_left_out |= wakes;
        for future in futures {
            if !missing.left_out.contains(future) {
                missing.left_out.push(Arc::clone(future));
            }
        }
    }

    /// The history shows what happens from now on: what is not watched then is missing in it.
    pub(super) fn show_what_is_not_watched(&mut self) {
        self.history.missing.pauses += u64::from(self.watched.pause.is_some());
        if self.watched.partly.is_some() {
            let left_out = std::mem::take(&mut self.watched.left_out);
            self.is_left_out(&left_out, self.watched.without_wakes);
            self.watched.left_out = left_out;
        }
    }

    /// The history ends: so does the pause that goes on.
    pub(super) fn end_pause(&mut self) {
        let end = self.history.span.end;
        if let Some(since) = self.watched.pause.take() {
            self.history.missing.unwatched_ns += self.shown(since, end);
        }
        if let Some(since) = self.watched.partly.take() {
            self.history.missing.partly_ns += self.shown(since, end);
        }
    }

    /// How much of this is in what the history shows, nanoseconds.
    fn shown(&self, since: u64, until: u64) -> u64 {
        if !self.showing {
            return 0;
        }
        until.saturating_sub(since.max(self.history.span.start))
    }

    /// What these units do from now on is not known.
    fn nothing_is_known(&mut self, of: impl Fn(&UnitKind) -> bool, note: impl Fn(&mut TaskState)) {
        for at in 0..self.known.len() {
            if !self
                .history
                .units
                .get(at)
                .is_some_and(|unit| of(&unit.kind))
            {
                continue;
            }
            if let Ok(at) = u32::try_from(at) {
                self.wakers_are_missing(UnitIndex(at));
            }
            if let Some(state) = self
                .known
                .get_mut(at)
                .and_then(|known| known.state.as_mut())
            {
                note(state);
            }
        }
    }
}

/// Whether a unit is a task with one of these futures.
fn leaves_out(futures: &[Arc<str>], kind: &UnitKind) -> bool {
    match kind {
        UnitKind::Task(task) => task
            .future
            .as_ref()
            .is_some_and(|future| futures.contains(future)),
        _ => false,
    }
}
