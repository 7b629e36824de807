//! The report of a recording: as JSON (schema 1: fields may be added, never renamed or removed) and
//! as text.

pub(in crate::show) mod calendar;
mod life;
pub mod sampled;
mod tables;
mod times;

#[cfg(test)]
mod tests;

pub use self::life::write_life;

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::escape::escape;
use super::live::format;
use super::text;
use crate::analyse::activity::Activity;
use crate::analyse::findings::Finding;
use crate::analyse::history;
use crate::analyse::profile::Profile;
use crate::export::recording::{Host, KeptStretch, ProbeCount};
use crate::plan::Unseen;
use crate::rebuild::snapshot::{DebugInfoLevel, ProcessInfo};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// Findings in the text at most.
const MAX_FINDINGS: usize = 20;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// A recording as a file.
#[derive(Clone, Debug, Serialize)]
pub struct FileInfo {
    /// Its name.
    pub path: String,
    /// Bytes of whole packets.
    pub bytes: u64,
    /// Version of its format.
    pub format: String,
    /// `complete`, `open`, `cut_off`, `damaged`.
    pub ending: &'static str,
    /// Why the recording was ended, where it was ended in order.
    pub ended_because: Option<String>,
    /// What the reader should know of the file, in a sentence.
    pub note: Option<String>,
    /// Packets that only a later version can read.
    pub skipped_packets: u64,
    /// When it is the last stretch of a session: which, and why it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptStretch>,
}

/// Everything that a report says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The file.
    pub file: FileInfo,
    /// The trace's id.
    pub trace_id: String,
    /// What wrote it.
    pub tool: String,
    /// The traced process.
    pub process: ProcessInfo,
    /// The machine.
    pub host: Host,
    /// The runtime whose tasks were traced.
    pub runtime: String,
    /// How much debug information the binary has, where that is known.
    pub debug_info: Option<DebugInfoLevel>,
    /// When the trace started, nanoseconds since 1970-01-01 UTC; `None` when the file does not say.
    pub started_unix_ns: Option<u64>,
    /// The probes.
    pub probes: Vec<ProbeCount>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
    /// What happened.
    #[serde(flatten)]
    pub activity: Activity,
    /// What is wrong, the surest and gravest first (docs/findings.md).
    pub findings: Vec<Finding>,
    /// Where the time went.
    #[serde(flatten)]
    pub profile: Profile,
    /// What is missing in the awaits and delays.
    pub incomplete: history::Missing,
    /// Open tasks that are not listed, as there are too many.
    pub open_left_out: u64,
}

/// Writes the report for a person.
///
/// # Errors
/// What `out` returns.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    head(report, out)?;
    missing(report, out)?;
    findings(report, out)?;
    tables::types(&report.activity, &report.incomplete, out)?;
    times::awaits(&report.profile, &report.incomplete, out)?;
    times::delays(&report.profile.wake_to_poll, out)?;
    tables::wakes(&report.activity, out)?;
    tables::longest(&report.activity.longest_polls, out)?;
    tables::open(report, out)
}

fn findings(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.findings.is_empty() {
        return Ok(());
    }
    text::heading(out, "Findings")?;
    let (shown, more) = report
        .findings
        .split_at(report.findings.len().min(MAX_FINDINGS));
    super::findings::brief(shown, out)?;
    if !more.is_empty() {
        writeln!(out, "  and {} more", more.len())?;
    }
    let file = escape(&report.file.path);
    writeln!(
        out,
        "  {FAINT}asynctrace check {file} shows the evidence{FAINT:#}"
    )
}

fn span(nanoseconds: u64) -> String {
    format::duration(Duration::from_nanos(nanoseconds))
}

