//! Reading a process's tasks from its memory, without probes: locate -> object -> dwarf -> memory.

use std::path::Path;
use std::sync::Arc;

use crate::dwarf::DebugInfo;
use crate::error::Result;
use crate::follow::tasks::{TaskSource, TokioTasks};
use crate::locate::Process;
use crate::object::{Binary, DebugSource};
use crate::plan::{Names, task_polls};
use crate::rebuild::snapshot::DebugInfoLevel;
use crate::runtime::tokio::{Inspector, ShapeInspector};
use crate::show::progress::while_slow;
use crate::walk::Futures;

/// What reads the tasks of a process.
pub struct Opened<'l, 'p, 'd, 'a> {
    /// The process.
    pub process: &'p Process,
    /// The tasks.
    pub tasks: &'l mut TokioTasks<'p, 'd, 'a>,
    /// What is wrong with its debug information, in sentences.
    pub damage: &'l [String],
    /// How much debug information there is.
    pub level: DebugInfoLevel,
    /// The executable's GNU build-id, where it has one.
    pub build_id: Option<String>,
}

/// Calls `work` with what reads the tasks of a process. Needs the right to read its memory, and no
/// other.
///
/// # Errors
/// Those of the stages, and of `work`.
pub fn with_tasks<T>(
    process: &Process,
    debug_file: Option<&Path>,
    work: impl FnOnce(Opened<'_, '_, '_, '_>) -> Result<T>,
) -> Result<T> {
    process.check_memory_access()?;
    let module = process.executable()?;
    let binary = Arc::new(Binary::of_module(&module)?);
    let source = DebugSource::find(Arc::clone(&binary), process, debug_file)?;
    let what = format!("reading the debug information of {}", module.path);
    let mut damage = Vec::new();
    let info = match while_slow(&what, || DebugInfo::load(&source)) {
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
    damage.extend(info.split());
    let futures = source.sparing(|| Futures::new(&info));
    let inspector = source.sparing(|| Inspector::new(process.pid, &binary, module.bias, &futures));
    let tasks = match inspector {
        Ok(inspector) => TaskSource::Types(Box::new(inspector)),
        // Without types there are still tasks to be told, in every release build.
        Err(error) => {
            let symbols = source.symbol_file();
            let names = Names::from_debug_info(&info, &task_polls(&source));
            let inspector = ShapeInspector::new(process.pid, &binary, symbols, &names, module.bias);
            let Some(inspector) = inspector else {
                return Err(error.into());
            };
            if info.has_types() {
                damage.push(format!("await trees cannot be read: {error}"));
            }
            TaskSource::Shapes(inspector)
        }
    };
    let level = source.level();
    let build_id = binary.build_id().map(str::to_owned);
    let mut tasks = TokioTasks::new(process, tasks, level, build_id.clone(), Arc::default());
    work(Opened {
        process,
        tasks: &mut tasks,
        damage: &damage,
        level,
        build_id,
    })
}
