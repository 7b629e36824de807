//! Polls: begin, end, and the time off the CPU in between.

use super::builder::Builder;
use super::task::{Evidence, Off, OpenPoll, TaskState};
use super::{OffCpu, Poll, PollCause, PollIndex, UnitIndex, UnitKind, WakeIndex};
use crate::rebuild::event::{EndSeen, Event, EventId, Origin, Outcome, UnitId, WakeEffect};

/// Leaves that one poll refers to at most, and all polls together.
const MAX_LEAVES: usize = 256;
const MAX_ALL_LEAVES: usize = 12_000_000;

/// Whiles off the CPU that are kept with their time.
const MAX_OFF_CPU: usize = 3_000_000;

impl Builder {
    pub(super) fn poll_begin(&mut self, task: UnitIndex, thread: UnitId, event: &Event) {
        let thread = self.unit(thread, event.time);
        let Some(mut state) = self.take_state(task, event.time) else {
            return;
        };
        self.close_if_open(&mut state, event.time);
        self.stands_as_before(task, &mut state, event.time);
        let begin = state.clock.begin(event.time);
        let cause = event
            .cause
            .and_then(|cause| self.cause(task, &state, cause, begin.time));
        let before = state.woken_before.filter(|woken| {
            cause.is_none() && event.cause == Some(woken.event) && woken.time <= begin.time
        });
        let evidence = match (cause, before) {
            (_, Some(woken)) => self.evidence_of(task, woken.by, woken.origin),
            (None, None) if self.may_be_woken_unseen(&state) => Evidence::Unseen,
            (cause, None) => self.evidence(task, cause),
        };
        let waited_in = self.leaves_of(&state);
        let leaves = state.known.then_some(&waited_in[..]);
        self.count_wakers_of_next_poll(task, &mut state, leaves);
        let poll = Poll {
            task,
            event: event.id,
            thread,
            begin: begin.time,
            begin_known: true,
            end: None,
            seen: EndSeen::Inferred,
            outcome: Outcome::Unknown,
            blocked: 0,
            preempted: 0,
            cause,
            waited_in,
        };
        state.open_before = (!self.showing).then(|| Box::new(poll.clone()));
        let index = self.add_poll(poll);
        if let (Some(PollCause::Wake(wake)), Some(index)) = (cause, index)
            && let Some(wake) = self.history.wakes.get_mut(wake.0 as usize)
        {
            wake.poll = Some(index);
        }
        if let Some(thread) = thread
            && let Some(UnitKind::Thread { polls_tasks, .. }) = self.kind_mut(thread)
        {
            *polls_tasks = true;
        }
        state.polled(begin, evidence);
        state.open = Some(OpenPoll { index, off: None });
        let stood = state.known;
        state.last_poll = index.map(|index| (index, stood));
        self.give_state(task, state);
    }

    pub(super) fn poll_end(
        &mut self,
        task: UnitIndex,
        event: &Event,
        outcome: Outcome,
        seen: EndSeen,
        began: Option<u64>,
    ) {
        let Some(mut state) = self.take_state(task, event.time) else {
            return;
        };
        if state.open.is_none() {
            self.begin_missing(task, &mut state, event, began);
        }
        self.close(&mut state, event.time, outcome, seen);
        self.give_state(task, state);
    }

    /// A poll ends whose begin was not seen.
    fn begin_missing(
        &mut self,
        task: UnitIndex,
        state: &mut TaskState,
        event: &Event,
        began: Option<u64>,
    ) {
        state.gap(false);
        self.poll_was_not_seen(task, state);
        let begin = state
            .clock
            .begin(began.unwrap_or(event.time).min(event.time));
        let index = self.add_poll(Poll {
            task,
            event: event.id,
            thread: None,
            begin: begin.time,
            begin_known: began == Some(begin.time),
            end: None,
            seen: EndSeen::Inferred,
            outcome: Outcome::Unknown,
            blocked: 0,
            preempted: 0,
            cause: None,
            waited_in: Vec::new(),
        });
        state.polled(begin, Evidence::None);
        state.open = Some(OpenPoll { index, off: None });
    }

