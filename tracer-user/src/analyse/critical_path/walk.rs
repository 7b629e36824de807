//! The backwards walk. Its stack is explicit, its steps are counted: a recording that contradicts
//! itself ends in an unknown piece, never in a loop.

use super::follow::{Progress, inside, progress, standing};
use super::{CriticalPath, Piece, PieceKind};
use crate::analyse::history::{
    AwaitIndex, Doer, History, OffCpu, Poll, PollCause, PollIndex, UnitHistory, UnitIndex, UnitKind,
};

/// Steps at the same moment, after which the recording is taken to contradict itself.
const STANDSTILL: u32 = 1_000;

/// Whiles off the CPU of one poll that are told apart.
const WHILES: usize = 1_000;

/// What made up the time between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The unit that the time ends in.
    pub unit: UnitIndex,
    /// The await instance whose time it is; `None` for the unit as a whole.
    pub within: Option<AwaitIndex>,
    /// Begin, CLOCK_MONOTONIC in nanoseconds.
    pub from: u64,
    /// End.
    pub to: u64,
}

/// The critical path of a question, in at most about `limit` pieces.
#[must_use]
pub fn walk(history: &History, question: Question, limit: usize) -> CriticalPath {
    let mut walker = Walker {
        history,
        scope: question.within,
        passed_over: limit.saturating_mul(16),
        stack: Vec::new(),
        pieces: Vec::new(),
    };
    walker.stack.push(Frame {
        unit: question.unit,
        floor: question.from,
        cursor: question.to,
        follow: question.within,
    });
    let cut_off = !walker.run(limit);
    let mut pieces = walker.pieces;
    pieces.reverse();
    CriticalPath { pieces, cut_off }
}

/// A unit that is followed backwards, from `cursor` to `floor`.
#[derive(Clone, Copy)]
struct Frame {
    unit: UnitIndex,
    floor: u64,
    cursor: u64,
    /// The await instance whose making or progress is being explained.
    follow: Option<AwaitIndex>,
}

/// A poll on a path.
#[derive(Clone, Copy)]
struct Polled {
    unit: UnitIndex,
    within: Option<AwaitIndex>,
    index: PollIndex,
}

struct Walker<'h> {
    history: &'h History,
    scope: Option<AwaitIndex>,
    /// Polls of other branches that may still be passed over: what bounds the time of a walk.
    passed_over: usize,
    /// What was interrupted to follow another unit, innermost last. The floor of each is the cursor
    /// of the one before.
    stack: Vec<Frame>,
    /// The latest first.
    pieces: Vec<Piece>,
}

impl<'h> Walker<'h> {
    /// Whether it came to its end within the limit.
    fn run(&mut self, limit: usize) -> bool {
        let mut standing_still = 0;
        let mut steps = 0;
        let mut position = u64::MAX;
        while let Some(frame) = self.stack.pop() {
            if frame.cursor <= frame.floor {
                continue;
            }
            standing_still = if frame.cursor < position {
                0
            } else {
                standing_still + 1
            };
            position = frame.cursor;
            steps += 1;
            if standing_still > STANDSTILL
                || steps > limit.saturating_mul(4)
                || self.pieces.len() > limit
            {
                let floor = self.stack.first().map_or(frame.floor, |outer| outer.floor);
                let (unit, cursor) = (frame.unit, frame.cursor);
                self.stack.clear();
                self.emit(unit, None, floor, cursor, PieceKind::Unknown);
                return false;
            }
            self.step(frame);
        }
        true
    }

    /// Adds a piece before those that are there; the parts of a whole become one.
    fn emit(
        &mut self,
        unit: UnitIndex,
        within: Option<AwaitIndex>,
        from: u64,
        to: u64,
        kind: PieceKind,
    ) {
        if from >= to {
            return;
        }
        if let Some(last) = self.pieces.last_mut()
            && (last.unit, last.within, last.kind) == (unit, within, kind)
        {
            last.from = from;
            return;
        }
        self.pieces.push(Piece {
            from,
            to,
            unit,
            within,
            kind,
        });
    }

    /// Explains the time just before the frame's cursor.
    fn step(&mut self, frame: Frame) {
        let Some(unit) = self.history.units.get(frame.unit.0 as usize) else {
            self.emit(
                frame.unit,
                None,
                frame.floor,
                frame.cursor,
                PieceKind::Unknown,
            );
            return;
        };
        // Polls that began before the cursor.
        let before = unit.polls.partition_point(|&poll| {
            let poll = self.poll(poll);
            poll.is_some_and(|poll| poll.begin < frame.cursor)
        });
        let previous = before
            .checked_sub(1)
            .and_then(|at| Some((*unit.polls.get(at)?, self.poll(*unit.polls.get(at)?)?)));
        let next = unit.polls.get(before).and_then(|&poll| self.poll(poll));
        match previous {
            Some((index, poll)) => {
                let is_last = before == unit.polls.len();
                match poll.end {
                    Some(end) if frame.cursor > end => {
                        self.waited(frame, unit, Some(end), next, before);
                    }
                    None if !is_last => {
                        // Its end was lost: where polling ended and waiting began is not known.
                        let floor = poll.begin.max(frame.floor);
                        self.emit(frame.unit, None, floor, frame.cursor, PieceKind::Unknown);
                        self.stack.push(Frame {
                            cursor: floor,
                            ..frame
                        });
                    }
                    _ => self.polled(frame, unit, index, poll),
                }
            }
            None => self.waited(frame, unit, None, next, before),
        }
    }

