//! A probe was hit.

use tracer_common::walk::MARKS;
use tracer_common::{
    ArgumentRegister, Cookie, PollEndCause, ProbeKind, Record, RecordKind, STATE_UNREADABLE,
    WakeOrigin,
};

use crate::thread::{
    Driver, Frame, MAX_FRAMES, Moment, NO_TASK, OpenPoll, Thread, send_ended, settle, settle_frames,
};
use crate::{Header, Machine, task_id};

/// What the trap says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// `CLOCK_MONOTONIC`, ns.
    pub time: u64,
    /// The CPU.
    pub cpu: u32,
    /// See [`tracer_common::Settings::active_state`].
    pub active_state: u64,
    /// The stack pointer at the probed instruction.
    pub stack_pointer: u64,
    /// The address of the probed instruction.
    pub instruction: u64,
    /// The first four argument registers.
    pub arguments: [u64; 4],
}

/// Concludes and sends everything that follows from a hit.
#[inline(always)]
pub fn on_hit<M: Machine>(thread: &mut Thread, machine: &mut M, cookie: &Cookie, hit: &Hit) {
    let entry = hit.stack_pointer.wrapping_add(u64::from(cookie.pushed));
    let argument = match cookie.argument {
        ArgumentRegister::Rdi => hit.arguments[0],
        ArgumentRegister::Rsi => hit.arguments[1],
        ArgumentRegister::Rdx => hit.arguments[2],
    };
    let now = Moment {
        time: hit.time,
        cpu: hit.cpu,
        stack_pointer: entry,
        instruction: 0,
        active_state: hit.active_state,
    };
    let exit = matches!(cookie.kind, ProbeKind::PollExit);
    let cause = if exit {
        PollEndCause::ExitProbe
    } else {
        PollEndCause::NextEvent
    };
    // The thread is above it on the stack, so it has returned. Its return address may lie there for
    // long, where nothing that is called later writes.
    if entry >= thread.driver.stack_pointer {
        thread.driver.origin = 0;
    }
    // Before the end of the poll before is told: one read is for both when it is the same task.
    let begins = matches!(cookie.kind, ProbeKind::TaskPoll);
    let readable = begins && machine.header_to_poll(argument, cookie.probe, &mut thread.next);
    thread.next_of = if readable { argument } else { NO_TASK };
    thread.scratch_of = NO_TASK;
    settle::<true, _>(thread, machine, &now, cause, false);
    if begins {
        begin(thread, machine, cookie, hit, argument, entry);
        return;
    }
    send_ended(thread, machine, &now, cause);
    if exit {
        return;
    }

    let (by, by_id, poll) = thread
        .innermost()
        .map_or((0, 0, 0), |poll| (poll.task, poll.task_id, poll.begin));
    let mut record = Record {
        time: hit.time,
        task: argument,
        task_id: 0,
        state: STATE_UNREADABLE,
        by,
        by_id,
        stack_pointer: entry,
        poll,
        probe: cookie.probe,
        tid: thread.tid,
        cpu: hit.cpu,
        kind: record_kind(cookie.kind) as u8,
        aux: 0,
        reserved: 0,
        path: 0,
        marks: [0; MARKS / 8],
    };

    if matches!(cookie.kind, ProbeKind::IoReady | ProbeKind::TimerFired) {
        // Without the return address its end could not be told.
        let return_address = machine.word(entry).unwrap_or(0);
        let timer = matches!(cookie.kind, ProbeKind::TimerFired);
        let origin = if return_address == 0 {
            0
        } else if timer {
            WakeOrigin::Timer as u32
        } else {
            WakeOrigin::Io as u32
        };
        thread.driver = Driver {
            stack_pointer: entry,
            return_address,
            resource: if timer { 0 } else { argument },
            begin: hit.time,
            origin,
            reserved: 0,
        };
        return;
    }
    if matches!(
        cookie.kind,
        ProbeKind::WakeByValue | ProbeKind::WakeByReference
    ) && thread.driver.origin != 0
    {
        let driver = thread.driver;
        // A poll that the driver's thread is in lies above the driver on the stack, if it is not
        // that of the thread's own loop.
        let around = thread
            .innermost()
            .is_none_or(|poll| driver.stack_pointer < poll.stack_pointer);
        if entry < driver.stack_pointer
            && around
            && machine.word(driver.stack_pointer) == Some(driver.return_address)
        {
            record.aux = driver.origin as u8;
            record.by = driver.resource;
            record.by_id = driver.begin;
            record.poll = 0;
        } else {
            thread.driver.origin = 0;
        }
    }
    if matches!(cookie.kind, ProbeKind::Panic) {
        record.task = by;
        record.task_id = by_id;
        record.by = 0;
        record.by_id = 0;
        machine.send_panic(&record, hit.arguments[0], hit.arguments[1]);
        return;
    }
    if matches!(cookie.kind, ProbeKind::PanicBegin) {
        record.task = by;
        record.task_id = by_id;
        record.probe = thread.innermost().map_or(u32::MAX, |poll| poll.probe);
        record.state = hit.arguments[2];
        record.by = hit.arguments[3];
        record.by_id = 0;
        machine.send_panic_begin(&record);
        return;
    }

    if matches!(cookie.kind, ProbeKind::FuturePoll) {
        settle_frames(thread, machine, entry);
        let floor = thread.innermost().map_or(0, |poll| poll.frames);
        record.aux = thread.frames.wrapping_sub(floor).wrapping_add(1).min(255) as u8;
        machine.send(&record);
        let open = thread.frames as usize;
        if open < MAX_FRAMES
            && let Some(return_address) = machine.word(entry)
        {
            thread.nested[open & (MAX_FRAMES - 1)] = Frame {
                stack_pointer: entry,
                return_address,
            };
            thread.frames = open as u32 + 1;
        }
        return;
    }

    if matches!(cookie.kind, ProbeKind::Abort) {
        // Called with the header, or with a reference to the pointer to it: what has the vtable of
        // a task tells which.
        thread.scratch_of = NO_TASK;
        if !is_task(machine, argument, &mut thread.scratch) {
            record.task = machine.word(argument).unwrap_or(0);
        }
    }
    let argument = record.task;

    // A spawn names its task's layout in the cookie; a waker may belong to any task.
    let own_offset = u32::from(cookie.task_id_offset);
    // Most wakers are used in the polls of their own tasks, and a header costs a tenth of a trap.
    if thread.scratch_of == argument && by == argument {
        record.state = thread.scratch.state();
        record.task_id = by_id;
    } else if (thread.scratch_of == argument || machine.header(argument, &mut thread.scratch))
        && let Some(found) = machine.task_id_offset(thread.scratch.vtable())
    {
        let offset = if found == 0 { own_offset } else { found };
        record.state = thread.scratch.state();
        record.task_id = task_id(machine, argument, &thread.scratch, offset);
    }
    machine.send(&record);
}

