//! Runs a session without probes to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc::{Receiver, channel, unbounded_channel};

use super::pace::{Hertz, Pace, rate};
use super::reader::{self, Clocks, Taken};
use super::table::table;
use crate::analyse::sampled::{Changes, Collector, Sampled};
use crate::follow::ending::Ending;
use crate::follow::follower::About;
use crate::follow::judging::Judging;
use crate::follow::outlet::{Outlet, Showing};
use crate::follow::reader::ReadTasks;
use crate::follow::recorder::{Closed, Entry, Progress, Recorder, Sink, recorder};
use crate::follow::status_words::{notice_of, runtimes_in_words};
use crate::follow::watched::Ends;
use crate::rebuild::snapshot::Snapshot;
use crate::rebuild::tracker::Statistics;
use crate::show::live::exchange::Exchange;
use crate::show::live::table::{RecordingStatus, SamplingStatus, Status};
use crate::show::live::{format, terminal};
use crate::stream::monotonic_ns;

/// Looks that wait to be taken in: the reader waits then.
const WAITING: usize = 2;
/// How long the last look is waited for.
const LAST_LOOK: Duration = Duration::from_secs(10);
/// Exit code after a second Ctrl-C: 128 + SIGINT, as shells have it.
const ABORTED: i32 = 130;

/// A session that is about to be run.
pub struct Setup<S> {
    /// What the view says of the target.
    pub about: About,
    /// How often memory is looked at.
    pub hertz: Hertz,
    /// What is shown meanwhile.
    pub showing: Showing,
    /// When to end.
    pub duration: Option<Duration>,
    /// When to end, where nothing but the recording is shown: the size that it may have.
    pub max_size: Option<u64>,
    /// The recording.
    pub sink: Option<S>,
    /// What ends it beside its target.
    pub ends: Ends,
    /// Whether the target has replaced its program since the start.
    pub replaced: Box<dyn Fn() -> bool + Send>,
}

/// A session that has ended.
#[derive(Debug)]
pub struct Ended<S> {
    /// Why.
    pub ending: Ending,
    /// How long it took.
    pub elapsed: Duration,
    /// When it ended, CLOCK_MONOTONIC in nanoseconds.
    pub ended_at: u64,
    /// What looks told.
    pub sampled: Sampled,
    /// What is to be said of it: why looks were fewer than was asked for, what the last one said.
    pub notes: Vec<String>,
    /// CPU time of ours meanwhile.
    pub cpu: Duration,
    /// What became of the recording.
    pub recording: Option<(S, Progress)>,
}

