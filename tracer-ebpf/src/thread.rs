//! What is remembered of a thread: the polls that are open on it, innermost last.
//!
//! A poll is entered in a trap and left without one, so its end has to be concluded. It is still
//! open as long as all of this holds at a later look at the thread:
//! - the stack pointer is below the poll's (at its entry);
//! - the word at the poll's entry stack pointer is still the return address that was there: once
//!   the poll has returned, its caller's next call writes another one there;
//! - the task is the same one (vtable and id), and its state says running or just completed.
//!
//! The first and the state do not hold yet where the thread leaves its CPU in the first instructions,
//! as it does after one trap in some hundred on a busy machine: the kernel looks whether to switch on
//! its way out of the trap. Such a thread is still at the entry, which it knows by its instruction
//! pointer, or by its stack pointer while the kernel steps the probed instruction elsewhere.
//!
//! The second was right for all of 2,158 parks and 1,745 of 1,748 sleeps inside a poll (measured
//! on workers of tokio 1.54); the third catches a stale word that nothing has overwritten.

use tracer_common::walk::MARKS;
use tracer_common::{Ended, PollEndCause, Record, RecordKind, STATE_UNREADABLE};

use crate::{Header, Machine, task_id};

/// Polls that are followed on one thread. They nest where a task blocks in place, runs a
/// `LocalSet` or another runtime; a multi-thread worker itself is a blocking task.
pub const MAX_POLLS: usize = 8;

/// Nested futures that are followed on one thread.
pub const MAX_FRAMES: usize = 32;

/// No task's header lies there.
pub(crate) const NO_TASK: u64 = u64::MAX;

/// A poll that has begun and is not known to have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OpenPoll {
    /// Stack pointer at the entry: where the return address lies.
    pub stack_pointer: u64,
    /// The return address.
    pub return_address: u64,
    /// The task's header.
    pub task: u64,
    /// The task's id.
    pub task_id: u64,
    /// Its vtable, to know it again.
    pub vtable: u64,
    /// Time of the poll's begin, its name in records.
    pub begin: u64,
    /// Offset of the task id from the header.
    pub task_id_offset: u32,
    /// [`Thread::frames`] that were open at the begin.
    pub frames: u32,
    /// Probe that saw the begin.
    pub probe: u32,
    /// The lower half of the address of the probed instruction.
    pub entered_at: u32,
}

/// A nested future's poll that has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// Stack pointer at the entry.
    pub stack_pointer: u64,
    /// The word there.
    pub return_address: u64,
}

/// A driver of the runtime that wakes tasks on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Driver {
    /// Stack pointer at its entry.
    pub stack_pointer: u64,
    /// The word there.
    pub return_address: u64,
    /// The runtime's record of the resource.
    pub resource: u64,
    /// When it began.
    pub begin: u64,
    /// [`tracer_common::WakeOrigin`]; 0 when no driver is at work.
    pub origin: u32,
    /// Zero.
    pub reserved: u32,
}

/// The state of one thread: a value of the map `THREADS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Thread {
    /// Open polls.
    pub polls: [OpenPoll; MAX_POLLS],
    /// Open frames of nested futures.
    pub nested: [Frame; MAX_FRAMES],
    /// The driver at work.
    pub driver: Driver,
    /// Space for a header: too big for the stack beside a record.
    pub scratch: Header,
    /// The task whose header that is, as it was read since the hit began; [`NO_TASK`] for none.
    pub scratch_of: u64,
    /// The header of the task that is about to be polled.
    pub next: Header,
    /// The task whose header that is, read in this hit; [`NO_TASK`] for none.
    pub next_of: u64,
    /// The end of a poll that was concluded and is to be sent with what comes next.
    pub ended: Ended,
    /// Space for the record of an end, for the same reason.
    pub record: Record,
    /// Number of open polls.
    pub depth: u32,
    /// Number of open frames.
    pub frames: u32,
    /// The thread's id, as the daemon numbers it.
    pub tid: u32,
    /// Not 0 while a probe runs on this thread: the scheduler may switch in the middle of it (a
    /// uprobe's program only disables migration), and must not touch the stack of polls then.
    pub busy: u32,
    /// Not 0 when the thread has left the CPU inside a poll, which has been sent.
    pub off_cpu: u32,
    /// [`tracer_common::Settings::window`] in which all this was seen.
    pub window: u32,
}

