//! A session without probes: all tasks are read from memory at a rate (`--sample`). Nothing of the
//! kernel's is asked for but the right to read the process.
//!
//! Three threads beside those of any session: the reader of memory with its [`Pace`], the one that
//! takes its looks ([`session`]), and what shows or records them. The pure part is
//! [`analyse::sampled`](crate::analyse::sampled).

pub mod pace;
pub mod reader;
pub mod session;
pub mod summary;
pub mod table;

pub use pace::{Hertz, Pace};
