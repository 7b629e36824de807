//! The list of requests: how they were chosen, how long they took, what slow ones have in common.

use std::cmp::Reverse;
use std::io::{self, Write};

use super::text::{FAINT, STRONG, WARNING, heading, ids, plural, table};
use super::{Choices, List, Material, Row, SCHEMA, one, path, words};
use crate::analyse::levels::Level;
use crate::analyse::requests::clusters::Burst;
use crate::analyse::requests::compare::{Comparison, Kind, Slow};
use crate::analyse::requests::{Choice, Reason, Request};
use crate::show::escape::escape;
use crate::show::report::calendar;

/// Reasons and differences that are shown at most.
const ROWS: usize = 5;

/// Kinds of requests that are told of at most: the most frequent.
const KINDS: usize = 12;

impl Material<'_> {
    /// The list, the slowest first.
    #[must_use]
    pub fn list(&self, choices: Choices) -> List {
        let now = self.history.span.end;
        let mut slowest: Vec<&Request> = self.requests.list.iter().collect();
        slowest.sort_by_key(|request| (Reverse(request.duration(now)), request.id));
        let not_listed = slowest.len().saturating_sub(choices.top) as u64;
        slowest.truncate(choices.top);
        List {
            schema: SCHEMA,
            trace_id: self.header.trace_id.to_string(),
            patterns: self.patterns.clone(),
            chosen: self.requests.chosen.clone(),
            left_out: self.requests.left_out.clone(),
            unmatched: self.requests.unmatched.clone(),
            candidates: self.requests.candidates.clone(),
            missing: self.history.missing.clone(),
            kinds: self.kinds.clone(),
            requests: slowest.iter().map(|request| self.row(request)).collect(),
            not_listed,
            opened: if choices.level == Level::Requests {
                Vec::new()
            } else {
                slowest
                    .iter()
                    .map(|request| self.one(request, choices.level))
                    .collect()
            },
            critical_paths: choices.critical_paths.then(|| self.paths()),
        }
    }
}

/// Writes the list for a person.
///
/// # Errors
/// What `out` returns.
pub fn write(material: &Material<'_>, list: &List, out: &mut dyn Write) -> io::Result<()> {
    chosen(material, list, out)?;
    if material.count() == 0 {
        return nothing(list, out);
    }
    durations(&list.kinds, out)?;
    slowest(list, out)?;
    for kind in list.kinds.iter().take(KINDS) {
        in_common(material, kind, out)?;
    }
    for paths in list.critical_paths.iter().flatten().take(KINDS) {
        path::write_kind(paths, out)?;
    }
    if list.kinds.len() > KINDS {
        writeln!(
            out,
            "\n{FAINT}{} of the rarest are not told of (--json does; --request names some){FAINT:#}",
            plural((list.kinds.len() - KINDS) as u64, "kind")
        )?;
    }
    for one in &list.opened {
        writeln!(out)?;
        one::write(material, one, out)?;
    }
    Ok(())
}

/// How many there are, which functions they are of, and why.
fn chosen(material: &Material<'_>, list: &List, out: &mut dyn Write) -> io::Result<()> {
    let missing = &list.missing;
    writeln!(
        out,
        "{STRONG}{}{STRONG:#} in {}",
        plural(material.count() as u64, "request"),
        words::length(
            material.history.span.end - material.history.span.start.min(material.history.span.end)
        )
    )?;
    for choice in list.chosen.iter().take(KINDS) {
        writeln!(
            out,
            "  {} of {}: {}",
            choice.instances,
            words::path(&choice.what),
            why(choice)
        )?;
    }
    for left_out in list.left_out.iter().take(KINDS) {
        writeln!(
            out,
            "  {FAINT}not {} of {}: {}{FAINT:#}",
            left_out.instances,
            words::path(&left_out.what),
            left_out.reason
        )?;
    }
    if list.patterns.is_empty() && !list.chosen.is_empty() {
        writeln!(
            out,
            "  {FAINT}chosen by asynctrace; --request GLOB names others{FAINT:#}"
        )?;
    }
    for pattern in &list.unmatched {
        writeln!(
            out,
            "{WARNING}note: --request {} names no async function that waited in this \
             recording{WARNING:#}",
            escape(pattern)
        )?;
    }
    let lost = [missing.records_lost, missing.events_dropped, missing.gaps];
    if lost.iter().any(|&count| count > 0) {
        writeln!(
            out,
            "{WARNING}note: events are missing ({} lost by the kernel, {} not written, {}): what is \
             shown is right, not complete{WARNING:#}",
            missing.records_lost,
            missing.events_dropped,
            plural(missing.gaps, "gap"),
        )?;
    }
    if missing.beyond_limits > 0 {
        writeln!(
            out,
            "{WARNING}note: {} left out, as there are too many; --from and --to show a \
             part{WARNING:#}",
            plural(missing.beyond_limits, "poll, await or wake-up")
        )?;
    }
    Ok(())
}

