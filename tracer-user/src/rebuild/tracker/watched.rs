//! Watching ends and begins again: what was open then is cut, and no cause reaches across. Where only
//! polls of some types are left out, that is so for their tasks alone.

use tracer_common::{Record, RecordKind};

use super::{Task, TaskKey, Tracker, poll};
use crate::rebuild::event::Event;
use crate::rebuild::snapshot::TaskState;
use crate::rebuild::tracker::task::Pending;
use crate::rebuild::watching::Watching;

impl Tracker {
    /// Whether a record is of a kind or a task that is not watched, although others are: made by a
    /// probe on its way out, or in. With such records some of what happened would be told, and it would
    /// seem to be all.
    pub(super) fn is_left_out(&self, kind: RecordKind, record: &Record) -> bool {
        let watching = &self.watching;
        if !watching.polls || watching.is_everything() {
            return false;
        }
        match kind {
            RecordKind::WakeByValue | RecordKind::WakeByReference => !watching.wakes,
            RecordKind::PollBegin => watching.leaves_out(self.probe_name(record.probe).as_ref()),
            RecordKind::PollEnd | RecordKind::OffCpu | RecordKind::OnCpu => {
                let task = self.table.get(&TaskKey::of(record.task, record.task_id));
                task.is_some_and(|task| watching.leaves_out(task.future.as_ref()))
            }
            _ => false,
        }
    }