    /// Ends a poll that must have ended, as something shows that comes after it.
    pub(super) fn close_if_open(&mut self, state: &mut TaskState, time: u64) {
        if state.open.is_some() {
            self.close(state, time, Outcome::Unknown, EndSeen::Inferred);
        }
    }

    fn close(&mut self, state: &mut TaskState, time: u64, outcome: Outcome, seen: EndSeen) {
        let Some(mut open) = state.open.take() else {
            return;
        };
        let end = state.clock.end(time);
        state.last_end = Some(end.time);
        if let Some(since) = &mut state.since {
            since.end = Some(end);
        }
        self.back(&mut open, end.time);
        if let Some(poll) = self.poll_row(open) {
            poll.end = Some(end.time);
            poll.outcome = outcome;
            poll.seen = seen;
            if !poll.begin_known {
                poll.begin = end.time;
            }
        }
    }

    /// The trace ends.
    pub(super) fn poll_goes_on(&mut self, state: &mut TaskState, time: u64) {
        if let Some(open) = &mut state.open {
            self.back(open, time);
        }
    }

    pub(super) fn off_cpu(
        &mut self,
        task: UnitIndex,
        time: u64,
        preempted: bool,
        syscall: Option<u32>,
    ) {
        if let Some(mut state) = self.take_state(task, time) {
            let now = state.clock.at(time);
            if let Some(open) = &mut state.open {
                self.back(open, now.time);
                open.off = Some(Off {
                    since: now.time,
                    preempted,
                    syscall,
                });
                self.goes_on_at(open.index, now.time);
            }
            self.give_state(task, state);
        }
    }

    pub(super) fn on_cpu(&mut self, task: UnitIndex, time: u64) {
        if let Some(mut state) = self.take_state(task, time) {
            let now = state.clock.at(time);
            if let Some(open) = &mut state.open {
                self.back(open, now.time);
                self.goes_on_at(open.index, now.time);
            }
            self.give_state(task, state);
        }
    }

    /// Something happened inside the poll that goes on, which began with the event `cause`.
    pub(super) fn happened_inside(&mut self, unit: UnitIndex, cause: Option<EventId>, time: u64) {
        let open = self.known.get(unit.0 as usize);
        let open = open.and_then(|known| known.state.as_ref()?.open?.index);
        let row = open.and_then(|open| self.history.polls.get(open.0 as usize));
        if row.is_some_and(|row| row.begin_known && cause == Some(row.event)) {
            self.goes_on_at(open, time);
        }
    }

    fn goes_on_at(&mut self, poll: Option<PollIndex>, time: u64) {
        let known = poll.and_then(|poll| self.history.last_inside.get_mut(poll.0 as usize));
        if let Some(known) = known {
            *known = time.max(*known);
        }
    }

    /// Back on the CPU, if it was off.
    fn back(&mut self, open: &mut OpenPoll, time: u64) {
        let Some(Off {
            since,
            preempted,
            syscall,
        }) = open.off.take()
        else {
            return;
        };
        let length = time.saturating_sub(since);
        if let Some(poll) = self.poll_row(*open) {
            let off = if preempted {
                &mut poll.preempted
            } else {
                &mut poll.blocked
            };
            *off = off.saturating_add(length);
        }
        if let Some(poll) = open.index
            && length > 0
        {
            if self.history.off_cpu.len() < MAX_OFF_CPU {
                self.history.off_cpu.push(OffCpu {
                    poll,
                    from: since,
                    to: time,
                    preempted,
                    syscall,
                });
            } else {
                self.history.missing.beyond_limits += 1;
            }
        }
    }

    fn poll_row(&mut self, open: OpenPoll) -> Option<&mut Poll> {
        self.history.polls.get_mut(open.index?.0 as usize)
    }

