//! Arguments, subcommands, exit codes: the command-line contract.
//!
//! [`run`] is the whole program: parse, run one subcommand, tell what went wrong and what to do
//! next, return the exit code. Results go to standard output, talk to standard error; a reader who
//! closes standard output early (`| head`) is a normal end. Each subcommand is one file with its
//! arguments and a `run`; nothing of what they do is here.

mod attach;
mod budget;
mod check;
mod ctl;
mod daemon;
mod dump;
pub(crate) mod duration;
mod export;
mod generate;
mod keep;
pub(crate) mod look;
mod output;
mod probes;
mod record;
mod recorded;
mod report;
mod report_html;
mod report_requests;
mod report_sampled;
mod report_task;
pub(crate) mod size;
mod target;

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum};

use crate::attach::holder;
use crate::error::{Error, ExitCode, Result};
use crate::show::escape::escape_lines;

/// See what the async tasks of a running, unmodified Rust program are doing.
#[derive(Debug, Parser)]
#[command(name = "asynctrace", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

const EXAMPLES: &str = "\
Examples:
  sudo asynctrace dump --pid 1234              every live task and what it waits for, now
  sudo asynctrace dump --name my-server --json the same for a script
  sudo asynctrace attach --pid 1234            live view of polls and wake-ups
  sudo asynctrace record -p 1234 -d 10 -o t.astrace
  sudo asynctrace record -p 1234 -o t.astrace --keep 60s --on-slow-request 250ms
  sudo asynctrace check --pid 1234             what is wrong, with evidence
  asynctrace report t.astrace                  what the recording says
  asynctrace export t.astrace -f perfetto -o t.pftrace
  sudo asynctrace probes --pid 1234            what would be probed, what cannot be seen
  sudo asynctrace attach -- ./my-server --port 8080

