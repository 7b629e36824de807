//! The entry points.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_ktime_get_ns,
    bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
};
use aya_ebpf::macros::{raw_tracepoint, uprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use probe_logic::{Header, Hit, Leave, Thread, on_hit, on_leave, on_return};
use tracer_common::{Cookie, ProbeKind, Settings};

use crate::kernel::{
    Kernel, count, counters, of_target, pointer, say_once, settings, thread, thread_or_new,
};
use crate::maps::{BATCHES, HITS, THREADS, WalkMemory};
use crate::ring::{NOT_NOW, flush};
use crate::walk::walk_and_send;

/// A task that has ended (`TASK_DEAD`, include/linux/sched.h; the same from 4.14 on).
const TASK_DEAD: u32 = 0x80;

/// A poll or a panic that has begun, for which is to be walked.
struct Begun {
    /// The state of the thread.
    thread: *mut Thread,
    /// The record, and what it is walked with.
    memory: *mut WalkMemory,
    time: u64,
    cpu: u32,
}

/// Before Linux 6.13 the frames of a program and of all that it calls have 512 bytes together, so
/// what concludes from a hit and what walks are not below each other.
#[uprobe]
pub fn on_probe(context: ProbeContext) -> u32 {
    let mut begun = MaybeUninit::uninit();
    if conclude(pointer(&context), &mut begun) != 0 {
        // SAFETY: `conclude` has written it when it does not return 0.
        send_begun(unsafe { begun.assume_init_ref() });
    }
    0
}

/// Walks for the record that [`conclude`] kept, and sends it.
#[inline(never)]
fn send_begun(begun: &Begun) {
    // SAFETY: values of the maps, found in this hit. `busy` keeps the scheduler's programs off the
    // thread's; the memory may be given to another thread meanwhile, which its owner shows.
    let (thread, memory) = unsafe { (&mut *begun.thread, &mut *begun.memory) };
    let records = 1 + u64::from(memory.ended.poll != 0);
    if let Some(settings) = settings() {
        let walks = settings.walks != 0;
        let sent = walk_and_send(memory, begun.time, walks, begun.cpu, settings.wake_at);
        count(sent, records);
    }
    thread.busy = 0;
}

/// Concludes from a hit, and sends what follows from it. When a poll or a panic begins, its record is
/// kept for the walk, `begun` tells where, and 1 is returned; else 0, and `begun` is not written.
#[inline(never)]
fn conclude(context: *mut c_void, begun: &mut MaybeUninit<Begun>) -> u64 {
    let context = ProbeContext::new(context);
    let Some(settings) = settings() else {
        return 0;
    };
    let Some((kernel_tid, tid)) = of_target(settings) else {
        return 0;
    };
    // SAFETY: the context is this program's own.
    let raw = unsafe { bpf_get_attach_cookie(pointer(&context)) };
    let Some(cookie) = Cookie::unpack(raw) else {
        return 0;
    };
    if let Some(hits) = HITS.get_ptr_mut(cookie.probe) {
        // SAFETY: this CPU's value of the map.
        unsafe { *hits += 1 };
    }
    if settings.window == 0 && !matches!(cookie.kind, ProbeKind::Panic | ProbeKind::PanicBegin) {
        return 0;
    }
    let Some(thread) = thread_or_new(kernel_tid, tid) else {
        if let Some(counters) = counters() {
            say_once!(
                counters.no_thread,
                &context,
                "no room for thread {}: hits on it are not seen",
                tid
            );
        }
        return 0;
    };
    // SAFETY: for a uprobe the context is the trapped thread's registers, read-only.
    let registers = unsafe { &*context.regs.cast_const() };
    let hit = Hit {
        // SAFETY: helpers without arguments.
        time: unsafe { bpf_ktime_get_ns() },
        // SAFETY: as above; a uprobe's program does not migrate.
        cpu: unsafe { bpf_get_smp_processor_id() },
        active_state: settings.active_state,
        stack_pointer: registers.rsp,
        instruction: registers.rip,
        arguments: [registers.rdi, registers.rsi, registers.rdx, registers.rcx],
    };
    let mut kernel = Kernel::<true> {
        cpu: hit.cpu,
        vtables: settings.vtables,
        wake_at: settings.wake_at,
        walks: settings.walks != 0,
        kernel_tid,
        time: hit.time,
        memory: core::ptr::null_mut(),
        begun: false,
    };
    thread.busy = 1;
    thread.enter_window(settings.window);
    on_hit(thread, &mut kernel, &cookie, &hit);
    if !kernel.begun {
        thread.busy = 0;
        return 0;
    }
    begun.write(Begun {
        thread,
        memory: kernel.memory,
        time: hit.time,
        cpu: hit.cpu,
    });
    1
}

/// What a trap costs with nothing in it: the floor of `cargo xtask bench`. It watches nothing.
#[uprobe]
pub fn on_nothing(_context: ProbeContext) -> u32 {
    0
}

/// What a trap costs that tells the least there is to tell, when it was and in what state the task: for
/// `cargo xtask bench`. Never part of a session.
#[uprobe]
pub fn on_least(context: ProbeContext) -> u32 {
    let Some(batch) = BATCHES.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: for a uprobe the context is the trapped thread's registers, read-only; the value is this
    // CPU's, and longer than a header; the helper checks the address and never faults.
    unsafe {
        (*batch).marker = bpf_ktime_get_ns();
        bpf_probe_read_user(
            (*batch).entries.as_mut_ptr().cast(),
            size_of::<Header>() as u32,
            (*context.regs).rdi as *const c_void,
        );
    }
    0
}

/// `sched_switch(bool preempt, task_struct *prev, task_struct *next, unsigned int prev_state)`;
/// the last argument exists since 5.18.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn on_switch(context: RawTracePointContext) -> i32 {
    let Some(settings) = settings() else {
        return 0;
    };
    let tgid = if settings.namespace_inode == 0 {
        settings.pid
    } else {
        settings.tgid
    };
    if tgid == 0 || settings.window == 0 {
        return 0;
    }
    // The thread that leaves is still the current one here.
    let ids = bpf_get_current_pid_tgid();
    let leaves = (ids >> 32) as u32 == tgid;
    let mut next_ids = [0u32; 2];
    if settings.kernel_pid_offset != 0 {
        let next: u64 = context.arg(2);
        let at = next.wrapping_add(u64::from(settings.kernel_pid_offset));
        // SAFETY: reads `pid` and `tgid`, two neighbouring 4-byte fields, of the next task.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut next_ids).cast(),
                8,
                at as *const core::ffi::c_void,
            )
        };
    }
    let comes = next_ids[1] == tgid;
    if !leaves && !comes {
        return 0;
    }
    if let Some(counters) = counters() {
        counters.switches += 1;
    }
    // SAFETY: helpers without arguments; tracepoints run with preemption off.
    let (time, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    let mut kernel = Kernel::<false> {
        cpu,
        vtables: settings.vtables,
        wake_at: settings.wake_at,
        walks: false,
        kernel_tid: ids as u32,
        time,
        memory: core::ptr::null_mut(),
        begun: false,
    };
    if leaves {
        flush(cpu, settings.wake_at);
        leave(&context, &mut kernel, ids as u32, time, settings);
    }
    if comes
        && let Some(thread) = thread(next_ids[0])
        && thread.window == settings.window
    {
        on_return(thread, &mut kernel, time, cpu);
    }
    0
}

