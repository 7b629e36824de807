//! A copy of a blocked thread's stack, consistent although the thread was not stopped.
//!
//! The thread may run at any moment. So its state is read, the stack copied, and the state read
//! again: the copy counts only when the thread was blocked in the same place and had not been on
//! a CPU in between.

use std::io;

use super::frames::{Stack, unwind};
use super::modules::CodeModules;
use super::registers::Registers;
use crate::address::Address;
use crate::locate::thread_state::ThreadState;
use crate::memory::{Memory, ReadError};

/// At most so many bytes of a stack are copied: all but a few stacks are far smaller, and the
/// frames that are of interest are seldom far up.
const LIMIT: usize = 1 << 20;
const PAGE: u64 = 4096;
/// Copied in one read where possible.
const CHUNK: u64 = 64 << 10;
/// So often a copy is tried before the thread is given up as running.
const ATTEMPTS: usize = 5;

/// Why there is no copy of a thread's stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The thread was on a CPU, or went on one during each of the attempts.
    #[error("the thread is running")]
    Running,
    /// The thread has ended.
    #[error("the thread has ended")]
    Gone,
    /// The kernel does not show where the thread is.
    #[error("asking the kernel where the thread is blocked")]
    Kernel(#[source] io::Error),
    /// Nothing at the stack pointer can be read.
    #[error("reading the stack")]
    Memory(#[from] ReadError),
}

/// A blocked thread's stack.
#[derive(Clone, Debug)]
pub struct StackCopy {
    state: ThreadState,
    start: Address,
    bytes: Vec<u8>,
}

impl StackCopy {
    /// Copies the stack of a thread from its stack pointer upwards, at most 1 MiB.
    ///
    /// # Errors
    /// [`StackError`]; `Running` after five attempts.
    pub fn capture(pid: i32, tid: i32, memory: &dyn Memory) -> Result<Self, StackError> {
        let look = || -> Result<(ThreadState, Option<String>), StackError> {
            let state = ThreadState::read(pid, tid).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => StackError::Gone,
                _ => StackError::Kernel(error),
            })?;
            // Time on the CPU and number of turns there (proc(5)); absent without
            // CONFIG_SCHED_INFO, then the place alone must do.
            let turns = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok();
            Ok((state, turns))
        };
        for _ in 0..ATTEMPTS {
            let before = look()?;
            let ThreadState::Blocked { stack_pointer, .. } = before.0 else {
                std::thread::yield_now();
                continue;
            };
            let bytes = copy(memory, stack_pointer);
            if look()? != before {
                continue;
            }
            return Ok(Self {
                state: before.0,
                start: stack_pointer,
                bytes: bytes?,
            });
        }
        Err(StackError::Running)
    }

    /// Where the thread was blocked.
    #[must_use]
    pub fn state(&self) -> ThreadState {
        self.state
    }

    /// The address behind the last byte that was copied.
    #[must_use]
    pub fn end(&self) -> Address {
        self.start.add(self.bytes.len() as u64)
    }

    /// Unwinds it.
    #[must_use]
    pub fn unwind(&self, modules: &CodeModules<'_>) -> Stack {
        let program_counter = match self.state {
            ThreadState::Blocked {
                program_counter, ..
            } => program_counter,
            ThreadState::Running => Address::default(),
        };
        unwind(
            Registers::blocked(self.start, program_counter),
            self,
            modules,
        )
    }
}

impl Memory for StackCopy {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        let range = || {
            let from = usize::try_from(address.0.checked_sub(self.start.0)?).ok()?;
            self.bytes.get(from..from.checked_add(into.len())?)
        };
        let bytes = range().ok_or(ReadError::Unmapped {
            address,
            len: into.len(),
        })?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

/// The copied stack, and other memory for everything else.
#[derive(Clone, Copy)]
pub struct StackOver<'m> {
    /// The copy.
    pub stack: &'m StackCopy,
    /// Where the copy has nothing.
    pub rest: &'m dyn Memory,
}

impl Memory for StackOver<'_> {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        self.stack
            .read(address, into)
            .or_else(|_| self.rest.read(address, into))
    }
}

/// What is mapped from `start` on without a hole, at most [`LIMIT`] bytes.
fn copy(memory: &dyn Memory, start: Address) -> Result<Vec<u8>, ReadError> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut step = CHUNK;
    while bytes.len() < LIMIT {
        let at = start.add(bytes.len() as u64);
        // Up to a multiple of the step, so that a page at the end is read alone.
        let len = (step - at.0 % step).min((LIMIT - bytes.len()) as u64);
        match memory.bytes(at, usize::try_from(len).unwrap_or(0)) {
            Ok(more) => bytes.extend(more),
            Err(_) if step > PAGE => step = PAGE,
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    #[test]
    fn copies_to_the_end_of_the_mapping() {
        let mut memory = FakeMemory::default();
        memory.map(Address(0x7fff_0000), vec![7; 0x2_5000]);
        assert_eq!(copy(&memory, Address(0x7fff_0010)).unwrap().len(), 0x2_4ff0);
        assert!(copy(&memory, Address(0x1000)).is_err());
        memory.map(Address(0x1000_0000), vec![7; LIMIT + 0x1000]);
        assert_eq!(copy(&memory, Address(0x1000_0008)).unwrap().len(), LIMIT);
    }

    #[test]
    fn reads_only_what_was_copied() {
        let stack = StackCopy {
            state: ThreadState::Running,
            start: Address(0x1000),
            bytes: vec![1, 0, 0, 0, 0, 0, 0, 0, 2],
        };
        assert_eq!(stack.u64(Address(0x1000)), Ok(1));
        assert!(stack.u64(Address(0x1002)).is_err());
        assert!(stack.u8(Address(0xfff)).is_err());
        assert!(stack.u8(Address(u64::MAX)).is_err());
    }
}
