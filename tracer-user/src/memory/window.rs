//! A copy of one range of memory in front of the rest.

use super::{Memory, ReadError};
use crate::address::Address;

/// Reads inside the copied range are answered from the copy, others by the memory behind it.
pub struct Window<'m> {
    start: Address,
    bytes: Vec<u8>,
    behind: &'m dyn Memory,
}

impl<'m> Window<'m> {
    /// Copies `len` bytes at `start` in one read. The caller bounds `len`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn read(behind: &'m dyn Memory, start: Address, len: u64) -> Result<Self, ReadError> {
        let len = usize::try_from(len).map_err(|_| ReadError::Unmapped {
            address: start,
            len: usize::MAX,
        })?;
        Ok(Self {
            start,
            bytes: behind.bytes(start, len)?,
            behind,
        })
    }
}

impl Memory for Window<'_> {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        let inside = usize::try_from(address.since(self.start))
            .ok()
            .and_then(|from| self.bytes.get(from..from.checked_add(into.len())?));
        match inside {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                Ok(())
            }
            None => self.behind.read(address, into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    #[test]
    fn the_copy_answers_inside_and_the_memory_behind_outside() {
        let mut memory = FakeMemory::default();
        memory.map(Address(0x1000), (0..64).collect::<Vec<u8>>());
        let window = Window::read(&memory, Address(0x1010), 16).unwrap();
        memory.clone().map(Address(0x1000), vec![0; 64]);
        assert_eq!(window.u8(Address(0x1010)), Ok(16));
        assert_eq!(window.u8(Address(0x1000)), Ok(0));
        assert_eq!(
            window.u32(Address(0x101e)),
            Ok(u32::from_le_bytes([30, 31, 32, 33]))
        );
        assert!(window.u8(Address(0x1040)).is_err());
    }
}
