//! `asynctrace check`: what is wrong in a process or a recording, with evidence.

mod judge;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use self::source::SourceArguments;
use super::budget::BudgetArguments;
use super::duration::{seconds, with_unit};
use super::output;
use crate::analyse::findings::{Certainty, Kind, Thresholds};
use crate::error::{ExitCode, Result};
use crate::follow::sampling::Hertz;
use crate::show::findings;

const EXAMPLES: &str = "\
Examples:
  sudo asynctrace check --pid 1234              attach for five seconds, then judge
  asynctrace check --pid 1234 --now             by its memory alone: no probes, no root
  sudo asynctrace check -p 1234 -d 60 -o t.astrace --min-certainty likely
  asynctrace check t.astrace --only lost_wake,wait_cycle --json
  asynctrace check --pid 1234 --now --graph dot | dot -Tsvg -o waits.svg
  sudo asynctrace check -- ./my-server --port 8080

Kinds: lost_wake, wait_cycle, futurelock, blocked_worker, panicked, abandoned_future, busy_poll,
slow_to_run, task_growth, stalled.
Certainty: proved (nothing else explains what was seen), likely (nothing else that is known does),
possible (healthy programs show the same now and then).

Exit codes: 10 when findings are printed, 0 when there are none, others as in `asynctrace --help`.";

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,

    /// Debug information of the target, from the same build [default: in the binary, else by
    /// build-id, else by .gnu_debuglink]
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    debug_file: Option<PathBuf>,

    /// Attach for this many seconds; Ctrl-C ends it early and judges what there is [default: 5]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, conflicts_with_all = ["file", "now"])]
    duration: Option<Duration>,

    #[command(flatten)]
    budget: BudgetArguments,

    /// Judge from memory alone: no probes, and no rights but to read the process
    #[arg(long, conflicts_with = "file")]
    now: bool,

    /// Attach no probes for that time: look at the memory of all tasks this many times a second
    #[arg(long, value_name = "HZ", conflicts_with_all = ["file", "now"])]
    sample: Option<Hertz>,

    /// Keep what was judged as a recording
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["file", "now"])]
    output: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print the graph of waits instead: which tasks wait for what, who holds it, and where that ends
    #[arg(long, value_name = "FORMAT", value_enum, conflicts_with_all = ["json", "only"])]
    graph: Option<GraphFormat>,

    /// Only findings of these kinds [default: all]
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    only: Vec<Kind>,

    /// Only findings that are at least as sure
    #[arg(long, value_name = "CERTAINTY", default_value = "possible")]
    min_certainty: Certainty,

    /// A poll that holds its worker for longer is a finding
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = with_unit)]
    long_poll: u64,

    /// A task that was woken and is not polled for longer is a finding
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = with_unit)]
    slow_to_run: u64,

    /// A task that is not polled for longer is a finding
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = with_unit)]
    stalled: u64,
}

/// How the graph of waits is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// For Graphviz: `| dot -Tsvg -o waits.svg`
    Dot,
    /// For scripts
    Json,
}

impl Arguments {
    const fn thresholds(&self) -> Thresholds {
        Thresholds {
            long_poll: self.long_poll,
            slow_to_run: self.slow_to_run,
            stalled: self.stalled,
        }
    }

    /// Whether a finding is asked for.
    fn wants(&self, kind: Kind, certainty: Certainty) -> bool {
        certainty >= self.min_certainty && (self.only.is_empty() || self.only.contains(&kind))
    }
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Certainty {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Possible, Self::Likely, Self::Proved]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Proved => "proved",
        }))
    }
}

/// Runs `check`.
///
/// # Errors
/// Any stage's.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(format) = arguments.graph {
        let graph = judge::graph(arguments)?;
        match format {
            GraphFormat::Dot => output::print(|out| out.write_all(graph.to_dot().as_bytes()))?,
            GraphFormat::Json => output::print_json(&graph)?,
        }
        return Ok(ExitCode::Done);
    }
    let check = judge::judge(arguments)?;
    output::unless_closed(if arguments.json {
        output::print_json(&check)
    } else {
        output::print(|out| findings::write(&check, out))
    })?;
    Ok(if check.findings.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Findings
    })
}
