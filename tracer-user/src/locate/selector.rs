//! What the user names.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::error::{Candidate, TargetError};

/// What the user names as the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSelector {
    /// The process with this id.
    Pid(i32),
    /// The one process with this name: of its executable file, or as the kernel keeps it (`comm`).
    Name(String),
    /// A command to start: program and arguments.
    Command(Vec<OsString>),
    /// This process and no other that has its id later.
    Identity(Identity),
}

/// What tells a process from all others on this machine since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its id, in our pid namespace.
    pub pid: i32,
    /// When it was started: clock ticks since the machine was, as `/proc/PID/stat` says.
    pub start_time: u64,
}

/// The one process with this name, our own apart.
pub(super) fn pid_of_name(name: &str) -> Result<i32, TargetError> {
    let own = std::process::id().cast_signed();
    let mut candidates: Vec<Candidate> = procfs::process::all_processes()
        .map_err(|source| TargetError::of_proc(own, "list processes beside", source))?
        .filter_map(Result::ok)
        .filter(|process| process.pid != own && has_name(process, name))
        .map(|process| Candidate {
            pid: process.pid,
            command: command_line(&process),
        })
        .collect();
    match candidates.as_slice() {
        [] => Err(TargetError::NoSuchName {
            name: name.to_owned(),
        }),
        [one] => Ok(one.pid),
        _ => {
            candidates.sort_by_key(|candidate| candidate.pid);
            Err(TargetError::Ambiguous {
                name: name.to_owned(),
                candidates,
            })
        }
    }
}

/// Whether a live process with a program has this name.
fn has_name(process: &procfs::process::Process, name: &str) -> bool {
    let Ok(stat) = process.stat() else {
        return false;
    };
    if super::process::is_over(&stat) || super::process::is_kernel_thread(&stat) {
        return false;
    }
    // `comm` is cut at 15 bytes, may be set by the program, and is all that other users' processes
    // show; the file's name is whole.
    stat.comm == name
        || process
            .exe()
            .is_ok_and(|exe| file_name_is(&exe, OsStr::new(name)))
        || process.cmdline().is_ok_and(|arguments| {
            arguments
                .first()
                .is_some_and(|first| file_name_is(Path::new(first), OsStr::new(name)))
        })
}

/// Whether the last part of `path` is `name`, also when the kernel says that it was deleted.
fn file_name_is(path: &Path, name: &OsStr) -> bool {
    let Some(found) = path.file_name() else {
        return false;
    };
    let found = found.as_encoded_bytes();
    found.strip_suffix(b" (deleted)").unwrap_or(found) == name.as_encoded_bytes()
}

/// The command line for people; the name in brackets where there is none, as `ps` does.
pub(super) fn command_line(process: &procfs::process::Process) -> String {
    match process.cmdline() {
        Ok(arguments) if !arguments.is_empty() => arguments.join(" "),
        _ => process
            .stat()
            .map(|stat| format!("[{}]", stat.comm))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::Process;

    #[test]
    fn an_identity_is_of_one_process_only() {
        let own = procfs::process::Process::myself().unwrap();
        let mut identity = Identity {
            pid: own.pid,
            start_time: own.stat().unwrap().starttime,
        };
        let found = Process::find(&TargetSelector::Identity(identity)).unwrap();
        assert_eq!(found.pid, own.pid);
        // As if the id had been another's when it was found.
        identity.start_time += 1;
        let gone = Process::find(&TargetSelector::Identity(identity));
        assert!(matches!(gone, Err(TargetError::Gone { .. })), "{gone:?}");
    }

    #[test]
    fn a_deleted_executable_keeps_its_name() {
        assert!(file_name_is(
            Path::new("/srv/app (deleted)"),
            OsStr::new("app")
        ));
        assert!(file_name_is(Path::new("app"), OsStr::new("app")));
        assert!(!file_name_is(Path::new("/srv/apple"), OsStr::new("app")));
        assert!(!file_name_is(Path::new("/"), OsStr::new("app")));
    }
}
