//! What slow requests have in common, compared with the rest of their kind.
//!
//! For each function whose instances are requests: the slowest tenth of the whole ones, as far as
//! they took clearly longer than usual ([`CLEARLY`]), against the rest. The time at each of the
//! user's awaits (`totals.rs`) is compared, and each slow request is explained by the await that
//! took most longer than it usually does. Nothing is concluded from fewer than [`ENOUGH`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::clusters::{Clusters, clusters};
use super::code::Code;
use super::totals::{Totals, sites, totals};
use super::{Request, quantile};
use crate::analyse::critical_path::AwaitedPlace;
use crate::analyse::history::History;
use crate::analyse::levels::Nesting;

/// Whole requests of a kind that a comparison needs.
pub const ENOUGH: usize = 20;

/// A slow request takes at least this many times the median.
pub const CLEARLY: f64 = 1.2;

/// An await explains a request when it accounts for this share of what it took longer.
const EXPLAINS: f64 = 0.25;

/// Awaits that are listed at most.
const LISTED: usize = 10;

/// Durations of a kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// Path of the async function.
    pub what: Arc<str>,
    /// Requests.
    pub requests: u64,
    /// Of these, those whose whole duration was seen; the quantiles are of them.
    pub whole: u64,
    /// Of these, those that go on at the end of the trace.
    pub open: u64,
    /// Half took at most this long, nanoseconds.
    pub p50_ns: Option<u64>,
    /// 95 of 100 took at most this long.
    pub p95_ns: Option<u64>,
    /// 99 of 100 took at most this long.
    pub p99_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// What slow ones have in common.
    pub slow: Comparison,
}

/// Slow ones against the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Comparison {
    /// There are too few of them.
    TooFew {
        /// So many are needed.
        needed: u64,
    },
    /// None took clearly longer than usual.
    NoneSlow,
    /// Some did.
    Slow(Slow),
}

/// The slow ones of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slow {
    /// Their ids, the slowest first.
    pub requests: Vec<u32>,
    /// Their median, nanoseconds.
    pub median_ns: u64,
    /// How many the others are.
    pub others: u64,
    /// The others' median.
    pub others_median_ns: u64,
    /// Where they spent more time than the others, the largest difference first.
    pub awaits: Vec<Difference>,
    /// Why each of them was slow, as far as one await tells; the most frequent first.
    pub because: Vec<Because>,
    /// How many of them no single await explains.
    pub unexplained: u64,
    /// When they came.
    pub clusters: Clusters,
}

/// The time at an await, of slow ones and others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What was awaited, and where.
    pub awaited: AwaitedPlace,
    /// Median of its time in a slow request, nanoseconds; 0 where it does not occur.
    pub slow_median_ns: u64,
    /// Median of its time in the others.
    pub others_median_ns: u64,
    /// Mean of its time in a slow request.
    pub slow_mean_ns: u64,
    /// Mean of its time in the others.
    pub others_mean_ns: u64,
}

/// Slow requests with the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Because {
    /// The await that took longer than it usually does.
    pub awaited: AwaitedPlace,
    /// Their ids, the slowest first.
    pub requests: Vec<u32>,
    /// Median of its time in them, nanoseconds.
    pub median_ns: u64,
    /// Median of its time in those that were not slow.
    pub others_median_ns: u64,
}

/// The kinds of requests with what slow ones have in common; the most frequent first.
#[must_use]
pub fn kinds(history: &History, nesting: &Nesting<'_>, requests: &[Request]) -> Vec<Kind> {
    let code = Code::of(history);
    let sites = sites(history, &code);
    let mut by_what: BTreeMap<&Arc<str>, Vec<&Request>> = BTreeMap::new();
    for request in requests {
        by_what.entry(&request.what).or_default().push(request);
    }
    let mut kinds: Vec<Kind> = by_what
        .into_iter()
        .map(|(what, all)| {
            let mut whole: Vec<&Request> =
                all.iter().copied().filter(|one| one.is_whole()).collect();
            whole.sort_by_key(|request| (request.duration(0), Reverse(request.id)));
            let durations: Vec<u64> = whole.iter().map(|request| request.duration(0)).collect();
            let total_of = |request: &Request| totals(history, nesting, &code, &sites, request);
            Kind {
                what: Arc::clone(what),
                requests: all.len() as u64,
                whole: whole.len() as u64,
                open: all.iter().filter(|request| request.end.is_none()).count() as u64,
                p50_ns: quantile(&durations, 0.5),
                p95_ns: quantile(&durations, 0.95),
                p99_ns: quantile(&durations, 0.99),
                max_ns: durations.last().copied(),
                slow: compare(&whole, &durations, &code, total_of),
            }
        })
        .collect();
    kinds.sort_by_key(|kind| Reverse(kind.requests));
    kinds
}

