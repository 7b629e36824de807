//! What is needed to judge a process, gathered from a live session or from a recording of one: both
//! go the same way, so that they say the same.
//!
//! Bounded: by the limits of the history, and by those of [`Moments`].

use std::sync::Arc;

use super::recorder::Entry;
use crate::analyse::findings::{Case, Looked, Moment, Moments, Thresholds};
use crate::analyse::history::{Builder, History};
use crate::analyse::sampled::{Collector, Sampled};
use crate::export::recording::{Header, Item, SnapshotPart, Window, builder, join};
use crate::rebuild::snapshot::Snapshot;

/// Gathers.
#[derive(Debug)]
pub struct Evidence {
    header: Header,
    builder: Builder,
    /// CLOCK_MONOTONIC, nanoseconds.
    window: (u64, u64),
    moments: Moments,
    /// What looks tell together, where they are all that there is.
    sampled: Option<Collector>,
    events: u64,
    /// A snapshot whose last part has not come.
    part: Option<(u32, Snapshot)>,
}

/// What was gathered.
#[derive(Debug)]
pub struct Gathered {
    /// What the recording says of itself, or would say.
    pub header: Header,
    /// What events told.
    pub history: History,
    /// What memory told.
    pub moments: Moments,
    /// What looks tell together, where they are all that there is.
    pub sampled: Option<Sampled>,
    /// Events.
    pub events: u64,
}

impl Evidence {
    /// Of a session, or of the part of a recording, with this header.
    #[must_use]
    pub fn new(header: Header, window: Window) -> Self {
        let sampled = header.sampling.map(|per_second| {
            let mut collector = Collector::default();
            collector.asked(per_second);
            collector
        });
        Self {
            sampled,
            builder: builder(&header, window),
            window: looks(&header, window),
            header,
            moments: Moments::default(),
            events: 0,
            part: None,
        }
    }

    /// Takes what a live session tells next.
    pub fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Events(events) => {
                self.events += events.len() as u64;
                self.builder.events(events);
            }
            Entry::Lost { count, .. } => self.builder.lost(*count),
            Entry::Dropped { count, .. } => self.builder.dropped(*count),
            Entry::Watching(watching) => self.builder.watching(watching),
            Entry::Statistics { time, .. } => self.builder.reached(*time),
            Entry::Snapshot { snapshot, time, .. } => {
                self.builder.snapshot_part(&snapshot.tasks);
                self.look(*time, Arc::clone(snapshot));
            }
        }
    }

    /// Takes what a recording says next.
    pub fn item(&mut self, item: &Item) {
        join(item, &mut self.builder);
        match item {
            Item::Events(events) => self.events += events.len() as u64,
            Item::Snapshot(part) => self.part(part),
            _ => {}
        }
    }

    fn part(&mut self, part: &SnapshotPart) {
        let begun = self
            .part
            .take()
            .filter(|(number, _)| *number == part.number);
        let (number, mut snapshot) = begun.unwrap_or_else(|| {
            let mut snapshot = Snapshot::empty(part.time);
            snapshot.process = self.header.process.clone();
            (part.number, snapshot)
        });
        // In the first part only.
        if let Some(coverage) = &part.coverage {
            snapshot.coverage = coverage.clone();
            snapshot.runtimes.clone_from(&part.runtimes);
            snapshot.warnings.clone_from(&part.warnings);
            snapshot.threads.clone_from(&part.threads);
            snapshot.stolen = part.stolen;
        }
        snapshot.tasks.extend_from_slice(&part.tasks);
        if part.last {
            self.look(part.time, Arc::new(snapshot));
        } else {
            self.part = Some((number, snapshot));
        }
    }

    fn look(&mut self, time: u64, snapshot: Arc<Snapshot>) {
        if (self.window.0..=self.window.1).contains(&time) {
            if let Some(sampled) = &mut self.sampled {
                sampled.take(&snapshot, time);
            }
            self.moments.take(Moment { time, snapshot });
        }
    }

    /// Takes note that the session went on until this time (CLOCK_MONOTONIC, nanoseconds).
    pub fn reached(&mut self, time: u64) {
        self.builder.reached(time);
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> Gathered {
        Gathered {
            header: self.header,
            history: self.builder.finish(),
            moments: self.moments,
            sampled: self.sampled.map(Collector::finish),
            events: self.events,
        }
    }
}

/// Between which times looks at memory count. The last one before a kept stretch belongs to it:
/// idle tasks stand where they stood.
fn looks(header: &Header, window: Window) -> (u64, u64) {
    let (from, until) = window.bounds(header);
    let from = window.from.map_or_else(|| header.attached(), |_| from);
    (from, until)
}

impl Gathered {
    /// As the analyses take it.
    #[must_use]
    pub fn case(&self, thresholds: Thresholds) -> Case<'_> {
        Case {
            history: &self.history,
            moments: self.moments.kept(),
            thresholds,
        }
    }

    /// What was looked at.
    #[must_use]
    pub fn looked(&self) -> Looked {
        Looked {
            events_watched: self.header.sampling.is_none(),
            events: self.events,
            looks: self.moments.taken(),
            debug_info: self.header.debug_info,
        }
    }
}
