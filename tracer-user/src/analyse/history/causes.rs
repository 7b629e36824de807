//! Wake-ups, and who did what in the middle of what.

use super::builder::Builder;
use super::task::WokenBefore;
use super::{Doer, PollIndex, UnitIndex, UnitKind, Wake, WakeIndex};
use crate::rebuild::event::{Event, EventId, UnitId, WakeEffect};

impl Builder {
    pub(super) fn wake(&mut self, by: UnitIndex, task: UnitId, effect: WakeEffect, event: &Event) {
        let doer = self.doer(by, event.cause);
        if !self.showing {
            self.woken_before(doer, task, effect, event);
            return;
        }
        let row = self.unit(task, event.time).and_then(|task| {
            if self.history.wakes.len() >= self.limits.wakes {
                return None;
            }
            Some((task, u32::try_from(self.history.wakes.len()).ok()?))
        });
        let Some((task, index)) = row else {
            self.history.missing.beyond_limits += 1;
            return;
        };
        let index = WakeIndex(index);
        self.history.wakes.push(Wake {
            time: event.time,
            event: event.id,
            task,
            by: doer,
            effect,
            poll: None,
        });
        if let Some(unit) = self.history.units.get_mut(task.0 as usize) {
            unit.woken.push(index);
        }
        if matches!(
            effect,
            WakeEffect::Scheduled | WakeEffect::PollAgain | WakeEffect::Unknown
        ) && let Some(mut state) = self.take_state(task, event.time)
        {
            state.woken(event.id, index);
            self.give_state(task, state);
        }
    }

    /// A wake-up before what the history shows has no row; what it says of the poll that it causes
    /// is needed all the same.
    fn woken_before(&mut self, by: Doer, task: UnitId, effect: WakeEffect, event: &Event) {
        // None is made: what is told of a task from before a kept stretch may come after this.
        let task = self.index.get(&task).copied();
        let known = task.and_then(|task| self.known.get_mut(task.0 as usize));
        let state = known.and_then(|known| known.state.as_mut());
        if let Some(state) = state.filter(|_| effect == WakeEffect::Scheduled) {
            state.woken_before = Some(WokenBefore {
                event: event.id,
                time: event.time,
                by: by.unit,
                origin: by.origin,
            });
        }
    }

    /// Who did something, by the event that it refers to.
    pub(super) fn doer(&self, unit: UnitIndex, cause: Option<EventId>) -> Doer {
        let mut doer = Doer {
            unit,
            poll: None,
            within: None,
            origin: None,
        };
        if self.is_origin(unit) {
            doer.origin = Some(unit);
        }
        let Some(cause) = cause else {
            return doer;
        };
        let Some(at) = self.index.get(&cause.unit).copied() else {
            return doer;
        };
        if self.is_origin(at) {
            doer.origin = Some(at);
        } else if at == unit {
            doer.poll = self.poll_of(unit, cause.sequence);
            doer.within = doer.poll.and_then(|poll| self.running(unit, poll));
        }
        doer
    }

    fn is_origin(&self, unit: UnitIndex) -> bool {
        let unit = self.history.units.get(unit.0 as usize);
        unit.is_some_and(|unit| matches!(unit.kind, UnitKind::Origin(_)))
    }

    /// The poll of a unit that began with its event of this number.
    fn poll_of(&self, unit: UnitIndex, sequence: u64) -> Option<PollIndex> {
        let polls = &self.history.units.get(unit.0 as usize)?.polls;
        let of = |poll: &PollIndex| self.history.polls[poll.0 as usize].event.sequence;
        let at = match polls.last() {
            Some(last) if of(last) == sequence => return Some(*last),
            _ => polls.binary_search_by_key(&sequence, of).ok()?,
        };
        polls.get(at).copied()
    }

    /// The innermost instance that is known to be going on in a poll, if that goes on.
    fn running(&self, unit: UnitIndex, poll: PollIndex) -> Option<super::AwaitIndex> {
        let state = self.known.get(unit.0 as usize)?.state.as_ref()?;
        let goes_on = state.known && state.open.is_some_and(|open| open.index == Some(poll));
        let body = goes_on.then(|| state.tree.running_body()).flatten()?;
        state.tree.nodes[body].row
    }
}
