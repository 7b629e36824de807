//! What is read when a panic begins, and when it is on its way: the location, the task's futures,
//! the message. Panics are rare: what may be needed is sent whole, and nothing is suppressed.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::panic::{
    PAYLOAD_BYTES, PAYLOAD_WORDS, SITE_BYTES, SITE_WORDS, TEXT_BYTES, TREE_BYTES, is_location,
    message,
};
use tracer_common::walk::BUFFER_WORDS;
use tracer_common::{Record, WalkResult};

use crate::maps::{ROOTS, WalkMemory};
use crate::ring::{NOT_NOW, send_long};
use crate::walk::{copy_task, memory_of, opaque, walk};

/// Walks the task in whose poll a panic begins, reads where the panic began, and sends both.
#[inline(never)]
pub(crate) fn begin_and_send(memory: &mut WalkMemory, walks: bool, cpu: u32, wake_at: u64) -> bool {
    let (time, task) = (memory.record.time, memory.record.task);
    let mut result = WalkResult::NoTables;
    if walks
        && task != 0
        && let Some(root) = ROOTS.get(memory.record.probe)
    {
        copy_task(memory, root, task);
        result = walk(memory, root);
    }
    if memory.scratch.owner != time {
        result = WalkResult::Disturbed;
    }
    memory.record.aux = result as u8;
    if let WalkResult::Walked = result {
        memory.record.path = memory.scratch.hash;
        memory.record.marks = memory.scratch.marks;
        memory.record.reserved = memory.scratch.count as u16;
    }
    let places = [memory.record.state, memory.record.by];
    // Right behind the words of the tree, and not needed any more.
    let site = &mut memory.scratch.buffer;
    site[0] = 0;
    if !read_location(site, places[0]) {
        read_location(site, places[1]);
    }
    // The words and the start of the buffer lie behind each other.
    send_long(memory, (TREE_BYTES + SITE_BYTES) as u64, cpu, wake_at)
}

/// Reads a location and the end of its file's name; `false` when there is none.
#[inline(always)]
fn read_location(site: &mut [u64; BUFFER_WORDS], at: u64) -> bool {
    // SAFETY: writes 24 bytes of the buffer; the helper checks the address and never faults.
    let failed =
        unsafe { bpf_probe_read_user(site.as_mut_ptr().add(1).cast(), 24, at as *const c_void) };
    if failed != 0 || !is_location(site[1], site[2], site[3]) {
        return false;
    }
    let length = site[2];
    let bytes = if length > TEXT_BYTES as u64 {
        TEXT_BYTES as u32
    } else {
        length as u32
    };
    let from = site[1].wrapping_add(length - u64::from(bytes));
    // SAFETY: at most 511 bytes behind the words, of the 8,192 of the buffer.
    let failed = unsafe {
        bpf_probe_read_user(
            site.as_mut_ptr().add(SITE_WORDS).cast(),
            opaque(bytes) & (2 * TEXT_BYTES as u32 - 1),
            from as *const c_void,
        )
    };
    site[0] = at;
    site[4] = if failed == 0 { u64::from(bytes) } else { 0 };
    true
}

/// Reads what a panic says, and sends it; `false` when there is nothing, or it could not be sent.
#[inline(never)]
pub(crate) fn message_and_send(
    record: &Record,
    kernel_tid: u32,
    cpu: u32,
    payload: u64,
    vtable: u64,
) -> bool {
    let Some(memory) = memory_of(kernel_tid) else {
        return false;
    };
    // SAFETY: the value of this thread, as above.
    let memory: &mut WalkMemory = unsafe { &mut *memory };
    memory.record = *record;
    memory.ended.poll = 0;
    // SAFETY: 512 bytes, aligned to 8 as what is before them is 144 bytes long; nothing else
    // uses them meanwhile.
    let words = unsafe { &mut *(&raw mut memory.scratch.words).cast::<[u64; TREE_BYTES / 8]>() };
    // SAFETY: a vtable begins with a function, the size and the alignment: 8 bytes of it, and 32 of
    // the payload, which lies on the stack, so that what is behind it is readable too.
    let failed = unsafe {
        bpf_probe_read_user(
            words.as_mut_ptr().cast(),
            8,
            vtable.wrapping_add(8) as *const c_void,
        ) | bpf_probe_read_user(
            words.as_mut_ptr().add(1).cast(),
            32,
            payload as *const c_void,
        )
    };
    if failed != 0 {
        return false;
    }
    let Some((text, length)) = message(words[0], [words[1], words[2], words[3], words[4]]) else {
        return false;
    };
    let bytes = if length > TEXT_BYTES as u64 {
        TEXT_BYTES as u32
    } else {
        length as u32
    };
    words[5] = text;
    words[6] = length;
    // SAFETY: at most 511 bytes from byte 64 of 512: the mask alone would let 63 too many through,
    // which are those of the buffer behind the words.
    let failed = unsafe {
        bpf_probe_read_user(
            words.as_mut_ptr().add(PAYLOAD_WORDS).cast(),
            opaque(bytes) & (2 * TEXT_BYTES as u32 - 1),
            text as *const c_void,
        )
    };
    words[7] = if failed == 0 { u64::from(bytes) } else { 0 };
    send_long(memory, PAYLOAD_BYTES as u64, cpu, NOT_NOW)
}
