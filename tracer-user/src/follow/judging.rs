//! Judges a process while it is watched: every few seconds, on a thread of its own, with rest in
//! proportion to what it costs. Nothing waits for it; what does not fit into its queue is dropped,
//! counted, and told.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recent::Recent;
use super::recorder::{Entry, Sink};
use crate::analyse::findings::{self, Case, Looked, Moment, Thresholds, Watch};
use crate::show::live::exchange::Exchange;
use crate::show::live::found::Found;

/// Between two judgements, at least.
const PERIOD: Duration = Duration::from_secs(3);
/// It rests this many times as long as the last judgement took.
const REST: u32 = 9;
/// A finding that has not been seen for this long is over (nanoseconds): longer than looks at memory
/// lie apart, so that one torn look closes nothing.
const PATIENCE: u64 = 25_000_000_000;
/// Looks at memory that are kept, and of how many tasks all but two.
const LOOKS: usize = 4;
const MANY_TASKS: usize = 50_000;
/// Nice value of the thread: it may be late, and must not take the CPU from the program.
const NICE: i32 = 10;

/// Judges.
#[derive(Debug)]
pub struct Judging {
    recent: Recent,
    moments: Vec<Moment>,
    looks: u64,
    events_watched: bool,
    watch: Watch,
    thresholds: Thresholds,
    exchange: Arc<Exchange>,
    next: Instant,
    is_nice: bool,
}

impl Judging {
    /// Of a session that started at this time (CLOCK_MONOTONIC, nanoseconds); what is found is put
    /// into the exchange.
    #[must_use]
    pub fn new(started: u64, exchange: Arc<Exchange>) -> Self {
        Self {
            recent: Recent::new(started),
            moments: Vec::new(),
            looks: 0,
            events_watched: true,
            watch: Watch::new(PATIENCE),
            thresholds: Thresholds::default(),
            exchange,
            next: Instant::now() + PERIOD,
            is_nice: false,
        }
    }

    /// With other thresholds than the usual ones.
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Of a session that looks at memory alone.
    #[must_use]
    pub const fn of_memory(mut self) -> Self {
        self.events_watched = false;
        self
    }

    fn look(&mut self, moment: Moment) {
        self.looks += 1;
        let many = moment.snapshot.tasks.len() > MANY_TASKS;
        self.moments.push(moment);
        let keep = if many { 2 } else { LOOKS };
        let more = self.moments.len().saturating_sub(keep);
        self.moments.drain(..more);
    }

    fn judge(&mut self) {
        let history = self.recent.history();
        let case = Case {
            history: &history,
            moments: &self.moments,
            thresholds: self.thresholds,
        };
        let found = findings::find(&case);
        let looked = Looked {
            events_watched: self.events_watched,
            events: self.recent.len() as u64,
            looks: self.looks,
            debug_info: None,
        };
        let coverage = findings::coverage(&case, looked, &found);
        let now = case.end();
        self.watch.judged(found, now);
        self.exchange.put_found(Arc::new(Found {
            episodes: self.watch.episodes(),
            beyond: self.watch.beyond(),
            coverage,
            span: history.span.clone(),
            now,
        }));
    }
}

impl Sink for Judging {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.recent.take(entry);
        if let Entry::Snapshot { snapshot, time, .. } = entry {
            self.look(Moment {
                time: *time,
                snapshot: Arc::clone(snapshot),
            });
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.is_nice {
            self.is_nice = true;
            // Only fails where nothing is lost by it.
            let _ = rustix::process::setpriority_process(None, NICE);
        }
        let start = Instant::now();
        if start >= self.next && !self.exchange.is_stopped() {
            self.judge();
            self.next = Instant::now() + PERIOD.max(start.elapsed() * REST);
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        0
    }
}
