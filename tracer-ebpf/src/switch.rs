//! A thread left a CPU or came back to one.

use tracer_common::walk::MARKS;
use tracer_common::{PollEndCause, Record, RecordKind, STATE_UNREADABLE};

use crate::Machine;
use crate::thread::{Moment, Thread, settle};

/// What the scheduler says when a thread leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// `CLOCK_MONOTONIC`, ns.
    pub time: u64,
    /// The CPU.
    pub cpu: u32,
    /// See [`tracer_common::Settings::active_state`].
    pub active_state: u64,
    /// The stack pointer that the thread entered the kernel with.
    pub stack_pointer: u64,
    /// The instruction pointer that it entered the kernel with, or goes on at.
    pub instruction: u64,
    /// The system call it is in: `orig_ax` of its saved registers, all ones when it is in none.
    pub system_call: u64,
    /// Whether it could have gone on running.
    pub runnable: bool,
    /// Whether it has ended and never comes back.
    pub dead: bool,
}

/// The thread leaves the CPU: polls that it is no longer in have ended; if it still is in one, that
/// one is off the CPU now.
#[inline(always)]
pub fn on_leave<M: Machine>(thread: &mut Thread, machine: &mut M, leave: &Leave) {
    let now = Moment {
        time: leave.time,
        cpu: leave.cpu,
        stack_pointer: leave.stack_pointer,
        instruction: leave.instruction as u32,
        active_state: leave.active_state,
    };
    let cause = if leave.dead {
        PollEndCause::ThreadExit
    } else {
        PollEndCause::LeftCpu
    };
    settle::<false, _>(thread, machine, &now, cause, leave.dead);
    if thread.depth != 0 {
        thread.off_cpu = 1;
        send(
            thread,
            machine,
            &now,
            RecordKind::OffCpu,
            leave.system_call,
            leave.runnable as u8,
        );
    }
}

/// The thread is about to run again.
#[inline(always)]
pub fn on_return<M: Machine>(thread: &mut Thread, machine: &mut M, time: u64, cpu: u32) {
    if thread.off_cpu == 0 {
        return;
    }
    thread.off_cpu = 0;
    let now = Moment {
        time,
        cpu,
        ..Moment::default()
    };
    send(
        thread,
        machine,
        &now,
        RecordKind::OnCpu,
        STATE_UNREADABLE,
        0,
    );
}

#[inline(always)]
fn send<M: Machine>(
    thread: &Thread,
    machine: &mut M,
    now: &Moment,
    kind: RecordKind,
    state: u64,
    aux: u8,
) {
    let Some(poll) = thread.innermost() else {
        return;
    };
    machine.send(&Record {
        time: now.time,
        task: poll.task,
        task_id: poll.task_id,
        state,
        by: 0,
        by_id: 0,
        stack_pointer: now.stack_pointer,
        poll: poll.begin,
        probe: u32::MAX,
        tid: thread.tid,
        cpu: now.cpu,
        kind: kind as u8,
        aux,
        reserved: 0,
        path: 0,
        marks: [0; MARKS / 8],
    });
}
