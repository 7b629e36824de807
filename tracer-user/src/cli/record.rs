//! `asynctrace record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::attach::{sample, trace};
use super::budget::BudgetArguments;
use super::duration::seconds;
use super::size::bytes;
use super::target::{FutureArguments, TargetArguments};
use crate::error::{ExitCode, Result};
use crate::follow::outlet::Showing;
use crate::follow::reader::Rhythm;
use crate::follow::sampling::Hertz;
use crate::pipeline::Request;
use crate::pipeline::sampling::SampleRequest;

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

    /// Attach no probes: look at the memory of all tasks this many times a second, as 10 or 0.5.
    /// Needs no right but to read the process; tells where tasks wait and what changed between
    /// looks, and of no poll or wake-up
    #[arg(long, value_name = "HZ", conflicts_with_all = ["futures", "exact_polls", "request"])]
    pub(super) sample: Option<Hertz>,

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
    if let Some(hertz) = arguments.sample {
        return sample(&SampleRequest {
            target: arguments.target.selector(),
            debug_file: arguments.target.debug_file,
            hertz,
            duration: arguments.duration,
            output: Some(arguments.output),
            max_size: arguments.max_size,
            showing: Showing::LinesOnStderr,
        });
    }
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
