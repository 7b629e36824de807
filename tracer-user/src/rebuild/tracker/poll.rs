//! Polls: begin, end, and the time off the CPU in between.

use std::sync::Arc;

use tracer_common::walk::marks_of;
use tracer_common::{PollEndCause, Record, RecordKind, WalkResult};

use super::Tracker;
use super::task::{OpenPoll, Pending, Task, TaskKey};
use super::thread::Frame;
use crate::rebuild::event::{EndSeen, Event, EventKind, Outcome};
use crate::rebuild::snapshot::TaskState;
use crate::rebuild::suspension::{Marks, Suspension};

/// While not all polls are watched, an end that is noticed so soon after the begin is as good as any
/// other, nanoseconds.
const SOON_NS: u64 = 20_000;

/// Ends the poll that was open: accounts for it and appends its end.
pub(super) fn close(
    task: &mut Task,
    open: OpenPoll,
    time: u64,
    outcome: Outcome,
    seen: EndSeen,
    into: &mut Vec<Event>,
) {
    // A thread that does not run ends no poll: it has come back, or has ended itself.
    let back = open
        .off_since
        .map(|since| unseen_return(since, open.off_preempted, task.last_event, time));
    close_with(task, open, (back, time), (outcome, seen), into);
}

/// Cuts the poll that was open: nobody looks from now on. A thread without a CPU had none until then.
pub(super) fn cut(task: &mut Task, open: OpenPoll, time: u64, into: &mut Vec<Event>) {
    let how = (Outcome::Unknown, EndSeen::Inferred);
    close_with(task, open, (Some(time), time), how, into);
}

fn close_with(
    task: &mut Task,
    open: OpenPoll,
    (back, time): (Option<u64>, u64),
    (outcome, seen): (Outcome, EndSeen),
    into: &mut Vec<Event>,
) {
    let mut off = open.off_total;
    if let (Some(since), Some(back)) = (open.off_since, back) {
        off += back.saturating_sub(since);
        task.emit(back, EventKind::Unblocked, None, into);
    }
    account(task, open.began, time, off);
    task.closed = Some((open.tid, open.began));
    end(task, time, outcome, seen, Some(open.began), into);
}

fn account(task: &mut Task, began: u64, time: u64, off: u64) {
    let length = time.saturating_sub(began);
    task.busy = task.busy.saturating_add(length);
    task.off_cpu = task.off_cpu.saturating_add(off.min(length));
    task.longest_poll = task.longest_poll.max(length);
}

fn end(
    task: &mut Task,
    time: u64,
    outcome: Outcome,
    seen: EndSeen,
    began: Option<u64>,
    into: &mut Vec<Event>,
) {
    task.polls += 1;
    task.last_polled = task.last_polled.max(time);
    task.polled_since = None;
    task.state = match (outcome, task.scheduled_by) {
        (Outcome::Pending, Pending::None) => TaskState::Idle,
        (Outcome::Pending, _) => TaskState::Scheduled,
        _ => TaskState::Unknown,
    };
    let kind = EventKind::PollEnd {
        outcome,
        seen,
        // A record that came too late, or a begin that is none: no poll ends before it has begun.
        began: began.filter(|began| *began <= time),
    };
    task.emit(time, kind, None, into);
}

fn seen_by(cause: u8) -> EndSeen {
    match PollEndCause::from_u8(cause) {
        Some(PollEndCause::NextEvent) => EndSeen::NextEvent,
        Some(PollEndCause::LeftCpu) => EndSeen::LeftCpu,
        Some(PollEndCause::ExitProbe) => EndSeen::ExitProbe,
        Some(PollEndCause::ThreadExit) => EndSeen::ThreadExit,
        None => EndSeen::Inferred,
    }
}

