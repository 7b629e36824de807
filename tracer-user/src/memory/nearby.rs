//! Copies of whole pages in front of the rest, for many small reads that lie near each other: a list
//! whose entries were allocated one after the other.
//!
//! A copy answers for some milliseconds only, so what is read through here is as old at most; who
//! needs to know that something did not change meanwhile must not ask here. Reads that go on where the
//! last copy ended are answered from larger and larger copies, and nothing else is: entries that are
//! strewn over the heap cost one page each, and no page that nobody asked for.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::{Memory, Part, ReadError};
use crate::address::Address;

/// The smallest copy.
const PAGE: u64 = 4096;
/// The largest.
const MOST: u64 = 64 * 1024;
/// Copies that are kept.
const SLOTS: usize = 16;
/// How long a copy answers.
const FRESH: Duration = Duration::from_millis(2);

/// A memory with copies of pages in front of it.
pub struct Nearby<'m> {
    behind: &'m dyn Memory,
    copies: RefCell<Copies>,
}

#[derive(Default)]
struct Copies {
    slots: Vec<Slot>,
    /// The one that answered last.
    last: usize,
    /// The one that was taken last.
    newest: usize,
}

struct Slot {
    start: u64,
    bytes: Vec<u8>,
    taken: Instant,
}

impl Slot {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    fn get(&self, address: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(from..from.checked_add(len)?)?;
        (self.taken.elapsed() < FRESH).then_some(bytes)
    }
}

impl<'m> Nearby<'m> {
    /// Nothing is copied yet.
    #[must_use]
    pub fn new(behind: &'m dyn Memory) -> Self {
        Self {
            behind,
            copies: RefCell::default(),
        }
    }
}

impl Copies {
    fn find(&mut self, address: u64, into: &mut [u8]) -> bool {
        let from_last = std::iter::once(self.last).chain(0..self.slots.len());
        for index in from_last {
            let slot = self.slots.get(index);
            if let Some(bytes) = slot.and_then(|slot| slot.get(address, into.len())) {
                into.copy_from_slice(bytes);
                self.last = index;
                return true;
            }
        }
        false
    }

    /// The page that holds the range, or the two.
    fn pages(address: u64, len: u64) -> Option<(u64, u64)> {
        let end = address.checked_add(len)?.checked_next_multiple_of(PAGE)?;
        Some((address - address % PAGE, end))
    }

    /// What to copy for these pages.
    fn window(&self, (start, end): (u64, u64)) -> (u64, u64) {
        let Some(newest) = self.slots.get(self.newest) else {
            return (start, end);
        };
        let more = (newest.bytes.len() as u64).saturating_mul(2).min(MOST);
        if (start..end).contains(&newest.end()) {
            (start, end.max(start.saturating_add(more)))
        } else if (start..end).contains(&newest.start.saturating_sub(1)) {
            (start.min(end.saturating_sub(more)), end)
        } else {
            (start, end)
        }
    }

    /// Copies a range of pages.
    fn take(&mut self, behind: &dyn Memory, (start, end): (u64, u64)) -> bool {
        let index = if self.slots.len() < SLOTS {
            self.slots.push(Slot {
                start: 0,
                bytes: Vec::new(),
                taken: Instant::now(),
            });
            self.slots.len() - 1
        } else {
            (self.newest + 1) % SLOTS
        };
        let (Some(slot), Ok(len)) = (self.slots.get_mut(index), usize::try_from(end - start))
        else {
            return false;
        };
        slot.bytes.resize(len, 0);
        slot.start = start;
        slot.taken = Instant::now();
        let is_read = behind.read(Address(start), &mut slot.bytes).is_ok();
        if is_read {
            self.newest = index;
        } else {
            slot.bytes.clear();
        }
        is_read
    }
}

