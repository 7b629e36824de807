//! The walk at the entry of a poll: the tables and the target's memory as maps and helpers.
//!
//! One trap tells where the task stood since its last poll. The walk is `tracer_common::walk`; a
//! tree whose words were sent before is told by its hash alone.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_map_lookup_elem, bpf_probe_read_user, bpf_ringbuf_output,
};
use tracer_common::walk::{
    BUFFER_WORDS, EdgeEntry, MAX_STEPS, MAX_WORDS, NodeEntry, Root, SENT_TREES_KEPT, StateEntry,
    Target, Walk, begin, copy, finish, step,
};
use tracer_common::{Ended, LONG_RECORD, Record, WalkResult};

use crate::kernel::{counters, ring_flags};
use crate::maps::{
    EDGES, NODES, RINGS, SENT_TREES, STATES, VTABLE_NODES, WALKS, WALKS_PER_CPU, WalkMemory,
};

/// Reads of the target and of the tables.
struct Memory;

impl Target for Memory {
    #[inline(always)]
    fn word(&mut self, address: u64) -> Option<u64> {
        let mut word = 0u64;
        // SAFETY: writes 8 bytes to `word`; the helper checks the address and never faults.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const c_void) };
        (failed == 0).then_some(word)
    }

    #[inline(always)]
    fn copy_window(&mut self, address: u64, bytes: u32, buffer: &mut [u64; BUFFER_WORDS]) -> bool {
        // SAFETY: at most 4,088 of the 8,192 bytes of the buffer; the mask is for the verifier.
        let failed = unsafe {
            bpf_probe_read_user(
                buffer.as_mut_ptr().cast(),
                opaque(bytes) & 0xff8,
                address as *const c_void,
            )
        };
        failed == 0
    }

    #[inline(always)]
    fn copy_object(
        &mut self,
        address: u64,
        bytes: u32,
        buffer: &mut [u64; BUFFER_WORDS],
        at: u32,
    ) -> bool {
        // Offsets from 4,096 to 6,136, so bit 11 is 0: with the mask the verifier sees that at most
        // 2,040 bytes from there stay inside the 8,192.
        let at = opaque(at) & 0x17f8;
        // SAFETY: as above.
        let failed = unsafe {
            bpf_probe_read_user(
                buffer.as_mut_ptr().cast::<u8>().add(at as usize).cast(),
                opaque(bytes) & 0x7f8,
                address as *const c_void,
            )
        };
        failed == 0
    }

    #[inline(always)]
    fn node(&mut self, index: u32) -> Option<NodeEntry> {
        NODES.get(index).copied()
    }

    #[inline(always)]
    fn state(&mut self, index: u32) -> Option<StateEntry> {
        STATES.get(index).copied()
    }

    #[inline(always)]
    fn edge(&mut self, index: u32) -> Option<EdgeEntry> {
        EDGES.get(index).copied()
    }

    #[inline(always)]
    fn vtable(&mut self, address: u64) -> Option<u32> {
        // SAFETY: the daemon fills the map before the first probe and never changes it.
        unsafe { VTABLE_NODES.get(&address) }.copied()
    }
}

/// Keeps the optimiser from dropping a mask that the verifier needs.
#[inline(always)]
pub(crate) fn opaque(value: u32) -> u32 {
    let mut value = value;
    // SAFETY: an empty instruction that claims to change the register.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack)) };
    value
}

/// What the steps share: a pointer into a map, which the verifier follows through the stack.
struct Shared {
    memory: *mut WalkMemory,
}

/// One step, for `bpf_loop`: 1 ends it.
extern "C" fn one_step(_index: u64, shared: *mut Shared) -> i64 {
    // SAFETY: `walk_and_send` passes its own, with the memory of this thread.
    let memory = unsafe { &mut *(*shared).memory };
    i64::from(!step(&mut memory.scratch, &mut Memory))
}

