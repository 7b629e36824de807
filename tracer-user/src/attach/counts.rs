//! What a session counts by CPU and by probe, and what that has cost the target.

use std::os::fd::{AsFd as _, OwnedFd};

use tracer_common::Counters;

use super::object::{self, Loaded};
use super::{Overhead, ProbeHits, RunTime, Session, cost, count};

impl Session {
    /// Lost records for each CPU.
    #[must_use]
    pub fn losses(&self) -> Vec<u64> {
        cost::losses(&self.counters())
    }

    /// All counts for each CPU.
    #[must_use]
    pub fn counters(&self) -> Vec<Counters> {
        counters(&self.loaded)
    }

    /// Hits of each probe, by its index in the plan.
    #[must_use]
    pub fn hits(&self) -> Vec<ProbeHits> {
        (0..count(self.model.probes()))
            .map(|probe| ProbeHits {
                probe,
                per_cpu: self
                    .loaded
                    .hits
                    .get(&probe, 0)
                    .map(|values| values.to_vec())
                    .unwrap_or_default(),
            })
            .collect()
    }

    /// What the session has cost the target so far.
    #[must_use]
    pub fn overhead(&self) -> Overhead {
        self.model.overhead(
            &self.hits(),
            self.switches_ns(),
            self.started.elapsed(),
            run_time(&self.probe_program),
            self.switch_program.as_ref().and_then(run_time),
        )
    }

    /// What watching the scheduler has cost, ns.
    pub(super) fn switches_ns(&self) -> u64 {
        let switches = Counters::sum(&self.counters()).switches;
        let each = self.switch_ns.unwrap_or_else(|| self.switch_ns(switches));
        switches.saturating_mul(each)
    }

    /// What a switch costs, by what the kernel has measured until now, of so many of them, ns.
    pub(super) fn switch_ns(&self, switches: u64) -> u64 {
        let program = self.switch_program.as_ref();
        cost::switch_ns(program.and_then(run_time), switches)
    }
}

/// All counts for each CPU; none when the kernel does not tell.
pub(super) fn counters(loaded: &Loaded) -> Vec<Counters> {
    loaded
        .counters
        .get(&0, 0)
        .map(|values| values.iter().map(|value| value.0).collect())
        .unwrap_or_default()
}

/// What the kernel measured of a program; `None` when it did not.
pub(super) fn run_time(program: &OwnedFd) -> Option<RunTime> {
    let facts = object::facts(program.as_fd());
    (facts.runs > 0).then_some(RunTime {
        runs: facts.runs,
        time_ns: facts.run_time_ns,
    })
}
