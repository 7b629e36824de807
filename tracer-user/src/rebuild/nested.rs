//! The nested polls of `--futures`: what was polled inside each task's last poll, and how often
//! each future was polled altogether.

use foldhash::HashMap;
use std::sync::Arc;

use crate::rebuild::event::{Event, EventKind, UnitId};

/// Polls that are remembered of one poll of a task.
const MAX_POLLS: usize = 64;
/// Tasks whose last poll is remembered.
const MAX_TASKS: usize = 20_000;
/// Futures that are counted by name.
const MAX_NAMES: usize = 10_000;

/// A nested poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedPoll {
    /// How many polls of probed futures it is nested in.
    pub depth: u8,
    /// The future's path, where the probe knows it.
    pub future: Arc<str>,
}

/// The nested polls that were seen.
#[derive(Debug, Default)]
pub struct NestedPolls {
    last: HashMap<UnitId, Vec<NestedPoll>>,
    counts: HashMap<Arc<str>, u64>,
    /// Polls of futures that are not counted by name because there are too many.
    uncounted: u64,
}

impl NestedPolls {
    /// How many futures a summary names.
    pub const SHOWN: usize = 10;

    /// Takes note of an event.
    pub fn take(&mut self, event: &Event) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::FuturePoll { name, depth, .. } => {
                let future = name.clone().unwrap_or_else(|| "not known".into());
                if let Some(count) = self.counts.get_mut(&future) {
                    *count += 1;
                } else if self.counts.len() < MAX_NAMES {
                    self.counts.insert(Arc::clone(&future), 1);
                } else {
                    self.uncounted += 1;
                }
                if self.last.len() >= MAX_TASKS && !self.last.contains_key(&unit) {
                    return;
                }
                let polls = self.last.entry(unit).or_default();
                if polls.len() < MAX_POLLS {
                    polls.push(NestedPoll {
                        depth: *depth,
                        future,
                    });
                }
            }
            EventKind::PollBegin { .. } => {
                if let Some(polls) = self.last.get_mut(&unit) {
                    polls.clear();
                }
            }
            EventKind::Finished { .. } => {
                self.last.remove(&unit);
            }
            _ => {}
        }
    }

    /// What was polled inside the last poll of a task, in order.
    #[must_use]
    pub fn of(&self, unit: UnitId) -> &[NestedPoll] {
        self.last.get(&unit).map_or(&[], Vec::as_slice)
    }

    /// The futures that were polled most often, with the number of polls.
    #[must_use]
    pub fn most_polled(&self, limit: usize) -> Vec<(Arc<str>, u64)> {
        let mut counts: Vec<_> = self
            .counts
            .iter()
            .map(|(name, count)| (Arc::clone(name), *count))
            .collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(limit);
        counts
    }

    /// Nested polls altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.uncounted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::rebuild::event::{EventId, Outcome};

    fn event(unit: u64, kind: EventKind) -> Event {
        Event {
            id: EventId {
                unit: UnitId(unit),
                sequence: 0,
            },
            time: 0,
            kind,
            cause: None,
        }
    }

    fn nested(unit: u64, name: &str, depth: u8) -> Event {
        event(
            unit,
            EventKind::FuturePoll {
                future: Address(1),
                name: Some(name.into()),
                depth,
            },
        )
    }

    #[test]
    fn the_last_poll_of_a_task_is_remembered_until_the_next() {
        let mut polls = NestedPolls::default();
        polls.take(&nested(1, "a", 0));
        polls.take(&nested(1, "b", 1));
        polls.take(&nested(2, "a", 0));
        assert_eq!(polls.of(UnitId(1)).len(), 2);
        assert_eq!(polls.of(UnitId(1))[1].depth, 1);
        polls.take(&event(1, EventKind::PollBegin { thread: UnitId(9) }));
        assert!(polls.of(UnitId(1)).is_empty());
        let outcome = Outcome::Ready;
        polls.take(&event(2, EventKind::Finished { outcome }));
        assert!(polls.of(UnitId(2)).is_empty());
        assert_eq!(polls.most_polled(1), [("a".into(), 2)]);
        assert_eq!(polls.total(), 3);
    }

    #[test]
    fn memory_is_bounded() {
        let mut polls = NestedPolls::default();
        for _ in 0..1_000 {
            polls.take(&nested(1, "a", 0));
        }
        assert_eq!(polls.of(UnitId(1)).len(), MAX_POLLS);
        for unit in 0..30_000 {
            polls.take(&nested(unit, &format!("f{unit}"), 0));
        }
        assert_eq!(polls.last.len(), MAX_TASKS);
        assert_eq!(polls.counts.len(), MAX_NAMES);
        assert_eq!(polls.total(), 31_000);
    }
}
