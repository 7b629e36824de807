//! Locks, semaphores, channels and notifications.

use serde_json::Value as Json;

use super::{enclosing, is_tokio_body};
use crate::dwarf::{Finder, Value, ValueError};
use crate::rebuild::tree::{NodeState, WaitsFor};
use crate::walk::{Leaf, Step};

/// `RwLock::write` asks for all of a lock's permits: `u32::MAX >> 3` unless the user set fewer.
const MAX_READS: u64 = 536_870_911;

/// A leaf that has nothing more to tell than its kind.
pub(super) fn plain(kind: &'static str) -> Leaf {
    Leaf {
        waits_for: Some(WaitsFor::new(kind)),
        ..Leaf::default()
    }
}

fn leaf(waits_for: WaitsFor) -> Leaf {
    Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    }
}

/// The target of a reference, as a hexadecimal string.
fn address_of(value: Option<Value<'_, '_>>) -> Json {
    value.map_or(Json::Null, |value| Json::String(value.address.to_string()))
}

/// `batch_semaphore::Acquire`: every lock of tokio waits through it; the async body above it tells
/// which.
pub(super) fn acquire(step: &Step<'_>, value: Value<'_, '_>) -> Result<Leaf, ValueError> {
    let semaphore = value.field("semaphore")?.target()?;
    let wanted = value.field("num_permits")?.word()?;
    let queued = value.field("queued")?.integer()? != 0;
    // The lowest bit says "closed" (batch_semaphore.rs, PERMIT_SHIFT).
    let available = semaphore
        .and_then(|semaphore| semaphore.field("permits").and_then(Value::word).ok())
        .map_or(Json::Null, |permits| Json::from(permits >> 1));
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
    let waits_for = waits_for
        .with("address", address_of(semaphore))
        .with("permits", wanted)
        .with("permits_available", available)
        .with("queued", queued);
    Ok(Leaf {
        waits_for: Some(waits_for),
        // Not in the queue: it was never polled to Pending.
        state: (!queued).then_some(NodeState::Unresumed),
        notes: Vec::new(),
    })
}

/// `notify::Notified`; a watch channel waits through one.
pub(super) fn notified(step: &Step<'_>, value: Value<'_, '_>) -> Result<Leaf, ValueError> {
    let notify = value.field("notify")?.target().ok().flatten();
    let state = value
        .field("state")
        .and_then(Value::variant)
        .map(|(name, _)| name);
    let body = enclosing(step, |path| path.starts_with("tokio::sync::watch::"));
    let waits_for = if body.is_some() {
        WaitsFor::new("channel")
            .with("channel", "watch")
            .with("side", "receive")
    } else {
        WaitsFor::new("notify")
    };
    Ok(Leaf {
        waits_for: Some(waits_for.with("address", address_of(notify))),
        state: match state {
            Ok("Init") => Some(NodeState::Unresumed),
            Ok("Done") => Some(NodeState::Returned),
            _ => None,
        },
        notes: Vec::new(),
    })
}

/// `oneshot::Receiver.inner: Option<Arc<Inner<T>>>`; `None` after the value was taken.
pub(super) fn oneshot(value: Value<'_, '_>) -> Result<Leaf, ValueError> {
    let inner = value.field("inner")?.shared()?;
    Ok(Leaf {
        waits_for: Some(WaitsFor::new("oneshot").with("address", address_of(inner))),
        state: inner.is_none().then_some(NodeState::Returned),
        notes: Vec::new(),
    })
}

/// `broadcast::Recv.receiver: &mut Receiver { shared: Arc<Shared> }`.
pub(super) fn broadcast(value: Value<'_, '_>) -> Result<Leaf, ValueError> {
    let receiver = value.field("receiver")?.target()?;
    let shared =
        receiver.and_then(|receiver| receiver.field("shared").ok()?.shared().ok().flatten());
    Ok(leaf(
        WaitsFor::new("channel")
            .with("channel", "broadcast")
            .with("side", "receive")
            .with("address", address_of(shared)),
    ))
}

/// A `poll_fn` in tokio's signals or mpsc: there `recv` polls the channel through a closure that captures the
/// receiver.
pub(super) fn poll_fn<'a>(
    step: &Step<'_>,
    value: Value<'_, 'a>,
    channels: &Finder<'_, 'a>,
) -> Option<Result<Leaf, ValueError>> {
    let parent = step.parent.filter(|parent| is_tokio_body(parent.node))?;
    if parent.node.base_path.starts_with("tokio::signal::") {
        return Some(Ok(plain("signal")));
    }
    if !parent.node.base_path.starts_with("tokio::sync::mpsc::") {
        return None;
    }
    let receiver = channels.find(value, |_| true);
    let channel = receiver.map(|receiver| receiver.field("inner").and_then(Value::shared));
    let waits_for = WaitsFor::new("channel")
        .with("channel", "mpsc")
        .with("side", "receive");
    Some(match channel {
        Some(Ok(channel)) => {
            let senders = channel
                .and_then(|channel| channel.field("tx_count").and_then(Value::word).ok())
                .map_or(Json::Null, Json::from);
            Ok(leaf(
                waits_for
                    .with("address", address_of(channel))
                    .with("senders", senders),
            ))
        }
        Some(Err(error)) => Err(error),
        None => Ok(leaf(waits_for)),
    })
}
