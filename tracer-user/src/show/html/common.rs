//! What slow requests have in common, as the page shows it.

use serde::Serialize;

use super::code::NONE;
use super::profile::nanoseconds;
use super::strings::Strings;
use crate::analyse::requests::compare::{Because, Comparison, Kind, Slow};

/// Reasons, bursts and request numbers that are shown at most.
const MOST: usize = 20;

/// A kind of request with slow ones among them. Times as everywhere in the page's data; names by
/// number.
#[derive(Serialize)]
pub(super) struct Common {
    what: i64,
    slow: usize,
    median: i64,
    others: u64,
    others_median: i64,
    because: Vec<Reason>,
    unexplained: u64,
    bursts: Vec<Burst>,
}

#[derive(Serialize)]
struct Reason {
    future: i64,
    file: i64,
    line: i64,
    count: usize,
    requests: Vec<u32>,
    median: i64,
    others_median: i64,
}

#[derive(Serialize)]
struct Burst {
    from: i64,
    to: i64,
    slow: u64,
    requests: u64,
}

/// The kinds that have slow ones. `start`: the begin of the trace.
pub(super) fn common(kinds: &[Kind], start: u64, strings: &mut Strings) -> Vec<Common> {
    kinds
        .iter()
        .filter_map(|kind| match &kind.slow {
            Comparison::Slow(slow) => Some(of(kind, slow, start, strings)),
            _ => None,
        })
        .collect()
}

fn of(kind: &Kind, slow: &Slow, start: u64, strings: &mut Strings) -> Common {
    let time = |time: u64| nanoseconds(time.saturating_sub(start));
    Common {
        what: strings.number(&kind.what),
        slow: slow.requests.len(),
        median: nanoseconds(slow.median_ns),
        others: slow.others,
        others_median: nanoseconds(slow.others_median_ns),
        because: slow
            .because
            .iter()
            .take(MOST)
            .map(|because| reason(because, strings))
            .collect(),
        unexplained: slow.unexplained,
        bursts: slow
            .clusters
            .bursts
            .iter()
            .take(MOST)
            .map(|burst| Burst {
                from: time(burst.from),
                to: time(burst.to),
                slow: burst.slow,
                requests: burst.requests,
            })
            .collect(),
    }
}

fn reason(because: &Because, strings: &mut Strings) -> Reason {
    let place = &because.awaited;
    Reason {
        future: strings.number(&place.future),
        file: strings.optional(place.file.as_deref()),
        line: place.line.map_or(NONE, i64::from),
        count: because.requests.len(),
        requests: because.requests.iter().copied().take(MOST).collect(),
        median: nanoseconds(because.median_ns),
        others_median: nanoseconds(because.others_median_ns),
    }
}
