//! Requests and awaits that take longer than the user allows, and panics, as they happen. Pure.
//!
//! In: events in order. Out: triggers. Only instances whose beginning was seen count, each once:
//! when a poll begins and its task still stands in it, when memory tells the same of an idle task,
//! or when it is seen to be over. Bounded: by the tasks that live, and by [`MAX_TASKS`].

mod node;

use std::collections::HashMap;
use std::sync::Arc;

use self::node::{
    Limits, Node, due, is_body, is_same, mark_fleeting, moved_on, name, parent_of, proved, trigger,
};
use super::trigger::{Cause, Trigger};
use crate::analyse::requests::Patterns;
use crate::rebuild::event::{Event, EventKind, PanicLocation, TaskUnit, Unit, UnitId};
use crate::rebuild::suspension::{Marks, Place, Suspension};
use crate::rebuild::tree::NodeState;
use crate::rebuild::watching;

/// Tasks that are followed at most: some 100 MB.
const MAX_TASKS: usize = 300_000;
/// Futures of one task that are followed.
const MAX_NODES: usize = 256;
/// Panics on their way.
const MAX_PANICS: usize = 64;
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

#[derive(Debug)]
struct Task {
    what: Arc<Unit>,
    /// First sight, which is the spawn if that was seen.
    first: u64,
    existing: bool,
    nodes: Vec<Node>,
    /// The last poll: begin and end.
    poll: Option<(u64, Option<u64>)>,
    /// It is known to stand there, and no poll has begun since.
    idle: bool,
    /// When the first of its futures will be too slow.
    due: u64,
    /// It was polled in the stretch that is watched, or was watched last. If it was not, it stands
    /// where it stood before, for all that is seen; pauses count for nothing even so.
    polled: bool,
    /// Polls of it may be missing since it was told where it stands.
    missed: bool,
    /// The last poll was before a pause: what is there for the first time began in that.
    after_pause: bool,
    /// Since when its polls are not watched, to keep a budget.
    pause: Option<u64>,
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
        let panics = std::mem::take(&mut self.panics);
        for (unit, time, location) in panics {
            if time.saturating_add(SETTLE) <= now {
                found.push(self.panicked(unit, time, location.as_deref(), None));
            } else {
                self.panics.push((unit, time, location));
            }
        }
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

