//! Channels: mpsc, oneshot, broadcast, and those of futures.

use serde_json::Value as Json;

use super::is_tokio_body;
use super::sync::{address_of, leaf, plain};
use super::waker::{self, Registered, Waiting};
use crate::address::Address;
use crate::dwarf::{Finder, Kind, Value, ValueError};
use crate::rebuild::tree::{NodeState, WaitsFor};
use crate::walk::{Leaf, Step};

/// Blocks of a list that are followed at most; the receiver is in the first or the second.
const MAX_BLOCKS: u32 = 4;

/// `oneshot::Inner.state` (tokio 1.0 to 1.54.1, `sync/oneshot.rs`).
mod oneshot_state {
    pub(super) const RX_TASK_SET: u64 = 1;
    /// Set by the sender: a value was sent, or it was dropped.
    pub(super) const COMPLETE: u64 = 2;
    pub(super) const CLOSED: u64 = 4;
}

/// `oneshot::Receiver.inner: Option<Arc<Inner<T>>>`; `None` after the value was taken. `Inner { state,
/// value, rx_task }`, where `rx_task` holds a waker when `state` says so.
pub(super) fn oneshot(value: Value<'_, '_>, waiting: &Waiting<'_, '_>) -> Result<Leaf, ValueError> {
    let inner = value.field("inner")?.shared()?;
    let mut waits_for = WaitsFor::new("oneshot").with("address", address_of(inner));
    if let Some(inner) = inner
        && let Ok(state) = inner.field("state").and_then(Value::word)
    {
        let because = if state & oneshot_state::COMPLETE != 0 {
            let has_value = inner.field("value").and_then(Value::option);
            Some(match has_value.map(|value| value.is_some()) {
                Ok(true) => "the value was sent".to_owned(),
                Ok(false) => "its sender was dropped without sending".to_owned(),
                Err(_) => "the value was sent, or its sender dropped".to_owned(),
            })
        } else {
            (state & oneshot_state::CLOSED != 0).then(|| "it was closed".to_owned())
        };
        waits_for = waker::ready(waits_for, Some(because));
        let registered = if state & oneshot_state::RX_TASK_SET == 0 {
            Some(Registered::None)
        } else {
            inner.field("rx_task").and_then(waker::present).ok()
        };
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Ok(Leaf {
        waits_for: Some(waits_for),
        state: inner.is_none().then_some(NodeState::Returned),
        notes: Vec::new(),
    })
}

/// `futures::channel::oneshot::Receiver.inner: Arc<Inner { complete, data, rx_task: Lock<Option<Waker>>
/// }>` (futures-channel 0.3).
pub(super) fn futures_oneshot(
    value: Value<'_, '_>,
    waiting: &Waiting<'_, '_>,
) -> Result<Leaf, ValueError> {
    let inner = value.field("inner")?.shared()?;
    let mut waits_for = WaitsFor::new("oneshot").with("address", address_of(inner));
    if let Some(inner) = inner {
        let complete = inner.field("complete").and_then(Value::integer);
        let because = complete.ok().map(|complete| {
            (complete != 0).then(|| {
                let data = inner.field("data").and_then(Value::option);
                match data.map(|data| data.is_some()) {
                    Ok(true) => "the value was sent".to_owned(),
                    Ok(false) => "its sender was dropped without sending".to_owned(),
                    Err(_) => "the value was sent, or its sender dropped".to_owned(),
                }
            })
        });
        waits_for = waker::ready(waits_for, because);
        // A lock that is taken is being changed.
        let rx_task = inner.field("rx_task");
        let is_free = |at: Value<'_, '_>| {
            let locked = at.field("locked").and_then(Value::integer);
            locked.is_ok_and(|locked| locked == 0)
        };
        let registered = rx_task
            .ok()
            .filter(|at| is_free(*at))
            .and_then(|at| waker::optional(at.field("data").ok()?).ok());
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Ok(leaf(waits_for))
}

/// `broadcast::Recv { receiver: &mut Receiver { shared, next }, waiter: Waiter { waker } }`; what was
/// sent is told by the channel's `tail`.
pub(super) fn broadcast(
    value: Value<'_, '_>,
    waiting: &Waiting<'_, '_>,
) -> Result<Leaf, ValueError> {
    let receiver = value.field("receiver")?.target()?;
    let shared =
        receiver.and_then(|receiver| receiver.field("shared").ok()?.shared().ok().flatten());
    let mut waits_for = WaitsFor::new("channel")
        .with("channel", "broadcast")
        .with("side", "receive")
        .with("address", address_of(shared));
    let because = || {
        let next = receiver?.field("next").ok()?.word().ok()?;
        let tail = shared?.field("tail").ok()?;
        let position = tail.field("pos").ok()?.word().ok()?;
        let closed = tail.field("closed").ok()?.integer().ok()?;
        Some(match position.wrapping_sub(next) {
            0 if closed != 0 => Some("its senders are gone".to_owned()),
            0 => None,
            count => Some(messages(count)),
        })
    };
    waits_for = waker::ready(waits_for, because());
    let registered = value.field("waiter").and_then(|waiter| {
        let waker = waiter.field("waker")?;
        waker::optional(waker)
    });
    waits_for = waiting.told(waits_for, registered.ok(), value.memory);
    Ok(leaf(waits_for))
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message waits in the channel".to_owned(),
        count => format!("{count} messages wait in the channel"),
    }
}

/// A `poll_fn` in tokio's signals or mpsc: there `recv` polls the channel through a closure that
/// captures the receiver.
pub(super) fn poll_fn<'a>(
    step: &Step<'_>,
    value: Value<'_, 'a>,
    channels: &Finder<'_, 'a>,
    waiting: &Waiting<'_, '_>,
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
    Some(match channel {
        Some(Ok(channel)) => Ok(leaf(mpsc(channel, waiting))),
        Some(Err(error)) => Err(error),
        None => Ok(leaf(receives())),
    })
}

