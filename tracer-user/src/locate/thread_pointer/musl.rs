//! The thread descriptor of musl on x86-64, `struct pthread` of `src/internal/pthread_impl.h`.
//!
//! `self` @0 points to the descriptor, `prev` @16 and `next` @24 link those of all threads in a
//! ring (since 1.1.22), `tid` is @0x30, in 1.1 @0x38 behind a second canary. A thread's descriptor
//! lies above its stack in the same mapping (`pthread_create.c`); the main thread's is in .bss or,
//! when the program's thread-locals need more room, in a mapping of its own (`__init_tls.c`).

use std::collections::BTreeMap;

use super::Mapping;
use super::glibc::word;
use crate::address::Address;
use crate::memory::Memory;

const PREV: u64 = 16;
const NEXT: u64 = 24;
const TID: [usize; 2] = [0x30, 0x38];
/// Bytes of a descriptor that are looked at.
const HEAD_LEN: usize = 0x40;
/// At most so many bytes are read in search of the first descriptor.
pub(super) const SCAN_LIMIT: u64 = 64 << 20;
/// Of these, at most so many from one thread's stack pointer upwards.
const STACK_LIMIT: u64 = 9 << 20;
const CHUNK: usize = 64 << 10;
const PAGE: usize = 4096;
/// How far below the robust list's head the descriptor may start, bytes.
const DESCRIPTOR_REACH: u64 = 0x200;

/// The descriptor of the thread `tid` that holds the robust list head `head`.
pub(super) fn descriptor_around(memory: &dyn Memory, head: Address, tid: u32) -> Option<Address> {
    (0..DESCRIPTOR_REACH / 8).find_map(|back| {
        let address = Address(head.0.checked_sub(back * 8)?);
        (tid_of(memory, address, &[tid]) == Some(tid)).then_some(address)
    })
}

/// The descriptors of the threads `tids`, as far as one of them could be found: first above the
/// stack pointers `stacks`, then in the program's data, then in other anonymous memory from small
/// to large.
pub(super) fn descriptors(
    memory: &dyn Memory,
    mappings: &[Mapping],
    stacks: &[Address],
    tids: &[u32],
) -> BTreeMap<u32, Address> {
    let mut budget = SCAN_LIMIT;
    let mut places: Vec<(Address, Address)> = stacks
        .iter()
        .filter_map(|&stack| {
            let mapping = mappings
                .iter()
                .find(|mapping| (mapping.start..mapping.end).contains(&stack))?;
            Some((stack, mapping.end.min(stack.add(STACK_LIMIT))))
        })
        .collect();
    let mut rest: Vec<&Mapping> = mappings.iter().collect();
    rest.sort_by_key(|mapping| (!mapping.of_program, mapping.end.since(mapping.start)));
    places.extend(rest.iter().map(|mapping| (mapping.start, mapping.end)));
    places
        .into_iter()
        .find_map(|(start, end)| scan(memory, start, end, tids, &mut budget))
        .map(|first| follow(memory, first, tids))
        .unwrap_or_default()
}

/// The first descriptor in a range; takes what it reads from `budget`.
fn scan(
    memory: &dyn Memory,
    start: Address,
    end: Address,
    tids: &[u32],
    budget: &mut u64,
) -> Option<Address> {
    let mut at = start.0.checked_add(7)? & !7;
    while at < end.0 && *budget > 0 {
        let len = usize::try_from(end.0 - at).unwrap_or(CHUNK).min(CHUNK);
        *budget = budget.saturating_sub(len as u64);
        let (bytes, step) = match memory.bytes(Address(at), len) {
            Ok(bytes) => (bytes, len),
            // Part of the chunk is not there: go on page by page.
            Err(_) => {
                let page = (PAGE - usize::try_from(at).ok()? % PAGE).min(len);
                (memory.bytes(Address(at), page).unwrap_or_default(), page)
            }
        };
        let found = (0..bytes.len() / 8).find_map(|index| {
            let address = at.checked_add(index as u64 * 8)?;
            (word(&bytes, index * 8) == Some(address)
                && tid_of(memory, Address(address), tids).is_some())
            .then_some(Address(address))
        });
        if found.is_some() {
            return found;
        }
        at = at.checked_add(step as u64)?;
    }
    None
}

