//! What becomes of records: the tracker's state, the recording, the next table. Does no I/O and
//! reads no clock.

mod readings;
mod shown;

use std::collections::VecDeque;
use std::sync::Arc;

use tracer_common::Record;

use super::rates::Rate;
use super::reader::Reading;
use super::recorder::{Closed, Entry, Recorder};
use super::table_maker::TableMaker;
use crate::rebuild::event::{Event, PanicLocation};
use crate::rebuild::nested::NestedPolls;
use crate::rebuild::tracker::{Options, PanicDetail, Statistics, TaskKey, Tracker};
use crate::rebuild::watching::Watching;
use crate::stream::{PanicTold, Tree};
use crate::walk::flat::{Decoder, Told};

/// Tasks that are looked after at most, because they may have ended unseen.
const MOST_MISSED: usize = 100_000;

/// What the view says of the target, and of what the session itself knows.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Name of the program.
    pub program: String,
    /// Its process id.
    pub pid: i32,
    /// Path of the recording as the user gave it.
    pub recording: Option<String>,
    /// The one thing the user should know, before memory tells more.
    pub notice: Option<String>,
}

/// Follows the records of one session.
pub struct Follower {
    about: About,
    tracker: Tracker,
    decoder: Option<Decoder>,
    maker: TableMaker,
    recorder: Option<Recorder>,
    judging: Option<Recorder>,
    nested: NestedPolls,
    started: u64,
    lost: Vec<u64>,
    rate: Rate,
    tabled_at: u64,
    runtimes: String,
    /// Tasks in the last snapshot.
    listed: usize,
    notice: Option<String>,
    unread: Option<String>,
    waiting: Vec<Reading>,
    /// Tasks whose trees are shown.
    on_screen: Vec<TaskKey>,
    /// Of the first reading, whose tasks are made known at once.
    suspensions: Vec<(u64, Vec<(TaskKey, Told)>)>,
    overhead: Option<f64>,
    /// What is watched from some moment on whose records have not all come.
    changes: VecDeque<Watching>,
    watched: Option<String>,
    /// When counts are to be recorded, once everything from before is.
    counting: VecDeque<u64>,
    /// All records from before this time have been taken.
    released: u64,
}

impl Follower {
    /// Starts with what is known at the attach.
    #[must_use]
    pub fn new(
        options: Options,
        about: About,
        decoder: Option<Decoder>,
        recorder: Option<Recorder>,
    ) -> Self {
        let started = options.started;
        Self {
            notice: about.notice.clone(),
            about,
            tracker: Tracker::new(options),
            decoder,
            maker: TableMaker::default(),
            recorder,
            judging: None,
            nested: NestedPolls::default(),
            started,
            lost: Vec::new(),
            rate: Rate::starting_at(0),
            tabled_at: started,
            runtimes: String::new(),
            listed: 0,
            unread: None,
            waiting: Vec::new(),
            on_screen: Vec::new(),
            suspensions: Vec::new(),
            overhead: None,
            changes: VecDeque::new(),
            watched: None,
            counting: VecDeque::new(),
            released: started,
        }
    }

    /// Whoever judges the session while it goes on is told the same as the recording.
    #[must_use]
    pub fn judged_by(mut self, judging: Option<Recorder>) -> Self {
        self.judging = judging;
        self
    }

    /// Takes the trees that came with the next batch.
    pub fn take_trees(&mut self, trees: Vec<Tree>) {
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        for tree in trees {
            let suspension = Arc::new(decoder.decode(&tree.words));
            self.tracker.tree(tree.hash, suspension);
        }
    }

