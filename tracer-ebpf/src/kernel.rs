//! The kernel's side of the logic: helpers and maps behind [`Machine`].

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, bpf_pidns_info,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_ns_current_pid_tgid, bpf_map_lookup_elem, bpf_probe_read_user, bpf_ringbuf_output,
    bpf_ringbuf_query,
};
use probe_logic::{Header, Machine, Thread};
use tracer_common::walk::Root;
use tracer_common::{Counters, Record, SHORT_RECORD, Settings};

use crate::maps::{
    COUNTERS, RINGS, ROOTS, SETTINGS, TASK_VTABLES, THREAD_PLACES, THREADS, THREADS_KEPT,
    ThreadSlot, WalkMemory,
};
use crate::panic::{begin_and_send, message_and_send};
use crate::walk::{compare_exchange, copy_task, opaque, take, walk_and_send};

/// The kernel as the logic sees it, on one CPU.
pub(crate) struct Kernel {
    pub(crate) cpu: u32,
    pub(crate) vtables: u32,
    pub(crate) wake_at: u64,
    /// Whether there are walk tables.
    pub(crate) walks: bool,
    /// What the poll that begins is walked with.
    pub(crate) memory: Option<&'static mut WalkMemory>,
    /// By what table.
    pub(crate) root: Option<&'static Root>,
}

impl Machine for Kernel {
    #[inline(always)]
    fn word(&mut self, address: u64) -> Option<u64> {
        let mut word = 0u64;
        // SAFETY: writes 8 bytes to `word`; the helper checks the address and never faults.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const c_void) };
        (failed == 0).then_some(word)
    }

    #[inline(always)]
    fn header(&mut self, task: u64, into: &mut Header) -> bool {
        // SAFETY: writes exactly one `Header`; the helper checks the address and never faults. On
        // failure it clears the destination.
        let failed = unsafe {
            bpf_probe_read_user(
                core::ptr::from_mut(into).cast(),
                size_of::<Header>() as u32,
                task as *const c_void,
            )
        };
        failed == 0
    }

    #[inline(always)]
    fn task_id_offset(&mut self, vtable: u64) -> Option<u32> {
        if self.vtables == 0 {
            return Some(0);
        }
        // SAFETY: the daemon fills the map before the first probe and never changes it.
        unsafe { TASK_VTABLES.get(&vtable) }.copied()
    }

    #[inline(always)]
    fn send(&mut self, record: &Record) {
        send(record, self.cpu, self.wake_at);
    }

    #[inline(always)]
    fn header_to_poll(&mut self, task: u64, probe: u32, into: &mut Header) -> bool {
        self.memory = take(self.cpu);
        if self.walks {
            self.root = ROOTS.get(probe);
        }
        if let Some(memory) = &mut self.memory
            && let Some(root) = self.root
            && copy_task(memory, root, task)
            && task & 7 == 0
            && memory.scratch.root_at.wrapping_add(memory.scratch.window)
                >= size_of::<Header>() as u32
        {
            *into = Header::from_start(&memory.scratch.buffer);
            return true;
        }
        self.header(task, into)
    }

    #[inline(always)]
    fn send_begin(&mut self, record: &Record, ended: Option<&Record>) {
        let Some(memory) = &mut self.memory else {
            // Programs that were preempted on this CPU have it all.
            if let Some(ended) = ended {
                send(ended, self.cpu, self.wake_at);
            }
            count(false, 1);
            if let Some(counters) = counters() {
                counters.preempted += 1;
            }
            return;
        };
        let sent = walk_and_send(memory, self.root, record, ended, self.cpu, self.wake_at);
        count(sent, 1 + u64::from(ended.is_some()));
    }

    #[inline(always)]
    fn send_panic_begin(&mut self, record: &Record) {
        let walks = self.walks && record.task != 0;
        count(begin_and_send(record, walks, self.cpu, self.wake_at), 1);
    }

    #[inline(always)]
    fn send_panic(&mut self, record: &Record, payload: u64, vtable: u64) {
        if !message_and_send(record, self.cpu, payload, vtable) {
            send(record, self.cpu, self.wake_at);
        } else {
            count(true, 1);
        }
    }

    #[inline(always)]
    fn too_deep(&mut self) {
        if let Some(counters) = counters() {
            counters.too_deep += 1;
        }
    }
}

/// Puts a record into this CPU's ring, or counts it as lost. A function of its own: the logic
/// sends from several places, and the verifier need not look at each in full.
#[inline(never)]
fn send(record: &Record, cpu: u32, wake_at: u64) {
    let mut failed = true;
    // SAFETY: the map holds ring buffers only; a null pointer is checked for, the record is
    // initialised and as long as said.
    unsafe {
        let ring = bpf_map_lookup_elem(RINGS.as_ptr(), (&raw const cpu).cast());
        if !ring.is_null() {
            failed = bpf_ringbuf_output(
                ring,
                core::ptr::from_ref(record).cast_mut().cast(),
                SHORT_RECORD as u64,
                ring_flags(ring, wake_at),
            ) != 0;
        }
    }
    count(!failed, 1);
}

/// In place of a fill level: this record does not look.
pub(crate) const NOT_NOW: u64 = u64::MAX;

