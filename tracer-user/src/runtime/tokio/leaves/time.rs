//! Timers.

use super::waker::{self, Registered, Waiting};
use crate::dwarf::{Value, ValueError};
use crate::rebuild::tree::{NodeState, WaitsFor};
use crate::walk::Leaf;

/// `StateCell.state` of a timer that has fired or was never set (tokio 1.0 to 1.54.1,
/// `runtime/time/entry.rs`, `STATE_DEREGISTERED`).
const DEREGISTERED: u64 = u64::MAX;

/// `Sleep.deadline` (in `Sleep.entry.deadline` before tokio 1.5x): a `std::time::Instant`, on
/// Linux a `CLOCK_MONOTONIC` timespec.
///
/// It is ready when its timer has fired, which the time driver does some time after the deadline: a
/// driver that is late (its thread is kept busy) leaves `ready: false` with a negative
/// `remaining_ms`. So does tokio's paused clock (`tokio::time::pause`), whose deadlines are in a time
/// of their own.
pub(super) fn sleep(
    value: Value<'_, '_>,
    waiting: &Waiting<'_, '_>,
    now: u64,
) -> Result<Leaf, ValueError> {
    let deadline = value.field("deadline")?;
    let seconds = deadline.field("tv_sec")?.word()?;
    let nanoseconds = deadline.field("tv_nsec")?.integer()?;
    let deadline = seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds);
    let remaining_ms = (i128::from(deadline) - i128::from(now)) / 1_000_000;
    let remaining_ms = i64::try_from(remaining_ms).unwrap_or(i64::MAX);
    // The timer entry is made at the first poll (`Sleep.timer: Option<Timer>`, tokio 1.54).
    let timer = value.field("timer").and_then(Value::option);
    let mut waits_for = WaitsFor::new("sleep")
        .with("deadline_ns", deadline)
        .with("remaining_ms", remaining_ms);
    if let Ok(Some(timer)) = timer
        && let Some((has_fired, registered)) = entry(timer)
    {
        let because = has_fired.then(|| {
            let late = now.saturating_sub(deadline);
            format!("its deadline passed {} ago and its timer fired", span(late))
        });
        waits_for = waker::ready(waits_for, Some(because));
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Ok(Leaf {
        waits_for: Some(waits_for),
        state: matches!(timer, Ok(None)).then_some(NodeState::Unresumed),
        notes: Vec::new(),
    })
}

/// Whether the timer has fired, and the waker in it. `Timer::Traditional(TimerEntry { inner:
/// TimerShared { state: StateCell { state, waker } } })`; the alternative timer of `tokio_unstable`
/// is not read.
fn entry(timer: Value<'_, '_>) -> Option<(bool, Option<Registered>)> {
    let cell = timer
        .part_called("tokio::runtime::time::entry::StateCell")
        .ok()?;
    if let Ok((variant, _)) = timer.variant()
        && !variant.starts_with("Traditional")
    {
        return None;
    }
    let state = cell.field("state").and_then(Value::word).ok()?;
    let registered = cell.field("waker").ok().and_then(waker::atomic);
    Some((state == DEREGISTERED, registered))
}

/// A length of time in words.
fn span(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        _ => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
    }
}
