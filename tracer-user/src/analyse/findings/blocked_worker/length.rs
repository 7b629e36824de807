//! How long a poll held its thread, and what it did then.
//!
//! Without a probe at its exit, a poll's end is noticed by what comes next on its thread: another
//! poll, a wake-up outside polls, the thread's leaving the CPU. On a worker of a multi-threaded
//! runtime little lies in between. On a thread that runs `block_on`, the future given to that is
//! polled in between, which nobody sees: there, only what happened inside the poll says how long it
//! took at least.

use std::collections::HashSet;

use super::Held;
use crate::analyse::findings::case::Case;
use crate::analyse::history::{History, Poll, PollIndex, UnitKind};

/// A long poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) poll: PollIndex,
    /// Nanoseconds on the CPU, at most where the end is a bound.
    pub(super) on_cpu: u64,
    /// Asleep in calls that wait for something by nature.
    pub(super) asked: u64,
    /// Asleep in calls that do some work.
    pub(super) work: u64,
    /// Asleep in calls that wait for other threads: locks.
    pub(super) shared: u64,
    /// Asleep, and not known in what.
    pub(super) elsewhere: u64,
    /// Without a CPU though it could run.
    pub(super) preempted: u64,
    /// What is proved of its length, less `preempted`: until the last thing that happened in it.
    pub(super) least: u64,
    /// The thread runs nothing between polls that would not be seen.
    pub(super) trusted: bool,
    /// A `block_in_place` may have been going on in it.
    pub(super) in_place: bool,
    /// What kept it longest.
    pub(super) held: Held,
    /// The system call it slept in for longest, all sleeps in it together.
    pub(super) longest_sleep: Option<(u32, u64)>,
}

impl Length {
    /// What it slept.
    pub(super) fn asleep(&self) -> u64 {
        self.asked + self.work + self.shared + self.elsewhere
    }

    /// How long it held its thread, less the time that the scheduler took.
    pub(super) fn net(&self) -> u64 {
        self.on_cpu + self.asleep()
    }
}

/// What sleeping in a system call means. Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    /// The program asked to wait.
    Asked,
    /// Work that took long.
    Work,
    /// A lock between threads: in user space, or the kernel's of the address space. Its holder may
    /// have been without a CPU.
    Shared,
}

const fn sleep_in(syscall: u32) -> Sleep {
    match syscall {
        // poll, select, pause, nanosleep, accept, connect, wait4, fsync, fdatasync, flock.
        7 | 23 | 34 | 35 | 42 | 43 | 61 | 73 | 74 | 75 => Sleep::Asked,
        // rt_sigtimedwait, semtimedop, clock_nanosleep, epoll_wait, waitid, pselect6, ppoll,
        // epoll_pwait, accept4, epoll_pwait2.
        128 | 220 | 230 | 232 | 247 | 270 | 271 | 281 | 288 | 441 => Sleep::Asked,
        // mmap, mprotect, munmap, brk, sched_yield, mremap, madvise, futex, membarrier, futex_wait
        // and what came with it.
        9..=12 | 24 | 25 | 28 | 202 | 324 | 449 | 454..=456 => Sleep::Shared,
        _ => Sleep::Work,
    }
}

/// Nanoseconds that a poll slept in calls that do not wait by nature: a lock's holder, the disk, or
/// the scheduler may be to blame for these.
pub(in crate::analyse::findings) fn slept_for_others(history: &History, index: PollIndex) -> u64 {
    let poll = &history[index];
    if poll.blocked == 0 {
        return 0;
    }
    let whiles = history.off_cpu_of(index).iter();
    let asked = whiles
        .filter(|off| !off.preempted && off.syscall.map(sleep_in) == Some(Sleep::Asked))
        .map(|off| off.to.saturating_sub(off.from));
    poll.blocked
        .saturating_sub(asked.fold(0, u64::saturating_add))
}

/// What is known of the threads, and of blocking in place.
#[derive(Debug, Default)]
pub(in crate::analyse::findings) struct Foreign {
    /// Threads that may run a `block_on` between polls.
    roots: HashSet<u32>,
    /// Threads that were seen in `block_in_place`, and when.
    aside: HashSet<(u32, u64)>,
    /// Begins of polls that take over a worker from a thread that blocks in place.
    takeovers: Vec<u64>,
}

/// The blocking task by which another thread becomes the worker (tokio 1.0 to 1.54,
/// `runtime/scheduler/multi_thread/worker.rs`).
const TAKEOVER: &str = "block_in_place";

