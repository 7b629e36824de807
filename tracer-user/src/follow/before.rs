//! What was known of units before the events that are kept: so that a history of the last stretch of
//! a session knows every live task, where it stands, and the poll it is in. Pure.
//!
//! In: the events that are not kept any more, in order. Out: a few events for each unit that lives,
//! which say the same as far as it matters later. They take the places of the last ones that are not
//! kept, as a unit's events are numbered without holes; where polls are left out, a gap says so.

use std::collections::HashMap;
use std::sync::Arc;

use crate::rebuild::event::{EndSeen, Event, EventId, EventKind, Outcome, Unit, UnitId};
use crate::rebuild::suspension::{Marks, Suspension};
use crate::rebuild::watching::Watching;

/// Units that are remembered: some 100 MB.
const MAX_UNITS: usize = 300_000;
/// What a poll that goes on did, that is remembered at most.
const MAX_INSIDE: usize = 64;

/// What was known of units.
#[derive(Debug)]
pub struct Before {
    units: HashMap<UnitId, Known>,
    /// Units that were forgotten.
    forgotten: u64,
    limit: usize,
}

impl Default for Before {
    fn default() -> Self {
        Self {
            units: HashMap::new(),
            forgotten: 0,
            limit: MAX_UNITS,
        }
    }
}

/// What was known of a unit.
#[derive(Debug, Default)]
struct Known {
    /// Since when, and what it is.
    described: Option<(u64, Arc<Unit>)>,
    /// Who spawned it.
    spawned: Option<Event>,
    /// The last poll before it was told where it stands: it stands there since.
    made: Option<Poll>,
    /// When that was told, and where.
    stands: Option<(u64, Arc<Suspension>, Marks)>,
    /// The last poll since then.
    last: Option<Poll>,
    /// What happened in that poll, as long as it goes on.
    inside: Vec<Event>,
    /// It is off the CPU in that poll.
    blocked: Option<Box<Event>>,
    /// Sequence number of the event after the last that is not kept.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Poll {
    begin: Option<(u64, UnitId, Option<EventId>)>,
    end: Option<(u64, Outcome, EndSeen, Option<u64>)>,
}

impl Before {
    /// Takes an event that is not kept any more. Events come in the order of the trace.
    pub fn take(&mut self, event: &Event) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::Finished { .. } => {
                self.units.remove(&unit);
                return;
            }
            EventKind::PollEnd { outcome, .. } if outcome.is_over() => {
                self.units.remove(&unit);
                return;
            }
            EventKind::Spawned { task } if self.has_room_for(*task) => {
                self.units.entry(*task).or_default().spawned = Some(event.clone());
            }
            _ => {}
        }
        // Each begins with being described; what is told of one that is over is nothing to keep.
        let begins = matches!(event.kind, EventKind::Described(_)) && event.id.sequence == 0;
        if (begins && self.has_room_for(unit)) || self.units.contains_key(&unit) {
            self.units.entry(unit).or_default().take(event);
        }
    }

    /// From here on polls are not watched for a while, of all tasks or of those that are left out:
    /// where these stand is not known any more.
    pub fn pause(&mut self, watching: &Watching) {
        for known in self.units.values_mut() {
            let future = match known.described.as_ref().map(|(_, unit)| &**unit) {
                Some(Unit::Task(task)) => task.future.as_ref(),
                _ => None,
            };
            if !watching.polls || watching.leaves_out(future) {
                known.lose_sight();
            }
        }
    }

    fn has_room_for(&mut self, unit: UnitId) -> bool {
        if self.units.len() < self.limit || self.units.contains_key(&unit) {
            return true;
        }
        // Every connection of its life is a unit of its own: tasks and threads matter more.
        let all = self.units.len();
        self.units.retain(|_, known| !known.is_origin());
        self.forgotten += (all - self.units.len()) as u64;
        let room = self.units.len() < self.limit;
        self.forgotten += u64::from(!room);
        room
    }

    /// Events that say it, those of one unit in order and together. All are from before whatever
    /// is kept.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut spawns: HashMap<UnitId, Vec<&Event>> = HashMap::new();
        for spawn in self
            .units
            .values()
            .filter_map(|known| known.spawned.as_ref())
        {
            spawns.entry(spawn.id.unit).or_default().push(spawn);
        }
        for of_unit in spawns.values_mut() {
            of_unit.sort_by_key(|event| event.id.sequence);
        }
        let mut units: Vec<(&UnitId, &Known)> = self.units.iter().collect();
        units.sort_by_key(|(unit, _)| **unit);
        let mut events = Vec::new();
        for (unit, known) in units {
            let spawns = spawns.get(unit).map_or(&[][..], Vec::as_slice);
            known.tell(*unit, spawns, &mut events);
        }
        events
    }

    /// Units of which something is known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Units that were forgotten because there were too many.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

impl Known {
    fn is_origin(&self) -> bool {
        let described = self.described.as_ref();
        described.is_some_and(|(_, unit)| matches!(**unit, Unit::Origin(_)))
    }