/// The `Chan` that a `bounded::Semaphore` is part of: that of the sender which `body` has.
pub(super) fn channel_of_semaphore<'v, 'a>(
    body: Value<'v, 'a>,
    semaphore: Value<'v, 'a>,
    senders: &Finder<'_, 'a>,
) -> Option<(Address, Option<u64>)> {
    let mut found = None;
    senders.find(body, |sender| {
        let chan = sender.field("inner").and_then(Value::shared);
        found = chan.ok().flatten().filter(|chan| {
            let size = chan.info.type_at(chan.type_die).map_or(0, |this| this.size);
            semaphore.address.0.wrapping_sub(chan.address.0) < size
        });
        found.is_some()
    })?;
    let chan = found?;
    let count = chan.field("tx_count").and_then(Value::word).ok();
    Some((chan.address, count))
}

/// Gives a wait for room in a channel the channel's address; the semaphore's, by which nothing else
/// is known, becomes `semaphore`.
pub(super) fn sends(mut leaf: Leaf, chan: impl FnOnce() -> Option<(Address, Option<u64>)>) -> Leaf {
    let Some(waits_for) = leaf
        .waits_for
        .take_if(|waits_for| waits_for.kind == "channel")
    else {
        return leaf;
    };
    let semaphore = waits_for.details.get("address").cloned();
    let (address, senders) = chan().unzip();
    let mut waits_for = waits_for
        .with("semaphore", semaphore.unwrap_or(Json::Null))
        .with(
            "address",
            address.map_or(Json::Null, |at| at.to_string().into()),
        );
    if let Some(senders) = senders.flatten() {
        waits_for = waits_for.with("senders", senders);
    }
    leaf.waits_for = Some(waits_for);
    leaf
}

