//! The tasks of a large runtime, shared out among threads.

use std::panic::resume_unwind;

use super::super::handles::Scheduler;
use super::super::leaves::LocalSetSeen;
use super::super::roots::Roots;
use super::super::task::{TaskRead, TaskReader};
use super::Inspector;
use crate::address::Address;
use crate::dwarf::DebugInfo;
use crate::memory::Memory;
use crate::walk::Futures;

/// Fewer tasks are not worth another thread, which compiles the types that it meets for itself: that
/// takes as long as some thousand tasks.
const TASKS_A_THREAD: usize = 8192;
/// Threads at most: the other CPUs are the target's.
const MOST_THREADS: usize = 4;
/// As large as that of the first thread: walks recurse.
const STACK: usize = 8 << 20;

impl<'a> Inspector<'_, 'a> {
    /// Reads the tasks at these headers, and gives each that is there to `each`, in their order.
    pub(super) fn read_parts(
        &self,
        headers: &[Address],
        scheduler: Scheduler,
        reader: &TaskReader<'_, '_, '_, 'a>,
        memory: &dyn Memory,
        each: &mut dyn FnMut(TaskRead),
    ) {
        let threads = rayon::current_num_threads().min(MOST_THREADS);
        let size = headers.len().div_ceil(threads.max(1)).max(TASKS_A_THREAD);
        let Some(shared) = memory.for_threads().filter(|_| headers.len() > size) else {
            reader.read_all(headers, scheduler, memory, each);
            return;
        };
        let indexed = self.futures.info().indexed();
        let seed = (self.pid, self.bias, self.layout);
        let read = &|headers: &[Address]| -> (Vec<TaskRead>, Vec<LocalSetSeen>) {
            let info = DebugInfo::of(indexed.clone());
            let futures = Futures::new(&info);
            let (pid, bias, layout) = seed;
            let part = Inspector {
                pid,
                bias,
                tls: None,
                futures: &futures,
                roots: Roots::new(&futures, bias, layout),
                layout,
                contexts: Vec::new(),
                stacks: std::cell::OnceCell::new(),
                habits: super::Habits::default(),
            };
            let leaves = part.leaves();
            let mut tasks = Vec::with_capacity(headers.len());
            part.reader(&leaves)
                .read_all(headers, scheduler, shared, &mut |read| tasks.push(read));
            (tasks, leaves.take_local_sets())
        };
        // No tasks of rayon's: one that waits for the pass over all units, which a declared type
        // needs, would begin another one meanwhile, and that would wait for the same pass.
        let parts: Vec<_> = std::thread::scope(|scope| {
            let begin = |headers| {
                std::thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || read(headers))
            };
            let (first, others) = headers.split_at(size);
            let others: Vec<_> = others
                .chunks(size)
                .map(|part| (part, begin(part)))
                .collect();
            let first = std::iter::once(read(first));
            let others = others.into_iter().map(|(part, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // There is no room for another thread.
                Err(_) => read(part),
            });
            first.chain(others).collect()
        });
        for (tasks, local_sets) in parts {
            tasks.into_iter().for_each(&mut *each);
            reader.leaves.add_local_sets(local_sets);
        }
    }
}
