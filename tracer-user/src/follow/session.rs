//! Runs an attached session to its end: the threads, and the loop that none of them can hold up.

use std::pin::pin;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::budgeting::{Budget, Budgeting, Kept};
use super::ending::Ending;
use super::follower::{About, Follower};
use super::judging::Judging;
use super::outlet::{Outlet, Showing};
use super::reader::{self, ReadTasks, Reading, Rhythm};
use super::recorder::{Closed, Progress, Sink, recorder, recorder_of};
use super::watched::Ends;
use crate::attach::{Finished, LinkKind, Session};
use crate::memory::LiveMemory;
use crate::rebuild::nested::NestedPolls;
use crate::rebuild::tracker::{Options, Statistics};
use crate::show::live::exchange::Exchange;
use crate::show::live::terminal;
use crate::stream::{FileNames, monotonic_ns};
use crate::walk::flat::Decoder;

/// It rests this many times as long as making one took.
const TABLE_REST: u32 = 9;
/// Events that wait to be judged at most: 20 MB.
const MAX_UNJUDGED: u64 = 200_000;
/// How long the last reading of memory is waited for.
const LAST_READING: Duration = Duration::from_secs(10);
/// Nice value of the threads that read events.
const PREFERENCE: i32 = -10;
/// Exit code after a second Ctrl-C: 128 + SIGINT, as shells have it.
const ABORTED: i32 = 130;

/// A session that is about to be followed.
pub struct Setup<S> {
    /// The probes in place.
    pub session: Session,
    /// What the tracker is told.
    pub tracking: Options,
    /// Turns the trees of the kernel's walk into futures; `None` when it does not walk.
    pub decoder: Option<Decoder>,
    /// What the view says of the target.
    pub about: About,
    /// What is shown meanwhile.
    pub showing: Showing,
    /// When to end.
    pub duration: Option<Duration>,
    /// When to end, where nothing but the recording is shown: the size that it may have.
    pub max_size: Option<u64>,
    /// The recording.
    pub sink: Option<S>,
    /// How often all tasks are read.
    pub rhythm: Rhythm,
    /// Where tables are put, and readings of memory are asked for.
    pub exchange: Arc<Exchange>,
    /// What ends it beside its target.
    pub ends: Ends,
    /// What it may cost the target; `None` for as much as it takes.
    pub budget: Option<Budget>,
    /// Is told the same as the recording, unless the live view has that judged.
    pub observer: Option<Box<dyn Sink>>,
}

/// A session that has ended.
#[derive(Debug)]
pub struct Ended<S> {
    /// Why.
    pub ending: Ending,
    /// How long the probes were in place.
    pub elapsed: Duration,
    /// When it ended, CLOCK_MONOTONIC in nanoseconds.
    pub ended_at: u64,
    /// What the tracker counted.
    pub statistics: Statistics,
    /// Losses by CPU.
    pub losses: Vec<u64>,
    /// Nested polls.
    pub nested: Vec<(Arc<str>, u64)>,
    /// What the attached side counted at last.
    pub finished: Finished,
    /// What became of the recording.
    pub recording: Option<(S, Progress)>,
    /// Why tasks from before the attach are not known.
    pub unread: Option<String>,
    /// What came of the budget, where there was one.
    pub kept: Option<Kept>,
}

