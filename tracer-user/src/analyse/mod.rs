//! What a trace says when one looks at all of it. Pure: events and snapshots in, findings out; it
//! never does I/O.

use crate::address::Address;

pub mod activity;
pub mod critical_path;
pub mod findings;
pub mod history;
pub mod levels;
pub mod life;
pub mod profile;
pub mod requests;
#[cfg(test)]
pub(crate) mod sample;
pub mod sampled;

/// Whether `asynctrace dump` names the root of a `block_on` so. These are polled where no probe
/// stands: events tell nothing of what they do.
pub(crate) fn is_root_name(name: &str) -> bool {
    name.contains("/block_on/")
}

/// How `asynctrace dump` names a task with this id; one without id by its address.
pub(crate) fn task_name(runtime: &str, id: Option<u64>, address: Address) -> String {
    match id {
        Some(id) => format!("{runtime}/{id}"),
        None => format!("{runtime}/{address}"),
    }
}
