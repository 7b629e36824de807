//! The whole path of a live session as one readable function: [`trace`].

pub mod reading;
pub mod sampling;
mod words;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::stdio::{dup2_stderr, dup2_stdin};
use tracer_common::ProbeKind;

use self::words::{notice, open_line, program_name, quiet_command, summarise, what_is_missing};
use crate::attach::{LinkKind, Session, SessionOptions, permission};
use crate::dwarf::DebugInfo;
use crate::error::Result;
use crate::export::recording::{Header, ProbeCount, Window};
use crate::follow::budgeting::Budget;
use crate::follow::evidence::{Evidence, Gathered};
use crate::follow::flight::{self, Flight, OnSignal};
use crate::follow::follower::About;
use crate::follow::judging::Judging;
use crate::follow::kept::Kept;
use crate::follow::outlet::Showing;
use crate::follow::reader::Rhythm;
use crate::follow::recorder::Both;
use crate::follow::recording_file::{BETWEEN, RecordingFile};
use crate::follow::session::{self, Setup};
use crate::follow::summary::Summary;
use crate::follow::tasks::{TaskSource, TokioTasks};
use crate::follow::watched::{Ends, Watched};
use crate::locate::{Capability, Process, TargetSelector};
use crate::object::{Binary, DebugSource};
use crate::plan::{self, Names, Plan, Rules};
use crate::privilege::{self, Later};
use crate::rebuild::snapshot::ProcessInfo;
use crate::rebuild::tracker::Options;
use crate::runtime::tokio::{Inspector, ShapeInspector, TokioConventions};
use crate::show::progress::while_slow;
use crate::walk::Futures;
use crate::walk::flat::Decoder;

/// Live tasks that are followed: some 150 MB at most. 100,000 tasks with a peak above fit.
const MAX_TASKS: usize = 200_000;

/// Bytes that looks at memory may take in the recording of what is judged: a few seconds' looks,
/// which the recording is to be judged by in the same way.
const ALL_LOOKS: u64 = 1 << 30;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The target.
    pub target: TargetSelector,
    /// Debug information that the user gave.
    pub debug_file: Option<PathBuf>,
    /// Patterns of nested futures to probe as well.
    pub futures: Vec<String>,
    /// Patterns of the async functions whose instances are requests, kept in the recording.
    pub requests: Vec<String>,
    /// Whether to probe the exits of polls.
    pub exact_polls: bool,
    /// When to end.
    pub duration: Option<Duration>,
    /// The recording's file.
    pub output: Option<PathBuf>,
    /// Bytes that the recording may have.
    pub max_size: Option<u64>,
    /// The share of the target's own CPU time that tracing may cost, 0.05 for five percent; `None`
    /// for as much as it takes.
    pub budget: Option<f64>,
    /// When the recording is to hold the last stretch only.
    pub flight: Option<flight::Options>,
    /// What to show meanwhile.
    pub showing: Showing,
    /// How often all tasks are read.
    pub rhythm: Rhythm,
}

/// What becomes of this process's rights.
enum Rights {
    /// This is all that it does: what is not needed any more is given up.
    GivenUp,
    /// It follows other processes, too.
    Kept,
}

impl Rights {
    fn keep(&self, needed: impl FnOnce() -> Vec<Capability>) {
        if let Self::GivenUp = self {
            privilege::keep(&needed());
        }
    }
}

/// Traces a process until the user, the clock or the target ends it. `announce` is called with the
/// open line once the probes are in place.
///
/// # Errors
/// Those of each stage, see there.
pub fn trace(request: &Request, announce: impl FnOnce(&str)) -> Result<Summary> {
    let (summary, _) = follow(
        request,
        false,
        Watched::default(),
        &Rights::GivenUp,
        announce,
    )?;
    Ok(summary)
}

/// As [`trace`], for a program that watches the session and ends it: no signal does.
///
/// # Errors
/// As [`trace`].
pub fn watch(request: &Request, watched: Watched, announce: impl FnOnce(&str)) -> Result<Summary> {
    let (summary, _) = follow(request, false, watched, &Rights::Kept, announce)?;
    Ok(summary)
}

/// As [`trace`], and hands out what the process is judged by.
///
/// # Errors
/// As [`trace`].
pub fn gather(request: &Request, announce: impl FnOnce(&str)) -> Result<(Summary, Gathered)> {
    let (summary, gathered) = follow(
        request,
        true,
        Watched::default(),
        &Rights::GivenUp,
        announce,
    )?;
    let gathered = gathered.ok_or_else(|| anyhow::anyhow!("no evidence was gathered"))?;
    Ok((summary, gathered))
}

