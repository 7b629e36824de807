//! Events -> the columns of a packet.
//!
//! A packet needs no state but the tables to be read: it lists its units and the sequence
//! numbers that they begin with, and everything else counts from there. Units are listed by how
//! often they occur, so that the indexes of the busy ones take one byte.

use foldhash::{HashMap, HashMapExt as _};

use super::awaits::Told;
use super::kinds::{
    BEGAN_HERE, BEGAN_TOLD, CAUSE_ELSEWHERE, CAUSE_HERE, PANIC_FIXED, SEEN_SHIFT, effect_number,
    outcome_number, seen_number, zigzag,
};
use super::strings;
use super::suspensions::addresses;
use super::tables::Interner;
use crate::proto::{self, Kind};
use crate::rebuild::event::{Event, EventId, EventKind, Origin, Unit, UnitId};

/// A unit's place in the packet.
#[derive(Clone, Copy)]
struct Place {
    index: u32,
    base: u64,
}

struct Columns<'a> {
    places: HashMap<UnitId, Place>,
    polled_since: Vec<Option<u64>>,
    awaits: Told,
    tables: &'a mut Interner,
    packet: proto::Events,
}

/// Encodes events. In each unit their sequence numbers must follow each other without holes.
pub(super) fn events(events: &[Event], tables: &mut Interner) -> proto::Events {
    let places = places(events);
    let mut units = vec![(0, 0); places.len()];
    for (unit, place) in &places {
        units[place.index as usize] = (unit.0, place.base);
    }
    let time = events.first().map_or(0, |event| event.time);
    let mut columns = Columns {
        polled_since: vec![None; units.len()],
        awaits: Told::default(),
        places,
        tables,
        packet: proto::Events {
            time,
            units: units.iter().map(|(unit, _)| *unit).collect(),
            sequences: units.iter().map(|(_, base)| *base).collect(),
            kinds: Vec::with_capacity(events.len()),
            owners: Vec::with_capacity(events.len()),
            times: Vec::with_capacity(events.len()),
            ..proto::Events::default()
        },
    };
    let mut before = time;
    for event in events {
        let step = event.time.wrapping_sub(before).cast_signed();
        before = event.time;
        columns.packet.times.push(step);
        columns.event(event);
    }
    if columns.packet.syscalls.iter().all(|number| *number == 0) {
        columns.packet.syscalls.clear();
    }
    columns.packet
}

/// Where each unit that occurs stands in the packet.
fn places(events: &[Event]) -> HashMap<UnitId, Place> {
    #[derive(Default)]
    struct Mentions {
        count: u32,
        first_event: Option<u64>,
        first_cause: Option<u64>,
    }
    let mut mentions: HashMap<UnitId, Mentions> = HashMap::new();
    for event in events {
        let owner = mentions.entry(event.id.unit).or_default();
        owner.count += 1;
        owner.first_event.get_or_insert(event.id.sequence);
        if let Some(target) = event.kind.target() {
            mentions.entry(target).or_default().count += 1;
        }
        if let Some(cause) = event.cause {
            let unit = mentions.entry(cause.unit).or_default();
            unit.count += 1;
            unit.first_cause.get_or_insert(cause.sequence);
        }
    }
    let mut order: Vec<(UnitId, Mentions)> = mentions.into_iter().collect();
    order.sort_unstable_by_key(|(unit, mentions)| (std::cmp::Reverse(mentions.count), *unit));
    (0..)
        .zip(order)
        .map(|(index, (unit, mentions))| {
            let base = mentions.first_event.or(mentions.first_cause).unwrap_or(0);
            (unit, Place { index, base })
        })
        .collect()
}