/// Follows a session until it ends. `tasks` is used on this thread.
///
/// # Errors
/// When the system refuses threads, signal handlers or timers.
pub fn run<S: Sink>(setup: Setup<S>, tasks: &mut impl ReadTasks) -> anyhow::Result<Ended<S>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(prefer)
        .enable_all()
        .build()
        .context("cannot start the tokio runtime")?;
    let exchange = Arc::clone(&setup.exchange);
    let recording = setup.sink.is_some();
    let (readings, received) = unbounded_channel();
    std::thread::scope(|scope| {
        let mut writing = None;
        let mut queue = None;
        let Setup {
            session,
            tracking,
            decoder,
            about,
            showing,
            duration,
            max_size,
            sink,
            rhythm,
            exchange: _,
            ends,
            observer,
            budget,
        } = setup;
        if let Some(sink) = sink {
            let (recorder, writer) = recorder(sink);
            let thread = std::thread::Builder::new().name("asynctrace-write".to_owned());
            writing = Some(thread.spawn_scoped(scope, move || writer.run())?);
            queue = Some(recorder);
        }
        let judge: Option<Box<dyn Sink>> = match showing {
            Showing::View => {
                let judge = Judging::new(tracking.started, Arc::clone(&exchange));
                Some(Box::new(judge))
            }
            _ => observer,
        };
        let mut judging = None;
        if let Some(judge) = judge {
            let (entries, judge) = recorder_of(judge, MAX_UNJUDGED);
            let thread = std::thread::Builder::new().name("asynctrace-judge".to_owned());
            thread.spawn_scoped(scope, move || judge.run())?;
            judging = Some(entries);
        }
        let thread = std::thread::Builder::new().name("asynctrace-follow".to_owned());
        let shared = Arc::clone(&exchange);
        let following = thread.spawn_scoped(scope, move || {
            let _stop = StopOnDrop(&shared);
            prefer();
            let follower = Follower::new(tracking, about, decoder, queue).judged_by(judging);
            let limits = Limits {
                duration,
                max_size,
                budget,
            };
            let work = follow(session, follower, showing, limits, &shared, received, ends);
            runtime.block_on(work)
        })?;
        reader::run(
            tasks,
            &exchange,
            monotonic_ns,
            readings,
            || recording,
            rhythm,
        );
        let end = joined(following)??;
        let sink = writing.map(joined).transpose()?;
        Ok(Ended {
            ending: end.ending,
            elapsed: end.elapsed,
            ended_at: end.ended_at,
            statistics: end.follower.statistics(),
            losses: end.follower.losses().to_vec(),
            nested: end.follower.nested().most_polled(NestedPolls::SHOWN),
            finished: end.finished,
            unread: end.follower.unread().map(str::to_owned),
            kept: end.kept,
            recording: sink.zip(end.closed.map(|closed| closed.progress())),
        })
    })
}

/// Lets this thread run before others: the rings hold a fraction of a second, and on a machine that
/// is busy with the target a reader who waits for its turn loses events. It takes little of a CPU
/// (0.6 us a record). Without the right to do so (`CAP_SYS_NICE`) it stays as it is.
fn prefer() {
    // 0 is the calling thread: on Linux this is a property of threads (setpriority(2)).
    if let Err(error) = rustix::process::setpriority_process(None, PREFERENCE) {
        tracing::debug!("no preference for reading events: {error}");
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> anyhow::Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the session panicked"))
}

/// Ends the other threads when the follower does, however it does.
struct StopOnDrop<'a>(&'a Exchange);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the follower hands back.
struct End {
    ending: Ending,
    elapsed: Duration,
    ended_at: u64,
    follower: Follower,
    finished: Finished,
    closed: Option<Closed>,
    kept: Option<Kept>,
}

/// When to end, and what it may cost.
struct Limits {
    duration: Option<Duration>,
    max_size: Option<u64>,
    budget: Option<Budget>,
}

