//! The programs that a session has the kernel load: by which kind of links the probes' one is run,
//! and which may be missing.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};

use super::object::Loaded;
use super::{AttachError, LinkKind, links, syscall};
use crate::plan::Unseen;

/// Names of the programs in the object.
pub(super) const PROBE_PROGRAM: &str = "on_probe";
pub(super) const SWITCH_PROGRAM: &str = "on_switch";
pub(super) const EXEC_PROGRAM: &str = "on_exec";
pub(super) const FLUSH_PROGRAM: &str = "on_flush";

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

/// Attaches a program to a tracepoint; when that fails the session goes on without and says so.
pub(super) fn attach_tracepoint(
    loaded: &Loaded,
    program: &'static str,
    tracepoint: &CStr,
    what: &str,
    links: &mut Vec<OwnedFd>,
    without: &mut Vec<Unseen>,
) -> Option<OwnedFd> {
    let attached = loaded.load(program, false).and_then(|program| {
        let link = syscall::raw_tracepoint(program.as_fd(), tracepoint).map_err(|error| {
            AttachError::KernelWithout {
                what: format!("trace {}", tracepoint.to_string_lossy()),
                error,
            }
        })?;
        Ok((program, link))
    });
    match attached {
        Ok((program, link)) => {
            links.push(link);
            Some(program)
        }
        Err(error) => {
            tracing::debug!(%error, program, "the session goes on without");
            without.push(Unseen {
                what: what.to_owned(),
                reason: format!(
                    "{error}: {}",
                    std::error::Error::source(&error)
                        .map(ToString::to_string)
                        .unwrap_or_default()
                ),
                remedy: None,
            });
            None
        }
    }
}
