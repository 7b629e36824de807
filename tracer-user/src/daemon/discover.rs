//! Finding the processes to follow in `/proc`, as they come and go.
//!
//! A look reads of each process what it needs and nothing of its memory. Processes that did not
//! match are looked at again in their first looks (a process has its parent's name until it
//! executes its own program) and every tenth, so that a look at thousands costs a listing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::config::{Matching, Target};
use crate::locate::Identity;

/// Looks at a process that does not match before it is left alone for a while.
const YOUNG: u8 = 3;
/// Every so many looks all processes are looked at.
const ALL: u64 = 10;
/// Bytes of a file in `/proc` that are read at most.
const MAX_READ: u64 = 64 << 10;

/// A process that is to be followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// Which process; of another program, it is another one.
    pub identity: Identity,
    /// Path of its executable as it sees it.
    pub exe: PathBuf,
    /// Index of the target.
    pub target: usize,
}

/// Looks for processes.
#[derive(Debug)]
pub struct Discovery {
    proc: PathBuf,
    own: i32,
    strangers: HashMap<i32, u8>,
    looks: u64,
}

impl Discovery {
    /// In the `/proc` that is mounted at `proc`; `own` is the process that is never found.
    #[must_use]
    pub fn new(proc: &Path, own: i32) -> Self {
        Self {
            proc: proc.to_owned(),
            own,
            strangers: HashMap::new(),
            looks: 0,
        }
    }

    /// Forgets what did not match: other targets are looked for.
    pub fn forget(&mut self) {
        self.strangers.clear();
    }

    /// The processes that match now, by pid; each belongs to the first target that it matches.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn look(&mut self, targets: &[Target]) -> std::io::Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut strangers = HashMap::new();
        let all = self.looks.is_multiple_of(ALL);
        self.looks += 1;
        for entry in fs::read_dir(&self.proc)? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = pid_of(&entry.file_name()).filter(|pid| *pid != self.own) else {
                continue;
            };
            let looked = self.strangers.get(&pid).copied().unwrap_or(0);
            if looked >= YOUNG && !all {
                strangers.insert(pid, looked);
                continue;
            }
            match self.process(pid, targets) {
                Some(one) => found.push(one),
                None => {
                    strangers.insert(pid, looked.saturating_add(1));
                }
            }
        }
        self.strangers = strangers;
        found.sort_by_key(|one| one.identity.pid);
        Ok(found)
    }

    fn process(&self, pid: i32, targets: &[Target]) -> Option<Found> {
        let folder = self.proc.join(pid.to_string());
        let stat = stat_of(&read(&folder.join("stat"))?)?;
        if stat.over || stat.of_kernel {
            return None;
        }
        let exe = fs::read_link(folder.join("exe")).ok();
        let exe = exe.map(without_deleted);
        let needs_group =
            |matching: &Matching| matching.cgroup.is_some() || matching.unit.is_some();
        let groups = if targets.iter().any(|target| needs_group(&target.matching)) {
            read(&folder.join("cgroup")).map_or_else(Vec::new, |text| groups_of(&text))
        } else {
            Vec::new()
        };
        let about = About {
            comm: &stat.comm,
            exe: exe.as_deref(),
            groups: &groups,
        };
        let target = targets
            .iter()
            .position(|target| about.matches(&target.matching))?;
        Some(Found {
            identity: Identity {
                pid,
                start_time: stat.start_time,
            },
            exe: exe.unwrap_or_default(),
            target,
        })
    }
}

/// What is known of a process.
struct About<'a> {
    comm: &'a str,
    exe: Option<&'a Path>,
    groups: &'a [Group],
}

impl About<'_> {
    /// Whether it has all that is asked for.
    fn matches(&self, matching: &Matching) -> bool {
        let name = matching.name.as_ref().is_none_or(|name| {
            let file = self.exe.and_then(Path::file_name).and_then(OsStr::to_str);
            name.matches(self.comm) || file.is_some_and(|file| name.matches(file))
        });
        let exe = matching.exe.as_ref().is_none_or(|exe| {
            let path = self.exe.and_then(Path::to_str);
            path.is_some_and(|path| exe.matches(path))
        });
        let cgroup = matching.cgroup.as_ref().is_none_or(|wanted| {
            let is_inside = |group: &Group| {
                group
                    .path
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            self.groups.iter().any(is_inside)
        });
        let unit = matching.unit.as_ref().is_none_or(|unit| {
            let has = |group: &Group| {
                let mut parts = group.path.split('/');
                group.is_of_systemd && parts.any(|part| unit.matches(part))
            };
            self.groups.iter().any(has)
        });
        name && exe && cgroup && unit
    }
}

fn pid_of(name: &OsStr) -> Option<i32> {
    let name = name.to_str()?;
    let plain = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| plain)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn without_deleted(path: PathBuf) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(before) => OsStr::from_bytes(before).into(),
        None => path,
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    over: bool,
    of_kernel: bool,
    start_time: u64,
}

/// The kernel's flag of its own threads (`PF_KTHREAD`).
const OF_KERNEL: u64 = 0x0020_0000;

/// A name may have spaces and parentheses: the last one ends it (proc_pid_stat(5)).
fn stat_of(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let comm = bytes.get(open + 1..close)?;
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // The fields are numbered from 1; the name is the second.
    let state = fields.next()?;
    let flags = fields.nth(5)?.parse::<u64>().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    Some(Stat {
        comm: String::from_utf8_lossy(comm).into_owned(),
        over: matches!(state, "Z" | "X" | "x"),
        of_kernel: flags & OF_KERNEL != 0,
        start_time,
    })
}

/// A control group that a process is in.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    path: String,
    /// Whether it is in the hierarchy that systemd makes units in: the one (`0::`), and where there
    /// are others beside it, `name=systemd`.
    is_of_systemd: bool,
}

/// Its control groups, one in each hierarchy.
fn groups_of(bytes: &[u8]) -> Vec<Group> {
    let text = String::from_utf8_lossy(bytes);
    let group_of = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group {
            path: path.to_owned(),
            is_of_systemd: number == "0" || controllers == "name=systemd",
        })
    };
    text.lines().filter_map(group_of).collect()
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
