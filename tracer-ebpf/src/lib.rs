//! What the probes conclude, apart from the kernel: it compiles for the BPF machine and for the
//! host, where it is tested.
//!
//! In: a thread's open polls, a hit's registers, and a [`Machine`] that reads the target's memory.
//! Out: records. Deliberately absent: maps, helpers, pointers (`main.rs`).
//!
//! The code is written for the verifier as well: no recursion, bounded loops, indices masked to
//! powers of two, big values in map memory instead of the 512-byte stack.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod hit;
mod switch;
mod thread;

#[cfg(test)]
mod tests;

pub use hit::{Hit, on_hit};
pub use switch::{Leave, on_leave, on_return};
pub use thread::{Driver, Frame, MAX_FRAMES, MAX_POLLS, OpenPoll, Thread};

use tracer_common::walk::BUFFER_WORDS;
use tracer_common::{Ended, Record};

/// Words of a task's header that are read at once: they hold state, vtable and, in every tokio
/// since 1.23, the task's id (offset 40).
pub const HEADER_WORDS: usize = 8;

/// Offset of the task id in every tokio since 1.23 without `tokio_unstable`.
const USUAL_ID_OFFSET: u32 = 40;

/// The start of a task as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// The words from the header's address on.
    pub words: [u64; HEADER_WORDS],
}

impl Header {
    /// Takes the words out of a longer copy from the header on.
    #[inline(always)]
    pub fn take(&mut self, copy: &[u64; BUFFER_WORDS]) {
        for index in 0..HEADER_WORDS {
            self.words[index] = copy[index];
        }
    }

    /// The state word: the first.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.words[0]
    }

    /// The vtable pointer: tokio's `Header{state, queue_next, vtable, ..}` since 1.0.
    #[must_use]
    pub fn vtable(&self) -> u64 {
        self.words[2]
    }
}

/// The kernel's side of a probe, or a test's.
pub trait Machine {
    /// The word at an address of the target; `None` when it cannot be read.
    fn word(&mut self, address: u64) -> Option<u64>;
    /// Reads the words at a task's address; `false` when they cannot be read.
    fn header(&mut self, task: u64, into: &mut Header) -> bool;
    /// Offset of the task id for a task with this vtable, 0 when it has none; `None` when the
    /// vtable belongs to no task that is known.
    fn task_id_offset(&mut self, vtable: u64) -> Option<u32>;
    /// Sends a record.
    fn send(&mut self, record: &Record);
    /// Reads the words at the address of a task that is about to be polled, as [`Machine::header`],
    /// and with them what a walk by this probe's tables looks at.
    fn header_to_poll(&mut self, task: u64, probe: u32, into: &mut Header) -> bool;
    /// Sends the begin of a poll, with where the task stood until now, and the end of another one
    /// that it proves.
    fn send_begin(&mut self, record: &Record, ended: &Ended);
    /// Sends the begin of a panic, with where the task stands, if one is polled, and the location
    /// that lies at `state` or `by`.
    fn send_panic_begin(&mut self, record: &Record);
    /// Sends a panic on its way, with the message of its payload.
    fn send_panic(&mut self, record: &Record, payload: u64, vtable: u64);
    /// Counts a poll that is nested too deep.
    fn too_deep(&mut self);
}

/// The task id at its offset: from the words already read, else by another read. 0 when it cannot
/// be read or the offset is unknown.
#[inline(always)]
fn task_id<M: Machine>(machine: &mut M, task: u64, header: &Header, offset: u32) -> u64 {
    if offset == 0 {
        return 0;
    }
    // A constant index: with a computed one the optimiser drops the mask that the verifier needs.
    if offset == USUAL_ID_OFFSET {
        return header.words[USUAL_ID_OFFSET as usize / 8];
    }
    machine
        .word(task.wrapping_add(u64::from(offset)))
        .unwrap_or(0)
}
