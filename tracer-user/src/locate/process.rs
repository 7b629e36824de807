//! A process to be traced.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use procfs::process::{Stat, StatFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::elf_header::{Machine, machine};
use super::error::TargetError;
use super::module::{Module, modules_of};
use super::selector::{TargetSelector, command_line, pid_of_name};
use crate::memory::{LiveMemory, Memory, ReadError};

/// How long a process that executes a new program is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// A thread of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id, in our pid namespace.
    pub tid: i32,
    /// Its name (`comm`), at most 15 bytes.
    pub name: String,
}

/// A process to be traced. It holds a pidfd, so its id cannot come to mean another process
/// unnoticed.
#[derive(Debug)]
pub struct Process {
    /// Its id, in our pid namespace.
    pub pid: i32,
    /// Its executable as the process sees it, without the kernel's ` (deleted)`; for people, and
    /// for looking beside it. Open it through [`Process::modules`].
    pub exe: PathBuf,
    /// Its command line.
    pub command: String,
    /// Whether the executable was deleted or replaced on disk since it started.
    pub exe_deleted: bool,
    pidfd: OwnedFd,
    child: Option<Child>,
}

impl Process {
    /// Finds, or starts, the process that the user names, and checks that it can be traced at all.
    ///
    /// A command that is started here is our child: it shares our terminal, so Ctrl-C reaches it
    /// by itself; its output goes to our standard error, as ours is for results. It is not ended
    /// when we end.
    ///
    /// # Errors
    /// [`TargetError`] with the reason in the user's words.
    pub fn find(selector: &TargetSelector) -> Result<Self, TargetError> {
        match selector {
            TargetSelector::Pid(pid) => Self::open(*pid, None),
            TargetSelector::Name(name) => Self::open(pid_of_name(name)?, None),
            TargetSelector::Identity(identity) => {
                let process = Self::open(identity.pid, None)?;
                // The pidfd is open: what has the id now keeps it.
                let stat = procfs::process::Process::new(identity.pid)
                    .and_then(|proc| proc.stat())
                    .map_err(|source| TargetError::of_proc(identity.pid, "look at", source))?;
                if stat.starttime == identity.start_time {
                    Ok(process)
                } else {
                    Err(TargetError::Gone { pid: identity.pid })
                }
            }
            TargetSelector::Command(command) => {
                let child = start(command)?;
                let pid = child.id().cast_signed();
                wait_for_exec(pid);
                Self::open(pid, Some(child))
            }
        }
    }

    fn open(pid: i32, child: Option<Child>) -> Result<Self, TargetError> {
        let pidfd = open_pidfd(pid)?;
        let proc = procfs::process::Process::new(pid)
            .map_err(|source| TargetError::of_proc(pid, "look at", source))?;
        let stat = proc
            .stat()
            .map_err(|source| TargetError::of_proc(pid, "look at", source))?;
        if is_over(&stat) {
            return Err(TargetError::Zombie { pid });
        }
        if is_kernel_thread(&stat) {
            return Err(TargetError::KernelThread {
                pid,
                name: stat.comm,
            });
        }
        let exe = proc
            .exe()
            .map_err(|source| TargetError::of_proc(pid, "find the executable of", source))?;
        let (exe, exe_deleted) = without_deleted(exe);
        check_machine(pid)?;
        Ok(Self {
            pid,
            exe,
            command: command_line(&proc),
            exe_deleted,
            pidfd,
            child,
        })
    }

    /// Its root directory, as a path that we can open.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// Its memory. Nothing is checked before the first read: see
    /// [`Process::check_memory_access`].
    #[must_use]
    pub fn memory(&self) -> LiveMemory {
        LiveMemory::new(self.pid)
    }

    /// Reads one byte of its memory, to say early and plainly that we may not.
    ///
    /// # Errors
    /// [`TargetError::NotPermitted`] or [`TargetError::Gone`].
    pub fn check_memory_access(&self) -> Result<(), TargetError> {
        let executable = self.executable()?;
        match self.memory().u8(executable.range.start) {
            Err(ReadError::NotPermitted) => Err(TargetError::NotPermitted {
                pid: self.pid,
                action: "read the memory of",
            }),
            Err(ReadError::Gone) => Err(TargetError::Gone { pid: self.pid }),
            Ok(_) | Err(ReadError::Unmapped { .. }) => Ok(()),
        }
    }

    /// Its executable and shared libraries, the executable first.
    ///
    /// # Errors
    /// [`TargetError`] when the process has ended or its mappings may not be read.
    pub fn modules(&self) -> Result<Vec<Module>, TargetError> {
        let of_proc = |source| TargetError::of_proc(self.pid, "read the mappings of", source);
        let maps = procfs::process::Process::new(self.pid)
            .and_then(|proc| proc.maps())
            .map_err(of_proc)?;
        let modules = modules_of(self.pid, &maps.0);
        if !self.is_alive() {
            return Err(TargetError::Gone { pid: self.pid });
        }
        Ok(modules)
    }