/// Runs it. `tasks` is used on this thread.
///
/// # Errors
/// When the system refuses threads, signal handlers or timers.
pub fn run<S: Sink>(setup: Setup<S>, tasks: &mut impl ReadTasks) -> anyhow::Result<Ended<S>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the tokio runtime")?;
    let exchange = Arc::new(Exchange::default());
    let used = cpu_time();
    let pace = Pace::new(setup.hertz);
    let (looks, taken) = channel(WAITING);
    std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(format!("asynctrace-{name}"));
        let Setup {
            sink,
            about,
            showing,
            ..
        } = setup;
        let mut writing = None;
        let mut queues = Vec::new();
        if let Some(sink) = sink {
            let (recorder, writer) = recorder(sink);
            writing = Some(thread("write").spawn_scoped(scope, move || writer.run())?);
            queues.push(recorder);
        }
        let recording = !queues.is_empty();
        if showing == Showing::View {
            let judge = Judging::new(monotonic_ns(), Arc::clone(&exchange)).of_memory();
            let (recorder, writer) = recorder(judge);
            thread("judge").spawn_scoped(scope, move || writer.run())?;
            queues.push(recorder);
        }
        let shared = Arc::clone(&exchange);
        let following = thread("follow").spawn_scoped(scope, move || {
            let _stop = StopOnDrop(&shared);
            let mut collector = Collector::default();
            collector.asked(setup.hertz.per_second());
            let follower = Follower {
                about,
                showing,
                collector,
                queues,
                recording,
                hertz: setup.hertz,
                pace,
                last: None,
                started: Instant::now(),
                used,
                told: (Duration::ZERO, 0, Changes::default()),
                gone: None,
            };
            let limits = Limits {
                duration: setup.duration,
                max_size: setup.max_size,
                replaced: setup.replaced,
            };
            runtime.block_on(follow(follower, limits, &shared, taken, setup.ends))
        })?;
        let clocks = Clocks {
            now: monotonic_ns,
            cpu: cpu_time,
        };
        reader::run(tasks, &exchange, clocks, pace, &looks);
        // The follower waits for this: nothing more will come.
        drop(looks);
        let end = following
            .join()
            .map_err(|_| anyhow!("a thread of the session panicked"))??;
        let sink = writing
            .map(std::thread::ScopedJoinHandle::join)
            .transpose()
            .map_err(|_| anyhow!("the writer of the recording panicked"))?;
        let mut notes: Vec<String> = end.follower.pace.lowered().into_iter().collect();
        if let Some(last) = &end.follower.last {
            notes.extend(last.warnings.iter().cloned());
        }
        Ok(Ended {
            ending: end.ending,
            elapsed: end.elapsed,
            ended_at: end.ended_at,
            sampled: end.follower.collector.finish(),
            notes,
            cpu: cpu_time().saturating_sub(used),
            recording: sink.zip(end.closed.map(|closed| closed.progress())),
        })
    })
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Ends the reader and the view when the follower ends, however it does.
struct StopOnDrop<'a>(&'a Exchange);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What becomes of looks.
struct Follower {
    about: About,
    showing: Showing,
    collector: Collector,
    /// Who is told of every look: the recording first, where there is one.
    queues: Vec<Recorder>,
    recording: bool,
    hertz: Hertz,
    pace: Pace,
    last: Option<Arc<Snapshot>>,
    started: Instant,
    used: Duration,
    /// What the last line told: its time, its looks, its changes.
    told: (Duration, u64, Changes),
    /// Why nothing more can be read.
    gone: Option<String>,
}

impl Follower {
    fn take(&mut self, taken: Taken) {
        self.pace = taken.pace;
        let snapshot = match taken.snapshot {
            Ok(snapshot) => snapshot,
            Err(reason) => {
                self.gone = Some(reason);
                return;
            }
        };
        self.collector.take(&snapshot, taken.time);
        for queue in &mut self.queues {
            queue.entry(Entry::Snapshot {
                snapshot: Arc::clone(&snapshot),
                time: taken.time,
                moment: taken.moment,
            });
        }
        self.last = Some(snapshot);
    }

    fn progress(&self) -> Option<Progress> {
        let queue = self.queues.first().filter(|_| self.recording)?;
        Some(queue.progress())
    }

    fn is_full(&self) -> bool {
        self.recording && self.queues.first().is_some_and(Recorder::is_full)
    }

    fn show(&self, exchange: &Exchange) {
        let Some(snapshot) = self.last.as_ref().filter(|_| self.showing.wants_tables()) else {
            return;
        };
        let progress = self.progress();
        let recording_failed = progress.as_ref().and_then(|progress| {
            let failure = progress.failure.as_ref()?;
            Some(format!("the recording stopped: {failure}"))
        });
        let elapsed = self.started.elapsed();
        let cpu = cpu_time().saturating_sub(self.used);
        let status = Status {
            program: self.about.program.clone(),
            pid: self.about.pid,
            runtimes: runtimes_in_words(&snapshot.runtimes),
            elapsed,
            recording: progress.map(|progress| RecordingStatus {
                path: self.about.recording.clone().unwrap_or_default(),
                bytes: progress.bytes,
                dropped: progress.dropped,
            }),
            notice: recording_failed
                .or_else(|| self.pace.lowered())
                .or_else(|| notice_of(snapshot))
                .or_else(|| self.about.notice.clone()),
            sampling: Some(SamplingStatus {
                looks: self.collector.looks().count,
                per_second: self.pace.per_second(),
                asked: self.hertz.per_second(),
                changes: self.collector.changes(),
                own_cpu: cpu.as_secs_f64() / elapsed.as_secs_f64().max(1e-9),
            }),
            ..Status::default()
        };
        exchange.put_table(Arc::new(table(
            snapshot,
            &self.collector,
            status,
            monotonic_ns(),
        )));
    }