    /// Takes note of what is watched from now on. The records from before must have been applied,
    /// and none from later.
    pub fn watching(&mut self, watching: &Watching, into: &mut Vec<Event>) {
        let events = into.len();
        let time = watching.time;
        let before = std::mem::replace(&mut self.watching, watching.clone());
        if !watching.are_all_polls() {
            self.all_polls_since = u64::MAX;
        } else if !before.are_all_polls() {
            self.all_polls_since = time;
        }
        if !(watching.polls && watching.wakes) {
            self.wakes_since = u64::MAX;
        } else if self.wakes_since == u64::MAX {
            self.wakes_since = time;
        }
        let all = !(watching.polls && before.polls);
        let is_watched =
            |by: &Watching, task: &Task| by.polls && !by.leaves_out(task.future.as_ref());
        let is_cut = |task: &Task| all || !is_watched(watching, task) || !is_watched(&before, task);
        if all {
            self.clean_since = self.clean_since.max(time);
            self.threads.forget_frames(|_| true);
        } else {
            let table = &self.table;
            self.threads
                .forget_frames(|key| table.get(key).is_some_and(is_cut));
        }
        for task in self.table.iter_mut().filter(|task| is_cut(task)) {
            // A probe that was hit just before may have told so just after: what is open is cut at
            // both ends of the pause, at the moment where it began.
            let cut = if is_watched(&before, task) {
                time
            } else {
                before.time
            };
            if let Some(open) = task.open.take() {
                let end = cut.max(task.last_event);
                poll::cut(task, open, end, into);
                self.counts.polls += 1;
            }
            // What had it scheduled will have had its poll in the pause.
            task.scheduled_by = Pending::None;
            task.unwatched = !is_watched(watching, task);
            task.watched_from = None;
            if !task.unwatched {
                task.watched_from = Some(time);
                task.missed = true;
            } else if task.state == TaskState::Scheduled {
                task.state = TaskState::Unknown;
            }
        }
        if watching.polls {
            // A poll that began before was not lost.
            self.started = self.started.max(time);
        }
        self.counts.events += (into.len() - events) as u64;
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::PollEndCause;

    use super::super::Options;
    use super::*;
    use crate::rebuild::event::{EndSeen, EventKind, Outcome};

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

    #[test]
    fn only_the_polls_of_those_that_are_left_out_are_cut() {
        let names = [Some("app::hot".into()), Some("app::cool".into())];
        let mut tracker = Tracker::new(Options {
            probe_names: names.to_vec(),
            ..Options::default()
        });
        let mut events = Vec::new();
        let begin = |probe: u32, time: u64| Record {
            time,
            task: 0x7f00_0000_1000 + u64::from(probe) * 0x1000,
            task_id: 7 + u64::from(probe),
            state: 0xc5,
            stack_pointer: 0x7000 - u64::from(probe) * 0x100,
            probe,
            tid: 1 + probe,
            kind: RecordKind::PollBegin as u8,
            ..Record::default()
        };
        let end = |probe: u32, poll: u64, time: u64| Record {
            time,
            poll,
            state: 0xc4,
            kind: RecordKind::PollEnd as u8,
            ..begin(probe, time)
        };
        let ends = |events: &[Event], from: usize| -> Vec<(u64, Outcome)> {
            events[from..]
                .iter()
                .filter_map(|event| match &event.kind {
                    EventKind::PollEnd { outcome, .. } => Some((event.time, *outcome)),
                    _ => None,
                })
                .collect()
        };
        let wake = |time| Record {
            kind: RecordKind::WakeByReference as u8,
            state: 0xc8,
            tid: 9,
            ..begin(1, time)
        };
        tracker.apply(&begin(0, 100), &mut events);
        tracker.apply(&begin(1, 110), &mut events);
        let partly = Watching {
            wakes: false,
            left_out: vec!["app::hot".into()],
            ..Watching::everything(200)
        };
        tracker.watching(&partly, &mut events);
        assert_eq!(ends(&events, 0), [(200, Outcome::Unknown)]);

        // A probe of the one that is hit on its way out tells nothing; the other goes on as if nothing
        // was.
        let told = events.len();
        tracker.apply(&end(0, 100, 205), &mut events);
        tracker.apply(&begin(0, 210), &mut events);
        tracker.apply(&wake(215), &mut events);
        tracker.apply(&end(1, 110, 220), &mut events);
        assert_eq!(ends(&events, told), [(220, Outcome::Pending)]);
        assert_eq!(tracker.statistics().wakes, 0);
        let told = events.len();
        tracker.watching(&Watching::everything(300), &mut events);
        assert_eq!(ends(&events, told), []);
        assert_eq!(tracker.statistics().lost.len(), 0);
        // Its end is told when it does not matter any more.
        let told = events.len();
        tracker.apply(&end(0, 210, 310), &mut events);
        tracker.apply(&begin(0, 320), &mut events);
        tracker.apply(&wake(325), &mut events);
        tracker.apply(&end(0, 320, 330), &mut events);
        assert_eq!(ends(&events, told), [(330, Outcome::Pending)]);
        let gaps = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::Gap { .. }));
        assert_eq!(gaps.count(), 0);
        assert_eq!(tracker.statistics().wakes, 1);
    }

    #[test]
    fn a_thread_that_was_without_a_cpu_when_a_pause_began_had_none_until_then() {
        let mut tracker = Tracker::new(Options::default());
        let mut events = Vec::new();
        let begin = Record {
            time: 1_000,
            task: 0x7f00_0000_1000,
            task_id: 7,
            state: 0xc5,
            stack_pointer: 0x7000,
            tid: 1,
            kind: RecordKind::PollBegin as u8,
            ..Record::default()
        };
        let preempted = Record {
            time: 1_500,
            poll: 1_000,
            state: u64::MAX,
            aux: 1,
            kind: RecordKind::OffCpu as u8,
            ..begin
        };
        tracker.apply(&begin, &mut events);
        tracker.apply(&preempted, &mut events);
        let pause = Watching {
            polls: false,
            ..Watching::everything(12_000_000)
        };
        tracker.watching(&pause, &mut events);
        let told: Vec<u64> = events
            .iter()
            .filter(|event| {
                matches!(
                    event.kind,
                    EventKind::Blocked { .. } | EventKind::Unblocked | EventKind::PollEnd { .. }
                )
            })
            .map(|event| event.time)
            .collect();
        assert_eq!(told, [1_500, 12_000_000, 12_000_000]);
    }

    #[test]
    fn ends_that_nothing_tells_are_not_made_up() {
        let names = [Some("app::hot".into()), Some("app::cool".into())];
        let mut tracker = Tracker::new(Options {
            probe_names: names.to_vec(),
            ..Options::default()
        });
        let mut events = Vec::new();
        let poll = |begin: u64, end: u64| {
            let begin = Record {
                time: begin,
                task: 0x7f00_0000_1000,
                task_id: 8,
                state: 0xc5,
                stack_pointer: 0x7000,
                probe: 1,
                tid: 1,
                kind: RecordKind::PollBegin as u8,
                ..Record::default()
            };
            let end = Record {
                time: end,
                poll: begin.time,
                state: 0xc4,
                kind: RecordKind::PollEnd as u8,
                aux: PollEndCause::NextEvent as u8,
                ..begin
            };
            [begin, end]
        };
        let partly = Watching {
            left_out: vec!["app::hot".into()],
            ..Watching::everything(1_000)
        };
        tracker.watching(&partly, &mut events);
        // What came next came soon, and then long after: polls of the other type lay in between.
        let polls = [
            poll(2_000, 9_000),
            poll(1_000_000, 9_000_000),
            poll(10_000_000, 20_000_000),
            poll(21_000_000, 29_000_000),
        ];
        for (index, records) in polls.iter().enumerate() {
            tracker.apply(&records[0], &mut events);
            if index == 2 {
                // Who began it is not watched any more, but was: between, all polls came back.
                tracker.watching(&Watching::everything(15_000_000), &mut events);
            }
            tracker.apply(&records[1], &mut events);
        }
        let ends: Vec<(u64, EndSeen)> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::PollEnd { seen, .. } => Some((event.time, *seen)),
                _ => None,
            })
            .collect();
        assert_eq!(
            ends,
            [
                (9_000, EndSeen::NextEvent),
                (1_000_000, EndSeen::NotWatched),
                (10_000_000, EndSeen::NotWatched),
                (29_000_000, EndSeen::NextEvent),
            ]
        );
    }
}
