//! Looks at all tasks of a process, for `dump` and `check --now`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::follow::reader::ReadTasks as _;
use crate::follow::tasks::TokioTasks;
use crate::locate::{Process, TargetError};
use crate::pipeline::reading::with_tasks;
use crate::privilege;
use crate::rebuild::snapshot::Snapshot;

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
    privilege::keep(&privilege::to_read(process.pid));
    with_tasks(process, debug_file, |opened| {
        work(&mut Look {
            process: opened.process,
            tasks: opened.tasks,
            damage: opened.damage,
        })
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
