//! `asynctrace report`: a recording -> activity -> text or JSON.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::recorded::{self, WindowArguments, ending_in_words};
use super::report_requests::RequestArguments;
use super::report_sampled::NoEvents;
use super::{output, report_html, report_requests, report_sampled, report_task};
use crate::analyse::activity::Collector;
use crate::analyse::findings::{self, Thresholds};
use crate::analyse::history::{History, UnitIndex};
use crate::analyse::profile::{open_awaits, profile};
use crate::error::{ExitCode, Result};
use crate::export::recording::{Header, Item, MAJOR};
use crate::follow::evidence::Evidence;
use crate::rebuild::event::UnitId;
use crate::show::report::{self, FileInfo, Report, SCHEMA};

/// Open tasks that the report lists at most.
const MAX_OPEN: usize = 10_000;

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The recording
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Write a page for the browser instead: requests, tasks, awaits, with their graphs
    #[arg(long, value_name = "OUT.html", conflicts_with = "json")]
    pub(super) html: Option<PathBuf>,

    /// The life of this task in order: its id as dump prints it, or the number alone
    #[arg(long, value_name = "ID", conflicts_with = "html")]
    pub(super) task: Option<String>,

    #[command(flatten)]
    pub(super) window: WindowArguments,

    #[command(flatten)]
    pub(super) requests: RequestArguments,
}

/// Runs `report`.
///
/// # Errors
/// When the file cannot be read, or standard output not written.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { file, window, .. } = arguments;
    if report_sampled::is_sampled(file)? {
        if let Some(task) = &arguments.task {
            let what = format!("the life of task {task}");
            return Err(NoEvents::new(what, file).into());
        }
        if arguments.requests.is_asked() {
            return Err(NoEvents::new("requests", file).into());
        }
        let html = arguments.html.as_deref();
        return report_sampled::run(file, *window, arguments.json, html);
    }
    if arguments.html.is_none() && arguments.requests.is_asked() {
        return report_requests::run(file, *window, &arguments.requests, arguments.json);
    }
    if let Some(task) = &arguments.task {
        return report_task::run(&arguments.file, arguments.window, task, arguments.json);
    }
    let (report, history, header) = read(&arguments.file, arguments.window)?;
    if let Some(out) = &arguments.html {
        report_html::run(&report, &header, &history, &arguments.requests.request, out)?;
    } else if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(|out| report::write(&report, out))?;
    }
    Ok(ExitCode::Done)
}

/// Reads a recording to its end, or as far as it is whole.
fn read(path: &Path, window: WindowArguments) -> Result<(Report, History, Header)> {
    let mut collector = None;
    let mut evidence: Option<Evidence> = None;
    let recorded = recorded::go_through(path, window, |header, item| {
        let gathering = || Evidence::new(header.clone(), window.window());
        evidence.get_or_insert_with(gathering).item(item);
        let collector = collector.get_or_insert_with(|| {
            let mut collector = Collector::new(header.attached());
            let (from, until) = window.window().bounds(header);
            collector.window(from, until);
            collector
        });
        collect(item, collector);
    })?;
    let header = recorded.header.clone();
    let collector = collector.unwrap_or_else(|| Collector::new(header.attached()));
    let (ending, note) = ending_in_words(&recorded.ending);
    let mut activity = collector.finish();
    let open_left_out = activity.open.len().saturating_sub(MAX_OPEN) as u64;
    activity.open.truncate(MAX_OPEN);
    let gathered = evidence
        .unwrap_or_else(|| Evidence::new(header.clone(), window.window()))
        .finish();
    let found = findings::find(&gathered.case(Thresholds::default()));
    let history = gathered.history;
    let units: HashMap<UnitId, UnitIndex> = (0..)
        .zip(&history.units)
        .map(|(at, unit)| (unit.id, UnitIndex(at)))
        .collect();
    for task in &mut activity.open {
        if let Some(unit) = units.get(&task.unit) {
            task.open_awaits = open_awaits(&history, *unit);
        }
    }
    let report = Report {
        schema: SCHEMA,
        file: FileInfo {
            path: path.display().to_string(),
            bytes: recorded.bytes,
            format: format!("{MAJOR}.{}", recorded.minor),
            ending,
            ended_because: recorded.ended_because,
            note,
            skipped_packets: recorded.skipped,
            kept: header.kept.clone(),
        },
        trace_id: header.trace_id.to_string(),
        tool: header.tool.clone(),
        started_unix_ns: header.realtime(header.started),
        process: header.process,
        host: header.host,
        runtime: header.runtime,
        debug_info: header.debug_info,
        probes: header.probes,
        unseen: header.unseen,
        activity,
        findings: found,
        profile: profile(&history),
        incomplete: history.missing.clone(),
        open_left_out,
    };
    Ok((report, history, recorded.header))
}

/// Gives the collector what a recording says next.
fn collect(item: &Item, collector: &mut Collector) {
    match item {
        Item::Events(events) => collector.events(events),
        Item::Losses(losses) => {
            for loss in losses {
                collector.lost(loss.cpu, loss.count);
            }
        }
        Item::Dropped { count, .. } => collector.dropped(*count),
        // The history tells.
        Item::Watching(_) => {}
        Item::Statistics { time, .. } => collector.reached(*time),
        Item::Snapshot(part) => {
            collector.snapshot(part.number, part.time, part.last, part.tasks.clone());
        }
        // Only after a jump.
        Item::Units(_) => {}
        Item::End(end) => collector.reached(end.time),
    }
}
