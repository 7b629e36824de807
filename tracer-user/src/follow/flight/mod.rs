//! The flight recorder: the last stretch of a session is kept in memory, and written as a recording
//! of its own when something happens.
//!
//! In: a session's entries, and triggers from the stream, from signals, from judgements and through
//! a [`Handle`]. Out: files. What is kept is shared with the thread that writes a file, so recording
//! goes on meanwhile, and a file that could not be written is tried again with the same contents.
//! Memory: what was asked ([`Keep`]) for the stretch, as much again for one that is being written or
//! waits for the disk, what was known before it, and the last look at memory.

mod file;
mod ring;
mod signal;
mod slow;
mod trigger;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::ring::{Keep, MAX_BYTES, Ring, Stretch};
pub use self::signal::OnSignal;
pub use self::slow::{Slow, Watcher, Watching};
pub use self::trigger::{Cause, Handle, Outcome, Trigger, Written};

use self::file::Job;
use self::trigger::Asked;
use super::ending::Ending;
use super::recorder::{Entry, Progress, Sink};
use super::summary::FileSummary;
use crate::analyse::findings::{Certainty, Finding, Kind};
use crate::export::recording::{Header, RecordingError};
use crate::rebuild::tracker::Statistics;
use crate::stream::monotonic_ns;

/// A file that could not be written is tried again after this time, then after twice as long each
/// time, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Events are here by this time after they happened (nanoseconds).
const ON_THE_WAY: u64 = 100_000_000;
/// How long the last file is tried when the session has ended.
const LAST_TRIES: Duration = Duration::from_secs(30);

/// What to keep, when to write it, and how much of that.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is kept.
    pub keep: Keep,
    /// What has it written, beside signals, a [`Handle`], and the end.
    pub watched: Watching,
    /// Findings that have it written; `None` for none.
    pub findings: Option<Findings>,
    /// Files beside the last one that are written at most.
    pub max_files: u64,
    /// Between two files that nobody asked for.
    pub pause: Duration,
    /// Has it written from outside.
    pub handle: Handle,
    /// Is told what was written and what could not be.
    pub tell: Tell,
}

impl Options {
    /// Whether somebody has to judge the session while it goes on.
    #[must_use]
    pub fn needs_judging(&self) -> bool {
        self.findings.is_some() || self.watched.learns_requests()
    }
}

/// Which findings have it written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Findings {
    /// Any that is likely or proved.
    Any,
    /// Those of these kinds, however sure.
    Of(Vec<Kind>),
}

impl Findings {
    /// Whether this one is.
    #[must_use]
    pub fn are(&self, finding: &Finding) -> bool {
        match self {
            Self::Any => finding.certainty >= Certainty::Likely,
            Self::Of(kinds) => kinds.contains(&finding.kind),
        }
    }
}

