//! What goes to the daemon: records into a batch of this CPU, and batches, with what is long or
//! rare, into its ring.
//!
//! A record that goes into the ring by itself costs as much as the rest of a hit: the ring's lock, and
//! memory that the daemon's CPU had last. A batch goes there when it is full, when a thread of the
//! target leaves the CPU, and when the daemon asks for it ([`crate::programs::on_flush`]).

use core::ffi::c_void;
use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_ringbuf_output, bpf_ringbuf_query};
use tracer_common::{BATCH, BATCH_BUSY, BATCH_BYTES, LONG_RECORD, Record, SHORT_RECORD};

use crate::kernel::{count, counters};
use crate::maps::{BATCHES, FILLS, RINGS, WalkMemory};
use crate::walk::opaque;

/// In place of a fill level of the ring: this one does not look.
pub(crate) const NOT_NOW: u64 = u64::MAX;

/// Sends a record, or counts it as lost. A function of its own: the logic sends from several places,
/// and the verifier need not look at each in full.
#[inline(never)]
pub(crate) fn send(record: &Record, cpu: u32, wake_at: u64) {
    let words = core::ptr::from_ref(record).cast();
    // SAFETY: a record is longer than that, and aligned to 8.
    let mut sent = unsafe { append::<{ SHORT_RECORD / 8 }>(words, 1, cpu, wake_at) };
    if !sent {
        flush(cpu, wake_at);
        // SAFETY: as above.
        sent = unsafe { output(words.cast(), SHORT_RECORD as u64, cpu, wake_at) };
    }
    count(sent, 1);
}

/// Sends a record by itself, or counts it as lost: where a batch is not kept anyway, as a thread leaves.
#[inline(never)]
pub(crate) fn send_now(record: &Record, cpu: u32, wake_at: u64) {
    let words = core::ptr::from_ref(record).cast();
    // SAFETY: a record is longer than that.
    count(
        unsafe { output(words, SHORT_RECORD as u64, cpu, wake_at) },
        1,
    );
}

/// Sends the record of a begin, with so many bytes of what follows it. `false` when it is lost.
#[inline(always)]
pub(crate) fn send_long(memory: &WalkMemory, further: u64, cpu: u32, wake_at: u64) -> bool {
    let words = core::ptr::from_ref(memory).cast();
    let records = 1 + u64::from(memory.ended.poll != 0);
    // SAFETY: the memory is longer than that, and aligned to 8.
    if further == 0 && unsafe { append::<{ LONG_RECORD / 8 }>(words, records, cpu, wake_at) } {
        return true;
    }
    flush(cpu, wake_at);
    // SAFETY: the caller's number lies inside the memory: the verifier looks.
    unsafe { output(words.cast(), LONG_RECORD as u64 + further, cpu, wake_at) }
}

/// Appends so many words to this CPU's batch; `false` when somebody else is at it: a program that was
/// preempted there, as a uprobe's program may be.
///
/// # Safety
/// There must be as many words.
#[inline(always)]
unsafe fn append<const WORDS: usize>(
    from: *const u64,
    records: u64,
    cpu: u32,
    wake_at: u64,
) -> bool {
    let most = (BATCH_BYTES - WORDS * 8) as u32;
    let (Some(fill), Some(batch)) = (FILLS.get_ptr_mut(0), BATCHES.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: values of this CPU. Whoever has set the flag is the only one that writes them.
    unsafe {
        let mut before = fill.read_volatile();
        if before as u32 > most {
            flush(cpu, wake_at);
            before = fill.read_volatile();
        }
        if before & BATCH_BUSY != 0
            || before as u32 > most
            || compare_exchange(fill, before, before | BATCH_BUSY) != before
        {
            return false;
        }
        // Less than 4,096, with at least as many bytes as a long record behind; the mask is for the
        // verifier.
        let at = opaque(before as u32) & (BATCH_BYTES as u32 - 8);
        let to = (*batch).entries.as_mut_ptr().byte_add(at as usize);
        for index in 0..WORDS {
            *to.add(index) = *from.add(index);
        }
        compiler_fence(Ordering::SeqCst);
        fill.write_volatile(before + WORDS as u64 * 8 + (records << 32));
    }
    true
}

/// Puts this CPU's batch into its ring. 1 when somebody else is at it, else 0.
#[inline(never)]
pub(crate) fn flush(cpu: u32, wake_at: u64) -> u64 {
    let (Some(fill), Some(batch)) = (FILLS.get_ptr_mut(0), BATCHES.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: as above; what is put into the ring begins with the marker and ends inside the value.
    unsafe {
        let before = fill.read_volatile();
        if before == 0 {
            return 0;
        }
        if before & BATCH_BUSY != 0 || compare_exchange(fill, before, before | BATCH_BUSY) != before
        {
            return 1;
        }
        (*batch).marker = BATCH;
        let bytes = opaque(before as u32) & (2 * BATCH_BYTES as u32 - 1);
        let bytes = if bytes > BATCH_BYTES as u32 { 0 } else { bytes };
        let sent = output(batch.cast(), 8 + u64::from(bytes), cpu, wake_at);
        if !sent && let Some(counters) = counters() {
            // They were counted when they were appended.
            let records = before >> 32;
            counters.lost += records;
            counters.sent = counters.sent.wrapping_sub(records);
        }
        compiler_fence(Ordering::SeqCst);
        fill.write_volatile(0);
    }
    0
}

/// Puts bytes into this CPU's ring.
///
/// # Safety
/// There must be as many bytes.
#[inline(always)]
pub(crate) unsafe fn output(from: *const c_void, bytes: u64, cpu: u32, wake_at: u64) -> bool {
    // SAFETY: the map holds ring buffers only; a null pointer is checked for.
    unsafe {
        let ring = bpf_map_lookup_elem(RINGS.as_ptr(), (&raw const cpu).cast());
        !ring.is_null()
            && bpf_ringbuf_output(ring, from.cast_mut(), bytes, flags(ring, wake_at)) == 0
    }
}

/// The daemon looks every few milliseconds; waking it each time would cost more than a batch. It is
/// woken when a burst fills the ring faster than that.
///
/// # Safety
/// `ring` must be a ring buffer.
#[inline(always)]
unsafe fn flags(ring: *mut c_void, wake_at: u64) -> u64 {
    if wake_at == NOT_NOW {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    // SAFETY: the caller's promise.
    let unread = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    u64::from(if unread >= wake_at {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}

/// Stores a value if the one before is `expected`, and returns that one before, as one thing. The BPF
/// machine has the instruction (Linux 5.12), but rustc does not offer it there.
///
/// # Safety
/// The pointer must be valid and aligned.
#[inline(always)]
unsafe fn compare_exchange(place: *mut u64, expected: u64, value: u64) -> u64 {
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