    fn take(&mut self, event: &Event) {
        self.next = event.id.sequence.saturating_add(1);
        let time = event.time;
        match &event.kind {
            EventKind::Described(unit) => {
                let since = self.described.as_ref().map_or(time, |(since, _)| *since);
                self.described = Some((since, Arc::clone(unit)));
            }
            EventKind::AwaitChanged { suspension, marks } => {
                self.made = self.last.take();
                self.stands = Some((time, Arc::clone(suspension), *marks));
                self.leave_poll();
            }
            EventKind::PollBegin { thread } => {
                self.leave_poll();
                // It stood where it stood before, and may have come round to it (a loop that
                // receives): since the last poll is what can be said.
                if let Some((told, ..)) = &mut self.stands
                    && let Some(last) = self.last.take()
                {
                    *told = time;
                    self.made = Some(Poll {
                        // Its end tells when it began. With the begin left out there is a place
                        // for the gap that says that it may not have made what stands there.
                        begin: None,
                        ..last
                    });
                }
                self.last = Some(Poll {
                    begin: Some((time, *thread, event.cause)),
                    end: None,
                });
            }
            EventKind::PollEnd {
                outcome,
                seen,
                began,
            } => {
                self.leave_poll();
                let begin = self.last.filter(|poll| poll.end.is_none());
                self.last = Some(Poll {
                    begin: begin.and_then(|poll| poll.begin),
                    end: Some((time, *outcome, *seen, *began)),
                });
            }
            EventKind::Gap { .. } if self.is_polled() => {
                // The poll may still go on; where it stands after that is not known.
                (self.made, self.stands) = (None, None);
                self.happened_inside(event);
            }
            EventKind::Gap { .. } => self.lose_sight(),
            kind => {
                match kind {
                    EventKind::Blocked { .. } => self.blocked = Some(Box::new(event.clone())),
                    EventKind::Unblocked => self.blocked = None,
                    _ => {}
                }
                if self.is_polled() {
                    self.happened_inside(event);
                }
            }
        }
    }

    /// Something is missing here: where it stands is not known any more.
    fn lose_sight(&mut self) {
        (self.made, self.stands, self.last) = (None, None, None);
        self.leave_poll();
    }

    fn is_polled(&self) -> bool {
        self.last.is_some_and(|poll| poll.end.is_none())
    }

    fn happened_inside(&mut self, event: &Event) {
        // One more tells that there were too many.
        if self.inside.len() <= MAX_INSIDE {
            self.inside.push(event.clone());
        }
    }

    fn leave_poll(&mut self) {
        // Its memory too: most units are idle.
        self.inside = Vec::new();
        self.blocked = None;
    }

    /// `spawns`: what it spawned that lives.
    fn tell(&self, unit: UnitId, spawns: &[&Event], into: &mut Vec<Event>) {
        let at = into.len();
        let tell = |time, kind, cause| Event {
            id: EventId { unit, sequence: 0 },
            time,
            kind,
            cause,
        };
        let Some((since, described)) = &self.described else {
            return;
        };
        into.push(tell(
            *since,
            EventKind::Described(Arc::clone(described)),
            None,
        ));
        let inside: &[Event] = if self.inside.len() > MAX_INSIDE {
            &[]
        } else {
            &self.inside
        };
        // What it spawned in the poll that goes on is told there.
        let first_inside = inside.first().map_or(u64::MAX, |event| event.id.sequence);
        let spawns = spawns
            .iter()
            .filter(|event| event.id.sequence < first_inside);
        let spawns: Vec<Event> = spawns.map(|event| Event::clone(event)).collect();
        let mut later = Vec::new();
        let poll = |poll: &Poll, inside: &[Event], later: &mut Vec<Event>| {
            if let Some((time, thread, cause)) = poll.begin {
                later.push(tell(time, EventKind::PollBegin { thread }, cause));
            }
            later.extend_from_slice(inside);
            if let Some((time, outcome, seen, began)) = poll.end {
                let kind = EventKind::PollEnd {
                    outcome,
                    seen,
                    began,
                };
                later.push(tell(time, kind, None));
            }
        };
        if let Some(made) = &self.made {
            poll(made, &[], &mut later);
        }
        if let Some((time, suspension, marks)) = &self.stands {
            let suspension = Arc::clone(suspension);
            let kind = EventKind::AwaitChanged {
                suspension,
                marks: *marks,
            };
            later.push(tell(*time, kind, None));
        }
        if let Some(last) = &self.last {
            poll(last, inside, &mut later);
            if inside.is_empty()
                && let Some(blocked) = &self.blocked
            {
                later.push(Event::clone(blocked));
            }
        }
        // A unit's times never go back.
        let told = (into.len() - at + spawns.len() + later.len()) as u64;
        let left_out = self.next.saturating_sub(told);
        if left_out > 0 {
            let first = later.iter().chain(&spawns).map(|event| event.time).min();
            let time = first.unwrap_or(*since).max(*since);
            into.push(tell(time, EventKind::Gap { lost: left_out }, None));
        }
        let rest = into.len();
        into.extend(spawns);
        into.extend(later);
        into[rest..].sort_by_key(|event| event.time);
        let count = (into.len() - at) as u64;
        let first = self.next.saturating_sub(count);
        for (event, sequence) in into[at..].iter_mut().zip(first..) {
            event.id.sequence = sequence;
        }
    }
}

#[cfg(test)]
#[path = "before_tests.rs"]
mod tests;
