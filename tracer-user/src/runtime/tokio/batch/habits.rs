//! What tasks of one kind are read at beside their cells, learned from tasks of that kind.
//!
//! Tasks with one vtable mostly wait at the same await, and a reader that comes to the next one will
//! ask for the same fields behind the same pointers. A [`Hop`] is such a range: behind the pointer at
//! a place in the cell, or in the range of an earlier hop. It is a guess that saves time: a range that
//! was foretold and is not asked for is copied in vain, one that was not foretold is found missing.

use std::cell::RefCell;

use foldhash::HashMap;

use crate::address::Address;
use crate::memory::{Memory, Part, Wanted};

/// Hops of one kind of task: what goes beyond is read without foresight.
const MAX_HOPS: usize = 32;
/// Kinds of tasks that anything is remembered of.
const MAX_KINDS: usize = 4096;
/// How far behind a pointer its object is read.
const MAX_BEHIND: u64 = 4096;
/// How far before it: the counts of an `Arc`.
const MAX_BEFORE: u64 = 16;
/// Pages below are never mapped; user space ends above.
const ADDRESSES: std::ops::Range<u64> = 0x1_0000..1 << 47;

/// What is known of each kind of task, by vtable.
#[derive(Debug, Default)]
pub(in crate::runtime::tokio) struct Habits {
    of_kinds: RefCell<HashMap<Address, Vec<Hop>>>,
}

/// A range behind a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    /// Whose range holds the pointer: 0 is the cell, 1 the first hop.
    from: usize,
    /// Where it is in it.
    at: usize,
    /// From what it points to, to the range.
    offset: u64,
    /// The range's length.
    len: u32,
}

/// A range with what it held.
pub(super) type Known<'k> = (Wanted, &'k [u8]);