impl Thread {
    /// A thread outside any poll.
    pub const EMPTY: Self = Self {
        polls: [OpenPoll {
            stack_pointer: 0,
            return_address: 0,
            task: 0,
            task_id: 0,
            vtable: 0,
            begin: 0,
            task_id_offset: 0,
            frames: 0,
            probe: 0,
            entered_at: 0,
        }; MAX_POLLS],
        nested: [Frame {
            stack_pointer: 0,
            return_address: 0,
        }; MAX_FRAMES],
        driver: Driver {
            stack_pointer: 0,
            return_address: 0,
            resource: 0,
            begin: 0,
            origin: 0,
            reserved: 0,
        },
        scratch: Header {
            words: [0; crate::HEADER_WORDS],
        },
        scratch_of: NO_TASK,
        next: Header {
            words: [0; crate::HEADER_WORDS],
        },
        next_of: NO_TASK,
        ended: Ended::NONE,
        record: Record::EMPTY,
        depth: 0,
        frames: 0,
        tid: 0,
        busy: 0,
        off_cpu: 0,
        window: 0,
    };

    /// Forgets what was open in another window: its end may have passed unseen.
    #[inline(always)]
    pub fn enter_window(&mut self, window: u32) {
        if self.window != window {
            self.window = window;
            self.depth = 0;
            self.frames = 0;
            self.off_cpu = 0;
            self.driver.origin = 0;
        }
    }

    /// The innermost open poll.
    #[must_use]
    #[inline(always)]
    pub fn innermost(&self) -> Option<&OpenPoll> {
        let depth = self.depth as usize;
        if depth == 0 {
            return None;
        }
        Some(&self.polls[(depth - 1) & (MAX_POLLS - 1)])
    }

    /// Opens a poll. When too many are open it takes the place of the innermost one.
    #[inline(always)]
    pub(crate) fn push<M: Machine>(&mut self, machine: &mut M, poll: &OpenPoll) {
        let mut depth = self.depth as usize;
        if depth >= MAX_POLLS {
            machine.too_deep();
            depth = MAX_POLLS - 1;
        }
        let slot = &mut self.polls[depth & (MAX_POLLS - 1)];
        *slot = *poll;
        slot.frames = self.frames;
        self.depth = depth as u32 + 1;
    }
}

/// When and where something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `CLOCK_MONOTONIC`, ns.
    pub(crate) time: u64,
    /// The CPU.
    pub(crate) cpu: u32,
    /// The target's stack pointer.
    pub(crate) stack_pointer: u64,
    /// The lower half of its instruction pointer, where the thread leaves; 0 at a hit.
    pub(crate) instruction: u32,
    /// See [`tracer_common::Settings::active_state`].
    pub(crate) active_state: u64,
}

/// What a prologue's instructions up to the probe and the one behind it have at most.
const ENTRY_BYTES: u32 = 64;

/// Whether the thread leaves in the first instructions of the poll.
#[inline(always)]
fn is_entering(poll: &OpenPoll, now: &Moment) -> bool {
    let by_instruction = now.instruction.wrapping_sub(poll.entered_at) < ENTRY_BYTES;
    let by_stack = poll.stack_pointer.wrapping_sub(now.stack_pointer) <= u64::from(ENTRY_BYTES);
    now.instruction != 0 && (by_instruction || by_stack)
}

