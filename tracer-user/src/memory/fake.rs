//! Memory that a test makes up.

use std::collections::BTreeMap;

use super::{Memory, ReadError};
use crate::address::Address;

/// Disjoint mappings filled by hand.
#[derive(Clone, Debug, Default)]
pub struct FakeMemory {
    mappings: BTreeMap<u64, Vec<u8>>,
}

impl FakeMemory {
    /// Maps `bytes` at `address`, replacing a mapping that starts there.
    pub fn map(&mut self, address: Address, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.mappings.insert(address.0, bytes.into());
        self
    }

    /// Maps 64-bit words at `address`.
    pub fn map_words(&mut self, address: Address, words: &[u64]) -> &mut Self {
        self.map(
            address,
            words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
    }
}

impl Memory for FakeMemory {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        let unmapped = ReadError::Unmapped {
            address,
            len: into.len(),
        };
        let (start, bytes) = self
            .mappings
            .range(..=address.0)
            .next_back()
            .ok_or(unmapped)?;
        let from = usize::try_from(address.0 - start).map_err(|_| unmapped)?;
        let to = from.checked_add(into.len()).ok_or(unmapped)?;
        into.copy_from_slice(bytes.get(from..to).ok_or(unmapped)?);
        Ok(())
    }
}
