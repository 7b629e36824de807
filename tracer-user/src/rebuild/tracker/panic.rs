//! Panics: where one began, what the task's futures were then, and that it went on its way.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::Record;

use super::Tracker;
use super::task::{Actor, TaskKey};
use crate::rebuild::event::{Event, EventKind, PanicLocation};
use crate::rebuild::suspension::{Marks, Suspension};

/// Details that wait for their record at most.
const MAX_WAITING: usize = 10_000;

/// What is told beside the records of panics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicDetail {
    /// Where it began.
    pub location: Option<Arc<PanicLocation>>,
    /// What it says.
    pub message: Option<Arc<str>>,
}

/// By thread and time of the record.
pub(super) type Details = HashMap<(u32, u64), PanicDetail>;

impl Tracker {
    /// Takes note of what the record of a panic with this thread and time says. To be called before
    /// the records of the batch that it was read with are applied.
    pub fn panic_told(&mut self, tid: u32, time: u64, detail: PanicDetail) {
        if self.panics.len() < MAX_WAITING {
            self.panics.insert((tid, time), detail);
        }
    }

    pub(super) fn panic_begin(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        let detail = self.panics.remove(&(record.tid, record.time));
        let location = detail.unwrap_or_default().location;
        let now = self.stood(record);
        let actor = self.panicking(record, into)?;
        let (suspension, marks) = match &actor {
            Actor::Thread { .. } => nothing("it was outside any poll of a task"),
            Actor::Task { key, .. } => self.stands(key, record, now),
        };
        let kind = EventKind::PanicBegan {
            location,
            suspension,
            marks,
        };
        self.act(&actor, record, kind, into)?;
        Some(())
    }

    pub(super) fn panic(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        let detail = self.panics.remove(&(record.tid, record.time));
        let message = detail.unwrap_or_default().message;
        let actor = self.panicking(record, into)?;
        let kind = EventKind::PanicRaised { message };
        self.act(&actor, record, kind, into)?;
        if let Actor::Task { key, .. } = actor {
            let clean_since = self.clean_since;
            let task = self.table.get_mut(&key)?;
            let began = task.poll_of(record.tid, record.poll, clean_since)?.began;
            task.panicked = Some(began);
        }
        Some(())
    }

    /// The task in whose poll a panic is, or the thread.
    fn panicking(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<Actor> {
        let by = Record {
            by: record.task,
            by_id: record.task_id,
            ..*record
        };
        self.actor(&by, into)
    }

    /// Where the futures of a task stood that is polled, at its last suspension: what memory tells
    /// now, as far as it is what the poll began with. Where it is not, the poll has gone on, and
    /// what memory has there may have been overwritten by what came since.
    fn stands(
        &self,
        key: &TaskKey,
        record: &Record,
        now: Option<(Arc<Suspension>, Marks)>,
    ) -> (Arc<Suspension>, Marks) {
        let Some((now, marks)) = now else {
            return nothing("the session does not walk the futures of tasks");
        };
        if now.futures.is_empty() {
            return (now, marks);
        }
        let task = self.table.get(key);
        let polled = task.filter(|task| {
            task.poll_of(record.tid, record.poll, self.clean_since)
                .is_some()
        });
        match polled.and_then(|task| task.suspended.as_ref()) {
            Some((before, _)) => (Arc::new(agreed(before, &now)), marks),
            None => nothing("where its poll began is not known"),
        }
    }
}

fn nothing(reason: &'static str) -> (Arc<Suspension>, Marks) {
    (Arc::new(Suspension::unknown(reason)), Marks::default())
}

/// The part of two trees that is the same in both, from the root down.
fn agreed(before: &Suspension, now: &Suspension) -> Suspension {
    let mut futures = Vec::with_capacity(now.futures.len());
    let (mut old, mut new) = (0, 0);
    let mut differs = false;
    let skip = |of: &Suspension, at: usize| {
        let depth = of.futures.get(at).map_or(0, |future| future.depth);
        let below = of.futures.get(at + 1..).unwrap_or_default();
        at + 1 + below.iter().take_while(|next| next.depth > depth).count()
    };
    while let Some(here) = now.futures.get(new) {
        let Some(there) = before.futures.get(old) else {
            differs = true;
            break;
        };
        let same =
            here.depth == there.depth && here.place == there.place && here.state == there.state;
        if same {
            futures.push(here.clone());
            old += 1;
            new += 1;
            continue;
        }
        differs = true;
        if here.depth >= there.depth {
            new = skip(now, new);
        }
        if there.depth >= here.depth {
            old = skip(before, old);
        }
    }
    differs |= old < before.futures.len();
    let gone_on = || "the poll had gone on from here, which leaves no trace in memory".into();
    Suspension {
        futures,
        missing: if differs {
            Some(gone_on())
        } else {
            now.missing.clone()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::suspension::{FutureState, Place, SuspendedFuture};
    use crate::rebuild::tree::{NodeKind, NodeState};

    fn tree(of: &[(u16, &str, u32)]) -> Suspension {
        let futures = of.iter().map(|(depth, name, line)| SuspendedFuture {
            depth: *depth,
            place: Place::Inside(u64::from(*depth) * 8),
            mark: None,
            state: Arc::new(FutureState {
                future: (*name).into(),
                kind: NodeKind::AsyncFn,
                state: NodeState::Suspended,
                file: None,
                line: Some(*line),
                waits_for: None,
            }),
        });
        Suspension {
            futures: futures.collect(),
            missing: None,
        }
    }

    fn names(of: &Suspension) -> Vec<&str> {
        of.futures
            .iter()
            .map(|future| &*future.state.future)
            .collect()
    }

    #[test]
    fn what_is_the_same_from_the_root_down_is_kept() {
        let before = tree(&[(0, "a", 1), (1, "b", 2), (2, "c", 3), (1, "d", 4)]);
        let whole = agreed(&before, &before);
        assert_eq!(
            (names(&whole), whole.missing.clone()),
            (vec!["a", "b", "c", "d"], None)
        );
        // `b` has moved on: what lies below it is not told, its sibling is.
        let now = tree(&[
            (0, "a", 1),
            (1, "b", 9),
            (2, "x", 3),
            (3, "y", 3),
            (1, "d", 4),
        ]);
        let part = agreed(&before, &now);
        assert_eq!(names(&part), ["a", "d"]);
        assert!(part.missing.is_some());
        for now in [tree(&[(0, "a", 2), (1, "b", 2)]), tree(&[(0, "z", 1)])] {
            assert!(names(&agreed(&before, &now)).is_empty());
        }
        let shorter = agreed(&before, &tree(&[(0, "a", 1), (1, "b", 2)]));
        assert_eq!(names(&shorter), ["a", "b"]);
        assert!(shorter.missing.is_some());
        let longer = agreed(&tree(&[(0, "a", 1)]), &before);
        assert_eq!(names(&longer), ["a"]);
        assert!(longer.missing.is_some());
    }
}