    /// The polls that go on get their rows, as the history shows what happens from now on.
    pub(super) fn show_open_polls(&mut self) {
        let mut open = Vec::new();
        for known in &mut self.known {
            if let Some(state) = &mut known.state
                && let Some(poll) = state.open_before.take()
                && state.open.is_some()
            {
                open.push(poll);
            }
        }
        open.sort_by_key(|poll| poll.begin);
        for mut poll in open {
            let at = poll.task.0 as usize;
            let Some(mut state) = self.known.get_mut(at).and_then(|known| known.state.take())
            else {
                continue;
            };
            poll.waited_in = self.leaves_of(&state);
            let index = self.add_poll(*poll);
            if let Some(open) = &mut state.open {
                open.index = index;
            }
            state.last_poll = index.map(|index| (index, state.known));
            self.known[at].state = Some(state);
        }
    }

    fn add_poll(&mut self, poll: Poll) -> Option<PollIndex> {
        if !self.showing {
            return None;
        }
        if self.history.polls.len() >= self.limits.polls {
            self.history.missing.beyond_limits += 1;
            return None;
        }
        let index = PollIndex(u32::try_from(self.history.polls.len()).ok()?);
        if let Some(unit) = self.history.units.get_mut(poll.task.0 as usize) {
            unit.polls.push(index);
        }
        self.history.last_inside.push(poll.begin);
        self.history.polls.push(poll);
        Some(index)
    }

    pub(super) fn leaves_of(&mut self, state: &TaskState) -> Vec<super::AwaitIndex> {
        if !self.showing || !state.known {
            return Vec::new();
        }
        let room = MAX_LEAVES.min(MAX_ALL_LEAVES.saturating_sub(self.leaves));
        let rows = state.tree.leaves();
        let leaves: Vec<_> = rows
            .filter_map(|leaf| state.tree.nodes[leaf].row)
            .take(room)
            .collect();
        self.leaves += leaves.len();
        leaves
    }

    /// What had a task scheduled, as the begin of its poll refers to it.
    fn cause(
        &self,
        task: UnitIndex,
        state: &TaskState,
        cause: EventId,
        begin: u64,
    ) -> Option<PollCause> {
        let pending = state.pending.iter().rev();
        let mut found = pending.filter(|(event, _)| *event == cause);
        if let Some((_, wake)) = found.next() {
            let time = self.history.wakes.get(wake.0 as usize)?.time;
            return (time <= begin).then_some(PollCause::Wake(*wake));
        }
        let spawned = self.history.units.get(task.0 as usize)?.task()?.spawned?;
        (spawned.event == cause && spawned.time <= begin).then_some(PollCause::Spawn)
    }

    /// Whether wake-ups were not watched at some time since its last poll.
    fn may_be_woken_unseen(&self, state: &TaskState) -> bool {
        state
            .last_end
            .is_some_and(|end| end < self.watched.wakes_since)
    }

    /// What the cause of a poll tells about the leaf that was ready.
    fn evidence(&self, task: UnitIndex, cause: Option<PollCause>) -> Evidence {
        let Some(PollCause::Wake(WakeIndex(wake))) = cause else {
            return Evidence::None;
        };
        let Some(wake) = self.history.wakes.get(wake as usize) else {
            return Evidence::None;
        };
        match wake.effect {
            WakeEffect::Scheduled => self.evidence_of(task, wake.by.unit, wake.by.origin),
            _ => Evidence::None,
        }
    }

    /// What it tells that a task was scheduled by a unit, which `origin` may have moved.
    fn evidence_of(&self, task: UnitIndex, by: UnitIndex, origin: Option<UnitIndex>) -> Evidence {
        if by == task {
            return Evidence::None;
        }
        let kind = |unit: UnitIndex| {
            self.history
                .units
                .get(unit.0 as usize)
                .map(|unit| &unit.kind)
        };
        match origin.and_then(kind) {
            Some(UnitKind::Origin(Origin::Timer)) => Evidence::Timer,
            Some(UnitKind::Origin(Origin::Io { .. })) => Evidence::Io,
            Some(_) => Evidence::None,
            None => match kind(by) {
                Some(UnitKind::Task(_)) => Evidence::Other,
                Some(UnitKind::Thread { polls_tasks, .. }) if !polls_tasks => Evidence::Other,
                _ => Evidence::None,
            },
        }
    }
}
