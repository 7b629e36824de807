//! From the ring buffers to one stream of records in the order of time.
//!
//! In: a ring for each CPU, filled by the BPF programs. Out: batches of records. The programs do
//! not wake the reader for each record, which would cost more than the record: the reader looks
//! every [`PERIOD`], less often while nothing comes, and is woken early only when a ring is half full.
//! Memory is bounded by the rings and one batch; when nobody reads, the rings fill up and the programs
//! count what they lose.

mod entries;
mod order;
mod panics;
mod rings;

use std::time::Duration;

pub use entries::{Entries, Tree};
pub use order::Order;
pub use panics::{FileNames, PanicTold, SiteTold};
pub use rings::{Rings, monotonic_ns};

/// How often the rings are read.
pub const PERIOD: Duration = Duration::from_millis(10);
/// How often while nothing comes: each time takes a little of the target's machine.
pub const QUIET_PERIOD: Duration = Duration::from_millis(40);

/// How long a record may be on its way before its successors are passed on without it. It covers a
/// program that is preempted between reading the clock and sending, by its scheduler or by the host
/// of a virtual machine; should one be preempted for longer, its record comes late and is counted,
/// see [`Order::late`].
pub const SLACK: Duration = Duration::from_millis(100);

/// The same while more than [`MANY`] records are held back, which bounds their memory.
pub const LITTLE_SLACK: Duration = Duration::from_millis(5);

/// 9 MB of records.
pub const MANY: usize = 1 << 16;