    /// Its executable.
    ///
    /// # Errors
    /// As [`Process::modules`], and when it is not mapped as its program headers say. That is so
    /// for some microseconds while a process executes a new program, so it is tried again for
    /// `PATIENCE`.
    pub fn executable(&self) -> Result<Module, TargetError> {
        let begin = Instant::now();
        loop {
            let found = self
                .modules()?
                .into_iter()
                .find(|module| module.is_executable_of_process);
            match found {
                Some(module) => return Ok(module),
                None if begin.elapsed() > PATIENCE => {
                    return Err(TargetError::NoExecutableMapping { pid: self.pid });
                }
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Makes sure that it still runs the program that was found in `module` and read from `file`.
    ///
    /// # Errors
    /// [`TargetError::Replaced`], and those of [`Process::executable`].
    pub fn check_still_runs(
        &self,
        module: &Module,
        file: Option<&File>,
    ) -> Result<(), TargetError> {
        use std::os::unix::fs::MetadataExt as _;
        let now = self.executable()?;
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let read = file.and_then(|file| file.metadata().ok()).map(identity);
        let runs = std::fs::metadata(&now.file).ok().map(identity);
        // Loaded elsewhere: the same program, executed again.
        if (now.bias, &now.range) != (module.bias, &module.range)
            || (read.is_some() && read != runs)
        {
            return Err(TargetError::Replaced { pid: self.pid });
        }
        Ok(())
    }

    /// Its threads now; empty when it has ended.
    #[must_use]
    pub fn threads(&self) -> Vec<Thread> {
        let Ok(tasks) = procfs::process::Process::new(self.pid).and_then(|proc| proc.tasks())
        else {
            return Vec::new();
        };
        tasks
            .filter_map(Result::ok)
            .filter_map(|task| {
                Some(Thread {
                    tid: task.tid,
                    name: task.stat().ok()?.comm,
                })
            })
            .collect()
    }

    /// Whether it runs. A zombie does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A pidfd becomes readable when the process ends (pidfd_open(2)).
        !matches!(poll(&mut fds, Some(&now)), Ok(ready) if ready > 0)
    }

    /// A file descriptor that becomes readable when the process ends.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether we started it.
    #[must_use]
    pub fn is_our_child(&self) -> bool {
        self.child.is_some()
    }

    /// How our child ended, once it has; `None` for a process that we did not start.
    pub fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }
}

/// Waits until our child runs its own program. A spawn returns as soon as the child gives up our
/// memory, which is before it has its own: until then `/proc/PID/exe` may still lead to us.
fn wait_for_exec(pid: i32) {
    let begin = Instant::now();
    // PF_FORKNOEXEC: forked, but has not executed yet; cleared once the new memory is in place.
    let has_not = |stat: &Stat| stat.flags & StatFlags::PF_FORKNOEXEC.bits() != 0;
    while begin.elapsed() < PATIENCE
        && procfs::process::Process::new(pid)
            .and_then(|process| process.stat())
            .is_ok_and(|stat| has_not(&stat) && !is_over(&stat))
    {
        std::thread::sleep(PAUSE);
    }
}

/// Whether the process has ended (zombie or dead).
pub(super) fn is_over(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

/// Whether it is a thread of the kernel (`PF_KTHREAD`).
pub(super) fn is_kernel_thread(stat: &Stat) -> bool {
    stat.flags & StatFlags::PF_KTHREAD.bits() != 0
}

fn open_pidfd(pid: i32) -> Result<OwnedFd, TargetError> {
    let no_such = TargetError::NoSuchPid { pid };
    let Some(raw) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return Err(no_such);
    };
    match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => Ok(fd),
        // EINVAL (before Linux 6.16) and ENOENT: a thread that is not the first of its process.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Err(thread_group(pid)
            .filter(|group| *group != pid)
            .map_or(no_such, |group| TargetError::ThreadNotProcess {
                tid: pid,
                pid: group,
            })),
        Err(rustix::io::Errno::SRCH) => Err(no_such),
        Err(error) => Err(TargetError::of_proc(
            pid,
            "open",
            std::io::Error::from(error).into(),
        )),
    }
}

/// The process that a thread belongs to.
fn thread_group(tid: i32) -> Option<i32> {
    procfs::process::Process::new(tid)
        .and_then(|proc| proc.status())
        .ok()
        .map(|status| status.tgid)
}

/// The kernel appends ` (deleted)` to the link of an executable that is gone from its directory.
fn without_deleted(exe: PathBuf) -> (PathBuf, bool) {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    match exe.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        // A file may really be called that; then it is there.
        Some(path) if !exe.exists() => (OsString::from_vec(path.to_vec()).into(), true),
        _ => (exe, false),
    }
}

fn check_machine(pid: i32) -> Result<(), TargetError> {
    use std::io::Read;
    let action = "open the executable of";
    let mut start = Vec::new();
    let read = File::open(format!("/proc/{pid}/exe"))
        .and_then(|file| file.take(64).read_to_end(&mut start));
    match read {
        Ok(_) => match machine(&start) {
            Machine::X86_64 => Ok(()),
            Machine::Other(found) => Err(TargetError::OtherMachine { pid, found }),
            Machine::NotElf => Err(TargetError::OtherMachine {
                pid,
                found: "non-ELF".to_owned(),
            }),
        },
        Err(error) => Err(TargetError::of_proc(pid, action, error.into())),
    }
}

/// Starts the command to be traced.
fn start(command: &[OsString]) -> Result<Child, TargetError> {
    let not_started = |source| TargetError::NotStarted {
        command: command
            .iter()
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" "),
        source,
    };
    let Some((program, arguments)) = command.split_first() else {
        return Err(not_started(std::io::ErrorKind::InvalidInput.into()));
    };
    let output = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .map_err(not_started)?;
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::from(output))
        .spawn()
        .map_err(not_started)
}
