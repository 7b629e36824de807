//! Ranges that were copied twice and were the same both times.
//!
//! A target runs while it is read. Of several ranges that were copied one after the other, and then all
//! of them again, those that are equal in both copies held these bytes at one moment: between the end
//! of the first copy and the beginning of the second (but for what changed and changed back, twice in
//! the same way, within the microseconds that the copies of one group take). What a reader makes of
//! equal copies alone, it therefore makes of one moment; a reader that asks for anything else is told
//! so afterwards, by [`Copies::missed`].

use std::cell::RefCell;

use super::{Memory, Part, ReadError};
use crate::address::Address;

/// A range that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    /// Where it begins.
    pub address: Address,
    /// Its length in bytes.
    pub len: u32,
}

impl Wanted {
    /// The bytes from `address` on that are in it.
    fn offset_of(self, address: Address, len: usize) -> Option<usize> {
        let from = address.since(self.address);
        let end = from.checked_add(len as u64)?;
        (end <= u64::from(self.len))
            .then(|| usize::try_from(from).ok())
            .flatten()
    }
}

/// Copies of the ranges of several groups.
#[derive(Debug, Default)]
pub struct Taken {
    groups: Vec<Vec<Range>>,
    bytes: Vec<u8>,
}

/// A range as it was copied.
#[derive(Clone, Copy, Debug)]
struct Range {
    wanted: Wanted,
    /// Where its bytes begin in the copies.
    at: usize,
    /// It was read both times, and was the same.
    is_same: bool,
}

impl Taken {
    /// Copies the ranges of each group twice, group after group: each group's copies are as close in
    /// time as can be. The caller bounds the lengths.
    #[must_use]
    pub fn twice(memory: &dyn Memory, groups: &[Vec<Wanted>]) -> Self {
        let mut at = 0;
        let groups: Vec<Vec<Range>> = groups
            .iter()
            .map(|group| {
                let ranges = group.iter().map(|wanted| {
                    let range = Range {
                        wanted: *wanted,
                        at,
                        is_same: false,
                    };
                    at += wanted.len as usize;
                    range
                });
                ranges.collect()
            })
            .collect();
        let mut taken = Self {
            groups,
            bytes: vec![0; at],
        };
        let mut again = vec![0; at];
        taken.read(memory, &mut again);
        taken
    }

    fn read(&mut self, memory: &dyn Memory, again: &mut [u8]) {
        let count: usize = self.groups.iter().map(|group| group.len() * 2).sum();
        let mut parts = Vec::with_capacity(count);
        let (mut first, mut second) = (&mut self.bytes[..], &mut again[..]);
        for group in &self.groups {
            for copy in [&mut first, &mut second] {
                for range in group {
                    let rest = std::mem::take(copy);
                    let (into, rest) = rest.split_at_mut(range.wanted.len as usize);
                    *copy = rest;
                    parts.push(Part::new(range.wanted.address, into));
                }
            }
        }
        memory.read_parts(&mut parts);
        let mut parts = parts.into_iter();
        for group in &mut self.groups {
            let first: Vec<Part<'_>> = parts.by_ref().take(group.len()).collect();
            let second = parts.by_ref().take(group.len());
            for ((range, first), second) in group.iter_mut().zip(first).zip(second) {
                range.is_same =
                    first.outcome.is_ok() && second.outcome.is_ok() && first.into == second.into;
            }
        }
    }

    /// The copies of one group, in front of `behind`.
    #[must_use]
    pub fn group<'t>(&'t self, index: usize, behind: &'t dyn Memory) -> Copies<'t> {
        Copies {
            ranges: self.groups.get(index).map_or(&[], Vec::as_slice),
            bytes: &self.bytes,
            behind,
            missed: RefCell::default(),
        }
    }
}

/// A memory that is answered from the copies of one group where they were equal.
pub struct Copies<'t> {
    ranges: &'t [Range],
    bytes: &'t [u8],
    behind: &'t dyn Memory,
    missed: RefCell<Vec<Wanted>>,
}

