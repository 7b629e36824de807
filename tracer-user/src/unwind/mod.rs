//! The call stack of a blocked thread, from memory alone.
//!
//! In: where the thread is blocked ([`crate::locate::thread_state`]), a copy of its stack, and the
//! `.eh_frame` of the modules it runs in. Out: its frames with, for each, the registers that are
//! known there. The thread is not stopped, so what it holds in registers is not readable: at first
//! only the stack pointer and the program counter are known, and another register becomes known
//! where an inner frame saved it on the stack. Unknown stays unknown; it is never guessed.
//!
//! [`stack`] copies and [`LoadedFiles`] opens files (I/O), the rest is pure. Names and inlined functions are not this module's
//! business: see `dwarf::scopes`.

mod expression;
mod files;
mod frames;
mod modules;
mod prologue;
mod registers;
pub mod stack;
mod tables;
mod variables;

pub use expression::{ExpressionError, Surroundings, evaluate};
pub use files::LoadedFiles;
pub use frames::{Frame, Stack, StackEnd, unwind};
pub use modules::{CodeModule, CodeModules};
pub use registers::Registers;
pub use tables::UnwindTables;
pub use variables::{FrameView, Place, PlaceError};

/// Bytes of a section, little-endian as all of x86-64.
pub type Reader<'data> = gimli::EndianSlice<'data, gimli::LittleEndian>;
