//! `asynctrace report` of a recording that consists of looks at memory (`--sample`).

use std::io::Write as _;
use std::path::Path;

use super::output;
use super::recorded::{self, WindowArguments, ending_in_words};
use crate::analyse::findings::{self, Thresholds};
use crate::error::{Advice, ExitCode, Result};
use crate::export::recording::{MAJOR, Reader, RecordingError};
use crate::follow::evidence::Evidence;
use crate::show::html::save_as;
use crate::show::live::format;
use crate::show::report::sampled::{SampledReport, write, write_html};
use crate::show::report::{FileInfo, SCHEMA};

/// What was asked for needs events.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} cannot be told of {path}: it consists of looks at memory (--sample), and no event was \
     watched"
)]
pub(super) struct NoEvents {
    pub(super) what: String,
    pub(super) path: String,
}

impl NoEvents {
    pub(super) fn new(what: impl Into<String>, path: &Path) -> Self {
        Self {
            what: what.into(),
            path: path.display().to_string(),
        }
    }
}

impl Advice for NoEvents {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn next_step(&self) -> Option<String> {
        Some(
            "record without --sample for events; of this file there are report, report --json, \
             report --html, check, and export -f folded, svg or pprof"
                .to_owned(),
        )
    }
}

/// Whether a recording consists of looks at memory.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_sampled(path: &Path) -> Result<bool, RecordingError> {
    Ok(Reader::open(path)?.header().sampling.is_some())
}

/// Prints the report, or writes it as a page to `html`.
///
/// # Errors
/// When the file cannot be read, or the output not written.
pub(super) fn run(
    path: &Path,
    window: WindowArguments,
    json: bool,
    html: Option<&Path>,
) -> Result<ExitCode> {
    let report = read(path, window)?;
    if let Some(out) = html {
        let bytes = save_as(out, |page| write_html(&report, page))?;
        // Talk, not a result: there is nobody to tell when it cannot be said.
        let _ = writeln!(
            anstream::stderr(),
            "wrote {} ({}): open it in a browser",
            out.display(),
            format::bytes(bytes)
        );
    } else if json {
        output::print_json(&report)?;
    } else {
        output::print(|out| write(&report, out))?;
    }
    Ok(ExitCode::Done)
}

fn read(path: &Path, window: WindowArguments) -> Result<SampledReport> {
    let mut evidence: Option<Evidence> = None;
    let recorded = recorded::go_through(path, window, |header, item| {
        evidence
            .get_or_insert_with(|| Evidence::new(header.clone(), window.window()))
            .item(item);
    })?;
    let header = recorded.header;
    let gathered = evidence
        .unwrap_or_else(|| Evidence::new(header.clone(), window.window()))
        .finish();
    let (ending, note) = ending_in_words(&recorded.ending);
    let last = gathered.moments.kept().last();
    let case = gathered.case(Thresholds::default());
    Ok(SampledReport {
        schema: SCHEMA,
        file: FileInfo {
            kept: None,
            path: path.display().to_string(),
            bytes: recorded.bytes,
            format: format!("{MAJOR}.{}", recorded.minor),
            ending,
            ended_because: recorded.ended_because,
            note,
            skipped_packets: recorded.skipped,
        },
        trace_id: header.trace_id.to_string(),
        tool: header.tool.clone(),
        started_unix_ns: header.realtime(header.started),
        process: header.process,
        host: header.host,
        runtime: header.runtime,
        debug_info: header.debug_info,
        events_watched: false,
        unseen: header.unseen,
        // One that was cut off went on until its last look.
        duration_ns: case.end().saturating_sub(case.history.span.start),
        findings: findings::find(&case),
        coverage: last.map(|last| last.snapshot.coverage.clone()),
        warnings: last.map_or_else(Vec::new, |last| last.snapshot.warnings.clone()),
        sampled: gathered.sampled.unwrap_or_default(),
    })
}