impl Tracker {
    pub(super) fn poll_begin(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        let key = TaskKey::of(record.task, record.task_id);
        let name = self.probe_name(record.probe);
        self.live_task(key, record.time, name.as_ref(), into)?;

        let thread = self.threads.get_mut(record.tid)?;
        let thread_unit = thread.unit;
        let ended = thread.enter(Frame {
            key,
            began: record.time,
            stack_pointer: record.stack_pointer,
        });
        for frame in ended {
            self.end_unseen(&frame, record, into);
        }

        let cancelled = self.word.is_cancelled(record.state);
        let clean_since = self.clean_since;
        let stood = self.stood(record);
        let task = self.table.get_mut(&key)?;
        if let Some(open) = task.open.take() {
            // One thread at a time polls a task, so the poll before has ended and the task was not
            // over. On another thread its end is often only noticed later; here it was lost.
            if open.tid == record.tid {
                task.gap(record.time, 1, into);
            }
            close(
                task,
                open,
                record.time,
                Outcome::Pending,
                EndSeen::Inferred,
                into,
            );
            self.counts.polls += 1;
        }
        if let Some((suspension, marks)) = stood {
            task.stands_at(&suspension, marks, false, record.time, into);
        }
        task.last_polled = record.time;
        task.watched_from = None;
        let cause = match task.scheduled_by {
            Pending::By(event, time) if time > clean_since && time <= record.time => Some(event),
            _ => None,
        };
        let kind = EventKind::PollBegin {
            thread: thread_unit,
        };
        let event = task.emit(record.time, kind, cause, into);
        task.open = Some(OpenPoll {
            event,
            tid: record.tid,
            began: record.time,
            cancelled,
            off_since: None,
            off_preempted: false,
            off_total: 0,
        });
        task.began = Some(record.time);
        task.polled_since = Some(record.time);
        task.scheduled_by = Pending::None;
        task.state = TaskState::Running;
        Some(())
    }

    /// Where the task stood until this poll; `None` when the session does not tell such things.
    pub(super) fn stood(&self, record: &Record) -> Option<(Arc<Suspension>, Marks)> {
        let reason = match WalkResult::from_u8(record.aux)? {
            WalkResult::NoTables => return None,
            WalkResult::Walked if record.path == 0 => return None,
            WalkResult::Walked => match self.trees.get(record.path) {
                Some(suspension) => {
                    return Some((Arc::clone(suspension), Marks(marks_of(record.marks))));
                }
                None => "the record that told it was lost",
            },
            WalkResult::NotDescribed => "its future is not described in the debug information",
            WalkResult::NoFuture => "its future was gone already",
            WalkResult::NoMemory | WalkResult::Disturbed => {
                "more threads polled at once than can be followed"
            }
        };
        Some((Arc::new(Suspension::unknown(reason)), Marks::default()))
    }

    pub(super) fn poll_end(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        let key = TaskKey::of(record.task, record.task_id);
        let (left, inner) = self.threads.get_mut(record.tid)?.leave(&key);
        for frame in inner {
            self.end_unseen(&frame, record, into);
        }
        let poll = match (record.poll, left) {
            (0, Some(frame)) if frame.began > self.clean_since => frame.began,
            (poll, _) => poll,
        };
        // Ends that are noticed late, when what came after has shown already that the poll, or the
        // task, was over.
        let stale = match self.table.get(&key) {
            Some(task) => {
                task.closed == Some((record.tid, poll))
                    || (poll != 0 && task.began > Some(poll))
                    || (task.is_over() && key.id.is_some())
            }
            None => self.table.other_occupant(&key) > Some(key),
        };
        if stale {
            return Some(());
        }
        let name = self.probe_name(record.probe);
        self.live_task(key, record.time, name.as_ref(), into)?;

        let word = self.word;
        let (clean_since, started) = (self.clean_since, self.started);
        let sees_panics = self.sees_panics;
        let seen = seen_by(record.aux);
        let all_polls_since = self.all_polls_since;
        let task = self.table.get_mut(&key)?;
        let outcome;
        if task.open.is_none() && poll != 0 && poll < all_polls_since {
            // It was left out when it began: nothing says how long ago it ended.
            let outcome = word.outcome(record.state, false);
            if outcome.is_over() {
                self.finish(&key, record.time, outcome, into);
            }
            return Some(());
        }
        if let Some(open) = task.poll_of(record.tid, poll, clean_since).copied() {
            outcome = match word.outcome(record.state, open.cancelled) {
                Outcome::Over if task.panicked == Some(open.began) => Outcome::Panicked,
                // With every panic seen and nothing lost, what ended without one returned.
                Outcome::Over if sees_panics && open.began > clean_since => Outcome::Ready,
                outcome => outcome,
            };
            task.open = None;
            let late = record.time.saturating_sub(open.began) > SOON_NS;
            if open.began < all_polls_since && late && !seen.is_exact() {
                // Others may have been polled since it ended, unseen.
                let end = task.last_event.max(open.began);
                close(task, open, end, outcome, EndSeen::NotWatched, into);
            } else {
                close(task, open, record.time, outcome, seen, into);
            }
        } else {
            match task.open {
                // Without the poll's name, an end on another thread may be that of an older poll.
                Some(open) if poll == 0 && open.tid != record.tid => {
                    self.counts.unmatched += 1;
                    return Some(());
                }
                Some(open) => {
                    task.gap(record.time, 1, into);
                    task.open = None;
                    close(
                        task,
                        open,
                        record.time,
                        Outcome::Unknown,
                        EndSeen::Inferred,
                        into,
                    );
                    self.counts.polls += 1;
                }
                None => {}
            }
            outcome = word.outcome(record.state, false);
            tell_lost_begin(task, record, started, into);
            let began = (poll != 0).then_some(poll);
            if let Some(began) = began {
                account(task, began, record.time, 0);
            }
            task.closed = Some((record.tid, poll));
            end(task, record.time, outcome, seen, began, into);
        }
        self.counts.polls += 1;
        if outcome.is_over() {
            self.finish(&key, record.time, outcome, into);
        }
        Some(())
    }

