//! Whether slow requests came in bursts.
//!
//! The gaps between their starts are held against those that evenly spread ones would have: where
//! gaps are shorter than a share of the mean gap, the requests around them form a group. A group is
//! a burst only if chance would hardly ever make one: if as many slow ones among the requests that
//! began in its time, drawn from all of them, have a probability below `CHANCE` (hypergeometric,
//! counted once for each group that was tried). So a burst of traffic is no burst of slow ones.

use serde::Serialize;

/// Probability below which something is not taken for chance.
const CHANCE: f64 = 0.001;

/// Slow requests that a burst has at least.
const LEAST: usize = 3;

/// Shares of the mean gap that are tried.
const SCALES: [f64; 4] = [1.0, 0.5, 0.25, 0.125];

/// When slow requests came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Clusters {
    /// Slow requests.
    pub slow: u64,
    /// The median of the gaps between their starts, nanoseconds.
    pub median_gap_ns: Option<u64>,
    /// What the mean gap is: evenly spread ones would have this median, those that come by chance
    /// 0.7 of it.
    pub mean_gap_ns: Option<u64>,
    /// The bursts, the largest first. None: nothing that chance would not make.
    pub bursts: Vec<Burst>,
}

/// Slow requests that began close together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Burst {
    /// When the first began, CLOCK_MONOTONIC in nanoseconds.
    pub from: u64,
    /// When the last began.
    pub to: u64,
    /// How many slow ones.
    pub slow: u64,
    /// How many requests of the kind began in that time.
    pub requests: u64,
}

/// The bursts of `slow` among `all` (which has the slow ones, too): times of start.
pub(super) fn clusters(mut all: Vec<u64>, mut slow: Vec<u64>) -> Clusters {
    all.sort_unstable();
    slow.sort_unstable();
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        return Clusters::default();
    };
    let mut gaps: Vec<u64> = slow.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let mean_gap = (last - first) as f64 / slow.len().max(1) as f64;
    let chances = Chances::new(all.len());
    let mut best: (f64, Vec<Burst>) = (CHANCE, Vec::new());
    for scale in SCALES {
        let groups = groups(&slow, mean_gap * scale);
        let tried = (groups.len() * SCALES.len()) as f64;
        let mut least = f64::INFINITY;
        let mut bursts = Vec::new();
        for group in groups {
            let (from, to) = (group[0], group[group.len() - 1]);
            let began = all.partition_point(|&start| start < from);
            let within = all[began..].partition_point(|&start| start <= to);
            let chance = chances.at_least(group.len(), within, slow.len()) * tried;
            if group.len() >= LEAST && chance < CHANCE {
                least = least.min(chance);
                bursts.push(Burst {
                    from,
                    to,
                    slow: group.len() as u64,
                    requests: within as u64,
                });
            }
        }
        if least < best.0 {
            best = (least, bursts);
        }
    }
    let mut bursts = best.1;
    bursts.sort_by_key(|burst| (std::cmp::Reverse(burst.slow), burst.from));
    Clusters {
        slow: slow.len() as u64,
        median_gap_ns: super::quantile(&gaps, 0.5),
        mean_gap_ns: (!gaps.is_empty()).then_some(mean_gap as u64),
        bursts,
    }
}

/// Splits sorted times where a gap is longer than `limit`.
fn groups(times: &[u64], limit: f64) -> Vec<&[u64]> {
    times
        .chunk_by(|one, next| (next - one) as f64 <= limit)
        .collect()
}

/// Probabilities of drawing without putting back.
struct Chances {
    /// Natural logarithms of factorials.
    factorials: Vec<f64>,
}

impl Chances {
    fn new(all: usize) -> Self {
        let mut factorials = Vec::with_capacity(all + 1);
        let mut sum = 0.0;
        factorials.push(sum);
        for number in 1..=all {
            sum += (number as f64).ln();
            factorials.push(sum);
        }
        Self { factorials }
    }

    /// Of all requests `marked` are slow: the probability that of `drawn` ones at least `hits` are.
    fn at_least(&self, hits: usize, drawn: usize, marked: usize) -> f64 {
        let all = self.factorials.len() - 1;
        if drawn > all || marked > all {
            return 1.0;
        }
        let choose = |of: usize, some: usize| {
            self.factorials[of] - self.factorials[some] - self.factorials[of - some]
        };
        (hits..=drawn.min(marked))
            .filter(|&hit| drawn - hit <= all - marked)
            .map(|hit| {
                let ways = choose(marked, hit) + choose(all - marked, drawn - hit);
                (ways - choose(all, drawn)).exp()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// One request every 100 ms for 60 s.
    fn steady() -> Vec<u64> {
        (0..600).map(|number| number * 100 * MS).collect()
    }

    #[test]
    fn a_burst_is_found_and_dated() {
        let slow: Vec<u64> = (0..12)
            .map(|number| (30_000 + number * 100) * MS)
            .chain([5_000 * MS, 50_000 * MS])
            .collect();
        let found = clusters(steady(), slow);
        assert_eq!(
            found.bursts,
            [Burst {
                from: 30_000 * MS,
                to: 31_100 * MS,
                slow: 12,
                requests: 12
            }]
        );
        assert_eq!(found.slow, 14);
        assert!(found.median_gap_ns < found.mean_gap_ns);
    }

    #[test]
    fn evenly_spread_ones_and_chance_are_no_burst() {
        let even: Vec<u64> = (0..15).map(|number| (500 + number * 4_000) * MS).collect();
        assert!(clusters(steady(), even).bursts.is_empty());
        // Any 30 of 600, by a multiplicative generator: never a burst, whatever the seed.
        for seed in 1..40_u64 {
            let mut state = seed;
            let mut numbers: Vec<u64> = (0..30)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) % 600
                })
                .collect();
            numbers.sort_unstable();
            numbers.dedup();
            let slow = numbers.iter().map(|number| number * 100 * MS).collect();
            assert!(clusters(steady(), slow).bursts.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn a_burst_of_traffic_is_no_burst_of_slow_ones() {
        // 10 bursts of 30 requests, in each every tenth is slow.
        let all: Vec<u64> = (0..300)
            .map(|number| (number / 30 * 6_000 + number % 30) * MS)
            .collect();
        let slow = all.iter().copied().step_by(10).collect();
        assert!(clusters(all, slow).bursts.is_empty());
    }

    #[test]
    fn too_few_show_nothing() {
        assert_eq!(clusters(Vec::new(), Vec::new()), Clusters::default());
        assert!(clusters(steady(), vec![5, 6]).bursts.is_empty());
        assert!(clusters(vec![7; 50], vec![7; 5]).bursts.is_empty());
    }

    #[test]
    fn chances_are_those_of_the_book() {
        // 5 of 10 are marked, 3 are drawn: all three are with 1/12, at least two with 1/2.
        let chances = Chances::new(10);
        assert!((chances.at_least(3, 3, 5) - 1.0 / 12.0).abs() < 1e-9);
        assert!((chances.at_least(2, 3, 5) - 0.5).abs() < 1e-9);
        assert!((chances.at_least(0, 3, 5) - 1.0).abs() < 1e-9);
    }
}
