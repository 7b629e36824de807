//! Requests and awaits that take longer than the user allows, and panics, as they happen. Pure.
//!
//! In: events in order. Out: triggers. Only instances whose beginning was seen count, each once:
//! when a poll begins and its task still stands in it, when memory tells the same of an idle task,
//! or when it is seen to be over. Bounded: by the tasks that live, and by [`MAX_TASKS`].

mod node;
mod panics;
mod stands;
mod task;

use std::collections::HashMap;
use std::sync::Arc;

use self::node::{Limits, due};
use self::task::{Task, is_watched};
use super::trigger::Trigger;
use crate::analyse::requests::Patterns;
use crate::rebuild::event::{Event, EventKind, PanicLocation, TaskUnit, Unit, UnitId};
use crate::rebuild::watching;

/// Tasks that are followed at most: some 100 MB.
const MAX_TASKS: usize = 300_000;
/// What follows on a trigger belongs to it (nanoseconds): how the poll ended, what the panic says.
const SETTLE: u64 = 200_000_000;

/// What is too slow.
#[derive(Clone, Debug)]
pub struct Slow {
    /// The async functions that it is said of; all of them, or what the recording has as its
    /// requests, without any.
    pub which: Patterns,
    /// Nanoseconds that are still fine.
    pub limit: u64,
}

/// What to watch for.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    /// Requests.
    pub requests: Vec<Slow>,
    /// Awaits.
    pub awaits: Vec<Slow>,
    /// Panics.
    pub panics: bool,
    /// The functions whose instances are requests, as the user named them.
    pub request_names: Patterns,
}

impl Watching {
    /// Whether requests are told apart by what the last seconds showed.
    #[must_use]
    pub fn learns_requests(&self) -> bool {
        self.request_names.is_empty() && self.requests.iter().any(|slow| slow.which.is_empty())
    }

    const fn follows_awaits(&self) -> bool {
        !self.requests.is_empty() || !self.awaits.is_empty()
    }
}

/// Watches the stream.
#[derive(Debug)]
pub struct Watcher {
    watched: Watching,
    tasks: HashMap<UnitId, Task>,
    /// What is too slow, by the path of the future.
    limits: HashMap<Arc<str>, Limits>,
    /// Paths of requests, as they were learned.
    requests: Vec<Arc<str>>,
    panics: Vec<(UnitId, u64, Option<Arc<PanicLocation>>)>,
    /// Tasks that were not followed.
    beyond: u64,
    /// What is watched, as the budget lets it.
    told: watching::Watching,
}

impl Watcher {
    /// Watches for this.
    #[must_use]
    pub fn new(watched: Watching) -> Self {
        Self {
            watched,
            tasks: HashMap::new(),
            limits: HashMap::new(),
            requests: Vec::new(),
            panics: Vec::new(),
            beyond: 0,
            told: watching::Watching::everything(0),
        }
    }

    /// Takes note of whose polls are watched from now on.
    pub fn watching(&mut self, told: &watching::Watching) {
        let time = told.time;
        self.told = told.clone();
        for task in self.tasks.values_mut() {
            let watched = is_watched(told, &task.what);
            let ended = match (watched, task.pause) {
                (false, None) => {
                    task.pause = Some(time);
                    None
                }
                (true, Some(_)) => task.pause.take(),
                _ => continue,
            };
            // What memory tells in the pause is of one moment of it.
            task.missed = task.polled;
            if let Some(pause) = ended {
                for node in task.nodes.iter_mut().skip(1) {
                    let length = time.saturating_sub(pause.max(node.since));
                    node.unwatched = node.unwatched.saturating_add(length);
                }
                task.due = due(&task.nodes);
            }
            task.polled &= !watched;
            task.after_pause = true;
        }
    }

    /// Takes events, in order.
    pub fn events(&mut self, events: &[Event], found: &mut Vec<Trigger>) {
        if !self.watched.panics && !self.watched.follows_awaits() {
            return;
        }
        for event in events {
            self.event(event, found);
            if self.watched.panics {
                self.panic(event, found);
            }
        }
    }

    /// Which functions' instances are requests, by what the last seconds showed.
    pub fn requests_are(&mut self, paths: Vec<Arc<str>>) {
        if paths == self.requests {
            return;
        }
        self.requests = paths;
        self.limits.clear();
        let mut tasks = std::mem::take(&mut self.tasks);
        for task in tasks.values_mut() {
            for node in &mut task.nodes {
                node.limits.request = self.limits_of(&node.state.future).request;
            }
            task.due = due(&task.nodes);
        }
        self.tasks = tasks;
    }