    /// The process that is followed.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.about.pid
    }

    /// Takes what the records of panics of the next batch say.
    pub fn take_panics(&mut self, panics: Vec<PanicTold>) {
        for panic in panics {
            let location = panic.site.and_then(|site| {
                Some(Arc::new(PanicLocation {
                    file: site.file?,
                    line: site.line,
                    column: site.column,
                }))
            });
            let detail = PanicDetail {
                location,
                message: panic.message,
            };
            self.tracker.panic_told(panic.tid, panic.time, detail);
        }
    }

    /// Takes a batch: what was lost by CPU since the attach, read at `until` (CLOCK_MONOTONIC,
    /// nanoseconds) and before the records were.
    pub fn take_batch(&mut self, records: &[Record], losses: &[u64], until: u64) {
        self.take_losses(losses, until);
        let mut events = Vec::with_capacity(records.len() * 2);
        for record in records {
            while let Some(change) = self.change_until(record.time) {
                self.record(std::mem::take(&mut events));
                self.apply_watching(&change);
            }
            self.tracker.apply(record, &mut events);
        }
        self.record(events);
    }

    /// Takes note of what is watched from some moment on; `words` is that for people. To be called
    /// in the order of time.
    pub fn take_watching(&mut self, change: Watching, words: Option<String>) {
        self.changes.push_back(change);
        self.watched = words;
    }

    /// The next change of what is watched, if it was at or before this time.
    fn change_until(&mut self, time: u64) -> Option<Watching> {
        let is_due = self.changes.front()?.time <= time;
        is_due.then(|| self.changes.pop_front()).flatten()
    }

    fn apply_watching(&mut self, change: &Watching) {
        let mut events = Vec::new();
        self.tracker.watching(change, &mut events);
        self.record(events);
        for recorder in [&mut self.recorder, &mut self.judging]
            .into_iter()
            .flatten()
        {
            recorder.entry(Entry::Watching(change.clone()));
        }
    }

    fn take_losses(&mut self, losses: &[u64], until: u64) {
        self.lost.resize(self.lost.len().max(losses.len()), 0);
        for (cpu, (known, now)) in (0u32..).zip(self.lost.iter_mut().zip(losses)) {
            let more = now.saturating_sub(*known);
            if more == 0 {
                continue;
            }
            *known = *now;
            self.tracker.lost(cpu, more, until);
            for recorder in [&mut self.recorder, &mut self.judging]
                .into_iter()
                .flatten()
            {
                recorder.entry(Entry::Lost {
                    cpu,
                    count: more,
                    until,
                });
            }
        }
    }

    fn record(&mut self, events: Vec<Event>) {
        for event in &events {
            self.nested.take(event);
        }
        if let Some(judging) = &mut self.judging {
            judging.events(events.clone());
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.events(events);
        }
    }

    /// All records from before `released` have been taken (CLOCK_MONOTONIC, nanoseconds): applies what
    /// has waited for them.
    pub fn settle(&mut self, released: u64) {
        self.released = self.released.max(released);
        while let Some(time) = self.counting.front().copied()
            && time <= released
        {
            self.counting.pop_front();
            while let Some(change) = self.change_until(time) {
                self.apply_watching(&change);
            }
            self.count(time);
        }
        while let Some(change) = self.change_until(released) {
            self.apply_watching(&change);
        }
        for (time, suspensions) in std::mem::take(&mut self.suspensions) {
            if time <= released {
                self.apply_suspensions(suspensions, time);
            } else {
                self.suspensions.push((time, suspensions));
            }
        }
        for reading in std::mem::take(&mut self.waiting) {
            // What happened while it was read is older than what it tells of.
            let end = reading
                .time
                .saturating_add(u64::try_from(reading.took.as_nanos()).unwrap_or(u64::MAX));
            if end <= released {
                self.apply_reading(reading);
            } else {
                self.waiting.push(reading);
            }
        }
    }

    /// Live tasks that may have ended unseen.
    #[must_use]
    pub fn missed(&self, now: u64) -> Vec<TaskKey> {
        self.tracker.missed(now, MOST_MISSED)
    }

    /// Takes the estimate of what the session costs the target, as a share of one CPU.
    pub fn take_overhead(&mut self, share: f64) {
        self.overhead = Some(share);
    }

    /// Puts the counts of this moment (CLOCK_MONOTONIC, nanoseconds) into the recording, once everything
    /// from before it is there: nobody is told of a time of which events are still to come.
    pub fn record_statistics(&mut self, now: u64) {
        self.counting.push_back(now);
    }

    fn count(&mut self, time: u64) {
        for recorder in [&mut self.recorder, &mut self.judging]
            .into_iter()
            .flatten()
        {
            let counts = self.tracker.statistics();
            recorder.entry(Entry::Statistics { counts, time });
        }
    }

    /// All counts.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.tracker.statistics()
    }

    /// Losses by CPU.
    #[must_use]
    pub fn losses(&self) -> &[u64] {
        &self.lost
    }

    /// Nested polls.
    #[must_use]
    pub const fn nested(&self) -> &NestedPolls {
        &self.nested
    }

    /// Whether the recording came to its limit.
    #[must_use]
    pub fn recording_is_full(&self) -> bool {
        self.recorder.as_ref().is_some_and(Recorder::is_full)
    }

    /// Lets the recording's writer finish: nothing is recorded after this.
    pub fn end_recording(&mut self) -> Option<Closed> {
        self.judging = None;
        self.recorder.take().map(Recorder::close)
    }

    /// Why tasks from before the attach are not known, where they are not.
    #[must_use]
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