impl Columns<'_> {
    fn event(&mut self, event: &Event) {
        let owner = self.index(event.id.unit);
        self.packet.owners.push(owner);
        let kind = self.kind(event, owner);
        let cause = event.cause.map_or(0, |cause| self.cause(event.id, cause));
        self.packet.kinds.push(kind as u8 | cause);
    }

    /// Every unit of these events has a place.
    fn index(&self, unit: UnitId) -> u32 {
        self.places.get(&unit).map_or(0, |place| place.index)
    }

    fn argument(&mut self, value: u64) {
        self.packet.arguments.push(value);
    }

    fn target(&mut self, unit: UnitId) {
        let index = self.index(unit);
        self.argument(index.into());
    }

    fn number(&mut self, value: i32) {
        self.argument(u64::from(value.unsigned_abs()));
    }

    fn kind(&mut self, event: &Event, owner: u32) -> Kind {
        match &event.kind {
            EventKind::Described(unit) => {
                let unit = unit_message(unit, &mut self.tables.strings);
                self.packet.descriptions.push(unit);
                Kind::Described
            }
            EventKind::Spawned { task } => {
                self.target(*task);
                Kind::Spawned
            }
            EventKind::PollBegin { thread } => {
                self.target(*thread);
                if let Some(since) = self.polled_since.get_mut(owner as usize) {
                    *since = Some(event.time);
                }
                Kind::PollBegin
            }
            EventKind::PollEnd {
                outcome,
                seen,
                began,
            } => {
                let since = self.polled_since.get(owner as usize).copied().flatten();
                let told = match began {
                    // What ends before it begins cannot be told, and would cost the whole packet.
                    Some(began) if *began > event.time => 0,
                    None => 0,
                    Some(_) if *began == since => BEGAN_HERE,
                    Some(_) => BEGAN_TOLD,
                };
                let outcome = u64::from(outcome_number(*outcome).unsigned_abs());
                let seen = u64::from(seen_number(*seen).unsigned_abs());
                self.argument(outcome | told | seen << SEEN_SHIFT);
                if told == BEGAN_TOLD {
                    self.argument(event.time.wrapping_sub(began.unwrap_or(0)));
                }
                Kind::PollEnd
            }
            EventKind::AwaitChanged { suspension, marks } => {
                let proto::Events {
                    arguments,
                    marks: values,
                    ..
                } = &mut self.packet;
                self.awaits
                    .encode(owner, suspension, marks, self.tables, arguments, values);
                Kind::AwaitChanged
            }
            EventKind::Wake {
                task,
                by_value,
                effect,
            } => {
                self.target(*task);
                self.number(effect_number(*effect));
                if *by_value {
                    Kind::WakeByValue
                } else {
                    Kind::WakeByReference
                }
            }
            EventKind::WakerCloned { task } => {
                self.target(*task);
                Kind::WakerCloned
            }
            EventKind::WakerDropped { task } => {
                self.target(*task);
                Kind::WakerDropped
            }
            EventKind::Blocked { preempted, syscall } => {
                let number = syscall.and_then(|number| number.checked_add(1));
                self.packet.syscalls.push(number.unwrap_or(0));
                if *preempted {
                    Kind::Preempted
                } else {
                    Kind::Blocked
                }
            }
            EventKind::Unblocked => Kind::Unblocked,
            EventKind::Aborted { task } => {
                self.target(*task);
                Kind::Aborted
            }
            EventKind::Fired => Kind::Fired,
            EventKind::Finished { outcome } => {
                self.number(outcome_number(*outcome));
                Kind::Finished
            }
            EventKind::Gap { lost } => {
                self.argument(*lost);
                Kind::Gap
            }
            EventKind::PanicBegan {
                location,
                suspension,
                marks,
            } => {
                let place = location.as_deref();
                let file = self.tables.strings.id(place.map(|place| &place.file));
                let id = self.tables.suspension(suspension);
                let outside: Vec<u64> = addresses(suspension).collect();
                self.argument((PANIC_FIXED + outside.len()) as u64);
                self.argument(file.into());
                self.argument(place.map_or(0, |place| place.line).into());
                self.argument(place.map_or(0, |place| place.column).into());
                self.argument(id.into());
                let halves = u128::from_le_bytes(marks.0);
                self.argument((halves & u128::from(u64::MAX)) as u64);
                self.argument((halves >> 64) as u64);
                self.packet.arguments.extend(outside);
                Kind::PanicBegan
            }
            EventKind::PanicRaised { message } => {
                let message = self.tables.strings.id(message.as_ref());
                self.argument(1);
                self.argument(message.into());
                Kind::PanicRaised
            }
            EventKind::FuturePoll {
                future,
                name,
                depth,
            } => {
                let name = self.tables.strings.id(name.as_ref());
                self.argument(future.0);
                self.argument(name.into());
                self.argument((*depth).into());
                Kind::FuturePoll
            }
        }
    }

    fn cause(&mut self, event: EventId, cause: EventId) -> u8 {
        if cause.unit == event.unit && cause.sequence < event.sequence {
            self.packet.causes.push(event.sequence - cause.sequence);
            return CAUSE_HERE;
        }
        let Some(place) = self.places.get(&cause.unit).copied() else {
            return 0;
        };
        let distance = cause.sequence.wrapping_sub(place.base).cast_signed();
        self.packet.causes.push(place.index.into());
        self.packet.causes.push(zigzag(distance));
        CAUSE_ELSEWHERE
    }
}

/// The units that an event mentions.
pub(super) fn mentioned(event: &Event) -> impl Iterator<Item = UnitId> + use<> {
    let cause = event.cause.map(|cause| cause.unit);
    [Some(event.id.unit), event.kind.target(), cause]
        .into_iter()
        .flatten()
}

/// What a unit is.
pub(super) fn unit_message(unit: &Unit, strings: &mut strings::Interner) -> proto::Unit {
    let unit = match unit {
        Unit::Task(task) => proto::unit::Unit::Task(proto::Task {
            runtime: strings.id(Some(&task.runtime)),
            address: task.address.0,
            task_id: task.task_id,
            generation: task.generation,
            future: strings.id(task.future.as_ref()),
            existing: task.existing,
        }),
        Unit::Thread(thread) => proto::unit::Unit::Thread(proto::Thread {
            tid: thread.tid,
            name: strings.id(thread.name.as_ref()),
        }),
        Unit::Origin(origin) => proto::unit::Unit::Origin(origin_message(*origin)),
    };
    proto::Unit { unit: Some(unit) }
}

fn origin_message(origin: Origin) -> proto::Origin {
    let (kind, resource, fd) = match origin {
        Origin::Io { resource, fd } => (proto::OriginKind::Io, resource, fd),
        Origin::Timer => (proto::OriginKind::Timer, None, None),
        Origin::Signal => (proto::OriginKind::Signal, None, None),
    };
    proto::Origin {
        kind: kind as i32,
        resource: resource.map_or(0, |address| address.0),
        fd,
    }
}
