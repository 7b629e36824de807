//! Locks, semaphores and notifications.

use serde_json::Value as Json;

use super::enclosing;
use super::waker::{self, Waiting};
use crate::dwarf::{Value, ValueError};
use crate::rebuild::tree::{NodeState, WaitsFor};
use crate::walk::{Leaf, Step};

/// `RwLock::write` asks for all of a lock's permits: `u32::MAX >> 3` unless the user set fewer.
pub(super) const MAX_READS: u64 = 536_870_911;
/// `Semaphore.permits`: the lowest bit says "closed" (batch_semaphore.rs, `PERMIT_SHIFT`).
const CLOSED: u64 = 1;

/// A leaf that has nothing more to tell than its kind.
pub(super) fn plain(kind: &'static str) -> Leaf {
    leaf(WaitsFor::new(kind))
}

pub(super) fn leaf(waits_for: WaitsFor) -> Leaf {
    Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    }
}

/// The target of a reference, as a hexadecimal string.
pub(super) fn address_of(value: Option<Value<'_, '_>>) -> Json {
    value.map_or(Json::Null, |value| Json::String(value.address.to_string()))
}

/// `batch_semaphore::Acquire { node: Waiter { state, waker }, semaphore, num_permits, queued }`: every
/// lock of tokio waits through it; the async body above it tells which.
///
/// In the queue, permits are given to it one by one as they are released: `node.state` is what it
/// still lacks. With none lacking it has them all, and is out of the queue.
pub(super) fn acquire(
    step: &Step<'_>,
    value: Value<'_, '_>,
    waiting: &Waiting<'_, '_>,
) -> Result<Leaf, ValueError> {
    let semaphore = value.field("semaphore")?.target()?;
    // `u32` before tokio 1.36.
    let wanted = value.field("num_permits")?.integer()?;
    let queued = value.field("queued")?.integer()? != 0;
    let permits = semaphore.and_then(|semaphore| {
        let permits = semaphore.field("permits").and_then(Value::word);
        permits.ok()
    });
    let body = enclosing(step, |path| {
        path.starts_with("tokio::sync::") && path.contains("{async_")
    });
    let path = body.map_or("", |body| &body.node.base_path);
    let waits_for = if path.starts_with("tokio::sync::mutex::") {
        WaitsFor::new("lock").with("lock", "mutex")
    } else if path.starts_with("tokio::sync::rwlock::") {
        let write = wanted == MAX_READS || path.contains("write");
        WaitsFor::new("lock").with("lock", if write { "rwlock_write" } else { "rwlock_read" })
    } else if path.starts_with("tokio::sync::mpsc::") {
        WaitsFor::new("channel")
            .with("channel", "mpsc")
            .with("side", "send")
    } else if path.starts_with("tokio::sync::once_cell::") {
        WaitsFor::new("lock").with("lock", "once_cell")
    } else {
        WaitsFor::new("semaphore")
    };
    let what = match waits_for.kind {
        "lock" => "lock",
        "channel" => "channel",
        _ => "semaphore",
    };
    let mut waits_for = waits_for
        .with("address", address_of(semaphore))
        .with("permits", wanted)
        .with(
            "permits_available",
            permits.map_or(Json::Null, |permits| Json::from(permits >> 1)),
        )
        .with("queued", queued);
    if queued {
        let lacking = value.field("node.state").and_then(Value::word).ok();
        let because = lacking.zip(permits).map(|(lacking, permits)| {
            if permits & CLOSED != 0 {
                Some(format!("its {what} is closed"))
            } else if lacking == 0 {
                Some(match what {
                    "lock" => "the lock was given to it".to_owned(),
                    "channel" => "room in the channel was given to it".to_owned(),
                    _ => format!("{} were given to it", permits_in_words(wanted)),
                })
            } else if permits >> 1 >= lacking {
                let free = permits_in_words(permits >> 1);
                Some(match what {
                    "lock" if wanted == 1 => "the lock is free".to_owned(),
                    _ => format!("its {what} has {free} free and it needs {lacking}"),
                })
            } else {
                None
            }
        });
        waits_for = waker::ready(waits_for, because);
        let registered = value.field("node.waker").and_then(waker::optional).ok();
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Ok(Leaf {
        waits_for: Some(waits_for),
        // Not in the queue: it was never polled to Pending.
        state: (!queued).then_some(NodeState::Unresumed),
        notes: Vec::new(),
    })
}

fn permits_in_words(count: u64) -> String {
    match count {
        1 => "1 permit".to_owned(),
        count => format!("{count} permits"),
    }
}

/// `notify::Notified { notify, state, waiter: Waiter { waker, notification } }`; a watch channel
/// waits through one.
pub(super) fn notified(
    step: &Step<'_>,
    value: Value<'_, '_>,
    waiting: &Waiting<'_, '_>,
) -> Result<Leaf, ValueError> {
    let notify = value.field("notify")?.target().ok().flatten();
    let state = value.field("state").and_then(Value::variant_name);
    let body = enclosing(step, |path| path.starts_with("tokio::sync::watch::"));
    let (waits_for, because) = if body.is_some() {
        let waits_for = WaitsFor::new("channel")
            .with("channel", "watch")
            .with("side", "receive");
        (waits_for, "a new value was sent, or its sender is gone")
    } else {
        (WaitsFor::new("notify"), "it was notified")
    };
    let mut waits_for = waits_for.with("address", address_of(notify));
    if matches!(state, Ok("Waiting")) {
        // Not 0 once it was taken out of the list by `notify_one`, `notify_last`, `notify_waiters`.
        let notification = value.field("waiter.notification").and_then(Value::word);
        let because = notification
            .ok()
            .map(|word| (word != 0).then(|| because.to_owned()));
        waits_for = waker::ready(waits_for, because);
        let registered = value.field("waiter.waker").and_then(waker::optional).ok();
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Ok(Leaf {
        waits_for: Some(waits_for),
        state: match state {
            Ok("Init") => Some(NodeState::Unresumed),
            Ok("Done") => Some(NodeState::Returned),
            _ => None,
        },
        notes: Vec::new(),
    })
}
