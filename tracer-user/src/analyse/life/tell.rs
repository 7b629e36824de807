//! A moment of a task's life with everything that is known of it.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Moment, What, Who, cause_word, is_upper_bound};
use crate::analyse::history::{
    AwaitIndex, Doer, History, TaskHistory, UnitHistory, UnitIndex, UnitKind,
};
use crate::rebuild::event::{Origin, Outcome};

pub(super) struct Teller<'h> {
    pub(super) history: &'h History,
    pub(super) started: u64,
}

/// How many awaits each lies in.
#[derive(Default)]
pub(super) struct Depths(HashMap<AwaitIndex, u16>);

impl Depths {
    fn of(&mut self, history: &History, row: AwaitIndex) -> u16 {
        let mut way = Vec::new();
        let mut next = Some(row);
        let mut depth = 0;
        while let Some(here) = next {
            if let Some(known) = self.0.get(&here) {
                depth = known.saturating_add(1);
                break;
            }
            way.push(here);
            next = history[here].parent;
        }
        for here in way.into_iter().rev() {
            self.0.insert(here, depth);
            depth = depth.saturating_add(1);
        }
        self.0.get(&row).copied().unwrap_or(0)
    }
}

impl Teller<'_> {
    /// Nanoseconds since the start of the recording.
    pub(super) fn since_start(&self, time: u64) -> i64 {
        let difference = i128::from(time) - i128::from(self.started);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }

    pub(super) fn what(
        &self,
        unit: &UnitHistory,
        task: &TaskHistory,
        moment: &Moment,
        depths: &mut Depths,
    ) -> What {
        let history = self.history;
        match *moment {
            Moment::Gap => What::Gap,
            Moment::Spawned => match task.spawned {
                Some(spawned) => What::Spawned {
                    by: self.who(&spawned.by),
                },
                None => What::Gap,
            },
            Moment::Woken(wake) => {
                let wake = &history[wake];
                What::Woken {
                    by: self.who(&wake.by),
                    effect: wake.effect,
                    to_poll_ns: wake
                        .poll
                        .map(|poll| history[poll].begin.saturating_sub(wake.time)),
                }
            }
            Moment::Poll(poll) => {
                let poll = &history[poll];
                What::Poll {
                    length_ns: poll.length(),
                    at_most: poll.end.is_some() && is_upper_bound(poll.seen),
                    blocked_ns: poll.blocked,
                    preempted_ns: poll.preempted,
                    thread: poll.thread.map(|thread| self.name(thread)),
                    cause: poll.cause.map(cause_word),
                    outcome: poll.outcome,
                }
            }
            Moment::Begins(row) => {
                let instance = &history[row];
                What::AwaitBegins {
                    id: row.0,
                    awaited: Arc::clone(&instance.awaited),
                    depth: depths.of(history, row),
                    at_least: instance.at_least,
                }
            }
            Moment::Ends(row) => {
                let instance = &history[row];
                What::AwaitEnds {
                    id: row.0,
                    awaited: Arc::clone(&instance.awaited),
                    depth: depths.of(history, row),
                    outcome: instance.outcome,
                    duration_ns: instance.duration(unit.last),
                    at_least: instance.at_least,
                    waiting_ns: instance.waiting,
                    polled_ns: instance.polled,
                }
            }
            Moment::Ended => What::Ended {
                outcome: task.end.map_or(Outcome::Unknown, |end| end.outcome),
                aborted_by: task.end.and_then(|end| end.aborted).map(|by| self.who(&by)),
            },
        }
    }

    fn who(&self, doer: &Doer) -> Who {
        let history = self.history;
        let origin = doer.origin.and_then(|origin| match &history[origin].kind {
            UnitKind::Origin(origin) => Some(*origin),
            _ => None,
        });
        Who {
            name: self.name(doer.unit),
            future: history[doer.unit]
                .task()
                .and_then(|task| task.future.clone()),
            within: doer.within.map(|row| Arc::clone(&history[row].awaited)),
            origin: origin.map(|origin| match origin {
                Origin::Io { .. } => "io",
                Origin::Timer => "timer",
                Origin::Signal => "signal",
            }),
            fd: match origin {
                Some(Origin::Io { fd, .. }) => fd,
                _ => None,
            },
        }
    }

    fn name(&self, unit: UnitIndex) -> Arc<str> {
        match &self.history[unit].kind {
            UnitKind::Task(task) => Arc::clone(&task.name),
            UnitKind::Thread { tid, name, .. } => match name {
                Some(name) => format!("thread {tid} ({name})").into(),
                None => format!("thread {tid}").into(),
            },
            UnitKind::Origin(_) => "the kernel".into(),
            UnitKind::Unknown => "not known".into(),
        }
    }
}
