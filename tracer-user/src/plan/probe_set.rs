//! Which of a plan's probes are meant: for setting some of them, and for giving some of them up.

use serde::{Deserialize, Serialize};
use tracer_common::ProbeKind;

use super::Plan;

/// Some of a plan's probes, by their index in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSet(Vec<bool>);

/// What a probe is for, as far as it may be given up apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProbeClass {
    /// Panics: rare, and what comes before the end of everything.
    Panics,
    /// Polls of tasks.
    Polls,
    /// Wake-ups, and what the drivers do.
    Wakes,
    /// Spawns and aborts.
    Spawns,
    /// Clones and drops of wakers.
    WakerCounts,
    /// Polls of nested futures.
    NestedPolls,
    /// Exact ends of polls of tasks. Without them a poll ends with what is seen next.
    PollEnds,
}

impl ProbeClass {
    /// The class of a kind of probe.
    #[must_use]
    pub const fn of(kind: ProbeKind) -> Self {
        match kind {
            ProbeKind::Panic | ProbeKind::PanicBegin => Self::Panics,
            ProbeKind::TaskPoll => Self::Polls,
            ProbeKind::PollExit => Self::PollEnds,
            ProbeKind::WakerClone | ProbeKind::WakerDrop => Self::WakerCounts,
            ProbeKind::FuturePoll => Self::NestedPolls,
            ProbeKind::WakeByValue
            | ProbeKind::WakeByReference
            | ProbeKind::IoReady
            | ProbeKind::TimerFired => Self::Wakes,
            ProbeKind::Spawn | ProbeKind::Abort => Self::Spawns,
        }
    }
}

impl ProbeSet {
    /// The probes of a plan for which this holds.
    #[must_use]
    pub fn of(plan: &Plan, wanted: impl Fn(u32, ProbeKind) -> bool) -> Self {
        let probes = (0..).zip(&plan.probes);
        Self(
            probes
                .map(|(index, probe)| wanted(index, probe.kind))
                .collect(),
        )
    }

    /// All probes of a plan.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self(vec![true; plan.probes.len()])
    }

    /// Those of so many probes for which this holds.
    #[must_use]
    pub fn with(probes: usize, wanted: impl Fn(usize) -> bool) -> Self {
        Self((0..probes).map(wanted).collect())
    }

    /// Whether the probe with this index is meant.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.0.get(index as usize).copied().unwrap_or(false)
    }

    /// Number of probes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().filter(|wanted| **wanted).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