impl Memory for Nearby<'_> {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        let len = into.len() as u64;
        if len > PAGE {
            return self.behind.read(address, into);
        }
        let mut copies = self.copies.borrow_mut();
        if copies.find(address.0, into) {
            return Ok(());
        }
        // Its neighbours may not be mapped, nor the rest of its page: then it is read alone.
        let page = Copies::pages(address.0, len);
        let window = page.map(|page| copies.window(page));
        let is_copied = window.is_some_and(|window| copies.take(self.behind, window))
            || page
                .filter(|page| Some(*page) != window)
                .is_some_and(|page| copies.take(self.behind, page));
        if is_copied && copies.find(address.0, into) {
            return Ok(());
        }
        self.behind.read(address, into)
    }

    fn read_parts(&self, parts: &mut [Part<'_>]) {
        self.behind.read_parts(parts);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Words that say where they are, from `start` to `end`.
    struct Numbered {
        start: u64,
        end: u64,
        reads: Cell<u64>,
        bytes: Cell<u64>,
    }

    fn numbered(start: u64, end: u64) -> Numbered {
        Numbered {
            start,
            end,
            reads: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    impl Memory for Numbered {
        fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
            self.reads.set(self.reads.get() + 1);
            self.bytes.set(self.bytes.get() + into.len() as u64);
            let unmapped = ReadError::Unmapped {
                address,
                len: into.len(),
            };
            let end = address.0.checked_add(into.len() as u64).ok_or(unmapped)?;
            if address.0 < self.start || end > self.end {
                return Err(unmapped);
            }
            for (at, byte) in (address.0..).zip(into) {
                *byte = (at & !7).to_le_bytes()[usize::try_from(at % 8).unwrap()];
            }
            Ok(())
        }
    }

    #[test]
    fn neighbours_are_read_in_few_large_copies_either_way() {
        const START: u64 = 0x10_0000;
        const COUNT: u64 = 10_000;
        let end = START + COUNT * 128;
        let upwards: Vec<u64> = (0..COUNT).map(|index| START + index * 128).collect();
        let downwards: Vec<u64> = upwards.iter().rev().copied().collect();
        for addresses in [upwards, downwards] {
            let memory = numbered(START, end.next_multiple_of(MOST));
            let nearby = Nearby::new(&memory);
            for address in addresses {
                assert_eq!(nearby.u64(Address(address)), Ok(address));
            }
            // A copy that is not fresh any more is taken again: on a loaded machine some are.
            assert!(memory.reads.get() < 200, "{}", memory.reads.get());
        }
    }

    #[test]
    fn strewn_entries_cost_one_page_each() {
        let memory = numbered(0, 1 << 40);
        let nearby = Nearby::new(&memory);
        for index in 0..1_000_u64 {
            let address = ((index * 0x9e37_79b9) % (1 << 39)) & !7;
            assert_eq!(nearby.u64(Address(address)), Ok(address));
        }
        // One that we were kept from using until it was too old counts twice.
        assert!(memory.reads.get() <= 1_200);
        assert!(memory.bytes.get() <= 1_200 * 2 * PAGE);
    }

    #[test]
    fn at_the_edge_of_a_mapping_nothing_becomes_unreadable() {
        // It begins and ends within a page, as a made-up memory may, and pages behind it are not
        // there.
        let (start, end) = (0x1_0800, 0x1_4808);
        let memory = numbered(start, end);
        let nearby = Nearby::new(&memory);
        let upwards: Vec<u64> = (start..end).step_by(8).collect();
        for address in upwards.iter().chain(upwards.iter().rev()).copied() {
            assert_eq!(nearby.u64(Address(address)), Ok(address));
        }
        for wild in [start - 8, end, end - 4, 0, u64::MAX, u64::MAX - 7] {
            assert!(nearby.u64(Address(wild)).is_err(), "{wild:#x}");
        }
        let mut long = vec![0; usize::try_from(end - start).unwrap()];
        assert_eq!(nearby.read(Address(start), &mut long), Ok(()));
        assert!(nearby.read(Address(start + 1), &mut long).is_err());
    }

    #[test]
    fn a_copy_does_not_answer_for_ever() {
        let mut memory = numbered(0, 1 << 20);
        memory.end = 0x2000;
        let nearby = Nearby::new(&memory);
        assert_eq!(nearby.u64(Address(0x1000)), Ok(0x1000));
        std::thread::sleep(FRESH);
        let before = memory.reads.get();
        assert_eq!(nearby.u64(Address(0x1000)), Ok(0x1000));
        assert_eq!(memory.reads.get(), before + 1);
    }
}
