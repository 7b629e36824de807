//! Which await a task did something in, once it is known which ones outlasted the poll.
//!
//! While a poll goes on, what is known is where the task stood before it. An await that ended in the
//! poll may have ended before the deed: an async fn that gets its lock and then spawns does not
//! spawn inside the lock. So the deed is told for the innermost await that was there before the poll
//! and after it: that one, or something inside it, did it.

use super::{Await, AwaitIndex, Doer, History, Poll, UnitKind};

/// Moves every deed to an await that outlasted its poll.
pub(super) fn settle(history: &mut History) {
    let (polls, awaits) = (&history.polls, &history.awaits);
    for wake in &mut history.wakes {
        of(&mut wake.by, polls, awaits);
    }
    for unit in &mut history.units {
        if let UnitKind::Task(task) = &mut unit.kind {
            if let Some(spawn) = &mut task.spawned {
                of(&mut spawn.by, polls, awaits);
            }
            if let Some(by) = task.end.as_mut().and_then(|end| end.aborted.as_mut()) {
                of(by, polls, awaits);
            }
        }
    }
}

fn of(doer: &mut Doer, polls: &[Poll], awaits: &[Await]) {
    let Some(poll) = doer.poll.and_then(|poll| polls.get(poll.0 as usize)) else {
        return;
    };
    let Some(end) = poll.end else { return };
    let row = |index: AwaitIndex| awaits.get(index.0 as usize);
    // Parents stand before their children, so this ends.
    while let Some(at) = doer.within.and_then(row)
        && at.end.is_some_and(|ended| ended <= end)
        && let Some(parent) = at.parent
    {
        doer.within = Some(parent);
    }
}
