//! Segments: where reading can begin in the middle of a file.
//!
//! At the start of a segment the tables are empty, and before the first events that mention a unit
//! it is told again what the unit is and where it stands. So a writer remembers that of every
//! live unit.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use std::sync::Arc;

use super::awaits;
use super::decode::{self, Reason};
use super::encode::{mentioned, unit_message};
use super::suspensions::addresses;
use super::tables::{Interner, Tables};
use crate::proto;
use crate::rebuild::event::{Event, EventKind, Unit, UnitId};
use crate::rebuild::suspension::{Marks, Suspension};

/// Bytes of a segment, about: 10 ms to read.
const LENGTH: u64 = 2 << 20;

/// With the file, segments grow by this part of its length, so that their number stays below some
/// thousands.
const GROWTH: u64 = 1024;

/// Units that are remembered at most between two segments: some 150 MB.
const MAX_KNOWN: usize = 1_000_000;

/// Units in one packet, and futures that they may place there.
const PART: usize = 4096;

/// What is known of a unit, and where it stands, before the events that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUnit {
    /// The unit.
    pub unit: UnitId,
    /// What it is.
    pub what: Arc<Unit>,
    /// What its last [`EventKind::AwaitChanged`] told.
    pub standing: Option<(Arc<Suspension>, Marks)>,
}

#[derive(Debug)]
struct Remembered {
    what: Arc<Unit>,
    standing: Option<(Arc<Suspension>, Marks)>,
    /// The segment in which it was last told what it is.
    told_in: u64,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Segments {
    known: HashMap<UnitId, Remembered>,
    /// Offset and time of each.
    starts: Vec<(u64, u64)>,
    /// How many began.
    number: u64,
    /// Units that are remembered at most.
    most: usize,
    length: u64,
    next_at: u64,
}

impl Segments {
    /// For a file whose header ends at `offset`.
    pub(super) fn starting_at(offset: u64) -> Self {
        Self::of_length(LENGTH, offset)
    }

    /// As [`Segments::starting_at`] with segments of another length than [`LENGTH`].
    pub(super) fn of_length(length: u64, offset: u64) -> Self {
        Self {
            known: HashMap::new(),
            starts: Vec::new(),
            number: 0,
            most: MAX_KNOWN,
            length,
            next_at: offset.saturating_add(length),
        }
    }

