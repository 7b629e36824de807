//! What becomes of records: the tracker's state, the recording, the next table. Does no I/O and
//! reads no clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracer_common::Record;

use super::lines::Counts;
use super::rates::Rate;
use super::reader::{Moment, Reading};
use super::recorder::{Closed, Entry, Progress, Recorder};
use super::table_maker::TableMaker;
use crate::address::Address;
use crate::rebuild::event::{Event, PanicLocation};
use crate::rebuild::nested::NestedPolls;
use crate::rebuild::snapshot::{RuntimeInfo, Snapshot};
use crate::rebuild::suspension::Suspension;
use crate::rebuild::tracker::{Options, PanicDetail, Statistics, TaskKey, Tracker};
use crate::rebuild::watching::Watching;
use crate::show::live::format;
use crate::show::live::model::TreeReading;
use crate::show::live::table::{RecordingStatus, Status, Table};
use crate::stream::{PanicTold, Tree};
use crate::walk::flat::{Decoder, Told};

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

    /// Takes a reading of all tasks. The first one enters at once: an existing task is better known
    /// early. The others wait until the records from before them have come.
    pub fn take_reading(&mut self, mut reading: Reading) {
        for (tid, name) in reading.threads.drain(..) {
            self.tracker.name_thread(tid, name);
        }
        if reading.moment == Moment::Start {
            let suspensions = std::mem::take(&mut reading.suspensions);
            self.suspensions.push((reading.time, suspensions));
            self.apply_reading(reading);
        } else {
            self.waiting.push(reading);
        }
    }

    /// Where tasks stand, from memory that was read from `time` on; what happened before must have
    /// been applied.
    fn apply_suspensions(&mut self, suspensions: Vec<(TaskKey, Told)>, time: u64) {
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let mut known: HashMap<u64, Arc<Suspension>> = HashMap::new();
        let mut events = Vec::new();
        for (key, told) in suspensions {
            let suspension = known
                .entry(told.hash)
                .or_insert_with(|| Arc::new(decoder.decode(&told.words)));
            self.tracker
                .suspended(&key, suspension, told.marks, time, &mut events);
        }
        self.record(events);
    }

    fn apply_reading(&mut self, reading: Reading) {
        let Reading {
            time,
            snapshot,
            moment,
            suspensions,
            ..
        } = reading;
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(reason) => {
                if moment == Moment::Start {
                    let text = format!("tasks from before the attach are not known: {reason}");
                    self.notice = Some(text.clone());
                    self.unread = Some(text);
                }
                return;
            }
        };
        for (resource, fd) in resources(&snapshot) {
            self.tracker.resource(resource, fd);
        }
        let mut events = Vec::new();
        if moment == Moment::Start {
            self.tracker.seed(&snapshot, time, &mut events);
        } else {
            self.tracker.reconcile(&snapshot, time, &mut events);
        }
        self.record(events);
        self.apply_suspensions(suspensions, time);
        self.maker.take_snapshot(&snapshot, time, &self.tracker);
        self.listed = snapshot.tasks.len();
        self.runtimes = runtimes_in_words(&snapshot.runtimes);
        self.notice = notice_of(&snapshot).or_else(|| self.about.notice.clone());
        for recorder in [&mut self.recorder, &mut self.judging]
            .into_iter()
            .flatten()
        {
            recorder.entry(Entry::Snapshot {
                snapshot: Arc::clone(&snapshot),
                time,
                moment,
            });
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
            if reading.time <= released {
                self.apply_reading(reading);
            } else {
                self.waiting.push(reading);
            }
        }
    }

    /// Takes what was read of the tasks on the screen.
    pub fn take_readings(&mut self, mut readings: HashMap<TaskKey, TreeReading>) {
        // Tables are made more often than the screen is read.
        if !readings.is_empty() {
            self.on_screen = readings.keys().copied().collect();
        }
        for reading in readings.values_mut() {
            if let Some(told) = reading.told.take() {
                self.suspensions
                    .push((reading.at, vec![(reading.key, told)]));
            }
        }
        self.maker.take_readings(readings, &self.tracker);
    }

    /// Takes the estimate of what the session costs the target, as a share of one CPU.
    pub fn take_overhead(&mut self, share: f64) {
        self.overhead = Some(share);
    }

    /// Makes the table of this moment (CLOCK_MONOTONIC, nanoseconds).
    pub fn table(&mut self, now: u64) -> Table {
        let statistics = self.tracker.statistics();
        let elapsed = Duration::from_nanos(now.saturating_sub(self.tabled_at));
        self.tabled_at = now;
        self.rate.update(statistics.records, elapsed);
        let progress = self.recorder.as_ref().map(Recorder::progress);
        let status = Status {
            program: self.about.program.clone(),
            pid: self.about.pid,
            runtimes: self.runtimes.clone(),
            elapsed: Duration::from_nanos(now.saturating_sub(self.started)),
            events: statistics.records,
            events_per_second: self.rate.per_second(),
            lost: self.lost.iter().sum(),
            overhead: self.overhead,
            recording: progress.as_ref().map(|progress| RecordingStatus {
                path: self.about.recording.clone().unwrap_or_default(),
                bytes: progress.bytes,
                dropped: progress.dropped,
            }),
            notice: match progress {
                Some(Progress {
                    failure: Some(failure),
                    ..
                }) => Some(format!("the recording stopped: {failure}")),
                Some(progress) if progress.full => {
                    let size = format::bytes(progress.bytes);
                    Some(format!("the recording ended at its limit ({size})"))
                }
                _ => self.watched.clone().or_else(|| self.notice.clone()),
            },
            sampling: None,
        };
        let known = self.known_until(now);
        let mut table = self.maker.make(&self.tracker, &self.nested, status, known);
        let shown = self.on_screen.iter().filter_map(|key| {
            let standing = self.tracker.task(key)?.standing();
            (!standing.is_empty()).then_some((*key, standing))
        });
        table.standing = shown.collect();
        if statistics.forgotten > 0 {
            table.rows_left_out += self.listed.saturating_sub(statistics.live);
        }
        table
    }

    /// Until when is known what goes on at `now`: records come some time after they were made, and what
    /// is watched less from some moment on shows after that.
    fn known_until(&self, now: u64) -> u64 {
        let change = self.changes.front().map_or(now, |change| change.time);
        self.released.min(change).min(now)
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

    /// The numbers of a line.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let statistics = self.tracker.statistics();
        Counts {
            tasks: statistics.live as u64,
            polls: statistics.polls,
            wakes: statistics.wakes,
            lost: self.lost.iter().sum(),
        }
    }

    /// Live tasks, and those of them that were seen polled.
    #[must_use]
    pub fn tasks_seen(&self) -> (u64, u64) {
        let live = self.tracker.tasks().filter(|task| !task.is_over());
        live.fold((0, 0), |(all, seen), task| {
            (all + 1, seen + u64::from(task.polls > 0))
        })
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

/// The file descriptors of the I/O resources that tasks wait for.
fn resources(snapshot: &Snapshot) -> Vec<(Address, i32)> {
    let mut found = Vec::new();
    for tree in snapshot.tasks.iter().filter_map(|task| task.tree.as_ref()) {
        tree.visit(&mut |node| {
            let Some(wait) = &node.waits_for else { return };
            let record = wait.text("record");
            let resource = record
                .and_then(|text| text.strip_prefix("0x"))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let fd = wait.details.get("fd").and_then(Value::as_i64);
            if let (Some(resource), Some(Ok(fd))) = (resource, fd.map(i32::try_from)) {
                found.push((Address(resource), fd));
            }
        });
    }
    found
}

/// `tokio multi_thread, 2 tokio current_thread`.
pub(super) fn runtimes_in_words(runtimes: &[RuntimeInfo]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for runtime in runtimes {
        let name = format!("{} {}", runtime.runtime, runtime.scheduler);
        match kinds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((name, 1)),
        }
    }
    let words: Vec<String> = kinds
        .into_iter()
        .map(|(name, count)| match count {
            1 => name,
            _ => format!("{count} {name}"),
        })
        .collect();
    words.join(", ")
}

/// What of a snapshot the user should know while looking at the view: that tasks are missing.
pub(super) fn notice_of(snapshot: &Snapshot) -> Option<String> {
    let coverage = &snapshot.coverage;
    let (listed, counted) = (coverage.tasks_listed, coverage.tasks_counted);
    if listed < counted {
        return Some(format!("{listed} of {counted} tasks could be listed"));
    }
    snapshot
        .runtimes
        .is_empty()
        .then(|| match snapshot.warnings.first() {
            Some(warning) => format!("no runtime found: {warning}"),
            None => "no runtime found yet".to_owned(),
        })
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
