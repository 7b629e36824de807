//! The last seconds of a session, for who judges it while it goes on: a bounded number of events,
//! and of each unit what was known before them. Pure.

use std::collections::VecDeque;

use super::before::Before;
use super::recorder::Entry;
use crate::analyse::history::{Builder, History};
use crate::rebuild::event::Event;
use crate::rebuild::watching::Watching;

/// Nanoseconds of events that are kept.
const SPAN: u64 = 15_000_000_000;
/// Events that are kept at most: some 50 MB.
const MAX_EVENTS: usize = 300_000;

/// The last seconds.
#[derive(Debug)]
pub struct Recent {
    started: u64,
    events: VecDeque<Event>,
    before: Before,
    /// What was watched from when on, each with the number of events before it.
    watching: VecDeque<(u64, Watching)>,
    /// Events that came.
    came: u64,
    /// Losses: until when, how many, and whether the kernel lost them.
    lost: VecDeque<(u64, u64, bool)>,
    latest: u64,
    limit: usize,
}

impl Recent {
    /// Of a session that started at this time (CLOCK_MONOTONIC, nanoseconds).
    #[must_use]
    pub fn new(started: u64) -> Self {
        Self::with_limit(started, MAX_EVENTS)
    }

    fn with_limit(started: u64, limit: usize) -> Self {
        Self {
            started,
            events: VecDeque::new(),
            before: Before::default(),
            watching: VecDeque::new(),
            came: 0,
            lost: VecDeque::new(),
            latest: started,
            limit,
        }
    }

    /// Takes what the session tells next.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Events(events) => {
                for event in events {
                    self.latest = self.latest.max(event.time);
                    self.events.push_back(event.clone());
                    self.came += 1;
                }
            }
            Entry::Lost { count, until, .. } => self.lost.push_back((*until, *count, true)),
            Entry::Dropped { count, until } => self.lost.push_back((*until, *count, false)),
            Entry::Watching(watching) => {
                self.latest = self.latest.max(watching.time);
                self.watching.push_back((self.came, watching.clone()));
            }
            Entry::Statistics { time, .. } | Entry::Snapshot { time, .. } => {
                self.latest = self.latest.max(*time);
            }
        }
        self.forget();
    }

    /// When what is kept begins.
    fn from(&self) -> u64 {
        let by_time = self.latest.saturating_sub(SPAN).max(self.started);
        let is_cut = self.events.len() >= self.limit;
        let first = self.events.front().filter(|_| is_cut);
        first.map_or(by_time, |event| event.time.max(by_time))
    }

    fn forget(&mut self) {
        let from = self.latest.saturating_sub(SPAN);
        while self.events.len() > self.limit
            || self.events.front().is_some_and(|event| event.time < from)
        {
            if let Some(event) = self.events.pop_front() {
                self.before.take(&event);
            }
        }
        let first = self.came - self.events.len() as u64;
        // Of those before the first event, the last one still holds.
        while self.watching.get(1).is_some_and(|(at, _)| *at <= first) {
            self.watching.pop_front();
        }
        while self.lost.front().is_some_and(|(until, ..)| *until < from) {
            self.lost.pop_front();
        }
    }

    /// What happened in the last seconds.
    #[must_use]
    pub fn history(&self) -> History {
        let mut builder = Builder::new(self.started);
        builder.window(self.from(), u64::MAX);
        builder.events(&self.before.events());
        let mut at = self.came - self.events.len() as u64;
        let mut events = self.events.iter();
        let mut up_to = |builder: &mut Builder, end: u64| {
            let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            for event in events.by_ref().take(count) {
                builder.events(std::slice::from_ref(event));
            }
            at = at.max(end);
        };
        for (before, watching) in &self.watching {
            up_to(&mut builder, *before);
            builder.watching(watching);
        }
        up_to(&mut builder, self.came);
        for (_, count, kernel) in &self.lost {
            if *kernel {
                builder.lost(*count);
            } else {
                builder.dropped(*count);
            }
        }
        builder.reached(self.latest);
        builder.finish()
    }

    /// Events that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Units that were forgotten because there were too many.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.before.forgotten()
    }
}

#[cfg(test)]
#[path = "recent_tests.rs"]
mod tests;
