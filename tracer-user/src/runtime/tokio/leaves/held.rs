//! What it means to hold a guard, a permit or an end of a channel, in the words of the leaves that
//! wait for them: the same kind, and the same `address`.
//!
//! Structures of tokio 1.54.1, by field name. Guards that borrow lead to their lock's semaphore by
//! a reference, owned ones by an `Arc`.

use super::sync::{MAX_READS, address_of};
use crate::dwarf::{Value, ValueError};
use crate::rebuild::tree::WaitsFor;

/// Types whose values others wait for. `Tx` and `Rx` are what the ends of both kinds of mpsc channels
/// and their owned permits consist of.
pub(super) const TYPES: &[&str] = &[
    "tokio::sync::mutex::MutexGuard",
    "tokio::sync::mutex::OwnedMutexGuard",
    "tokio::sync::mutex::MappedMutexGuard",
    "tokio::sync::mutex::OwnedMappedMutexGuard",
    "tokio::sync::rwlock::read_guard::RwLockReadGuard",
    "tokio::sync::rwlock::owned_read_guard::OwnedRwLockReadGuard",
    "tokio::sync::rwlock::write_guard::RwLockWriteGuard",
    "tokio::sync::rwlock::owned_write_guard::OwnedRwLockWriteGuard",
    "tokio::sync::rwlock::write_guard_mapped::RwLockMappedWriteGuard",
    "tokio::sync::rwlock::owned_write_guard_mapped::OwnedRwLockMappedWriteGuard",
    "tokio::sync::semaphore::SemaphorePermit",
    "tokio::sync::semaphore::OwnedSemaphorePermit",
    "tokio::sync::mpsc::chan::Tx",
    "tokio::sync::mpsc::chan::Rx",
    "tokio::sync::mpsc::bounded::Permit",
    "tokio::sync::mpsc::bounded::PermitIterator",
    "tokio::sync::oneshot::Sender",
    "tokio::sync::watch::Sender",
    "tokio::sync::broadcast::Sender",
];

/// No process has so many of anything: such a count is not one.
const TOO_MANY: u64 = 1 << 40;

/// `oneshot::Inner.state`: set when the value was sent or the sender dropped.
const COMPLETE: u64 = 2;

/// What it is to hold `value`, which is of the type called `path`; `holder` is the path of the future
/// that has it. `None` when it is empty, and when what it belongs to says that it is not held: the
/// bytes of a guard that was dropped stay where they were, but its lock is free then.
///
/// # Errors
/// Memory or a field is missing: then nothing is known.
pub(super) fn holding(
    holder: &str,
    path: &str,
    value: Value<'_, '_>,
) -> Result<Option<WaitsFor>, ValueError> {
    let Some((module, name)) = path
        .strip_prefix("tokio::sync::")
        .and_then(|path| path.rsplit_once("::"))
    else {
        return Ok(None);
    };
    match (module, name) {
        ("mutex", _) => Ok(semaphore_of(value)?.and_then(|found| lock("mutex", 1, found))),
        ("semaphore", _) => permits(holder, value),
        ("mpsc::chan", "Tx") => mpsc(value.field("inner")?, "send"),
        ("mpsc::chan", _) => mpsc(value.field("inner")?, "receive"),
        ("mpsc::bounded", _) => {
            let Some(sender) = value.field("chan")?.target()? else {
                return Ok(None);
            };
            let reserved = match name {
                "PermitIterator" => value.field("n")?.word()?,
                _ => 1,
            };
            let held = mpsc(sender.field("inner")?, "send")?;
            Ok(held.map(|what| what.with("reserved", reserved)))
        }
        ("oneshot", _) => oneshot(value),
        ("watch", _) => channel("watch", "ref_count_tx", value),
        ("broadcast", _) => channel("broadcast", "num_tx", value),
        (module, _) if module.starts_with("rwlock::") => {
            let Some(semaphore) = semaphore_of(value)? else {
                return Ok(None);
            };
            Ok(if module.contains("read") {
                lock("rwlock_read", 1, semaphore)
            } else {
                let acquired = value.field("permits_acquired").and_then(Value::integer);
                lock("rwlock_write", acquired.unwrap_or(MAX_READS), semaphore)
            })
        }
        _ => Ok(None),
    }
}

/// The `batch_semaphore::Semaphore` behind a guard: `s: &Semaphore`, or that of `lock: &Mutex<T>`,
/// `Arc<Mutex<T>>`, `Arc<RwLock<T>>`.
fn semaphore_of<'v, 'a>(guard: Value<'v, 'a>) -> Result<Option<Value<'v, 'a>>, ValueError> {
    let Ok(lock) = guard.field("lock") else {
        return guard.field("s")?.target();
    };
    pointee(lock)?.map(|lock| lock.field("s")).transpose()
}

