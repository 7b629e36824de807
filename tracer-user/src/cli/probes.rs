//! `asynctrace probes`.

use clap::Args;

use super::target::{FutureArguments, TargetArguments};
use crate::error::{ExitCode, Result};

/// Arguments of `probes`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    #[command(flatten)]
    pub(super) futures: FutureArguments,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs `probes`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments;
    Err(super::unfinished::Unfinished("probes").into())
}
