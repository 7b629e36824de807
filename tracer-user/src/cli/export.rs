//! `asynctrace export`: a recording -> a file for other tools.

mod destination;
mod error;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::destination::Destination;
use self::error::ExportError;
use super::recorded::{self, Recorded, WindowArguments};
use super::report_sampled::{self, NoEvents};
use crate::analyse::requests::{Patterns, find};
use crate::error::{ExitCode, Result};
use crate::export::recording::{Ending, Item};
use crate::export::{Level, Measure, Source, dot, folded, json, otlp, perfetto, pprof, svg};
use crate::follow::evidence::Evidence;
use crate::show::escape::escape;
use crate::show::live::format::bytes;

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What to make of it
    #[arg(short, long, value_enum)]
    format: Format,

    /// Where to write it; an older file is replaced once the new one is whole [default: standard
    /// output]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// How far down to go [perfetto: default polls; otlp: default awaits; dot: tasks or awaits,
    /// default awaits]
    #[arg(long, value_name = "LEVEL", value_parser = ["requests", "tasks", "awaits", "polls"])]
    level: Option<String>,

    /// Which time counts, in folded and svg
    #[arg(long, value_enum, value_name = "TIME", default_value = "waiting")]
    value: Value,

    /// Async functions whose instances are requests, in perfetto and otlp [default: those named
    /// when recording, else sensible ones]
    #[arg(long, value_name = "GLOB")]
    request: Vec<String>,

    #[command(flatten)]
    window: WindowArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Perfetto trace (protobuf), for ui.perfetto.dev: threads, tasks, awaits, wake-ups
    Perfetto,
    /// OpenTelemetry spans (protobuf ExportTraceServiceRequest), for a collector's /v1/traces
    Otlp,
    /// Profile of await stacks (gzipped protobuf), for go tool pprof and its like
    Pprof,
    /// Await stacks as text, a line each, in nanoseconds
    Folded,
    /// Flame graph of await stacks
    Svg,
    /// Graph of task types, their awaits, and who wakes and spawns whom, for graphviz
    Dot,
    /// Everything, for scripts (docs/exports.md)
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Value {
    /// Time waiting for something
    Waiting,
    /// Time being polled
    Polled,
    /// Both, as two trees
    Both,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Self::Perfetto => "perfetto",
            Self::Otlp => "otlp",
            Self::Pprof => "pprof",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Dot => "dot",
            Self::Json => "json",
        }
    }

    /// Whether it is no text: it does nothing good to a terminal.
    fn is_binary(self) -> bool {
        matches!(self, Self::Perfetto | Self::Otlp | Self::Pprof)
    }

    /// The usual ending of such a file's name.
    fn extension(self) -> &'static str {
        match self {
            Self::Perfetto => "pftrace",
            Self::Otlp => "otlp",
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Dot => "dot",
            Self::Json => "json",
        }
    }

    /// The level, if that is one that the format has.
    fn level(self, wanted: Option<&str>) -> Result<Level, ExportError> {
        let (levels, default): (&[Level], Level) = match self {
            Self::Perfetto => (&Level::ALL, Level::Polls),
            Self::Otlp => (&Level::ALL, Level::Awaits),
            Self::Dot => (&[Level::Tasks, Level::Awaits], Level::Awaits),
            _ => (&[], Level::Awaits),
        };
        let Some(wanted) = wanted else {
            return Ok(default);
        };
        levels
            .iter()
            .copied()
            .find(|level| level.word() == wanted)
            .ok_or_else(|| ExportError::Level {
                format: self.word(),
                level: wanted.to_owned(),
                levels: levels.iter().map(|level| level.word()).collect(),
            })
    }
}