fn follow(
    request: &Request,
    gather: bool,
    mut watched: Watched,
    rights: &Rights,
    announce: impl FnOnce(&str),
) -> Result<(Summary, Option<Gathered>)> {
    permission::check()?;
    // Until the end of the session.
    let _on_signal = match &request.flight {
        Some(options) if matches!(watched.ends, Ends::BySignal) => {
            let listening = OnSignal::listen(options.handle.clone());
            Some(listening.context("cannot handle SIGUSR1")?)
        }
        _ => None,
    };
    // locate
    let mut process = find(&request.target, request.showing)?;
    rights.keep(privilege::to_attach);
    process.check_memory_access()?;
    let module = process.executable()?;
    // object
    let binary = Arc::new(Binary::of_module(&module)?);
    let source = DebugSource::find(Arc::clone(&binary), &process, request.debug_file.as_deref())?;
    // dwarf
    let mut notes = Vec::new();
    let what = format!("reading the debug information of {}", module.path);
    let info = match while_slow(&what, || DebugInfo::load(&source)) {
        Ok(info) => info,
        Err(error) => {
            notes.push(format!("without debug information: {error}"));
            DebugInfo::new(gimli::Dwarf::default(), None)?
        }
    };
    notes.extend(info.split());
    let futures = source.sparing(|| Futures::new(&info));
    let names = source.sparing(|| Names::from_debug_info(&info, &plan::task_polls(&source)));
    // plan
    let planned = plan::Request {
        module: &module,
        source: &source,
        names: &names,
        futures: &request.futures,
        exact_polls: request.exact_polls,
        rules: Rules::of_this_kernel(),
    };
    let mut plan = source.sparing(|| plan::make(planned))?;
    let inspector = source.sparing(|| Inspector::new(process.pid, &binary, module.bias, &futures));
    let task_source = match inspector {
        Ok(inspector) => TaskSource::Types(Box::new(inspector)),
        Err(error) => {
            let symbols = source.symbol_file();
            ShapeInspector::new(process.pid, &binary, symbols, &names, module.bias).map_or(
                TaskSource::Unreadable(error.to_string()),
                TaskSource::Shapes,
            )
        }
    };
    if let TaskSource::Types(inspector) = &task_source {
        let what = "compiling the walk over its tasks";
        let add = || inspector.add_walk(&mut plan, &process.memory());
        while_slow(what, || source.sparing(add));
    }
    // attach
    // From here on no signal ends us in the middle of something.
    watched.ends.prepare().context("cannot handle signals")?;
    let options = SessionOptions {
        apart: true,
        ..SessionOptions::default()
    };
    let session = Session::start(&plan, process.pid, &options)?;
    let started = session.watching_since();
    process.check_still_runs(&module, binary.file().map(AsRef::as_ref))?;
    let header = header(request, &process, &source, &plan, &session, started);
    let mut observer = watched.observer.map(|make| make(&header));
    let mut kept = Kept::default();
    match (&request.output, &request.flight) {
        (Some(path), Some(options)) => {
            let flight = Flight::new(path.clone(), header.clone(), options.clone())?;
            kept.flight = Some(Box::new(flight));
            if options.needs_judging() {
                let judging = Judging::new(started, Arc::default()).for_flight(options);
                observer = Both::of(observer, Box::new(judging));
            }
        }
        (Some(path), None) => {
            let between = if gather { ALL_LOOKS } else { BETWEEN };
            let file = RecordingFile::create(path, &header, request.max_size, between)?;
            kept.file = Some(file);
        }
        (None, _) => {}
    }
    let later = Later {
        links: request.budget.is_some() && !session.is_apart(),
        by_perf_events: session.link_kind() == LinkKind::Perf,
        files: request.flight.is_some(),
    };
    rights.keep(|| privilege::to_follow(process.pid, later));
    kept.evidence = gather.then(|| Evidence::new(header, Window::default()));
    let sink = Some(kept).filter(Kept::is_wanted);
    announce(&open_line(&process, &session));
    // stream -> rebuild -> show | export
    notes.extend(what_is_missing(
        &plan,
        &session,
        !request.futures.is_empty(),
    ));
    let setup = Setup {
        tracking: Options {
            started,
            probe_names: probe_names(&plan),
            sees_panics: sees_panics(&plan, &session),
            max_tasks: MAX_TASKS,
            ..Options::default()
        },
        decoder: (!plan.walk.roots.is_empty())
            .then(|| Decoder::new(Arc::clone(&plan.walk.tables), Arc::new(TokioConventions))),
        about: About {
            program: program_name(&process),
            pid: process.pid,
            recording: request
                .output
                .as_ref()
                .map(|path| path.display().to_string()),
            notice: notice(source.level())
                .or_else(|| quiet_command(&request.target, request.showing)),
        },
        session,
        showing: request.showing,
        duration: request.duration,
        // Who looks at the live view goes on without the recording.
        max_size: request
            .max_size
            .filter(|_| request.showing == Showing::LinesOnStderr),
        sink,
        rhythm: request.rhythm,
        exchange: watched.exchange,
        ends: watched.ends,
        budget: request
            .budget
            .map(|share| Budget::new(share, &plan, probe_names(&plan))),
        observer,
    };
    let build_id = binary.build_id().map(str::to_owned);
    let mut tasks = TokioTasks::new(
        &process,
        task_source,
        source.level(),
        build_id,
        Arc::clone(&plan.walk.tables),
    );
    let ended = session::run(setup, &mut tasks)?;
    drop(tasks);
    Ok(summarise(ended, request, &mut process, notes))
}

