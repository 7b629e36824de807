//! I/O: which file descriptor a leaf waits for, and whether to read or to write.
//!
//! The descriptor is in the resource (`PollEvented.io`, `AsyncFd.inner`), the wait in the driver's
//! `ScheduledIo`. A leaf that knows only the latter (`Readiness`) is joined to the resource that
//! an async body above it refers to by the address of the `ScheduledIo`: proof, not a guess.
//!
//! `ready` is what the driver has seen; `descriptors.rs` adds what the kernel has.

use serde_json::Value as Json;

use super::waker::{self, Registered, Waiting};
use crate::dwarf::{Finder, Value, ValueError};
use crate::rebuild::tree::{NodeState, WaitsFor};
use crate::walk::{Leaf, Step};

/// `Interest` bits (tokio `io/interest.rs`; mio's are the same for these two).
const READABLE: u64 = 1;
const WRITABLE: u64 = 2;
/// `Ready` bits of the two directions, each with "closed" (tokio 1.0 to 1.54.1, `io/ready.rs`; the
/// lower 16 bits of `ScheduledIo.readiness`).
const READY_TO_READ: u64 = 0b0101;
const READY_TO_WRITE: u64 = 0b1010;
/// Above the readiness: the driver's tick, which changes with each event that it sees of this
/// resource, and whether it shut down (tokio 1.0 to 1.54.1, `scheduled_io.rs`).
const TICK_SHIFT: u32 = 16;

/// `scheduled_io::Readiness { scheduled_io: &ScheduledIo, state, waiter: Waiter { waker, interest,
/// is_ready } }`.
pub(super) fn readiness<'a>(
    step: &Step<'_>,
    value: Value<'_, 'a>,
    resources: &Finder<'_, 'a>,
    waiting: &Waiting<'_, '_>,
) -> Result<Leaf, ValueError> {
    let scheduled = value.field("scheduled_io")?.target()?;
    let interest = value.field("waiter.interest").and_then(Value::integer).ok();
    let resource = scheduled.and_then(|scheduled| {
        let mut found = None;
        // Each async body above, from the nearest: what its active state refers to.
        let mut at = step.parent;
        while let (Some(above), None) = (at, found) {
            let start = Value {
                type_die: above.node.die,
                address: above.address,
                ..value
            };
            let start = start.variant().map_or(start, |(_, state)| state);
            found = resources.find(start, |resource| {
                scheduled_io(resource).map(|io| io.address) == Some(scheduled.address)
            });
            at = above.parent;
        }
        found
    });
    let mut waits_for = describe(resource, scheduled, interest.map(interest_name));
    let state = value.field("state").and_then(Value::variant_name);
    if state == Ok("Waiting") {
        // Once it waits, the driver alone decides: it takes the waiter out of its list.
        let is_ready = value.field("waiter.is_ready").and_then(Value::integer);
        let because = is_ready
            .ok()
            .map(|word| (word != 0).then(|| "tokio's driver saw it ready".to_owned()));
        waits_for = waker::ready(waits_for, because);
        let registered = value.field("waiter.waker").and_then(waker::optional);
        waits_for = waiting.told(waits_for, registered.ok(), value.memory);
    }
    let mut notes = Vec::new();
    if resource.is_none() {
        notes.push("its file descriptor is not reachable from the futures above it".to_owned());
    }
    Ok(Leaf {
        waits_for: Some(waits_for),
        state: (state == Ok("Init")).then_some(NodeState::Unresumed),
        notes,
    })
}

/// A leaf that holds a resource and polls it itself (`Read`, `WriteAll`, hyper's connections).
///
/// Of several resources (a proxy's two sockets) it is the one in which the task's waker is left.
pub(super) fn holder<'a>(
    step: &Step<'_>,
    value: Value<'_, 'a>,
    resources: &Finder<'_, 'a>,
    waiting: &Waiting<'_, '_>,
) -> Option<Leaf> {
    let mut first = None;
    let mut own = None;
    let _ = resources.find(value, |resource| {
        first.get_or_insert(resource);
        let wakers = Wakers::of(resource);
        let is_own = |place: Option<Registered>| {
            matches!(place, Some(Registered::Waker(data)) if Some(data) == waiting.task)
        };
        if waiting.task.is_some() && (is_own(wakers.reader) || is_own(wakers.writer)) {
            own = Some(resource);
        }
        own.is_some()
    });
    let resource = own.or(first)?;
    let wakers = Wakers::of(resource);
    // A wake-up takes the waker out.
    let interest = wakers.interest().or_else(|| {
        let by_name = by_name(&step.node.base_path)?;
        let wraps = resources.find(value, |found| found.address != resource.address);
        wraps.is_none().then_some(by_name)
    });
    let scheduled = scheduled_io(resource);
    let mut waits_for = describe(Some(resource), scheduled, interest);
    let (mask, registered) = match interest {
        Some("read") => (READY_TO_READ, wakers.reader),
        Some("write") => (READY_TO_WRITE, wakers.writer),
        Some("read_write") => (
            READY_TO_READ | READY_TO_WRITE,
            wakers.reader.filter(|_| wakers.reader == wakers.writer),
        ),
        _ => (0, None),
    };
    if mask != 0 {
        let readiness = scheduled.and_then(|io| io.field("readiness").ok()?.word().ok());
        let because = readiness
            .map(|word| (word & mask != 0).then(|| "tokio's driver saw it ready".to_owned()));
        waits_for = waker::ready(waits_for, because);
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Some(Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    })
}