/// Runs `export`.
///
/// # Errors
/// When the command line asks for what a format has not, the recording cannot be read, or the
/// output not written.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let format = arguments.format;
    let level = format.level(arguments.level.as_deref())?;
    let measure = match arguments.value {
        Value::Waiting => Measure::Waiting,
        Value::Polled => Measure::Polled,
        Value::Both => Measure::Both,
    };
    if measure != Measure::Waiting && !matches!(format, Format::Folded | Format::Svg) {
        return Err(ExportError::Value {
            format: format.word(),
        }
        .into());
    }
    // Before minutes are spent on reading.
    let destination = Destination::choose(
        arguments.output.as_deref(),
        &arguments.file,
        format
            .is_binary()
            .then(|| (format.word(), format.extension())),
    )?;

    let is_sampled = report_sampled::is_sampled(&arguments.file)?;
    if is_sampled {
        let has_it = matches!(format, Format::Pprof | Format::Folded | Format::Svg);
        if !has_it || measure != Measure::Waiting {
            let what = match measure {
                Measure::Waiting => format!("the {} export", format.word()),
                Measure::Polled | Measure::Both => "time in polls".to_owned(),
            };
            return Err(NoEvents::new(what, &arguments.file).into());
        }
    }
    let mut evidence = None;
    let mut losses = Vec::new();
    let recorded = recorded::read(&arguments.file, arguments.window, |header, item| {
        if let Item::Losses(lost) = item {
            losses.extend_from_slice(lost);
        }
        if is_sampled {
            let window = arguments.window.window();
            evidence
                .get_or_insert_with(|| Evidence::new(header.clone(), window))
                .item(item);
        }
    })?;
    let span = recorded.history.span.clone();
    losses.retain(|loss| span.start <= loss.until);
    let patterns = if arguments.request.is_empty() {
        &recorded.header.requests
    } else {
        &arguments.request
    };
    let sampled = evidence.and_then(|evidence: Evidence| evidence.finish().sampled);
    let requests = find(&recorded.history, &Patterns::new(patterns));
    let source = Source {
        header: &recorded.header,
        history: &recorded.history,
        losses: &losses,
        requests: &requests.list,
        sampled: sampled.as_ref(),
    };
    let mut said = Vec::new();
    let size = destination.write(|out| {
        said = write(&source, format, level, measure, out)?;
        Ok(())
    })?;
    if let Some(sampled) = &sampled {
        said.push(format!(
            "{} of {} at memory: times are estimates",
            plural(sampled.samples.tasks, "task-sample"),
            plural(sampled.looks.count, "look")
        ));
        if sampled.samples.idle_unplaced > 0 {
            said.push(format!(
                "in {} of waiting tasks the place could not be read: that time is in no stack",
                plural(sampled.samples.idle_unplaced, "sample")
            ));
        }
    }
    said.extend(patterns_said(
        &requests.unmatched,
        is_sampled,
        arguments.window.window().is_everything(),
    ));
    talk(&destination, size, &recorded, &said);
    Ok(ExitCode::Done)
}

/// What there is to say of patterns that name no request. A part of a recording may be without
/// instances of a function that the rest has.
fn patterns_said(unmatched: &[String], is_sampled: bool, is_everything: bool) -> Vec<String> {
    if unmatched.is_empty() {
        return Vec::new();
    }
    if is_sampled {
        let said =
            "--request has no effect: a recording of looks at memory (--sample) has no requests";
        return vec![said.to_owned()];
    }
    let what = if is_everything {
        "this recording"
    } else {
        "this part of the recording"
    };
    let said = |pattern| format!("no async function that waited in {what} is named {pattern}");
    unmatched.iter().map(said).collect()
}