/// Why the instances of a function are requests, in words.
pub(crate) fn why(choice: &Choice) -> String {
    match &choice.reason {
        Reason::Pattern { pattern } => format!("named by --request {}", escape(pattern)),
        Reason::BodyOfPattern { pattern } => format!(
            "the body of a function named by --request {}",
            escape(pattern)
        ),
        Reason::Service { library } => format!("called as a service by {library}"),
        Reason::Loop { by } => format!(
            "awaited again and again by {}",
            by.as_ref()
                .map_or_else(|| "one instance".to_owned(), |by| words::path(by))
        ),
        Reason::Job => "tasks of one kind".to_owned(),
    }
}

/// What to do when there are none.
fn nothing(list: &List, out: &mut dyn Write) -> io::Result<()> {
    if list.candidates.is_empty() {
        return writeln!(
            out,
            "no async function of the program is known to have waited: that needs the binary's debug \
             information (debug = 2); see `asynctrace probes`"
        );
    }
    writeln!(
        out,
        "async functions that waited, to be named with --request GLOB:"
    )?;
    for candidate in &list.candidates {
        writeln!(
            out,
            "  {:>6}  {}",
            candidate.instances,
            words::path(&candidate.what)
        )?;
    }
    Ok(())
}

fn durations(kinds: &[Kind], out: &mut dyn Write) -> io::Result<()> {
    heading(out, "Durations")?;
    let time = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), words::length);
    let rows = kinds.iter().take(KINDS).map(|kind| {
        vec![
            kind.requests.to_string(),
            kind.open.to_string(),
            time(kind.p50_ns),
            time(kind.p95_ns),
            time(kind.p99_ns),
            time(kind.max_ns),
            words::path(&kind.what),
        ]
    });
    let headings = ["requests", "open", "p50", "p95", "p99", "max", "what"];
    writeln!(out, "{}", table(&headings, 6, rows.collect()))?;
    let partial: u64 = kinds.iter().map(|kind| kind.requests - kind.whole).sum();
    if partial > 0 {
        writeln!(
            out,
            "  {FAINT}without {}: the begin or the end was not seen{FAINT:#}",
            plural(partial, "request")
        )?;
    }
    Ok(())
}

fn slowest(list: &List, out: &mut dyn Write) -> io::Result<()> {
    heading(out, "The slowest first")?;
    let rows = list.requests.iter().map(|row| {
        vec![
            format!("#{}", row.id),
            format!("+{}", words::length(row.start_ns)),
            row.start_unix_ns
                .map_or_else(|| "-".to_owned(), calendar::time_millis),
            format!(
                "{}{}",
                if row.at_least { ">=" } else { "" },
                words::length(row.duration_ns)
            ),
            words::outcome(row.outcome).to_owned(),
            row.task
                .as_ref()
                .map_or_else(String::new, |task| escape(task).into_owned()),
            words::path(&row.what),
            because(row),
        ]
    });
    let headings = [
        "id",
        "start",
        "UTC",
        "duration",
        "outcome",
        "task",
        "what",
        "because of",
    ];
    writeln!(out, "{}", table(&headings, 4, rows.collect()))?;
    if list.not_listed > 0 {
        writeln!(
            out,
            "  {FAINT}and {} more (--top N shows more, --id N one of them){FAINT:#}",
            list.not_listed
        )?;
    }
    Ok(())
}

