//! `asynctrace dump`: locate -> object -> dwarf -> memory -> rebuild -> show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::output;
use super::target::TargetArguments;
use crate::dwarf::DebugInfo;
use crate::error::{Advice, ExitCode, Result};
use crate::locate::Process;
use crate::object::{Binary, DebugSource};
use crate::rebuild::snapshot::{ProcessInfo, SCHEMA, Snapshot};
use crate::runtime::tokio::{self, Found, Inspector, ShapeInspector};
use crate::show;
use crate::walk::Futures;

/// Arguments of `dump`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Only this task: its id as dump prints it, or the number alone
    #[arg(long, value_name = "ID")]
    pub(super) task: Option<String>,
}

/// `--task` named a task that is not there.
#[derive(Debug, thiserror::Error)]
#[error("no live task {id} in process {pid}: {count} tasks were found")]
struct NoSuchTask {
    id: String,
    pid: i32,
    count: usize,
}

impl Advice for NoSuchTask {
    fn exit_code(&self) -> ExitCode {
        ExitCode::NoTarget
    }

    fn next_step(&self) -> Option<String> {
        Some(format!("asynctrace dump -p {} lists them", self.pid))
    }
}

/// How long a started command may take to its first task.
const START: Duration = Duration::from_secs(3);

/// Runs `dump`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let process = Process::find(&arguments.target.selector())?;
    process.check_memory_access()?;
    let module = process.executable()?;
    let binary = Arc::new(Binary::of_module(&module)?);
    let source = DebugSource::find(
        Arc::clone(&binary),
        &process,
        arguments.target.debug_file.as_deref(),
    )?;
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
    let memory = process.memory();
    let time = crate::stream::monotonic_ns();
    let mut found = match Inspector::new(process.pid, &binary, module.bias, &futures) {
        Ok(inspector) => started(&process, || inspector.tasks(&process, &memory)),
        // Without types there are still tasks to be told, in every release build.
        Err(error) => {
            let symbols = source.symbol_file();
            let inspector = ShapeInspector::new(process.pid, &binary, symbols, module.bias);
            let inspector = inspector.ok_or(error)?;
            started(&process, || inspector.tasks(&process, &memory))
        }
    };
    found.warnings.splice(0..0, damage);
    if !process.is_alive() {
        return Err(crate::locate::TargetError::Gone { pid: process.pid }.into());
    }
    let coverage = tokio::coverage(&found, source.level());
    if let Some(wanted) = &arguments.task {
        let count = found.tasks.len();
        found
            .tasks
            .retain(|task| task.id == *wanted || task.id == format!("tokio/{wanted}"));
        if found.tasks.is_empty() {
            let id = wanted.clone();
            return Err(NoSuchTask {
                id,
                pid: process.pid,
                count,
            }
            .into());
        }
    }
    let snapshot = Snapshot {
        schema: SCHEMA,
        time,
        process: ProcessInfo {
            pid: process.pid,
            exe: process.exe.display().to_string(),
            build_id: binary.build_id().map(str::to_owned),
        },
        runtimes: found.runtimes,
        tasks: found.tasks,
        threads: found.threads,
        coverage,
        warnings: found.warnings,
    };
    if arguments.json {
        output::print_json(&snapshot)?;
    } else {
        output::print(|out| show::dump::write(&snapshot, out))?;
    }
    Ok(ExitCode::Done)
}

/// Looks at the tasks. A command that we have just started is given some time to have any.
fn started(process: &Process, look: impl Fn() -> Found) -> Found {
    let begin = Instant::now();
    loop {
        let found = look();
        let is_young = process.is_our_child() && begin.elapsed() < START;
        if !found.tasks.is_empty() || !is_young || !process.is_alive() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
