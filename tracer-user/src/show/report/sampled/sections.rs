//! The tables of the report, for text and page alike.

use std::sync::Arc;

use crate::analyse::history::Awaited;
use crate::analyse::profile::awaits::is_own;
use crate::analyse::sampled::{Look, Sampled, SampledAwait};
use crate::show::escape::escape;
use crate::show::live::format;
use crate::show::report::span;

/// A name longer than this is cut at its left, where it says least.
const NAME: usize = 72;
/// Stretches of time that changes are told for at most.
const STRETCHES: usize = 12;

/// One table.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) headings: Vec<&'static str>,
    /// Columns of numbers, which come first.
    pub(super) numbers: usize,
    /// Escaped for a terminal.
    pub(super) rows: Vec<Vec<String>>,
    /// Rows that are left out.
    pub(super) more: usize,
    pub(super) note: Option<&'static str>,
}

/// All tables that have rows, with so many at most.
pub(super) fn sections(sampled: &Sampled, most: usize) -> Vec<Section> {
    let (mut innermost, others): (Vec<&SampledAwait>, Vec<&SampledAwait>) = sampled
        .awaits
        .iter()
        .partition(|row| row.innermost_samples > 0);
    innermost.sort_by_key(|row| std::cmp::Reverse(row.innermost_samples));
    let own: Vec<&SampledAwait> = others
        .into_iter()
        .filter(|row| row.awaited.file.as_deref().is_some_and(is_own))
        .collect();
    let mut all = vec![
        awaits(
            "Where tasks wait: the program's innermost awaits",
            &innermost,
            sampled,
            most,
            true,
        ),
        awaits(
            "Awaits around them, whose samples include theirs",
            &own,
            sampled,
            most,
            false,
        ),
        types(sampled, most),
        changes(sampled),
        standing(sampled, most),
    ];
    all.retain(|section| !section.rows.is_empty());
    all
}

fn awaits(
    title: &'static str,
    rows: &[&SampledAwait],
    sampled: &Sampled,
    most: usize,
    innermost: bool,
) -> Section {
    let all = sampled.samples.tasks.max(1) as f64;
    let told = rows.iter().take(most).map(|row| {
        let samples = if innermost {
            row.innermost_samples
        } else {
            row.task_samples
        };
        vec![
            format::count(samples),
            format::percent(samples as f64 / all),
            span(row.time_ns),
            format::count(row.entered),
            row.now.to_string(),
            format!(
                "{}{}",
                if row.longest_from_before { ">=" } else { "" },
                span(row.longest_ns)
            ),
            row.longest_task
                .as_deref()
                .map_or_else(|| "-".to_owned(), |task| escape(task).into_owned()),
            place(&row.awaited),
            name(&row.awaited.future),
        ]
    });
    Section {
        title,
        headings: vec![
            "samples",
            "share",
            "task time",
            "entered",
            "now",
            "longest",
            "longest task",
            "at",
            "awaited",
        ],
        numbers: 6,
        rows: told.collect(),
        more: rows.len().saturating_sub(most),
        note: Some(
            "task time: estimated from samples; entered: at least; longest: as looks saw it, >= from \
             the first look on",
        ),
    }
}

fn types(sampled: &Sampled, most: usize) -> Section {
    let part = |of: u64, all: u64| format::percent(of as f64 / all.max(1) as f64);
    let rows = sampled.types.iter().take(most).map(|row| {
        let samples = &row.samples;
        vec![
            row.now.to_string(),
            row.most.to_string(),
            format::count(samples.tasks),
            part(samples.idle, samples.tasks),
            part(samples.scheduled, samples.tasks),
            part(samples.running, samples.tasks),
            format::count(row.changes.came),
            format::count(row.changes.went),
            format::count(row.changes.moved),
            format::count(row.changes.still),
            name(&row.future),
        ]
    });
    Section {
        title: "Tasks by type",
        headings: vec![
            "now", "most", "samples", "waiting", "woken", "running", "came", "went", "moved",
            "still", "future",
        ],
        numbers: 10,
        rows: rows.collect(),
        more: sampled.types.len().saturating_sub(most),
        note: None,
    }
}

/// What changed, in stretches of the recording that have the same number of looks.
fn changes(sampled: &Sampled) -> Section {
    let looks = &sampled.by_look;
    let length = looks.len().div_ceil(STRETCHES).max(1);
    let first = sampled.looks.first_ns;
    let told_first = looks.first().map_or(0, |look| look.time_ns);
    let rows = looks.chunks(length).map(|stretch| {
        let sum = |of: fn(&Look) -> u64| {
            format::count(stretch.iter().map(of).fold(0, u64::saturating_add))
        };
        let end = stretch.last();
        vec![
            span(end.map_or(0, |look| look.time_ns.saturating_sub(first))),
            stretch.len().to_string(),
            end.map_or(0, |look| look.tasks).to_string(),
            sum(|look| look.changes.came),
            sum(|look| look.changes.went),
            sum(|look| look.changes.moved),
            sum(|look| look.changes.still),
        ]
    });
    Section {
        title: "What changed between looks",
        headings: vec!["until", "looks", "tasks", "came", "went", "moved", "still"],
        numbers: 7,
        rows: rows.collect(),
        more: 0,
        note: (told_first > first).then_some("the last 10,000 looks"),
    }
}

fn standing(sampled: &Sampled, most: usize) -> Section {
    let rows = sampled.standing.iter().take(most).map(|row| {
        let mut places: Vec<String> = row.at.iter().map(|at| place(at)).collect();
        places.dedup();
        vec![
            format!(
                "{}{}",
                if row.from_before { ">=" } else { "" },
                span(row.standing_ns)
            ),
            escape(&row.id).into_owned(),
            places.join(" | "),
            name(&row.future),
        ]
    });
    Section {
        title: "Tasks that stood still until the last look",
        headings: vec!["for", "task", "at", "future"],
        numbers: 1,
        rows: rows.collect(),
        more: sampled.standing.len().saturating_sub(most),
        note: None,
    }
}

fn name(future: &Arc<str>) -> String {
    format::keep_right(&escape(future), NAME)
}

/// Where something is awaited.
fn place(awaited: &Awaited) -> String {
    match (&awaited.file, awaited.line) {
        (Some(file), Some(line)) => format!(
            "{}:{line}",
            format::keep_right(&escape(format::short_path(file)), 40)
        ),
        _ => "-".to_owned(),
    }
}
