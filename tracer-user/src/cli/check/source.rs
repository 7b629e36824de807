//! What is judged: a process, or a recording.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::locate::TargetSelector;

/// A process or a recording, as the user named it.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct SourceArguments {
    /// Process id of the target
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,

    /// Name of the target's executable; it must be the only process of that name
    #[arg(short, long)]
    name: Option<String>,

    /// A recording
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Command to start and judge; its output goes to standard error
    #[arg(last = true, num_args = 1.., value_name = "CMD")]
    command: Vec<OsString>,
}

/// One of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged<'a> {
    /// A recording.
    File(&'a Path),
    /// A process.
    Target(TargetSelector),
}

impl SourceArguments {
    pub(super) fn judged(&self) -> Judged<'_> {
        if let Some(file) = &self.file {
            Judged::File(file)
        } else if let Some(pid) = self.pid {
            Judged::Target(TargetSelector::Pid(pid))
        } else if let Some(name) = &self.name {
            Judged::Target(TargetSelector::Name(name.clone()))
        } else {
            Judged::Target(TargetSelector::Command(self.command.clone()))
        }
    }
}
