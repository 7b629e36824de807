//! When to set which probes.

use std::time::Duration;

use super::credit::Credit;
use super::shed::Shed;
use crate::attach::Measured;
use crate::plan::{ProbeClass, ProbeSet};

/// What setting and taking out a probe once more costs the target, nanoseconds: a page of its code
/// is replaced, twice. An upper estimate; measured together with everything else in
/// docs/overhead.md.
const CYCLE_NS: f64 = 5_000.0;

/// Length of a window at least and at most, nanoseconds.
const SHORTEST: f64 = 20e6;
const LONGEST: f64 = 500e6;
/// Windows are as long as would be one in so many nanoseconds.
const PERIOD: f64 = 1e9;

/// A window that took this many times of what was expected is closed early.
const TOO_MUCH: f64 = 2.0;

/// Windows after which is decided what may be watched between them.
const TELLING_WINDOWS: u32 = 3;
/// What is watched between windows has taken this many times the allowance for so many nanoseconds:
/// nothing but panics is, from then on.
const TOO_DEAR: f64 = 0.95;
const LONG: f64 = 1e9;

/// Everything is watched again when that is expected to take this part of the allowance.
const BACK: f64 = 0.7;
/// It is tried again after this long, and after twice as long each time that it was too much.
const FIRST_TRY: u64 = 10_000_000_000;
const LAST_TRY: u64 = 600_000_000_000;

/// An idle target is looked at after this long, whatever it took while it was busy: it would pay that off
/// for minutes, and a look at it costs next to nothing. Nanoseconds.
const LONGEST_PAUSE: f64 = 15e9;

/// How often to look: while little is known, and when it is.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(100);
const BETWEEN: Duration = Duration::from_millis(50);
/// Less than this is too short to tell rates from, nanoseconds.
const TELLING: u64 = 15_000_000;

/// A change of what is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The probes to be in place.
    pub probes: ProbeSet,
    /// Whether polls are watched with them. Otherwise only panics are.
    pub polls: bool,
    /// What is left out for longer than until the next window.
    pub shed: Shed,
    /// Whether a window is open, or everything that is not left out is watched all the time.
    pub full: bool,
    /// Whether the probes that were in place and stay so go on being watched meanwhile: they come and
    /// go apart from the others.
    pub beside: bool,
}

/// How much of the time polls were watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Windows that were opened; 0 when everything was watched all the time.
    pub windows: u64,
    /// Time in which polls of all types were watched, nanoseconds.
    pub watched: u64,
    /// All of the time, nanoseconds.
    pub elapsed: u64,
}

impl Share {
    /// The part of the time in which polls of all types were watched, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn part(&self) -> f64 {
        if self.elapsed == 0 {
            return 1.0;
        }
        self.watched as f64 / self.elapsed as f64
    }
}

#[derive(Debug)]
enum Mode {
    /// All the time.
    Continuous,
    /// In a window that is as long and may take as much as this, nanoseconds; what might be taken
    /// when it began, as a share of one CPU: in it, a target that uses all of a CPU has little of it
    /// for itself.
    Open {
        length: f64,
        expected: f64,
        allowance: f64,
    },
    /// Between two windows; this much of what the next one takes must be there, as a ratio.
    Closed { jitter: f64 },
}

/// Keeps a budget.
#[derive(Debug)]
pub struct Controller {
    classes: Vec<ProbeClass>,
    credit: Credit,
    shed: Shed,
    mode: Mode,
    /// What was measured when the mode began.
    since: Measured,
    /// What everything takes while it is watched, as a share of one CPU.
    full_rate: f64,
    /// CPU time that the target used for itself when that was measured, of one CPU.
    full_own: f64,
    /// What was given up took so many times as much as the rest when it was.
    shed_ratio: f64,
    tries: u32,
    tried: u64,
    /// How often what was thought to be cheap was not, and when that was last.
    mistakes: u32,
    mistaken: u64,
    /// What probes and the rest took in the last windows, each window half as much as the next one, and
    /// their number.
    seen: (Vec<f64>, f64, u32),
    started: u64,
    share: Share,
    /// When it was decided to watch less, until what is decided is done.
    leaving: Option<u64>,
    random: u64,
}

impl Controller {
    /// Keeps `share` of the target's own CPU time (0.05 is five percent) in a session whose probes
    /// have these classes, and all of which are in place.
    #[must_use]
    pub fn new(share: f64, classes: Vec<ProbeClass>, start: Measured) -> Self {
        Self {
            classes,
            credit: Credit::new(share, start.clone()),
            shed: Shed::default(),
            mode: Mode::Continuous,
            full_rate: 0.0,
            full_own: 0.0,
            shed_ratio: 0.0,
            tries: 0,
            tried: start.at,
            mistakes: 0,
            mistaken: start.at,
            seen: (Vec::new(), 0.0, 0),
            started: start.at,
            share: Share::default(),
            leaving: None,
            random: start.at | 1,
            since: start,
        }
    }

