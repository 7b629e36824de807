//! Rates a second that follow changes within seconds and do not flicker.

use std::time::Duration;

/// After this long, a change shows with 63 %.
const SETTLING: Duration = Duration::from_secs(2);

/// The rate at which a counter grows: an exponential moving average of its increments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    last: u64,
    average: f64,
    /// How much of the average is founded on observation, 0 to 1.
    weight: f64,
}

impl Rate {
    /// The rate of a counter that stands at `count` now.
    #[must_use]
    pub const fn starting_at(count: u64) -> Self {
        Self {
            last: count,
            average: 0.0,
            weight: 0.0,
        }
    }

    /// The counter stands at `count`, `elapsed` after the last call. A counter that went down (a
    /// task that was forgotten and came back) counts from 0.
    pub fn update(&mut self, count: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            // What has grown meanwhile is part of the next increment.
            return;
        }
        let grown = count.checked_sub(self.last).unwrap_or(count);
        self.last = count;
        let fresh = 1.0 - (-seconds / SETTLING.as_secs_f64()).exp();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        let now = grown as f64 / seconds;
        self.average += fresh * (now - self.average);
        self.weight += fresh * (1.0 - self.weight);
    }

    /// Increments a second. Right from the first update on: what was before the first call counts
    /// as unknown, not as 0.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.weight > 0.0 {
            self.average / self.weight
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: Duration = Duration::from_millis(250);

    #[test]
    fn a_steady_rate_is_right_from_the_first_update_on() {
        let mut rate = Rate::starting_at(1_000);
        assert_eq!(rate.per_second(), 0.0);
        for step in 1..100 {
            rate.update(1_000 + step * 25, QUARTER);
            assert!((rate.per_second() - 100.0).abs() < 1e-6, "{step}");
        }
    }

    #[test]
    fn a_stop_is_forgotten_in_seconds() {
        let mut rate = Rate::starting_at(0);
        rate.update(1_000, Duration::from_secs(1));
        for _ in 0..80 {
            rate.update(1_000, QUARTER);
        }
        assert!(rate.per_second() < 1.0, "{}", rate.per_second());
    }

    #[test]
    fn odd_input_is_harmless() {
        let mut rate = Rate::starting_at(10);
        rate.update(20, Duration::ZERO);
        rate.update(5, QUARTER);
        assert!((rate.per_second() - 20.0).abs() < 1e-6);
    }
}
