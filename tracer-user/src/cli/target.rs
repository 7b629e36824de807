//! The arguments that name a target, shared by the subcommands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::locate::TargetSelector;

/// The target and where its debug information is.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArguments {
    #[command(flatten)]
    selection: Selection,

    /// Debug information of the target, from the same build [default: in the binary, else by
    /// build-id, else by .gnu_debuglink]
    #[arg(long, value_name = "PATH")]
    pub(crate) debug_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Selection {
    /// Process id of the target
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,

    /// Name of the target's executable; it must be the only process of that name
    #[arg(short, long)]
    name: Option<String>,

    /// Command to start and trace; its output goes to standard error. It goes on running when
    /// asynctrace ends
    #[arg(last = true, num_args = 1.., value_name = "CMD")]
    command: Vec<OsString>,
}

impl TargetArguments {
    /// The target as the user named it.
    pub(crate) fn selector(&self) -> TargetSelector {
        let selection = &self.selection;
        if let Some(pid) = selection.pid {
            TargetSelector::Pid(pid)
        } else if let Some(name) = &selection.name {
            TargetSelector::Name(name.clone())
        } else {
            TargetSelector::Command(selection.command.clone())
        }
    }
}

/// Which nested futures to probe as well.
#[derive(Clone, Debug, Args)]
pub(crate) struct FutureArguments {
    /// Also probe the entry of nested polls and async bodies whose name matches, as far as they
    /// are not inlined; `*` stands for anything, `?` for one character (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) futures: Vec<String>,
}
