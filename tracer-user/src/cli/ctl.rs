//! `asynctrace ctl`: asks a running daemon.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::duration::seconds;
use super::output;
use crate::daemon::config::DEFAULT_SOCKET;
use crate::daemon::control::client::ask;
use crate::daemon::control::message::{Chosen, Form, Request};
use crate::error::{ExitCode, Result};
use crate::show::escape::escape;
use crate::show::live::format;

const EXAMPLES: &str = "\
Examples:
  sudo asynctrace ctl list                     what is followed, and how it is
  sudo asynctrace ctl dump api                 every live task of the target's process, now
  sudo asynctrace ctl check api --pid 1234     what is wrong in one of its processes
  sudo asynctrace ctl record api -d 10         record for ten seconds; prints the file

Exit codes: 10 when `check` prints findings, 3 when no daemon or no such process is there, others as
in `asynctrace --help`.";

/// Arguments of `ctl`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, global = true)]
    socket: PathBuf,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    question: Question,
}

#[derive(Clone, Debug, Subcommand)]
enum Question {
    /// Print the daemon's targets and processes
    List,
    /// Print every live task's await tree, now
    Dump(Which),
    /// Tell what is wrong in a process
    Check(Which),
    /// Record a process; the file is made by the daemon, in its folder
    Record {
        #[command(flatten)]
        which: Which,

        /// Stop after this many seconds
        #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
        duration: Duration,
    },
}

/// A process of the daemon's.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// Label of the target; needs --pid where it has more than one process
    #[arg(value_name = "TARGET")]
    target: Option<String>,

    /// Process id
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
}

impl Which {
    fn chosen(&self) -> Chosen {
        Chosen {
            target: self.target.clone(),
            pid: self.pid,
        }
    }
}

/// Runs `ctl`.
///
/// # Errors
/// What the daemon refuses, and where there is none.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let form = if arguments.json {
        Form::Json
    } else {
        Form::Text
    };
    let request = match &arguments.question {
        Question::List => Request::List,
        Question::Dump(which) => Request::Dump(which.chosen(), form),
        Question::Check(which) => Request::Check(which.chosen(), form),
        Question::Record { which, duration } => Request::Record(which.chosen(), *duration),
    };
    let result = ask(&arguments.socket, &request)?;
    if arguments.json {
        output::print_json(&result)?;
    } else {
        output::print(|out| match arguments.question {
            Question::List => list(&result, out),
            Question::Dump(_) | Question::Check(_) => out.write_all(text(&result).as_bytes()),
            Question::Record { .. } => recorded(&result, out),
        })?;
    }
    let findings = match &result["findings"] {
        Value::Array(findings) => !findings.is_empty(),
        count => count.as_u64().unwrap_or(0) > 0,
    };
    Ok(match arguments.question {
        Question::Check(_) if findings => ExitCode::Findings,
        // The file is there, and is not whole.
        Question::Record { .. } if result["failure"].is_string() => ExitCode::BadFile,
        _ => ExitCode::Done,
    })
}

/// The daemon has made it safe for a terminal.
fn text(result: &Value) -> &str {
    result["text"].as_str().unwrap_or_default()
}

fn recorded(result: &Value, out: &mut dyn Write) -> io::Result<()> {
    let path = result["path"].as_str().unwrap_or("?");
    let bytes = format::bytes(result["bytes"].as_u64().unwrap_or(0));
    write!(
        out,
        "{}: {bytes}, {} events",
        escape(path),
        result["events"]
    )?;
    if result["lost"].as_u64().is_some_and(|lost| lost > 0) {
        write!(out, ", {} lost by the kernel", result["lost"])?;
    }
    if result["dropped"]
        .as_u64()
        .is_some_and(|dropped| dropped > 0)
    {
        write!(
            out,
            ", {} not written (writing was too slow)",
            result["dropped"]
        )?;
    }
    let ending = result["ending"].as_str().unwrap_or("?");
    writeln!(out, ", ended by: {}", escape(ending))?;
    if let Some(failure) = result["failure"].as_str() {
        writeln!(out, "incomplete: {}", escape(failure))?;
    }
    Ok(())
}

fn list(result: &Value, out: &mut dyn Write) -> io::Result<()> {
    let none = Vec::new();
    let targets = result["targets"].as_array().unwrap_or(&none);
    writeln!(
        out,
        "{:<20} {:>8} {:<10} {:>6} {:>7} {:>9} {:>6} {:>7} {:>8}",
        "TARGET", "PID", "STATE", "FOR", "TASKS", "EVENTS/S", "LOST", "COST", "FINDINGS"
    )?;
    for target in targets {
        let label = target["label"].as_str().unwrap_or("?");
        let processes = target["processes"].as_array().unwrap_or(&none);
        if processes.is_empty() {
            writeln!(out, "{:<20} {:>8} no process", escape(label), "-")?;
        }
        for process in processes {
            of_process(label, process, out)?;
        }
        let more = target["not_followed"].as_u64().unwrap_or(0);
        if more > 0 {
            writeln!(
                out,
                "{:<20} {more} more are not followed: too many",
                escape(label)
            )?;
        }
    }
    if targets.is_empty() {
        writeln!(out, "the daemon has no targets")?;
    }
    Ok(())
}

fn of_process(label: &str, process: &Value, out: &mut dyn Write) -> io::Result<()> {
    let or_dash = |value: &Value, shown: &dyn Fn(f64) -> String| {
        value.as_f64().map_or_else(|| "-".to_owned(), shown)
    };
    let whole = |number: f64| format!("{number:.0}");
    let time = |seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), format::duration)
    };
    writeln!(
        out,
        "{:<20} {:>8} {:<10} {:>6} {:>7} {:>9} {:>6} {:>7} {:>8}",
        escape(label),
        // A JSON value does not heed the width.
        process["pid"].to_string(),
        escape(process["state"].as_str().unwrap_or("?")),
        or_dash(&process["seconds"], &time),
        or_dash(&process["tasks"], &whole),
        or_dash(&process["events_per_second"], &format::rate),
        or_dash(&process["lost"], &whole),
        or_dash(&process["overhead_percent"], &|percent| format!(
            "{percent:.1}%"
        )),
        or_dash(&process["findings"], &whole),
    )?;
    let reason = &process["reason"];
    for text in [&process["notice"], &reason["message"], &reason["next_step"]] {
        for line in text.as_str().into_iter().flat_map(str::lines) {
            writeln!(out, "{:>29} {}", "", escape(line))?;
        }
    }
    if let Some(seconds) = process["retry_seconds"].as_f64() {
        writeln!(out, "{:>29} tried again in {}", "", time(seconds))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_has_every_process_with_its_reason() {
        let result = json!({"targets": [
            {"label": "api", "not_followed": 2, "processes": [
                {"pid": 7, "state": "following", "seconds": 12.0, "tasks": 31,
                 "events_per_second": 1234.5, "lost": 0, "overhead_percent": 0.25, "findings": 1},
                {"pid": 8, "state": "waiting", "seconds": 1.0, "retry_seconds": 3.0,
                 "reason": {"message": "not \u{1b}[2J permitted", "next_step": "run as root"}}]},
            {"label": "jobs", "not_followed": 0, "processes": []}]});
        let mut out = Vec::new();
        list(&result, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
