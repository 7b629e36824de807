//! How sure it is that a long poll is the program's fault.
//!
//! | it was kept by | sure when |
//! |---|---|
//! | a call that waits by nature (`clock_nanosleep`, `poll`, `fsync`, ...) | always: proved |
//! | computing, or a call that does work (`read`, `write`, `openat`, ...) | 5 times the threshold, or 3 such polls that are 1 % of those at the place |
//! | a lock (`futex`), the address space (`munmap`) | 20 times the threshold, or 3 such polls that are 10 %: likely; 5 that are half of all: proved |
//! | something unknown, page faults | never: possible |
//!
//! The reason is in the table's second column: on a machine with more to do than CPUs, a lock's
//! holder loses its CPU for some ten milliseconds now and then, and all who want the lock wait. A
//! hypervisor takes CPUs in the same way, which looks like computing.

use super::length::Length;
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
    /// Events are missing.
    pub(super) missing: bool,
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

/// Judges one poll among those with its cause.
pub(super) fn judge(length: &Length, all: &All) -> Verdict {
    let possible = |doubt| Verdict {
        certainty: Certainty::Possible,
        doubt: Some(doubt),
    };
    if length.in_place {
        return possible(
            "a block_in_place went on meanwhile: if it was in this poll, another thread has taken the worker over",
        );
    }
    // What was on the CPU after the last thing seen inside the poll may have been after the poll.
    let tail = length.net().saturating_sub(length.least);
    let on_cpu = if length.trusted {
        length.on_cpu
    } else {
        length.on_cpu.saturating_sub(tail)
    };
    let own = length.asked + length.work + on_cpu;
    if own <= all.threshold && !length.trusted && length.on_cpu > on_cpu {
        return possible(
            "its thread may run block_on, whose own future is polled unseen between the polls of tasks: that may be what took the time",
        );
    }
    if own <= all.threshold && own + length.shared <= all.threshold {
        return possible(
            "it was asleep outside system calls, or it is not known in which: a page fault looks like that, and would be the machine's fault",
        );
    }
    let several = |percent| all.long >= SEVERAL && is_share(all.long, all.polls, percent);
    let times = |factor: u64| all.threshold.saturating_mul(factor);
    if own <= all.threshold {
        let certainty = if all.long >= MOSTLY
            && several(50)
            && length.least > all.threshold
            && !all.missing
        {
            Certainty::Proved
        } else if own + length.shared >= times(20) || several(10) {
            Certainty::Likely
        } else {
            return possible(
                "it waited for a lock whose holder may have been without a CPU, which happens on a busy machine",
            );
        };
        return Verdict {
            certainty,
            doubt: None,
        };
    }
    let asked = length.asked > all.threshold;
    if !asked && own < times(5) && !several(1) {
        return possible(
            "it is an outlier: other polls at this place are short, so that the machine may be to blame",
        );
    }
    // With events missing, the end of the poll or of its sleep may be among them.
    let proved = length.least > all.threshold && !all.missing;
    Verdict {
        certainty: if proved && (asked || length.least >= own.min(times(2))) {
            Certainty::Proved
        } else {
            Certainty::Likely
        },
        doubt: all
            .missing
            .then_some("events were lost: the end of the poll may be among them"),
    }
}
