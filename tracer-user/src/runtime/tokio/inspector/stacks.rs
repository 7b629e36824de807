//! The inspector's look at stacks: the roots that `block_on` runs, as tasks.

use std::collections::BTreeMap;

use super::super::block_on::{self, Root, RootUnknown, ScopeCache, Target};
use super::super::handles::ThreadContext;
use super::super::leaves::TokioLeaves;
use super::{Found, Inspector};
use crate::address::Address;
use crate::locate::Process;
use crate::memory::Memory;
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::AwaitNode;
use crate::unwind::LoadedFiles;
use crate::walk::{Limits, Walker};

/// Readings of a tree before it is called torn.
const ATTEMPTS: u32 = 8;

/// What does not change between two looks at the stacks of a process.
pub(super) struct Stacks<'d, 'a> {
    files: LoadedFiles,
    scopes: ScopeCache<'d, 'a>,
}

impl<'d, 'a> Inspector<'d, 'a> {
    /// Appends the roots of `block_on` to the tasks. `leaves` see their trees, so that local sets
    /// are met in them.
    pub(super) fn read_roots(
        &self,
        process: &Process,
        contexts: &[ThreadContext],
        leaves: &TokioLeaves<'d, 'a>,
        memory: &dyn Memory,
        found: &mut Found,
    ) {
        let stacks = match self.stacks(process) {
            Ok(stacks) => stacks,
            Err(error) => {
                let warning = format!("roots in block_on are not listed: {error}");
                return found.warnings.push(warning);
            }
        };
        let Some(executable) = stacks.files.executable() else {
            let warning = "roots in block_on are not listed: the executable is not mapped";
            return found.warnings.push(warning.to_owned());
        };
        // Bytes that are no future at all are decoded on the way to a root: what leaves see in
        // them must not count.
        let trial = self.leaves();
        let walker = |leaves| Walker {
            futures: self.futures,
            bias: self.bias,
            leaves,
            limits: Limits::default(),
        };
        let modules = stacks.files.modules();
        let findings = block_on::roots(
            self.pid,
            &process.threads(),
            &Target {
                modules: &modules,
                executable,
                info: self.futures.info(),
                scopes: &stacks.scopes,
                judge: &walker(&trial),
                memory,
            },
        );
        let scheduler_of = |tid| {
            let context = contexts.iter().find(|context| context.tid == tid)?;
            Some(context.handle.scheduler.name())
        };
        let mut of_thread: BTreeMap<i32, usize> = BTreeMap::new();
        let mut unseen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for finding in findings {
            let tid = match &finding {
                Ok(root) => root.tid,
                Err(unknown) => unknown.tid,
            };
            let scheduler = scheduler_of(tid);
            let mut id = || {
                let nth = of_thread.entry(tid).or_default();
                *nth += 1;
                match *nth {
                    1 => format!("tokio/block_on/{tid}"),
                    nth => format!("tokio/block_on/{tid}.{nth}"),
                }
            };
            match finding {
                Ok(root) => {
                    let (task, torn) = self.root(id(), &root, scheduler, &walker(leaves), memory);
                    found.torn += u64::from(torn);
                    found.tasks.push(task);
                }
                Err(unknown) if unknown.future_type.is_some() => {
                    found
                        .tasks
                        .push(self.unknown_root(id(), &unknown, scheduler));
                }
                // Outside of every runtime there is seldom a root, and nothing that says so.
                Err(unknown) => {
                    if scheduler.is_some() {
                        let name = format!("{} ({})", unknown.thread_name, unknown.tid);
                        unseen.entry(unknown.reason).or_default().push(name);
                    }
                }
            }
        }
        for (reason, threads) in unseen {
            found.warnings.push(format!(
                "a root in block_on would not be seen on {}: {reason}",
                threads.join(", ")
            ));
        }
    }

    fn stacks(&self, process: &Process) -> Result<&Stacks<'d, 'a>, crate::locate::TargetError> {
        if let Some(stacks) = self.stacks.get() {
            return Ok(stacks);
        }
        let files = LoadedFiles::open(process)?;
        Ok(self.stacks.get_or_init(|| Stacks {
            files,
            scopes: ScopeCache::new(self.futures.info().units()),
        }))
    }

    /// A root as a task, and whether its memory changed in every attempt.
    fn root(
        &self,
        id: String,
        root: &Root,
        scheduler: Option<&'static str>,
        walker: &Walker<'_, 'd, 'a>,
        memory: &dyn Memory,
    ) -> (TaskInfo, bool) {
        let node = self.futures.root(root.future_type);
        let read = || walker.tree(node, root.address, memory);
        let (tree, torn) = read_twice(read);
        let mut notes = vec![format!(
            "runs on thread {} ({})",
            root.thread_name, root.tid
        )];
        if root.scanned {
            notes.push(format!("its place was found {}", root.evidence));
        }
        if torn {
            notes.push("its memory changed while it was read".to_owned());
        }
        let task = TaskInfo {
            id,
            runtime: "tokio",
            scheduler: scheduler.unwrap_or(root.scheduler),
            state: if root.parked {
                TaskState::Idle
            } else {
                TaskState::Running
            },
            future: self.futures.future_name(root.future_type),
            tree: Some(tree),
            notes,
            address: root.address,
            references: None,
            ..TaskInfo::default()
        };
        (task, torn)
    }

    fn unknown_root(
        &self,
        id: String,
        unknown: &RootUnknown,
        scheduler: Option<&'static str>,
    ) -> TaskInfo {
        TaskInfo {
            id,
            runtime: "tokio",
            scheduler: scheduler.unwrap_or("unknown"),
            state: TaskState::Unknown,
            future: unknown
                .future_type
                .map_or_else(|| "?".into(), |die| self.futures.future_name(die)),
            tree: None,
            notes: vec![
                format!("runs on thread {} ({})", unknown.thread_name, unknown.tid),
                unknown.reason.clone(),
            ],
            address: Address::default(),
            references: None,
            ..TaskInfo::default()
        }
    }
}

/// Reads until two readings in a row are equal.
fn read_twice(read: impl Fn() -> AwaitNode) -> (AwaitNode, bool) {
    let mut last = read();
    for _ in 0..ATTEMPTS {
        let again = read();
        if again == last {
            return (again, false);
        }
        last = again;
    }
    (last, true)
}