    /// Looks at what waits while nothing happens, at `now` (CLOCK_MONOTONIC, nanoseconds).
    pub fn look(&mut self, now: u64, found: &mut Vec<Trigger>) {
        for task in self.tasks.values_mut() {
            let seen = task.watched_until(now);
            if task.idle && task.due <= seen {
                task.tell_slow(seen, found);
            }
        }
        self.look_at_panics(now, found);
    }

    fn event(&mut self, event: &Event, found: &mut Vec<Trigger>) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::Described(what) => {
                if let Unit::Task(task) = &**what {
                    self.described(unit, what, task, event.time);
                }
            }
            EventKind::AwaitChanged { suspension, marks } if self.watched.follows_awaits() => {
                if let Some(mut task) = self.tasks.remove(&unit) {
                    self.stands(&mut task, suspension, *marks, event.time, found);
                    let seen = task.watched_until(event.time);
                    if task.due <= seen {
                        task.tell_slow(seen, found);
                    }
                    self.tasks.insert(unit, task);
                }
            }
            EventKind::PollBegin { .. } => {
                if let Some(task) = self.tasks.get_mut(&unit) {
                    if task.due <= event.time {
                        task.tell_slow(event.time, found);
                    }
                    task.poll = Some((event.time, None));
                    (task.idle, task.polled, task.after_pause) = (false, true, false);
                }
            }
            EventKind::PollEnd { outcome, .. } => {
                if let Some(task) = self.tasks.get_mut(&unit)
                    && let Some((_, end)) = &mut task.poll
                {
                    *end = Some(event.time);
                    if outcome.is_over() {
                        self.over(unit, event.time, found);
                    } else {
                        task.renew(event.time);
                    }
                }
            }
            EventKind::Finished { .. } => self.over(unit, event.time, found),
            EventKind::Gap { .. } => {
                // What happened meanwhile is not known: nothing that goes on is believed to.
                if let Some(task) = self.tasks.get_mut(&unit) {
                    task.nodes.clear();
                    (task.due, task.idle, task.poll) = (u64::MAX, false, None);
                    task.existing = true;
                }
            }
            _ => {}
        }
    }

    fn described(&mut self, unit: UnitId, what: &Arc<Unit>, task: &TaskUnit, time: u64) {
        if let Some(known) = self.tasks.get_mut(&unit) {
            known.what = Arc::clone(what);
        } else if self.tasks.len() >= MAX_TASKS {
            self.beyond += 1;
        } else {
            let task = Task {
                what: Arc::clone(what),
                first: time,
                existing: task.existing,
                nodes: Vec::new(),
                poll: None,
                idle: false,
                due: u64::MAX,
                polled: false,
                missed: false,
                after_pause: false,
                pause: (!is_watched(&self.told, what)).then_some(time),
            };
            self.tasks.insert(unit, task);
        }
    }

    fn over(&mut self, unit: UnitId, time: u64, found: &mut Vec<Trigger>) {
        let Some(mut task) = self.tasks.remove(&unit) else {
            return;
        };
        // Inside the task's last poll it is not known what ended when: only its own future.
        task.nodes.truncate(1);
        task.due = due(&task.nodes);
        if task.due <= time {
            task.tell_slow(time, found);
        }
    }

    fn limits_of(&mut self, path: &Arc<str>) -> Limits {
        if let Some(known) = self.limits.get(path) {
            return *known;
        }
        let watched = &self.watched;
        let least = |slow: &[Slow], all: bool| {
            let of_it = slow.iter().filter(|slow| {
                if slow.which.is_empty() {
                    all
                } else {
                    slow.which.names(path)
                }
            });
            of_it.map(|slow| slow.limit).min().unwrap_or(u64::MAX)
        };
        let is_request = watched.request_names.names(path) || self.requests.contains(path);
        let limits = Limits {
            request: least(&watched.requests, is_request),
            wait: least(&watched.awaits, true),
        };
        if self.limits.len() < MAX_TASKS {
            self.limits.insert(Arc::clone(path), limits);
        }
        limits
    }
}

#[cfg(test)]
#[path = "slow_tests.rs"]
mod tests;