fn because(row: &Row) -> String {
    row.because
        .as_ref()
        .map_or_else(String::new, words::awaited)
}

fn in_common(material: &Material<'_>, kind: &Kind, out: &mut dyn Write) -> io::Result<()> {
    let what = words::path(&kind.what);
    match &kind.slow {
        Comparison::TooFew { needed } => writeln!(
            out,
            "\n{FAINT}{what}: {} of known duration are too few to compare slow ones with others \
             ({needed} are needed){FAINT:#}",
            kind.whole
        ),
        Comparison::NoneSlow => writeln!(
            out,
            "\n{FAINT}{what}: none took clearly longer than the others{FAINT:#}"
        ),
        Comparison::Slow(slow) => slow_ones(material, &what, slow, out),
    }
}

fn slow_ones(
    material: &Material<'_>,
    what: &str,
    slow: &Slow,
    out: &mut dyn Write,
) -> io::Result<()> {
    let count = slow.requests.len();
    heading(
        out,
        &format!(
            "What the {count} slow ones of {what} have in common (half took {} or more, of the {} \
             others {})",
            words::length(slow.median_ns),
            slow.others,
            words::length(slow.others_median_ns)
        ),
    )?;
    for because in slow.because.iter().take(ROWS) {
        writeln!(
            out,
            "  {} of {count} spent {} in {}; others {}  {FAINT}{}{FAINT:#}",
            because.requests.len(),
            words::length(because.median_ns),
            words::awaited(&because.awaited),
            words::length(because.others_median_ns),
            ids(&because.requests)
        )?;
    }
    let more: usize = slow
        .because
        .iter()
        .skip(ROWS)
        .map(|because| because.requests.len())
        .sum();
    if more > 0 {
        writeln!(out, "  {more} of {count} for other reasons (--json)")?;
    }
    if slow.unexplained > 0 {
        writeln!(
            out,
            "  {} of {count}: no single await explains it",
            slow.unexplained
        )?;
    }
    if !slow.awaits.is_empty() {
        let rows = slow.awaits.iter().take(ROWS).map(|difference| {
            vec![
                words::length(difference.slow_median_ns),
                words::length(difference.others_median_ns),
                words::length(difference.slow_mean_ns),
                words::length(difference.others_mean_ns),
                words::awaited(&difference.awaited),
            ]
        });
        let headings = ["slow: half", "others", "slow: mean", "others", "await"];
        writeln!(out, "{}", table(&headings, 4, rows.collect()))?;
    }
    when(material, slow, out)
}

/// Whether they came in bursts.
fn when(material: &Material<'_>, slow: &Slow, out: &mut dyn Write) -> io::Result<()> {
    let clusters = &slow.clusters;
    if clusters.bursts.is_empty() {
        return writeln!(
            out,
            "  {FAINT}in time they are spread as by chance{FAINT:#}"
        );
    }
    for burst in clusters.bursts.iter().take(ROWS) {
        writeln!(out, "  {}", burst_words(material, burst, clusters.slow))?;
    }
    let more = clusters.bursts.len().saturating_sub(ROWS);
    if more > 0 {
        writeln!(
            out,
            "  and {} (--json lists them)",
            plural(more as u64, "burst")
        )?;
    }
    Ok(())
}

fn burst_words(material: &Material<'_>, burst: &Burst, slow: u64) -> String {
    let at = burst.from.saturating_sub(material.history.span.start);
    let clock = material
        .header
        .realtime(burst.from)
        .map_or_else(String::new, |time| {
            format!("{}, ", calendar::time_millis(time))
        });
    format!(
        "{} of {slow} began within {}, at {clock}+{}; of all requests {} began then",
        burst.slow,
        words::length(burst.to - burst.from),
        words::length(at),
        burst.requests
    )
}
