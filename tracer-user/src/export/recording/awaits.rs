//! What an `AWAIT_CHANGED` event tells: a suspension of the table, and what differs from the last
//! time that this unit stood there: marks, and addresses of futures outside.

use foldhash::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::decode::Reason;
use super::kinds::{unzigzag, zigzag};
use super::suspensions::addresses;
use super::tables::{Interner, Tables};
use crate::rebuild::suspension::{Marks, Suspension};

/// Marks follow.
const MARKS: u64 = 1;
/// Addresses follow.
const PLACES: u64 = 2;
/// From this bit on, the suspension's id.
const ID_SHIFT: u32 = 2;

/// Futures that the events of a packet may place at most, counted where addresses are told: it
/// bounds what a packet takes in memory to some 20 MB.
pub(super) const MAX_PLACED: usize = 262_144;

/// How many futures an event places at most.
pub(super) fn placed(suspension: &Suspension) -> usize {
    match addresses(suspension).next() {
        Some(_) => suspension.futures.len(),
        None => 0,
    }
}

/// What the events of a packet told so far. Units are named by their index in the packet.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: HashMap<(u32, u32), (Marks, Arc<Suspension>)>,
    last_address: u64,
    placed: usize,
}

impl Told {
    /// Appends what an event of the unit takes.
    pub(super) fn encode(
        &mut self,
        unit: u32,
        suspension: &Arc<Suspension>,
        marks: &Marks,
        tables: &mut Interner,
        arguments: &mut Vec<u64>,
        values: &mut Vec<u8>,
    ) {
        let id = tables.suspension(suspension);
        let (before, places) = match self.last.entry((unit, id)) {
            Entry::Vacant(entry) => {
                entry.insert((*marks, Arc::clone(suspension)));
                (Marks::default(), addresses(suspension).next().is_some())
            }
            Entry::Occupied(mut entry) => {
                let (before, there) = entry.insert((*marks, Arc::clone(suspension)));
                let same =
                    Arc::ptr_eq(&there, suspension) || addresses(&there).eq(addresses(suspension));
                (before, !same)
            }
        };
        let changed = changed(&before, marks);
        let flags = u64::from(changed != 0) * MARKS + u64::from(places) * PLACES;
        arguments.push(u64::from(id) << ID_SHIFT | flags);
        if changed != 0 {
            arguments.push(changed);
            values.extend(bits(changed).map(|at| marks.0[at]));
        }
        if places {
            for address in addresses(suspension) {
                let distance = address.wrapping_sub(self.last_address).cast_signed();
                self.last_address = address;
                arguments.push(zigzag(distance));
            }
        }
    }

    /// Counts futures that an event places.
    pub(super) fn place(&mut self, futures: usize) -> Result<(), Reason> {
        self.placed += futures;
        if self.placed > MAX_PLACED {
            return Err("a packet places more futures than it may");
        }
        Ok(())
    }

    /// Takes what an event of the unit has.
    pub(super) fn decode(
        &mut self,
        unit: u32,
        tables: &Tables,
        arguments: &mut impl Iterator<Item = u64>,
        values: &mut impl Iterator<Item = u8>,
    ) -> Result<(Arc<Suspension>, Marks), Reason> {
        let mut argument = || {
            arguments
                .next()
                .ok_or("an await has fewer arguments than it takes")
        };
        let packed = argument()?;
        let id = u32::try_from(packed >> ID_SHIFT).unwrap_or(u32::MAX);
        let shape = tables.suspension(id)?;
        let last = self.last.get(&(unit, id));
        let mut marks = last.map_or_else(Marks::default, |(marks, _)| *marks);
        if packed & MARKS != 0 {
            let changed = argument()?;
            if changed >> marks.0.len() != 0 {
                return Err("an await changes marks that there are not");
            }
            for at in bits(changed) {
                marks.0[at] = values.next().ok_or("an await's marks are not there")?;
            }
        }
        let suspension = if packed & PLACES != 0 {
            self.place(shape.len())?;
            let mut told = Vec::with_capacity(shape.outside);
            for _ in 0..shape.outside {
                let distance = unzigzag(argument()?);
                self.last_address = self.last_address.wrapping_add_signed(distance);
                told.push(self.last_address);
            }
            shape.at(&told)
        } else if let Some((_, suspension)) = last {
            Arc::clone(suspension)
        } else if shape.outside == 0 {
            shape.at(&[])
        } else {
            return Err("the addresses of an await are not told");
        };
        self.last
            .insert((unit, id), (marks, Arc::clone(&suspension)));
        Ok((suspension, marks))
    }
}

/// The marks that differ, as bits.
fn changed(before: &Marks, now: &Marks) -> u64 {
    let pairs = (0..).zip(before.0.iter().zip(now.0));
    pairs.fold(0, |set, (at, (before, now))| {
        set | u64::from(*before != now) << at
    })
}

/// The places of the bits that are set in a set of marks.
fn bits(set: u64) -> impl Iterator<Item = usize> {
    (0..Marks::default().0.len()).filter(move |at| set >> at & 1 == 1)
}
