//! tokio's tasks in a live process, for the reader of memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use procfs::{CurrentSI as _, KernelStats};

use super::reader::ReadTasks;
use crate::address::Address;
use crate::locate::Process;
use crate::memory::LiveMemory;
use crate::rebuild::snapshot::{
    DebugInfoLevel, ProcessInfo, SCHEMA, Snapshot, TaskInfo, TaskState,
};
use crate::rebuild::tracker::{TaskKey, key_of_listed};
use crate::runtime::tokio::{Inspector, Scheduler, ShapeInspector, coverage};
use crate::walk::flat::{LiveWalk, Tables, Told};

/// What reads the tasks.
pub enum TaskSource<'d, 'a> {
    /// Their types, with await trees.
    Types(Box<Inspector<'d, 'a>>),
    /// The shape that they all have, without await trees.
    Shapes(ShapeInspector),
    /// Nothing, with the reason.
    Unreadable(String),
}

/// The tasks of a process.
pub struct TokioTasks<'p, 'd, 'a> {
    process: &'p Process,
    source: TaskSource<'d, 'a>,
    level: DebugInfoLevel,
    build_id: Option<String>,
    tables: Arc<Tables>,
    /// The lists that were read to their end when all tasks were read.
    owners: foldhash::HashSet<u64>,
    /// Roots without a task header, as they were found with all tasks.
    roots: HashMap<Address, TaskInfo>,
}

impl<'p, 'd, 'a> TokioTasks<'p, 'd, 'a> {
    /// A root without a task header.
    fn root(&self, address: Address) -> Result<TaskInfo, String> {
        let known = self.roots.get(&address).cloned();
        let mut root = known.ok_or("it was not there when all tasks were read last")?;
        root.notes
            .push("as it was when all tasks were read last".to_owned());
        Ok(root)
    }

    /// Of a process.
    #[must_use]
    pub fn new(
        process: &'p Process,
        source: TaskSource<'d, 'a>,
        level: DebugInfoLevel,
        build_id: Option<String>,
        tables: Arc<Tables>,
    ) -> Self {
        Self {
            process,
            source,
            level,
            build_id,
            tables,
            owners: foldhash::HashSet::default(),
            roots: HashMap::new(),
        }
    }

    fn check_alive(&self) -> Result<(), String> {
        if self.process.is_alive() {
            Ok(())
        } else {
            Err("the process has ended".to_owned())
        }
    }

    fn memory(&self) -> LiveMemory {
        self.process.memory()
    }
}

/// CPU time that a hypervisor took from this machine: see [`Snapshot::stolen`].
fn stolen() -> Option<u64> {
    let ticks = KernelStats::current().ok()?.total.steal?;
    let second = procfs::ticks_per_second().max(1);
    Some(ticks.saturating_mul(1_000_000_000 / second))
}

impl ReadTasks for TokioTasks<'_, '_, '_> {
    fn all(&mut self) -> Result<Snapshot, String> {
        self.check_alive()?;
        let time = crate::stream::monotonic_ns();
        let memory = self.memory();
        let mut found = match &self.source {
            TaskSource::Types(inspector) => inspector.tasks(self.process, &memory),
            TaskSource::Shapes(inspector) => inspector.tasks(self.process, &memory),
            TaskSource::Unreadable(reason) => return Err(reason.clone()),
        };
        self.check_alive()?;
        self.owners = std::mem::take(&mut found.owners);
        self.roots = found
            .tasks
            .iter()
            .filter(|task| key_of_listed(task).id.is_none())
            .map(|task| (task.address, task.clone()))
            .collect();
        Ok(Snapshot {
            schema: SCHEMA,
            time,
            process: ProcessInfo {
                pid: self.process.pid,
                exe: self.process.exe.display().to_string(),
                build_id: self.build_id.clone(),
            },
            coverage: coverage(&found, self.level),
            runtimes: found.runtimes,
            tasks: found.tasks,
            threads: found.threads,
            stolen: stolen(),
            warnings: found.warnings,
        })
    }

    fn some(&mut self, keys: &[TaskKey]) -> Result<Vec<Result<TaskInfo, String>>, String> {
        self.check_alive()?;
        let inspector = match &self.source {
            TaskSource::Types(inspector) => inspector,
            TaskSource::Shapes(_) => {
                return Err("the binary has no types in its debug information".to_owned());
            }
            TaskSource::Unreadable(reason) => return Err(reason.clone()),
        };
        let listed = keys.iter().filter(|key| key.id.is_some());
        let headers: Vec<Address> = listed.map(|key| key.address).collect();
        // What is only known of the list they are in does not matter for their trees.
        let mut found = inspector.tasks_at(&headers, Scheduler::MultiThread, &self.memory());
        let one = |key: &TaskKey| {
            if key.id.is_none() {
                return self.root(key.address);
            }
            let task = found
                .remove(&key.address)
                .ok_or("there is no task at its address any more")?;
            if key_of_listed(&task) != *key {
                return Err("it has ended; another task is at its address now".to_owned());
            }
            Ok(task)
        };
        Ok(keys.iter().map(one).collect())
    }

    fn gone(&mut self, keys: &[TaskKey]) -> HashSet<TaskKey> {
        let memory = self.memory();
        let gone = match &self.source {
            _ if keys.is_empty() => return HashSet::new(),
            TaskSource::Types(inspector) => inspector.gone(keys, &self.owners, &memory),
            TaskSource::Shapes(inspector) => inspector.gone(keys, &self.owners, &memory),
            TaskSource::Unreadable(_) => HashSet::new(),
        };
        // Of a process that has ended nothing can be read.
        match self.check_alive() {
            Ok(()) => gone,
            Err(_) => HashSet::new(),
        }
    }

    fn suspensions(&mut self, snapshot: &Snapshot) -> Vec<(TaskKey, Told)> {
        let TaskSource::Types(inspector) = &self.source else {
            return Vec::new();
        };
        let memory = self.memory();
        let mut walk = LiveWalk::new(&self.tables);
        let idle = snapshot
            .tasks
            .iter()
            .filter(|task| matches!(task.state, TaskState::Idle | TaskState::Scheduled));
        let keys: HashMap<Address, TaskKey> = idle
            .clone()
            .map(key_of_listed)
            .filter(|key| key.id.is_some())
            .map(|key| (key.address, key))
            .collect();
        let headers: Vec<Address> = idle
            .map(|task| task.address)
            .filter(|header| keys.contains_key(header))
            .collect();
        let mut told = Vec::new();
        inspector.walk_all_idle(&headers, &mut walk, &memory, &mut |header, one| {
            told.extend(keys.get(&header).map(|key| (*key, one)));
        });
        told
    }

    fn suspension(&mut self, key: TaskKey) -> Option<Told> {
        let TaskSource::Types(inspector) = &self.source else {
            return None;
        };
        key.id?;
        let mut walk = LiveWalk::new(&self.tables);
        inspector.walk_idle(key.address, &mut walk, &self.memory())
    }

    fn threads(&mut self) -> Vec<(u32, Arc<str>)> {
        self.process
            .threads()
            .into_iter()
            .map(|thread| (thread.tid.unsigned_abs(), thread.name.into()))
            .collect()
    }
}
