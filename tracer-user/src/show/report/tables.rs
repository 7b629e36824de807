//! The report's tables. Each shows its first rows and says how many it leaves out.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use super::{FAINT, Report, plural, span};
use crate::analyse::activity::{Activity, OpenTask, Poll, Waker};
use crate::analyse::history::Missing;
use crate::show::escape::escape;
use crate::show::live::format;
use crate::show::waits;

pub(super) use crate::show::text::{heading, table};

/// Rows of a table at most.
pub(super) const ROWS: usize = 15;

/// A name longer than this is cut at its left, where it says least.
const NAME: usize = 72;

pub(super) fn name(future: Option<&Arc<str>>) -> String {
    future.map_or_else(
        || "(future not known)".to_owned(),
        |future| format::keep_right(&escape(future), NAME),
    )
}

/// In place of what is not seen.
fn not_seen() -> String {
    "-".to_owned()
}

pub(super) fn more(out: &mut dyn Write, all: usize) -> io::Result<()> {
    if all > ROWS {
        writeln!(
            out,
            "  {FAINT}and {} more (--json lists them){FAINT:#}",
            all - ROWS
        )?;
    }
    Ok(())
}

/// Tasks by type, the busiest first. Shares are those of the time in which a type was watched.
pub(super) fn types(
    activity: &Activity,
    incomplete: &Missing,
    out: &mut dyn Write,
) -> io::Result<()> {
    if activity.types.is_empty() {
        return Ok(());
    }
    heading(out, "Tasks by type, the busiest first")?;
    let rows = activity.types.iter().take(ROWS).map(|row| {
        let timed = row.polls - row.polls_of_unknown_length.min(row.polls);
        let seen = |text: String| if row.is_watched() { text } else { not_seen() };
        let watched = incomplete.watched_of(activity.duration_ns, row.future.as_deref());
        vec![
            row.tasks.to_string(),
            row.open.to_string(),
            seen(format::count(row.polls)),
            seen(span(row.busy_ns)),
            seen(format::percent(row.busy_ns as f64 / watched.max(1) as f64)),
            row.busy_ns.checked_div(timed).map_or_else(not_seen, span),
            seen(span(row.longest_poll_ns)),
            format::count(row.wakes),
            name(row.future.as_ref()),
        ]
    });
    let headings = [
        "tasks", "open", "polls", "busy", "of time", "mean", "longest", "wakes", "future",
    ];
    writeln!(out, "{}", table(&headings, 8, rows.collect()))?;
    more(out, activity.types.len())
}

/// Wake-ups by source.
pub(super) fn wakes(activity: &Activity, out: &mut dyn Write) -> io::Result<()> {
    let wakes = &activity.wakes;
    if wakes.total == 0 {
        return Ok(());
    }
    heading(out, "Wake-ups by who made them")?;
    let sources = [
        (wakes.by_tasks, "another task"),
        (wakes.by_itself, "the task itself"),
        (
            wakes.by_runtime_threads,
            "a thread that polls, outside any task (the runtime's I/O or timer driver)",
        ),
        (wakes.by_other_threads, "another thread"),
        (wakes.by_origins, "the kernel (I/O, timer, signal)"),
        (wakes.by_unknown, "not known"),
    ];
    for (count, source) in sources {
        if count > 0 {
            let share = format::percent(count as f64 / wakes.total as f64);
            writeln!(out, "  {:>6}  {share:>5}  {source}", format::count(count))?;
        }
    }
    if wakes.redundant + wakes.too_late > 0 {
        writeln!(
            out,
            "  {FAINT}of these {} found the task scheduled already, {} found it over{FAINT:#}",
            wakes.redundant, wakes.too_late
        )?;
    }
    if activity.polls_begun > 0 {
        let share = activity.polls_with_cause as f64 / activity.polls_begun as f64;
        writeln!(
            out,
            "  {FAINT}what caused it is known of {} of {} ({}){FAINT:#}",
            activity.polls_with_cause,
            plural(activity.polls_begun, "poll"),
            format::percent(share)
        )?;
    }
    let rows = wakes.pairs.iter().take(ROWS).map(|pair| {
        vec![
            format::count(pair.count),
            waker(&pair.by),
            name(pair.woken.as_ref()),
        ]
    });
    writeln!(out)?;
    writeln!(
        out,
        "{}",
        table(&["times", "by", "woken"], 1, rows.collect())
    )?;
    more(out, wakes.pairs.len())
}

fn waker(waker: &Waker) -> String {
    let thread = |name: &Option<Arc<str>>| {
        name.as_ref()
            .map_or_else(|| "?".to_owned(), |name| escape(name).into_owned())
    };
    match waker {
        Waker::Itself => "itself".to_owned(),
        Waker::Task { future } => name(future.as_ref()),
        Waker::RuntimeThread { name } => format!("runtime on thread {}", thread(name)),
        Waker::OtherThread { name } => format!("thread {}", thread(name)),
        Waker::Io => "I/O".to_owned(),
        Waker::Timer => "timer".to_owned(),
        Waker::Signal => "signal".to_owned(),
        Waker::Unknown => "not known".to_owned(),
    }
}

