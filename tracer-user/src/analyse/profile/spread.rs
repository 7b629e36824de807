//! How a number of durations are spread.

use serde::Serialize;

/// Durations in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total_ns: u64,
    /// Half of them are not longer.
    pub p50_ns: u64,
    /// 99 of 100 are not longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Spread {
    /// Of these; their order is lost.
    #[must_use]
    pub fn of(durations: &mut [u64]) -> Self {
        let total = durations
            .iter()
            .fold(0_u64, |sum, duration| sum.saturating_add(*duration));
        Self {
            count: durations.len() as u64,
            total_ns: total,
            p50_ns: percentile(durations, 50),
            p99_ns: percentile(durations, 99),
            max_ns: durations.iter().copied().max().unwrap_or(0),
        }
    }
}

/// The smallest value that at least `percent` of 100 of all are not above (nearest rank).
fn percentile(values: &mut [u64], percent: usize) -> u64 {
    let rank = (values.len() * percent).div_ceil(100).max(1);
    if values.is_empty() {
        return 0;
    }
    *values.select_nth_unstable(rank - 1).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let mut values: Vec<u64> = (1..=200).rev().collect();
        let spread = Spread::of(&mut values);
        assert_eq!((spread.count, spread.total_ns), (200, 20_100));
        assert_eq!(
            (spread.p50_ns, spread.p99_ns, spread.max_ns),
            (100, 198, 200)
        );
        let one = Spread::of(&mut [7]);
        assert_eq!((one.p50_ns, one.p99_ns, one.max_ns), (7, 7, 7));
        assert_eq!(Spread::of(&mut []), Spread::default());
        assert_eq!(Spread::of(&mut [u64::MAX, 2]).total_ns, u64::MAX);
    }
}
