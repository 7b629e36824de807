//! What the session costs the target: an estimate from counts and times.
//!
//! A hit costs the trap into the kernel and the BPF program. The kernel measures the program when
//! asked (`BPF_ENABLE_STATS`); the trap cannot be measured from outside, so it is taken from a
//! table made on the project's machine with the project's probes (docs: facts of the kernel). It
//! is called an estimate for that reason.

use std::time::Duration;

use serde::Serialize;
use tracer_common::Counters;

use crate::plan::{Method, Plan};

/// A trap whose instruction is emulated, ns (x86-64 virtual machine, Linux 6.18; on bare metal
/// about 300).
const TRAP_EMULATED_NS: u64 = 450;

/// A trap whose instruction is single-stepped, ns (likewise; on bare metal about 900).
const TRAP_SINGLE_STEPPED_NS: u64 = 9_500;

/// Time of a program's run when the kernel does not measure it, ns.
const RUN_UNMEASURED_NS: u64 = 500;

/// Hits of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeHits {
    /// Index of the probe in the plan.
    pub probe: u32,
    /// Hits, for each CPU.
    pub per_cpu: Vec<u64>,
}

impl ProbeHits {
    /// Hits on all CPUs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.per_cpu.iter().sum()
    }
}

/// Measured runs of a BPF program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunTime {
    /// Runs while it was measured.
    pub runs: u64,
    /// Time spent in them, ns.
    pub time_ns: u64,
}

/// What the session has cost so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overhead {
    /// Since the probes were linked.
    pub elapsed: Duration,
    /// Hits of all probes.
    pub hits: u64,
    /// Hits on instructions that the kernel single-steps.
    pub single_stepped_hits: u64,
    /// The probes' program; `None` when the kernel does not measure it.
    pub probe_program: Option<RunTime>,
    /// The scheduler's program; it also runs for threads of other processes.
    pub switch_program: Option<RunTime>,
    /// CPU time of the target spent in probes, estimated, ns.
    pub target_cpu_ns: u64,
}

impl Overhead {
    /// CPU time of the target spent in probes as a part of one CPU: 0.01 is one percent.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio for people; 2^53 ns are 104 days"
    )]
    pub fn of_one_cpu(&self) -> f64 {
        let elapsed = self.elapsed.as_nanos();
        if elapsed == 0 {
            return 0.0;
        }
        self.target_cpu_ns as f64 / elapsed as f64
    }
}

/// Puts the estimate together.
pub(super) fn estimate(
    plan_methods: &[Method],
    hits: &[ProbeHits],
    elapsed: Duration,
    probe_program: Option<RunTime>,
    switch_program: Option<RunTime>,
) -> Overhead {
    let mut all = 0u64;
    let mut stepped = 0u64;
    for hit in hits {
        let total = hit.total();
        all = all.saturating_add(total);
        if plan_methods.get(hit.probe as usize) == Some(&Method::SingleStepped) {
            stepped = stepped.saturating_add(total);
        }
    }
    let traps = (all.saturating_sub(stepped))
        .saturating_mul(TRAP_EMULATED_NS)
        .saturating_add(stepped.saturating_mul(TRAP_SINGLE_STEPPED_NS));
    let runs = match probe_program {
        // Only the first seconds were measured: their mean stands for every hit.
        Some(measured) if measured.runs > 0 => {
            let all = u128::from(all) * u128::from(measured.time_ns) / u128::from(measured.runs);
            u64::try_from(all).unwrap_or(u64::MAX)
        }
        _ => all.saturating_mul(RUN_UNMEASURED_NS),
    };
    Overhead {
        elapsed,
        hits: all,
        single_stepped_hits: stepped,
        probe_program,
        switch_program,
        target_cpu_ns: traps.saturating_add(runs),
    }
}

/// Methods of a plan's probes, by index.
pub(super) fn methods(plan: &Plan) -> Vec<Method> {
    plan.probes
        .iter()
        .map(|probe| probe.instruction.method)
        .collect()
}

/// Losses for each CPU.
pub(super) fn losses(counters: &[Counters]) -> Vec<u64> {
    counters.iter().map(|counters| counters.lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_adds_traps_and_runs() {
        let hits = [
            ProbeHits {
                probe: 0,
                per_cpu: vec![10, 20],
            },
            ProbeHits {
                probe: 1,
                per_cpu: vec![0, 5],
            },
        ];
        let methods = [Method::Emulated, Method::SingleStepped];
        let second = Duration::from_secs(1);
        let measured = RunTime {
            runs: 35,
            time_ns: 7_000,
        };
        let overhead = estimate(&methods, &hits, second, Some(measured), None);
        assert_eq!((overhead.hits, overhead.single_stepped_hits), (35, 5));
        assert_eq!(
            overhead.target_cpu_ns,
            30 * TRAP_EMULATED_NS + 5 * TRAP_SINGLE_STEPPED_NS + 7_000
        );
        // A fifth of the runs was measured: the same mean, the same cost.
        let fifth = RunTime {
            runs: 7,
            time_ns: 1_400,
        };
        assert_eq!(
            estimate(&methods, &hits, second, Some(fifth), None).target_cpu_ns,
            overhead.target_cpu_ns
        );
        let guessed = estimate(&methods, &hits, second, None, None);
        assert_eq!(
            guessed.target_cpu_ns - overhead.target_cpu_ns,
            35 * RUN_UNMEASURED_NS - 7_000
        );
        assert!(guessed.of_one_cpu() < 0.001);
    }
}
