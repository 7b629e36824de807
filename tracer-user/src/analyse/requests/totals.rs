//! How long each request spent at each of the user's awaits.
//!
//! The time of an await instance is counted where the user can do something about it: at the
//! innermost await in the user's own code above it (`lock().await` in `src/main.rs`, not the
//! semaphore inside tokio's mutex). It is counted once: what an instance's children explain is
//! theirs. Awaits of spawned tasks count as far as they fall into the request.

use std::collections::HashMap;

use super::Request;
use super::code::Code;
use crate::analyse::history::{Await, AwaitIndex, History};
use crate::analyse::levels::Nesting;

/// Awaits of one request that are added up at most.
const AWAITS: usize = 100_000;

/// Nanoseconds of a request by number of what was awaited.
pub(super) type Totals = HashMap<usize, u64>;

/// For each await instance the one that stands for it in the user's own code.
#[derive(Debug)]
pub struct UserAwaits(Vec<usize>);

impl UserAwaits {
    /// Those of a history. Linear.
    #[must_use]
    pub fn new(history: &History) -> Self {
        Self(sites(history, &Code::of(history)))
    }

    /// The innermost instance at or above this one whose await the user wrote; itself when there is
    /// none.
    #[must_use]
    pub fn of(&self, instance: AwaitIndex) -> AwaitIndex {
        let site = self.0.get(instance.0 as usize);
        let site = site.and_then(|&site| u32::try_from(site).ok());
        site.map_or(instance, AwaitIndex)
    }
}

/// Where the time of each instance is counted: the instance above it that the user awaits, or
/// itself.
pub(super) fn sites(history: &History, code: &Code) -> Vec<usize> {
    let mut sites: Vec<usize> = Vec::with_capacity(history.awaits.len());
    for (index, instance) in history.awaits.iter().enumerate() {
        let parent = instance
            .parent
            .map(|parent| parent.0 as usize)
            .filter(|&parent| parent < index);
        sites.push(match parent {
            Some(parent) if !code.is_users_await(index) && code.is_users_await(sites[parent]) => {
                sites[parent]
            }
            _ => index,
        });
    }
    sites
}

/// The totals of a request.
pub(super) fn totals(
    history: &History,
    nesting: &Nesting<'_>,
    code: &Code,
    sites: &[usize],
    request: &Request,
) -> Totals {
    let end = request.end.unwrap_or(history.span.end);
    let clip = |instance: &Await| {
        let from = instance.start.max(request.start);
        let to = instance.end.unwrap_or(history.span.end).min(end);
        (from, to.max(from))
    };
    let mut totals = Totals::new();
    for (seen, index) in nesting.below(request.root).enumerate() {
        let Some(instance) = history.awaits.get(index.0 as usize) else {
            continue;
        };
        if seen >= AWAITS {
            break;
        }
        let (from, to) = clip(instance);
        let children = nesting
            .children(index)
            .filter_map(|child| Some(clip(history.awaits.get(child.0 as usize)?)));
        let own = (to - from).saturating_sub(covered(children.collect(), from, to));
        if own > 0 {
            let total = totals.entry(site(code, sites, index, request)).or_default();
            *total = total.saturating_add(own);
        }
    }
    totals
}

/// The number of what the time of `index` is counted at; never something above the request.
fn site(code: &Code, sites: &[usize], index: AwaitIndex, request: &Request) -> usize {
    let index = index.0 as usize;
    let site = sites.get(index).copied().unwrap_or(index);
    code.key(if site < request.root.0 as usize {
        index
    } else {
        site
    })
}

/// How much of `from..to` the spans cover together.
fn covered(mut spans: Vec<(u64, u64)>, from: u64, to: u64) -> u64 {
    spans.sort_unstable();
    let mut covered = 0;
    let mut at = from;
    for (start, end) in spans {
        let start = start.max(at);
        let end = end.min(to);
        if end > start {
            covered += end - start;
            at = end;
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_overlap_cover_once() {
        assert_eq!(covered(vec![(5, 9), (0, 6), (20, 30), (8, 9)], 2, 25), 12);
        assert_eq!(covered(vec![(0, 100), (3, 4)], 10, 20), 10);
        assert_eq!(covered(vec![], 0, 5), 0);
    }
}
