//! What the workers did in a while.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::analyse::findings::blocked_worker::{Foreign, slept_for_others};
use crate::analyse::findings::case::Case;
use crate::analyse::findings::place::{self, Place};
use crate::analyse::findings::told::{duration, is_share, percent, plural};
use crate::analyse::history::{History, PollIndex, UnitIndex, UnitKind};

/// A poll that takes this part of what counts as a long one is not short.
const NOT_SHORT: u64 = 10;

/// Polls of one while that are told apart by what they were.
const MAX_POLLS: usize = 4_096;

/// Different ones that are told.
const TOP: usize = 3;

/// The polls of each thread, in order, without those that lie in others.
#[derive(Debug)]
pub(super) struct Busy<'h> {
    history: &'h History,
    /// From how many nanoseconds on a poll is not short.
    not_short: u64,
    threads: Vec<(UnitIndex, Vec<Spent>)>,
}

/// A poll as time that a thread spent.
#[derive(Clone, Copy, Debug)]
struct Spent {
    poll: PollIndex,
    begin: u64,
    end: u64,
    /// Nanoseconds of it on the CPU, or asleep because it asked for that.
    net: u64,
    /// `net` of all polls of the thread before it, and of those that were not short.
    before: u64,
    long_before: u64,
}

/// What explains that a task was not polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Polls that are not short.
    Long,
    /// Short ones, but many.
    Many,
    /// Nothing that is known.
    Nothing,
}

/// What one thread did.
#[derive(Clone, Debug)]
struct Thread {
    unit: UnitIndex,
    /// Nanoseconds in polls, without what the scheduler, locks and disks took.
    busy: u64,
    /// Of that in polls that are not short.
    in_long: u64,
    polls: u64,
}

/// A kind of poll: what it was, how often, how long in all.
#[derive(Clone, Debug)]
struct Kind {
    name: String,
    place: Option<Place>,
    count: u64,
    time: u64,
}

/// What all of them did.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    threads: Vec<Thread>,
    /// What was polled for longest.
    top: Vec<Kind>,
    /// The thread that was late, by its place in `threads`.
    by: Option<usize>,
}

impl<'h> Busy<'h> {
    pub(super) fn of(case: &Case<'h>) -> Self {
        let history = case.history;
        let not_short = case.thresholds.long_poll / NOT_SHORT;
        let foreign = Foreign::of(case);
        let mut threads: HashMap<UnitIndex, Vec<Spent>> = HashMap::new();
        for (number, poll) in (0..).zip(&history.polls) {
            let Some(thread) = poll.thread else { continue };
            let task = history[poll.task].task();
            // A worker itself is blocking work, in which everything else lies.
            if task.is_none_or(|task| task.blocking) || !poll.begin_known {
                continue;
            }
            let row = threads.entry(thread).or_default();
            let last = row.last().copied();
            let begin = poll.begin.max(last.map_or(0, |last| last.end));
            // What a thread may do unseen after a poll is not the poll's.
            let end = if foreign.is_root(history, poll) {
                history.known_until(PollIndex(number))
            } else {
                history.end_of(PollIndex(number))
            };
            let end = end.max(begin);
            let others = slept_for_others(history, PollIndex(number));
            let long = |spent: Spent| if spent.net >= not_short { spent.net } else { 0 };
            row.push(Spent {
                poll: PollIndex(number),
                begin,
                end,
                net: (end - begin).saturating_sub(poll.preempted.saturating_add(others)),
                before: last.map_or(0, |last| last.before.saturating_add(last.net)),
                long_before: last.map_or(0, |last| last.long_before.saturating_add(long(last))),
            });
        }
        let mut threads: Vec<_> = threads.into_iter().collect();
        threads.sort_unstable_by_key(|(thread, _)| *thread);
        Self {
            history,
            not_short,
            threads,
        }
    }

    /// What the threads did between two times; `by` is the one that was late.
    pub(super) fn instead(&self, from: u64, to: u64, by: Option<UnitIndex>) -> Ran {
        let mut threads = Vec::new();
        let mut kinds: HashMap<(Option<&str>, String), Kind> = HashMap::new();
        let mut room = MAX_POLLS;
        for (unit, spent) in &self.threads {
            let first = spent.partition_point(|spent| spent.end <= from);
            let last = spent.partition_point(|spent| spent.begin < to).max(first);
            let within = spent.get(first..last).unwrap_or_default();
            threads.push(self.thread(*unit, within, from, to));
            // Where it is known which thread was late, the others did nothing to the point.
            if by.is_some_and(|by| by != *unit) {
                continue;
            }
            let looked = within.len().min(room);
            room -= looked;
            for spent in within.iter().take(looked) {
                let poll = &self.history[spent.poll];
                let task = self.history[poll.task].task();
                let future = task.and_then(|task| task.future.as_deref());
                let place = place::before(self.history, poll);
                let at = place.as_ref().map_or_else(String::new, Place::text);
                let name = name(future, &at);
                let kind = kinds.entry((future, at)).or_insert(Kind {
                    name,
                    place,
                    count: 0,
                    time: 0,
                });
                kind.count += 1;
                kind.time = kind.time.saturating_add(inside(spent, from, to));
            }
        }
        let mut top: Vec<Kind> = kinds.into_values().collect();
        top.sort_by(|one, other| {
            (Reverse(one.time), &one.name).cmp(&(Reverse(other.time), &other.name))
        });
        top.truncate(TOP);
        let by = by.and_then(|by| threads.iter().position(|thread| thread.unit == by));
        Ran { threads, top, by }
    }

