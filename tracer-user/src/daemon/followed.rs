//! One process that is followed, on a thread of its own: session after session, with a growing
//! pause after each that failed, until it has ended or nobody wants it followed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::config::Target;
use super::control::message::Refusal;
use super::discover::Found as Process;
use super::observer::{Latest, Observer, lock};
use super::totals::Totals;
use crate::error::{ExitCode, Result};
use crate::export::recording::Header;
use crate::follow::ending::Ending;
use crate::follow::outlet::Showing;
use crate::follow::reader::Rhythm;
use crate::follow::summary::Summary;
use crate::follow::watched::{Ends, Watched};
use crate::locate::TargetSelector;
use crate::pipeline::{self, Request};
use crate::rebuild::snapshot::ProcessInfo;
use crate::show::escape::escape;
use crate::show::live::exchange::Exchange;
use crate::show::live::found::Found;
use crate::show::live::table::Table;

/// The first pause after a failure; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A session that went on for so long was none that fails at once.
const HEALTHY: Duration = Duration::from_secs(60);
/// Recordings that may wait for a process.
const MAX_JOBS: usize = 4;

/// How a process is followed.
#[derive(Clone, Debug)]
pub enum Status {
    /// Its probes are being set.
    Starting,
    /// Its probes are set.
    Following,
    /// The last session failed.
    Waiting {
        /// Why.
        reason: Refusal,
        /// When the next one begins.
        until: Instant,
        /// Failures one after the other.
        failures: u32,
    },
    /// It is not followed any more.
    Over,
}

/// A recording that was asked for.
#[derive(Debug)]
pub struct Job {
    /// Its file, which is not there yet.
    pub path: PathBuf,
    /// Bytes that it may have.
    pub max_size: u64,
    /// How long.
    pub time: Duration,
    /// Who waits for it.
    pub reply: oneshot::Sender<Result<Summary, Refusal>>,
}

#[derive(Debug)]
struct State {
    status: Status,
    since: SystemTime,
    stop: bool,
    recording: bool,
    jobs: VecDeque<Job>,
    /// Ends the session that runs.
    end: Option<UnboundedSender<Ending>>,
    exchange: Arc<Exchange>,
    view: View,
}

/// What a session told until now.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The newest table.
    pub table: Option<Arc<Table>>,
    /// The newest judgement.
    pub found: Option<Arc<Found>>,
    /// What a recording of it would say of the process, and when it began (CLOCK_MONOTONIC,
    /// nanoseconds, and since 1970).
    pub process: Option<(ProcessInfo, u64, Option<u64>)>,
}

/// A process that is followed.
#[derive(Debug)]
pub struct Followed {
    /// Which.
    pub process: Process,
    /// What the configuration says.
    pub target: Target,
    totals: Arc<Mutex<Totals>>,
    /// What was read of its memory last.
    pub latest: Latest,
    state: Mutex<State>,
    changed: Condvar,
}