/// The daemon looks every few milliseconds; waking it for each record would cost more than the
/// record. It is woken when a burst fills the ring faster than that.
///
/// # Safety
/// `ring` must be a ring buffer.
#[inline(always)]
pub(crate) unsafe fn ring_flags(ring: *mut c_void, wake_at: u64) -> u64 {
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

#[inline(always)]
fn count(sent: bool, records: u64) {
    if let Some(counters) = counters() {
        if sent {
            counters.sent += records;
        } else {
            counters.lost += records;
        }
    }
}

/// This CPU's counters. Two programs that interrupt each other on one CPU can lose a count, of
/// hits and records alike; the losses are those of the ring, where they cannot.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the map's one value of this CPU; only programs on this CPU write it.
    COUNTERS
        .get_ptr_mut(0)
        .map(|counters| unsafe { &mut *counters })
}

#[inline(always)]
pub(crate) fn settings() -> Option<&'static mut Settings> {
    // SAFETY: the map's one value. Only `tgid` is ever written while programs run, always with the
    // same number, by an aligned 4-byte store.
    SETTINGS
        .get_ptr_mut(0)
        .map(|settings| unsafe { &mut *settings })
}

/// One of the places of a thread.
#[inline(always)]
fn place(kernel_tid: u32, place: u32) -> Option<*mut ThreadSlot> {
    let index = kernel_tid.wrapping_mul(THREAD_PLACES).wrapping_add(place);
    THREADS.get_ptr_mut(index & (THREADS_KEPT - 1))
}

/// The place that a thread has, if it has one.
#[inline(always)]
fn slot(kernel_tid: u32) -> Option<*mut ThreadSlot> {
    let mut found = THREAD_PLACES;
    for each in 0..THREAD_PLACES {
        // SAFETY: a value of the map.
        if let Some(slot) = place(kernel_tid, each)
            && unsafe { (*slot).owner } == u64::from(kernel_tid)
        {
            found = each;
            break;
        }
    }
    // Looked up once more with a number that the verifier does not know, so that it follows what
    // comes after once and not for each place.
    let found = opaque(found);
    if found >= THREAD_PLACES {
        return None;
    }
    place(kernel_tid, found)
}

/// The state of this thread, if it is known.
#[inline(always)]
pub(crate) fn thread(kernel_tid: u32) -> Option<&'static mut Thread> {
    // SAFETY: the value belongs to one thread. Its probes do not nest; the scheduler's programs
    // touch it while it switches, and keep off while `busy` is set. Should it be given to another
    // thread in between, the worst case is a wrong end of a poll, never memory of ours.
    slot(kernel_tid).map(|slot| unsafe { &mut (*slot).thread })
}

/// The state of this thread, made when there was none.
#[inline(always)]
pub(crate) fn thread_or_new(kernel_tid: u32, tid: u32, now: u64) -> Option<&'static mut Thread> {
    let mut found = slot(kernel_tid);
    if found.is_none() {
        new_slot(kernel_tid, tid);
        found = slot(kernel_tid);
    }
    let found = found?;
    // SAFETY: as above.
    unsafe {
        (*found).used = now;
        Some(&mut (*found).thread)
    }
}

/// Takes a free place, or that of the thread that was not seen for longest.
#[inline(never)]
fn new_slot(kernel_tid: u32, tid: u32) {
    let (mut chosen, mut oldest) = (0, u64::MAX);
    for each in 0..THREAD_PLACES {
        // SAFETY: a value of the map.
        if let Some(slot) = place(kernel_tid, each)
            && unsafe { (*slot).used } < oldest
        {
            // SAFETY: as above.
            oldest = unsafe { (*slot).used };
            chosen = each;
        }
    }
    let Some(slot) = place(kernel_tid, opaque(chosen)) else {
        return;
    };
    // SAFETY: as above. Of two threads that want one place, the exchange lets one have it.
    unsafe {
        let before = (*slot).owner;
        if compare_exchange(&raw mut (*slot).owner, before, u64::from(kernel_tid)) == before {
            (*slot).thread.start(tid);
        }
    }
}

/// Forgets a thread.
#[inline(always)]
pub(crate) fn forget(kernel_tid: u32) {
    if let Some(slot) = slot(kernel_tid) {
        // SAFETY: a value of the map.
        unsafe {
            (*slot).used = 0;
            (*slot).owner = 0;
        }
    }
}

/// This thread's ids if it belongs to the target: (thread in the initial namespace, thread as the
/// daemon numbers it).
#[inline(always)]
pub(crate) fn of_target(settings: &mut Settings) -> Option<(u32, u32)> {
    let ids = bpf_get_current_pid_tgid();
    let kernel_tid = ids as u32;
    if settings.namespace_inode == 0 {
        return ((ids >> 32) as u32 == settings.pid).then_some((kernel_tid, kernel_tid));
    }
    let mut info = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: writes one `bpf_pidns_info`. A task outside the namespace makes it fail.
    let failed = unsafe {
        bpf_get_ns_current_pid_tgid(
            settings.namespace_device,
            settings.namespace_inode,
            &raw mut info,
            size_of::<bpf_pidns_info>() as u32,
        )
    };
    if failed != 0 || info.tgid != settings.pid {
        return None;
    }
    if settings.tgid == 0 {
        settings.tgid = (ids >> 32) as u32;
    }
    Some((kernel_tid, info.pid))
}

/// Says that something rare happened, through aya-log, once for each CPU.
macro_rules! say_once {
    ($count:expr, $context:expr, $($message:tt)+) => {
        if $count == 0 {
            aya_log_ebpf::warn!($context, $($message)+);
        }
        $count += 1;
    };
}
pub(crate) use say_once;

/// A program's context as a plain pointer.
#[inline(always)]
pub(crate) fn pointer(context: &impl EbpfContext) -> *mut c_void {
    context.as_ptr()
}