    /// What a thread did in a while, given its polls that lie in it at least partly.
    fn thread(&self, unit: UnitIndex, within: &[Spent], from: u64, to: u64) -> Thread {
        let mut thread = Thread {
            unit,
            busy: 0,
            in_long: 0,
            polls: within.len() as u64,
        };
        let is_long = |spent: &Spent| spent.net >= self.not_short;
        let mut edge = |spent: &Spent| {
            let inside = inside(spent, from, to);
            thread.busy += inside;
            if is_long(spent) {
                thread.in_long += inside;
            }
        };
        match within {
            [] => {}
            [only] => edge(only),
            [first, .., last] => {
                edge(first);
                edge(last);
                let long = if is_long(first) { first.net } else { 0 };
                thread.busy += last.before.saturating_sub(first.before + first.net);
                thread.in_long += last.long_before.saturating_sub(first.long_before + long);
            }
        }
        thread
    }
}

/// The part of a poll between two times, without what the scheduler took: in proportion, where only
/// a part of the poll lies there.
fn inside(spent: &Spent, from: u64, to: u64) -> u64 {
    let whole = spent.end - spent.begin;
    let part = spent.end.min(to).saturating_sub(spent.begin.max(from));
    if part >= whole {
        return spent.net;
    }
    let net = u128::from(spent.net) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(net).unwrap_or(part).min(part)
}

fn name(future: Option<&str>, at: &str) -> String {
    let future = future.unwrap_or("a future that is not known");
    if at.is_empty() || at == future {
        future.to_owned()
    } else if at.starts_with(future) {
        at.to_owned()
    } else {
        format!("{future} (in {at})")
    }
}

impl Ran {
    /// What explains a delay of this length: the thread that was late was in polls for this part of
    /// it in percent.
    pub(super) fn verdict(&self, delay: u64, busy: u64) -> Instead {
        // Where it is known which thread polled it, that one was late; otherwise any could have.
        let judged = match self.by {
            Some(by) => self.threads.get(by..=by).unwrap_or_default(),
            None => &self.threads[..],
        };
        let all = |part: fn(&Thread) -> u64| {
            !judged.is_empty()
                && judged
                    .iter()
                    .all(|thread| is_share(part(thread), delay, busy))
        };
        if all(|thread| thread.in_long) {
            Instead::Long
        } else if all(|thread| thread.busy) {
            Instead::Many
        } else {
            Instead::Nothing
        }
    }

    /// The name of what ran for longest.
    pub(super) fn first_name(&self) -> Option<String> {
        self.top.first().map(|kind| kind.name.clone())
    }

    /// Where that stands.
    pub(super) fn first_place(&self) -> Option<&Place> {
        self.top.first()?.place.as_ref()
    }

    /// Sentences on it.
    pub(super) fn tell(&self, history: &History, from: u64, to: u64) -> Vec<String> {
        let length = to.saturating_sub(from);
        let mut told: Vec<String> = Vec::new();
        let mut threads: Vec<&Thread> = self.threads.iter().collect();
        threads.sort_by_key(|thread| Reverse(thread.busy));
        for thread in threads.into_iter().take(MAX_THREADS) {
            told.push(format!(
                "{} was in polls for {} of that ({}{})",
                thread_name(history, thread.unit),
                percent(thread.busy.min(length), length),
                plural(thread.polls, "poll"),
                if thread.in_long > 0 {
                    format!(", {} in such that are not short", duration(thread.in_long))
                } else {
                    String::new()
                }
            ));
        }
        for kind in &self.top {
            told.push(format!(
                "what ran instead: {}, {} for {}",
                kind.name,
                plural(kind.count, "poll"),
                duration(kind.time)
            ));
        }
        if self.top.is_empty() {
            told.push("no task was polled in that time, as far as is known".to_owned());
        }
        told
    }
}

/// Threads that are told.
const MAX_THREADS: usize = 4;

/// A thread in a sentence.
pub(super) fn thread_name(history: &History, unit: UnitIndex) -> String {
    match &history[unit].kind {
        UnitKind::Thread {
            tid,
            name: Some(name),
            ..
        } => format!("thread {name} ({tid})"),
        UnitKind::Thread { tid, .. } => format!("thread {tid}"),
        _ => "a thread that is not known".to_owned(),
    }
}
