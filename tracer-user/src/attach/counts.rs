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
        let measured = |program: &OwnedFd| {
            let facts = object::facts(program.as_fd());
            (facts.runs > 0).then_some(RunTime {
                runs: facts.runs,
                time_ns: facts.run_time_ns,
            })
        };
        self.model.overhead(
            &self.hits(),
            Counters::sum(&self.counters()).switches,
            self.started.elapsed(),
            measured(&self.probe_program),
            self.switch_program.as_ref().and_then(measured),
        )
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
