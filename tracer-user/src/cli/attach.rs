//! `asynctrace attach`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::budget::BudgetArguments;
use super::duration::seconds;
use super::size::bytes;
use super::target::{FutureArguments, TargetArguments};
use crate::error::{ExitCode, Result};
use crate::follow::outlet::Showing;
use crate::follow::reader::Rhythm;
use crate::follow::sampling::Hertz;
use crate::pipeline::sampling::{self, SampleRequest};
use crate::pipeline::{self, Request};
use crate::show::escape::escape_lines;
use crate::show::live::terminal;

/// Arguments of `attach`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) target: TargetArguments,

    #[command(flatten)]
    pub(super) futures: FutureArguments,

    /// Async functions whose instances are requests, kept in the recording as what `report` shows;
    /// `*` stands for anything, `?` for one character (repeatable)
    #[arg(long, value_name = "GLOB", requires = "output")]
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

    /// Record to this file as well
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// End the recording before it has more bytes than this, and go on; K, M and G are understood
    #[arg(long, value_name = "BYTES", value_parser = bytes, requires = "output")]
    pub(super) max_size: Option<u64>,
}

/// Runs `attach`: the live view on a terminal, a line a second elsewhere.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let showing = if terminal::is_interactive() {
        Showing::View
    } else {
        Showing::LinesOnStdout
    };
    if let Some(hertz) = arguments.sample {
        return sample(&SampleRequest {
            target: arguments.target.selector(),
            debug_file: arguments.target.debug_file,
            hertz,
            duration: arguments.duration,
            output: arguments.output,
            max_size: arguments.max_size,
            showing,
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
        output: arguments.output,
        max_size: arguments.max_size,
        flight: None,
        showing,
        rhythm: Rhythm::default(),
    })
}

/// Traces and tells the open line and the summary on standard error.
///
/// # Errors
/// Any stage's.
pub(super) fn trace(request: &Request) -> Result<ExitCode> {
    let say = |text: &str| {
        // Nobody listens to the talk: the results do not depend on it.
        let _ = write!(anstream::stderr(), "{}", escape_lines(text));
    };
    let summary = pipeline::trace(request, |line| say(&format!("{line}\n")))?;
    say(&summary.to_string());
    // A recording that is cut short can be read; what was kept and not written is lost.
    let lost = summary.file.is_some_and(|file| file.failure.is_some());
    Ok(if lost && request.flight.is_some() {
        ExitCode::BadFile
    } else {
        ExitCode::Done
    })
}

/// The same without probes.
///
/// # Errors
/// Any stage's.
pub(super) fn sample(request: &SampleRequest) -> Result<ExitCode> {
    let say = |text: &str| {
        // Nobody listens to the talk: the results do not depend on it.
        let _ = write!(anstream::stderr(), "{text}");
    };
    let (summary, _) = sampling::sample(request, false, |line| say(&format!("{line}\n")))?;
    say(&summary.to_string());
    Ok(ExitCode::Done)
}
