//! `asynctrace dump`.

use clap::Args;

use super::target::TargetArguments;
use crate::error::{ExitCode, Result};

/// Arguments of `dump`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Only this task: its id as dump prints it, or the number alone
    #[arg(long, value_name = "ID")]
    pub(super) task: Option<String>,
}

/// Runs `dump`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments;
    Err(super::unfinished::Unfinished("dump").into())
}
