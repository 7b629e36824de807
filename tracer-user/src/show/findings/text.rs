//! Findings as text, for a person at three in the morning.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::told::Told;
use super::words::{self, Clock};
use super::{Check, Source};
use crate::analyse::findings::{Certainty, Finding};
use crate::rebuild::snapshot::DebugInfoLevel;
use crate::show::escape::escape;
use crate::show::live::format;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Columns of the names of rows.
const NAMES: usize = 12;

/// Writes a judgement for a person.
///
/// # Errors
/// What `out` returns.
pub fn write(check: &Check, out: &mut dyn Write) -> io::Result<()> {
    head(check, out)?;
    for warning in &check.warnings {
        writeln!(out, "{WARNING}note: {}{WARNING:#}", escape(warning))?;
    }
    let clock = Clock::new(check.span);
    match check.findings.len() {
        0 => writeln!(out, "\n{STRONG}no findings{STRONG:#}")?,
        1 => writeln!(out, "\n{STRONG}1 finding{STRONG:#}")?,
        count => writeln!(out, "\n{STRONG}{count} findings{STRONG:#}")?,
    }
    if check.left_out > 0 {
        writeln!(
            out,
            "{FAINT}{} more were not asked for (--only, --min-certainty){FAINT:#}",
            check.left_out
        )?;
    }
    for one in &check.findings {
        writeln!(out)?;
        finding(one, clock, out)?;
    }
    not_judged(check, out)
}

fn plural(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

fn head(check: &Check, out: &mut dyn Write) -> io::Result<()> {
    let process = &check.process;
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
    let coverage = &check.coverage;
    let span = check.span.ended_ns.saturating_sub(check.span.began_ns);
    let span = format::duration(Duration::from_nanos(span));
    let how = match &check.source {
        Source::Live => "looked at it for".to_owned(),
        Source::Memory => "looked at its memory for".to_owned(),
        Source::Recording { path, .. } => format!("{} has", escape(path)),
    };
    write!(
        out,
        "{how} {span}: {}, memory read {}",
        plural(coverage.tasks, "live task"),
        plural(coverage.looks, "time")
    )?;
    if coverage.events_watched {
        write!(
            out,
            ", {}: {} and {}; {}",
            plural(coverage.events, "event"),
            plural(coverage.polls, "poll"),
            plural(coverage.wakes, "wake-up"),
            losses(check)
        )?;
    }
    writeln!(out)?;
    match coverage.debug_info {
        None | Some(DebugInfoLevel::Full) => Ok(()),
        Some(DebugInfoLevel::Symbols) => writeln!(
            out,
            "{WARNING}note: its debug information has no types: where tasks wait is not \
             known{WARNING:#}"
        ),
        Some(DebugInfoLevel::None) => writeln!(
            out,
            "{WARNING}note: it has no debug information: where tasks wait is not known{WARNING:#}"
        ),
    }
}

fn losses(check: &Check) -> String {
    let missing = &check.coverage.missing;
    let parts: Vec<String> = [
        (missing.records_lost, "lost by the kernel"),
        (missing.events_dropped, "dropped"),
        (missing.gaps, "gaps"),
        (missing.beyond_limits, "beyond the limits of memory"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if parts.is_empty() {
        "nothing was lost".to_owned()
    } else {
        parts.join(", ")
    }
}

const fn colour(certainty: Certainty) -> Style {
    match certainty {
        Certainty::Proved => AnsiColor::Red.on_default().bold(),
        Certainty::Likely => AnsiColor::Yellow.on_default().bold(),
        Certainty::Possible => Style::new().bold(),
    }
}

/// Writes one finding.
fn finding(finding: &Finding, clock: Clock, out: &mut dyn Write) -> io::Result<()> {
    let told = Told::of(finding, clock);
    let style = colour(finding.certainty);
    write!(
        out,
        "{style}{}{style:#} {STRONG}{}{STRONG:#}",
        told.certainty, told.kind
    )?;
    if let Some(times) = &told.times {
        write!(out, " ({times})")?;
    }
    writeln!(out, ": {}", told.summary)?;
    for (name, text) in told.rows {
        writeln!(out, "  {FAINT}{name:<NAMES$}{FAINT:#}{text}")?;
    }
    Ok(())
}

/// Writes findings in a line or two each, for where they are not the main thing.
///
/// # Errors
/// What `out` returns.
pub(in crate::show) fn brief(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        let style = colour(finding.certainty);
        write!(
            out,
            "  {style}{}{style:#} {STRONG}{}{STRONG:#}",
            finding.certainty, finding.kind
        )?;
        if finding.count > 1 {
            write!(out, " ({} times)", finding.count)?;
        }
        writeln!(out, ": {}", escape(&finding.summary))?;
        for site in &finding.sites {
            writeln!(out, "    {FAINT}{}{FAINT:#}", words::site(site))?;
        }
    }
    Ok(())
}

fn not_judged(check: &Check, out: &mut dyn Write) -> io::Result<()> {
    if check.coverage.not_judged.is_empty() {
        return Ok(());
    }
    // Kinds with the same reason share a line.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in &check.coverage.not_judged {
        match reasons.iter_mut().find(|(reason, _)| *reason == one.reason) {
            Some((_, kinds)) => kinds.push(one.kind.name()),
            None => reasons.push((&one.reason, vec![one.kind.name()])),
        }
    }
    writeln!(out)?;
    for (reason, kinds) in reasons {
        writeln!(
            out,
            "{FAINT}not judged: {} ({}){FAINT:#}",
            kinds.join(", "),
            escape(reason)
        )?;
    }
    Ok(())
}
