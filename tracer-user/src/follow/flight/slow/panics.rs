//! Panics as they begin, and what they say, which comes after that if at all.

use super::node::{name, trigger};
use super::{SETTLE, Watcher};
use crate::follow::flight::trigger::{Cause, Trigger};
use crate::rebuild::event::{Event, EventKind, PanicLocation, UnitId};

/// Panics on their way.
const MAX_PANICS: usize = 64;

impl Watcher {
    /// Takes note of a panic that begins, and tells of one that says what it is about.
    pub(super) fn panic(&mut self, event: &Event, found: &mut Vec<Trigger>) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::PanicBegan { location, .. } if self.panics.len() < MAX_PANICS => {
                self.panics.push((unit, event.time, location.clone()));
            }
            EventKind::PanicRaised { message } => {
                let began = self.panics.iter().rposition(|(by, ..)| *by == unit);
                let began = began.map(|at| self.panics.remove(at));
                let (time, location) =
                    began.map_or((event.time, None), |(_, time, location)| (time, location));
                found.push(self.panicked(unit, time, location.as_deref(), message.as_deref()));
            }
            _ => {}
        }
    }

    fn panicked(
        &self,
        unit: UnitId,
        time: u64,
        location: Option<&PanicLocation>,
        message: Option<&str>,
    ) -> Trigger {
        let mut why = match self.tasks.get(&unit) {
            Some(task) => format!("{} panicked", name(&task.what)),
            None => "panic".to_owned(),
        };
        if let Some(at) = location {
            why.push_str(&format!(" at {}:{}:{}", at.file, at.line, at.column));
        }
        if let Some(message) = message {
            why.push_str(": ");
            why.push_str(message);
        }
        trigger(Cause::Panic, &why, time)
    }

    /// Tells, at `now`, of those that say nothing.
    pub(super) fn look_at_panics(&mut self, now: u64, found: &mut Vec<Trigger>) {
        let panics = std::mem::take(&mut self.panics);
        for (unit, time, location) in panics {
            if time.saturating_add(SETTLE) <= now {
                found.push(self.panicked(unit, time, location.as_deref(), None));
            } else {
                self.panics.push((unit, time, location));
            }
        }
    }
}