/// Sends the begin of a poll with where the task stood, whose copy is in the memory, and with the end
/// that comes before it. `false` when it could not be sent. `aux` of the record tells why there is no
/// path.
#[inline(always)]
pub(crate) fn walk_and_send(
    memory: &mut WalkMemory,
    root: Option<&Root>,
    record: &Record,
    ended: Option<&Record>,
    cpu: u32,
    wake_at: u64,
) -> bool {
    memory.record = *record;
    memory.ended.poll = 0;
    if let Some(ended) = ended {
        memory.ended = Ended {
            poll: ended.poll,
            task: ended.task,
            task_id: ended.task_id,
            state: ended.state,
            probe: ended.probe,
            reserved: 0,
        };
    }
    let result = root.map_or(WalkResult::NoTables, |root| walk(memory, root));
    memory.record.aux = result as u8;
    let mut words = 0;
    if let WalkResult::Walked = result {
        let hash = memory.scratch.hash;
        memory.record.path = hash;
        memory.record.marks = memory.scratch.marks;
        let slot = SENT_TREES.get_ptr_mut(hash as u32 & (SENT_TREES_KEPT - 1));
        // SAFETY: a value of the map; a race between two CPUs sends a tree twice.
        let known = slot.is_some_and(|slot| unsafe { *slot } == hash);
        if !known {
            words = memory.scratch.count;
        }
        let sent = output(memory, words, cpu, wake_at);
        if sent && !known {
            if let Some(slot) = slot {
                // SAFETY: as above. Only after the tree was sent, so that a loss is mended.
                unsafe { *slot = hash };
            }
            if let Some(counters) = counters() {
                counters.trees += 1;
            }
        }
        return sent;
    }
    output(memory, 0, cpu, wake_at)
}

/// Copies a task for [`walk`]; `false` when each of its words has to be read by itself.
#[inline(always)]
pub(crate) fn copy_task(memory: &mut WalkMemory, root: &Root, header: u64) -> bool {
    copy(&mut memory.scratch, &mut Memory, root, header)
}

/// Walks the task that was copied last. A function of its own, as the begins of polls and of panics
/// walk.
#[inline(never)]
pub(crate) fn walk(memory: &mut WalkMemory, root: &Root) -> WalkResult {
    if let Walk::Nothing = begin(&mut memory.scratch, &mut Memory, root) {
        return if root.node == tracer_common::walk::NO_STATE {
            WalkResult::NotDescribed
        } else {
            WalkResult::NoFuture
        };
    }
    let mut shared = Shared { memory };
    // SAFETY: the callback takes what is passed, and the loop ends before `shared` does.
    unsafe {
        bpf_loop(
            MAX_STEPS,
            one_step as *mut c_void,
            (&raw mut shared).cast(),
            0,
        );
    }
    finish(&mut memory.scratch);
    WalkResult::Walked
}

#[inline(always)]
fn output(memory: &mut WalkMemory, words: u32, cpu: u32, wake_at: u64) -> bool {
    let words = opaque(words) & (2 * MAX_WORDS as u32 - 1);
    let words = if words > MAX_WORDS as u32 { 0 } else { words };
    // SAFETY: a ring of the map or null; the record and its words are one piece of the map's value.
    unsafe {
        let ring = bpf_map_lookup_elem(RINGS.as_ptr(), (&raw const cpu).cast());
        if ring.is_null() {
            return false;
        }
        bpf_ringbuf_output(
            ring,
            core::ptr::from_mut(memory).cast(),
            LONG_RECORD as u64 + u64::from(words) * 4,
            ring_flags(ring, wake_at),
        ) == 0
    }
}

/// Memory that no other program uses, until [`give_back`].
#[inline(always)]
pub(crate) fn take(cpu: u32) -> Option<&'static mut WalkMemory> {
    for attempt in 0..WALKS_PER_CPU {
        let memory = WALKS.get_ptr_mut(cpu.wrapping_mul(WALKS_PER_CPU).wrapping_add(attempt))?;
        // SAFETY: a value of the map, which nobody else uses once this flag was changed from 0: an
        // atomic exchange, as a program may be preempted anywhere by another one on this CPU.
        unsafe {
            if exchange(&raw mut (*memory).taken, 1) == 0 {
                return Some(&mut *memory);
            }
        }
    }
    None
}

/// Lets others use it.
#[inline(always)]
pub(crate) fn give_back(memory: &mut WalkMemory) {
    memory.taken = 0;
}

/// Stores a value if the one before is `expected`, and returns that one before, as one thing; see
/// [`exchange`].
///
/// # Safety
/// The pointer must be valid and aligned.
#[inline(always)]
pub(crate) unsafe fn compare_exchange(place: *mut u64, expected: u64, value: u64) -> u64 {
    let mut before = expected;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {value})",
            place = in(reg) place,
            value = in(reg) value,
            inout("r0") before,
            options(nostack),
        );
    }
    before
}

/// Stores a value and returns the one before, as one thing. The target has the instruction (Linux
/// 5.12), but rustc does not offer it there.
///
/// # Safety
/// The pointer must be valid and aligned.
#[inline(always)]
unsafe fn exchange(place: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!(
            "{value} = xchg_64({place} + 0, {value})",
            place = in(reg) place,
            value = inout(reg) value,
            options(nostack),
        );
    }
    value
}
