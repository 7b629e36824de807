//! From what is judged to the judgement.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::Arguments;
use super::source::Judged;
use crate::analyse::findings::{self, Case, Looked, Moment, Moments, WaitGraph};
use crate::analyse::history::History;
use crate::cli::look::look;
use crate::cli::recorded::{self, WindowArguments, ending_in_words};
use crate::error::{Advice, Error, ExitCode, Result};
use crate::export::recording::{Header, Window};
use crate::follow::evidence::{Evidence, Gathered};
use crate::follow::outlet::Showing;
use crate::follow::reader::Rhythm;
use crate::follow::sampling::Hertz;
use crate::locate::{Process, TargetSelector};
use crate::pipeline::sampling::{SampleRequest, sample};
use crate::pipeline::{self, Request};
use crate::rebuild::snapshot::ProcessInfo;
use crate::show::escape::escape_lines;
use crate::show::findings::{Check, SCHEMA, Source, Span};

/// How long a process is attached to.
const DURATION: Duration = Duration::from_secs(5);
/// Looks at memory with `--now`, and what lies between two of them.
const LOOKS: usize = 3;
const BETWEEN: Duration = Duration::from_millis(200);

/// What is judged, looked at.
struct Seen {
    header: Header,
    history: History,
    moments: Moments,
    looked: Looked,
    source: Source,
    warnings: Vec<String>,
}

/// Judges what the user named.
///
/// # Errors
/// Any stage's.
pub(super) fn judge(arguments: &Arguments) -> Result<Check> {
    let seen = seen(arguments)?;
    let case = seen.case(arguments);
    let mut found = findings::find(&case);
    let coverage = findings::coverage(&case, seen.looked, &found);
    let all = found.len();
    found.retain(|finding| arguments.wants(finding.kind, finding.certainty));
    let mut warnings = seen.warnings.clone();
    if let Some(moment) = case.now() {
        warnings.extend(moment.snapshot.warnings.iter().cloned());
    }
    let began = case.history.span.start;
    Ok(Check {
        schema: SCHEMA,
        source: seen.source.clone(),
        process: seen.header.process.clone(),
        span: Span {
            began_ns: began,
            ended_ns: case.end(),
            began_unix_ns: seen.header.realtime(began),
        },
        thresholds: case.thresholds.into(),
        coverage,
        left_out: (all - found.len()) as u64,
        findings: found,
        warnings,
    })
}

/// The graph of waits in what the user named.
///
/// # Errors
/// Any stage's.
pub(super) fn graph(arguments: &Arguments) -> Result<WaitGraph> {
    let seen = seen(arguments)?;
    Ok(findings::graph(&seen.case(arguments)))
}

fn seen(arguments: &Arguments) -> Result<Seen> {
    match arguments.source.judged() {
        Judged::File(file) => in_file(file),
        Judged::Target(target) if arguments.now => in_memory(arguments, &target),
        Judged::Target(target) => match arguments.sample {
            Some(hertz) => in_samples(arguments, target, hertz),
            None => in_session(arguments, target),
        },
    }
}

impl Seen {
    fn of(gathered: Gathered, source: Source, warnings: Vec<String>) -> Self {
        Self {
            looked: gathered.looked(),
            header: gathered.header,
            history: gathered.history,
            moments: gathered.moments,
            source,
            warnings,
        }
    }

    fn case(&self, arguments: &Arguments) -> Case<'_> {
        Case {
            history: &self.history,
            moments: self.moments.kept(),
            thresholds: arguments.thresholds(),
        }
    }
}

fn in_file(path: &Path) -> Result<Seen> {
    let mut evidence: Option<Evidence> = None;
    let window = Window::default();
    let read = recorded::go_through(path, WindowArguments::default(), |header, item| {
        evidence
            .get_or_insert_with(|| Evidence::new(header.clone(), window))
            .item(item);
    })?;
    let gathered = evidence
        .unwrap_or_else(|| Evidence::new(read.header, window))
        .finish();
    let (ending, note) = ending_in_words(&read.ending);
    let source = Source::Recording {
        path: path.display().to_string(),
        ending,
    };
    let mut warnings: Vec<String> = note.into_iter().collect();
    if read.skipped > 0 {
        warnings.push(format!(
            "{} packets of a later format version left out",
            read.skipped
        ));
    }
    Ok(Seen::of(gathered, source, warnings))
}

