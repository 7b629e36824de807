//! Watching ends and begins again: what was open then is cut, and no cause reaches across.

use super::{Tracker, poll};
use crate::rebuild::event::{EndSeen, Event, Outcome};
use crate::rebuild::watching::Watching;

impl Tracker {
    /// Takes note of what is watched from now on. The records from before must have been applied,
    /// and none from later.
    pub fn watching(&mut self, watching: &Watching, into: &mut Vec<Event>) {
        let before = into.len();
        let time = watching.time;
        self.clean_since = self.clean_since.max(time);
        // A probe that was hit just before may have told so just after: what is open is cut at both
        // ends of the pause, at the moment where it began.
        let cut = *self.paused.get_or_insert(time);
        self.threads.forget_frames();
        for task in self.table.iter_mut() {
            if let Some(open) = task.open.take() {
                let end = cut.max(task.last_event);
                poll::close(task, open, end, Outcome::Unknown, EndSeen::Inferred, into);
                self.counts.polls += 1;
            }
        }
        if watching.polls {
            self.paused = None;
            self.watched_since = time;
            // A poll that began before was not lost.
            self.started = self.started.max(time);
        }
        self.counts.events += (into.len() - before) as u64;
    }
}
