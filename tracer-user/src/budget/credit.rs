//! What the target has earned and what probes have taken.

use crate::attach::Measured;

/// An idle target may be charged this share of one CPU: otherwise the first poll in an hour could
/// not be watched. What it earns by itself counts against it, so that it is nothing for a target of which
/// the budget is as much.
const FLOOR: f64 = 0.001;

/// Of the share that may be taken, this part is: what a hit costs is an estimate, the first second's
/// credit is given and not earned, and a budget is kept by staying below it.
const AIM: f64 = 0.9;

/// Credit is kept for this long, nanoseconds.
const KEPT: f64 = 2e9;

/// The account.
#[derive(Debug)]
pub(super) struct Credit {
    /// Of the target's own CPU time, what may be taken.
    share: f64,
    /// CPU time that may still be taken, nanoseconds; negative when too much was.
    pub(super) balance: f64,
    last: Measured,
    /// CPU time that the target uses for itself, of one CPU, smoothed.
    own: f64,
    /// What is being saved for, nanoseconds.
    pub(super) goal: f64,
}

impl Credit {
    /// An account of a session that begins. There is credit for a second of one CPU, so that a busy
    /// target can be looked at at all.
    pub(super) fn new(share: f64, start: Measured) -> Self {
        Self {
            share: AIM * share,
            balance: share * 1e9,
            last: start,
            own: 0.0,
            goal: 0.0,
        }
    }

    /// Takes what was measured.
    #[expect(
        clippy::cast_precision_loss,
        reason = "rates: nanoseconds of 100 days are exact"
    )]
    pub(super) fn take(&mut self, now: &Measured) {
        let elapsed = now.at.saturating_sub(self.last.at) as f64;
        if elapsed <= 0.0 {
            return;
        }
        let used = match (self.last.target_cpu, now.target_cpu) {
            (Some(before), Some(now)) => now.saturating_sub(before) as f64,
            _ => 0.0,
        };
        let cost = now.cost().saturating_sub(self.last.cost()) as f64;
        let own = (used - cost).max(0.0);
        // The weight of what is older halves within a second.
        let weight = 1.0 - 0.5f64.powf(elapsed / 1e9);
        self.own = if self.own == 0.0 {
            own / elapsed
        } else {
            self.own + (own / elapsed - self.own) * weight
        };
        self.balance += (self.share * own).max(self.given() * elapsed) - cost;
        self.balance = self.balance.min(self.most());
        self.last = now.clone();
    }

    /// What may be taken, as a share of one CPU.
    pub(super) fn allowance(&self) -> f64 {
        (self.share * self.own).max(self.given())
    }

    /// What an idle target is charged beyond what it earns, as a share of one CPU.
    fn given(&self) -> f64 {
        (FLOOR - self.share * self.own).max(0.0)
    }

    /// CPU time that the target uses for itself, of one CPU.
    pub(super) fn own(&self) -> f64 {
        self.own
    }

    /// Whether the target uses so little that it is charged what an idle one is.
    pub(super) fn is_idle(&self) -> bool {
        self.share * self.own <= FLOOR
    }

    /// The credit that is kept at most, nanoseconds.
    pub(super) fn most(&self) -> f64 {
        (self.allowance() * KEPT).max(self.goal)
    }

    /// What was measured last.
    pub(super) fn last(&self) -> &Measured {
        &self.last
    }
}
