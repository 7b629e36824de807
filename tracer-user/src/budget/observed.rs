//! What tracing takes by the target's own clock, against what it is estimated to.
//!
//! An estimate from hits does not know what a target loses in caches, and one that mostly sleeps finds them
//! cold at every hit. Windows tell: in one the target uses so much CPU time, and in the pause before it used
//! so much; what is beyond that is what the window took. A single one tells little, as what the target does
//! varies; the median of some does. A target that has no CPU time left works less in a window instead of using
//! more: it shows no difference, and the estimate stands.

use std::collections::VecDeque;

use super::Change;
use crate::attach::Measured;

/// Windows of which the median is taken, and without so many nothing is concluded.
const WINDOWS: usize = 11;
const FEW: usize = 5;

/// An estimate is never made less, nor more than so many times as much: a target may do more in its windows
/// for reasons of its own.
const MOST: f64 = 2.0;

/// A pause is shorter than this in nanoseconds, or a window is estimated to have taken less CPU time: it tells
/// nothing.
const SHORTEST_PAUSE: u64 = 50_000_000;
const LEAST: f64 = 100_000.0;

/// What was measured at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: u64,
    target_cpu: Option<u64>,
    cost: u64,
}

impl From<&Measured> for Moment {
    fn from(measured: &Measured) -> Self {
        Self {
            at: measured.at,
            target_cpu: measured.target_cpu,
            cost: measured.cost(),
        }
    }
}

/// What goes on.
#[derive(Clone, Copy, Debug)]
enum Stretch {
    /// Nothing but panics has been watched since.
    Pause(Moment),
    /// A window, from when it was decided on; in the pause before, the target used this share of a CPU.
    Window(Moment, f64),
    /// Something else.
    Other,
}

/// Makes estimates right.
#[derive(Debug)]
pub struct Observed {
    estimated: Measured,
    /// What each probe, and last the scheduler, has cost by our reckoning, nanoseconds.
    costs: Vec<f64>,
    stretch: Stretch,
    ratios: VecDeque<f64>,
}

impl Observed {
    /// Of a session that begins.
    #[must_use]
    pub fn new(start: Measured) -> Self {
        let mut this = Self {
            costs: vec![0.0; start.probes.len() + 1],
            estimated: Measured::default(),
            stretch: Stretch::Other,
            ratios: VecDeque::new(),
        };
        this.take(start);
        this
    }

    /// The estimate of this moment, as it was told.
    #[must_use]
    pub const fn estimated(&self) -> &Measured {
        &self.estimated
    }

    /// Takes an estimate; the answer is what it is taken for.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds of 100 days are exact; what is negative is 0"
    )]
    pub fn take(&mut self, estimated: Measured) -> Measured {
        let factor = self.factor();
        let all = |of: &Measured| of.probes.iter().copied().chain([of.switches]).collect();
        let (before, now): (Vec<u64>, Vec<u64>) = (all(&self.estimated), all(&estimated));
        let before = before.into_iter().chain(std::iter::repeat(0));
        for ((cost, before), now) in self.costs.iter_mut().zip(before).zip(now) {
            // Of hits from before, too, more may be known now.
            *cost += factor * (now as f64 - before as f64);
        }
        let mut probes: Vec<u64> = self.costs.iter().map(|cost| *cost as u64).collect();
        let switches = probes.pop().unwrap_or(0);
        let told = Measured {
            at: estimated.at,
            target_cpu: estimated.target_cpu,
            probes,
            switches,
        };
        self.estimated = estimated;
        told
    }

    /// A change was decided on, by what was taken last.
    pub fn decided(&mut self, change: &Change) {
        if !change.full {
            return;
        }
        let now = Moment::from(&self.estimated);
        self.stretch = match self.stretch {
            Stretch::Pause(from) if now.at.saturating_sub(from.at) >= SHORTEST_PAUSE => {
                used(&from, &now).map_or(Stretch::Other, |used| {
                    Stretch::Window(
                        now,
                        (used - cost(&from, &now)).max(0.0) / elapsed(&from, &now),
                    )
                })
            }
            _ => Stretch::Other,
        };
    }

    /// The change has been made, up to what was taken last.
    pub fn changed(&mut self, change: &Change) {
        if change.full {
            return;
        }
        let now = Moment::from(&self.estimated);
        if let Stretch::Window(from, before) = self.stretch
            && let Some(used) = used(&from, &now)
        {
            let estimated = cost(&from, &now);
            if estimated >= LEAST {
                if self.ratios.len() == WINDOWS {
                    self.ratios.pop_front();
                }
                let taken = used - before * elapsed(&from, &now);
                self.ratios.push_back(taken / estimated);
            }
        }
        self.stretch = if change.shed.all {
            Stretch::Pause(now)
        } else {
            Stretch::Other
        };
    }

    /// How many times as much as estimated is taken.
    fn factor(&self) -> f64 {
        if self.ratios.len() < FEW {
            return 1.0;
        }
        let mut ratios: Vec<f64> = self.ratios.iter().copied().collect();
        ratios.sort_by(f64::total_cmp);
        ratios
            .get(ratios.len() / 2)
            .map_or(1.0, |median| median.clamp(1.0, MOST))
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a window")]
fn elapsed(from: &Moment, to: &Moment) -> f64 {
    (to.at.saturating_sub(from.at) as f64).max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a window")]
fn cost(from: &Moment, to: &Moment) -> f64 {
    to.cost.saturating_sub(from.cost) as f64
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a window")]
fn used(from: &Moment, to: &Moment) -> Option<f64> {
    Some(to.target_cpu?.saturating_sub(from.target_cpu?) as f64)
}
