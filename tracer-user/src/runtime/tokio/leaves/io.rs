//! I/O: which file descriptor a leaf waits for, and whether to read or to write.
//!
//! The descriptor is in the resource (`PollEvented.io`, `AsyncFd.inner`), the wait in the driver's
//! `ScheduledIo`. A leaf that knows only the latter (`Readiness`) is joined to the resource that
//! an async body above it refers to by the address of the `ScheduledIo`: proof, not a guess.

use serde_json::Value as Json;

use crate::address::Address;
use crate::dwarf::{Finder, Value, ValueError};
use crate::rebuild::tree::WaitsFor;
use crate::walk::{Leaf, Step};

/// `Interest` bits (tokio `io/interest.rs`; mio's are the same for these two).
const READABLE: u64 = 1;
const WRITABLE: u64 = 2;

/// `scheduled_io::Readiness { scheduled_io: &ScheduledIo, waiter: Waiter { interest } }`.
pub(super) fn readiness<'a>(
    step: &Step<'_>,
    value: Value<'_, 'a>,
    resources: &Finder<'_, 'a>,
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
                scheduled_io(resource) == Some(scheduled.address)
            });
            at = above.parent;
        }
        found
    });
    let mut leaf = describe(resource, interest.map(interest_name));
    if resource.is_none() {
        leaf.notes
            .push("its file descriptor is not reachable from the futures above it".to_owned());
    }
    Ok(leaf)
}

/// A leaf that holds a resource and polls it itself (`Read`, `WriteAll`, hyper's connections).
pub(super) fn holder<'a>(value: Value<'_, 'a>, resources: &Finder<'_, 'a>) -> Option<Leaf> {
    let resource = resources.find(value, |_| true)?;
    Some(describe(Some(resource), registered_interest(resource)))
}

fn describe(resource: Option<Value<'_, '_>>, interest: Option<&'static str>) -> Leaf {
    let mut waits_for = WaitsFor::new("io");
    let descriptor = resource.and_then(descriptor);
    waits_for = waits_for.with("fd", descriptor.map_or(Json::Null, Json::from));
    // What wakes it is known by this address.
    if let Some(record) = resource.and_then(scheduled_io) {
        waits_for = waits_for.with("resource", record.to_string());
    }
    if let Some(interest) = interest {
        waits_for = waits_for.with("interest", interest);
    }
    Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    }
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

/// Address of the driver's state for a resource: `registration.shared: Arc<ScheduledIo>`.
fn scheduled_io(resource: Value<'_, '_>) -> Option<Address> {
    let shared = resource.field("registration.shared").ok()?;
    Some(shared.shared().ok()??.address)
}

/// Which direction somebody waits for, from the wakers that `poll_read` and `poll_write` leave in
/// `ScheduledIo.waiters.{reader, writer}`.
fn registered_interest(resource: Value<'_, '_>) -> Option<&'static str> {
    let scheduled = resource
        .field("registration.shared")
        .ok()?
        .shared()
        .ok()??;
    let is_set = |name: &str| {
        scheduled
            .field("waiters")
            .and_then(|waiters| waiters.field(name))
            .and_then(Value::option)
            .is_ok_and(|waker| waker.is_some())
    };
    match (is_set("reader"), is_set("writer")) {
        (true, true) => Some("read_write"),
        (true, false) => Some("read"),
        (false, true) => Some("write"),
        (false, false) => None,
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
