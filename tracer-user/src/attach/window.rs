//! Taking probes out and setting them again while a session goes on, and what they have cost so far.

use super::cost::{TrapCosts, mean_run};
use super::counts::run_time;
use super::object::SettingsValue;
use super::{AttachError, Session, syscall};
use crate::plan::ProbeSet;
use crate::stream::monotonic_ns;

/// Counts and costs since the start of a session, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The moment: CLOCK_MONOTONIC, nanoseconds.
    pub at: u64,
    /// CPU time of the whole target, what probes took included, nanoseconds. `None` when the kernel
    /// does not tell, which is so once the target has ended.
    pub target_cpu: Option<u64>,
    /// What each probe of the plan has cost, by its index, nanoseconds.
    pub probes: Vec<u64>,
    /// What watching the scheduler has cost, nanoseconds.
    pub switches: u64,
}

impl Measured {
    /// What everything has cost, nanoseconds.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.probes
            .iter()
            .fold(self.switches, |sum, cost| sum.saturating_add(*cost))
    }
}

/// Between these moments nothing but panics was watched: CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What happened before was still seen.
    pub from: u64,
    /// What happens later is seen again; the moment at which the last probe had been taken out,
    /// when nothing is to be seen.
    pub until: u64,
}

impl Session {
    /// Takes out the probes that are not wanted and sets those that are; with `open`, what they see
    /// is passed on from then on, otherwise only panics are. Blocks for some 15 ms, 70 when probes
    /// are taken out, and with perf links for 0.1 s a probe. What was in the rings before stays
    /// there. Switches of threads are watched while it is `open`.
    ///
    /// # Errors
    /// As [`Session::start`]. What was in place before may then be gone.
    pub fn place(&mut self, wanted: &ProbeSet, open: bool) -> Result<Placed, AttachError> {
        self.probes.prepare(wanted);
        self.set_window(0)?;
        let from = monotonic_ns();
        self.probes.place(wanted, open)?;
        if open {
            self.window = self.window.wrapping_add(1).max(1);
            let until = monotonic_ns();
            self.set_window(self.window)?;
            return Ok(Placed { from, until });
        }
        Ok(Placed {
            from,
            until: monotonic_ns(),
        })
    }

    /// As [`Session::place`], for probes that come and go in links of their own (they did so before):
    /// the others go on being watched. What the others see meanwhile is in order; of what comes and
    /// goes some is seen between the two moments, and some is not.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn place_beside(&mut self, wanted: &ProbeSet) -> Result<Placed, AttachError> {
        self.probes.prepare(wanted);
        let from = monotonic_ns();
        self.probes.place(wanted, true)?;
        Ok(Placed {
            from,
            until: monotonic_ns(),
        })
    }

    pub(super) fn set_window(&mut self, window: u32) -> Result<(), AttachError> {
        let failed = |error: aya::maps::MapError| AttachError::Map {
            map: "SETTINGS".to_owned(),
            error: Box::new(error),
        };
        let mut settings = self.loaded.settings.get(&0, 0).map_err(failed)?.0;
        settings.window = window;
        // The programs may learn the target's id meanwhile, which would be overwritten with 0: they
        // learn it again at the next hit.
        self.loaded
            .settings
            .set(0, SettingsValue(settings), 0)
            .map_err(failed)
    }

    /// What the session has cost so far.
    #[must_use]
    pub fn measure(&self) -> Measured {
        let run_ns = mean_run(run_time(&self.probe_program));
        let probes = self
            .hits()
            .iter()
            .map(|hits| {
                let cost = self.model.hit_ns(hits.probe as usize, run_ns);
                hits.total().saturating_mul(cost)
            })
            .collect();
        Measured {
            at: monotonic_ns(),
            target_cpu: syscall::process_cpu_time(self.pid).ok(),
            probes,
            switches: self.switches_ns(),
        }
    }

    /// As [`Session::measure`], while no probe is in place: the costs are not read again.
    #[must_use]
    pub fn measure_target(&self, before: &Measured) -> Measured {
        Measured {
            at: monotonic_ns(),
            target_cpu: syscall::process_cpu_time(self.pid).ok(),
            ..before.clone()
        }
    }

    /// What a trap costs here.
    #[must_use]
    pub fn traps(&self) -> TrapCosts {
        self.model.traps()
    }
}
