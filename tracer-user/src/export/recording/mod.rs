//! The recording: a trace as a file, written while it happens and readable up to its last whole
//! packet, wherever it was cut off. `docs/recording-format.md` is its specification.
//!
//! [`Writer`] takes the header, events, losses, statistics and snapshots; [`Reader`] gives them
//! back in the same order, from the beginning or from a time on. Everything read is hostile input: lengths are bounded, references
//! checked, and nothing in a file makes the reader panic or take more than some 100 MB.

mod awaits;
mod decode;
mod deflated;
mod encode;
mod error;
mod frame;
mod header;
mod join;
mod kinds;
mod names;
mod nodes;
mod pieces;
mod reader;
mod seek;
mod segments;
mod strings;
mod suspensions;
mod tables;
mod trees;
mod watching;
mod writer;

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod seek_tests;

pub use self::error::RecordingError;
pub use self::header::{End, Header, Host, KeptStretch, Loss, ProbeCount};
pub use self::join::{Window, builder, join};
pub use self::pieces::{Piece, Told};
pub use self::reader::{Ending, Item, Reader};
pub use self::segments::KnownUnit;
pub(crate) use self::strings::cut;
pub use self::trees::SnapshotPart;
pub use self::writer::{Writer, Written};

/// Major version of the format: another one cannot be read.
pub const MAJOR: u32 = 1;

/// Minor version of the format: a reader skips what a later one added.
pub const MINOR: u32 = 5;
