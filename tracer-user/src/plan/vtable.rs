//! tokio's task vtables, found by their shape in a binary's data.
//!
//! `tokio::runtime::task::raw::Vtable` (tokio 1.23 and later) is seven functions (poll, schedule,
//! dealloc, try_read_output, drop_join_handle_slow, drop_abort_handle, shutdown) and the offsets
//! of trailer, scheduler and id from the task's `Header`; it is a constant of the binary. So task
//! polls are found in stripped binaries too, and the id of a task is found in any.

use crate::address::LinkAddress;
use crate::object::Binary;

/// Functions at the start of the vtable.
const FUNCTIONS: usize = 7;
/// Size of a `Header` without the fields of `tokio_unstable`, in bytes: nothing lies before that.
const HEADER: u64 = 32;
/// Largest offset of the scheduler: a `Core` aligned for the most demanding future.
const MAX_SCHEDULER_OFFSET: u64 = 4096;
/// Largest offset of the trailer. tokio boxes futures above 16 KiB; before 1.41 it did not.
const MAX_TRAILER_OFFSET: u64 = 16 << 20;

/// A task vtable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskVtable {
    /// Where it is linked.
    pub address: LinkAddress,
    /// `raw::poll` of its future and scheduler.
    pub poll: LinkAddress,
    /// `raw::schedule` of its scheduler.
    pub schedule: LinkAddress,
    /// Offset of the trailer from the `Header`, in bytes.
    pub trailer_offset: u64,
    /// Offset of the scheduler from the `Header`, in bytes.
    pub scheduler_offset: u64,
    /// Offset of the task id from the `Header`, in bytes.
    pub id_offset: u16,
}

/// Every task vtable of a binary, in the order of addresses.
#[must_use]
pub fn task_vtables(binary: &Binary) -> Vec<TaskVtable> {
    let mut found = Vec::new();
    for section in binary.constant_data() {
        let words: Vec<(LinkAddress, u64)> = section.words().collect();
        let mut functions = 0;
        for (index, (_, word)) in words.iter().enumerate() {
            if binary.is_code(LinkAddress(*word)) {
                functions += 1;
                continue;
            }
            // The run of functions ends here: the offsets follow, if this is one.
            if functions >= FUNCTIONS
                && let Some(run) = words.get(index - FUNCTIONS..index + 3)
                && let Some(vtable) = read(run)
            {
                found.push(vtable);
            }
            functions = 0;
        }
    }
    found
}

fn read(words: &[(LinkAddress, u64)]) -> Option<TaskVtable> {
    let &[
        (address, poll),
        (_, schedule),
        ..,
        (_, trailer_offset),
        (_, scheduler_offset),
        (_, id_offset),
    ] = words
    else {
        return None;
    };
    let aligned = |offset: u64| offset.is_multiple_of(8);
    let plausible = aligned(trailer_offset)
        && aligned(scheduler_offset)
        && aligned(id_offset)
        && (HEADER..=MAX_SCHEDULER_OFFSET).contains(&scheduler_offset)
        && scheduler_offset <= id_offset
        && id_offset < trailer_offset
        && trailer_offset <= MAX_TRAILER_OFFSET;
    plausible.then_some(TaskVtable {
        address,
        poll: LinkAddress(poll),
        schedule: LinkAddress(schedule),
        trailer_offset,
        scheduler_offset,
        id_offset: u16::try_from(id_offset).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vtable(offsets: [u64; 3]) -> Option<TaskVtable> {
        let words: Vec<_> = (0..7)
            .map(|slot| 0x1000 + slot * 16)
            .chain(offsets)
            .zip(0_u64..)
            .map(|(word, index)| (LinkAddress(0x9000 + index * 8), word))
            .collect();
        read(&words)
    }

    #[test]
    fn the_offsets_decide() {
        let found = vtable([640, 32, 40]).unwrap();
        assert_eq!(found.address, LinkAddress(0x9000));
        assert_eq!(found.poll, LinkAddress(0x1000));
        assert_eq!(found.schedule, LinkAddress(0x1010));
        assert_eq!(found.id_offset, 40);
        for offsets in [
            [0, 32, 40],     // drop glue without code, size, alignment
            [24, 8, 0x1000], // size and alignment, then a method
            [640, 32, 24],   // the id before the scheduler
            [640, 31, 40],   // unaligned
            [32, 32, 40],    // the trailer before the id
            [u64::MAX, 32, 40],
            [1 << 20, 32, 1 << 19], // an id further out than a cookie holds
        ] {
            assert_eq!(vtable(offsets), None, "{offsets:?}");
        }
    }
}
