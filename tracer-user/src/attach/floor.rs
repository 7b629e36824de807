//! The floor: what the kernel's own part of a probe costs, for `cargo xtask bench`.
//!
//! An empty program at the same places, or one that does the least that tells anything. With returns it sets return probes, which no session ever
//! does: a panic that unwinds through one kills its process. Benches trace programs of their own
//! that do not panic.

use std::os::fd::{AsFd as _, OwnedFd};

use super::object::{Loaded, Sizes};
use super::{AttachError, syscall};
use crate::plan::Plan;

/// Name of the empty program in the object.
pub(super) const PROGRAM: &str = "on_nothing";
/// Name of the one that takes the time and reads the header of the task.
pub(super) const LEAST: &str = "on_least";

/// What is at the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// Nothing, and at the returns of the probed functions as well.
    NothingAndReturns,
    /// The time is taken, and the header of the task is read.
    Least,
}

/// Programs in place. Dropping it takes them out.
pub struct Floor {
    _links: Vec<OwnedFd>,
    _program: OwnedFd,
    _loaded: Loaded,
}

impl Floor {
    /// Sets a program at every probe of a plan. Needs uprobe_multi (Linux 6.6).
    ///
    /// # Errors
    /// As [`super::Session::start`].
    pub fn start(plan: &Plan, pid: i32, content: Content) -> Result<Self, AttachError> {
        super::permission::check()?;
        let loaded = Loaded::new(Sizes {
            probes: 1,
            vtables: 1,
            nodes: 1,
            states: 1,
            edges: 1,
            vtable_nodes: 1,
            ring: 1 << 16,
        })?;
        let name = match content {
            Content::Nothing | Content::NothingAndReturns => PROGRAM,
            Content::Least => LEAST,
        };
        let program = loaded.load(name, true)?;
        let mut links = Vec::new();
        for probe in &plan.probes {
            let mut link = |offset: u64, at_return: bool| {
                let target = pid.unsigned_abs();
                syscall::link_uprobes(
                    program.as_fd(),
                    probe.file.to_open(),
                    &[offset],
                    &[0],
                    target,
                    at_return,
                )
                .map(|link| links.push(link))
                .map_err(|error| AttachError::System {
                    what: "could not set an empty probe",
                    error,
                })
            };
            link(probe.file_offset.0, false)?;
            if content == Content::NothingAndReturns {
                // The kernel takes the return address from the stack: only at the entry is it there.
                let entry = probe.file_offset.0 - probe.instruction.offset_in_function;
                link(entry, true)?;
            }
        }
        Ok(Self {
            _links: links,
            _program: program,
            _loaded: loaded,
        })
    }
}
