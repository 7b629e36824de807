//! The batches of records that the programs keep on each CPU: who asks for them, so that none stays
//! behind where no further record comes.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use tracer_common::BATCH_BUSY;

use super::syscall;
use crate::stream::monotonic_ns;

/// How long what was asked for before is recent enough, in nanoseconds: asking interrupts the CPU.
const RECENT: u64 = 1_000_000;

/// The batches of all CPUs.
pub(super) struct Batches {
    /// How full each is.
    fills: PerCpuArray<MapData, u64>,
    /// What puts a CPU's batch into its ring; `None` when there are no batches.
    program: Option<OwnedFd>,
    /// For each CPU: what was seen before is in its ring.
    complete: Vec<u64>,
    asked: u64,
}

impl Batches {
    /// Tries the program. Where it cannot run each record goes into the ring by itself.
    pub(super) fn new(fills: PerCpuArray<MapData, u64>, program: Option<OwnedFd>) -> Self {
        let runs = |program: &OwnedFd| match syscall::run(program.as_fd(), None) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "records go into the rings one by one");
                false
            }
        };
        let mut batches = Self {
            fills,
            program: program.filter(runs),
            complete: Vec::new(),
            asked: 0,
        };
        if batches.program.is_none() {
            batches.forbid();
        }
        batches
    }

    /// Has the programs find every batch in use.
    fn forbid(&mut self) {
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let set = PerCpuValues::try_from(vec![BATCH_BUSY; cpus])
            .map_err(|error| error.to_string())
            .and_then(|busy| {
                let set = self.fills.set(0, busy, 0);
                set.map_err(|error| error.to_string())
            });
        if let Err(error) = set {
            tracing::warn!(error, "records may come late: they are kept in batches");
        }
    }

    /// Has every batch put into its ring, whenever the last time was. For the end, when no program
    /// runs any more.
    pub(super) fn ask_all(&mut self) {
        self.asked = 0;
        self.ask();
    }

    /// Has every batch put into its ring. What was seen before the time that is returned (as
    /// [`monotonic_ns`] tells it) is there then; later than the last one, but for CPUs where a program
    /// was interrupted while it wrote into the batch.
    pub(super) fn ask(&mut self) -> u64 {
        let now = monotonic_ns();
        let Some(program) = &self.program else {
            return now;
        };
        if now.saturating_sub(self.asked) < RECENT {
            return self.complete();
        }
        let Ok(fills) = self.fills.get(&0, 0) else {
            return now;
        };
        self.asked = now;
        self.complete.resize(fills.len(), 0);
        for ((cpu, &fill), complete) in (0..).zip(fills.iter()).zip(&mut self.complete) {
            // A CPU that went offline keeps its batch until it comes back.
            if fill == 0 || syscall::run(program.as_fd(), Some(cpu)).unwrap_or(0) == 0 {
                *complete = now;
            }
        }
        self.complete()
    }

    fn complete(&self) -> u64 {
        self.complete.iter().copied().min().unwrap_or(0)
    }
}
