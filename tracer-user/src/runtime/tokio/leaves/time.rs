//! Timers.

use crate::dwarf::{Value, ValueError};
use crate::rebuild::tree::{NodeState, WaitsFor};
use crate::walk::Leaf;

/// `Sleep.deadline` (in `Sleep.entry.deadline` before tokio 1.5x): a `std::time::Instant`, on
/// Linux a `CLOCK_MONOTONIC` timespec.
pub(super) fn sleep(value: Value<'_, '_>, now: u64) -> Result<Leaf, ValueError> {
    let deadline = value.field("deadline")?;
    let seconds = deadline.field("tv_sec")?.word()?;
    let nanoseconds = deadline.field("tv_nsec")?.integer()?;
    let deadline = seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds);
    let remaining_ms = (i128::from(deadline) - i128::from(now)) / 1_000_000;
    let remaining_ms = i64::try_from(remaining_ms).unwrap_or(i64::MAX);
    // The timer entry is made at the first poll (`Sleep.timer: Option<Timer>`, tokio 1.54).
    let registered = value
        .field("timer")
        .and_then(Value::option)
        .map(|timer| timer.is_some());
    Ok(Leaf {
        waits_for: Some(
            WaitsFor::new("sleep")
                .with("deadline_ns", deadline)
                .with("remaining_ms", remaining_ms),
        ),
        state: (registered == Ok(false)).then_some(NodeState::Unresumed),
        notes: Vec::new(),
    })
}
