//! The walk at the entry of a poll: the tables and the target's memory as maps and helpers.
//!
//! One trap tells where the task stood since its last poll. The walk is `tracer_common::walk`; a
//! tree whose words were sent before is told by its hash alone.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use probe_logic::Header;
use tracer_common::walk::{
    BUFFER_WORDS, EdgeEntry, MAX_STEPS, MAX_WORDS, NodeEntry, Root, SENT_TREES_KEPT, StateEntry,
    Target, Walk, begin, copy, finish, step,
};
use tracer_common::{RecordKind, WalkResult};

use crate::kernel::counters;
use crate::maps::{
    EDGES, NO_WALK, NODES, ROOTS, SENT_TREES, STATES, VTABLE_NODES, WALKS, WalkMemory,
};
use crate::panic::begin_and_send;
use crate::ring::send_long;

/// Reads of the target and of the tables.
struct Memory;

impl Target for Memory {
    #[inline(always)]
    fn word(&self, address: u64) -> Option<u64> {
        let mut word = 0u64;
        // SAFETY: writes 8 bytes to `word`; the helper checks the address and never faults.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const c_void) };
        (failed == 0).then_some(word)
    }

    #[inline(always)]
    fn copy_window(&self, address: u64, bytes: u32, buffer: &mut [u64; BUFFER_WORDS]) -> bool {
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
        &self,
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
    fn node(&self, index: u32) -> Option<&NodeEntry> {
        NODES.get(index)
    }

    #[inline(always)]
    fn state(&self, index: u32) -> Option<&StateEntry> {
        STATES.get(index)
    }

    #[inline(always)]
    fn edge(&self, index: u32) -> Option<&EdgeEntry> {
        EDGES.get(index)
    }

    #[inline(always)]
    fn vtable(&self, address: u64) -> Option<u32> {
        // SAFETY: the daemon fills the map before the first probe and never changes it.
        unsafe { VTABLE_NODES.get(&address) }.copied()
    }

    #[inline(always)]
    fn unknown(&self, value: u32) -> u32 {
        opaque(value)
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
    i64::from(!step(&mut memory.scratch, &Memory))
}

/// Walks the task whose poll, or panic, began at `time`, and sends its record, which the memory
/// keeps, with what was found. `false` when it could not be sent. `aux` of the record tells why there
/// is no path.
#[inline(always)]
pub(crate) fn walk_and_send(
    memory: &mut WalkMemory,
    time: u64,
    walks: bool,
    cpu: u32,
    wake_at: u64,
) -> bool {
    // Another thread's, which it was given to while this one was preempted: the record is lost.
    if memory.record.time != time {
        return false;
    }
    if memory.record.kind == RecordKind::PanicBegin as u8 {
        return begin_and_send(memory, walks, cpu, wake_at);
    }
    let mut result = WalkResult::NoTables;
    if walks && let Some(root) = ROOTS.get(memory.record.probe) {
        result = walk(memory, root);
    }
    if memory.scratch.owner != time {
        result = WalkResult::Disturbed;
    }
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
        let sent = send(memory, words, cpu, wake_at);
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
    if !matches!(
        result,
        WalkResult::NotDescribed | WalkResult::NoFuture | WalkResult::NoTables
    ) && let Some(counters) = counters()
    {
        counters.not_walked += 1;
    }
    send(memory, 0, cpu, wake_at)
}

/// Copies a task for [`walk`]. `true` when its header, too, is in the copy, at the start of the buffer.
#[inline(always)]
pub(crate) fn copy_task(memory: &mut WalkMemory, root: &Root, header: u64) -> bool {
    copy(&mut memory.scratch, &Memory, root, header)
        && memory.scratch.root_at.wrapping_add(memory.scratch.window) >= size_of::<Header>() as u32
}

/// Walks the task that was copied last. A function of its own, as the begins of polls and of panics
/// walk.
#[inline(never)]
pub(crate) fn walk(memory: &mut WalkMemory, root: &Root) -> WalkResult {
    match begin(&mut memory.scratch, &Memory, root) {
        Walk::Nothing if root.node == tracer_common::walk::NO_STATE => {
            return WalkResult::NotDescribed;
        }
        Walk::Nothing => return WalkResult::NoFuture,
        Walk::Over => {}
        Walk::Begun => {
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
        }
    }
    finish(&mut memory.scratch);
    WalkResult::Walked
}

#[inline(always)]
fn send(memory: &WalkMemory, words: u32, cpu: u32, wake_at: u64) -> bool {
    let words = opaque(words) & (2 * MAX_WORDS as u32 - 1);
    let words = if words > MAX_WORDS as u32 { 0 } else { words };
    send_long(memory, u64::from(words) * 4, cpu, wake_at)
}

#[inline(always)]
pub(crate) fn memory_of(kernel_tid: u32) -> Option<*mut WalkMemory> {
    if let Some(memory) = WALKS.get_ptr_mut(kernel_tid) {
        return Some(memory);
    }
    let empty = NO_WALK.get(0)?;
    WALKS.insert(kernel_tid, empty, 0).ok()?;
    WALKS.get_ptr_mut(kernel_tid)
}
