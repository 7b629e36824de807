//! Whose code a future is, and which places of a tree are worth naming.

use std::sync::Arc;

use super::model::{Role, Site, Subject};
use super::preorder::{Placed, Preorder, is_body};
use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tree::AwaitNode;

/// Crates whose futures pass on the waker that they are polled with, as far as they are not named in
/// [`makes_own_wakers`]: the runtime, the standard library, the usual combinators.
const WELL_KNOWN: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_stream",
    "core",
    "alloc",
    "std",
    "futures",
    "futures_util",
    "futures_core",
    "futures_lite",
    "futures_concurrency",
    "pin_project",
    "pin_project_lite",
    "tracing",
    "async_stream",
    "hyper",
    "hyper_util",
    "tower",
    "tower_http",
    "tower_service",
    "axum",
    "tonic",
    "h2",
    "reqwest",
];

/// The path from its first name on: `<&mut app::S as T>::f` from `app` on.
fn bare(path: &str) -> &str {
    let mut rest = path.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    for word in ["mut ", "dyn ", "const ", "impl "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest
}

/// The path without its generic arguments.
pub(super) fn base(path: &str) -> &str {
    let bare = bare(path);
    bare.split_once('<').map_or(bare, |(base, _)| base)
}

/// Whether a future is of a crate that is in every program, so that it is hardly at fault.
pub(super) fn is_well_known(path: &str) -> bool {
    let bare = bare(path);
    WELL_KNOWN.iter().any(|name| {
        bare.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with("::"))
    })
}

/// Whether a source file belongs to a dependency or the standard library, by where cargo and rustup
/// put them (cargo 1.65 to 1.97).
pub(super) fn is_dependency(file: &str) -> bool {
    file.starts_with("/rustc/")
        || ["/registry/src/", "/git/checkouts/", "/rustlib/src/rust/"]
            .iter()
            .any(|folder| file.contains(folder))
}

/// Whether a future is written by the people whose program this is, as far as its file tells; by its
/// crate where the file is not known.
pub(super) fn is_users(node: &AwaitNode) -> bool {
    let file = node.defined.as_ref().map(|place| &*place.file);
    match file.or(node.file.as_deref()) {
        Some(file) => !is_dependency(file),
        None => !is_well_known(&node.future),
    }
}

/// Whether what is below this future is polled with wakers of its own making, which wake the task in
/// turn (futures-util 0.3).
pub(super) fn makes_own_wakers(path: &str) -> bool {
    const OWN: [&str; 12] = [
        "FuturesUnordered",
        "FuturesOrdered",
        "Buffered",
        "BufferUnordered",
        "TryBuffered",
        "TryBufferUnordered",
        "ForEachConcurrent",
        "TryForEachConcurrent",
        "JoinAll",
        "TryJoinAll",
        "Shared",
        "FlattenUnordered",
    ];
    let base = base(path);
    let name = base.rsplit("::").next().unwrap_or(base);
    OWN.contains(&name)
}

/// Whether a future is one that is never ready, by design.
pub(super) fn is_never(node: &AwaitNode) -> bool {
    if let Some(waits) = &node.waits_for {
        return waits.kind == "never";
    }
    let base = base(&node.future);
    // `core::future::pending`, `futures_util::{future,stream}::pending`, `futures_lite::future`, ...
    let pending =
        base.ends_with("::pending::Pending") || base.ends_with("::Pending") && is_well_known(base);
    // A terminated `Fuse` returns Pending for ever (futures-util 0.3).
    pending || base == "futures_util::future::future::fuse::Fuse"
}

/// The async body that awaits the future at `index`: the nearest one of the user's, or the nearest
/// with a line when none is.
pub(super) fn awaited_in<'t, 'a>(tree: &'t Preorder<'a>, index: usize) -> Option<&'t Placed<'a>> {
    let bodies = || {
        tree.outwards(index)
            .filter(|at| is_body(at.node.kind) && at.node.line.is_some())
    };
    let users = bodies().find(|at| {
        let file = at.node.file.as_deref();
        file.is_some_and(|file| !is_dependency(file))
    });
    users.or_else(|| bodies().next())
}

/// The place where an async body stands.
pub(super) fn site(role: Role, node: &AwaitNode) -> Site {
    Site {
        role,
        future: Arc::clone(&node.future),
        file: node.file.clone(),
        line: node.line,
    }
}

/// The place where a hand-written future's `poll` is.
pub(super) fn defined_at(role: Role, node: &AwaitNode) -> Site {
    let defined = node.defined.as_ref();
    Site {
        role,
        future: Arc::clone(&node.future),
        file: defined.map(|place| Arc::clone(&place.file)),
        line: defined.map(|place| place.line),
    }
}

/// A place as `src/main.rs:23`, or what is known of it.
pub(super) fn place(site: &Site) -> String {
    match (&site.file, site.line) {
        (Some(file), Some(line)) => format!("{}:{line}", short(file)),
        (Some(file), None) => short(file).to_owned(),
        _ => site.future.to_string(),
    }
}

/// A file without what stands before a registry's or checkout's folder: the same on every machine.
fn short(file: &str) -> &str {
    ["/registry/src/", "/git/checkouts/"]
        .iter()
        .find_map(|folder| {
            file.split_once(folder)?
                .1
                .split_once('/')
                .map(|(_, rest)| rest)
        })
        .unwrap_or(file)
}

/// A task as a finding names it.
pub(super) fn subject(task: &TaskInfo) -> Subject {
    Subject {
        id: task.id.as_str().into(),
        future: Some(Arc::clone(&task.future)).filter(|future| &**future != "?"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hand::{leaf, waits};
    use super::*;

    #[test]
    fn futures_that_are_never_ready_are_known_by_kind_or_name() {
        for path in [
            "futures_util::stream::pending::Pending<u8>",
            "futures_lite::future::Pending",
            "futures_util::future::future::fuse::Fuse<app::f>",
            "core::future::pending::Pending<()>",
        ] {
            assert!(is_never(&leaf(path)), "{path}");
        }
        assert!(is_never(&waits("x::Y", "never")));
        assert!(!is_never(&leaf("app::Pending")));
        assert!(!is_never(&leaf("app::Lost")));
    }

    #[test]
    fn paths_lose_their_arguments_and_dependencies_their_machine() {
        assert_eq!(base("app::Hand<core::future::F>"), "app::Hand");
        assert_eq!(
            short("/home/u/.cargo/registry/src/index-1/dep-1.0.0/src/lib.rs"),
            "dep-1.0.0/src/lib.rs"
        );
        assert!(is_well_known("tokio::sync::Notify"));
        assert!(!is_well_known("tokio_postgres::Connection"));
        assert!(makes_own_wakers(
            "futures_util::stream::futures_unordered::FuturesUnordered<app::f>"
        ));
    }
}
