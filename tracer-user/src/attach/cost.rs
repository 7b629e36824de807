//! What the session costs the target: an estimate from counts and times.
//!
//! A hit costs the trap into the kernel and the BPF program. The kernel measures the program when
//! asked (`BPF_ENABLE_STATS`); what a trap costs is measured on functions of our own at the attach
//! (see [`super::calibrate`]). What the target loses beside that, in caches for example, cannot be
//! measured while it runs: a fixed part is added for it, and the sum is called an estimate.

use std::time::Duration;

use serde::Serialize;
use tracer_common::Counters;

use crate::plan::{Method, Plan};

/// Time of a program's run when the kernel does not measure it, ns (Linux 6.18, a virtual machine).
const RUN_UNMEASURED_NS: u64 = 500;

/// Time of a switch of a thread of the target when the kernel does not measure the scheduler's program,
/// and the most that is believed, ns (likewise).
const SWITCH_NS: u64 = 500;

/// What the kernel takes to get to a program at a tracepoint and back, which is not in the program's
/// measured time, ns (likewise).
const TRACEPOINT_NS: u64 = 50;

/// With fewer switches nothing is concluded from their time.
const SWITCHES_TO_TELL: u64 = 1_000;

/// What a hit costs beside the trap and the program, in percent of these: the target's code goes on
/// with colder caches and branch predictors than the loop in which a trap is measured. A target that
/// is polled as fast as it goes lost 1,890 ns a hit where trap and program have 1,670 (Linux 6.18, a
/// virtual machine, docs/overhead.md).
const BESIDE_PERCENT: u64 = 15;

/// What a trap costs, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrapCosts {
    /// With an instruction that the kernel emulates.
    pub emulated_ns: u64,
    /// With one that it single-steps.
    pub single_stepped_ns: u64,
    /// Whether that was measured here; otherwise it is taken from another machine.
    pub measured: bool,
}

impl TrapCosts {
    /// On the project's machine (x86-64 virtual machine, Linux 6.18). Bare metal takes about 300
    /// and 900 ns.
    pub const ELSEWHERE: Self = Self {
        emulated_ns: 450,
        single_stepped_ns: 9_500,
        measured: false,
    };
}

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

/// What each probe's hit costs.
#[derive(Debug)]
pub(super) struct Model {
    methods: Vec<Method>,
    traps: TrapCosts,
}

impl Model {
    pub(super) fn new(plan: &Plan, traps: TrapCosts) -> Self {
        let methods = plan.probes.iter().map(|probe| probe.instruction.method);
        Self {
            methods: methods.collect(),
            traps,
        }
    }

    /// Number of probes.
    pub(super) fn probes(&self) -> usize {
        self.methods.len()
    }

    /// What traps cost here.
    pub(super) fn traps(&self) -> TrapCosts {
        self.traps
    }

    /// What a hit of this probe costs, ns.
    pub(super) fn hit_ns(&self, probe: usize, run_ns: u64) -> u64 {
        let trap = match self.methods.get(probe) {
            Some(Method::SingleStepped) => self.traps.single_stepped_ns,
            _ => self.traps.emulated_ns,
        };
        with_beside(trap.saturating_add(run_ns))
    }

    /// Puts the estimate together.
    pub(super) fn overhead(
        &self,
        hits: &[ProbeHits],
        switches_ns: u64,
        elapsed: Duration,
        probe_program: Option<RunTime>,
        switch_program: Option<RunTime>,
    ) -> Overhead {
        let run_ns = mean_run(probe_program);
        let (mut all, mut stepped, mut cost) = (0u64, 0u64, switches_ns);
        for hit in hits {
            let total = hit.total();
            let probe = hit.probe as usize;
            all = all.saturating_add(total);
            if self.methods.get(probe) == Some(&Method::SingleStepped) {
                stepped = stepped.saturating_add(total);
            }
            cost = cost.saturating_add(total.saturating_mul(self.hit_ns(probe, run_ns)));
        }
        Overhead {
            elapsed,
            hits: all,
            single_stepped_hits: stepped,
            probe_program,
            switch_program,
            target_cpu_ns: cost,
        }
    }
}

