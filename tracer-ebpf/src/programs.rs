//! The entry points.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_ktime_get_ns,
    bpf_probe_read_kernel, bpf_task_pt_regs,
};
use aya_ebpf::macros::{raw_tracepoint, uprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};
use probe_logic::{Hit, Leave, on_hit, on_leave, on_return};
use tracer_common::{Cookie, ProbeKind, Settings};

use crate::kernel::{
    Kernel, NOT_NOW, counters, forget, of_target, pointer, say_once, settings, thread,
    thread_or_new,
};
use crate::maps::HITS;
use crate::walk::give_back;

/// A task that has ended (`TASK_DEAD`, include/linux/sched.h; the same from 4.14 on).
const TASK_DEAD: u32 = 0x80;

/// How often a probe looks whether the ring fills up: every 16th hit, which is soon enough, as half of
/// the smallest ring is hundreds of records.
const LOOK_EVERY: u64 = 0xf;

#[uprobe]
pub fn on_probe(context: ProbeContext) -> u32 {
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
    let mut wake_at = NOT_NOW;
    if let Some(hits) = HITS.get_ptr_mut(cookie.probe) {
        // SAFETY: this CPU's value of the map.
        unsafe {
            *hits += 1;
            if *hits & LOOK_EVERY == 0 {
                wake_at = settings.wake_at;
            }
        }
    }
    if settings.window == 0 && !matches!(cookie.kind, ProbeKind::Panic | ProbeKind::PanicBegin) {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let time = unsafe { bpf_ktime_get_ns() };
    let Some(thread) = thread_or_new(kernel_tid, tid, time) else {
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
        time,
        // SAFETY: a helper without arguments; a uprobe's program does not migrate.
        cpu: unsafe { bpf_get_smp_processor_id() },
        active_state: settings.active_state,
        stack_pointer: registers.rsp,
        arguments: [registers.rdi, registers.rsi, registers.rdx, registers.rcx],
    };
    let mut kernel = Kernel {
        cpu: hit.cpu,
        vtables: settings.vtables,
        wake_at,
        walks: settings.walks != 0,
        memory: None,
        root: None,
    };
    thread.busy = 1;
    thread.enter_window(settings.window);
    on_hit(thread, &mut kernel, &cookie, &hit);
    thread.busy = 0;
    if let Some(memory) = kernel.memory {
        give_back(memory);
    }
    0
}

/// What a trap costs with nothing in it: the floor of `cargo xtask bench`. Never part of a session.
#[uprobe]
pub fn on_nothing(_context: ProbeContext) -> u32 {
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
    let mut kernel = Kernel {
        cpu,
        vtables: settings.vtables,
        wake_at: settings.wake_at,
        walks: false,
        memory: None,
        root: None,
    };
    if leaves {
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
    kernel: &mut Kernel,
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
            // SAFETY: as above. The kernel keeps a system call's number here; where it was entered
            // otherwise, -1 (arch/x86/entry/entry_64.S).
            system_call: unsafe { (*registers).orig_rax },
            runnable: preempted || state == 0,
            dead,
        };
        on_leave(thread, kernel, &leave);
    }
    if dead {
        forget(kernel_tid);
    }
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
    forget(ids as u32);
    if let Some(counters) = counters() {
        counters.executions += 1;
    }
    0
}

/// The kernel lets a program call these helpers only under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