/// The longest polls.
pub(super) fn longest(polls: &[Poll], out: &mut dyn Write) -> io::Result<()> {
    if polls.is_empty() {
        return Ok(());
    }
    heading(out, "Longest polls")?;
    let rows = polls.iter().take(ROWS).map(|poll| {
        vec![
            format!(
                "{}{}",
                if poll.exact { "" } else { "<=" },
                span(poll.length_ns)
            ),
            span(poll.blocked_ns),
            span(poll.preempted_ns),
            format!("+{}", span(poll.began_ns)),
            poll.thread.map_or_else(String::new, |tid| tid.to_string()),
            escape(&poll.task).into_owned(),
            name(poll.future.as_ref()),
        ]
    });
    let headings = [
        "length",
        "blocked",
        "preempted",
        "at",
        "thread",
        "task",
        "future",
    ];
    writeln!(out, "{}", table(&headings, 5, rows.collect()))?;
    if polls.iter().any(|poll| !poll.exact) {
        writeln!(
            out,
            "  {FAINT}<=: the end was noticed by the next thing on the thread{FAINT:#}"
        )?;
    }
    Ok(())
}

/// Open tasks that wait at the same place.
struct Group<'r> {
    first: &'r OpenTask,
    place: String,
    waits: String,
    count: u64,
    /// For how long the quietest of them did nothing, where that is seen.
    quiet: Option<u64>,
    /// For how long the innermost await of one of them has gone on, and whether it is older.
    waited: Option<(u64, bool)>,
}

/// Future, place and kind of wait: what a group has in common.
type Key<'r> = (Option<&'r Arc<str>>, String, Option<&'r str>);

/// Tasks that were open at the end, by where they wait.
pub(super) fn open(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let open = &report.activity.open;
    if open.is_empty() {
        return Ok(());
    }
    heading(out, "Open at the end, by where they wait")?;
    let mut groups: HashMap<Key<'_>, Group<'_>> = HashMap::new();
    for task in open {
        let place = place(task);
        let kind = task
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.waits_for.first())
            .map(|wait| wait.kind);
        let key = (task.future.as_ref(), place.clone(), kind);
        let group = groups.entry(key).or_insert_with(|| Group {
            first: task,
            place,
            waits: waits_for(task),
            count: 0,
            quiet: None,
            waited: None,
        });
        group.count += 1;
        group.quiet = group.quiet.max(task.quiet_ns);
        group.waited = group.waited.max(waited(task));
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    groups.sort_by_key(|group| (Reverse(group.count), group.first.task.clone()));
    let count = groups.len();
    let rows = groups.into_iter().take(ROWS).map(|group| {
        vec![
            group.count.to_string(),
            group.quiet.map_or_else(not_seen, span),
            group.waited.map_or_else(
                || "-".to_owned(),
                |(time, more)| format!("{}{}", if more { ">=" } else { "" }, span(time)),
            ),
            escape(&group.first.task).into_owned(),
            name(group.first.future.as_ref()),
            group.place,
            group.waits,
        ]
    });
    let headings = [
        "tasks",
        "quiet for",
        "there for",
        "such as",
        "future",
        "at",
        "waits for",
    ];
    writeln!(out, "{}", table(&headings, 3, rows.collect()))?;
    more(out, count)?;
    if report.open_left_out > 0 {
        writeln!(
            out,
            "  {FAINT}{} not listed{FAINT:#}",
            plural(report.open_left_out, "task")
        )?;
    }
    Ok(())
}

/// For how long the deepest await of a task has gone on.
fn waited(task: &OpenTask) -> Option<(u64, bool)> {
    let deepest = task.open_awaits.iter().max_by_key(|node| node.depth)?;
    Some((deepest.elapsed_ns, deepest.at_least))
}

/// The innermost await in a file that is not a dependency's, else the innermost.
fn place(task: &OpenTask) -> String {
    if let Some(since) = task.polled_for_ns {
        return format!("(being polled for {})", span(since));
    }
    let Some(waiting) = &task.waiting else {
        return "(not in a snapshot of memory)".to_owned();
    };
    let own = |file: &str| format::short_path(file) == file;
    let awaits = &waiting.awaits;
    let place = awaits.iter().rev().find(|place| own(&place.file));
    match place.or(awaits.last()) {
        Some(place) => format!(
            "{}:{}",
            format::keep_right(&escape(format::short_path(&place.file)), 40),
            place.line
        ),
        None => "-".to_owned(),
    }
}

fn waits_for(task: &OpenTask) -> String {
    let Some(waiting) = &task.waiting else {
        return String::new();
    };
    let phrases: Vec<String> = waiting
        .waits_for
        .iter()
        .map(|wait| escape(&waits::describe(wait)).into_owned())
        .collect();
    phrases.join(" | ")
}