fn with_beside(cost: u64) -> u64 {
    cost.saturating_mul(100 + BESIDE_PERCENT) / 100
}

/// A program's run takes no longer than this by itself, ns: a poll with sixteen futures takes 1,500.
const RUN_AT_MOST_NS: u64 = 4_000;

/// Time of a run, ns. Only the first seconds are measured: their mean stands for every run. The kernel
/// measures by the clock: on a busy machine what others ran meanwhile is in it, hence the bound.
pub(super) fn mean_run(measured: Option<RunTime>) -> u64 {
    match measured {
        Some(measured) if measured.runs > 0 => {
            (measured.time_ns / measured.runs).min(RUN_AT_MOST_NS)
        }
        _ => RUN_UNMEASURED_NS,
    }
}

/// What a switch of a thread of the target costs, ns, where the scheduler's program took `measured` and
/// had `switches` of the target's threads among its runs. It runs for threads of others, too, and leaves
/// them at once: all its time is put down to the target, so that this is rather too much.
pub(super) fn switch_ns(measured: Option<RunTime>, switches: u64) -> u64 {
    match measured {
        Some(measured) if switches >= SWITCHES_TO_TELL => {
            with_beside((measured.time_ns / switches).saturating_add(TRACEPOINT_NS)).min(SWITCH_NS)
        }
        _ => SWITCH_NS,
    }
}

/// Losses for each CPU.
pub(super) fn losses(counters: &[Counters]) -> Vec<u64> {
    counters.iter().map(|counters| counters.lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_adds_traps_runs_and_switches() {
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
        let model = Model {
            methods: vec![Method::Emulated, Method::SingleStepped],
            traps: TrapCosts::ELSEWHERE,
        };
        let second = Duration::from_secs(1);
        let measured = RunTime {
            runs: 35,
            time_ns: 7_000,
        };
        let overhead = model.overhead(&hits, 2 * SWITCH_NS, second, Some(measured), None);
        assert_eq!((overhead.hits, overhead.single_stepped_hits), (35, 5));
        assert_eq!(
            overhead.target_cpu_ns,
            30 * with_beside(450 + 200) + 5 * with_beside(9_500 + 200) + 2 * SWITCH_NS
        );
        assert_eq!(with_beside(1_000), 1_150);
        // A fifth of the runs was measured: the same mean, the same cost.
        let fifth = RunTime {
            runs: 7,
            time_ns: 1_400,
        };
        assert_eq!(
            model
                .overhead(&hits, 2 * SWITCH_NS, second, Some(fifth), None)
                .target_cpu_ns,
            overhead.target_cpu_ns
        );
        let guessed = model.overhead(&hits, 2 * SWITCH_NS, second, None, None);
        assert_eq!(
            guessed.target_cpu_ns - overhead.target_cpu_ns,
            35 * with_beside(RUN_UNMEASURED_NS - 200)
        );
        assert!(guessed.of_one_cpu() < 0.001);
    }

    #[test]
    fn a_switch_costs_what_was_measured_and_never_more_than_without() {
        let measured = |runs, time_ns| Some(RunTime { runs, time_ns });
        let each = switch_ns(measured(20_000, 2_000_000), 20_000);
        assert_eq!(each, with_beside(100 + TRACEPOINT_NS));
        // Half of the runs were for threads of others.
        assert_eq!(switch_ns(measured(40_000, 2_000_000), 20_000), each);
        // Nearly all were: what they took is no measure of ours.
        assert_eq!(switch_ns(measured(2_000_000, 80_000_000), 2_000), SWITCH_NS);
        // Too few to tell, or not measured.
        assert_eq!(switch_ns(measured(999, 99_900), 999), SWITCH_NS);
        assert_eq!(switch_ns(None, 20_000), SWITCH_NS);
    }
}