/// What a reference or an `Arc` leads to.
fn pointee<'v, 'a>(value: Value<'v, 'a>) -> Result<Option<Value<'v, 'a>>, ValueError> {
    if &*value.info.known_base_path(value.type_die) == "alloc::sync::Arc" {
        value.shared()
    } else {
        value.target()
    }
}

fn available(semaphore: Value<'_, '_>) -> Option<u64> {
    let permits = semaphore.field("permits").and_then(Value::word);
    permits.ok().map(|permits| permits >> 1)
}

/// A guard of a lock. One that excludes all others leaves no permit; of one that only reads, the lock
/// is not free as a whole.
fn lock(kind: &str, permits: u64, semaphore: Value<'_, '_>) -> Option<WaitsFor> {
    let available = available(semaphore)?;
    let is_taken = if kind == "rwlock_read" {
        available < MAX_READS
    } else {
        available == 0
    };
    is_taken.then(|| {
        WaitsFor::new("lock")
            .with("lock", kind)
            .with("address", address_of(Some(semaphore)))
            .with("permits", permits)
            .with("permits_available", available)
    })
}

/// `SemaphorePermit { sem: &Semaphore, permits }`, `OwnedSemaphorePermit { sem: Arc<Semaphore>, .. }`
/// with `Semaphore { ll_sem }`. Whoever initialises a `OnceCell` holds one of its only permit.
fn permits(holder: &str, value: Value<'_, '_>) -> Result<Option<WaitsFor>, ValueError> {
    let count = value.field("permits")?.integer()?;
    let semaphore = pointee(value.field("sem")?)?;
    let Some(semaphore) = semaphore.filter(|_| count > 0) else {
        return Ok(None);
    };
    let semaphore = semaphore.field("ll_sem").unwrap_or(semaphore);
    if holder.starts_with("tokio::sync::once_cell::") {
        return Ok(lock("once_cell", count, semaphore));
    }
    let available = available(semaphore).filter(|_| count < TOO_MANY);
    Ok(available.map(|available| {
        WaitsFor::new("semaphore")
            .with("address", address_of(Some(semaphore)))
            .with("permits", count)
            .with("permits_available", available)
    }))
}

/// An `Arc<Chan>` of an end: `Chan { tx_count, .. }`.
fn mpsc(end: Value<'_, '_>, side: &str) -> Result<Option<WaitsFor>, ValueError> {
    let Some(chan) = end.shared()? else {
        return Ok(None);
    };
    let senders = chan.field("tx_count")?.word()?;
    let is_over = side == "send" && senders == 0;
    if is_over || senders >= TOO_MANY || is_freed(end) {
        return Ok(None);
    }
    Ok(Some(
        WaitsFor::new("channel")
            .with("channel", "mpsc")
            .with("side", side)
            .with("address", address_of(Some(chan)))
            .with("senders", senders),
    ))
}

/// `Sender { shared: Arc<Shared> }` with a count of senders.
fn channel(kind: &str, count: &str, value: Value<'_, '_>) -> Result<Option<WaitsFor>, ValueError> {
    let end = value.field("shared")?;
    let Some(shared) = end.shared()? else {
        return Ok(None);
    };
    // A watch channel counts its senders since 1.37.
    let senders = shared.field(count).and_then(Value::word).ok();
    if is_freed(end) || senders.is_some_and(|count| count == 0 || count >= TOO_MANY) {
        return Ok(None);
    }
    let mut what = WaitsFor::new("channel")
        .with("channel", kind)
        .with("side", "send")
        .with("address", address_of(Some(shared)));
    if let Some(senders) = senders {
        what = what.with("senders", senders);
    }
    Ok(Some(what))
}

/// `oneshot::Sender { inner: Option<Arc<Inner { state, .. }>> }`; `None` after `send`.
fn oneshot(value: Value<'_, '_>) -> Result<Option<WaitsFor>, ValueError> {
    let end = value.field("inner")?;
    let Some(inner) = end.shared()? else {
        return Ok(None);
    };
    let state = inner.field("state")?.word()?;
    if is_freed(end) || state & COMPLETE != 0 {
        return Ok(None);
    }
    Ok(Some(
        WaitsFor::new("oneshot")
            .with("side", "send")
            .with("address", address_of(Some(inner))),
    ))
}

/// Whether an `Arc` leads to memory that is none: what is alive has between one and very many
/// references.
fn is_freed(arc: Value<'_, '_>) -> bool {
    let strong = arc
        .target()
        .ok()
        .flatten()
        .and_then(|inner| inner.field("strong").and_then(Value::word).ok());
    strong.is_none_or(|strong| strong == 0 || strong >= TOO_MANY)
}
