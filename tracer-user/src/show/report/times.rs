//! The report's tables of times: the await profile, and delays from wake-up to poll.

use std::io::{self, Write};

use super::tables::{ROWS, heading, more, name, table};
use super::{FAINT, span};
use crate::analyse::history::{Awaited, Missing};
use crate::analyse::profile::{AwaitRow, Delays, Profile, Spread};
use crate::show::escape::escape;
use crate::show::live::format;

/// The await profile: where the program waits, and what its own functions spent on it.
pub(super) fn awaits(
    profile: &Profile,
    incomplete: &Missing,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (innermost, others): (Vec<&AwaitRow>, Vec<&AwaitRow>) =
        profile.awaits.iter().partition(|row| row.innermost);
    if !innermost.is_empty() {
        heading(out, "Awaits by total waiting time: the program's innermost")?;
        rows(&innermost, incomplete, out)?;
    }
    let own: Vec<&AwaitRow> = others
        .into_iter()
        .filter(|row| row.awaited.file.as_deref().is_some_and(is_own))
        .collect();
    if !own.is_empty() {
        heading(
            out,
            "Awaits by total waiting time: those around them, whose times include theirs",
        )?;
        rows(&own, incomplete, out)?;
    }
    Ok(())
}

fn is_own(file: &str) -> bool {
    format::short_path(file) == file
}

/// One of so many that had begun before may be neglected in a percentile.
const FEW: u64 = 10;

fn rows(awaits: &[&AwaitRow], incomplete: &Missing, out: &mut dyn Write) -> io::Result<()> {
    let rows = awaits.iter().take(ROWS).map(|row| {
        let durations = &row.durations;
        let bound = |is_bound: bool, length: u64| {
            format!("{}{}", if is_bound { ">=" } else { "" }, span(length))
        };
        let many = row.at_least > durations.count / FEW;
        vec![
            span(row.waiting_ns),
            span(row.polled_ns),
            format::count(durations.count),
            row.open.to_string(),
            bound(many, durations.p50_ns),
            bound(many, durations.p99_ns),
            bound(row.at_least > 0, durations.max_ns),
            place(&row.awaited),
            name(Some(&row.awaited.future)),
        ]
    });
    let headings = [
        "waiting", "polled", "times", "open", "p50", "p99", "max", "at", "awaited",
    ];
    writeln!(out, "{}", table(&headings, 7, rows.collect()))?;
    if awaits.iter().take(ROWS).any(|row| row.at_least > 0) {
        writeln!(
            out,
            "  {FAINT}>=: some of them had begun before the recording{}{FAINT:#}",
            if incomplete.pauses > 0 {
                ", or in a pause"
            } else {
                ""
            }
        )?;
    }
    more(out, awaits.len())
}

/// Where something is awaited.
pub(super) fn place(awaited: &Awaited) -> String {
    match (&awaited.file, awaited.line) {
        (Some(file), Some(line)) => format!(
            "{}:{line}",
            format::keep_right(&escape(format::short_path(file)), 40)
        ),
        _ => "-".to_owned(),
    }
}

/// Delays from wake-up to poll.
pub(super) fn delays(delays: &Delays, out: &mut dyn Write) -> io::Result<()> {
    if delays.woken.count + delays.spawned.count == 0 {
        return Ok(());
    }
    heading(out, "From wake-up to poll")?;
    let row = |delays: &Spread, what: String| {
        vec![
            format::count(delays.count),
            span(delays.p50_ns),
            span(delays.p99_ns),
            span(delays.max_ns),
            what,
        ]
    };
    let mut rows = vec![row(&delays.woken, "(all tasks)".to_owned())];
    if delays.spawned.count > 0 {
        rows.push(row(
            &delays.spawned,
            "(from spawn to the first poll)".to_owned(),
        ));
    }
    let types = delays.by_type.iter().take(ROWS);
    rows.extend(types.map(|of| row(&of.delays, name(of.future.as_ref()))));
    let headings = ["polls", "p50", "p99", "max", "future"];
    writeln!(out, "{}", table(&headings, 4, rows))?;
    more(out, delays.by_type.len())
}
