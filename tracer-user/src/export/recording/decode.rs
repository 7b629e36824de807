//! The columns of a packet -> events. The columns are hostile input: every index and every count is
//! checked, and a packet that does not hold together is refused as a whole.

use std::sync::Arc;

use super::awaits::Told;
use super::kinds::{
    BEGAN_HERE, BEGAN_TOLD, CAUSE_ELSEWHERE, CAUSE_HERE, FIRST_ADDED_KIND, KIND_MASK, PANIC_FIXED,
    SEEN_SHIFT, effect, outcome, seen, unzigzag,
};
use super::strings::Strings;
use super::tables::Tables;
use crate::address::Address;
use crate::proto::{self, Kind};
use crate::rebuild::event::{
    Event, EventId, EventKind, Origin, PanicLocation, TaskUnit, ThreadUnit, Unit, UnitId,
};
use crate::rebuild::suspension::Marks;

/// Why a packet does not hold together.
pub(super) type Reason = &'static str;

struct Columns<'a> {
    tables: &'a Tables,
    awaits: Told,
    units: Vec<UnitId>,
    bases: Vec<u64>,
    next: Vec<u64>,
    polled_since: Vec<Option<u64>>,
    arguments: std::vec::IntoIter<u64>,
    causes: std::vec::IntoIter<u64>,
    descriptions: std::vec::IntoIter<proto::Unit>,
    marks: std::vec::IntoIter<u8>,
    /// `None` where the packet does not tell them.
    syscalls: Option<std::vec::IntoIter<u32>>,
}

/// Decodes a packet's events. Those of a kind that this version does not have are left out; their
/// sequence numbers stay theirs.
pub(super) fn events(packet: proto::Events, tables: &Tables) -> Result<Vec<Event>, Reason> {
    let count = packet.kinds.len();
    if packet.owners.len() != count || packet.times.len() != count {
        return Err("a packet's columns differ in length");
    }
    if packet.units.len() != packet.sequences.len() {
        return Err("a packet's units and sequence numbers differ in number");
    }
    let mut columns = Columns {
        tables,
        awaits: Told::default(),
        polled_since: vec![None; packet.units.len()],
        units: packet.units.into_iter().map(UnitId).collect(),
        next: packet.sequences.clone(),
        bases: packet.sequences,
        arguments: packet.arguments.into_iter(),
        causes: packet.causes.into_iter(),
        descriptions: packet.descriptions.into_iter(),
        marks: packet.marks.into_iter(),
        syscalls: (!packet.syscalls.is_empty()).then(|| packet.syscalls.into_iter()),
    };
    let mut time = packet.time;
    let mut events = Vec::with_capacity(count);
    for ((kind, owner), step) in packet
        .kinds
        .into_iter()
        .zip(packet.owners)
        .zip(packet.times)
    {
        time = time.wrapping_add_signed(step);
        if let Some(event) = columns.event(kind, owner as usize, time)? {
            events.push(event);
        }
    }
    let syscalls = columns.syscalls.as_ref().map_or(0, ExactSizeIterator::len);
    if columns.arguments.len() + columns.causes.len() + columns.marks.len() + syscalls > 0 {
        return Err("a packet has more arguments than its events take");
    }
    Ok(events)
}

