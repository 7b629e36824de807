//! `asynctrace record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::seconds;
use super::target::{FutureArguments, TargetArguments};
use crate::error::{ExitCode, Result};

/// Arguments of `record`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    #[command(flatten)]
    pub(super) futures: FutureArguments,

    /// Stop after this many seconds [default: when the target ends, or at Ctrl-C]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,

    /// The recording's file
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
}

/// Runs `record`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments;
    Err(super::unfinished::Unfinished("record").into())
}
