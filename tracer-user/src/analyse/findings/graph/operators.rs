//! What a future that holds several needs of them to go on: one (`select!`, a timeout), or all
//! (`join!`). By type path: tokio 1.0 to 1.54, futures-util 0.3.

use super::super::preorder::{Preorder, is_body};
use super::super::source::base;

/// What a future needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// All of what it waits for.
    All,
    /// One of them.
    Any,
    /// Nothing that is known: it may go on by itself.
    Nothing,
}

/// What the future at `index` needs, as far as it is sure, and what it most likely does.
pub(super) fn needs(tree: &Preorder<'_>, index: usize) -> (Needs, Needs) {
    let Some(at) = tree.futures.get(index) else {
        return (Needs::Nothing, Needs::Nothing);
    };
    if is_body(at.node.kind) {
        return (Needs::All, Needs::All);
    }
    let children: Vec<&str> = tree
        .live_children(index)
        .map(|child| base(&tree.futures[child].node.future))
        .collect();
    let path = base(&at.node.future);
    let name = path.rsplit("::").next().unwrap_or(path);
    let several = children.len() > 1;
    match name {
        _ if !is_known(path) => unknown(several),
        "PollFn" if children.iter().all(|child| is_maybe_done(child)) => {
            // `try_join!` looks the same, and an error of one of its arms ends it.
            let sure = if several { Needs::Any } else { Needs::All };
            (sure, Needs::All)
        }
        "PollFn" => unknown(several),
        "Join" | "Join3" | "Join4" | "Join5" | "JoinAll" => (Needs::All, Needs::All),
        "TryJoin" | "TryJoin3" | "TryJoin4" | "TryJoin5" | "TryJoinAll" => (Needs::Any, Needs::All),
        "Timeout" | "Select" | "SelectAll" | "SelectOk" | "TrySelect" => (Needs::Any, Needs::Any),
        "FuturesUnordered" | "FuturesOrdered" => {
            let joined = tree.outwards(index).skip(1).any(|above| {
                let name = base(&above.node.future);
                name.ends_with("::JoinAll") || name.ends_with("::TryJoinAll")
            });
            let likely = if joined { Needs::All } else { Needs::Any };
            (Needs::Any, likely)
        }
        // Streams that are filled while they wait, selected ones, what else there is.
        _ if several => (Needs::Nothing, Needs::Any),
        _ => (Needs::All, Needs::All),
    }
}

/// Of crates of which the paths above, and the wrappers around one future, are known.
fn is_known(path: &str) -> bool {
    [
        "core::",
        "alloc::",
        "std::",
        "tokio::",
        "futures_util::",
        "tracing::",
    ]
    .iter()
    .any(|name| path.starts_with(name))
}

fn is_maybe_done(path: &str) -> bool {
    path.ends_with("::MaybeDone") || path.ends_with("::TryMaybeDone")
}

/// A future written by hand may have reasons of its own to go on.
const fn unknown(several: bool) -> (Needs, Needs) {
    (
        Needs::Nothing,
        if several { Needs::Any } else { Needs::All },
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::hand::{acquire, body, combinator, join, select, sleep};
    use super::*;
    use crate::rebuild::tree::AwaitNode;

    fn of(node: &AwaitNode) -> (Needs, Needs) {
        needs(&Preorder::of(node), 0)
    }

    #[test]
    fn joins_need_all_and_selects_one() {
        let two = || vec![acquire(1), sleep(2)];
        assert_eq!(of(&join(two())), (Needs::Any, Needs::All));
        assert_eq!(of(&join(vec![sleep(1)])), (Needs::All, Needs::All));
        assert_eq!(of(&select(two())), (Needs::Nothing, Needs::Any));
        for (path, expected) in [
            (
                "futures_util::future::join::Join<a::F, a::G>",
                (Needs::All, Needs::All),
            ),
            (
                "futures_util::future::try_join::TryJoin<a::F, a::G>",
                (Needs::Any, Needs::All),
            ),
            (
                "tokio::time::timeout::Timeout<a::F>",
                (Needs::Any, Needs::Any),
            ),
            (
                "futures_util::future::select::Select<a::F, a::G>",
                (Needs::Any, Needs::Any),
            ),
            ("app::Pair<a::F, a::G>", (Needs::Nothing, Needs::Any)),
        ] {
            assert_eq!(of(&combinator(path, two())), expected, "{path}");
        }
        assert_eq!(of(&body("app::f", 1, sleep(1))), (Needs::All, Needs::All));
        let wrapped = combinator("tracing::instrument::Instrumented<a::F>", vec![sleep(1)]);
        assert_eq!(of(&wrapped), (Needs::All, Needs::All));
        let by_hand = combinator("app::Retry<a::F>", vec![sleep(1)]);
        assert_eq!(of(&by_hand), (Needs::Nothing, Needs::All));
    }

    #[test]
    fn a_set_of_futures_is_joined_or_taken_from() {
        let set = || {
            combinator(
                "futures_util::stream::futures_unordered::FuturesUnordered<a::F>",
                vec![acquire(1), sleep(2)],
            )
        };
        let next = combinator(
            "futures_util::stream::stream::next::Next<a::S>",
            vec![set()],
        );
        assert_eq!(needs(&Preorder::of(&next), 1), (Needs::Any, Needs::Any));
        let all = combinator("futures_util::future::join_all::JoinAll<a::F>", vec![set()]);
        assert_eq!(needs(&Preorder::of(&all), 1), (Needs::Any, Needs::All));
    }
}