/// A task's poll begins; [`Thread::next`] is its header if [`Thread::next_of`] says so.
#[inline(always)]
fn begin<M: Machine>(
    thread: &mut Thread,
    machine: &mut M,
    cookie: &Cookie,
    hit: &Hit,
    task: u64,
    entry: u64,
) {
    let (mut vtable, mut offset, mut id, mut state) = (0, 0, 0, STATE_UNREADABLE);
    if thread.next_of == task {
        offset = u32::from(cookie.task_id_offset);
        vtable = thread.next.vtable();
        state = thread.next.state();
        id = task_id(machine, task, &thread.next, offset);
    }
    let (by, by_id, poll) = thread
        .innermost()
        .map_or((0, 0, 0), |poll| (poll.task, poll.task_id, poll.begin));
    let record = Record {
        time: hit.time,
        task,
        task_id: id,
        state,
        by,
        by_id,
        stack_pointer: entry,
        poll,
        probe: cookie.probe,
        tid: thread.tid,
        cpu: hit.cpu,
        kind: RecordKind::PollBegin as u8,
        aux: 0,
        reserved: 0,
        path: 0,
        marks: [0; MARKS / 8],
    };
    machine.send_begin(&record, &thread.ended);
    // Without the return address the end could not be told from the middle, so a poll whose stack
    // cannot be read ends at the next hit or switch: 0 is no return address.
    let return_address = machine.word(entry).unwrap_or(0);
    thread.push(
        machine,
        &OpenPoll {
            stack_pointer: entry,
            return_address,
            task,
            task_id: id,
            vtable,
            begin: hit.time,
            task_id_offset: offset,
            frames: 0,
            probe: cookie.probe,
            entered_at: hit.instruction as u32,
        },
    );
}

/// Whether a task's header lies there, as far as vtables are known.
#[inline(always)]
fn is_task<M: Machine>(machine: &mut M, address: u64, scratch: &mut Header) -> bool {
    machine.header(address, scratch) && machine.task_id_offset(scratch.vtable()).is_some()
}

#[inline(always)]
fn record_kind(kind: ProbeKind) -> RecordKind {
    match kind {
        ProbeKind::WakeByValue => RecordKind::WakeByValue,
        ProbeKind::WakeByReference => RecordKind::WakeByReference,
        ProbeKind::WakerClone => RecordKind::WakerClone,
        ProbeKind::WakerDrop => RecordKind::WakerDrop,
        ProbeKind::Spawn => RecordKind::Spawn,
        ProbeKind::FuturePoll => RecordKind::FuturePoll,
        ProbeKind::Abort => RecordKind::Abort,
        ProbeKind::PanicBegin => RecordKind::PanicBegin,
        // The rest is not sent by this name.
        ProbeKind::Panic
        | ProbeKind::TaskPoll
        | ProbeKind::IoReady
        | ProbeKind::TimerFired
        | ProbeKind::PollExit => RecordKind::Panic,
    }
}