    /// When to measure again.
    #[must_use]
    pub fn next_look(&self) -> Duration {
        let young = self.credit.last().at.saturating_sub(self.started) < 2_000_000_000;
        match self.mode {
            Mode::Continuous if !young => SELDOM,
            // Nothing can cost too much; looking takes a little of the target's machine, too.
            Mode::Closed { .. } if self.shed.all => BETWEEN,
            _ => OFTEN,
        }
    }

    /// Whether polls are not watched now, so that probes cost nothing.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self.mode, Mode::Closed { .. }) && self.shed.all
    }

    /// How much of the time polls were watched.
    #[must_use]
    pub fn share(&self) -> Share {
        let last = self.credit.last().at;
        let mut share = self.share;
        if !matches!(self.mode, Mode::Closed { .. }) {
            share.watched += last.saturating_sub(self.since.at);
        }
        share.elapsed = last.saturating_sub(self.started);
        share
    }

    /// Takes what was measured; the answer is what to change now.
    pub fn look(&mut self, now: &Measured) -> Option<Change> {
        self.credit.take(now);
        let elapsed = now.at.saturating_sub(self.since.at);
        if elapsed < TELLING {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a mode")]
        let elapsed = elapsed as f64;
        let rates = self.rates(now, elapsed);
        let rest = rate(now.switches, self.since.switches, elapsed);
        let total = rest + rates.iter().sum::<f64>();
        match self.mode {
            Mode::Continuous if self.credit.balance < 0.0 => {
                self.full_rate = total;
                self.full_own = self.credit.own();
                self.give_up(&rates, rest, now)
            }
            Mode::Continuous => self.try_again(total, now),
            Mode::Open {
                length,
                expected,
                allowance,
            } => {
                let taken = total * elapsed;
                if elapsed < length && taken < TOO_MUCH * expected {
                    return None;
                }
                self.full_rate = f64::midpoint(self.full_rate_now(), total);
                self.full_own = self.credit.own();
                if self.full_rate.max(total) < BACK * self.credit.allowance() {
                    // The load has gone: what is left out stays so until the next try.
                    let beside = !self.shed.all;
                    self.shed = Shed {
                        types: std::collections::BTreeSet::new(),
                        wakes: false,
                        all: false,
                        ..self.shed.clone()
                    };
                    return Some(self.enter(Mode::Continuous, beside, now));
                }
                let jitter = self.jitter();
                self.see(rates, rest);
                let beside = !self.refine(allowance, now) && !self.shed.all;
                Some(self.enter(Mode::Closed { jitter }, beside, now))
            }
            Mode::Closed { jitter } => {
                let allowance = self.credit.allowance();
                if !self.shed.all && elapsed > LONG && total > TOO_DEAR * allowance {
                    // What was thought to be cheap is not.
                    self.mistakes = (self.mistakes + 1).min(10);
                    self.mistaken = now.at;
                    self.shed = self.shed.clone().of_everything();
                    self.seen.2 = 0;
                    return Some(self.enter(Mode::Closed { jitter }, false, now));
                }
                let full_rate = self.full_rate_now();
                let length = (PERIOD * allowance / full_rate.max(1e-9)).clamp(SHORTEST, LONGEST);
                let inside = self.shed.inside(&self.classes).len();
                let come = inside - self.shed.between(&self.classes).len();
                #[expect(clippy::cast_precision_loss, reason = "some thousand probes")]
                let cycle = CYCLE_NS * come as f64;
                let expected = full_rate * length;
                self.credit.goal = (expected + cycle) * jitter;
                let is_due = self.credit.is_idle() && elapsed > LONGEST_PAUSE;
                if self.credit.balance < self.credit.goal && !is_due {
                    return None;
                }
                self.credit.balance -= cycle;
                self.share.windows += 1;
                let beside = !self.shed.all;
                let mode = Mode::Open {
                    length,
                    expected,
                    allowance,
                };
                Some(self.enter(mode, beside, now))
            }
        }
    }

    /// What everything would take now: who does less than when that was measured is polled less.
    fn full_rate_now(&self) -> f64 {
        self.full_rate * (self.credit.own() / self.full_own.max(1e-9)).min(1.0)
    }

    fn rates(&self, now: &Measured, elapsed: f64) -> Vec<f64> {
        let before = self.since.probes.iter().chain(std::iter::repeat(&0));
        now.probes
            .iter()
            .zip(before)
            .map(|(now, before)| rate(*now, *before, elapsed))
            .collect()
    }

    /// There is no credit left.
    fn give_up(&mut self, rates: &[f64], rest: f64, now: &Measured) -> Option<Change> {
        let allowance = self.credit.allowance();
        let shed = Shed::decide(&self.classes, rates, rest, allowance, &self.shed);
        if shed == self.shed {
            // It took too much once and does no more: the debt is paid off by and by.
            return None;
        }
        if self.tried != self.started {
            self.tries = (self.tries + 1).min(10);
        }
        self.tried = now.at;
        // What has made it so dear was seen for a moment: which types it is shows in some windows.
        let shed = if shed.has_windows() {
            self.seen.2 = 0;
            shed.of_everything()
        } else {
            shed
        };
        let given: f64 = (0..)
            .zip(rates)
            .filter(|(probe, _)| !shed.inside(&self.classes).contains(*probe))
            .map(|(_, rate)| *rate)
            .sum();
        let left = (self.full_rate - given).max(1e-6);
        self.shed_ratio += (1.0 + self.shed_ratio) * given / left;
        self.full_rate = left;
        let has_windows = shed.has_windows();
        self.shed = shed;
        let mode = if has_windows {
            Mode::Closed {
                jitter: self.jitter(),
            }
        } else {
            Mode::Continuous
        };
        Some(self.enter(mode, false, now))
    }

    /// Takes note of what was taken in a window.
    fn see(&mut self, rates: Vec<f64>, rest: f64) {
        let (known, known_rest, windows) = &mut self.seen;
        if *windows == 0 || known.len() != rates.len() {
            (*known, *known_rest, *windows) = (rates, rest, 1);
            return;
        }
        for (known, now) in known.iter_mut().zip(rates) {
            *known = f64::midpoint(*known, now);
        }
        *known_rest = f64::midpoint(*known_rest, rest);
        *windows += 1;
    }

    /// A window closes. Once some have been seen, less may be left out between them: single types
    /// instead of everything. Whether it is.
    fn refine(&mut self, allowance: f64, now: &Measured) -> bool {
        let (rates, rest, windows) = &self.seen;
        let early = self.mistakes > 0
            && now.at.saturating_sub(self.mistaken) < (FIRST_TRY << self.mistakes).min(LAST_TRY);
        if early || *windows < TELLING_WINDOWS {
            return false;
        }
        let shed = Shed::decide(&self.classes, rates, *rest, allowance, &self.shed);
        if !shed.has_windows() || !shed.leaves_out_less(&self.shed) {
            return false;
        }
        self.shed = shed;
        true
    }

    /// There is credit: what was given up may be watched again.
    fn try_again(&mut self, total: f64, now: &Measured) -> Option<Change> {
        let wait = (FIRST_TRY << self.tries).min(LAST_TRY);
        let early = now.at.saturating_sub(self.tried) < wait;
        let much = total * (1.0 + self.shed_ratio) > BACK * self.credit.allowance();
        if self.shed == Shed::default() || early || much {
            return None;
        }
        self.tried = now.at;
        self.shed = Shed::default();
        self.shed_ratio = 0.0;
        Some(self.enter(Mode::Continuous, false, now))
    }

    fn enter(&mut self, mode: Mode, beside: bool, now: &Measured) -> Change {
        if !matches!(self.mode, Mode::Closed { .. }) {
            self.share.watched += now.at.saturating_sub(self.since.at);
            self.leaving = Some(now.at);
        }
        self.mode = mode;
        self.since = now.clone();
        let full = !matches!(self.mode, Mode::Closed { .. });
        Change {
            probes: if full {
                self.shed.inside(&self.classes)
            } else {
                self.shed.between(&self.classes)
            },
            polls: full || !self.shed.all,
            shed: self.shed.clone(),
            full,
            beside,
        }
    }

    /// The change has taken until `now`; what was watched before it was until `from`.
    pub fn changed(&mut self, now: Measured, from: u64) {
        if let Some(leaving) = self.leaving.take() {
            self.share.watched += from.saturating_sub(leaving);
        }
        self.credit.take(&now);
        self.since = now;
    }

    /// Between 1 and 1.3.
    fn jitter(&mut self) -> f64 {
        // Xorshift: enough to fall out of step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[expect(clippy::cast_precision_loss, reason = "ten bits")]
        let part = (self.random >> 54) as f64 / 1024.0;
        1.0 + 0.3 * part
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a mode")]
fn rate(now: u64, before: u64, elapsed: f64) -> f64 {
    now.saturating_sub(before) as f64 / elapsed
}
