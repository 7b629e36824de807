//! How sure it is that a long poll is the program's fault.
//!
//! | it was kept by | sure when |
//! |---|---|
//! | computing | 5 times the threshold (100 times where the scheduler took the CPU for half as long), or 3 such polls that are 1 % of those at the place; where a hypervisor took enough to explain it, 3 that are 10 % |
//! | a call that waits by nature (`clock_nanosleep`, `poll`, `fsync`, ...) | waits for a CPU do not explain it |
//! | a call that does work (`read`, `write`, `openat`, ...) | nor those, and 3 such polls that are 1 %, or 100 times the threshold |
//! | a lock (`futex`), the address space (`munmap`) | nor those, and 3 such polls that are 10 %, or 100 times the threshold: likely; 5 that are half of all: proved |
//! | something unknown, page faults | never: possible |
//!
//! On a machine with more to do than CPUs, a lock's holder loses its CPU for some ten milliseconds
//! now and then, and all who want the lock wait; whoever has slept waits for a CPU when that is over
//! (see [`Starved`]). A hypervisor takes CPUs in the same way, which looks like computing (see
//! [`Case::stolen`](crate::analyse::findings::case::Case::stolen)).

use super::length::Length;
use super::starved::Starved;
use crate::analyse::findings::model::Certainty;
use crate::analyse::findings::told::is_share;

/// What is known of all polls at the place.
#[derive(Clone, Copy, Debug)]
pub(super) struct All {
    /// The long ones with this cause.
    pub(super) long: u64,
    /// All, the short ones too.
    pub(super) polls: u64,
    /// See [`Thresholds::long_poll`](crate::analyse::findings::Thresholds).
    pub(super) threshold: u64,
    /// Events are missing, and what is to be said of that.
    pub(super) missing: Option<Missing>,
    /// Whether waits for a CPU explain their sleeps.
    pub(super) starved: Starved,
    /// Whether what a hypervisor took explains their computing.
    pub(super) stolen: bool,
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// They were lost, or are more than are kept.
    Lost,
    /// They were not watched, to keep a budget.
    NotWatched,
}

impl Missing {
    const fn doubt(self) -> &'static str {
        match self {
            Self::Lost => LOST,
            Self::NotWatched => NOT_WATCHED,
        }
    }
}

/// How sure, and why not surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) certainty: Certainty,
    pub(super) doubt: Option<&'static str>,
}

/// Long polls from which on they are no outliers.
const SEVERAL: u64 = 3;

/// Long polls from which on, where they are half of all at the place, no accident explains them.
const MOSTLY: u64 = 5;

const IN_PLACE: &str = "a block_in_place went on meanwhile: if it was in this poll, another thread has taken the worker over";
const ROOT: &str = "its thread may run block_on, whose own future is polled unseen between the polls of tasks: that may be what took the time";
const FAULT: &str = "it was asleep outside system calls, or it is not known in which: a page fault looks like that, and would be the machine's fault";
const STARVED: &str = "its thread waited for a CPU so much that this may be what made its sleeps long: the machine has more to do than CPUs";
const LOCK: &str = "it waited for a lock whose holder may have been without a CPU, which happens on a busy machine";
const OUTLIER: &str =
    "it is an outlier: other polls at this place are short, so that the machine may be to blame";
const STOLEN: &str = "a hypervisor took as much CPU time from this machine meanwhile as would explain all that computed for too long";
const LOST: &str = "events were lost: the end of the poll may be among them";
const NOT_WATCHED: &str = "not everything was watched, so that tracing kept its budget: what ended the poll may be among what was not";

/// Judges one poll among those with its cause.
pub(super) fn judge(length: &Length, all: &All) -> Verdict {
    // What was on the CPU after the last thing seen inside the poll may have been after the poll.
    let tail = length.net().saturating_sub(length.least);
    let on_cpu = if length.trusted {
        length.on_cpu
    } else {
        length.on_cpu.saturating_sub(tail)
    };
    let own = length.asked + length.work + on_cpu;
    let times = |factor: u64| all.threshold.saturating_mul(factor);
    let several = |percent| all.long >= SEVERAL && is_share(all.long, all.polls, percent);
    let computes = on_cpu > all.threshold;
    let asks = length.asked + on_cpu > all.threshold;
    let locks = own <= all.threshold;
    let doubt = if length.in_place {
        Some(IN_PLACE)
    } else if let Some(missing) = all.missing.filter(|_| length.least <= all.threshold) {
        Some(missing.doubt())
    } else if locks && length.on_cpu > on_cpu && own + tail > all.threshold {
        Some(ROOT)
    } else if locks && own + length.shared <= all.threshold {
        Some(FAULT)
    } else if !computes && all.starved == Starved::Maybe {
        Some(STARVED)
    } else if locks {
        (own + length.shared < times(100) && !several(10)).then_some(LOCK)
    } else if all.stolen && !several(10) && length.asked + length.work <= all.threshold {
        Some(STOLEN)
    } else if computes {
        // A thread that hardly gets a CPU computes slowly too: caches are cold, the kernel's own
        // work is done in its time.
        let starves = length.preempted > on_cpu / 2;
        let long = on_cpu >= times(if starves { 100 } else { 5 });
        (!long && !several(1)).then_some(OUTLIER)
    } else if asks {
        None
    } else {
        (own < times(100) && !several(1)).then_some(OUTLIER)
    };
    if let Some(doubt) = doubt {
        return Verdict {
            certainty: Certainty::Possible,
            doubt: Some(doubt),
        };
    }
    // With events missing, the end of the poll or of its sleep may be among them.
    let seen =
        length.least > all.threshold && length.least >= own.min(times(2)) && all.missing.is_none();
    let slept = match all.starved {
        Starved::No => true,
        Starved::Unknown => own + length.shared >= times(3),
        Starved::Hardly | Starved::Maybe => false,
    };
    let mostly = all.long >= MOSTLY && several(50);
    let proved = seen && (computes || slept) && (!locks || mostly);
    Verdict {
        certainty: if proved {
            Certainty::Proved
        } else {
            Certainty::Likely
        },
        doubt: all.missing.map(Missing::doubt),
    }
}