    /// The task has stood at this suspension since its last poll ended.
    fn stands(
        &mut self,
        task: &mut Task,
        suspension: &Suspension,
        marks: Marks,
        time: u64,
        found: &mut Vec<Trigger>,
    ) {
        let before = std::mem::take(&mut task.nodes);
        let missed = std::mem::take(&mut task.missed);
        let proved = proved(&before, suspension, marks);
        let (begin, end, polled) = match task.poll {
            Some((begin, Some(end))) => (begin, end, true),
            // An end that was not told is before the next begin.
            Some((begin, None)) => (begin, time, true),
            None => (time, time, false),
        };
        // What is there for the first time began in the last poll, if all before that is known; or in
        // the pause since then, and counts from now.
        let new_is_sure = if task.after_pause {
            !missed && !before.is_empty()
        } else {
            polled && !missed && (!before.is_empty() || !task.existing)
        };
        let mut stayed = vec![false; before.len()];
        let mut places: HashMap<(Place, &str), usize> = HashMap::new();
        for (at, node) in before.iter().enumerate().rev() {
            places.insert((node.place, &*node.state.future), at);
        }
        let mut nodes: Vec<Node> = Vec::with_capacity(suspension.futures.len().min(MAX_NODES));
        // The way from the task's future: index among the nodes, and among those before where it is
        // the same one.
        let mut way: Vec<(usize, Option<usize>)> = Vec::new();
        let mut skip = None;
        for future in suspension.futures.iter().take(MAX_NODES) {
            if skip.is_some_and(|depth| future.depth > depth) {
                continue;
            }
            skip = None;
            if matches!(
                future.state.state,
                NodeState::Returned | NodeState::Panicked
            ) {
                skip = Some(future.depth);
                continue;
            }
            while way
                .last()
                .is_some_and(|(at, _)| nodes[*at].depth >= future.depth)
            {
                way.pop();
            }
            let mark = marks.of(future);
            let parent = way.last().copied();
            let same = match parent {
                None => (!before.is_empty()).then_some(0),
                Some((_, None)) => None,
                Some((now, Some(then))) => {
                    let at = places.get(&(future.place, &*future.state.future)).copied();
                    at.filter(|at| {
                        (proved[*at] || !missed)
                            && is_same(&before, *at, then, mark)
                            && !moved_on(&before[then].state, &nodes[now].state)
                    })
                }
            };
            way.push((nodes.len(), same));
            let state = Arc::clone(&future.state);
            let node = if let Some(at) = same {
                stayed[at] = true;
                Node {
                    depth: future.depth,
                    mark: mark.or(before[at].mark),
                    state,
                    unwatched: if proved[at] { 0 } else { before[at].unwatched },
                    ..before[at].clone()
                }
            } else {
                let is_root = parent.is_none();
                let since = match (is_root, is_body(&state)) {
                    (true, _) => task.first,
                    _ if task.after_pause => time,
                    (false, true) => begin,
                    (false, false) => end,
                };
                let mut limits = self.limits_of(&state.future);
                if is_root {
                    // Its life is no await.
                    limits.wait = u64::MAX;
                }
                Node {
                    depth: future.depth,
                    place: future.place,
                    mark,
                    state,
                    since,
                    unwatched: 0,
                    sure: if is_root { !task.existing } else { new_is_sure },
                    limits,
                    told: (false, false),
                    fleeting: false,
                }
            };
            nodes.push(node);
        }
        mark_fleeting(&mut nodes);
        // A tree with a part missing says nothing of what is not in it.
        if suspension.missing.is_none() {
            for (at, node) in before.iter().enumerate().skip(1).rev() {
                let ended = if is_body(&node.state) { end } else { begin };
                if !stayed[at] && node.due() <= ended {
                    let parent = parent_of(&before, at);
                    node.clone().tell(&task.what, parent, ended, found);
                }
            }
        }
        task.nodes = nodes;
        task.due = due(&task.nodes);
        task.idle = true;
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

    fn panic(&mut self, event: &Event, found: &mut Vec<Trigger>) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::PanicBegan { location, .. } if self.panics.len() < MAX_PANICS => {
                self.panics.push((unit, event.time, location.clone()));
            }
            EventKind::PanicRaised { message } => {
                let began = self.panics.iter().rposition(|(by, ..)| *by == unit);
                let began = began.map(|at| self.panics.remove(at));
                let (time, location) =
                    began.map_or((event.time, None), |(_, time, location)| (time, location));
                found.push(self.panicked(unit, time, location.as_deref(), message.as_deref()));
            }
            _ => {}
        }
    }

    fn panicked(
        &self,
        unit: UnitId,
        time: u64,
        location: Option<&PanicLocation>,
        message: Option<&str>,
    ) -> Trigger {
        let mut why = match self.tasks.get(&unit) {
            Some(task) => format!("{} panicked", name(&task.what)),
            None => "panic".to_owned(),
        };
        if let Some(at) = location {
            why.push_str(&format!(" at {}:{}:{}", at.file, at.line, at.column));
        }
        if let Some(message) = message {
            why.push_str(": ");
            why.push_str(message);
        }
        trigger(Cause::Panic, &why, time)
    }
}

/// Whether polls of a unit, if it is a task, are watched.
fn is_watched(told: &watching::Watching, unit: &Unit) -> bool {
    let future = match unit {
        Unit::Task(task) => task.future.as_ref(),
        _ => None,
    };
    told.polls && !told.leaves_out(future)
}

impl Task {
    /// This time, or when the pause began that goes on: what is later counts for nothing.
    fn watched_until(&self, time: u64) -> u64 {
        self.pause.map_or(time, |pause| time.min(pause))
    }

    /// Tells what has taken too long by `now`.
    fn tell_slow(&mut self, now: u64, found: &mut Vec<Trigger>) {
        // The innermost first: what holds it has waited as long.
        let mut awaits = false;
        for at in (0..self.nodes.len()).rev() {
            if self.nodes[at].due() > now {
                continue;
            }
            let parent = parent_of(&self.nodes, at).cloned();
            let node = &mut self.nodes[at];
            node.told.1 |= awaits && node.waited_too_long(now);
            awaits |= node.tell(&self.what, parent.as_ref(), now, found);
        }
        self.due = due(&self.nodes);
    }

    /// A poll ended at this time.
    fn renew(&mut self, time: u64) {
        let mut changed = false;
        for node in self.nodes.iter_mut().filter(|node| node.fleeting) {
            node.since = time;
            node.unwatched = 0;
            node.sure = true;
            node.told.1 = false;
            changed = true;
        }
        if changed {
            self.due = due(&self.nodes);
        }
    }
}

#[cfg(test)]
#[path = "slow_tests.rs"]
mod tests;
