//! What a finding is. Its JSON form is the contract of `check --json` (docs/findings.md): fields may
//! be added, never renamed or removed.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An idle task that nothing can wake, or nobody will.
    LostWake,
    /// Tasks that wait for each other in a circle.
    WaitCycle,
    /// A future that holds a lock, or is queued for it, and is no longer polled, while others wait.
    Futurelock,
    /// A poll that holds its worker for long.
    BlockedWorker,
    /// A task that panicked.
    Panicked,
    /// A future that was started and is no longer polled although its task makes progress.
    AbandonedFuture,
    /// A task that is polled again and again without progress.
    BusyPoll,
    /// Tasks that were woken and not polled for long.
    SlowToRun,
    /// Live tasks of one future that only become more.
    TaskGrowth,
    /// A task that was not polled for long.
    Stalled,
}

impl Kind {
    /// All kinds, the gravest first.
    pub const ALL: [Self; 10] = [
        Self::LostWake,
        Self::WaitCycle,
        Self::Futurelock,
        Self::BlockedWorker,
        Self::Panicked,
        Self::AbandonedFuture,
        Self::BusyPoll,
        Self::SlowToRun,
        Self::TaskGrowth,
        Self::Stalled,
    ];

    /// As it is written on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostWake => "lost_wake",
            Self::WaitCycle => "wait_cycle",
            Self::Futurelock => "futurelock",
            Self::BlockedWorker => "blocked_worker",
            Self::Panicked => "panicked",
            Self::AbandonedFuture => "abandoned_future",
            Self::BusyPoll => "busy_poll",
            Self::SlowToRun => "slow_to_run",
            Self::TaskGrowth => "task_growth",
            Self::Stalled => "stalled",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It may be so; healthy programs show the same now and then.
    Possible,
    /// Nothing else that is known explains what was seen.
    Likely,
    /// What was seen leaves no other explanation.
    Proved,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Proved => "proved",
        })
    }
}

/// A task of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Subject {
    /// As `dump` names it: `tokio/17`.
    pub id: Arc<str>,
    /// Path of its future.
    pub future: Option<Arc<str>>,
}

/// What a place in the source is to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The await at which a task stands.
    WaitsAt,
    /// The await at which a poll began.
    BeganAt,
    /// Where a future is written that does what the finding says.
    Culprit,
    /// The await at which a task stands while it holds what others wait for.
    HoldsAt,
    /// Where it panicked.
    PanickedAt,
}

/// A place in the source that has to do with a finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Site {
    /// What it is to the finding.
    pub role: Role,
    /// Path of the future that is there.
    pub future: Arc<str>,
    /// The source file, where it is known.
    pub file: Option<Arc<str>>,
    /// The line, 1-based.
    pub line: Option<u32>,
}

/// One occurrence of something wrong, as an analysis saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What is wrong.
    pub kind: Kind,
    /// How sure it is.
    pub certainty: Certainty,
    /// What makes occurrences equal: those of one kind with the same cause are one finding. Made of
    /// paths and lines, never of addresses, ids or times, so that it is the same in every run.
    pub cause: String,
    /// The finding in one sentence, the same for all with this cause.
    pub summary: String,
    /// The tasks; the first is the one that the finding is about.
    pub tasks: Vec<Subject>,
    /// The places, the most telling first.
    pub sites: Vec<Site>,
    /// What was seen, in sentences with numbers.
    pub evidence: Vec<String>,
    /// Since when: CLOCK_MONOTONIC, nanoseconds; `None` when it was so before anybody looked.
    pub began: Option<u64>,
    /// Until when; `None` when it is still so.
    pub ended: Option<u64>,
    /// What to do, in one line.
    pub advice: String,
    /// How grave it is among findings of its kind and certainty: higher is first.
    pub weight: u64,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How sure it is: as sure as the surest occurrence.
    pub certainty: Certainty,
    /// The finding in one sentence.
    pub summary: String,
    /// Names this finding in every run and in every version of this program: kind and cause.
    pub key: String,
    /// Occurrences.
    pub count: u64,
    /// Its tasks: those of the first occurrence, and the first task of the others; at most
    /// 16.
    pub tasks: Vec<Subject>,
    /// The places in the source.
    pub sites: Vec<Site>,
    /// What was seen, in sentences.
    pub evidence: Vec<String>,
    /// Since when: CLOCK_MONOTONIC, nanoseconds; `None` when it was so before anybody looked.
    pub began_ns: Option<u64>,
    /// Until when; `None` when it is still so.
    pub ended_ns: Option<u64>,
    /// What to do, in one line.
    pub advice: String,
}
