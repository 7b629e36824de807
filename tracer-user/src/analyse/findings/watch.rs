//! Findings over time: what is judged again and again while a process runs. A finding opens when it
//! is seen, stays open while it is, and closes once it has not been seen for a while; so one that is
//! seen in most judgements and missed in some does not flicker.
//!
//! Pure: findings and times in, episodes out.

use std::collections::{HashMap, VecDeque};

use super::model::Finding;

/// Findings that are open at most; what is more is counted.
const MAX_OPEN: usize = 1_000;
/// Findings that are over and remembered.
const MAX_CLOSED: usize = 100;

/// A finding from its opening to its close. Times: CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// As it was when it was surest; of those, as it was last.
    pub finding: Finding,
    /// When it was seen first.
    pub opened: u64,
    /// When it was seen last.
    pub seen: u64,
    /// When it was over: when it was seen last. `None` while it is open.
    pub closed: Option<u64>,
}

/// Follows findings.
#[derive(Clone, Debug)]
pub struct Watch {
    patience: u64,
    open: HashMap<String, Episode>,
    closed: VecDeque<Episode>,
    beyond: u64,
}

impl Watch {
    /// A finding is over when it has not been seen for longer than `patience` nanoseconds.
    #[must_use]
    pub fn new(patience: u64) -> Self {
        Self {
            patience,
            open: HashMap::new(),
            closed: VecDeque::new(),
            beyond: 0,
        }
    }

    /// Takes what was found in a judgement at `now`. Judgements come in order of time.
    pub fn judged(&mut self, findings: Vec<Finding>, now: u64) {
        self.close(now);
        self.beyond = 0;
        for finding in findings {
            // What is over already was seen when it was, not now.
            let seen = finding.ended_ns.map_or(now, |ended| ended.min(now));
            if let Some(episode) = self.open.get_mut(&finding.key) {
                episode.seen_again(finding, seen);
            } else if self.is_old(&finding, seen, now) {
                // It was told when it was over.
            } else if self.open.len() >= MAX_OPEN {
                self.beyond += 1;
            } else {
                let opened = finding.began_ns.map_or(seen, |began| began.min(seen));
                let episode = Episode {
                    opened,
                    seen,
                    closed: None,
                    finding,
                };
                self.open.insert(episode.finding.key.clone(), episode);
            }
        }
    }

    /// Whether a finding that is not open is only the end of one that was, or too old to open.
    fn is_old(&self, finding: &Finding, seen: u64, now: u64) -> bool {
        let told = |episode: &&Episode| episode.finding.key == finding.key;
        now.saturating_sub(seen) > self.patience
            || self
                .closed
                .iter()
                .rev()
                .find(told)
                .is_some_and(|episode| seen <= episode.seen)
    }

    /// Closes what has not been seen for long.
    fn close(&mut self, now: u64) {
        let patience = self.patience;
        let mut over: Vec<Episode> = self
            .open
            .extract_if(|_, episode| now.saturating_sub(episode.seen) > patience)
            .map(|(_, mut episode)| {
                episode.closed = Some(episode.seen);
                episode
            })
            .collect();
        over.sort_by(|one, other| {
            let rank = |episode: &Episode| episode.seen;
            rank(one)
                .cmp(&rank(other))
                .then_with(|| one.finding.key.cmp(&other.finding.key))
        });
        self.closed.extend(over);
        while self.closed.len() > MAX_CLOSED {
            self.closed.pop_front();
        }
    }

    /// What is open, the surest and gravest first, then what is over, the latest first.
    #[must_use]
    pub fn episodes(&self) -> Vec<Episode> {
        let mut open: Vec<Episode> = self.open.values().cloned().collect();
        open.sort_by(|one, other| {
            let rank = |episode: &Episode| {
                let finding = &episode.finding;
                (std::cmp::Reverse(finding.certainty), finding.kind)
            };
            rank(one)
                .cmp(&rank(other))
                .then(one.opened.cmp(&other.opened))
                .then_with(|| one.finding.key.cmp(&other.finding.key))
        });
        open.extend(self.closed.iter().rev().cloned());
        open
    }

    /// Findings of the last judgement that are not followed because there are too many.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }
}

impl Episode {
    fn seen_again(&mut self, finding: Finding, seen: u64) {
        self.seen = self.seen.max(seen);
        if let Some(began) = finding.began_ns {
            self.opened = self.opened.min(began);
        }
        // What was proved once is not less sure because it was seen less well since.
        if finding.certainty >= self.finding.certainty {
            self.finding = finding;
        } else {
            self.finding.count = finding.count;
            self.finding.ended_ns = finding.ended_ns;
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