/// Which of `tids` the descriptor at `address` belongs to; `None` when it is none.
fn tid_of(memory: &dyn Memory, address: Address, tids: &[u32]) -> Option<u32> {
    let bytes = memory.bytes(address, HEAD_LEN).ok()?;
    if word(&bytes, 0) != Some(address.0) {
        return None;
    }
    let neighbour = |offset: u64| word(&bytes, usize::try_from(offset).ok()?);
    let (prev, next) = (neighbour(PREV)?, neighbour(NEXT)?);
    let linked = memory.u64(Address(next).add(PREV)).ok()? == address.0
        && memory.u64(Address(prev).add(NEXT)).ok()? == address.0;
    if !linked {
        return None;
    }
    TID.into_iter()
        .filter_map(|offset| bytes.get(offset..offset + 4)?.try_into().ok())
        .map(u32::from_le_bytes)
        .find(|tid| tids.contains(tid))
}

/// Goes round the ring once.
fn follow(memory: &dyn Memory, first: Address, tids: &[u32]) -> BTreeMap<u32, Address> {
    let mut found = BTreeMap::new();
    let mut at = first;
    // Threads may have come since the list of ids was read: allow for as many again.
    for _ in 0..tids.len() * 2 + 16 {
        if let Some(tid) = tid_of(memory, at, tids) {
            found.entry(tid).or_insert(at);
        }
        match memory.pointer(at.add(NEXT)) {
            Ok(next) if next != first => at = next,
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    fn ring(addresses: &[u64], tid_offset: usize) -> FakeMemory {
        let mut memory = FakeMemory::default();
        for (index, &address) in addresses.iter().enumerate() {
            let mut words = vec![0_u64; 0x1000 / 8];
            words[0] = address; // some word that points to itself at the page's start: no descriptor
            let own = address + 0x100;
            words[0x100 / 8] = own;
            words[0x110 / 8] = addresses[(index + addresses.len() - 1) % addresses.len()] + 0x100;
            words[0x118 / 8] = addresses[(index + 1) % addresses.len()] + 0x100;
            words[(0x100 + tid_offset) / 8] = 100 + index as u64;
            memory.map_words(Address(address), &words);
        }
        memory
    }

    fn mapping(start: u64) -> Mapping {
        Mapping {
            start: Address(start),
            end: Address(start + 0x1000),
            of_program: false,
        }
    }

    #[test]
    fn one_stack_leads_to_all_threads() {
        for tid_offset in [0x30, 0x38] {
            let memory = ring(&[0x10_0000, 0x20_0000, 0x30_0000], tid_offset);
            let found = descriptors(
                &memory,
                &[mapping(0x20_0000)],
                &[Address(0x20_0008)],
                &[100, 101, 102],
            );
            let expected = BTreeMap::from([
                (100, Address(0x10_0100)),
                (101, Address(0x20_0100)),
                (102, Address(0x30_0100)),
            ]);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_stack_pointer_scans_mappings() {
        let memory = ring(&[0x10_0000], 0x30);
        let found = descriptors(&memory, &[mapping(0x10_0000)], &[], &[100]);
        assert_eq!(found, BTreeMap::from([(100, Address(0x10_0100))]));
    }

    #[test]
    fn broken_rings_and_strange_ids_are_refused() {
        let memory = ring(&[0x10_0000], 0x30);
        assert!(descriptors(&memory, &[mapping(0x10_0000)], &[], &[7]).is_empty());
        let mut broken = ring(&[0x10_0000, 0x20_0000], 0x30);
        broken.map_words(Address(0x20_0000), &[0; 0x200]);
        assert!(descriptors(&broken, &[mapping(0x10_0000)], &[], &[100]).is_empty());
        let nothing = Mapping {
            start: Address(u64::MAX - 0x10),
            end: Address(u64::MAX),
            of_program: true,
        };
        assert!(descriptors(&broken, &[nothing], &[Address(u64::MAX)], &[100]).is_empty());
    }

    #[test]
    fn a_ring_that_never_closes_ends() {
        // The second descriptor links to itself: following it never comes back to the first.
        let mut memory = ring(&[0x10_0000, 0x20_0000], 0x30);
        let mut words = vec![0_u64; 0x200];
        words[0x100 / 8] = 0x20_0100;
        words[0x110 / 8] = 0x10_0100;
        words[0x118 / 8] = 0x20_0100;
        memory.map_words(Address(0x20_0000), &words);
        let found = follow(&memory, Address(0x10_0100), &[100, 101]);
        assert!(found.len() <= 1);
    }
}
