//! What the builder knows of a task while it lives.

use std::sync::Arc;

use super::moment::{Clock, Moment};
use super::tree::Tree;
use super::{Doer, Poll, PollIndex, UnitIndex, WakeIndex};
use crate::rebuild::event::EventId;
use crate::rebuild::suspension::{Marks, Suspension};

/// Wake-ups that may still be named as the cause of a task's next poll, at most.
const MAX_PENDING: usize = 256;

/// Aborts of one task that are kept.
const MAX_ABORTS: usize = 8;

/// A task that lives.
#[derive(Debug)]
pub(super) struct TaskState {
    pub(super) clock: Clock,
    /// The poll that goes on.
    pub(super) open: Option<OpenPoll>,
    /// Where it stands, as it was told last.
    pub(super) tree: Tree,
    /// Whether that is where it stands, as far as is known.
    pub(super) known: bool,
    /// Its spawn, until it is first told where it stands.
    pub(super) born: Option<Moment>,
    /// Who aborted it.
    pub(super) aborts: Vec<(EventId, Doer)>,
    /// The same as it was told, to see at a glance that nothing changed.
    pub(super) told: Option<(Arc<Suspension>, Marks)>,
    /// It was counted that nothing is known of where it stands since its last poll.
    pub(super) told_unknown: bool,
    /// Events of it are missing in the recording since it was told where it stands: what looks the
    /// same may be another.
    pub(super) missed: bool,
    /// It was polled in the stretch that is watched, or was watched last.
    pub(super) polled_in_stretch: bool,
    /// It was not, in all of the last one: what looks the same then stood still, for all that is seen.
    pub(super) quiet: bool,
    /// When memory told last where it stands, while its polls are not watched.
    pub(super) seen_in_pause: Option<Moment>,
    /// What happened since that was known to hold.
    pub(super) since: Option<Since>,
    /// Since when the tree has stood as it does.
    pub(super) stood: Stood,
    /// That poll, where it began before what is shown.
    pub(super) open_before: Option<Box<Poll>>,
    /// Its last poll, whose clones of wakers are not told for awaits yet, and whether it is known
    /// where it stood before that.
    pub(super) last_poll: Option<(PollIndex, bool)>,
    /// When its last poll ended, as far as that was seen.
    pub(super) last_end: Option<u64>,
    /// Wake-ups since its last poll began.
    pub(super) pending: Vec<(EventId, WakeIndex)>,
    /// What had it scheduled since then, where that was before what is shown.
    pub(super) woken_before: Option<WokenBefore>,
}

/// A wake-up that had a task scheduled, before what is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct WokenBefore {
    pub(super) event: EventId,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub(super) time: u64,
    /// Who did it.
    pub(super) by: UnitIndex,
    /// What moved it to.
    pub(super) origin: Option<UnitIndex>,
}

/// A poll that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPoll {
    /// Its row; `None` beyond the limits, and before what the history is to show.
    pub(super) index: Option<PollIndex>,
    /// Off the CPU.
    pub(super) off: Option<Off>,
}

/// A while off the CPU that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Off {
    pub(super) since: u64,
    /// The scheduler took the CPU.
    pub(super) preempted: bool,
    pub(super) syscall: Option<u32>,
}

/// What happened since the tree was known to hold: the poll in which it changed, or more than that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    /// The begin of the first poll, or what is known last before events are missing.
    pub(super) first: Moment,
    /// The end of the last poll.
    pub(super) end: Option<Moment>,
    /// Polls.
    pub(super) polls: u32,
    /// Events of the task are missing.
    pub(super) gap: bool,
    /// Events of the task are missing in the recording, so that a change may be among them. What
    /// the kernel loses is not: it tells a change again until it has been taken.
    pub(super) hole: bool,
    /// What had the (first) poll run.
    pub(super) evidence: Evidence,
}

/// What moved a task, as far as it tells which leaf was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Not known, or it says nothing.
    None,
    /// A timer ran out.
    Timer,
    /// I/O was ready.
    Io,
    /// Another task, or a thread that no driver moved.
    Other,
    /// Something that was not watched: it was polled while wake-ups were not.
    Unseen,
}

/// Since when a tree has stood as it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stood {
    /// Begin of the poll that made it.
    pub(super) made: Moment,
    /// End of that poll.
    pub(super) since: Moment,
    /// Whether these are known; otherwise what is new in the tree is at least that old.
    pub(super) exact: bool,
}

impl TaskState {
    /// A task that is met at this time.
    pub(super) fn new(time: u64) -> Self {
        let clock = Clock::new(time);
        let now = clock.now();
        Self {
            clock,
            open: None,
            tree: Tree::default(),
            known: false,
            born: None,
            aborts: Vec::new(),
            told: None,
            told_unknown: false,
            missed: false,
            polled_in_stretch: false,
            quiet: false,
            seen_in_pause: None,
            since: None,
            stood: Stood {
                made: now,
                since: now,
                exact: false,
            },
            open_before: None,
            last_poll: None,
            last_end: None,
            pending: Vec::new(),
            woken_before: None,
        }
    }

    /// Its spawn was seen, and nothing of it before that.
    pub(super) fn spawned(&mut self) {
        if self.told.is_none() && self.since.is_none() && self.open.is_none() {
            self.born = Some(self.clock.now());
            self.stood.exact = true;
        }
    }

    pub(super) fn aborted(&mut self, event: EventId, by: Doer) {
        if self.aborts.len() < MAX_ABORTS {
            self.aborts.push((event, by));
        }
    }

    pub(super) fn woken(&mut self, event: EventId, wake: WakeIndex) {
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        self.pending.push((event, wake));
    }

    /// A poll began: it may change where the task stands.
    pub(super) fn polled(&mut self, begin: Moment, evidence: Evidence) {
        self.polled_in_stretch = true;
        self.pending.clear();
        self.woken_before = None;
        self.told_unknown = false;
        let since = self.since.get_or_insert(Since {
            first: begin,
            end: None,
            polls: 0,
            gap: false,
            hole: false,
            evidence,
        });
        since.polls = since.polls.saturating_add(1);
    }

    /// Events of it are missing before `now`.
    pub(super) fn gap(&mut self, hole: bool) {
        let first = self.clock.now();
        let since = self.since.get_or_insert(Since {
            first,
            end: None,
            polls: 0,
            gap: true,
            hole,
            evidence: Evidence::None,
        });
        since.gap = true;
        // Another poll may have ended since.
        since.end = None;
        since.hole |= hole;
        self.missed |= hole;
        self.quiet &= !hole;
    }

    /// Polls are not watched from now on.
    pub(super) fn pauses(&mut self) {
        self.gap(true);
        self.quiet = !self.polled_in_stretch;
    }

    /// Polls are watched again.
    pub(super) fn is_watched_again(&mut self) {
        let quiet = self.quiet;
        self.gap(true);
        self.quiet = quiet;
        self.seen_in_pause = None;
        self.polled_in_stretch = false;
    }

    /// Whether what looks the same as it was told last may be another.
    pub(super) fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed) && (self.polled_in_stretch || !self.quiet)
    }
}

impl Since {
    /// The begin and the end of the only poll, if there was one and nothing is missing.
    pub(super) fn only_poll(&self) -> Option<(Moment, Moment)> {
        match self.end {
            Some(end) if self.polls == 1 && !self.gap => Some((self.first, end)),
            _ => None,
        }
    }
}