/// Ends every open poll that is proved to have returned by now. With `all`, ends all of them.
///
/// With `BEGINS`, a task's poll may begin: [`Thread::next`] may be the header that is asked for, and
/// the last end is left in [`Thread::ended`], for that begin or [`send_ended`].
#[inline(always)]
pub(crate) fn settle<const BEGINS: bool, M: Machine>(
    thread: &mut Thread,
    machine: &mut M,
    now: &Moment,
    cause: PollEndCause,
    all: bool,
) {
    thread.ended.poll = 0;
    for _ in 0..MAX_POLLS {
        let depth = thread.depth as usize;
        if depth == 0 {
            return;
        }
        let top = (depth - 1) & (MAX_POLLS - 1);
        let poll = &thread.polls[top];
        let (readable, header) = if BEGINS && thread.next_of == poll.task {
            (true, &thread.next)
        } else {
            let readable = machine.header(poll.task, &mut thread.scratch);
            thread.scratch_of = if readable { poll.task } else { NO_TASK };
            (readable, &thread.scratch)
        };
        let same = readable
            && header.vtable() == poll.vtable
            && task_id(machine, poll.task, header, poll.task_id_offset) == poll.task_id;
        let state = header.state();
        let active = now.active_state == 0 || state & now.active_state != 0;
        if !all
            && same
            && (active && now.stack_pointer < poll.stack_pointer || is_entering(poll, now))
            && machine.word(poll.stack_pointer) == Some(poll.return_address)
        {
            return;
        }
        let ended = Ended {
            poll: poll.begin,
            task: poll.task,
            task_id: poll.task_id,
            state: if same { state } else { STATE_UNREADABLE },
            probe: poll.probe,
            reserved: 0,
        };
        let frames = poll.frames;
        if BEGINS {
            // In it, the one before was.
            let by = (poll.task, poll.task_id);
            let before = thread.ended;
            thread.ended = ended;
            if before.poll != 0 {
                send_end(thread, machine, &before, by, now, cause);
            }
        } else {
            let outer = &thread.polls[top.wrapping_sub(1) & (MAX_POLLS - 1)];
            let by = if top == 0 {
                (0, 0)
            } else {
                (outer.task, outer.task_id)
            };
            send_end(thread, machine, &ended, by, now, cause);
        }
        thread.frames = frames;
        thread.depth = top as u32;
        thread.off_cpu = 0;
    }
}

/// Sends the end that was left to be sent, if there is one.
#[inline(always)]
pub(crate) fn send_ended<M: Machine>(
    thread: &mut Thread,
    machine: &mut M,
    now: &Moment,
    cause: PollEndCause,
) {
    if thread.ended.poll == 0 {
        return;
    }
    let by = thread
        .innermost()
        .map_or((0, 0), |poll| (poll.task, poll.task_id));
    let ended = thread.ended;
    send_end(thread, machine, &ended, by, now, cause);
}

#[inline(always)]
fn send_end<M: Machine>(
    thread: &mut Thread,
    machine: &mut M,
    ended: &Ended,
    by: (u64, u64),
    now: &Moment,
    cause: PollEndCause,
) {
    thread.record = Record {
        time: now.time,
        task: ended.task,
        task_id: ended.task_id,
        state: ended.state,
        by: by.0,
        by_id: by.1,
        stack_pointer: 0,
        poll: ended.poll,
        probe: ended.probe,
        tid: thread.tid,
        cpu: now.cpu,
        kind: RecordKind::PollEnd as u8,
        aux: cause as u8,
        reserved: 0,
        path: 0,
        marks: [0; MARKS / 8],
    };
    machine.send(&thread.record);
}

/// Closes nested futures' frames that have returned; the number still open is left in
/// [`Thread::frames`]. Frames below the innermost poll's belong to polls around it and stay.
#[inline(always)]
pub(crate) fn settle_frames<M: Machine>(thread: &mut Thread, machine: &mut M, stack_pointer: u64) {
    let floor = thread.innermost().map_or(0, |poll| poll.frames);
    for _ in 0..MAX_FRAMES {
        if thread.frames <= floor {
            return;
        }
        let top = (thread.frames as usize).wrapping_sub(1) & (MAX_FRAMES - 1);
        let frame = &thread.nested[top];
        if stack_pointer < frame.stack_pointer
            && machine.word(frame.stack_pointer) == Some(frame.return_address)
        {
            return;
        }
        thread.frames = top as u32;
    }
}