    pub(super) fn on_off_cpu(
        &mut self,
        kind: RecordKind,
        record: &Record,
        into: &mut Vec<Event>,
    ) -> Option<()> {
        let key = TaskKey::of(record.task, record.task_id);
        let clean_since = self.clean_since;
        let matched = self.table.get(&key).filter(|task| {
            task.poll_of(record.tid, record.poll, clean_since).is_some() && !task.is_over()
        });
        if matched.is_none() {
            self.counts.unmatched += 1;
            return Some(());
        }
        let task = self.table.get_mut(&key)?;
        if record.time < task.last_event {
            return None;
        }
        let mut open = task.open.take()?;
        let off = kind == RecordKind::OffCpu;
        match open.off_since {
            Some(since) if off => {
                let back = unseen_return(since, open.off_preempted, task.last_event, record.time);
                self.counts.unmatched += 1;
                open.off_total += back.saturating_sub(since);
                task.emit(back, EventKind::Unblocked, None, into);
            }
            None if !off => task.gap(record.time, 1, into),
            _ => {}
        }
        if off {
            let preempted = record.aux == 1;
            let syscall = u32::try_from(record.state).ok();
            let kind = EventKind::Blocked { preempted, syscall };
            task.emit(record.time, kind, None, into);
            open.off_since = Some(record.time);
            open.off_preempted = preempted;
        } else {
            if let Some(since) = open.off_since.take() {
                open.off_total += record.time.saturating_sub(since);
            }
            task.emit(record.time, EventKind::Unblocked, None, into);
        }
        task.open = Some(open);
        Some(())
    }

    /// A poll that has ended, as the stack shows, while no record said so: that record was lost.
    fn end_unseen(&mut self, frame: &Frame, record: &Record, into: &mut Vec<Event>) {
        let Some(task) = self.table.get_mut(&frame.key) else {
            return;
        };
        if let Some(open) = task.open
            && (open.tid, open.began) == (record.tid, frame.began)
            && record.time >= task.last_event
        {
            task.open = None;
            task.gap(record.time, 1, into);
            close(
                task,
                open,
                record.time,
                Outcome::Unknown,
                EndSeen::Inferred,
                into,
            );
            self.counts.polls += 1;
        }
    }
}

/// When a thread that left its CPU twice came back in between. Linux does not tell it where it comes
/// after a thread whose own leaving is not traced (seen with those of a virtual machine's first
/// process on 6.18). One that could have gone on running is taken to have come back at once, one that
/// slept to have slept until it left again.
fn unseen_return(left: u64, preempted: bool, last_event: u64, left_again: u64) -> u64 {
    if preempted {
        left.max(last_event).min(left_again)
    } else {
        left_again
    }
}

/// Says, once a poll, that its begin is missing: unless it began before the probes were there.
pub(super) fn tell_lost_begin(
    task: &mut Task,
    record: &Record,
    started: u64,
    into: &mut Vec<Event>,
) {
    let missing = match record.poll {
        0 => task.began.is_some() && task.open.is_none(),
        began => began >= started && task.gap_told_for != began,
    };
    if missing {
        task.gap_told_for = record.poll;
        task.gap(record.time, 1, into);
    }
}
