//! The contract between the BPF programs (`tracer-ebpf`) and the daemon (`tracer-user`).
//!
//! Integers only, `no_std`, no dependency: the same types compile for the BPF machine and for the
//! host. What is here is versioned by [`VERSION`]; sizes are asserted, so that a change of layout
//! is a change of this file and never an accident.
#![no_std]
#![forbid(unsafe_code)]

mod cookie;
pub mod panic;
mod record;
mod session;
pub mod walk;

pub use cookie::{ArgumentRegister, Cookie, ProbeKind};
pub use record::{
    BATCH, BATCH_BUSY, BATCH_BYTES, Ended, LONG_RECORD, NO_SYSTEM_CALL, PollEndCause, RECORD_SIZE,
    Record, RecordKind, RingEntry, SHORT_RECORD, STATE_UNREADABLE, WakeOrigin, WalkResult, entries,
};
pub use session::{Counters, Settings};

/// Version of the kernel/user contract. The object is embedded in the binary that reads it, so
/// the two can only differ in a broken build; the loader checks it all the same.
pub const VERSION: u32 = 3;
