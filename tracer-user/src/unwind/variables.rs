//! Where a variable of a frame is: DWARF locations evaluated with the registers that are known.
//!
//! In: a frame of [`super::unwind`], a scope of its function and a variable of that scope. Out:
//! the variable's address, or those of its bytes that are known when it is kept in registers.

use gimli::{Location, Register, ValueType};

use super::expression::{ExpressionError, Surroundings, evaluate};
use super::frames::Frame;
use super::{Reader, Registers};
use crate::address::{Address, LinkAddress, LoadBias};
use crate::dwarf::{Scope, Units, Variable};
use crate::memory::Memory;

/// Variables in pieces are assembled up to so many bytes; larger ones are in memory.
const ASSEMBLED: usize = 4096;

/// Where a variable is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory, wholly.
    Memory(Address),
    /// In registers and pieces of memory: its bytes, as far as they are known.
    Bytes(Vec<Option<u8>>),
}

impl Place {
    /// The 64-bit word at `offset` of the variable.
    #[must_use]
    pub fn word(&self, offset: u64, memory: &dyn Memory) -> Option<u64> {
        match self {
            Self::Memory(address) => memory.u64(address.add(offset)).ok(),
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset).ok()?;
                let mut word = [0; 8];
                for (byte, known) in word.iter_mut().zip(bytes.get(from..from.checked_add(8)?)?) {
                    *byte = (*known)?;
                }
                Some(u64::from_le_bytes(word))
            }
        }
    }
}

/// Why a variable is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The compiler kept no location for it at this point.
    #[error("optimised out")]
    OptimisedOut,
    /// Its location cannot be evaluated.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// The unit's header could not be read.
    #[error("malformed debug information: {0}")]
    Malformed(#[from] gimli::Error),
}

/// A frame in which variables are looked up.
#[derive(Clone, Copy)]
pub struct FrameView<'f> {
    /// The frame.
    pub frame: &'f Frame,
    /// The frame that called it, whose callee-saved registers are those at the frame's entry.
    pub caller: Option<&'f Frame>,
    /// The bias of the frame's module.
    pub bias: LoadBias,
    /// The thread's stack, and the rest of the process where it matters.
    pub memory: &'f dyn Memory,
}

impl FrameView<'_> {
    /// Where `variable` of `scope`, `size` bytes large, is in this frame.
    ///
    /// # Errors
    /// [`PlaceError`] says what is missing.
    pub fn locate<'a>(
        &self,
        units: &Units<'a>,
        scope: &Scope<'a>,
        variable: &Variable<'a>,
        size: u64,
    ) -> Result<Place, PlaceError> {
        let expression = variable.location.ok_or(PlaceError::OptimisedOut)?;
        let unit = units.unit(scope.instance.unit)?;
        let mut inside = Inside {
            view: *self,
            units,
            unit: &unit,
            number: scope.instance.unit,
            frame_base: None,
        };
        inside.frame_base = scope.frame_base.and_then(|base| inside.base(base));
        let pieces = evaluate(expression, unit.encoding(), None, &inside)?;
        if let [only] = pieces.as_slice()
            && only.size_in_bits.is_none()
            && let Location::Address { address } = only.location
        {
            return Ok(Place::Memory(Address(address)));
        }
        let size = usize::try_from(size).unwrap_or(ASSEMBLED).min(ASSEMBLED);
        let bytes = self.assemble(&pieces, size);
        if bytes.iter().all(Option::is_none) && size > 0 {
            let unknown = pieces.iter().find_map(|piece| match piece.location {
                Location::Register { register } => Some(register),
                _ => None,
            });
            return Err(unknown.map_or(PlaceError::OptimisedOut, |register| {
                ExpressionError::UnknownRegister(register).into()
            }));
        }
        Ok(Place::Bytes(bytes))
    }

    fn assemble(&self, pieces: &[gimli::Piece<Reader<'_>>], size: usize) -> Vec<Option<u8>> {
        let mut bytes = Vec::new();
        for piece in pieces {
            let left = size.saturating_sub(bytes.len());
            let len = match piece.size_in_bits {
                None => left,
                // Pieces of bits inside a byte do not occur for what is looked up here.
                Some(bits) => usize::try_from(bits / 8).unwrap_or(left).min(left),
            };
            let known: Vec<Option<u8>> = match &piece.location {
                _ if piece.bit_offset.unwrap_or(0) != 0 => Vec::new(),
                Location::Register { register } => word(self.frame.registers.get(*register)),
                Location::Value { value } => word(value.to_u64(u64::MAX).ok()),
                Location::Bytes { value } => value.slice().iter().copied().map(Some).collect(),
                Location::Address { address } => self
                    .memory
                    .bytes(Address(*address), len)
                    .map(|read| read.into_iter().map(Some).collect())
                    .unwrap_or_default(),
                Location::Empty | Location::ImplicitPointer { .. } => Vec::new(),
            };
            bytes.extend(known.into_iter().chain(std::iter::repeat(None)).take(len));
        }
        bytes.resize(size, None);
        bytes
    }
}

fn word(value: Option<u64>) -> Vec<Option<u8>> {
    value.map_or_else(Vec::new, |value| value.to_le_bytes().map(Some).to_vec())
}

/// What an expression of a variable can ask.
struct Inside<'f, 'u, 'a> {
    view: FrameView<'f>,
    units: &'u Units<'a>,
    unit: &'u gimli::Unit<Reader<'a>>,
    number: u32,
    frame_base: Option<Address>,
}

impl<'a> Inside<'_, '_, 'a> {
    /// The value of `DW_AT_frame_base`: a register's content, or an address.
    fn base(&self, base: gimli::Expression<Reader<'a>>) -> Option<Address> {
        let pieces = evaluate(base, self.unit.encoding(), None, self).ok()?;
        match pieces.as_slice() {
            [piece] => match piece.location {
                Location::Register { register } => self.register(register).map(Address),
                Location::Address { address } => Some(Address(address)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'a> Surroundings<'a> for Inside<'_, '_, 'a> {
    fn register(&self, register: Register) -> Option<u64> {
        self.view.frame.registers.get(register)
    }

    fn memory(&self) -> &dyn Memory {
        self.view.memory
    }

    fn frame_address(&self) -> Option<Address> {
        Some(self.view.frame.frame_address)
    }

    fn frame_base(&self) -> Option<Address> {
        self.frame_base
    }

    fn register_at_entry(&self, register: Register) -> Option<u64> {
        let caller = self.view.caller?;
        Registers::CALLEE_SAVED
            .contains(&register)
            .then(|| caller.registers.get(register))?
    }

    fn relocate(&self, link: u64) -> u64 {
        self.view.bias.to_address(LinkAddress(link)).0
    }

    fn indexed_address(&self, index: gimli::DebugAddrIndex<usize>) -> Option<u64> {
        self.units
            .dwarf(self.number)?
            .address(self.unit, index)
            .ok()
    }

    fn base_type(&self, offset: gimli::UnitOffset) -> Option<ValueType> {
        let entry = self.unit.entry(offset).ok()?;
        ValueType::from_entry(&entry).ok()?
    }
}