async fn follow(
    mut session: Session,
    mut follower: Follower,
    showing: Showing,
    limits: Limits,
    exchange: &Arc<Exchange>,
    mut readings: UnboundedReceiver<Reading>,
    mut stops: Ends,
) -> anyhow::Result<End> {
    stops.prepare().context("cannot handle signals")?;
    let (ends, mut ended) = unbounded_channel();
    // The session keeps a sender of its own, so that the channel stays open.
    let outlet = Outlet::open(showing, Arc::clone(exchange), ends.clone())
        .context("cannot start a thread")?;
    let mut names = FileNames::default();
    let memory = LiveMemory::new(follower.pid());
    let started = Instant::now();
    let mut time_up = pin!(tokio::time::sleep(limits.duration.unwrap_or(Duration::MAX)));
    let budget = limits.budget.clone();
    let mut budgeting = budget.map(|budget| Budgeting::new(budget, &session));
    let mut next_look = pin!(tokio::time::sleep(Duration::ZERO));
    let mut next_table = pin!(tokio::time::sleep(Duration::ZERO));
    let second = Duration::from_secs(1);
    let mut seconds = tokio::time::interval_at(tokio::time::Instant::now() + second, second);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    let ending = loop {
        tokio::select! {
            ending = stops.next() => break ending,
            Some(ending) = ended.recv() => break ending,
            () = &mut time_up => break Ending::TimeUp,
            records = session.next_batch() => {
                follower.take_trees(session.take_trees());
                let mut panics = session.take_panics();
                names.complete(&mut panics, &memory);
                follower.take_panics(panics);
                // After the records: what was lost before this may be missing among them.
                follower.take_batch(&records, &session.losses(), monotonic_ns());
                follower.settle(session.released());
                if session.target_has_ended() {
                    break Ending::TargetExited(None);
                }
                if session.probes_are_lost() {
                    break Ending::ProbesLost;
                }
                if let Some(bytes) = limits.max_size && follower.recording_is_full() {
                    break Ending::RecordingFull(bytes);
                }
            }
            Some(reading) = readings.recv() => follower.take_reading(reading),
            () = &mut next_look, if budgeting.is_some() => {
                if let Some(budgeting) = &mut budgeting {
                    if let Some(change) = budgeting.look(&session) {
                        let work = || budgeting.change(&mut session, &change);
                        match tokio::task::block_in_place(work) {
                            Ok(changed) => {
                                if let Some(note) = changed.note {
                                    outlet.note(note);
                                }
                                for watching in changed.watching {
                                    follower.take_watching(watching, changed.words.clone());
                                }
                            }
                            Err(_) if session.target_has_ended() => {}
                            Err(_) if session.probes_are_lost() => break Ending::ProbesLost,
                            Err(error) => return Err(error).context("probes could not be set anew"),
                        }
                    }
                    // A pause is told soon: until then what waits seems to be watched.
                    follower.settle(session.released());
                    let next = tokio::time::Instant::now() + budgeting.next_look();
                    next_look.as_mut().reset(next);
                }
            }
            () = &mut next_table => {
                let start = Instant::now();
                follower.settle(session.released());
                if showing.wants_tables() {
                    follower.take_readings(exchange.take_readings());
                    exchange.put_table(Arc::new(follower.table(monotonic_ns())));
                }
                let rest = showing.table_period().max(start.elapsed() * TABLE_REST);
                next_table.as_mut().reset(tokio::time::Instant::now() + rest);
            }
            _ = seconds.tick() => {
                if session.target_has_executed() {
                    break Ending::TargetReplaced;
                }
                if let Some(bytes) = limits.max_size && follower.recording_is_full() {
                    break Ending::RecordingFull(bytes);
                }
                if showing.wants_tables() {
                    let share = budgeting.as_ref().map(Budgeting::of_one_cpu);
                    let share = share.unwrap_or_else(|| session.overhead().of_one_cpu());
                    follower.take_overhead(share);
                }
                exchange.put_missed(follower.missed(monotonic_ns()));
                follower.record_statistics(monotonic_ns());
                outlet.line(started.elapsed(), follower.counts());
            }
        }
    };

    let elapsed = started.elapsed();
    let ended_at = monotonic_ns();
    stops.abort_on_next(|| {
        terminal::give_back();
        std::process::exit(ABORTED);
    });
    exchange.put_missed(follower.missed(ended_at));
    exchange.stop();
    outlet.close();
    if session.link_kind() == LinkKind::Perf {
        // 107 ms a link, one after the other, in the kernel (Linux 6.18): nothing makes it faster.
        let wait = Duration::from_millis(107) * u32::try_from(session.probes()).unwrap_or(u32::MAX);
        if wait > Duration::from_secs(1) {
            let (probes, seconds) = (session.probes(), wait.as_secs());
            tracing::warn!("taking {probes} probes out takes this kernel about {seconds} s");
        }
    }
    let finished = tokio::task::block_in_place(|| session.finish());
    let lost: Vec<u64> = finished.counters.iter().map(|cpu| cpu.lost).collect();
    follower.take_trees(finished.trees.clone());
    let mut panics = finished.panics.clone();
    names.complete(&mut panics, &memory);
    follower.take_panics(panics);
    follower.take_batch(&finished.records, &lost, monotonic_ns());
    let last = async {
        while let Some(reading) = readings.recv().await {
            follower.take_reading(reading);
        }
    };
    // A target that is so large, or a machine so busy, gets no snapshot at the end.
    let _ = tokio::time::timeout(LAST_READING, last).await;
    follower.settle(u64::MAX);
    let (tasks, tasks_seen) = follower.tasks_seen();
    let kept = budgeting.map(|budgeting| budgeting.kept(tasks, tasks_seen));
    let closed = follower.end_recording();
    drop(ends);
    Ok(End {
        ending,
        elapsed,
        ended_at,
        follower,
        finished,
        closed,
        kept,
    })
}
