//! What a session is asked for that is not the plan's.

use super::LinkKind;

/// Settings of a session that are not the plan's.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// The kind of links; `None` takes what the kernel has, or what the environment variable
    /// `ASYNCTRACE_LINKS` says (`multi` or `perf`, for tests and for kernels that misbehave).
    pub links: Option<LinkKind>,
    /// Bytes of each CPU's ring buffer, rounded up to a power of two; `None` for 0.5 to 16 MiB,
    /// depending on the number of CPUs.
    pub ring_bytes: Option<u32>,
    /// Whether to follow threads off the CPU and back: exact ends of polls before a worker sleeps,
    /// and blocking inside a poll.
    pub scheduler: bool,
    /// Whether records go into the rings in batches where the kernel lets the daemon ask for them;
    /// otherwise each by itself.
    pub batches: bool,
    /// Whether a process of its own is to hold the links, see [`holder`](super::holder). For programs
    /// that are asynctrace: it is this process's executable that is started.
    pub apart: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            links: None,
            ring_bytes: None,
            scheduler: true,
            batches: true,
            apart: false,
        }
    }
}

impl SessionOptions {
    /// The kind of links that is asked for, here or by the environment.
    pub(super) fn wanted_links(&self) -> Option<LinkKind> {
        self.links
            .or_else(|| match std::env::var("ASYNCTRACE_LINKS").ok()?.as_str() {
                "perf" => Some(LinkKind::Perf),
                "multi" => Some(LinkKind::Multi),
                _ => None,
            })
    }
}
