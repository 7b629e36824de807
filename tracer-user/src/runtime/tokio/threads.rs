//! The threads of a process: what each is doing now, and for which task.
//!
//! tokio keeps the id of the task that a thread polls in its thread-local context
//! (`runtime::context::Context.current_task_id`, tokio 1.24 to 1.54.1). A closure on the blocking
//! pool is a task there, too, and so is a worker of a multi-thread runtime for all its life: an id
//! counts only if it is that of a task in a runtime's list. Whether it has entered the runtime (a worker,
//! or in `block_on`) is in `Context.runtime: EnterRuntime` (1.26 on). The kernel tells the rest in
//! `/proc`.
//!
//! Not told apart: a thread that is parked, and one on which the root of a `block_on` waits for a lock
//! of the standard library or in `epoll_wait` of its own; both are in the same system call without a
//! task.

use std::collections::HashSet;

use procfs::process::{Process as Proc, Task};

use super::handles::{ContextVariable, ThreadFacts};
use crate::address::Address;
use crate::dwarf::DebugInfo;
use crate::locate::thread_state::ThreadState;
use crate::locate::{TlsSegment, syscall_name};
use crate::memory::Memory;
use crate::rebuild::snapshot::{TaskInfo, ThreadInfo};

/// Where thread-locals of the runtime are read.
pub(super) struct ThreadLocals<'l, 'a> {
    /// Debug information.
    pub info: &'l DebugInfo<'a>,
    /// The executable's thread-local segment.
    pub segment: TlsSegment,
    /// The context's places in it, the likeliest first.
    pub variables: &'l [ContextVariable],
    /// The thread pointers that are known.
    pub pointers: &'l [(i32, Address)],
}

impl ThreadLocals<'_, '_> {
    fn facts(&self, tid: i32, memory: &dyn Memory) -> Option<ThreadFacts> {
        let (_, pointer) = self.pointers.iter().find(|(known, _)| *known == tid)?;
        ThreadFacts::read(self.info, memory, &self.segment, self.variables, *pointer)
    }
}

/// All threads now. `tasks` are those in the runtimes' lists; without `locals` nothing is known of
/// what threads do for the runtime but whether they are `in_runtime`.
pub(super) fn look(
    pid: i32,
    locals: Option<&ThreadLocals<'_, '_>>,
    tasks: &[TaskInfo],
    in_runtime: &HashSet<i32>,
    memory: &dyn Memory,
) -> Vec<ThreadInfo> {
    let Ok(threads) = Proc::new(pid).and_then(|process| process.tasks()) else {
        return Vec::new();
    };
    let listed: HashSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    threads
        .filter_map(Result::ok)
        .filter_map(|thread| {
            let facts = |tid| locals.and_then(|locals| locals.facts(tid, memory));
            let before = facts(thread.tid);
            let (info, call) = of_kernel(pid, &thread)?;
            // What the kernel says belongs to what the runtime says if that was so before and after.
            let facts = facts(thread.tid).filter(|after| Some(*after) == before);
            Some(joined(info, call, facts, &listed, in_runtime))
        })
        .collect()
}

/// What the kernel tells of a thread, and the name of the system call it is in.
fn of_kernel(pid: i32, thread: &Task) -> Option<(ThreadInfo, Option<&'static str>)> {
    let stat = thread.stat().ok()?;
    let status = thread.status().ok();
    let switches = status.and_then(|status| {
        let given_up = status.voluntary_ctxt_switches?;
        Some((given_up, status.nonvoluntary_ctxt_switches?))
    });
    let call = match ThreadState::read(pid, thread.tid) {
        Ok(ThreadState::Blocked {
            syscall: Some(number),
            ..
        }) => u32::try_from(number).ok().and_then(syscall_name),
        _ => None,
    };
    let times = thread.schedstat().ok();
    let info = ThreadInfo {
        tid: u32::try_from(thread.tid).ok()?,
        name: stat.comm.as_str().into(),
        state: stat.state.to_string(),
        syscall: call.map(Into::into),
        switches: switches.unwrap_or_default(),
        // The scheduler's own count; in clock ticks where the kernel was built without it.
        cpu_time: times.as_ref().map_or_else(
            || {
                let ticks = stat.utime.saturating_add(stat.stime);
                let second = procfs::ticks_per_second().max(1);
                ticks.saturating_mul(1_000_000_000 / second)
            },
            |times| times.sum_exec_runtime,
        ),
        run_delay: times.map(|times| times.run_delay),
        ..ThreadInfo::default()
    };
    Some((info, call))
}

