//! `asynctrace report`.

use std::path::PathBuf;

use clap::Args;

use crate::error::{ExitCode, Result};

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The recording
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs `report`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let _ = arguments;
    Err(super::unfinished::Unfinished("report").into())
}
