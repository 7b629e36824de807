//! The kernel's side of the logic: helpers and maps behind [`Machine`].

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_pidns_info;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_ns_current_pid_tgid, bpf_probe_read_user};
use probe_logic::{Header, Machine, Thread};
use tracer_common::{Counters, Ended, Record, Settings};

use crate::maps::{COUNTERS, NO_THREAD, ROOTS, SETTINGS, TASK_VTABLES, THREADS, WalkMemory};
use crate::panic::message_and_send;
use crate::ring::{send, send_now};
use crate::walk::{copy_task, memory_of};

/// The kernel as the logic sees it, on one CPU. Records go into the CPU's batch, or each into the ring.
pub(crate) struct Kernel<const BATCHED: bool> {
    pub(crate) cpu: u32,
    pub(crate) vtables: u32,
    pub(crate) wake_at: u64,
    /// Whether there are walk tables.
    pub(crate) walks: bool,
    /// The current thread, in the initial pid namespace.
    pub(crate) kernel_tid: u32,
    /// Now.
    pub(crate) time: u64,
    /// This thread's memory for a walk, once a poll or a panic begins; else null.
    pub(crate) memory: *mut WalkMemory,
    /// Whether it holds a record that is to be walked for and sent.
    pub(crate) begun: bool,
}

impl<const BATCHED: bool> Machine for Kernel<BATCHED> {
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
        if BATCHED {
            send(record, self.cpu, self.wake_at);
        } else {
            send_now(record, self.cpu, self.wake_at);
        }
    }

    #[inline(always)]
    fn header_to_poll(&mut self, task: u64, probe: u32, into: &mut Header) -> bool {
        if let Some(memory) = self.take_memory()
            && self.walks
            && let Some(root) = ROOTS.get(probe)
            && copy_task(memory, root, task)
            && task & 7 == 0
        {
            into.take(&memory.scratch.buffer);
            if memory.scratch.owner == self.time {
                return true;
            }
        }
        self.header(task, into)
    }

    #[inline(always)]
    fn send_begin(&mut self, record: &Record, ended: &Ended) {
        self.keep(record, ended);
    }

    #[inline(always)]
    fn send_panic_begin(&mut self, record: &Record) {
        self.take_memory();
        self.keep(record, &Ended::NONE);
    }

    #[inline(always)]
    fn send_panic(&mut self, record: &Record, payload: u64, vtable: u64) {
        if !message_and_send(record, self.kernel_tid, self.cpu, payload, vtable) {
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

impl<const BATCHED: bool> Kernel<BATCHED> {
    /// This thread's memory for a walk. Should it be given to another thread while this one is
    /// preempted, both write into it: the owner shows that afterwards.
    #[inline(always)]
    fn take_memory(&mut self) -> Option<&'static mut WalkMemory> {
        self.memory = memory_of(self.kernel_tid)?;
        // SAFETY: the value of this thread.
        let memory = unsafe { &mut *self.memory };
        memory.scratch.owner = self.time;
        Some(memory)
    }

    /// Keeps the record of a begin in this thread's memory until the walk.
    #[inline(always)]
    fn keep(&mut self, record: &Record, ended: &Ended) {
        if self.memory.is_null() {
            count(false, 1 + u64::from(ended.poll != 0));
            return;
        }
        // SAFETY: as above.
        let memory = unsafe { &mut *self.memory };
        memory.record = *record;
        memory.ended = *ended;
        memory.scratch.count = 0;
        self.begun = true;
    }
}

#[inline(always)]
pub(crate) fn count(sent: bool, records: u64) {
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

/// The state of this thread, if it is known.
#[inline(always)]
pub(crate) fn thread(kernel_tid: u32) -> Option<&'static mut Thread> {
    // SAFETY: the value belongs to one thread. Its probes do not nest; the scheduler's programs
    // touch it while it switches, and keep off while `busy` is set. An eviction in between makes
    // the value another thread's: the worst case is a wrong end of a poll, never memory of ours.
    THREADS
        .get_ptr_mut(kernel_tid)
        .map(|thread| unsafe { &mut *thread })
}

/// The state of this thread, made when there was none.
#[inline(always)]
pub(crate) fn thread_or_new(kernel_tid: u32, tid: u32) -> Option<&'static mut Thread> {
    if let Some(thread) = thread(kernel_tid) {
        return Some(thread);
    }
    let empty = NO_THREAD.get(0)?;
    THREADS.insert(kernel_tid, empty, 0).ok()?;
    let thread = thread(kernel_tid)?;
    thread.tid = tid;
    Some(thread)
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