/// What the kernel and the runtime tell, as one.
fn joined(
    mut info: ThreadInfo,
    call: Option<&str>,
    facts: Option<ThreadFacts>,
    listed: &HashSet<&str>,
    in_runtime: &HashSet<i32>,
) -> ThreadInfo {
    let tid = i32::try_from(info.tid).unwrap_or(-1);
    let polls = facts
        .and_then(|facts| facts.task_id)
        .map(|id| format!("tokio/{id}"))
        .filter(|id| listed.contains(id.as_str()));
    let in_driver = call.is_some_and(|call| call.starts_with("epoll_"));
    let in_futex = call.is_some_and(|call| call.starts_with("futex"));
    // A thread of the blocking pool has a handle, and has not entered. One that is in
    // `block_in_place` has left, and polls.
    let entered = facts.map(|facts| facts.entered);
    info.in_runtime = polls.is_some() || entered.unwrap_or_else(|| in_runtime.contains(&tid));
    info.parked =
        info.in_runtime && polls.is_none() && (in_driver || in_futex && entered == Some(true));
    info.aside = polls.is_some() && entered == Some(false);
    info.polls = polls;
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(task_id: Option<u64>, entered: bool) -> ThreadFacts {
        ThreadFacts { entered, task_id }
    }

    /// Whom it polls, whether it is in a runtime, and whether it is parked.
    fn told(call: Option<&str>, facts: Option<ThreadFacts>) -> (Option<String>, bool, bool) {
        let listed = HashSet::from(["tokio/7"]);
        let inside = HashSet::from([12]);
        let thread = ThreadInfo {
            tid: 12,
            ..ThreadInfo::default()
        };
        let told = joined(thread, call, facts, &listed, &inside);
        (told.polls, told.in_runtime, told.parked)
    }

    #[test]
    fn a_thread_that_polls_is_not_parked_wherever_it_waits() {
        let polls = Some("tokio/7".to_owned());
        let polling = Some(facts(Some(7), true));
        assert_eq!(told(Some("futex"), polling), (polls.clone(), true, false));
        assert_eq!(told(None, polling), (polls.clone(), true, false));
        // In block_in_place it has left its runtime for a while.
        let aside = Some(facts(Some(7), false));
        assert_eq!(told(Some("epoll_wait"), aside), (polls, true, false));
    }

    #[test]
    fn a_worker_parks_with_an_id_of_its_own() {
        // Its own id is that of the blocking task which is the worker.
        let worker = Some(facts(Some(1), true));
        assert_eq!(told(Some("epoll_wait"), worker), (None, true, true));
        assert_eq!(told(Some("futex"), worker), (None, true, true));
        assert_eq!(told(Some("read"), worker), (None, true, false));
        assert_eq!(told(None, worker), (None, true, false));
        // In block_on.
        let root = Some(facts(None, true));
        assert_eq!(told(Some("futex"), root), (None, true, true));
        // On the blocking pool: idle, and in a closure that waits for a lock.
        for pool in [facts(None, false), facts(Some(2), false)] {
            assert_eq!(told(Some("futex"), Some(pool)), (None, false, false));
        }
    }

    #[test]
    fn without_thread_locals_only_the_driver_is_known_to_be_parked_in() {
        assert_eq!(told(Some("epoll_wait"), None), (None, true, true));
        assert_eq!(told(Some("futex"), None), (None, true, false));
    }
}
