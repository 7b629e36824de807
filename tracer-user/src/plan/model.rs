//! The plan: the hand-over from what is known of a binary to what is attached.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tracer_common::walk::Root;
use tracer_common::{ArgumentRegister, Cookie, ProbeKind};

use crate::address::{FileOffset, LinkAddress};
use crate::object::Binary;
use crate::walk::flat::Tables;

/// How the kernel carries out the instruction under a probe (x86-64 uprobes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// `push`, `nop`, `jmp`, `jcc`, `call rel32`: emulated in the trap.
    Emulated,
    /// Anything else: copied out of line and single-stepped, a second trap.
    SingleStepped,
}

/// The instruction a probe stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instruction {
    /// Distance from the function's entry in bytes.
    pub offset_in_function: u64,
    /// Its disassembly.
    pub text: String,
    /// How the kernel carries it out.
    pub method: Method,
    /// Bytes pushed on the stack between the entry and here.
    pub pushed: u16,
}

/// A file to probe: the one that was analysed, and no other. Between the two the target may have
/// executed another program; probes at the offsets of the old one, in the middle of the new one's
/// instructions, would crash it.
#[derive(Debug)]
pub struct ProbedFile {
    path: PathBuf,
    open: PathBuf,
    _held: Option<Arc<File>>,
}

impl ProbedFile {
    /// The file at a path that this process can open (`/proc/PID/root/..`), for binaries that are
    /// not replaced under us.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            open: path.clone(),
            path,
            _held: None,
        }
    }

    /// The file of a binary; the one that it was read from where it is still open.
    #[must_use]
    pub fn of(binary: &Binary) -> Self {
        let path = binary.path().to_owned();
        let Some(file) = binary.file() else {
            return Self::at(path);
        };
        Self {
            path,
            open: format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            _held: Some(Arc::clone(file)),
        }
    }

    /// Its path, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads this process to the file itself.
    #[must_use]
    pub fn to_open(&self) -> &Path {
        &self.open
    }
}

impl PartialEq for ProbedFile {
    fn eq(&self, other: &Self) -> bool {
        self.open == other.open
    }
}

impl Eq for ProbedFile {}

impl PartialOrd for ProbedFile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ProbedFile {
    fn cmp(&self, other: &Self) -> Ordering {
        self.open.cmp(&other.open)
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What the function does.
    pub kind: ProbeKind,
    /// Its demangled name; the future's type for a task's poll where that is known.
    pub name: Arc<str>,
    /// Entry of the function.
    pub function: LinkAddress,
    /// The probed instruction.
    pub instruction: Instruction,
    /// Where the probed instruction is in [`Probe::file`].
    pub file_offset: FileOffset,
    /// The file to probe.
    pub file: Arc<ProbedFile>,
    /// Where the argument is at that instruction.
    pub argument: ArgumentRegister,
    /// Offset of the task id from the task's `Header`; 0 when unknown.
    pub task_id_offset: u16,
}

impl Probe {
    /// The attach cookie of the probe with this index in the plan.
    #[must_use]
    pub fn cookie(&self, index: u32) -> Cookie {
        Cookie {
            kind: self.kind,
            argument: self.argument,
            pushed: self.instruction.pushed,
            task_id_offset: self.task_id_offset,
            probe: index,
        }
    }
}

/// Something that cannot be seen, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What: a function, a type, a whole kind of event.
    pub what: String,
    /// Why not.
    pub reason: String,
    /// What would make it visible, where something would.
    pub remedy: Option<String>,
}

/// Everything that will be attached, and everything that will not.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The probes; a probe's index here is the one in its cookie and in records.
    pub probes: Vec<Probe>,
    /// What cannot be seen.
    pub unseen: Vec<Unseen>,
    /// What the program walks by at the begin of polls; empty without types in the debug
    /// information.
    pub walk: WalkPlan,
    /// For each task vtable (run-time address): offset of the task id from the `Header`. Wake-ups
    /// carry only the `Header`; the BPF program finds the id with this.
    pub task_id_offsets: Vec<(crate::address::Address, u16)>,
}

/// What the program walks by.
#[derive(Clone, Debug, Default)]
pub struct WalkPlan {
    /// The tables.
    pub tables: Arc<Tables>,
    /// Where a task's future lies, by index of the probe of its poll.
    pub roots: BTreeMap<u32, Root>,
}