Exit codes: 0 done, 1 bug, 2 usage, 3 no such target, 4 not permitted, 5 the kernel cannot,
6 nothing to trace in this binary, 7 unreadable or foreign file, 10 findings.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every live task's await tree, now
    Dump(dump::Arguments),
    /// Watch polls and wake-ups live
    Attach(attach::Arguments),
    /// Record polls and wake-ups to a file, without the live view
    Record(record::Arguments),
    /// Show what would be probed and what cannot be seen, without attaching
    Probes(probes::Arguments),
    /// Print what a recording says
    Report(report::Arguments),
    /// Tell what is wrong in a process or a recording, with evidence
    Check(check::Arguments),
    /// Make a file for other tools of a recording: Perfetto, OpenTelemetry, pprof, flame graphs
    Export(export::Arguments),
    /// Follow services as their processes come and go, with metrics and a control socket
    Daemon(daemon::Arguments),
    /// Ask a running daemon
    Ctl(ctl::Arguments),
    /// Print a completion script for a shell
    Completions(generate::CompletionArguments),
    /// Print the manual page
    Man(generate::ManArguments),
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Runs the program with the given command line and returns its exit code. Usage errors are
/// printed by the parser.
#[must_use]
pub fn run(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line: Vec<OsString> = command_line.into_iter().collect();
    // Ours alone to start, so it is no subcommand that the parser, help or manual know.
    if command_line
        .get(1)
        .is_some_and(|word| word == holder::SUBCOMMAND)
    {
        return holder::serve();
    }
    let arguments = match Arguments::try_parse_from(command_line) {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` arrive here too. A closed stream is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Done
            };
        }
    };
    arguments.color.apply();
    // The daemon's log is as its configuration says.
    if !matches!(arguments.command, Command::Daemon(_)) {
        log_to_stderr();
    }
    let done = crate::privilege::lent::give_back()
        .map_err(Error::from)
        .and_then(|()| dispatch(arguments.command));
    match done {
        Ok(code) => code,
        Err(error) if output::is_closed(&error) => ExitCode::Done,
        Err(error) => {
            complain(&error);
            error.exit_code()
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Attach(arguments) => attach::run(arguments),
        Command::Record(arguments) => record::run(arguments),
        Command::Probes(arguments) => probes::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Daemon(arguments) => daemon::run(&arguments),
        Command::Ctl(arguments) => ctl::run(&arguments),
        Command::Completions(arguments) => generate::completions(&arguments),
        Command::Man(arguments) => generate::man(&arguments),
    }
}

impl Color {
    /// Sets the choice for everything that is written through `anstream`.
    fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Prints an error as `error: what: why` and then the next step.
fn complain(error: &Error) {
    use std::io::Write;
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let mut stderr = anstream::stderr().lock();
    // There is nowhere left to say that standard error is closed.
    let message = error.to_string();
    let _ = writeln!(stderr, "{style}error:{style:#} {}", escape_lines(&message));
    if let Error::Failure(failure) = error {
        if let Some(step) = failure.next_step() {
            let _ = writeln!(stderr, "{}", escape_lines(&step));
        }
    } else {
        let _ = writeln!(
            stderr,
            "this is a bug of asynctrace, or of the system it runs on"
        );
    }
}

/// Our own log, for people who look for a bug in us: `ASYNCTRACE_LOG=debug`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ASYNCTRACE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // Only fails when a logger is there already (in tests).
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn exactly_one_target() {
        for line in [
            "asynctrace dump -p 1",
            "asynctrace dump --pid 1 --json --task tokio/7",
            "asynctrace attach -n server -d 0.5 -o file",
            "asynctrace record -o file -- ./server --port 1 -p 2",
            "asynctrace record -o file --max-size 512M -p 2",
            "asynctrace record -o file -p 2 --keep 60s --keep 512MB --on-panic no",
            "asynctrace record -o file -p 2 --keep 1G --on-slow-request 250ms --pause 1m",
            "asynctrace record -o file -p 2 --keep 2m --on-slow-await db::*=1s --on-finding any",
            "asynctrace probes --name server --debug-file server.debug --futures app::*",
            "asynctrace attach -p 1 --sample 10 -d 5 -o file",
            "asynctrace record -o file --sample 0.5 -p 2",
            "asynctrace check -p 1 -d 5 --sample 20",
            "asynctrace report file --json --color never",
            "asynctrace export file -f folded --value both",
            "asynctrace check file --only lost_wake,stalled --min-certainty likely",
            "asynctrace check -p 1 -d 60 --long-poll 250ms --stalled 2m --slow-to-run 1.5s",
            "asynctrace check -n server --now --json --debug-file server.debug",
            "asynctrace check -n server --now --graph dot",
            "asynctrace check -o file -- ./server --port 1 -p 2",
            "asynctrace daemon --config /etc/asynctrace.toml",
            "asynctrace daemon --config file --check",
            "asynctrace ctl list --json",
            "asynctrace ctl --socket s dump api",
            "asynctrace ctl dump --pid 7 --json --socket s",
            "asynctrace ctl record api -d 10 -p 7",
            "asynctrace ctl check api",
            "asynctrace export file --format perfetto -o out --level requests --request handle",
        ] {
            parse(line).unwrap();
        }
        for line in [
            "asynctrace dump",
            "asynctrace dump -p 1 -n server",
            "asynctrace daemon",
            "asynctrace ctl",
            "asynctrace ctl dump",
            "asynctrace ctl list api",
            "asynctrace ctl record api",
            "asynctrace ctl check -p 0",
            "asynctrace dump -p 1 -- ./server",
            "asynctrace dump -p server",
            "asynctrace dump -p 0",
            "asynctrace dump -p -5",
            "asynctrace dump -n",
            "asynctrace dump --",
            "asynctrace record -p 1",
            "asynctrace attach -p 1 --sample 0",
            "asynctrace attach -p 1 --sample 1e9",
            "asynctrace attach -p 1 --sample 10 --exact-polls",
            "asynctrace attach -p 1 --sample 10 --futures x",
            "asynctrace check -p 1 --now --sample 10",
            "asynctrace check file --sample 10",
            "asynctrace attach -p 1 -d 0",
            "asynctrace attach -p 1 -d soon",
            "asynctrace attach -p 1 --max-size 512M",
            "asynctrace record -o file --max-size 5 -p 2",
            "asynctrace attach -p 1 -d inf",
            "asynctrace attach -p 1 --keep 60s",
            "asynctrace record -p 1 --keep 60s",
            "asynctrace record -o file -p 1 --keep 60",
            "asynctrace record -o file -p 1 --keep 1K",
            "asynctrace record -o file -p 1 --keep 60s --max-size 1G",
            "asynctrace record -o file -p 1 --keep 60s --sample 10",
            "asynctrace record -o file -p 1 --on-slow-await 1s",
            "asynctrace record -o file -p 1 --keep 60s --on-slow-await db::*",
            "asynctrace record -o file -p 1 --keep 60s --on-finding lost",
            "asynctrace report",
            "asynctrace export file",
            "asynctrace check",
            "asynctrace check file -p 1",
            "asynctrace check file -d 5",
            "asynctrace check file --now",
            "asynctrace check file --graph svg",
            "asynctrace check file --graph json --json",
            "asynctrace check -p 1 --now -d 5",
            "asynctrace check -p 1 --now -o file",
            "asynctrace check file --only lost_wakes",
            "asynctrace check file --min-certainty sure",
            "asynctrace check file --long-poll 10",
            "asynctrace export file -f elf",
            "asynctrace export file -f dot --level futures",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
