//! The report of a recording that consists of looks at memory: as JSON, as text, and as a page.
//!
//! What only events tell (polls, wake-ups, durations) is absent, not zero.

mod page;
mod sections;

pub use self::page::write_html;

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use self::sections::{Section, sections};
use super::{FAINT, FileInfo, STRONG, WARNING, calendar, plural, span};
use crate::analyse::findings::Finding;
use crate::analyse::sampled::Sampled;
use crate::export::recording::Host;
use crate::follow::sampling::pace::rate;
use crate::plan::Unseen;
use crate::rebuild::snapshot::{Coverage, DebugInfoLevel, ProcessInfo};
use crate::show::escape::escape;
use crate::show::live::format;
use crate::show::text::{heading, table};

/// Rows of a table in the text at most.
const ROWS: usize = 15;
/// Findings in the text at most.
const MAX_FINDINGS: usize = 20;

/// Everything that such a report says.
#[derive(Clone, Debug, Serialize)]
pub struct SampledReport {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The file.
    pub file: FileInfo,
    /// The recording's id.
    pub trace_id: String,
    /// What wrote it.
    pub tool: String,
    /// The process.
    pub process: ProcessInfo,
    /// The machine.
    pub host: Host,
    /// The runtime whose tasks were looked at.
    pub runtime: String,
    /// How much debug information the binary has, where that is known.
    pub debug_info: Option<DebugInfoLevel>,
    /// When it started, nanoseconds since 1970-01-01 UTC; `None` when the file does not say.
    pub started_unix_ns: Option<u64>,
    /// From its start to its end, nanoseconds.
    pub duration_ns: u64,
    /// `false`: looks at memory tell of no poll, wake-up or duration.
    pub events_watched: bool,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
    /// What the last look saw of the tasks.
    pub coverage: Option<Coverage>,
    /// What the last look said.
    pub warnings: Vec<String>,
    /// Where tasks wait, and what changed.
    pub sampled: Sampled,
    /// What is wrong, the surest and gravest first (docs/findings.md).
    pub findings: Vec<Finding>,
}

/// Writes the report for a person.
///
/// # Errors
/// What `out` returns.
pub fn write(report: &SampledReport, out: &mut dyn Write) -> io::Result<()> {
    let process = &report.process;
    writeln!(
        out,
        "{STRONG}process {}{STRONG:#}  {}",
        process.pid,
        escape(&process.exe)
    )?;
    let [first, second] = head(report);
    writeln!(out, "{STRONG}{first}{STRONG:#}")?;
    writeln!(out, "{FAINT}{second}{FAINT:#}")?;
    for note in notes(report) {
        writeln!(out, "{WARNING}note: {}{WARNING:#}", escape(&note))?;
    }
    for unseen in &report.unseen {
        writeln!(
            out,
            "{FAINT}not seen: {}: {}{FAINT:#}",
            escape(&unseen.what),
            escape(&unseen.reason)
        )?;
    }
    if !report.findings.is_empty() {
        heading(out, "Findings")?;
        let shown = report.findings.len().min(MAX_FINDINGS);
        super::super::findings::brief(&report.findings[..shown], out)?;
        if report.findings.len() > shown {
            writeln!(out, "  and {} more", report.findings.len() - shown)?;
        }
        let file = escape(&report.file.path);
        writeln!(
            out,
            "  {FAINT}asynctrace check {file} shows the evidence{FAINT:#}"
        )?;
    }
    for section in sections(&report.sampled, ROWS) {
        let Section {
            title,
            headings,
            numbers,
            rows,
            more,
            note,
        } = section;
        heading(out, title)?;
        writeln!(out, "{}", table(&headings, numbers, rows))?;
        if let Some(note) = note {
            writeln!(out, "  {FAINT}{note}{FAINT:#}")?;
        }
        if more > 0 {
            writeln!(out, "  {FAINT}and {more} more (--json lists them){FAINT:#}")?;
        }
    }
    Ok(())
}

/// What the recording is, in two lines.
fn head(report: &SampledReport) -> [String; 2] {
    let looks = &report.sampled.looks;
    let mut first = format!(
        "{} of looks at memory: {}",
        span(report.duration_ns),
        plural(looks.count, "look")
    );
    if let Some(per_second) = looks.per_second {
        first.push_str(&format!(", {} a second", rate(per_second)));
    }
    if let Some(asked) = looks.asked_per_second {
        first.push_str(&format!(" ({} asked for)", rate(asked)));
    }
    first.push_str(&format!(
        ", {}; {}",
        plural(report.sampled.samples.tasks, "task-sample"),
        format::bytes(report.file.bytes)
    ));
    if let Some(reason) = &report.file.ended_because {
        first.push_str(&format!("; ended: {}", escape(reason)));
    }
    let host = &report.host;
    let mut second = format!(
        "{} on Linux {} {}, {}",
        escape(&report.runtime),
        escape(&host.kernel),
        escape(&host.architecture),
        plural(host.cpus.into(), "CPU")
    );
    if let Some(started) = report.started_unix_ns {
        second.push_str(&format!("; from {}", calendar::utc(started)));
    }
    second.push_str(&format!("; by {}", escape(&report.tool)));
    [first, second]
}

/// What the reader must know before believing the numbers.
fn notes(report: &SampledReport) -> Vec<String> {
    let mut notes: Vec<String> = report.file.note.iter().cloned().collect();
    let looks = &report.sampled.looks;
    if let (Some(asked), Some(taken)) = (looks.asked_per_second, looks.per_second)
        && taken < asked * 0.9
    {
        notes.push(format!(
            "looks were fewer than asked for, {} a second instead of {}: so many are what they may \
             cost; the longest time between two was {}",
            rate(taken),
            rate(asked),
            format::duration(Duration::from_nanos(looks.longest_between_ns))
        ));
    }
    let samples = &report.sampled.samples;
    if samples.idle_unplaced > 0 {
        notes.push(format!(
            "where the task waited could not be read in {} of {} samples of waiting tasks",
            samples.idle_unplaced, samples.idle
        ));
    }
    if report.sampled.beyond_limits > 0 {
        notes.push(format!(
            "{} tasks or futures more than fit into memory were not counted",
            report.sampled.beyond_limits
        ));
    }
    if report.file.skipped_packets > 0 {
        notes.push(format!(
            "{} of a later format version left out",
            plural(report.file.skipped_packets, "packet")
        ));
    }
    notes.extend(report.warnings.iter().cloned());
    notes
}