    fn poll(&self, index: PollIndex) -> Option<&'h Poll> {
        self.history.polls.get(index.0 as usize)
    }

    /// The time up to the cursor is inside a poll.
    fn polled(&mut self, frame: Frame, unit: &UnitHistory, index: PollIndex, poll: &Poll) {
        let from = poll.begin.max(frame.floor);
        let to = frame.cursor;
        let scope = self.scope_in(&frame);
        let resumed = match progress(self.history, poll, frame.follow) {
            Progress::Among(holder) => Some(holder),
            other => other
                .leaf()
                .and_then(|leaf| self.history.awaits.get(leaf.0 as usize)?.parent),
        };
        let resumed =
            resumed.filter(|&parent| scope.is_none_or(|scope| inside(self.history, parent, scope)));
        let within = resumed
            .or_else(|| standing(self.history, frame.follow, poll.begin))
            .filter(|&found| scope.is_none_or(|scope| inside(self.history, found, scope)))
            .or(scope)
            .or_else(|| unit.awaits.first().copied());
        let at = Polled {
            unit: frame.unit,
            within,
            index,
        };
        self.on_and_off(at, poll, from, to);
        self.stack.push(Frame {
            cursor: from,
            ..frame
        });
    }

    /// A part of a poll, on and off the CPU.
    fn on_and_off(&mut self, at: Polled, poll: &Poll, from: u64, to: u64) {
        let Polled {
            unit,
            within,
            index,
        } = at;
        let whiles = self.history.off_cpu_of(index);
        let length = |off: &OffCpu| off.to.saturating_sub(off.from);
        let known = whiles
            .iter()
            .take(WHILES)
            .map(length)
            .fold(0, u64::saturating_add);
        let total = poll.blocked.saturating_add(poll.preempted);
        if whiles.len() > WHILES || known < total {
            // How much of the poll was off the CPU is known, not which part of it.
            let unknown = to - total.min(to - from);
            self.emit(unit, within, unknown, to, PieceKind::Unknown);
            self.emit(unit, within, from, unknown, PieceKind::Polled(index));
            return;
        }
        let mut until = to;
        for off in whiles.iter().filter(|off| off.from < to).rev() {
            let end = off.to.clamp(from, until);
            let start = off.from.clamp(from, end);
            let kind = if off.preempted {
                PieceKind::Preempted(index)
            } else {
                PieceKind::Blocked(index)
            };
            self.emit(unit, within, end, until, PieceKind::Polled(index));
            self.emit(unit, within, start, end, kind);
            until = start;
        }
        self.emit(unit, within, from, until, PieceKind::Polled(index));
    }

    /// The instance that the question is about, while its own task is followed.
    fn scope_in(&self, frame: &Frame) -> Option<AwaitIndex> {
        let scope = self.scope?;
        let task = self.history.awaits.get(scope.0 as usize)?.task;
        (task == frame.unit && self.stack.is_empty()).then_some(scope)
    }

    /// The time up to the cursor is outside polls: after the poll that ended at `ended`, before
    /// `next`, which is the unit's poll number `number`.
    fn waited(
        &mut self,
        frame: Frame,
        unit: &UnitHistory,
        ended: Option<u64>,
        next: Option<&Poll>,
        number: usize,
    ) {
        let spawned = match &unit.kind {
            UnitKind::Task(task) => task.spawned,
            _ => None,
        };
        let existing = matches!(&unit.kind, UnitKind::Task(task) if task.existing);
        // Before its first poll a task that was spawned here has nothing to wait in.
        let born = match (ended, spawned) {
            (Some(end), _) => end,
            (None, Some(spawn)) => spawn.time,
            (None, None) if existing => 0,
            (None, None) => unit.first,
        };
        if frame.cursor <= born {
            self.unborn(frame, spawned.map(|spawn| (spawn.time, spawn.by)));
            return;
        }
        let lost = {
            let after = unit.gaps.partition_point(|&gap| gap < born);
            unit.gaps.get(after).is_some_and(|&gap| gap <= frame.cursor)
        };
        let begins = next.filter(|next| next.begin == frame.cursor);
        if lost || begins.is_some_and(|next| !next.begin_known) {
            let from = born.max(frame.floor);
            self.emit(frame.unit, None, from, frame.cursor, PieceKind::Unknown);
            self.stack.push(Frame {
                cursor: from,
                ..frame
            });
            return;
        }
        let leaf = match next {
            Some(next) => progress(self.history, next, frame.follow).leaf(),
            None => super::follow::open_leaf(self.history, unit, frame.follow),
        };
        let since = match (begins, leaf) {
            (Some(_), Some(leaf)) => self.since(unit, number, leaf, born),
            _ => born,
        };
        let from = since.max(frame.floor);
        self.explain_wait(frame, next.and_then(|next| next.cause), leaf, from);
    }

    /// Since when `leaf` was waited for, at poll `number` of the unit: the polls in between that
    /// made other branches go on do not count.
    fn since(&mut self, unit: &UnitHistory, number: usize, leaf: AwaitIndex, born: u64) -> u64 {
        let Some(instance) = self.history.awaits.get(leaf.0 as usize) else {
            return born;
        };
        let mut since = born;
        for &index in unit.polls[..number.min(unit.polls.len())].iter().rev() {
            let Some(poll) = self.poll(index) else {
                break;
            };
            let Some(end) = poll.end else {
                break;
            };
            since = since.min(end);
            self.passed_over = self.passed_over.saturating_sub(1);
            let made_here = instance.start >= poll.begin && !instance.at_least;
            if made_here
                || self.passed_over == 0
                || progress(self.history, poll, Some(leaf)) != Progress::Elsewhere
            {
                break;
            }
            // Only the wait before it is left, if nothing stands before.
            since = since.min(poll.begin);
        }
        since
    }

    /// The wait from `from` to the cursor, by what ended it.
    fn explain_wait(
        &mut self,
        frame: Frame,
        cause: Option<PollCause>,
        leaf: Option<AwaitIndex>,
        from: u64,
    ) {
        let Frame { unit, cursor, .. } = frame;
        let mut follow = None;
        // Before its first poll a task stands at no leaf.
        let within = leaf.or_else(|| standing(self.history, frame.follow, from));
        match cause {
            Some(PollCause::Wake(index)) => {
                let wake = self.history.wakes.get(index.0 as usize);
                match wake.filter(|wake| wake.time <= cursor) {
                    Some(wake) => {
                        let woken = wake.time.max(from);
                        let scheduled = PieceKind::Scheduled(Some(index));
                        self.emit(unit, within, woken, cursor, scheduled);
                        if woken > from && self.is_task_poll(&wake.by) {
                            follow = Some((wake.by, woken));
                        } else {
                            let waiting = PieceKind::Waiting(Some(index));
                            self.emit(unit, within, from, woken, waiting);
                        }
                    }
                    // It came later: at the cursor the task still waited.
                    None => self.emit(unit, within, from, cursor, PieceKind::Waiting(None)),
                }
            }
            Some(PollCause::Spawn) => {
                self.emit(unit, within, from, cursor, PieceKind::Scheduled(None));
            }
            None => self.emit(unit, within, from, cursor, PieceKind::Waiting(None)),
        }
        self.stack.push(Frame {
            cursor: from,
            follow: leaf.or(frame.follow),
            ..frame
        });
        if let Some((by, woken)) = follow {
            self.stack.push(Frame {
                unit: by.unit,
                floor: from,
                cursor: woken,
                follow: by.within,
            });
        }
    }

    /// Whether a task did it in one of its polls.
    fn is_task_poll(&self, doer: &Doer) -> bool {
        let poll = doer.poll.and_then(|poll| self.poll(poll));
        poll.is_some_and(|poll| poll.task == doer.unit)
            && self
                .history
                .units
                .get(doer.unit.0 as usize)
                .is_some_and(|unit| matches!(unit.kind, UnitKind::Task(_)))
    }

    /// The cursor is before the task began: what its spawner did is followed.
    fn unborn(&mut self, frame: Frame, spawned: Option<(u64, Doer)>) {
        match spawned {
            Some((time, by)) if self.is_task_poll(&by) && by.unit != frame.unit => {
                let cursor = frame.cursor.min(time);
                // Between the two there is nothing: the spawn is what the cursor stands at.
                self.emit(by.unit, by.within, cursor, frame.cursor, PieceKind::Unknown);
                self.stack.push(Frame {
                    unit: by.unit,
                    cursor,
                    follow: by.within,
                    floor: frame.floor,
                });
            }
            Some((_, by)) => {
                self.emit(by.unit, None, frame.floor, frame.cursor, PieceKind::Unknown);
            }
            None => self.emit(
                frame.unit,
                None,
                frame.floor,
                frame.cursor,
                PieceKind::Unknown,
            ),
        }
    }
}