    /// What happened since the last line; `None` when no look was taken since.
    fn line(&mut self) -> Option<String> {
        let at = self.started.elapsed();
        let (before, looks_before, changes_before) = self.told;
        let (looks, changes) = (self.collector.looks().count, self.collector.changes());
        if looks == looks_before {
            return None;
        }
        self.told = (at, looks, changes);
        let per_second = (looks - looks_before) as f64 / (at - before).as_secs_f64().max(1e-9);
        let tasks = self.last.as_ref().map_or(0, |last| last.tasks.len());
        let since = |now: u64, then: u64| format::count(now.saturating_sub(then));
        Some(format!(
            "{:>7.1}s {:>7} {:>7} {:>7} {:>7} {:>7} {:>8}",
            at.as_secs_f64(),
            tasks,
            since(changes.came, changes_before.came),
            since(changes.went, changes_before.went),
            since(changes.moved, changes_before.moved),
            since(changes.still, changes_before.still),
            rate((per_second * 10.0).round() / 10.0),
        ))
    }
}

/// The heading of the lines.
fn heading() -> String {
    format!(
        "{:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8}",
        "TIME", "TASKS", "CAME", "WENT", "MOVED", "STILL", "LOOKS/S"
    )
}

/// When to end.
struct Limits {
    duration: Option<Duration>,
    max_size: Option<u64>,
    replaced: Box<dyn Fn() -> bool + Send>,
}

/// What the follower hands back.
struct End {
    ending: Ending,
    elapsed: Duration,
    ended_at: u64,
    follower: Follower,
    closed: Option<Closed>,
}

async fn follow(
    mut follower: Follower,
    limits: Limits,
    exchange: &Arc<Exchange>,
    mut looks: Receiver<Taken>,
    mut stops: Ends,
) -> anyhow::Result<End> {
    stops.prepare().context("cannot handle signals")?;
    let (ends, mut ended) = unbounded_channel();
    // A sender stays here, so that the channel stays open.
    let outlet = Outlet::open_plain(follower.showing, Arc::clone(exchange), ends.clone())
        .context("cannot start a thread")?;
    outlet.text(heading());
    let mut time_up = pin!(tokio::time::sleep(limits.duration.unwrap_or(Duration::MAX)));
    let second = Duration::from_secs(1);
    let mut seconds = tokio::time::interval_at(tokio::time::Instant::now() + second, second);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ending = loop {
        tokio::select! {
            ending = stops.next() => break ending,
            Some(ending) = ended.recv() => break ending,
            () = &mut time_up => break Ending::TimeUp,
            taken = looks.recv() => {
                // What was read of another program's memory is not taken in.
                if (limits.replaced)() {
                    break Ending::TargetReplaced;
                }
                let Some(taken) = taken else {
                    break Ending::TargetExited(None);
                };
                follower.take(taken);
                if follower.gone.is_some() {
                    break Ending::TargetExited(None);
                }
                follower.show(exchange);
                if let Some(bytes) = limits.max_size && follower.is_full() {
                    break Ending::RecordingFull(bytes);
                }
            }
            _ = seconds.tick() => {
                if let Some(line) = follower.line() {
                    outlet.text(line);
                }
                if let Some(bytes) = limits.max_size && follower.is_full() {
                    break Ending::RecordingFull(bytes);
                }
            }
        }
    };
    let elapsed = follower.started.elapsed();
    let ended_at = monotonic_ns();
    stops.abort_on_next(|| {
        terminal::give_back();
        std::process::exit(ABORTED);
    });
    exchange.stop();
    outlet.close();
    let last = async {
        while let Some(taken) = looks.recv().await {
            if !(limits.replaced)() {
                follower.take(taken);
            }
        }
    };
    // A target that is so large, or a machine so busy, gets no last look.
    let _ = tokio::time::timeout(LAST_LOOK, last).await;
    let mut closed = None;
    if follower.recording && !follower.queues.is_empty() {
        closed = Some(follower.queues.remove(0).close());
    }
    follower.queues.clear();
    drop(ends);
    Ok(End {
        ending,
        elapsed,
        ended_at,
        follower,
        closed,
    })
}

/// The counts that a recording of looks ends with: no event was watched.
#[must_use]
pub fn statistics(sampled: &Sampled) -> Statistics {
    Statistics {
        live: sampled
            .by_look
            .last()
            .and_then(|look| usize::try_from(look.tasks).ok())
            .unwrap_or(0),
        ..Statistics::default()
    }
}