impl<'t> Copies<'t> {
    /// The bytes of a range of the group; `None` when it was not the same twice.
    #[must_use]
    pub fn bytes_of(&self, range: usize) -> Option<&'t [u8]> {
        let range = self.ranges.get(range).filter(|range| range.is_same)?;
        self.bytes
            .get(range.at..range.at + range.wanted.len as usize)
    }

    /// The ranges of the group.
    pub fn ranges(&self) -> impl Iterator<Item = Wanted> + '_ {
        self.ranges.iter().map(|range| range.wanted)
    }

    /// What was asked for and was not in equal copies, so that the memory behind answered, at another
    /// moment, since the last call.
    #[must_use]
    pub fn missed(&self) -> Vec<Wanted> {
        self.missed.take()
    }

    fn find(&self, address: Address, len: usize) -> Option<&'t [u8]> {
        self.ranges
            .iter()
            .filter(|range| range.is_same)
            .find_map(|range| {
                let from = range.at + range.wanted.offset_of(address, len)?;
                self.bytes.get(from..from + len)
            })
    }
}

impl Memory for Copies<'_> {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        if let Some(bytes) = self.find(address, into.len()) {
            into.copy_from_slice(bytes);
            return Ok(());
        }
        self.missed.borrow_mut().push(Wanted {
            address,
            len: u32::try_from(into.len()).unwrap_or(u32::MAX),
        });
        self.behind.read(address, into)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::memory::FakeMemory;

    fn wanted(address: u64, len: u32) -> Wanted {
        Wanted {
            address: Address(address),
            len,
        }
    }

    #[test]
    fn what_was_copied_is_answered_and_the_rest_is_told() {
        let mut memory = FakeMemory::default();
        memory.map(Address(0x1000), (0..64).collect::<Vec<u8>>());
        memory.map(Address(0x2000), vec![7; 64]);
        let groups = [
            vec![wanted(0x1000, 16), wanted(0x2008, 8)],
            vec![wanted(0x1010, 4), wanted(0x3000, 8)],
        ];
        let taken = Taken::twice(&memory, &groups);
        let behind = FakeMemory::default();
        let first = taken.group(0, &behind);
        assert_eq!(first.u8(Address(0x1003)), Ok(3));
        assert_eq!(first.u32(Address(0x2008)), Ok(0x0707_0707));
        assert_eq!(first.bytes_of(1), Some(&[7; 8][..]));
        // Half of it is copied only.
        assert!(first.u64(Address(0x100c)).is_err());
        assert!(first.u8(Address(0x1010)).is_err(), "the other group's");
        assert_eq!(first.missed(), [wanted(0x100c, 8), wanted(0x1010, 1)]);
        let second = taken.group(1, &memory);
        assert_eq!(second.u32(Address(0x1010)), Ok(0x1312_1110));
        assert_eq!(second.bytes_of(1), None, "not mapped");
        assert_eq!(second.u8(Address(0x2000)), Ok(7), "from behind");
        assert_eq!(second.missed(), [wanted(0x2000, 1)]);
        // Not there at all.
        assert_eq!(taken.group(2, &memory).bytes_of(0), None);
        assert_eq!(Taken::twice(&memory, &[]).groups.len(), 0);
    }

    /// A word that counts how often it was read, beside one that does not change.
    struct Counting(Cell<u8>);

    impl Memory for Counting {
        fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
            into.fill(9);
            if address.0 == 0x10 {
                self.0.set(self.0.get() + 1);
                into.fill(self.0.get());
            }
            Ok(())
        }
    }

    #[test]
    fn what_changed_between_the_copies_is_not_answered_from_them() {
        let memory = Counting(Cell::new(0));
        let taken = Taken::twice(&memory, &[vec![wanted(0x10, 1), wanted(0x20, 1)]]);
        let copies = taken.group(0, &memory);
        assert_eq!(copies.bytes_of(0), None);
        assert_eq!(copies.u8(Address(0x20)), Ok(9));
        assert_eq!(copies.u8(Address(0x10)), Ok(3), "a third reading");
        assert_eq!(copies.missed(), [wanted(0x10, 1)]);
    }

    #[test]
    fn addresses_at_the_end_of_memory_overflow_nothing() {
        let memory = FakeMemory::default();
        let taken = Taken::twice(&memory, &[vec![wanted(u64::MAX - 3, 8)]]);
        let copies = taken.group(0, &memory);
        assert!(copies.u64(Address(u64::MAX)).is_err());
        assert!(copies.u64(Address(u64::MAX - 3)).is_err());
    }
}
