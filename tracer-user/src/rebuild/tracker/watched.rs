//! Watching ends and begins again: what was open then is cut, and no cause reaches across.

use super::{Tracker, poll};
use crate::rebuild::event::{EndSeen, Event, Outcome};
use crate::rebuild::snapshot::TaskState;
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
            if !watching.polls && task.state == TaskState::Scheduled {
                // It will be polled in the pause.
                task.state = TaskState::Unknown;
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

#[cfg(test)]
mod tests {
    use tracer_common::{Record, RecordKind};

    use super::super::{Options, TaskKey};
    use super::*;

    #[test]
    fn a_task_that_was_scheduled_before_a_pause_is_so_no_more() {
        let mut tracker = Tracker::new(Options::default());
        let mut events = Vec::new();
        let wake = Record {
            time: 100,
            task: 0x7f00_0000_1000,
            task_id: 7,
            state: 0xc8,
            tid: 1,
            kind: RecordKind::WakeByReference as u8,
            ..Record::default()
        };
        tracker.apply(&wake, &mut events);
        let state = |tracker: &Tracker| tracker.task(&TaskKey::of(wake.task, 7)).unwrap().state;
        assert_eq!(state(&tracker), TaskState::Scheduled);
        let pause = Watching {
            polls: false,
            ..Watching::everything(200)
        };
        tracker.watching(&pause, &mut events);
        assert_eq!(state(&tracker), TaskState::Unknown);
        tracker.watching(&Watching::everything(300), &mut events);
        assert_eq!(state(&tracker), TaskState::Unknown);
    }
}
