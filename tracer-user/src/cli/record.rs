//! `asynctrace record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::attach::trace;
use super::budget::BudgetArguments;
use super::duration::seconds;
use super::size::bytes;
use super::target::{FutureArguments, TargetArguments};
use crate::error::{ExitCode, Result};
use crate::follow::outlet::Showing;
use crate::follow::reader::Rhythm;
use crate::pipeline::Request;

/// Arguments of `record`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    #[command(flatten)]
    pub(super) futures: FutureArguments,

    /// Async functions whose instances are requests, kept in the recording as what `report` shows;
    /// `*` stands for anything, `?` for one character (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(super) request: Vec<String>,

    /// Probe where polls return as well, for exact ends of polls: a second trap at each poll, on an
    /// instruction that the kernel single-steps
    #[arg(long)]
    pub(super) exact_polls: bool,

    #[command(flatten)]
    pub(super) budget: BudgetArguments,

    /// Stop after this many seconds [default: when the target ends, or at Ctrl-C]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,

    /// The recording's file
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,

    /// Stop before the file has more bytes than this; K, M and G are understood
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(super) max_size: Option<u64>,
}

/// Runs `record`: as `attach`, with a line a second on standard error.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    trace(&Request {
        target: arguments.target.selector(),
        debug_file: arguments.target.debug_file,
        futures: arguments.futures.futures,
        requests: arguments.request,
        exact_polls: arguments.exact_polls,
        budget: arguments.budget.share(),
        duration: arguments.duration,
        output: Some(arguments.output),
        max_size: arguments.max_size,
        showing: Showing::LinesOnStderr,
        rhythm: Rhythm::default(),
    })
}