impl Followed {
    /// To be followed by [`Followed::run`].
    #[must_use]
    pub fn new(process: Process, target: Target, totals: Arc<Mutex<Totals>>) -> Self {
        Self {
            process,
            target,
            totals,
            latest: Latest::default(),
            state: Mutex::new(State {
                status: Status::Starting,
                since: SystemTime::now(),
                stop: false,
                recording: false,
                jobs: VecDeque::new(),
                end: None,
                exchange: Arc::default(),
                view: View::default(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.process.identity.pid
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// How it is followed, since when, and whether it is recorded.
    #[must_use]
    pub fn status(&self) -> (Status, SystemTime, bool) {
        let state = self.state();
        (state.status.clone(), state.since, state.recording)
    }

    /// What its session told until now. New findings are counted.
    #[must_use]
    pub fn view(&self) -> View {
        let mut state = self.state();
        if let Some(table) = state.exchange.take_table() {
            state.view.table = Some(table);
        }
        if let Some(found) = state.exchange.take_found() {
            let mut totals = lock(&self.totals);
            for episode in &found.episodes {
                let before = state.view.found.as_ref();
                let is_known = before.is_some_and(|before| {
                    let same = |one: &&_| is_same(one, episode);
                    before.episodes.iter().any(|one| same(&one))
                });
                if !is_known {
                    *totals
                        .findings
                        .entry(episode.finding.kind.name())
                        .or_default() += 1;
                }
            }
            drop(totals);
            state.view.found = Some(found);
        }
        state.view.clone()
    }

    /// Asks for a new reading of its memory; [`Followed::latest`] has it soon.
    pub fn read_again(&self) {
        self.state().exchange.want_all();
    }

    /// Ends it: the probes are taken out.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stop = true;
        state.interrupt();
        self.changed.notify_all();
    }

    /// Asks for a recording.
    ///
    /// # Errors
    /// When too many were asked for, or it is not followed any more.
    pub fn record(&self, job: Job) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.stop || matches!(state.status, Status::Over) {
            return Err(Refusal::new(
                "no_target",
                ExitCode::NoTarget,
                "the process has ended",
            ));
        }
        if state.jobs.len() + usize::from(state.recording) >= MAX_JOBS {
            let busy = "as many recordings as may wait for a process were asked for";
            return Err(Refusal::new("busy", ExitCode::NotPermitted, busy)
                .advising("ask again when one of them has ended"));
        }
        state.jobs.push_back(job);
        // One after the other: a recording is not cut short by the next.
        if !state.recording {
            state.interrupt();
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Follows it to its end. To be called on a thread of its own.
    pub fn run(&self) {
        let (label, pid) = (self.target.label.as_str(), self.pid());
        let exe = self.process.exe.display().to_string();
        tracing::info!(target_label = label, pid, exe = %escape(&exe), "a process to follow");
        let mut failures = 0;
        while let Some((job, ends)) = self.next() {
            let began = Instant::now();
            let recorded = job
                .as_ref()
                .map(|job| (job.path.clone(), job.max_size, job.time));
            let ended = guarded(|| self.session(recorded, ends));
            self.session_is_over();
            match ended {
                Ok(summary) => {
                    let (lost, ending) = (lost_in(&summary), summary.ending);
                    // Signals are the daemon's own, and end no session by themselves.
                    let why = match ending {
                        Ending::Terminated => "the daemon ended it".to_owned(),
                        other => other.to_string(),
                    };
                    tracing::info!(
                        target_label = label,
                        pid,
                        polls = summary.polls,
                        lost,
                        "a session ended: {why}"
                    );
                    reply(job, Ok(summary));
                    match ending {
                        Ending::TargetExited(_) | Ending::TargetReplaced => break,
                        // Who ended it once may do so again and again.
                        Ending::ProbesLost => {
                            let lost = Refusal::new("failed", ExitCode::Bug, ending.to_string());
                            failures = self.failed(began, failures, lost);
                        }
                        _ => failures = 0,
                    }
                }
                Err(reason) if reason.exit == ExitCode::NoTarget as u8 => {
                    reply(job, Err(reason));
                    break;
                }
                Err(reason) => {
                    reply(job, Err(reason.clone()));
                    failures = self.failed(began, failures, reason);
                }
            }
        }
        let jobs = {
            let mut state = self.state();
            state.status = Status::Over;
            state.since = SystemTime::now();
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            let gone = Refusal::new("no_target", ExitCode::NoTarget, "the process has ended");
            reply(Some(job), Err(gone));
        }
        tracing::info!(target_label = label, pid, "not followed any more");
    }

    /// Waits after a session that began then and failed, as those before it; how many these are now.
    fn failed(&self, began: Instant, failures: u32, reason: Refusal) -> u32 {
        let before = if began.elapsed() > HEALTHY {
            0
        } else {
            failures
        };
        let failures = before + 1;
        lock(&self.totals).failures += 1;
        let pause = pause_after(failures);
        tracing::warn!(
            target_label = self.target.label.as_str(),
            pid = self.pid(),
            failures,
            retry_seconds = pause.as_secs(),
            "cannot follow it: {}",
            escape(&reason.message)
        );
        self.wait(reason, pause, failures);
        failures
    }

    /// What to do next, and what ends it; `None`: nothing more.
    fn next(&self) -> Option<(Option<Job>, UnboundedReceiver<Ending>)> {
        let mut state = self.state();
        if state.stop {
            return None;
        }
        let (end, ends) = unbounded_channel();
        let job = state.jobs.pop_front();
        state.end = Some(end);
        state.recording = job.is_some();
        state.status = Status::Starting;
        state.since = SystemTime::now();
        state.exchange = Arc::default();
        Some((job, ends))
    }

    fn session_is_over(&self) {
        let mut state = self.state();
        state.end = None;
        state.recording = false;
        // What is open is not known any more.
        state.view = View::default();
        *lock(&self.latest) = None;
    }

    fn session(
        &self,
        recorded: Option<(PathBuf, u64, Duration)>,
        ends: UnboundedReceiver<Ending>,
    ) -> Result<Summary> {
        let exchange = Arc::clone(&self.state().exchange);
        let (output, max_size, duration) = match recorded {
            Some((path, size, time)) => (Some(path), Some(size), Some(time)),
            None => (None, None, None),
        };
        let request = Request {
            target: TargetSelector::Identity(self.process.identity),
            debug_file: self.target.debug_file.clone(),
            futures: Vec::new(),
            requests: self.target.requests.clone(),
            exact_polls: false,
            flight: None,
            duration,
            output,
            max_size,
            budget: Some(self.target.max_overhead.get() / 100.0),
            showing: Showing::Nothing,
            rhythm: Rhythm::default(),
        };
        let observe = {
            let (totals, latest) = (Arc::clone(&self.totals), Arc::clone(&self.latest));
            let into = Arc::clone(&exchange);
            let judged = self.target.findings.then_some(self.target.thresholds);
            move |header: &Header| -> Box<dyn crate::follow::recorder::Sink> {
                let observer = Observer::new(header.started, totals, latest);
                Box::new(match judged {
                    Some(thresholds) => observer.judging(header.started, thresholds, into),
                    None => observer,
                })
            }
        };
        let told = std::sync::mpsc::channel();
        let (tell, told) = told;
        let watched = Watched {
            exchange,
            ends: Ends::ByOrder(ends),
            observer: Some(Box::new(move |header| {
                let realtime = header.realtime(header.started);
                // The receiver lives as long as the session.
                let _ = tell.send((header.process.clone(), header.started, realtime));
                observe(header)
            })),
        };
        pipeline::watch(&request, watched, |line| {
            lock(&self.totals).sessions += 1;
            tracing::debug!(
                target_label = self.target.label.as_str(),
                "{}",
                escape(line)
            );
            let mut state = self.state();
            state.status = Status::Following;
            state.since = SystemTime::now();
            state.view.process = told.try_recv().ok();
        })
    }

    fn wait(&self, reason: Refusal, pause: Duration, failures: u32) {
        let until = Instant::now() + pause;
        let mut state = self.state();
        state.since = SystemTime::now();
        state.status = Status::Waiting {
            reason,
            until,
            failures,
        };
        while !state.stop && state.jobs.is_empty() {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            state = self
                .changed
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl State {
    fn interrupt(&self) {
        if let Some(end) = &self.end {
            // A session that has ended needs no end.
            let _ = end.send(Ending::Terminated);
        }
    }
}

fn is_same(
    one: &crate::analyse::findings::Episode,
    other: &crate::analyse::findings::Episode,
) -> bool {
    one.finding.key == other.finding.key && one.opened == other.opened
}

/// Runs a session on a thread of its own, so that a panic in it ends nothing else.
fn guarded(session: impl FnOnce() -> Result<Summary> + Send) -> Result<Summary, Refusal> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("asynctrace-read".to_owned());
        let started = thread.spawn_scoped(scope, session);
        let started = started.map_err(|error| {
            Refusal::new("failed", ExitCode::Bug, format!("no thread: {error}"))
        })?;
        match started.join() {
            Ok(ended) => ended.map_err(|error| Refusal::of(&error)),
            Err(_) => Err(Refusal::new(
                "failed",
                ExitCode::Bug,
                "the session panicked: this is a bug of asynctrace, its log says where",
            )),
        }
    })
}

/// 1, 2, 4, ... seconds.
fn pause_after(failures: u32) -> Duration {
    let doubled = 1u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

fn lost_in(summary: &Summary) -> u64 {
    summary.lost.iter().map(|(_, count)| count).sum()
}

fn reply(job: Option<Job>, answer: Result<Summary, Refusal>) {
    if let Some(job) = job {
        // Who asked may have gone; the file is there.
        let _ = job.reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::resume_unwind;

    #[test]
    fn pauses_grow_to_a_limit() {
        let seconds: Vec<u64> = (1..9).map(|n| pause_after(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_panic_in_a_session_is_a_reason() {
        let refusal = guarded(|| resume_unwind(Box::new("gone wrong"))).unwrap_err();
        assert_eq!((&*refusal.code, refusal.exit), ("failed", 1));
        assert!(refusal.message.contains("bug"));
    }
}