fn describe(
    resource: Option<Value<'_, '_>>,
    scheduled: Option<Value<'_, '_>>,
    interest: Option<&'static str>,
) -> WaitsFor {
    let mut waits_for = WaitsFor::new("io");
    let descriptor = resource.and_then(descriptor);
    waits_for = waits_for.with("fd", descriptor.map_or(Json::Null, Json::from));
    // What wakes it is known by this address.
    if let Some(scheduled) = scheduled {
        waits_for = waits_for.with("record", scheduled.address.to_string());
        // Two looks with the same one: no event in between.
        if let Some(word) = scheduled
            .field("readiness")
            .ok()
            .and_then(|it| it.word().ok())
        {
            waits_for = waits_for.with("driver_tick", word >> TICK_SHIFT);
        }
    }
    if let Some(interest) = interest {
        waits_for = waits_for.with("interest", interest);
    }
    waits_for
}

/// The descriptor inside a resource: `PollEvented.io` or `AsyncFd.inner`, an `Option` that is
/// empty while the resource is being dropped.
fn descriptor(resource: Value<'_, '_>) -> Option<i64> {
    let holder = resource
        .field("io")
        .or_else(|_| resource.field("inner"))
        .ok()?
        .option()
        .ok()??;
    let raw = holder.field("fd").ok()?.integer().ok()?;
    let fd = i32::try_from(raw & u64::from(u32::MAX)).ok()?;
    (fd >= 0).then_some(i64::from(fd))
}

/// The driver's state for a resource: `registration.shared: Arc<ScheduledIo>`; before tokio 1.30 a
/// pointer to a slot of its slab (`Ref { value: *const Value { value: ScheduledIo, .. } }`).
fn scheduled_io<'v, 'a>(resource: Value<'v, 'a>) -> Option<Value<'v, 'a>> {
    let shared = resource.field("registration.shared").ok()?;
    match shared.field("value") {
        Ok(slot) => slot.target().ok()??.field("value").ok(),
        Err(_) => shared.shared().ok()?,
    }
}

/// The wakers that `poll_read` and `poll_write` leave in `ScheduledIo.waiters.{reader, writer}`.
#[derive(Clone, Copy)]
struct Wakers {
    reader: Option<Registered>,
    writer: Option<Registered>,
}

impl Wakers {
    fn of(resource: Value<'_, '_>) -> Self {
        let waiters = scheduled_io(resource).and_then(|io| io.field("waiters").ok());
        let waker = |name| waker::optional(waiters?.field(name).ok()?).ok();
        Self {
            reader: waker("reader"),
            writer: waker("writer"),
        }
    }

    /// Which direction somebody waits for.
    fn interest(self) -> Option<&'static str> {
        let is_set = |place| matches!(place, Some(Registered::Waker(_)));
        match (is_set(self.reader), is_set(self.writer)) {
            (true, true) => Some("read_write"),
            (true, false) => Some("read"),
            (false, true) => Some("write"),
            (false, false) => None,
        }
    }
}

/// What tokio's own leaves over one resource do.
fn by_name(base_path: &str) -> Option<&'static str> {
    let name = base_path.strip_prefix("tokio::io::util::")?;
    if name.starts_with("read") || name.starts_with("fill_buf") {
        Some("read")
    } else if name.starts_with("write") || name.starts_with("flush") {
        Some("write")
    } else {
        None
    }
}

fn interest_name(interest: u64) -> &'static str {
    match (interest & READABLE != 0, interest & WRITABLE != 0) {
        (true, true) => "read_write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => "other",
    }
}
