//! When this machine was late: other work, or the host of a virtual machine, kept its processors.
//! What is measured at two ends of such a moment differs by it, and nobody is at fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// How often each processor is asked, and how late it may be.
const EVERY: Duration = Duration::from_millis(1);
const LATE: u64 = 300_000;

/// Watches every processor until it is ended.
#[derive(Debug)]
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(u64, u64)>>>,
    begun: u64,
}

/// Moments at which a processor was not to be had: begin and end, CLOCK_MONOTONIC in nanoseconds,
/// in order of their begin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lateness {
    moments: Vec<(u64, u64)>,
    /// For how long all processors together were watched, nanoseconds.
    watched: u64,
}

impl Watch {
    /// Begins.
    pub(crate) fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..processors)
            .map(|processor| {
                let ended = Arc::clone(&ended);
                thread::spawn(move || watch(processor, &ended))
            })
            .collect();
        Self {
            ended,
            threads,
            begun: now(),
        }
    }

    /// Ends, with what was seen.
    pub(crate) fn end(self) -> Lateness {
        self.ended.store(true, Ordering::Relaxed);
        let watched = (now() - self.begun) * self.threads.len() as u64;
        let seen = self.threads.into_iter().filter_map(|one| one.join().ok());
        let mut late: Vec<(u64, u64)> = seen.flatten().collect();
        late.sort_unstable();
        Lateness {
            moments: late,
            watched,
        }
    }
}

impl Lateness {
    /// The part of the time in which a processor was not to be had.
    pub(crate) fn share(&self) -> f64 {
        self.between(0, u64::MAX) as f64 / self.watched.max(1) as f64
    }

    /// For how long processors were not to be had between two times, in nanoseconds.
    pub(crate) fn between(&self, from: u64, to: u64) -> u64 {
        let until = self.moments.partition_point(|late| late.0 < to);
        let over = |late: &(u64, u64)| late.1.min(to).saturating_sub(late.0.max(from));
        self.moments[..until].iter().map(over).sum()
    }
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

fn watch(processor: usize, ended: &AtomicBool) -> Vec<(u64, u64)> {
    let mut only = CpuSet::new();
    only.set(processor);
    // Where it is not to be had (a container's limits), the thread watches where it is put.
    let _ = sched_setaffinity(None, &only);
    let mut late = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let due = now() + EVERY.as_nanos() as u64;
        thread::sleep(EVERY);
        let woken = now();
        if woken.saturating_sub(due) > LATE {
            late.push((due, woken));
        }
    }
    late
}
