//! Why a target cannot be traced.

use std::fmt;

use super::privilege::{Capability, how_to_be_permitted};
use crate::error::{Advice, ExitCode};
use crate::show::escape::escape;

/// What to do where a process ended too early.
pub const ENDED: &str = "name a process that goes on: what ends within a second or so cannot be \
                         looked at; a command comes first after `--`";

/// A process that a name could mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever the process is called.
        write!(f, "{:>8}  {}", self.pid, escape(&self.command))
    }
}

/// Why a target cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No process has this id.
    #[error("cannot trace process {pid}: no process has this id")]
    NoSuchPid {
        /// The id.
        pid: i32,
    },
    /// The id is that of a thread which is not the first of its process.
    #[error("cannot trace process {tid}: it is a thread of process {pid}")]
    ThreadNotProcess {
        /// The id given.
        tid: i32,
        /// The process.
        pid: i32,
    },
    /// No process has this name.
    #[error("cannot find `{name}`: no process has this name")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// Several processes have this name.
    #[error("cannot choose `{name}`: {} processes have this name", candidates.len())]
    Ambiguous {
        /// The name.
        name: String,
        /// The processes.
        candidates: Vec<Candidate>,
    },
    /// The process has ended but its parent has not noticed.
    #[error("cannot trace process {pid}: it has ended and waits for its parent (a zombie)")]
    Zombie {
        /// Its id.
        pid: i32,
    },
    /// A thread of the kernel.
    #[error("cannot trace process {pid}: it is a kernel thread ({name}) and has no program")]
    KernelThread {
        /// Its id.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// A program for another machine.
    #[error("cannot trace process {pid}: it is a {found} program; asynctrace traces x86-64 only")]
    OtherMachine {
        /// Its id.
        pid: i32,
        /// What it is.
        found: String,
    },
    /// It ended while we looked.
    #[error("cannot go on with process {pid}: it has ended")]
    Gone {
        /// Its id.
        pid: i32,
    },
    /// It executed another program while we looked at the old one.
    #[error("cannot go on with process {pid}: it has replaced its program (execve) meanwhile")]
    Replaced {
        /// Its id.
        pid: i32,
    },
    /// The kernel does not let us.
    #[error("cannot {action} process {pid}: not permitted")]
    NotPermitted {
        /// Its id.
        pid: i32,
        /// What was tried.
        action: &'static str,
    },
    /// Its mappings do not fit its executable.
    #[error("cannot find where the executable of process {pid} is loaded")]
    NoExecutableMapping {
        /// Its id.
        pid: i32,
    },
    /// `/proc` gave something else than expected.
    #[error("cannot {action} process {pid}")]
    Proc {
        /// Its id.
        pid: i32,
        /// What was tried.
        action: &'static str,
        /// What `/proc` said.
        source: procfs::ProcError,
    },
    /// The command to be traced did not start.
    #[error("cannot start `{command}`")]
    NotStarted {
        /// The command.
        command: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl TargetError {
    /// The error for something that failed in `/proc/PID`.
    pub(super) fn of_proc(pid: i32, action: &'static str, source: procfs::ProcError) -> Self {
        match source {
            procfs::ProcError::PermissionDenied(_) => Self::NotPermitted { pid, action },
            procfs::ProcError::NotFound(_) => Self::Gone { pid },
            // A process that ends between open and read.
            procfs::ProcError::Io(ref error, _) if error.raw_os_error() == Some(libc::ESRCH) => {
                Self::Gone { pid }
            }
            source => Self::Proc {
                pid,
                action,
                source,
            },
        }
    }
}

impl Advice for TargetError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoSuchPid { .. }
            | Self::ThreadNotProcess { .. }
            | Self::NoSuchName { .. }
            | Self::Ambiguous { .. }
            | Self::Zombie { .. }
            | Self::Gone { .. }
            | Self::Replaced { .. }
            | Self::NotStarted { .. } => ExitCode::NoTarget,
            Self::NotPermitted { .. } => ExitCode::NotPermitted,
            Self::KernelThread { .. }
            | Self::OtherMachine { .. }
            | Self::NoExecutableMapping { .. } => ExitCode::NothingToTrace,
            Self::Proc { .. } => ExitCode::Bug,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::NoSuchPid { .. } | Self::NoSuchName { .. } => {
                "list processes with `ps -e` and give an id with --pid or a name with --name"
                    .to_owned()
            }
            Self::ThreadNotProcess { pid, .. } => format!("trace the process: --pid {pid}"),
            Self::Ambiguous { candidates, .. } => {
                let lines: Vec<_> = candidates.iter().map(ToString::to_string).collect();
                format!("choose one with --pid:\n{}", lines.join("\n"))
            }
            Self::NotPermitted { .. } => {
                let advice = how_to_be_permitted(&[Capability::SysPtrace]);
                if advice.is_empty() {
                    "a security module or a seccomp filter denies it to root; see `dmesg`"
                        .to_owned()
                } else {
                    advice
                }
            }
            Self::KernelThread { .. } => "choose a process that runs a Rust program".to_owned(),
            Self::OtherMachine { .. } => {
                "trace a program built for x86_64-unknown-linux-gnu or -musl".to_owned()
            }
            Self::NotStarted { .. } => {
                "check the command; a path or a name in $PATH comes first after `--`".to_owned()
            }
            Self::Replaced { .. } => "run the same command again".to_owned(),
            Self::Zombie { .. } | Self::Gone { .. } => ENDED.to_owned(),
            Self::NoExecutableMapping { .. } | Self::Proc { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_traced_what_had_ended_is_told_what_to_do() {
        for error in [TargetError::Gone { pid: 7 }, TargetError::Zombie { pid: 7 }] {
            let step = error.next_step().unwrap();
            assert!(step.contains("a process that goes on"), "{step}");
        }
    }
}