impl Columns<'_> {
    fn event(&mut self, byte: u8, owner: usize, time: u64) -> Result<Option<Event>, Reason> {
        let unit = *self
            .units
            .get(owner)
            .ok_or("an event's unit is not there")?;
        let next = self
            .next
            .get_mut(owner)
            .ok_or("an event's unit is not there")?;
        let id = EventId {
            unit,
            sequence: *next,
        };
        *next = next.checked_add(1).ok_or("sequence numbers overflow")?;
        let kind = self.kind(byte & KIND_MASK, owner, time)?;
        let cause = self.cause(byte, id)?;
        Ok(kind.map(|kind| Event {
            id,
            time,
            kind,
            cause,
        }))
    }

    fn argument(&mut self) -> Result<u64, Reason> {
        self.arguments
            .next()
            .ok_or("a packet has fewer arguments than its events take")
    }

    fn target(&mut self) -> Result<UnitId, Reason> {
        let index = self.argument()?;
        self.unit_at(index)
    }

    fn unit_at(&self, index: u64) -> Result<UnitId, Reason> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.units.get(index))
            .copied()
            .ok_or("a unit is referred to that is not there")
    }

    fn number(&mut self) -> Result<i32, Reason> {
        // A value that this version does not have becomes "not known".
        Ok(i32::try_from(self.argument()?).unwrap_or(i32::MAX))
    }

    fn kind(&mut self, kind: u8, owner: usize, time: u64) -> Result<Option<EventKind>, Reason> {
        if kind >= FIRST_ADDED_KIND {
            return self.added(kind);
        }
        Ok(Some(match Kind::try_from(i32::from(kind)) {
            Ok(Kind::Described) => {
                let unit = self
                    .descriptions
                    .next()
                    .ok_or("a unit's description is not there")?;
                match self::unit(unit, &self.tables.strings)? {
                    Some(unit) => EventKind::Described(Arc::new(unit)),
                    None => return Ok(None),
                }
            }
            Ok(Kind::Spawned) => EventKind::Spawned {
                task: self.target()?,
            },
            Ok(Kind::PollBegin) => {
                if let Some(since) = self.polled_since.get_mut(owner) {
                    *since = Some(time);
                }
                EventKind::PollBegin {
                    thread: self.target()?,
                }
            }
            Ok(Kind::PollEnd) => self.poll_end(owner, time)?,
            Ok(Kind::AwaitChanged) => {
                let owner = u32::try_from(owner).unwrap_or(u32::MAX);
                let (arguments, values) = (&mut self.arguments, &mut self.marks);
                let (suspension, marks) =
                    self.awaits.decode(owner, self.tables, arguments, values)?;
                EventKind::AwaitChanged { suspension, marks }
            }
            Ok(kind @ (Kind::WakeByValue | Kind::WakeByReference)) => EventKind::Wake {
                task: self.target()?,
                by_value: kind == Kind::WakeByValue,
                effect: effect(self.number()?),
            },
            Ok(Kind::WakerCloned) => EventKind::WakerCloned {
                task: self.target()?,
            },
            Ok(Kind::WakerDropped) => EventKind::WakerDropped {
                task: self.target()?,
            },
            Ok(Kind::Aborted) => EventKind::Aborted {
                task: self.target()?,
            },
            Ok(Kind::Fired) => EventKind::Fired,
            Ok(kind @ (Kind::Blocked | Kind::Preempted)) => EventKind::Blocked {
                preempted: kind == Kind::Preempted,
                syscall: self.syscall()?,
            },
            Ok(Kind::Unblocked) => EventKind::Unblocked,
            Ok(Kind::Finished) => EventKind::Finished {
                outcome: outcome(self.number()?),
            },
            Ok(Kind::Gap) => EventKind::Gap {
                lost: self.argument()?,
            },
            Ok(Kind::FuturePoll) => EventKind::FuturePoll {
                future: Address(self.argument()?),
                name: {
                    let id = self.argument()?;
                    self.tables.strings.get(id)?
                },
                depth: u8::try_from(self.argument()?).unwrap_or(u8::MAX),
            },
            Ok(Kind::Unspecified | Kind::PanicBegan | Kind::PanicRaised) | Err(_) => {
                return Err("an event has no known kind");
            }
        }))
    }

    /// A kind that came with a minor version. What is not known is passed over.
    fn added(&mut self, kind: u8) -> Result<Option<EventKind>, Reason> {
        const MISSING: Reason = "a panic has fewer arguments than it takes";
        let count = usize::try_from(self.argument()?).unwrap_or(usize::MAX);
        if count > self.arguments.len() {
            return Err("a packet has fewer arguments than its events take");
        }
        let told: Vec<u64> = self.arguments.by_ref().take(count).collect();
        Ok(match Kind::try_from(i32::from(kind)) {
            Ok(Kind::PanicBegan) => {
                let (fixed, outside) = told.split_first_chunk::<PANIC_FIXED>().ok_or(MISSING)?;
                let [file, line, column, id, low, high] = *fixed;
                let number = |value| u32::try_from(value).unwrap_or(0);
                let location = self.tables.strings.get(file)?.map(|file| {
                    Arc::new(PanicLocation {
                        file,
                        line: number(line),
                        column: number(column),
                    })
                });
                let id = u32::try_from(id).unwrap_or(u32::MAX);
                let shape = self.tables.suspension(id)?;
                if shape.outside != outside.len() {
                    return Err("the addresses of a panic's futures are not told");
                }
                self.awaits.place(shape.len())?;
                let halves = u128::from(high) << 64 | u128::from(low);
                Some(EventKind::PanicBegan {
                    location,
                    suspension: shape.at(outside),
                    marks: Marks(halves.to_le_bytes()),
                })
            }
            Ok(Kind::PanicRaised) => Some(EventKind::PanicRaised {
                message: self.tables.strings.get(*told.first().ok_or(MISSING)?)?,
            }),
            _ => None,
        })
    }

    fn syscall(&mut self) -> Result<Option<u32>, Reason> {
        let Some(syscalls) = &mut self.syscalls else {
            return Ok(None);
        };
        let number = syscalls
            .next()
            .ok_or("a packet has fewer system calls than its events take")?;
        Ok(number.checked_sub(1))
    }

    fn poll_end(&mut self, owner: usize, time: u64) -> Result<EventKind, Reason> {
        let packed = self.argument()?;
        let began = match packed & (BEGAN_HERE | BEGAN_TOLD) {
            0 => None,
            BEGAN_HERE => Some(
                self.polled_since
                    .get(owner)
                    .copied()
                    .flatten()
                    .ok_or("a poll ends that did not begin in the packet")?,
            ),
            BEGAN_TOLD => Some(
                time.checked_sub(self.argument()?)
                    .ok_or("a poll began before time")?,
            ),
            _ => return Err("a poll's end is told in two ways"),
        };
        let number = i32::try_from(packed & 7).unwrap_or(0);
        Ok(EventKind::PollEnd {
            outcome: outcome(number),
            seen: seen(i32::try_from(packed >> SEEN_SHIFT & 7).unwrap_or(0)),
            began,
        })
    }

    fn cause(&mut self, byte: u8, event: EventId) -> Result<Option<EventId>, Reason> {
        const MISSING: Reason = "a packet has fewer causes than its events take";
        match byte & (CAUSE_HERE | CAUSE_ELSEWHERE) {
            0 => Ok(None),
            CAUSE_HERE => {
                let back = self.causes.next().ok_or(MISSING)?;
                let sequence = event
                    .sequence
                    .checked_sub(back)
                    .filter(|_| back > 0)
                    .ok_or("an event's cause is not before it")?;
                Ok(Some(EventId {
                    unit: event.unit,
                    sequence,
                }))
            }
            CAUSE_ELSEWHERE => {
                let index = self.causes.next().ok_or(MISSING)?;
                let distance = unzigzag(self.causes.next().ok_or(MISSING)?);
                let unit = self.unit_at(index)?;
                let base = usize::try_from(index)
                    .ok()
                    .and_then(|index| self.bases.get(index))
                    .ok_or("a unit is referred to that is not there")?;
                let sequence = base
                    .checked_add_signed(distance)
                    .ok_or("a cause's sequence number overflows")?;
                Ok(Some(EventId { unit, sequence }))
            }
            _ => Err("an event's cause is told in two ways"),
        }
    }
}

