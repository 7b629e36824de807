//! `asynctrace record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::attach::{sample, trace};
use super::budget::BudgetArguments;
use super::duration::seconds;
use super::keep::KeepArguments;
use super::size::bytes;
use super::target::{FutureArguments, TargetArguments};
use crate::error::{ExitCode, Result};
use crate::follow::outlet::Showing;
use crate::follow::sampling::Hertz;
use crate::pipeline::Request;
use crate::pipeline::sampling::SampleRequest;

const EXAMPLES: &str = "\
Examples:
  sudo asynctrace record -p 1234 -d 10 -o t.astrace
  sudo asynctrace record -n server -o t.astrace --keep 60s
      keeps the last minute in memory; `kill -USR1` writes it to t.1.astrace, then t.2.astrace, ...;
      Ctrl-C, a panic and the target's end write it too
  sudo asynctrace record -n server -o t.astrace --keep 60s --keep 512MB --on-slow-request 250ms
  sudo asynctrace record -n server -o t.astrace --keep 2m --on-slow-await 'db::*=1s' \\
      --on-finding lost_wake,blocked_worker

Kinds of findings: see `asynctrace check --help`.";

/// Arguments of `record`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
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

    /// The recording's file; with --keep the one that is written at the end, and the stem of the
    /// names of the others
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,

    /// Stop before the file has more bytes than this; K, M and G are understood
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(super) max_size: Option<u64>,

    #[command(flatten)]
    pub(super) keep: KeepArguments,
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
    let flight = arguments.keep.options(&arguments.request);
    let rhythm = arguments.keep.rhythm();
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
        flight,
        showing: Showing::LinesOnStderr,
        rhythm,
    })
}