impl Foreign {
    pub(in crate::analyse::findings) fn of(case: &Case<'_>) -> Self {
        let history = case.history;
        let mut foreign = Self::default();
        let now = case.now().map(|moment| &moment.snapshot);
        // Where only multi-threaded runtimes are, whoever polls tasks is a worker.
        let workers_only = now.is_some_and(|snapshot| {
            let mut runtimes = snapshot.runtimes.iter().peekable();
            runtimes.peek().is_some() && runtimes.all(|runtime| runtime.scheduler == "multi_thread")
        });
        let process = now.and_then(|snapshot| u32::try_from(snapshot.process.pid).ok());
        for unit in &history.units {
            match &unit.kind {
                UnitKind::Thread { tid, name, .. } => {
                    let name = name.as_deref().unwrap_or_default();
                    let is_worker = process != Some(*tid) && (workers_only || is_worker_name(name));
                    if !is_worker {
                        foreign.roots.insert(*tid);
                    }
                }
                UnitKind::Task(task) if task.blocking => {
                    let future = task.future.as_deref().unwrap_or_default();
                    if future.contains(TAKEOVER) {
                        let begins = unit.polls.iter().map(|poll| history[*poll].begin);
                        foreign.takeovers.extend(begins);
                    }
                }
                _ => {}
            }
        }
        foreign.takeovers.sort_unstable();
        for moment in case.moments {
            let threads = moment.snapshot.threads.iter().filter(|thread| thread.aside);
            foreign
                .aside
                .extend(threads.map(|thread| (thread.tid, moment.time)));
        }
        foreign
    }

    /// Whether a thread was seen aside in a poll.
    fn was_aside(&self, history: &History, poll: &Poll, end: u64) -> bool {
        let tid = match poll.thread.map(|thread| &history[thread].kind) {
            Some(UnitKind::Thread { tid, .. }) => *tid,
            _ => return false,
        };
        let mut seen = self.aside.iter();
        seen.any(|(thread, time)| *thread == tid && poll.begin <= *time && *time <= end)
    }

    /// Whether the thread of a poll may run something unseen between the polls of tasks.
    pub(in crate::analyse::findings) fn is_root(&self, history: &History, poll: &Poll) -> bool {
        match poll.thread.map(|thread| &history[thread].kind) {
            Some(UnitKind::Thread { tid, .. }) => self.roots.contains(tid),
            _ => true,
        }
    }

    fn took_over(&self, from: u64, to: u64) -> bool {
        let at = self.takeovers.partition_point(|time| *time < from);
        self.takeovers.get(at).is_some_and(|time| *time <= to)
    }
}

/// tokio's own names of worker threads, as the kernel cuts them (15 bytes): 1.0 to 1.54.
fn is_worker_name(name: &str) -> bool {
    name.starts_with("tokio-runtime-w") || name.starts_with("tokio-rt-worker")
}

/// The length of a poll, when it is longer than the threshold.
pub(super) fn of(
    case: &Case<'_>,
    foreign: &Foreign,
    index: PollIndex,
    threshold: u64,
) -> Option<Length> {
    let history = case.history;
    let poll = &history[index];
    let over = history[poll.task]
        .task()
        .is_some_and(|task| task.end.is_some());
    // A task that is over is in no poll: the end of this one was lost.
    if poll.end.is_none() && over {
        return None;
    }
    let end = history.end_of(index);
    let whole = end.saturating_sub(poll.begin);
    if !poll.begin_known || whole.saturating_sub(poll.preempted) <= threshold {
        return None;
    }
    if foreign.was_aside(history, poll, end) {
        return None;
    }
    let whiles = history.off_cpu_of(index);
    let mut length = Length {
        poll: index,
        on_cpu: 0,
        asked: 0,
        work: 0,
        shared: 0,
        elsewhere: 0,
        preempted: 0,
        least: 0,
        trusted: !foreign.is_root(history, poll),
        in_place: foreign.took_over(poll.begin, end),
        held: Held::Cpu,
        longest_sleep: None,
    };
    let mut until = history.known_until(index);
    let mut sleeps: Vec<(Option<u32>, u64)> = Vec::new();
    for off in whiles {
        let slept = off.to.saturating_sub(off.from);
        until = until.max(off.to.min(end));
        if off.preempted {
            length.preempted += slept;
            continue;
        }
        let sum = match off.syscall.map(sleep_in) {
            Some(Sleep::Asked) => &mut length.asked,
            Some(Sleep::Work) => &mut length.work,
            Some(Sleep::Shared) => &mut length.shared,
            None => &mut length.elsewhere,
        };
        *sum += slept;
        match sleeps
            .iter_mut()
            .find(|(syscall, _)| *syscall == off.syscall)
        {
            Some((_, sum)) => *sum += slept,
            None => sleeps.push((off.syscall, slept)),
        }
    }
    // Rows beyond the limits are in the sums only.
    let rest = poll.blocked.saturating_sub(length.asleep());
    length.elsewhere += rest;
    length.preempted = length.preempted.max(poll.preempted);
    length.on_cpu = whole.saturating_sub(length.asleep() + length.preempted);
    length.least = until
        .saturating_sub(poll.begin)
        .saturating_sub(length.preempted);
    let longest = sleeps.into_iter().max_by_key(|(_, slept)| *slept);
    length.longest_sleep = longest.and_then(|(syscall, slept)| Some((syscall?, slept)));
    length.held = match longest {
        Some((syscall, slept)) if slept >= length.on_cpu => {
            syscall.map_or(Held::Elsewhere, Held::Syscall)
        }
        _ if length.elsewhere > length.on_cpu => Held::Elsewhere,
        _ => Held::Cpu,
    };
    (length.net() > threshold).then_some(length)
}
