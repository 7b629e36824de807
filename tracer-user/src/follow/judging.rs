//! Judges a process while it is watched: every few seconds, on a thread of its own, with rest in
//! proportion to what it costs. Nothing waits for it; what does not fit into its queue is dropped,
//! counted, and told.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flight::{self, Cause, Findings, Handle, Trigger};
use super::recent::Recent;
use super::recorder::{Entry, Sink};
use crate::analyse::findings::{self, Case, Episode, Finding, Looked, Moment, Thresholds, Watch};
use crate::analyse::history::History;
use crate::analyse::requests::{self, Patterns};
use crate::show::escape::escape;
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
/// Functions that are requests at most.
const MAX_REQUESTS: usize = 64;
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
    /// Who writes what is kept because of it.
    flight: Option<ForFlight>,
}

/// What a flight recorder is told.
#[derive(Debug)]
struct ForFlight {
    handle: Handle,
    findings: Option<Findings>,
    learns_requests: bool,
    /// Keys of the findings that were told and are still open.
    told: HashSet<String>,
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
            flight: None,
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

    /// Has a flight recorder write because of findings, and tells it which functions are requests,
    /// as far as it asked for that.
    #[must_use]
    pub fn for_flight(mut self, options: &flight::Options) -> Self {
        self.flight = Some(ForFlight {
            handle: options.handle.clone(),
            findings: options.findings.clone(),
            learns_requests: options.watched.learns_requests(),
            told: HashSet::new(),
        });
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
        if let Some(flight) = &mut self.flight {
            flight.judged(&self.watch.episodes(), &history, now);
        }
        self.exchange.put_found(Arc::new(Found {
            episodes: self.watch.episodes(),
            beyond: self.watch.beyond(),
            coverage,
            span: history.span.clone(),
            now,
        }));
    }
}

impl ForFlight {
    fn judged(&mut self, episodes: &[Episode], history: &History, now: u64) {
        if self.learns_requests {
            let found = requests::find(history, &Patterns::default());
            let paths = found.chosen.into_iter().map(|choice| choice.what);
            self.handle.requests_are(paths.take(MAX_REQUESTS).collect());
        }
        let Some(findings) = &self.findings else {
            return;
        };
        let open: Vec<&Episode> = episodes
            .iter()
            .filter(|episode| episode.closed.is_none() && findings.are(&episode.finding))
            .collect();
        let is_open = |key: &String| open.iter().any(|episode| episode.finding.key == *key);
        self.told.retain(is_open);
        for episode in open {
            let Finding {
                kind,
                certainty,
                summary,
                key,
                ..
            } = &episode.finding;
            if self.told.insert(key.clone()) {
                self.handle.trigger(Trigger {
                    cause: Cause::Finding,
                    why: escape(&format!("{kind} ({certainty}): {summary}")).into_owned(),
                    at: now,
                });
            }
        }
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
