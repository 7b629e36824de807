//! The programs that a session has the kernel load: by which kind of links the probes' one is run,
//! and which may be missing.

use std::os::fd::{AsFd as _, OwnedFd};

use super::object::Loaded;
use super::{AttachError, LinkKind, links, syscall};
use crate::plan::Unseen;

/// Names of the programs in the object.
pub(super) const PROBE_PROGRAM: &str = "on_probe";
pub(super) const SWITCH_PROGRAM: &str = "on_switch";
const EXEC_PROGRAM: &str = "on_exec";
pub(super) const FLUSH_PROGRAM: &str = "on_flush";

/// What the scheduler's program tells.
pub(super) const OF_SWITCHES: &str =
    "ends of polls before a thread sleeps, and blocking inside a poll";
/// What the program at `sched_process_exec` tells.
pub(super) const OF_EXECUTIONS: &str = "whether the target replaces its program";

/// Loads the probes' program for the links there will be: a program is loaded for one kind.
pub(super) fn load_probe_program(
    loaded: &Loaded,
    wanted: Option<LinkKind>,
) -> Result<(OwnedFd, LinkKind), AttachError> {
    if wanted != Some(LinkKind::Perf) {
        let program = loaded.load(PROBE_PROGRAM, true);
        match (program, wanted) {
            (Ok(program), None) if !links::has_multi(program.as_fd()) => {}
            (Ok(program), _) => return Ok((program, LinkKind::Multi)),
            (Err(error), Some(_)) => return Err(error),
            // Without the attach type it may load: the next attempt's error is the one to show.
            (Err(_), None) => {}
        }
    }
    Ok((loaded.load(PROBE_PROGRAM, false)?, LinkKind::Perf))
}

/// Attaches the program that sees programs being replaced, for as long as the answer is held.
///
/// # Errors
/// When the kernel does not take it.
pub(super) fn watch_executions(loaded: &Loaded) -> Result<OwnedFd, AttachError> {
    let program = loaded.load(EXEC_PROGRAM, false)?;
    syscall::raw_tracepoint(program.as_fd(), c"sched_process_exec").map_err(|error| {
        AttachError::KernelWithout {
            what: "trace sched_process_exec".to_owned(),
            error,
        }
    })
}

/// What is not seen when a session goes on without a tracepoint.
pub(super) fn unseen(what: &str, error: &AttachError) -> Unseen {
    tracing::debug!(%error, what, "the session goes on without");
    let source = std::error::Error::source(error).map(ToString::to_string);
    Unseen {
        what: what.to_owned(),
        reason: format!("{error}: {}", source.unwrap_or_default()),
        remedy: None,
    }
}