/// Finds the target, or starts it.
fn find(target: &TargetSelector, showing: Showing) -> Result<Process> {
    let starts = matches!(target, TargetSelector::Command(_));
    if starts && showing == Showing::View {
        return Ok(away_from_terminal(|| Process::find(target))??);
    }
    Ok(Process::find(target)?)
}

/// A command that starts inside `start` reads nothing from the terminal, which the live view needs,
/// and writes nothing on it.
fn away_from_terminal<T>(start: impl FnOnce() -> T) -> Result<T> {
    let system = |error: std::io::Error| anyhow::Error::new(error).context("standard streams");
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(system)?;
    let input = std::io::stdin();
    let output = std::io::stderr();
    let saved_input = input.as_fd().try_clone_to_owned().map_err(system)?;
    let saved_output = output.as_fd().try_clone_to_owned().map_err(system)?;
    dup2_stdin(&null).map_err(|error| system(error.into()))?;
    if output.is_terminal() {
        dup2_stderr(&null).map_err(|error| system(error.into()))?;
    }
    let started = start();
    dup2_stdin(&saved_input).map_err(|error| system(error.into()))?;
    dup2_stderr(&saved_output).map_err(|error| system(error.into()))?;
    Ok(started)
}

/// Whether every panic is seen.
fn sees_panics(plan: &Plan, session: &Session) -> bool {
    let probe = plan
        .probes
        .iter()
        .find(|probe| probe.kind == ProbeKind::Panic);
    probe.is_some_and(|probe| {
        !session
            .refused
            .iter()
            .any(|refused| refused.what.contains(&*probe.name))
    })
}

/// The futures of task polls and nested polls, by index of the probe.
fn probe_names(plan: &Plan) -> Vec<Option<Arc<str>>> {
    plan.probes
        .iter()
        .map(|probe| match probe.kind {
            ProbeKind::TaskPoll | ProbeKind::FuturePoll => Some(Arc::clone(&probe.name)),
            _ => None,
        })
        .collect()
}

/// What a recording of the session says of itself. Its file is made once the probes are in place, so
/// that an attach that fails leaves no file behind.
fn header(
    request: &Request,
    process: &Process,
    source: &DebugSource,
    plan: &Plan,
    session: &Session,
    started: u64,
) -> Header {
    let process = ProcessInfo {
        pid: process.pid,
        exe: process.exe.display().to_string(),
        build_id: source.binary().build_id().map(str::to_owned),
    };
    let mut header = Header::new(process, "tokio");
    header.started = started;
    header.debug_info = Some(source.level());
    header.probes = probe_counts(plan);
    header.requests.clone_from(&request.requests);
    header.unseen = [&plan.unseen[..], &session.refused, &session.without].concat();
    header
}

fn probe_counts(plan: &Plan) -> Vec<ProbeCount> {
    let mut counts: BTreeMap<ProbeKind, u32> = BTreeMap::new();
    for probe in &plan.probes {
        *counts.entry(probe.kind).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(kind, count)| ProbeCount {
            kind: kind_name(kind).to_owned(),
            count,
        })
        .collect()
}

/// As the recording's format has it (docs/recording-format.md).
const fn kind_name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::TaskPoll => "task_poll",
        ProbeKind::WakeByValue => "wake_by_value",
        ProbeKind::WakeByReference => "wake_by_reference",
        ProbeKind::WakerClone => "waker_clone",
        ProbeKind::WakerDrop => "waker_drop",
        ProbeKind::Spawn => "spawn",
        ProbeKind::FuturePoll => "future_poll",
        ProbeKind::IoReady => "io_ready",
        ProbeKind::TimerFired => "timer_fired",
        ProbeKind::Abort => "abort",
        ProbeKind::Panic => "panic",
        ProbeKind::PanicBegin => "panic_begin",
        ProbeKind::PollExit => "poll_exit",
    }
}