impl Habits {
    /// Learns from a task of the kind `vtable`, of which `ranges` were enough: the cell, and the
    /// others.
    pub(super) fn learn(&self, vtable: Address, ranges: &[Known<'_>]) {
        let mut of_kinds = self.of_kinds.borrow_mut();
        if of_kinds.len() >= MAX_KINDS && !of_kinds.contains_key(&vtable) {
            return;
        }
        let hops = of_kinds.entry(vtable).or_default();
        let Some((cell, others)) = ranges.split_first() else {
            return;
        };
        // Which hop leads to which of the ranges; ranges become known one after the other.
        let mut open: Vec<&Known<'_>> = others.iter().collect();
        let mut found: Vec<Option<Known<'_>>> = vec![Some(*cell)];
        for hop in hops.iter() {
            let target = found
                .get(hop.from)
                .copied()
                .flatten()
                .and_then(|(_, bytes)| hop.target(bytes));
            let is_it = |known: &&Known<'_>| target.is_some_and(|target| covers(target, known.0));
            // One hop may cover two ranges: its bytes are not at hand then, which costs nothing
            // but another hop.
            found.push(open.iter().find(|known| is_it(known)).map(|known| **known));
            open.retain(|known| !is_it(known));
        }
        while !open.is_empty() && hops.len() < MAX_HOPS {
            let step = open.iter().enumerate().find_map(|(place, known)| {
                let (from, at, offset) = pointer_to(known.0.address, &found)?;
                let hop = Hop {
                    from,
                    at,
                    offset,
                    len: known.0.len,
                };
                Some((place, hop))
            });
            // The others hang on nothing that was read.
            let Some((place, hop)) = step else { break };
            found.push(Some(*open.remove(place)));
            hops.push(hop);
        }
    }

    /// The ranges that tasks will be read at, each with its kind and cell. Costs one reading for each
    /// level of pointers.
    pub(super) fn foretell(
        &self,
        tasks: &[(Address, Wanted)],
        memory: &dyn Memory,
    ) -> Vec<Vec<Wanted>> {
        let of_kinds = self.of_kinds.borrow();
        let hops = |vtable: &Address| of_kinds.get(vtable).map_or(&[][..], Vec::as_slice);
        let mut out: Vec<Vec<Wanted>> = tasks.iter().map(|(_, cell)| vec![*cell]).collect();
        let mut known: Vec<Vec<Found>> = tasks
            .iter()
            .map(|(vtable, cell)| match hops(vtable) {
                [] => Vec::new(),
                _ => vec![Found::Wanted(*cell)],
            })
            .collect();
        loop {
            read_wanted(&mut known, memory);
            let mut goes_on = false;
            for (((vtable, _), known), out) in tasks.iter().zip(&mut known).zip(&mut out) {
                let hops = hops(vtable);
                if known.is_empty() {
                    continue;
                }
                // As far as what is known leads.
                while let Some(hop) = hops.get(known.len() - 1) {
                    let found = match known.get(hop.from) {
                        Some(Found::Wanted(_)) => break,
                        Some(Found::Bytes(bytes)) => hop.target(bytes),
                        _ => None,
                    };
                    let is_pointed_from = hops.iter().any(|other| other.from == known.len());
                    if let Some(target) = found
                        && !out.iter().any(|known| covers(*known, target))
                    {
                        out.push(target);
                    }
                    known.push(match found {
                        Some(target) if is_pointed_from => Found::Wanted(target),
                        _ => Found::Nothing,
                    });
                }
                goes_on |= known.iter().any(|found| matches!(found, Found::Wanted(_)));
            }
            if !goes_on {
                return out;
            }
        }
    }
}

impl Hop {
    /// Where it leads from what its base holds.
    fn target(self, base: &[u8]) -> Option<Wanted> {
        let pointer = word(base, self.at)?;
        let address = Address(pointer).add(self.offset);
        let is_plausible = ADDRESSES.contains(&pointer) && ADDRESSES.contains(&address.0);
        is_plausible.then_some(Wanted {
            address,
            len: self.len,
        })
    }
}

/// What is known of a range on the way.
enum Found {
    /// Other hops start from what it holds, which is still to be read.
    Wanted(Wanted),
    Bytes(Vec<u8>),
    Nothing,
}

fn read_wanted(known: &mut [Vec<Found>], memory: &dyn Memory) {
    let mut places = Vec::new();
    for found in known.iter_mut().flatten() {
        if let Found::Wanted(wanted) = found {
            let address = wanted.address;
            *found = Found::Bytes(vec![0; wanted.len as usize]);
            places.push((address, found));
        }
    }
    let mut parts: Vec<Part<'_>> = Vec::with_capacity(places.len());
    for (address, found) in &mut places {
        if let Found::Bytes(bytes) = found {
            parts.push(Part::new(*address, bytes));
        }
    }
    memory.read_parts(&mut parts);
    let failed: Vec<bool> = parts.iter().map(|part| part.outcome.is_err()).collect();
    drop(parts);
    for ((_, found), failed) in places.into_iter().zip(failed) {
        if failed {
            *found = Found::Nothing;
        }
    }
}

/// The pointer that leads to `address` or closest before it: whose range, where in it, and how far.
fn pointer_to(address: Address, found: &[Option<Known<'_>>]) -> Option<(usize, usize, u64)> {
    let mut best: Option<(u64, (usize, usize, u64))> = None;
    for (from, (wanted, bytes)) in found
        .iter()
        .enumerate()
        .filter_map(|(from, known)| Some((from, (*known)?)))
    {
        // Pointers are aligned.
        let first = usize::try_from(wanted.address.0.wrapping_neg() % 8).unwrap_or(0);
        for at in (first..bytes.len()).step_by(8) {
            let Some(pointer) = word(bytes, at) else {
                break;
            };
            let offset = address.0.wrapping_sub(pointer);
            let distance = match offset {
                0..MAX_BEHIND => offset,
                // A pointer behind it: the farthest choice.
                _ if offset.wrapping_neg() <= MAX_BEFORE => MAX_BEHIND,
                _ => continue,
            };
            if ADDRESSES.contains(&pointer) && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, (from, at, offset)));
            }
        }
    }
    best.map(|(_, pointer)| pointer)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// Whether `outer` has all of `inner`.
fn covers(outer: Wanted, inner: Wanted) -> bool {
    let from = inner.address.since(outer.address);
    from.checked_add(u64::from(inner.len))
        .is_some_and(|end| end <= u64::from(outer.len))
}

