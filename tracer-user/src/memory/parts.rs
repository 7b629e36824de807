//! Several ranges read in one go.

use super::ReadError;
use crate::address::Address;

/// One of several ranges that are read together.
#[derive(Debug)]
pub struct Part<'b> {
    /// Where it begins.
    pub address: Address,
    /// What is filled: as long as the range.
    pub into: &'b mut [u8],
    /// Whether it was filled, wholly; until it is read, that it was not.
    pub outcome: Result<(), ReadError>,
}

impl<'b> Part<'b> {
    /// A range that was not read yet.
    #[must_use]
    pub fn new(address: Address, into: &'b mut [u8]) -> Self {
        let outcome = Err(ReadError::Unmapped {
            address,
            len: into.len(),
        });
        Self {
            address,
            into,
            outcome,
        }
    }
}
