//! The flight recorder: the last stretch of a session is kept in memory, and written as a recording
//! of its own when something happens.
//!
//! In: a session's entries, and triggers from the stream, from signals, from judgements and through
//! a [`Handle`]. Out: files. What is kept is shared with the thread that writes a file, so recording
//! goes on meanwhile, and a file that could not be written is tried again with the same contents.
//! Memory: what was asked ([`Keep`]) for the stretch, as much again for one that is being written or
//! waits for the disk, what was known before it, and the last look at memory.

mod file;
mod last_file;
mod options;
mod ring;
mod signal;
mod slow;
mod trigger;
mod writing;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

pub use self::options::{Findings, Options, Tell};
pub use self::ring::{Keep, MAX_BYTES, Ring, Stretch};
pub use self::signal::OnSignal;
pub use self::slow::{Slow, Watcher, Watching};
pub use self::trigger::{Cause, Handle, Outcome, Trigger, Written};

use self::file::Job;
use self::trigger::Asked;
use self::writing::{Failed, Writing, told};
use super::recorder::{Entry, Sink};
use crate::export::recording::{Header, RecordingError};
use crate::rebuild::tracker::Statistics;
use crate::stream::monotonic_ns;

/// Events are here by this time after they happened (nanoseconds).
const ON_THE_WAY: u64 = 100_000_000;

/// Keeps the last stretch of a session and writes it when something happens.
#[derive(Debug)]
pub struct Flight {
    path: PathBuf,
    header: Header,
    options: Options,
    ring: Ring,
    watcher: Watcher,
    statistics: Statistics,
    found: Vec<Trigger>,
    /// Triggers that somebody waits for.
    asked: Vec<Asked>,
    /// The first of those that came by themselves and wait for the pause to be over, and how many
    /// more came.
    held: Option<(Trigger, u64)>,
    writing: Option<Writing>,
    failed: Option<Failed>,
    files: u64,
    last: Option<Instant>,
    last_look: Instant,
    /// Triggers without a file of their own, because there were too many.
    left_out: BTreeMap<Cause, u64>,
}

impl Flight {
    /// Begins to keep a session with this header. Files go to `path` and beside it.
    ///
    /// # Errors
    /// [`RecordingError::Create`] when files cannot be made there.
    pub fn new(
        path: PathBuf,
        header: Header,
        mut options: Options,
    ) -> Result<Self, RecordingError> {
        file::check(&path)?;
        let watched = std::mem::take(&mut options.watched);
        Ok(Self {
            path,
            ring: Ring::new(options.keep, header.started),
            header,
            watcher: Watcher::new(watched),
            options,
            statistics: Statistics::default(),
            found: Vec::new(),
            asked: Vec::new(),
            held: None,
            writing: None,
            failed: None,
            files: 0,
            last: None,
            last_look: Instant::now(),
            left_out: BTreeMap::new(),
        })
    }

    /// Sees to triggers and to what is being written. What happened until `now` has been taken.
    fn attend(&mut self, now: u64) {
        for trigger in self.found.drain(..) {
            self.options.handle.trigger(trigger);
        }
        for asked in self.options.handle.take(now) {
            self.take(asked);
        }
        if let Some((_, more)) = &mut self.held {
            *more += self.options.handle.take_beyond();
        }
        self.written();
        if self.writing.is_some() {
            return;
        }
        if let Some(failed) = self.failed.take() {
            if failed.again <= Instant::now() {
                self.start(failed.job, Vec::new(), failed.tries);
            } else {
                self.failed = Some(failed);
            }
            return;
        }
        if let Some((trigger, replies)) = self.next_asked() {
            self.start_new(trigger, replies);
        } else if self.pause_is_over()
            && let Some((trigger, more)) = self.held.take()
        {
            if self.files < self.options.max_files {
                self.start_new(with_more(trigger, more), Vec::new());
            } else {
                self.leave_out(trigger.cause, 1 + more);
            }
        }
    }