/// Writes one format; returns what is to be said of it.
fn write(
    source: &Source<'_>,
    format: Format,
    level: Level,
    measure: Measure,
    out: &mut dyn Write,
) -> Result<Vec<String>, WriteError> {
    Ok(match format {
        Format::Perfetto => {
            let totals = perfetto::write(source, level, out)?;
            vec![format!(
                "{} slices on {} tracks, {} arrows, {} moments: open it at https://ui.perfetto.dev",
                totals.slices, totals.tracks, totals.flows, totals.instants
            )]
        }
        Format::Otlp => {
            let totals = otlp::write(source, level, out).map_err(|error| match error {
                otlp::OtlpError::Clocks => WriteError::Clocks,
                otlp::OtlpError::Write(error) => WriteError::Io(error),
            })?;
            let mut said = vec![format!(
                "{} spans in {} traces, {} links: curl -H 'Content-Type: application/x-protobuf' \
                 --data-binary @FILE http://COLLECTOR:4318/v1/traces",
                totals.spans, totals.traces, totals.links
            )];
            if totals.links_left_out > 0 {
                said.push(format!(
                    "{} links and events are left out: a span has 128 of each at most",
                    totals.links_left_out
                ));
            }
            said
        }
        Format::Pprof => {
            let totals = pprof::write(source, out)?;
            let mut said = vec![format!(
                "{}: go tool pprof -http=: FILE",
                plural(totals.samples, "stack")
            )];
            said.extend(stacks_said(totals.cut, totals.tasks_without));
            said
        }
        Format::Folded | Format::Svg => {
            let totals = if format == Format::Svg {
                svg::write(source, measure, out)?
            } else {
                folded::write(source, measure, out)?
            };
            let mut said = vec![format!(
                "{}, {:.3} s together",
                plural(totals.stacks, "stack"),
                totals.nanoseconds as f64 / 1e9
            )];
            said.extend(stacks_said(totals.cut, totals.tasks_without));
            said
        }
        Format::Dot => {
            let totals = dot::write(source, level, out)?;
            let mut said = vec![format!(
                "{} types of tasks, {} awaits, {} edges: dot -Tsvg",
                totals.types, totals.awaits, totals.edges
            )];
            if totals.left_out != (0, 0, 0) {
                let (types, awaits, edges) = totals.left_out;
                said.push(format!(
                    "left out, to stay readable: {types} types of tasks, {awaits} awaits, {edges} edges"
                ));
            }
            said
        }
        Format::Json => {
            json::write(source, out)?;
            Vec::new()
        }
    })
}

/// Why nothing was written.
enum WriteError {
    Clocks,
    Io(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `1 stack`, `2 stacks`.
fn plural(count: u64, one: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {one}{many}")
}

fn stacks_said(cut: u64, tasks_without: u64) -> Vec<String> {
    let mut said = Vec::new();
    if cut > 0 {
        said.push(format!(
            "{cut} awaits are nested too deep and count for those above them"
        ));
    }
    if tasks_without > 0 {
        said.push(format!(
            "of {} no await is known: that time is in no stack",
            plural(tasks_without, "task")
        ));
    }
    said
}

/// Says what was written, and what is missing in it. There is nobody to tell when standard error is
/// closed.
fn talk(destination: &Destination, size: u64, recorded: &Recorded, said: &[String]) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(
        stderr,
        "wrote {}: {}",
        escape(&destination.to_string()),
        bytes(size)
    );
    for line in said {
        let _ = writeln!(stderr, "{}", escape(line));
    }
    if !matches!(recorded.ending, Ending::Complete) {
        let _ = writeln!(
            stderr,
            "the recording has no end: this is what it has up to there"
        );
    }
    let missing = &recorded.history.missing;
    let counts = [
        (missing.records_lost, "records were lost in the kernel"),
        (missing.events_dropped, "events are not in the recording"),
        (missing.gaps, "gaps in the lives of tasks and threads"),
        (
            missing.beyond_limits,
            "polls, awaits or wake-ups are beyond the limits of memory",
        ),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let span = &recorded.history.span;
    if let Some(told) = missing.not_watched(span.end.saturating_sub(span.start)) {
        let _ = writeln!(stderr, "{}", crate::show::escape::escape(&told));
    }
    if !counts.is_empty() {
        let _ = writeln!(
            stderr,
            "what is there is right, but not complete: {}",
            counts.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            stacks_said(0, 1),
            ["of 1 task no await is known: that time is in no stack"]
        );
        assert_eq!(plural(2, "stack"), "2 stacks");
    }

    #[test]
    fn of_patterns_without_requests_only_what_is_known_is_said() {
        let unmatched = ["app::*".to_owned()];
        let said = |is_sampled, is_everything| patterns_said(&unmatched, is_sampled, is_everything);
        assert_eq!(
            said(false, true),
            ["no async function that waited in this recording is named app::*"]
        );
        assert!(said(false, false)[0].contains("in this part of the recording"));
        assert!(said(true, true)[0].ends_with("has no requests"));
        assert!(patterns_said(&[], true, true).is_empty());
    }
}