fn plural(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

fn head(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let activity = &report.activity;
    let process = &report.process;
    write!(
        out,
        "{STRONG}process {}{STRONG:#}  {}",
        process.pid,
        escape(&process.exe)
    )?;
    if let Some(build_id) = &process.build_id {
        let short: String = build_id.chars().take(12).collect();
        write!(out, "  {FAINT}build-id {}{FAINT:#}", escape(&short))?;
    }
    writeln!(out)?;
    let seconds = Duration::from_nanos(activity.duration_ns).as_secs_f64();
    let rate = activity.events as f64 / seconds.max(1e-9);
    write!(
        out,
        "{STRONG}{}{STRONG:#} recorded, {} ({} a second), {}",
        span(activity.duration_ns),
        plural(activity.events, "event"),
        format::rate(rate),
        format::bytes(report.file.bytes)
    )?;
    if let Some(reason) = &report.file.ended_because {
        write!(out, "; ended: {}", escape(reason))?;
    }
    writeln!(out)?;
    if let Some(kept) = &report.file.kept {
        let session = kept.until.saturating_sub(kept.attached);
        writeln!(
            out,
            "the last stretch of a session of {}, kept and written because of: {}",
            span(session),
            escape(&kept.why)
        )?;
    }
    let host = &report.host;
    write!(
        out,
        "{FAINT}{} on Linux {} {}, {}",
        escape(&report.runtime),
        escape(&host.kernel),
        escape(&host.architecture),
        plural(host.cpus.into(), "CPU")
    )?;
    if let Some(started) = report.started_unix_ns {
        write!(out, "; from {}", calendar::utc(started))?;
    }
    writeln!(out, "; by {}{FAINT:#}", escape(&report.tool))?;
    writeln!(out, "{FAINT}trace {}{FAINT:#}", report.trace_id)?;
    writeln!(
        out,
        "{STRONG}{}{STRONG:#}: {} known from before, {} over, {} open at the end; {}, {}",
        plural(activity.tasks, "task"),
        activity.tasks_existing,
        activity.tasks_over,
        activity.open.len() as u64 + report.open_left_out,
        plural(activity.polls, "poll"),
        plural(activity.wakes.total, "wake-up"),
    )
}

/// What the reader must know before believing the numbers.
fn missing(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let missing = &report.activity.missing;
    let mut notes = Vec::new();
    notes.extend(report.file.note.clone());
    if missing.records > 0 {
        let cpus: Vec<String> = missing
            .by_cpu
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(cpu, count)| format!("CPU {cpu}: {count}"))
            .collect();
        notes.push(format!(
            "the kernel lost {} ({}): counts and times are too low",
            plural(missing.records, "record"),
            cpus.join(", ")
        ));
    }
    if missing.events_dropped > 0 {
        notes.push(format!(
            "{} did not get into the file, as it could not be written fast enough",
            plural(missing.events_dropped, "event")
        ));
    }
    if missing.gaps > 0 {
        notes.push(format!(
            "at least {} of tasks {} missing",
            plural(missing.gaps, "event"),
            if missing.gaps == 1 { "is" } else { "are" }
        ));
    }
    if missing.not_followed > 0 {
        notes.push(format!(
            "{} not followed: too many at once",
            plural(missing.not_followed, "task or thread")
        ));
    }
    let incomplete = &report.incomplete;
    notes.extend(incomplete.not_watched(report.activity.duration_ns));
    if incomplete.beyond_limits > 0 {
        notes.push(format!(
            "{} more polls, awaits or wake-ups than fit into memory: --from and --to narrow the \
             report to a part of the recording",
            incomplete.beyond_limits
        ));
    }
    if incomplete.suspensions_unknown > 0 {
        notes.push(format!(
            "where a task stood is not known {}",
            plural(incomplete.suspensions_unknown, "time")
        ));
    }
    if report.file.skipped_packets > 0 {
        notes.push(format!(
            "{} of a later format version left out",
            plural(report.file.skipped_packets, "packet")
        ));
    }
    let lossless = missing.records == 0 && missing.events_dropped == 0 && missing.gaps == 0;
    for note in &notes {
        writeln!(out, "{WARNING}note: {}{WARNING:#}", escape(note))?;
    }
    if lossless {
        writeln!(out, "{FAINT}nothing was lost{FAINT:#}")?;
    }
    for unseen in report.unseen.iter().take(10) {
        writeln!(
            out,
            "{FAINT}not seen: {}: {}{FAINT:#}",
            escape(&unseen.what),
            escape(&unseen.reason)
        )?;
    }
    if report.unseen.len() > 10 {
        writeln!(
            out,
            "{FAINT}not seen: {} more (--json lists them){FAINT:#}",
            report.unseen.len() - 10
        )?;
    }
    Ok(())
}
