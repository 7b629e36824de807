//! Memory made of the input's bytes, which lies at every address: pointers lead back into it, so
//! that lists have cycles and structures overlap.

use tracer_user::address::Address;
use tracer_user::memory::{Memory, ReadError};

/// Addresses from here on cannot be read.
const END: u64 = 1 << 47;

/// The input as memory.
pub struct HostileMemory<'b> {
    bytes: &'b [u8],
}

impl<'b> HostileMemory<'b> {
    /// Of these bytes; nothing can be read when there are none.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }
}

impl Memory for HostileMemory<'_> {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        let unmapped = ReadError::Unmapped {
            address,
            len: into.len(),
        };
        if address.is_null() || address.0 >= END || self.bytes.is_empty() {
            return Err(unmapped);
        }
        let length = self.bytes.len();
        let start = usize::try_from(address.0).map_err(|_| unmapped)? % length;
        for (at, byte) in into.iter_mut().enumerate() {
            *byte = self.bytes[(start + at) % length];
        }
        Ok(())
    }
}
