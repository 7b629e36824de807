//! Reading a process's tasks from its memory, without probes: locate -> object -> dwarf -> memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dwarf::DebugInfo;
use crate::error::Result;
use crate::follow::reader::ReadTasks as _;
use crate::follow::tasks::{TaskSource, TokioTasks};
use crate::locate::{Process, TargetError};
use crate::object::{Binary, DebugSource};
use crate::rebuild::snapshot::Snapshot;
use crate::runtime::tokio::{Inspector, ShapeInspector};
use crate::show;
use crate::walk::Futures;

/// How long a started command may take to its first task.
const START: Duration = Duration::from_secs(3);

/// What reads the tasks of a process.
pub(crate) struct Look<'l, 'p, 'd, 'a> {
    process: &'p Process,
    tasks: &'l mut TokioTasks<'p, 'd, 'a>,
    /// What is wrong with its debug information, in sentences.
    damage: &'l [String],
}

/// Calls `work` with what reads the tasks of a process.
///
/// # Errors
/// Those of the stages, and of `work`.
pub(crate) fn look<T>(
    process: &Process,
    debug_file: Option<&Path>,
    work: impl FnOnce(&mut Look<'_, '_, '_, '_>) -> Result<T>,
) -> Result<T> {
    process.check_memory_access()?;
    let module = process.executable()?;
    let binary = Arc::new(Binary::of_module(&module)?);
    let source = DebugSource::find(Arc::clone(&binary), process, debug_file)?;
    let what = format!("reading the debug information of {}", module.path);
    let mut damage = Vec::new();
    let info = match show::progress::while_slow(&what, || DebugInfo::load(&source)) {
        Ok(info) => info,
        // Tasks can be told without it.
        Err(error) => {
            damage.push(format!("its debug information is of no use: {error}"));
            DebugInfo::new(gimli::Dwarf::default(), None)?
        }
    };
    if info.damaged_units() > 0 {
        damage.push(format!(
            "{} units of its debug information are malformed and were read in part",
            info.damaged_units()
        ));
    }
    let futures = Futures::new(&info);
    let tasks = match Inspector::new(process.pid, &binary, module.bias, &futures) {
        Ok(inspector) => TaskSource::Types(Box::new(inspector)),
        // Without types there are still tasks to be told, in every release build.
        Err(error) => {
            let symbols = source.symbol_file();
            let inspector = ShapeInspector::new(process.pid, &binary, symbols, module.bias);
            TaskSource::Shapes(inspector.ok_or(error)?)
        }
    };
    let build_id = binary.build_id().map(str::to_owned);
    let mut tasks = TokioTasks::new(process, tasks, source.level(), build_id, Arc::default());
    work(&mut Look {
        process,
        tasks: &mut tasks,
        damage: &damage,
    })
}

impl Look<'_, '_, '_, '_> {
    /// All tasks, now.
    ///
    /// # Errors
    /// [`TargetError::Gone`].
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot> {
        let pid = self.process.pid;
        let mut snapshot = match self.tasks.all() {
            Ok(snapshot) => snapshot,
            Err(_) if !self.process.is_alive() => return Err(TargetError::Gone { pid }.into()),
            Err(reason) => return Err(anyhow::anyhow!(reason).into()),
        };
        snapshot.warnings.splice(0..0, self.damage.iter().cloned());
        Ok(snapshot)
    }

    /// The same, of a command that we have just started once it has any tasks, or has been given
    /// enough time to have some.
    ///
    /// # Errors
    /// As [`Look::snapshot`].
    pub(crate) fn first_snapshot(&mut self) -> Result<Snapshot> {
        let begin = Instant::now();
        loop {
            let snapshot = self.snapshot()?;
            let is_young = self.process.is_our_child() && begin.elapsed() < START;
            if !snapshot.tasks.is_empty() || !is_young {
                return Ok(snapshot);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
