//! Tasks, await trees and causes, rebuilt from memory and events. Pure: this module takes a
//! [`Memory`](crate::memory::Memory) or records and returns values; it never does I/O.

pub mod details;
pub mod event;
pub mod nested;
pub mod snapshot;
pub mod suspension;
pub mod tracker;
pub mod tree;
pub mod watching;