/// Gives a wait on a watch channel the channel's address; that of the `Notify` inside it becomes
/// `notify`. `shared` tells also whether it is the sender who waits, for its receivers to go.
pub(super) fn watches(mut leaf: Leaf, shared: impl FnOnce() -> Option<(Address, bool)>) -> Leaf {
    let Some(waits_for) = leaf
        .waits_for
        .take_if(|waits_for| waits_for.kind == "channel")
    else {
        return leaf;
    };
    let notify = waits_for.details.get("address").cloned();
    let found = shared();
    let mut waits_for = waits_for.with("notify", notify.unwrap_or(Json::Null)).with(
        "address",
        found.map_or(Json::Null, |(at, _)| at.to_string().into()),
    );
    if found.is_some_and(|(_, is_sender)| is_sender) {
        waits_for = waits_for.with("side", "send");
    }
    leaf.waits_for = Some(waits_for);
    leaf
}

fn receives() -> WaitsFor {
    WaitsFor::new("channel")
        .with("channel", "mpsc")
        .with("side", "receive")
}

/// The receiving end of `mpsc::chan::Chan { tx, rx_waker, tx_count, rx_fields }`.
fn mpsc(channel: Option<Value<'_, '_>>, waiting: &Waiting<'_, '_>) -> WaitsFor {
    let senders = channel
        .and_then(|channel| channel.field("tx_count").and_then(Value::word).ok())
        .map_or(Json::Null, Json::from);
    let mut waits_for = receives()
        .with("address", address_of(channel))
        .with("senders", senders);
    if let Some(channel) = channel {
        waits_for = waker::ready(waits_for, received(channel));
        let registered = channel.field("rx_waker").ok().and_then(waker::atomic);
        waits_for = waiting.told(waits_for, registered, channel.memory);
    }
    waits_for
}

/// Why the next `recv` would have something. `Chan.tx.tail_position` is what was reserved by senders
/// (a close reserves one, too), `Chan.rx_fields.list.{head, index}` where the receiver is; a slot
/// holds a message when its bit in its block's `ready_slots` is set (tokio 1.0 to 1.54.1,
/// `sync/mpsc/{list,block}.rs`).
#[expect(
    clippy::option_option,
    reason = "not ready is not the same as not known"
)]
fn received(channel: Value<'_, '_>) -> Option<Option<String>> {
    let fields = channel.field("rx_fields").ok()?;
    let tail = channel.field("tx.tail_position").ok()?.word().ok()?;
    let index = fields.field("list.index").ok()?.word().ok()?;
    let is_closed = fields.field("rx_closed").ok()?.integer().ok()? != 0;
    let reserved = tail.wrapping_sub(index);
    if reserved == 0 {
        // Closed by its receiver: over when the last permit is back, which is not read.
        return (!is_closed).then_some(None);
    }
    let mut block = fields.field("list.head").ok()?.target().ok()??;
    let capacity = capacity(block)?;
    let start = index - index % capacity;
    for _ in 0..MAX_BLOCKS {
        if block.field("header.start_index").ok()?.word().ok()? == start {
            let slots = block.field("header.ready_slots").ok()?.word().ok()?;
            let ready = slots & ((1_u64 << capacity) - 1);
            if ready & (1 << (index % capacity)) != 0 {
                let has_senders = channel.field("tx_count").ok()?.word().ok()? != 0;
                // The last sender's end reserves a place, too.
                let count = reserved.saturating_sub(u64::from(!has_senders));
                return Some(Some(messages(count.max(1))));
            }
            // Above the slots: RELEASED, TX_CLOSED. A place that is reserved and not filled yet is
            // neither one nor the other.
            let has_closed = slots & (2 << capacity) != 0;
            return has_closed.then(|| Some("its senders are gone".to_owned()));
        }
        block = Value {
            address: block.field("header.next").ok()?.word().ok().map(Address)?,
            ..block
        };
        if block.address.is_null() {
            return None;
        }
    }
    None
}

/// Slots of a block: the length of `Values([_; BLOCK_CAP])`.
fn capacity(block: Value<'_, '_>) -> Option<u64> {
    let values = block.field("values").ok()?;
    let array = values
        .part("<array>", |this, _| matches!(this.kind, Kind::Array { .. }))
        .ok()?;
    match block.info.type_at(array.type_die)?.kind {
        // Two bits above the slots are flags.
        Kind::Array { count, .. } if (1..=62).contains(&count) => Some(count),
        _ => None,
    }
}
