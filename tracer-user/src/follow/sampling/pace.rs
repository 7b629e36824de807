//! How often memory is looked at: as often as was asked for, as long as that is cheap. Pure.

use std::str::FromStr;
use std::time::Duration;

/// Looks a second that can be asked for at most: beyond, looks at a few tasks take more time than
/// lies between them.
const MOST: f64 = 1_000.0;
/// At least: a look in about three hours.
const LEAST: f64 = 0.000_1;
/// The part of one CPU that looks and what is made of them may take.
const SHARE: f64 = 0.05;
/// Weight of the newest look in the mean cost.
const NEWEST: f64 = 0.25;
/// A rate is called lowered when it is below this part of what was asked for.
const LOWERED: f64 = 0.9;

/// Looks a second, as the user asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hertz(f64);

impl Hertz {
    /// The number.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0
    }

    /// The time from one look to the next.
    #[must_use]
    pub fn period(self) -> Duration {
        // Within the bounds that it was made in.
        Duration::from_secs_f64(1.0 / self.0)
    }
}

impl FromStr for Hertz {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: f64 = text
            .parse()
            .map_err(|_| "not a number of looks a second, as 10 or 0.5".to_owned())?;
        if (LEAST..=MOST).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("must be from {LEAST} to {MOST} looks a second"))
        }
    }
}

/// The rate as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    asked: Hertz,
    /// Mean CPU time of a look, with what was made of it; seconds.
    cost: Option<f64>,
    looks: u64,
}

impl Pace {
    /// As asked for, until a look shows what it costs.
    #[must_use]
    pub const fn new(asked: Hertz) -> Self {
        Self {
            asked,
            cost: None,
            looks: 0,
        }
    }

    /// A look took this much CPU time, with everything that was made of it.
    pub fn looked(&mut self, cpu: Duration) {
        self.looks += 1;
        // The first one reads types from debug information, which are kept: it is not the rule.
        if self.looks == 1 {
            return;
        }
        let newest = cpu.as_secs_f64();
        self.cost = Some(match self.cost {
            Some(before) => before + (newest - before) * NEWEST,
            None => newest,
        });
    }

    /// The time from the beginning of a look to that of the next.
    #[must_use]
    pub fn period(&self) -> Duration {
        let affordable = Duration::from_secs_f64(self.cost.unwrap_or(0.0) / SHARE);
        self.asked.period().max(affordable)
    }

    /// Looks a second, as they are planned now.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        1.0 / self.period().as_secs_f64()
    }

    /// Why looks are fewer than was asked for, when they are: a sentence.
    #[must_use]
    pub fn lowered(&self) -> Option<String> {
        let now = self.per_second();
        let cost = self.cost.filter(|_| now < self.asked.0 * LOWERED)?;
        Some(format!(
            "the rate was lowered from {} to {} looks a second: a look takes {:.1} ms of CPU time, \
             and sampling may take {:.0} % of one CPU",
            rate(self.asked.0),
            rate(now),
            cost * 1e3,
            SHARE * 1e2,
        ))
    }
}

/// A rate in as many digits as it needs.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second >= 100.0 || per_second.fract() == 0.0 {
        format!("{per_second:.0}")
    } else if per_second >= 1.0 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn rates_are_positive_and_bounded_and_may_be_fractions() {
        assert_eq!("10".parse::<Hertz>().unwrap().period(), ms(100));
        assert_eq!("0.5".parse::<Hertz>().unwrap().period(), ms(2_000));
        for text in ["", "0", "-1", "inf", "NaN", "1001", "1e-9", "10hz"] {
            assert!(text.parse::<Hertz>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_looks_cost_lowers_the_rate_to_a_twentieth_of_a_cpu() {
        let mut pace = Pace::new("10".parse().unwrap());
        assert_eq!(pace.period(), ms(100));
        pace.looked(ms(2));
        assert_eq!((pace.period(), pace.lowered()), (ms(100), None));
        for _ in 0..40 {
            pace.looked(ms(20));
        }
        // 20 ms are a twentieth of 400 ms.
        let period = pace.period();
        assert!(period > ms(395) && period <= ms(400), "{period:?}");
        let told = pace.lowered().unwrap();
        assert!(told.contains("from 10 to 2.5 looks a second"), "{told}");
        // It is asked for again once looks are cheap again.
        for _ in 0..40 {
            pace.looked(ms(1));
        }
        assert_eq!((pace.period(), pace.lowered()), (ms(100), None));
    }

    #[test]
    fn the_first_look_is_not_taken_for_the_rule() {
        let mut pace = Pace::new("10".parse().unwrap());
        pace.looked(ms(500));
        assert_eq!((pace.period(), pace.lowered()), (ms(100), None));
        pace.looked(ms(50));
        assert_eq!(pace.period(), ms(1_000));
    }
}
