//! DWARF expressions, evaluated with what a frame knows.
//!
//! gimli runs the stack machine; this drives it and answers its questions, or says which one has
//! no answer. Used for call frame information here and for the locations of variables.

use gimli::{EvaluationResult, Register, UnitOffset, Value, ValueType};

use super::Reader;
use crate::address::Address;
use crate::memory::{Memory, ReadError};

/// At most so many operations of one expression.
const OPERATIONS: u32 = 4096;
/// At most so many nested entry values.
const NESTING: u32 = 4;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It needs a register whose value is not known in this frame.
    #[error("needs {}, which is not known in this frame", register_name(*.0))]
    UnknownRegister(Register),
    /// It needs the frame's canonical address or its function's frame base, which is not known.
    #[error("needs the frame base, which is not known")]
    UnknownFrame,
    /// It needs what a register or memory held when the function was called.
    #[error("needs a value from the function's entry, which is not kept")]
    EntryValue,
    /// It needs something that we do not evaluate.
    #[error("needs {0}, which is not evaluated")]
    Unsupported(&'static str),
    /// It reads memory that cannot be read.
    #[error(transparent)]
    Memory(#[from] ReadError),
    /// It is malformed, or longer than the limit.
    #[error("malformed expression: {0}")]
    Malformed(gimli::Error),
}

impl From<gimli::Error> for ExpressionError {
    fn from(error: gimli::Error) -> Self {
        Self::Malformed(error)
    }
}

fn register_name(register: Register) -> &'static str {
    gimli::X86_64::register_name(register).unwrap_or("a register")
}

/// What an expression can ask about the place it is evaluated for.
pub trait Surroundings<'data> {
    /// The value of a register.
    fn register(&self, register: Register) -> Option<u64>;

    /// The target's memory.
    fn memory(&self) -> &dyn Memory;

    /// The canonical frame address.
    fn frame_address(&self) -> Option<Address> {
        None
    }

    /// The frame base of the function (`DW_AT_frame_base`).
    fn frame_base(&self) -> Option<Address> {
        None
    }

    /// The value that a register had when the function was called.
    fn register_at_entry(&self, _register: Register) -> Option<u64> {
        None
    }

    /// Where an address of the file is in the process.
    fn relocate(&self, link: u64) -> u64 {
        link
    }

    /// An address of the unit's table in `.debug_addr`.
    fn indexed_address(&self, _index: gimli::DebugAddrIndex<usize>) -> Option<u64> {
        None
    }

    /// The kind of value that a base type of the unit stands for.
    fn base_type(&self, _offset: UnitOffset) -> Option<ValueType> {
        None
    }
}

/// Evaluates an expression to the pieces of a location; `initial` is on its stack at the start.
///
/// # Errors
/// [`ExpressionError`] says what it needs and did not get.
pub fn evaluate<'data>(
    expression: gimli::Expression<Reader<'data>>,
    encoding: gimli::Encoding,
    initial: Option<u64>,
    surroundings: &dyn Surroundings<'data>,
) -> Result<Vec<gimli::Piece<Reader<'data>>>, ExpressionError> {
    nested(expression, encoding, initial, surroundings, NESTING)
}

fn nested<'data>(
    expression: gimli::Expression<Reader<'data>>,
    encoding: gimli::Encoding,
    initial: Option<u64>,
    surroundings: &dyn Surroundings<'data>,
    nesting: u32,
) -> Result<Vec<gimli::Piece<Reader<'data>>>, ExpressionError> {
    use ExpressionError as Error;
    let typed = |base: UnitOffset| match base.0 {
        0 => Ok(ValueType::Generic),
        _ => surroundings
            .base_type(base)
            .ok_or(Error::Unsupported("a base type")),
    };
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(OPERATIONS);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut state = evaluation.evaluate()?;
    loop {
        state = match state {
            EvaluationResult::Complete => return Ok(evaluation.result()),
            EvaluationResult::RequiresMemory {
                address,
                size,
                space: None,
                base_type,
            } => {
                let mut bytes = [0; 8];
                let wanted = bytes
                    .get_mut(..usize::from(size))
                    .ok_or(Error::Unsupported("a wide value"))?;
                surroundings.memory().read(Address(address), wanted)?;
                let value = Value::from_u64(typed(base_type)?, u64::from_le_bytes(bytes))?;
                evaluation.resume_with_memory(value)?
            }
            EvaluationResult::RequiresRegister {
                register,
                base_type,
            } => {
                let value = surroundings
                    .register(register)
                    .ok_or(Error::UnknownRegister(register))?;
                evaluation.resume_with_register(Value::from_u64(typed(base_type)?, value)?)?
            }
            EvaluationResult::RequiresFrameBase => {
                let base = surroundings.frame_base().ok_or(Error::UnknownFrame)?;
                evaluation.resume_with_frame_base(base.0)?
            }
            EvaluationResult::RequiresCallFrameCfa => {
                let address = surroundings.frame_address().ok_or(Error::UnknownFrame)?;
                evaluation.resume_with_call_frame_cfa(address.0)?
            }
            EvaluationResult::RequiresEntryValue(inner) if nesting > 0 => {
                let value = entry_value(inner, encoding, surroundings, nesting - 1)?;
                evaluation.resume_with_entry_value(Value::Generic(value))?
            }
            EvaluationResult::RequiresRelocatedAddress(link) => {
                evaluation.resume_with_relocated_address(surroundings.relocate(link))?
            }
            EvaluationResult::RequiresIndexedAddress { index, relocate } => {
                let link = surroundings
                    .indexed_address(index)
                    .ok_or(Error::Unsupported("an indexed address"))?;
                let address = if relocate {
                    surroundings.relocate(link)
                } else {
                    link
                };
                evaluation.resume_with_indexed_address(address)?
            }
            EvaluationResult::RequiresBaseType(base) => {
                evaluation.resume_with_base_type(typed(base)?)?
            }
            EvaluationResult::RequiresTls(_) => {
                return Err(Error::Unsupported("thread-local storage"));
            }
            EvaluationResult::RequiresAtLocation(_) | EvaluationResult::RequiresParameterRef(_) => {
                return Err(Error::Unsupported("another entry's expression"));
            }
            EvaluationResult::RequiresMemory { .. } => {
                return Err(Error::Unsupported("another address space"));
            }
            EvaluationResult::RequiresEntryValue(_) => return Err(Error::EntryValue),
            EvaluationResult::RequiresWasmLocal { .. }
            | EvaluationResult::RequiresWasmGlobal { .. }
            | EvaluationResult::RequiresWasmStack { .. } => {
                return Err(Error::Unsupported("WebAssembly"));
            }
        };
    }
}

/// The entry value of `DW_OP_entry_value(DW_OP_regN)`, the one form that compilers write.
fn entry_value<'data>(
    inner: gimli::Expression<Reader<'data>>,
    encoding: gimli::Encoding,
    surroundings: &dyn Surroundings<'data>,
    nesting: u32,
) -> Result<u64, ExpressionError> {
    let pieces = nested(inner, encoding, None, surroundings, nesting)?;
    match pieces.as_slice() {
        [
            gimli::Piece {
                location: gimli::Location::Register { register },
                ..
            },
        ] => surroundings
            .register_at_entry(*register)
            .ok_or(ExpressionError::EntryValue),
        _ => Err(ExpressionError::EntryValue),
    }
}