/// Is told what a user should know meanwhile, a line at a time.
#[derive(Clone)]
pub struct Tell(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

impl Default for Tell {
    /// Tells the log.
    fn default() -> Self {
        Self(Arc::new(|line| tracing::info!("{line}")))
    }
}

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

/// A file that is being written.
#[derive(Debug)]
struct Writing {
    job: Arc<Job>,
    thread: JoinHandle<Result<Written, RecordingError>>,
    replies: Vec<Sender<Outcome>>,
    tries: u32,
}

/// A file that could not be written: what it is to hold stays.
#[derive(Debug)]
struct Failed {
    job: Arc<Job>,
    tries: u32,
    again: Instant,
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

    fn start(&mut self, job: Arc<Job>, replies: Vec<Sender<Outcome>>, tries: u32) {
        let thread = std::thread::Builder::new().name("asynctrace-file".to_owned());
        let shared = Arc::clone(&job);
        match thread.spawn(move || shared.write()) {
            Ok(thread) => {
                self.writing = Some(Writing {
                    job,
                    thread,
                    replies,
                    tries,
                });
            }
            Err(error) => self.fail(job, tries, &format!("cannot start a thread: {error}")),
        }
    }

    /// Takes note of a file that is written, or failed.
    fn written(&mut self) {
        if self
            .writing
            .as_ref()
            .is_some_and(|writing| writing.thread.is_finished())
        {
            self.join();
        }
    }

    fn join(&mut self) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        let job = writing.job;
        let outcome = match writing.thread.join() {
            Ok(Ok(written)) => {
                let why = &job.trigger.why;
                self.tell(&format!("wrote {written} ({why})"));
                Ok(written)
            }
            Ok(Err(error)) => {
                let reason = told(&error);
                self.fail(job, writing.tries, &reason);
                Err(reason)
            }
            Err(_) => {
                let reason = "the thread that writes a file panicked".to_owned();
                self.fail(job, writing.tries, &reason);
                Err(reason)
            }
        };
        for reply in writing.replies {
            // Who asked may have gone.
            let _ = reply.send(outcome.clone());
        }
    }

    fn fail(&mut self, job: Arc<Job>, tries: u32, reason: &str) {
        let wait = RETRY.0.saturating_mul(1 << tries.min(8)).min(RETRY.1);
        // Once is enough as long as nothing changes.
        if tries == 0 {
            let why = &job.trigger.why;
            self.tell(&format!(
                "{reason}; what was kept ({why}) stays kept, and writing it is tried again"
            ));
        }
        self.failed = Some(Failed {
            job,
            tries: tries.saturating_add(1),
            again: Instant::now() + wait,
        });
    }

    fn look(&mut self, now: u64) {
        let known = now.saturating_sub(ON_THE_WAY);
        self.watcher.look(known, &mut self.found);
    }

    fn tell(&self, line: &str) {
        (self.options.tell.0)(line);
    }

    /// Writes what is kept as the file of the user's name, as the session has ended at `time`
    /// (CLOCK_MONOTONIC, nanoseconds). What cannot be written is tried for 30 s.
    #[must_use]
    pub fn finish(
        mut self,
        ending: Ending,
        time: u64,
        statistics: &Statistics,
        progress: Progress,
    ) -> FileSummary {
        self.statistics = statistics.clone();
        let mut why = ending.to_string();
        let mut rest = std::mem::take(&mut self.found);
        for asked in self.options.handle.take(u64::MAX) {
            if asked.trigger.cause.is_asked() {
                self.take(asked);
            } else {
                rest.push(asked.trigger);
            }
        }
        // What was still held is in the last file.
        let held = self.held.take();
        let more = held.as_ref().map_or(0, |(_, more)| *more);
        let mut rest = held.into_iter().map(|(trigger, _)| trigger).chain(rest);
        if let Some(first) = rest.next() {
            why.push_str("; ");
            why.push_str(&with_more(first, more + rest.count() as u64).why);
        }
        let end = Trigger {
            cause: Cause::End,
            why,
            at: time,
        };
        self.join();
        if let Some((trigger, replies)) = self.next_asked() {
            self.start_new(trigger, replies);
            self.join();
        }
        let last = self
            .job(end, true, ending.word())
            .map_err(|error| told(&error))
            .and_then(|job| self.write_last(&job));
        let also = self.summary();
        let mut summary = FileSummary {
            path: self.path,
            bytes: 0,
            events: 0,
            dropped: progress.dropped,
            failure: progress.failure,
            full: false,
            also,
        };
        match last {
            Ok(written) => {
                let kept = written.to_string();
                summary
                    .also
                    .insert(0, format!("kept {}", after_colon(&kept)));
                summary.bytes = written.bytes;
                summary.events = written.events;
            }
            Err(reason) => summary.failure = Some(reason),
        }
        summary
    }

    fn write_last(&mut self, job: &Job) -> Result<Written, String> {
        let begun = Instant::now();
        let mut is_told = false;
        loop {
            if let Some(failed) = self.failed.take() {
                match failed.job.write() {
                    Ok(written) => {
                        self.tell(&format!("wrote {written} ({})", failed.job.trigger.why));
                    }
                    Err(_) => self.failed = Some(failed),
                }
            }
            match job.write() {
                Ok(written) => return Ok(written),
                Err(error) if begun.elapsed() >= LAST_TRIES => return Err(told(&error)),
                Err(error) => {
                    if !is_told {
                        is_told = true;
                        self.tell(&format!(
                            "{}; trying again for {} s (Ctrl-C gives up)",
                            told(&error),
                            LAST_TRIES.as_secs()
                        ));
                    }
                    std::thread::sleep(RETRY.0);
                }
            }
        }
    }

    /// What became of triggers, for the end.
    fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let failed = u64::from(self.failed.is_some());
        let files = self.files.saturating_sub(failed);
        if files > 0 {
            lines.push(format!("{files} written before, as told then"));
        }
        if failed > 0 {
            lines.push("one that could not be written is lost".to_owned());
        }
        if !self.left_out.is_empty() {
            let left_out: Vec<String> = self
                .left_out
                .iter()
                .map(|(cause, count)| format!("{count} {}", cause.word()))
                .collect();
            lines.push(format!(
                "triggers without a file, as there were as many as may be: {}",
                left_out.join(", ")
            ));
        }
        lines
    }
}

/// What stands after a path and its colon.
fn after_colon(text: &str) -> &str {
    text.rsplit_once(": ").map_or(text, |(_, rest)| rest)
}

fn with_more(mut trigger: Trigger, more: u64) -> Trigger {
    if more > 0 {
        trigger.why.push_str(&format!(", and {more} more"));
    }
    trigger
}

fn told(error: &RecordingError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
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
