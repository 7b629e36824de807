//! What is given up.

use std::collections::BTreeSet;

use crate::plan::{ProbeClass, ProbeSet};

/// More task types than this are not told apart: then everything is watched in windows.
const MOST_TYPES: usize = 8;

/// Of what may be spent, this part is aimed at, so that not every change of the load is one of what
/// is watched.
const AIM: f64 = 0.9;

/// With some types in windows, the rest may take this part, so that something is left for those.
const AIM_WITH_WINDOWS: f64 = 0.6;

/// What is given up of everything that could be watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Clones and drops of wakers.
    pub waker_counts: bool,
    /// Polls of nested futures.
    pub nested: bool,
    /// Exact ends of polls.
    pub ends: bool,
    /// Probes of polls of types that are watched in windows only.
    pub types: BTreeSet<u32>,
    /// Wake-ups are watched in windows only.
    pub wakes: bool,
    /// Everything but panics is watched in windows only.
    pub all: bool,
}

impl Shed {
    /// What to give up so that no more than `allowance` is spent. `rates` is what each probe takes,
    /// `rest` what everything else does, all as shares of one CPU.
    pub(super) fn decide(
        classes: &[ProbeClass],
        rates: &[f64],
        rest: f64,
        allowance: f64,
        before: &Self,
    ) -> Self {
        let mut shed = Self {
            types: BTreeSet::new(),
            wakes: false,
            all: false,
            ..before.clone()
        };
        let of = |class: ProbeClass| -> f64 {
            let probes = classes.iter().zip(rates);
            probes
                .filter(|(known, _)| **known == class)
                .map(|(_, rate)| *rate)
                .sum()
        };
        let mut total: f64 = rest + rates.iter().sum::<f64>();
        for (class, flag) in [
            (ProbeClass::WakerCounts, &mut shed.waker_counts),
            (ProbeClass::NestedPolls, &mut shed.nested),
            (ProbeClass::PollEnds, &mut shed.ends),
        ] {
            let rate = of(class);
            // What takes next to nothing is no help.
            if total > AIM * allowance && !*flag && rate > 0.02 * total {
                *flag = true;
                total -= rate;
            }
        }
        if total <= AIM * allowance {
            return shed;
        }
        let mut polls: Vec<(u32, f64)> = (0u32..)
            .zip(classes.iter().zip(rates))
            .filter(|(_, (class, rate))| **class == ProbeClass::Polls && **rate > 0.0)
            .map(|(probe, (_, rate))| (probe, *rate))
            .collect();
        polls.sort_by(|a, b| b.1.total_cmp(&a.1));
        let wakes = of(ProbeClass::Wakes);
        // What is polled often is woken often, through functions that all types share.
        for (with_wakes, total) in [(false, total), (true, total - wakes)] {
            let most = AIM_WITH_WINDOWS * allowance;
            if let Some(types) = hottest(&polls, total, most) {
                (shed.types, shed.wakes) = (types, with_wakes);
                return shed;
            }
        }
        shed.all = true;
        shed
    }

    /// The same, and everything but panics in windows.
    pub(super) fn of_everything(self) -> Self {
        Self {
            types: BTreeSet::new(),
            wakes: false,
            all: true,
            ..self
        }
    }

    /// Whether less is watched in windows only than by another, and nothing else is.
    pub(super) fn leaves_out_less(&self, than: &Self) -> bool {
        let flags = |shed: &Self| (shed.waker_counts, shed.nested, shed.ends);
        if flags(self) != flags(than) {
            return false;
        }
        if self.all || than.all {
            return than.all && !self.all;
        }
        let less = self.types.len() < than.types.len() || !self.wakes && than.wakes;
        less && self.types.is_subset(&than.types) && (!self.wakes || than.wakes)
    }

    /// Whether something is watched in windows only.
    pub(super) fn has_windows(&self) -> bool {
        self.all || self.wakes || !self.types.is_empty()
    }

    /// The probes that are in place between two windows.
    pub(super) fn between(&self, classes: &[ProbeClass]) -> ProbeSet {
        ProbeSet::with(classes.len(), |probe| {
            let class = classes[probe];
            let left_out = u32::try_from(probe).is_ok_and(|probe| self.types.contains(&probe));
            let stays = match class {
                ProbeClass::Panics => true,
                ProbeClass::Wakes => !self.all && !self.wakes,
                _ => !self.all && !left_out,
            };
            self.is_kept(class) && stays
        })
    }

    /// The probes that are in place in a window, or all the time where there are none.
    pub(super) fn inside(&self, classes: &[ProbeClass]) -> ProbeSet {
        ProbeSet::with(classes.len(), |probe| self.is_kept(classes[probe]))
    }

    fn is_kept(&self, class: ProbeClass) -> bool {
        match class {
            ProbeClass::WakerCounts => !self.waker_counts,
            ProbeClass::NestedPolls => !self.nested,
            ProbeClass::PollEnds => !self.ends,
            _ => true,
        }
    }
}

/// The types that cost most of these (each with what it takes, the most first), so many of them that
/// what is left of `total` is at most that. `None` when that is too many, or all: without any polls
/// the rest says little.
fn hottest(polls: &[(u32, f64)], mut total: f64, most: f64) -> Option<BTreeSet<u32>> {
    let mut types = BTreeSet::new();
    for (probe, rate) in polls.iter().take(MOST_TYPES) {
        if total <= most {
            break;
        }
        types.insert(*probe);
        total -= rate;
    }
    (total <= most && types.len() < polls.len()).then_some(types)
}