/// The ranges sorted, those that touch or nearly do as one: what lies between is read for less than a
/// range more costs. Nothing is added that lies on another page.
pub(super) fn merged(mut ranges: Vec<Wanted>) -> Vec<Wanted> {
    const GAP: u64 = 64;
    const PAGE: u64 = 4096;
    ranges.sort_unstable();
    let mut out: Vec<Wanted> = Vec::new();
    for range in ranges {
        if let Some(last) = out.last_mut() {
            let end = last.address.add(u64::from(last.len));
            let gap = range.address.0.saturating_sub(end.0);
            let is_near = gap == 0 || gap <= GAP && end.0 / PAGE == range.address.0 / PAGE;
            let from = range.address.since(last.address);
            let len = from.saturating_add(u64::from(range.len));
            if is_near && len <= MAX_BEHIND {
                last.len = last.len.max(u32::try_from(len).unwrap_or(last.len));
                continue;
            }
        }
        out.push(range);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    const KIND: Address = Address(0x5000_0000);

    fn wanted(address: u64, len: u32) -> Wanted {
        Wanted {
            address: Address(address),
            len,
        }
    }

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A task at `cell`: its third word points into an `Arc` whose second word points to a buffer.
    fn task(memory: &mut FakeMemory, cell: u64) -> [Wanted; 3] {
        let (shared, buffer) = (cell + 0x1_0000, cell + 0x2_0000);
        memory.map_words(Address(cell), &[1, 2, shared + 16, 4]);
        memory.map_words(Address(shared), &[1, 1, 5, buffer, 7]);
        memory.map_words(Address(buffer), &[8, 9]);
        [wanted(cell, 32), wanted(shared, 40), wanted(buffer + 8, 8)]
    }

    fn learn(habits: &Habits, memory: &FakeMemory, ranges: &[Wanted]) {
        let read: Vec<Vec<u8>> = ranges
            .iter()
            .map(|range| memory.bytes(range.address, range.len as usize).unwrap())
            .collect();
        let known: Vec<Known<'_>> = ranges
            .iter()
            .copied()
            .zip(read.iter().map(|b| &b[..]))
            .collect();
        habits.learn(KIND, &known);
    }

    #[test]
    fn what_one_task_was_read_at_is_foretold_of_the_next() {
        let mut memory = FakeMemory::default();
        let first = task(&mut memory, 0x10_0000);
        let second = task(&mut memory, 0x90_0000);
        let habits = Habits::default();
        assert_eq!(
            habits.foretell(&[(KIND, second[0])], &memory),
            [[second[0]]]
        );
        learn(&habits, &memory, &first);
        let other = wanted(0x10_0000, 32);
        let tasks = [(KIND, second[0]), (Address(0x77), other), (KIND, first[0])];
        let foretold = habits.foretell(&tasks, &memory);
        assert_eq!(foretold, [second.to_vec(), vec![other], first.to_vec()]);
        // The same once more teaches nothing.
        learn(&habits, &memory, &second);
        assert_eq!(habits.of_kinds.borrow()[&KIND].len(), 2);
    }

    #[test]
    fn pointers_that_lead_nowhere_foretell_nothing() {
        let mut memory = FakeMemory::default();
        let first = task(&mut memory, 0x10_0000);
        let habits = Habits::default();
        learn(&habits, &memory, &first);
        for wild in [0, 8, u64::MAX, u64::MAX - 15, 1 << 47] {
            memory.map_words(Address(0x40_0000), &[1, 2, wild, 4]);
            let cell = wanted(0x40_0000, 32);
            assert_eq!(
                habits.foretell(&[(KIND, cell)], &memory),
                [[cell]],
                "{wild:#x}"
            );
        }
        // One that is not mapped is tried, and nothing behind it.
        memory.map_words(Address(0x40_0000), &[1, 2, 0x7000_0000, 4]);
        let cell = wanted(0x40_0000, 32);
        let foretold = habits.foretell(&[(KIND, cell)], &memory);
        assert_eq!(foretold, [[cell, wanted(0x7000_0000 - 16, 40)]]);
        // Nor is the cell.
        let cell = wanted(0x66_0000, 32);
        assert_eq!(habits.foretell(&[(KIND, cell)], &memory), [[cell]]);
    }

    #[test]
    fn so_many_places_are_remembered_and_no_more() {
        let habits = Habits::default();
        let words: Vec<u64> = (0..200)
            .map(|index| 0x100_0000 + index * 0x1_0000)
            .collect();
        let cell = bytes(&words);
        let eight = [0; 8];
        let mut known: Vec<Known<'_>> = vec![(wanted(0x20_0000, 1600), &cell)];
        known.extend(words.iter().map(|word| (wanted(*word, 8), &eight[..])));
        habits.learn(KIND, &known);
        habits.learn(KIND, &known);
        assert_eq!(habits.of_kinds.borrow()[&KIND].len(), MAX_HOPS);
        // Nothing to learn from.
        habits.learn(KIND, &[]);
        let nothing: [Known<'_>; 2] = [
            (wanted(0x20_0000, 4), &[0; 4]),
            (wanted(0x9999_0000, 4), &[0; 4]),
        ];
        habits.learn(KIND, &nothing);
        assert_eq!(habits.of_kinds.borrow()[&KIND].len(), MAX_HOPS);
        // Vtables that a hostile target made up.
        for kind in 0..10_000 {
            habits.learn(Address(kind), &nothing);
        }
        assert_eq!(habits.of_kinds.borrow().len(), MAX_KINDS);
    }

    #[test]
    fn neighbours_are_one_range_unless_a_page_is_between() {
        let ranges = vec![
            wanted(0x1010, 8),
            wanted(0x1000, 8),
            wanted(0x1008, 4),
            wanted(0x1050, 8),
            wanted(0x10c0, 8),
            wanted(0x1ff8, 8),
            wanted(0x2000, 8),
            wanted(0x2ff0, 8),
            wanted(0x3000, 8),
            wanted(u64::MAX - 8, 16),
        ];
        let expected = [
            wanted(0x1000, 0x58),
            wanted(0x10c0, 8),
            wanted(0x1ff8, 16),
            wanted(0x2ff0, 8),
            wanted(0x3000, 8),
            wanted(u64::MAX - 8, 16),
        ];
        assert_eq!(merged(ranges), expected);
        assert_eq!(merged(Vec::new()), []);
    }
}
