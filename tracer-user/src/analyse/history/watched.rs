//! What was watched, and when not: events of a time in which nothing was watched are missing for
//! every unit, and none of them says so.

use super::builder::Builder;
use super::task::TaskState;
use super::{Missing, UnitIndex, UnitKind};
use crate::rebuild::watching::Watching;

/// What is watched now.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Since when polls are not, CLOCK_MONOTONIC in nanoseconds.
    pause: Option<u64>,
}

impl Missing {
    /// What was not watched in a trace of so many nanoseconds, so that tracing kept its budget, as
    /// a sentence; `None` when everything was.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn not_watched(&self, span: u64) -> Option<String> {
        if self.pauses == 0 && self.left_out.is_empty() {
            return None;
        }
        let watched = 1.0 - self.unwatched_ns as f64 / span.max(1) as f64;
        let mut text = format!(
            "to keep its budget, tracing watched {:.1} % of the time, with {} pauses: counts and \
             rates are of that part, and what happened in a pause is not known",
            100.0 * watched.clamp(0.0, 1.0),
            self.pauses
        );
        if !self.left_out.is_empty() {
            text.push_str("; the polls of these even less: ");
            text.push_str(&self.left_out.join(", "));
        }
        Some(text)
    }
}

impl Builder {
    /// Takes note of what is watched from now on.
    pub fn watching(&mut self, watching: &Watching) {
        self.reached(watching.time);
        if !watching.waker_counts {
            self.history.wakers.probed.clones = Some(false);
            self.history.wakers.probed.drops = Some(false);
        }
        match (watching.polls, self.watched.pause) {
            (false, None) => {
                self.watched.pause = Some(watching.time);
                self.history.watched_since = u64::MAX;
                if self.showing {
                    self.history.missing.pauses += 1;
                }
                self.nothing_is_known(|_| true, TaskState::pauses);
            }
            (true, Some(since)) => {
                self.watched.pause = None;
                self.history.watched_since = watching.time;
                self.unwatched(since, watching.time);
                // What a probe that was hit just before told just after, in the pause, is past too.
                self.nothing_is_known(|_| true, TaskState::is_watched_again);
            }
            _ => {}
        }
        if watching.polls && !watching.left_out.is_empty() {
            let left_out = &watching.left_out;
            for future in left_out {
                if !self.history.missing.left_out.contains(future) {
                    self.history.missing.left_out.push(future.clone());
                }
            }
            let is_left_out = |kind: &UnitKind| match kind {
                UnitKind::Task(task) => task
                    .future
                    .as_ref()
                    .is_some_and(|future| left_out.contains(future)),
                _ => false,
            };
            self.nothing_is_known(is_left_out, |state| state.gap(true));
        }
    }

    /// The history ends: so does the pause that goes on.
    pub(super) fn end_pause(&mut self) {
        if let Some(since) = self.watched.pause.take() {
            let end = self.history.span.end;
            self.unwatched(since, end);
        }
    }

    fn unwatched(&mut self, since: u64, until: u64) {
        if self.showing {
            let since = since.max(self.history.span.start);
            self.history.missing.unwatched_ns += until.saturating_sub(since);
        }
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