/// Compares the slow ones of `whole`, which is in order of `durations`, with the rest.
fn compare(
    whole: &[&Request],
    durations: &[u64],
    code: &Code,
    total_of: impl Fn(&Request) -> Totals,
) -> Comparison {
    if whole.len() < ENOUGH {
        return Comparison::TooFew {
            needed: ENOUGH as u64,
        };
    }
    let median = quantile(durations, 0.5).unwrap_or(0);
    let tenth = whole.len() - whole.len().div_ceil(10);
    let clear = durations.partition_point(|&duration| (duration as f64) < median as f64 * CLEARLY);
    // What took no time at all is not slow, however much longer than nothing it took.
    let first_slow = tenth.max(clear);
    if first_slow >= whole.len() || median == durations[first_slow] {
        return Comparison::NoneSlow;
    }
    let (others, slow) = whole.split_at(first_slow);
    let of = |requests: &[&Request]| -> Vec<Totals> {
        requests.iter().map(|request| total_of(request)).collect()
    };
    let (slow_totals, other_totals) = (of(slow), of(others));
    let usual = medians(&other_totals);
    let others_median_ns = quantile(&durations[..first_slow], 0.5).unwrap_or(0);
    let awaits = differences(&slow_totals, &other_totals, &usual, code);
    let (because, unexplained) = reasons(slow, &slow_totals, &usual, others_median_ns, code);
    let starts = |requests: &[&Request]| requests.iter().map(|one| one.start).collect::<Vec<_>>();
    Comparison::Slow(Slow {
        requests: slow.iter().rev().map(|request| request.id).collect(),
        median_ns: quantile(&durations[first_slow..], 0.5).unwrap_or(0),
        others: others.len() as u64,
        others_median_ns,
        awaits,
        because,
        unexplained,
        clusters: clusters(starts(whole), starts(slow)),
    })
}

/// The times at each await in order of length; requests without it count as 0.
fn columns(all: &[Totals]) -> HashMap<usize, Vec<u64>> {
    let mut columns: HashMap<usize, Vec<u64>> = HashMap::new();
    for totals in all {
        for (&key, &time) in totals {
            columns.entry(key).or_default().push(time);
        }
    }
    for times in columns.values_mut() {
        times.sort_unstable();
    }
    columns
}

/// The median of `count` values, of which those that are not in `sorted` are 0.
fn median_with_zeros(sorted: &[u64], count: usize) -> u64 {
    let zeros = count.saturating_sub(sorted.len());
    let rank = count.div_ceil(2).max(1) - 1;
    rank.checked_sub(zeros)
        .and_then(|at| sorted.get(at))
        .copied()
        .unwrap_or(0)
}

fn medians(all: &[Totals]) -> HashMap<usize, u64> {
    columns(all)
        .into_iter()
        .map(|(key, times)| (key, median_with_zeros(&times, all.len())))
        .collect()
}

fn differences(
    slow: &[Totals],
    others: &[Totals],
    usual: &HashMap<usize, u64>,
    code: &Code,
) -> Vec<Difference> {
    let mean = |times: Option<&Vec<u64>>, count: usize| {
        let sum: u128 = times
            .into_iter()
            .flatten()
            .map(|&time| u128::from(time))
            .sum();
        u64::try_from(sum / count.max(1) as u128).unwrap_or(u64::MAX)
    };
    let other_columns = columns(others);
    let mut differences: Vec<Difference> = columns(slow)
        .into_iter()
        .filter_map(|(key, times)| {
            let slow_mean_ns = mean(Some(&times), slow.len());
            let others_mean_ns = mean(other_columns.get(&key), others.len());
            Some(Difference {
                awaited: AwaitedPlace::from(&**code.keys.get(key)?),
                slow_median_ns: median_with_zeros(&times, slow.len()),
                others_median_ns: usual.get(&key).copied().unwrap_or(0),
                slow_mean_ns,
                others_mean_ns,
            })
        })
        .filter(|difference| difference.slow_mean_ns > difference.others_mean_ns)
        .collect();
    differences.sort_by(|one, other| {
        let more = |it: &Difference| it.slow_mean_ns - it.others_mean_ns;
        (more(other).cmp(&more(one))).then_with(|| one.awaited.cmp(&other.awaited))
    });
    differences.truncate(LISTED);
    differences
}

/// Why each slow request was slow; and how many of them no await explains.
fn reasons(
    slow: &[&Request],
    slow_totals: &[Totals],
    usual: &HashMap<usize, u64>,
    usual_duration: u64,
    code: &Code,
) -> (Vec<Because>, u64) {
    let usual = |key: usize| usual.get(&key).copied().unwrap_or(0);
    let mut groups: BTreeMap<usize, Vec<(u32, u64)>> = BTreeMap::new();
    let mut unexplained = 0;
    // The slowest first.
    for (request, totals) in slow.iter().zip(slow_totals).rev() {
        let longer = request.duration(0).saturating_sub(usual_duration);
        let reason = totals
            .iter()
            .map(|(&key, &time)| (time.saturating_sub(usual(key)), Reverse(key), time))
            .max();
        match reason {
            Some((more, Reverse(key), time)) if more as f64 >= longer as f64 * EXPLAINS => {
                groups.entry(key).or_default().push((request.id, time));
            }
            _ => unexplained += 1,
        }
    }
    let mut because: Vec<Because> = groups
        .into_iter()
        .filter_map(|(key, members)| {
            let mut times: Vec<u64> = members.iter().map(|(_, time)| *time).collect();
            times.sort_unstable();
            Some(Because {
                awaited: AwaitedPlace::from(&**code.keys.get(key)?),
                requests: members.iter().map(|(id, _)| *id).collect(),
                median_ns: quantile(&times, 0.5).unwrap_or(0),
                others_median_ns: usual(key),
            })
        })
        .collect();
    because.sort_by_key(|because| Reverse(because.requests.len()));
    (because, unexplained)
}
