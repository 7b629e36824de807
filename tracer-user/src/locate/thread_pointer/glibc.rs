//! The thread descriptor of glibc on x86-64, `struct pthread`.
//!
//! It begins with `tcbhead_t { void *tcb; dtv_t *dtv; void *self; .. }` (`sysdeps/x86_64/nptl/
//! tls.h`), of which `tcb` and `self` both point to the descriptor, and holds `tid` and
//! `robust_head` further down. Only the first is ABI: the offsets of the other two moved between
//! versions (0x2d0 and 0x2e0 in 2.36), so they are searched for.

use crate::address::Address;
use crate::memory::Memory;

/// How far below the robust list's head the descriptor may start, bytes.
const DESCRIPTOR_REACH: u64 = 0x1000;
/// How far into the descriptor the thread's id may be, bytes.
const TID_REACH: usize = 0x400;
/// What is read beyond the head, bytes.
const BEYOND: u64 = 0x40;

/// The descriptor that holds the robust list head `head` and belongs to the thread `tid`.
pub(super) fn descriptor_around(memory: &dyn Memory, head: Address, tid: u32) -> Option<Address> {
    // The window may reach below the mapping, which starts at a page: then take what there is.
    let page = head.0 & !0xfff;
    let (start, window) = [head.0.saturating_sub(DESCRIPTOR_REACH) & !7, page]
        .into_iter()
        .find_map(|start| {
            let len = usize::try_from((head.0 - start).checked_add(BEYOND)?).ok()?;
            Some((start, memory.bytes(Address(start), len).ok()?))
        })?;
    let last = usize::try_from(head.0 - start).ok()?;
    (0..=last)
        .rev()
        .filter(|offset| offset % 8 == 0)
        .find_map(|offset| {
            let address = start + offset as u64;
            let is_descriptor = word(&window, offset) == Some(address)
                && word(&window, offset + 16) == Some(address)
                && has_tid(&window[offset..], tid);
            is_descriptor.then_some(Address(address))
        })
}

/// The little-endian 64-bit word at `offset` of `bytes`.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn has_tid(descriptor: &[u8], tid: u32) -> bool {
    descriptor
        .chunks_exact(4)
        .take(TID_REACH / 4)
        .any(|bytes| bytes == tid.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    const BASE: u64 = 0x7000_0000;

    /// A page of a descriptor at `BASE + at` as of glibc 2.36, its mapping from `BASE` on.
    fn descriptor(at: u64, tid: u32) -> FakeMemory {
        let mut words = vec![0_u64; 0x2000 / 8];
        let index = usize::try_from(at / 8).unwrap();
        words[index] = BASE + at;
        words[index + 1] = 0x1234;
        words[index + 2] = BASE + at;
        words[index + 0x2d0 / 8] = u64::from(tid);
        words[index + 0x2e0 / 8] = BASE + at + 0x2e0;
        let mut memory = FakeMemory::default();
        memory.map_words(Address(BASE), &words);
        memory
    }

    #[test]
    fn is_found_below_the_list_head() {
        for at in [0, 0x40, 0x1000, 0x1c00] {
            let memory = descriptor(at, 77);
            let head = Address(BASE + at + 0x2e0);
            assert_eq!(
                descriptor_around(&memory, head, 77),
                Some(Address(BASE + at)),
                "{at:#x}"
            );
            assert_eq!(descriptor_around(&memory, head, 78), None);
        }
    }

    #[test]
    fn hostile_heads_find_nothing() {
        let memory = descriptor(0x40, 77);
        for head in [0, 8, BASE - 8, BASE + 0x1fff, u64::MAX, u64::MAX - 0x20] {
            assert_eq!(
                descriptor_around(&memory, Address(head), 77),
                None,
                "{head:#x}"
            );
        }
    }
}
