//! ELF files: sections, symbols, build-id, and where the debug information of a binary is.
//!
//! In: a path, or a module of a process. Out: [`Binary`], bounds-checked views of one file, and
//! [`DebugSource`], the files that hold its DWARF. Every byte is foreign: a damaged file ends in a
//! [`BinaryError`] or in something being absent, never in a panic. Nothing here interprets DWARF.

mod binary;
mod contents;
mod debug_source;
mod debuglink;
mod error;
mod level;
mod relocated;
mod section;
mod symbol;
mod tables;

pub use binary::{Binary, Segment, TlsSegment};
pub use debug_source::{DebugSource, Origin};
pub use error::BinaryError;
pub use relocated::DataSection;
pub use symbol::{Symbol, SymbolKind};