    fn take(&mut self, asked: Asked) {
        if self.files >= self.options.max_files {
            self.leave_out(asked.trigger.cause, 1);
            if let Some(reply) = asked.reply {
                let _ = reply.send(Err("as many files are written as may be".to_owned()));
            }
        } else if asked.trigger.cause.is_asked() {
            if let Some(failed) = &mut self.failed {
                // Who asks may have made room.
                failed.again = Instant::now();
            }
            self.asked.push(asked);
        } else if let Some((_, more)) = &mut self.held {
            *more += 1;
        } else {
            self.held = Some((asked.trigger, 0));
        }
    }

    fn leave_out(&mut self, cause: Cause, count: u64) {
        if self.left_out.is_empty() {
            self.tell(&format!(
                "{} files are written: no more but the last one (--max-files)",
                self.files
            ));
        }
        *self.left_out.entry(cause).or_default() += count;
    }

    /// All that was asked for, as one.
    fn next_asked(&mut self) -> Option<(Trigger, Vec<Sender<Outcome>>)> {
        let mut asked = std::mem::take(&mut self.asked).into_iter();
        let first = asked.next()?;
        let mut replies: Vec<_> = first.reply.into_iter().collect();
        let mut more = 0;
        for asked in asked {
            replies.extend(asked.reply);
            more += 1;
        }
        Some((with_more(first.trigger, more), replies))
    }

    fn pause_is_over(&self) -> bool {
        let last = self.last;
        last.is_none_or(|last| last.elapsed() >= self.options.pause)
    }

    fn start_new(&mut self, trigger: Trigger, replies: Vec<Sender<Outcome>>) {
        self.files += 1;
        self.last = Some(Instant::now());
        match self.job(trigger, false, "trigger") {
            Ok(job) => self.start(Arc::new(job), replies, 0),
            Err(error) => self.tell(&format!("cannot write what is kept: {}", told(&error))),
        }
    }

    fn job(&mut self, trigger: Trigger, plain: bool, reason: &str) -> Result<Job, RecordingError> {
        Ok(Job {
            path: self.path.clone(),
            plain,
            header: self.header.clone(),
            stretch: self.ring.stretch()?,
            trigger,
            statistics: self.statistics.clone(),
            reason: reason.to_owned(),
        })
    }

    fn look(&mut self, now: u64) {
        let known = now.saturating_sub(ON_THE_WAY);
        self.watcher.look(known, &mut self.found);
    }

    fn tell(&self, line: &str) {
        (self.options.tell.0)(line);
    }
}

fn with_more(mut trigger: Trigger, more: u64) -> Trigger {
    if more > 0 {
        trigger.why.push_str(&format!(", and {more} more"));
    }
    trigger
}

/// Until a pause is told, at most (nanoseconds): probes are taken out in 70 ms, and the pause waits 100
/// for records from before it. With perf links, which take 0.1 s each to take out, it is told later.
const UNTOLD: u64 = 300_000_000;

impl Sink for Flight {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if let Some(requests) = self.options.handle.new_requests() {
            self.watcher.requests_are(requests);
        }
        match entry {
            Entry::Events(events) => self.watcher.events(events, &mut self.found),
            Entry::Watching(watching) => self.watcher.watching(watching),
            Entry::Statistics { counts, time } => {
                self.statistics.clone_from(counts);
                self.look(*time);
            }
            _ => {}
        }
        self.ring.take(entry).map_err(io::Error::other)?;
        self.attend(self.ring.now());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Everything that was on its way is here: so it is now.
        let now = monotonic_ns();
        if self.last_look.elapsed() >= Duration::from_millis(500) {
            self.last_look = Instant::now();
            // But for a pause that has just begun.
            self.look(now.saturating_sub(UNTOLD));
        }
        self.ring.flush().map_err(io::Error::other)?;
        self.attend(now);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.ring.bytes()
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
