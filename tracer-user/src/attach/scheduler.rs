//! The scheduler's tracepoint. Its program runs at each switch of any thread of the machine, and takes
//! something of the target's time at each of its own (about 40 ns where it has nothing to do, Linux
//! 6.18). So it comes and goes with the windows of a budget, as probes do.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::syscall;

/// The scheduler's program, and what makes it run.
pub(super) struct Scheduler {
    program: OwnedFd,
    link: Option<OwnedFd>,
}

impl Scheduler {
    /// It does not run yet.
    pub(super) const fn new(program: OwnedFd) -> Self {
        Self {
            program,
            link: None,
        }
    }

    /// From now on it runs at switches, or does not.
    ///
    /// # Errors
    /// When the kernel does not let it.
    pub(super) fn watch(&mut self, wanted: bool) -> io::Result<()> {
        if !wanted {
            self.link = None;
        } else if self.link.is_none() {
            self.link = Some(syscall::raw_tracepoint(
                self.program.as_fd(),
                c"sched_switch",
            )?);
        }
        Ok(())
    }
}
