//! `asynctrace dump`: locate -> object -> dwarf -> memory -> rebuild -> show.

use clap::Args;

use super::look::look;
use super::output;
use super::target::TargetArguments;
use crate::error::{Advice, ExitCode, Result};
use crate::locate::Process;
use crate::show;

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

/// Runs `dump`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let process = Process::find(&arguments.target.selector())?;
    let debug_file = arguments.target.debug_file.as_deref();
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method alone is not general enough over its lifetimes"
    )]
    let mut snapshot = look(&process, debug_file, |look| look.first_snapshot())?;
    if let Some(wanted) = &arguments.task {
        let count = snapshot.tasks.len();
        snapshot
            .tasks
            .retain(|task| task.id == *wanted || task.id == format!("tokio/{wanted}"));
        if snapshot.tasks.is_empty() {
            return Err(NoSuchTask {
                id: wanted.clone(),
                pid: process.pid,
                count,
            }
            .into());
        }
    }
    if arguments.json {
        output::print_json(&snapshot)?;
    } else {
        output::print(|out| show::dump::write(&snapshot, out))?;
    }
    // The process ends here: to free a hundred thousand trees one by one first serves nobody.
    std::mem::forget(snapshot);
    Ok(ExitCode::Done)
}
