//! `asynctrace report FILE --task ID`: the life of one task.

use std::path::{Path, PathBuf};

use super::output;
use super::recorded::{self, WindowArguments};
use crate::analyse::life::{Life, life, named};
use crate::error::{Advice, ExitCode, Result};
use crate::show::report::write_life;

/// Events that are listed at most, as JSON and as text.
const MAX_EVENTS: usize = 200_000;
const MAX_LINES: usize = 5_000;

/// `--task` named a task that is not there.
#[derive(Debug, thiserror::Error)]
#[error("no task {id} in {path}")]
struct NoSuchTask {
    id: String,
    path: PathBuf,
}

impl Advice for NoSuchTask {
    fn exit_code(&self) -> ExitCode {
        ExitCode::NoTarget
    }

    fn next_step(&self) -> Option<String> {
        Some(format!(
            "asynctrace report {} names tasks: those that were open, and those with long polls",
            self.path.display()
        ))
    }
}

/// Prints the life of a task.
///
/// # Errors
/// When the file cannot be read, has no such task, or standard output cannot be written.
pub(super) fn run(path: &Path, window: WindowArguments, id: &str, json: bool) -> Result<ExitCode> {
    let recorded = recorded::read(path, window, |_, _| {})?;
    let limit = if json { MAX_EVENTS } else { MAX_LINES };
    let lives: Vec<Life> = named(&recorded.history, id)
        .into_iter()
        .filter_map(|task| life(&recorded.history, recorded.header.started, task, limit))
        .collect();
    if lives.is_empty() {
        return Err(NoSuchTask {
            id: id.to_owned(),
            path: path.to_owned(),
        }
        .into());
    }
    for life in &lives {
        if json {
            output::print_json(life)?;
        } else {
            output::print(|out| write_life(life, out))?;
        }
    }
    Ok(ExitCode::Done)
}