fn in_session(arguments: &Arguments, target: TargetSelector) -> Result<Seen> {
    let duration = arguments.duration.unwrap_or(DURATION);
    let request = Request {
        target,
        debug_file: arguments.debug_file.clone(),
        futures: Vec::new(),
        requests: Vec::new(),
        exact_polls: false,
        budget: arguments.budget.share(),
        duration: Some(duration),
        output: arguments.output.clone(),
        max_size: None,
        flight: None,
        showing: Showing::LinesOnStderr,
        rhythm: Rhythm::of(duration),
    };
    let say = |text: &str| {
        // Nobody listens to the talk: the results do not depend on it.
        let _ = writeln!(anstream::stderr(), "{}", escape_lines(text));
    };
    let (summary, gathered) =
        pipeline::gather(&request, say).map_err(|error| with_way_out(error, &request.target))?;
    if let Some(file) = &summary.file {
        let path = file.path.display().to_string();
        say(&format!(
            "Recorded to {}",
            crate::show::escape::escape(&path)
        ));
    }
    let mut warnings = summary.notes;
    if let Some(failure) = summary.file.and_then(|file| file.failure) {
        warnings.push(format!("the recording is incomplete: {failure}"));
    }
    Ok(Seen::of(gathered, Source::Live, warnings))
}

/// As [`in_session`], without probes.
fn in_samples(arguments: &Arguments, target: TargetSelector, hertz: Hertz) -> Result<Seen> {
    let request = SampleRequest {
        target,
        debug_file: arguments.debug_file.clone(),
        hertz,
        duration: Some(arguments.duration.unwrap_or(DURATION)),
        output: arguments.output.clone(),
        max_size: None,
        showing: Showing::LinesOnStderr,
    };
    let say = |text: &str| {
        // Nobody listens to the talk: the results do not depend on it.
        let _ = writeln!(anstream::stderr(), "{text}");
    };
    let (summary, gathered) = sample(&request, true, say)?;
    let gathered = gathered.ok_or_else(|| anyhow::anyhow!("no evidence was gathered"))?;
    let mut warnings = summary.notes;
    if let Some(file) = &summary.file {
        let path = file.path.display().to_string();
        say(&format!(
            "Recorded to {}",
            crate::show::escape::escape(&path)
        ));
        warnings.extend(
            file.failure
                .as_ref()
                .map(|failure| format!("the recording is incomplete: {failure}")),
        );
    }
    // Those of the last look are told with its coverage.
    if let Some(last) = gathered.moments.kept().last() {
        warnings.retain(|warning| !last.snapshot.warnings.contains(warning));
    }
    Ok(Seen::of(gathered, Source::Memory, warnings))
}

fn in_memory(arguments: &Arguments, target: &TargetSelector) -> Result<Seen> {
    let process = Process::find(target)?;
    let mut moments = Moments::default();
    look(&process, arguments.debug_file.as_deref(), |look| {
        for number in 0..LOOKS {
            let snapshot = if number == 0 {
                look.first_snapshot()?
            } else {
                std::thread::sleep(BETWEEN);
                look.snapshot()?
            };
            let time = snapshot.time;
            moments.take(Moment {
                time,
                snapshot: snapshot.into(),
            });
        }
        Ok(())
    })?;
    let kept = moments.kept();
    let info = kept.last().map(|moment| moment.snapshot.process.clone());
    let info = info.unwrap_or_else(|| ProcessInfo {
        pid: process.pid,
        exe: process.exe.display().to_string(),
        build_id: None,
    });
    let header = Header::new(info, "tokio");
    let began = kept.first().map_or(header.started, |moment| moment.time);
    let ended = kept.last().map_or(began, |moment| moment.time);
    Ok(Seen {
        header,
        history: History {
            span: began..ended,
            ..History::default()
        },
        looked: Looked {
            events_watched: false,
            events: 0,
            looks: moments.taken(),
            debug_info: None,
        },
        moments,
        source: Source::Memory,
        warnings: Vec::new(),
    })
}

/// Probes are not permitted, but reading memory is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct OnlyMemory {
    message: String,
    step: Option<String>,
    target: String,
}

impl Advice for OnlyMemory {
    fn exit_code(&self) -> ExitCode {
        ExitCode::NotPermitted
    }

    fn next_step(&self) -> Option<String> {
        let now = format!(
            "or judge it from memory alone: asynctrace check --now {}",
            self.target
        );
        Some(match &self.step {
            Some(step) => format!("{step}\n{now}"),
            None => now,
        })
    }
}

/// Who may not attach and may read memory is told of `--now`.
fn with_way_out(error: Error, target: &TargetSelector) -> Error {
    let Error::Failure(failure) = &error else {
        return error;
    };
    // A command that was not started is not started for this.
    let target_words = match target {
        TargetSelector::Pid(pid) => format!("-p {pid}"),
        TargetSelector::Name(name) => format!("-n {name}"),
        TargetSelector::Command(_) | TargetSelector::Identity(_) => return error,
    };
    let readable =
        || Process::find(target).is_ok_and(|process| process.check_memory_access().is_ok());
    if failure.exit_code() != ExitCode::NotPermitted || !readable() {
        return error;
    }
    OnlyMemory {
        message: failure.to_string(),
        step: failure.next_step(),
        target: target_words,
    }
    .into()
}
