//! The target's memory as something that can be read: live, recorded or made up by a test.
//!
//! Everything above this module takes a [`Memory`] and never knows which. Reads are hostile
//! input: any of them may fail, and what they return may be torn by the running target.

mod copies;
mod fake;
mod live;
mod nearby;
mod parts;
mod window;

pub use copies::{Copies, Taken, Wanted};
pub use fake::FakeMemory;
pub use live::LiveMemory;
pub use nearby::Nearby;
pub use parts::Part;
pub use window::Window;

use crate::address::Address;

/// Why bytes of the target could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The range is not (wholly) mapped or not readable.
    #[error("{len} bytes at {address} are not mapped")]
    Unmapped {
        /// Start of the range.
        address: Address,
        /// Its length in bytes.
        len: usize,
    },
    /// The process has ended.
    #[error("the process has ended")]
    Gone,
    /// The kernel does not let us.
    #[error("the kernel does not permit reading the process (ptrace access)")]
    NotPermitted,
}

/// Memory of a target.
pub trait Memory {
    /// Fills `into` from `address` on, wholly or not at all.
    ///
    /// # Errors
    /// [`ReadError`] when any byte of the range cannot be read.
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError>;

    /// Fills each part, in this order, one after the other; a part that cannot be read leaves the
    /// others as they are. What is behind this memory may do many at once.
    fn read_parts(&self, parts: &mut [Part<'_>]) {
        for part in parts {
            part.outcome = self.read(part.address, part.into);
        }
    }

    /// The same memory for other threads, where it may be read by several at once.
    fn for_threads(&self) -> Option<&(dyn Memory + Sync)> {
        None
    }

    /// `len` bytes at `address`. The caller bounds `len`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn bytes(&self, address: Address, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The byte at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u8(&self, address: Address) -> Result<u8, ReadError> {
        let mut bytes = [0; 1];
        self.read(address, &mut bytes)?;
        Ok(bytes[0])
    }

    /// The little-endian 32-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u32(&self, address: Address) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The little-endian 64-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u64(&self, address: Address) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The pointer at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn pointer(&self, address: Address) -> Result<Address, ReadError> {
        self.u64(address).map(Address)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        (**self).read(address, into)
    }

    fn read_parts(&self, parts: &mut [Part<'_>]) {
        (**self).read_parts(parts);
    }

    fn for_threads(&self) -> Option<&(dyn Memory + Sync)> {
        (**self).for_threads()
    }
}