/// `None` for a kind of unit that this version does not have.
pub(super) fn unit(unit: proto::Unit, strings: &Strings) -> Result<Option<Unit>, Reason> {
    Ok(match unit.unit {
        Some(proto::unit::Unit::Task(task)) => Some(Unit::Task(TaskUnit {
            runtime: strings.text(task.runtime)?,
            address: Address(task.address),
            task_id: task.task_id,
            generation: task.generation,
            future: strings.get(task.future.into())?,
            existing: task.existing,
        })),
        Some(proto::unit::Unit::Thread(thread)) => Some(Unit::Thread(ThreadUnit {
            tid: thread.tid,
            name: strings.get(thread.name.into())?,
        })),
        Some(proto::unit::Unit::Origin(origin)) => origin_of(&origin).map(Unit::Origin),
        None => None,
    })
}

/// `None` for a kind that this version does not have.
fn origin_of(origin: &proto::Origin) -> Option<Origin> {
    match proto::OriginKind::try_from(origin.kind) {
        Ok(proto::OriginKind::Io) => Some(Origin::Io {
            resource: (origin.resource != 0).then_some(Address(origin.resource)),
            fd: origin.fd,
        }),
        Ok(proto::OriginKind::Timer) => Some(Origin::Timer),
        Ok(proto::OriginKind::Signal) => Some(Origin::Signal),
        Ok(proto::OriginKind::OriginUnspecified) | Err(_) => None,
    }
}
