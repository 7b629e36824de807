//! What types alone tell of tokio's leaves: what they wait for, and which bytes tell one from the
//! next. The reading of a leaf's memory is in `leaves`; both use the same words.

use crate::walk::flat::Conventions;
use crate::walk::is_poll_fn;

/// tokio's (checked on 1.54.1), and those of futures-util that wait for nothing of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct TokioConventions;

impl Conventions for TokioConventions {
    fn mark_fields(&self, base_path: &str) -> &'static [&'static str] {
        match base_path {
            "tokio::time::sleep::Sleep" => &["deadline"],
            "tokio::runtime::task::join::JoinHandle" => &["raw"],
            "tokio::sync::oneshot::Receiver" | "futures_channel::oneshot::Receiver" => &["inner"],
            _ => &[],
        }
    }

    fn waits_for(&self, path: &str, above: &mut dyn Iterator<Item = &str>) -> Option<&'static str> {
        let mut above = std::iter::from_fn(|| above.next());
        Some(match path {
            "tokio::time::sleep::Sleep" => "sleep",
            "tokio::sync::batch_semaphore::Acquire" => {
                match above
                    .find(|path| path.starts_with("tokio::sync::") && path.contains("{async_"))
                {
                    Some(path)
                        if path.starts_with("tokio::sync::mutex::")
                            || path.starts_with("tokio::sync::rwlock::")
                            || path.starts_with("tokio::sync::once_cell::") =>
                    {
                        "lock"
                    }
                    Some(path) if path.starts_with("tokio::sync::mpsc::") => "channel",
                    _ => "semaphore",
                }
            }
            "tokio::sync::notify::Notified" | "tokio::sync::notify::OwnedNotified" => {
                if above.any(|path| path.starts_with("tokio::sync::watch::")) {
                    "channel"
                } else {
                    "notify"
                }
            }
            "tokio::sync::oneshot::Receiver" | "futures_channel::oneshot::Receiver" => "oneshot",
            "tokio::sync::broadcast::Recv" => "channel",
            "tokio::runtime::task::join::JoinHandle" => "join",
            "tokio::runtime::io::scheduled_io::Readiness" => "io",
            "tokio::task::yield_now::yield_now::{async_fn#0}::YieldNow"
            | "tokio::task::yield_now::YieldNow" => "yield",
            "core::future::pending::Pending" | "futures_util::future::pending::Pending" => "never",
            path if is_poll_fn(path) => {
                let nearest = above.next()?;
                let within = |module: &str| nearest.starts_with(module);
                if within("tokio::signal::") {
                    "signal"
                } else if within("tokio::sync::mpsc::") {
                    "channel"
                } else if within("tokio::task::join_set::") {
                    "join"
                } else {
                    return None;
                }
            }
            _ if path.starts_with("tokio::io::util::") || path.starts_with("tokio::net::") => "io",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_told_by_who_asks_for_it() {
        let ask = |path: &str, above: &[&str]| {
            TokioConventions.waits_for(path, &mut above.iter().copied())
        };
        let acquire = "tokio::sync::batch_semaphore::Acquire";
        let mutex = "tokio::sync::mutex::{impl#0}::lock::{async_fn_env#0}";
        assert_eq!(ask(acquire, &["app::f", mutex]), Some("lock"));
        assert_eq!(ask(acquire, &["app::f"]), Some("semaphore"));
        let recv = "tokio::sync::mpsc::bounded::{impl#0}::recv::{async_fn_env#0}";
        assert_eq!(
            ask("core::future::poll_fn::PollFn", &[recv]),
            Some("channel")
        );
        assert_eq!(
            ask("core::future::poll_fn::PollFn", &["app::f", recv]),
            None
        );
        assert_eq!(ask("app::Hand", &[]), None);
    }
}