#[inline(always)]
fn leave(
    context: &RawTracePointContext,
    kernel: &mut Kernel<false>,
    kernel_tid: u32,
    time: u64,
    settings: &Settings,
) {
    let Some(thread) = thread(kernel_tid) else {
        return;
    };
    let preempted = context.arg::<u64>(0) as u8 != 0;
    let state: u32 = context.arg::<u64>(3) as u32;
    let dead = state & TASK_DEAD != 0;
    if thread.busy != 0 && !dead {
        if let Some(counters) = counters() {
            counters.skipped_switches += 1;
        }
        return;
    }
    if thread.window == settings.window && thread.depth != 0 {
        // SAFETY: the current task's own saved registers; `bpf_task_pt_regs` returns a pointer
        // that the verifier knows as `struct pt_regs`, so it may be read directly.
        let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
        let leave = Leave {
            time,
            cpu: kernel.cpu,
            active_state: settings.active_state,
            // SAFETY: as above.
            stack_pointer: unsafe { (*registers).rsp },
            // SAFETY: as above.
            instruction: unsafe { (*registers).rip },
            // SAFETY: as above. The kernel keeps a system call's number here; where it was entered
            // otherwise, -1 (arch/x86/entry/entry_64.S).
            system_call: unsafe { (*registers).orig_rax },
            runnable: preempted || state == 0,
            dead,
        };
        on_leave(thread, kernel, &leave);
    }
    if dead {
        // It may already be gone; then there is nothing to do.
        let _ = THREADS.remove(kernel_tid);
    }
}

/// Puts the batch of the CPU that it runs on into the ring; 1 when somebody else is at it. Attached to
/// nothing: the daemon runs it (`BPF_PROG_RUN` with a CPU, Linux 5.10).
#[raw_tracepoint]
pub fn on_flush(_context: RawTracePointContext) -> i32 {
    // SAFETY: a helper without arguments; such a run has preemption off.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    flush(cpu, NOT_NOW) as i32
}

/// `sched_process_exec(task_struct *task, pid_t old_pid, linux_binprm *binprm)`, in the thread that
/// called `execve`.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn on_exec(_context: RawTracePointContext) -> i32 {
    let Some(settings) = settings() else {
        return 0;
    };
    if of_target(settings).is_none() {
        return 0;
    }
    let ids = bpf_get_current_pid_tgid();
    // The old program's polls end with it.
    let _ = THREADS.remove(ids as u32);
    if let Some(counters) = counters() {
        counters.executions += 1;
    }
    0
}

/// The kernel lets a program call these helpers only under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