    /// Remembers so many units at most, for who has less memory.
    pub(super) fn remembering(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Whether it is time for the next one.
    pub(super) fn is_due(&self, offset: u64) -> bool {
        offset >= self.next_at
    }

    /// A segment begins with the frame at `offset`; nothing before it is later than `time`.
    pub(super) fn start(&mut self, offset: u64, time: u64) {
        if self.known.len() > self.most {
            let before = self.number;
            self.known.retain(|_, unit| unit.told_in == before);
        }
        self.starts.push((offset, time));
        self.number += 1;
        self.next_at = (offset + offset / GROWTH).saturating_add(self.length);
    }

    /// Forgets where they began: for who needs no index.
    pub(super) fn forget_starts(&mut self) {
        self.starts.clear();
    }

    /// What must be told before these events, in parts.
    pub(super) fn untold(&mut self, events: &[Event]) -> Vec<Vec<KnownUnit>> {
        let number = self.number;
        let mut asked = HashSet::new();
        let mut parts: Vec<Vec<KnownUnit>> = Vec::new();
        let mut placed = usize::MAX;
        for unit in events.iter().flat_map(mentioned) {
            if !asked.insert(unit) {
                continue;
            }
            let Some(known) = self.known.get_mut(&unit) else {
                continue;
            };
            if known.told_in == number {
                continue;
            }
            known.told_in = number;
            let more = known
                .standing
                .as_ref()
                .map_or(0, |(suspension, _)| awaits::placed(suspension));
            placed = placed.saturating_add(more);
            if placed > awaits::MAX_PLACED || parts.last().is_none_or(|part| part.len() >= PART) {
                parts.push(Vec::new());
                placed = more;
            }
            if let Some(part) = parts.last_mut() {
                part.push(KnownUnit {
                    unit,
                    what: Arc::clone(&known.what),
                    standing: known.standing.clone(),
                });
            }
        }
        parts
    }

    /// Remembers what these events say of their units.
    pub(super) fn remember(&mut self, events: &[Event]) {
        let number = self.number;
        for event in events {
            match &event.kind {
                EventKind::Described(what) => {
                    let unit = self.known.entry(event.id.unit).or_insert(Remembered {
                        what: Arc::clone(what),
                        standing: None,
                        told_in: number,
                    });
                    unit.what = Arc::clone(what);
                }
                EventKind::AwaitChanged { suspension, marks } => {
                    if let Some(unit) = self.known.get_mut(&event.id.unit) {
                        unit.standing = Some((Arc::clone(suspension), *marks));
                    }
                }
                EventKind::Finished { .. } => {
                    self.known.remove(&event.id.unit);
                }
                _ => {}
            }
        }
    }

    /// All of them.
    pub(super) fn index(&self) -> proto::Index {
        let mut index = proto::Index::default();
        let mut before = (0, 0);
        for (offset, time) in &self.starts {
            index.offsets.push(offset - before.0);
            index.times.push(time - before.1);
            before = (*offset, *time);
        }
        index
    }

    /// Bytes that the index takes at most.
    pub(super) fn index_size(&self) -> u64 {
        self.starts.len() as u64 * 20 + 16
    }
}

/// Units as a packet has them.
pub(super) fn units_message(units: &[KnownUnit], tables: &mut Interner) -> proto::Units {
    let units = units.iter().map(|unit| {
        let mut message = proto::KnownUnit {
            number: unit.unit.0,
            unit: Some(unit_message(&unit.what, &mut tables.strings)),
            ..proto::KnownUnit::default()
        };
        if let Some((suspension, marks)) = &unit.standing {
            message.suspension = tables.suspension(suspension);
            let used = marks.0.iter().rposition(|mark| *mark != 0);
            message.marks = marks.0[..used.map_or(0, |last| last + 1)].to_vec();
            message.addresses = addresses(suspension).collect();
        }
        message
    });
    proto::Units {
        units: units.collect(),
    }
}

/// The other way. Those of a kind that this version does not have are left out.
pub(super) fn units(from: proto::Units, tables: &Tables) -> Result<Vec<KnownUnit>, Reason> {
    let mut units = Vec::new();
    let mut placed = 0;
    for unit in from.units {
        let Some(what) = decode::unit(unit.unit.unwrap_or_default(), &tables.strings)? else {
            continue;
        };
        let standing = if unit.suspension == 0 {
            None
        } else {
            let shape = tables.suspension(unit.suspension)?;
            if shape.outside != unit.addresses.len() {
                return Err("a unit's addresses are not those of its suspension");
            }
            placed += if shape.outside > 0 { shape.len() } else { 0 };
            if placed > awaits::MAX_PLACED {
                return Err("a packet places more futures than it may");
            }
            let mut marks = Marks::default();
            if unit.marks.len() > marks.0.len() {
                return Err("a unit has more marks than there are");
            }
            marks.0[..unit.marks.len()].copy_from_slice(&unit.marks);
            Some((shape.at(&unit.addresses), marks))
        };
        units.push(KnownUnit {
            unit: UnitId(unit.number),
            what: Arc::new(what),
            standing,
        });
    }
    Ok(units)
}

/// Offset and time of each segment; `None` when it is no index.
pub(super) fn starts(index: &proto::Index) -> Option<Vec<(u64, u64)>> {
    if index.offsets.len() != index.times.len() {
        return None;
    }
    let mut last = (0_u64, 0_u64);
    let starts = index.offsets.iter().zip(&index.times);
    starts
        .map(|(offset, time)| {
            last = (last.0.checked_add(*offset)?, last.1.checked_add(*time)?);
            Some(last)
        })
        .collect()
}
