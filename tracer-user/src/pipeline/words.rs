//! What the user is told of a session: at its begin, and in its summary.

use std::ffi::OsStr;
use std::io::IsTerminal as _;

use super::Request;
use crate::attach::{LinkKind, Session};
use crate::follow::ending::Ending;
use crate::follow::evidence::Gathered;
use crate::follow::kept::Kept;
use crate::follow::outlet::Showing;
use crate::follow::session::Ended;
use crate::follow::summary::Summary;
use crate::locate::{Process, TargetSelector};
use crate::plan::Plan;
use crate::rebuild::snapshot::DebugInfoLevel;

/// What cannot be seen is named in the summary up to this many entries.
const UNSEEN_NAMED: usize = 10;

pub(super) fn open_line(process: &Process, session: &Session) -> String {
    let probes = session.probes();
    let links = match session.link_kind() {
        LinkKind::Multi => "one link for each program and file",
        LinkKind::Perf => "a link for each (this kernel has no uprobe_multi)",
    };
    format!(
        "Attached to {} ({}) with {probes} probes, {links}, in {:.0} ms. Press Ctrl-C to stop.",
        program_name(process),
        process.pid,
        session.attach_time().as_secs_f64() * 1e3,
    )
}

pub(super) fn program_name(process: &Process) -> String {
    let name = process.exe.file_name().unwrap_or(OsStr::new("?"));
    name.to_string_lossy().into_owned()
}

/// What the user should know from the first moment on.
pub(super) fn notice(level: DebugInfoLevel) -> Option<String> {
    match level {
        DebugInfoLevel::Full => None,
        DebugInfoLevel::Symbols => Some(
            "no types in the debug information: awaits are not shown; see `asynctrace probes`"
                .to_owned(),
        ),
        DebugInfoLevel::None => Some(
            "no debug information: awaits and most names are not shown; see `asynctrace probes`"
                .to_owned(),
        ),
    }
}

/// Where the output of a command is that we started.
pub(super) fn quiet_command(target: &TargetSelector, showing: Showing) -> Option<String> {
    let quiet = matches!(target, TargetSelector::Command(_))
        && showing == Showing::View
        && std::io::stderr().is_terminal();
    quiet.then(|| {
        "the command's output is not shown; redirect standard error to keep it (2> FILE)".to_owned()
    })
}

/// What becomes of a command that we started, and that is there when we end.
pub(super) fn command_goes_on(target: &TargetSelector, ending: Ending, pid: i32) -> Option<String> {
    let is_ours = matches!(target, TargetSelector::Command(_));
    let goes_on = !matches!(ending, Ending::TargetExited(_));
    (is_ours && goes_on).then(|| format!("the command goes on running: process {pid}"))
}

/// What the summary says of what is missing, as far as it is known at the attach.
pub(super) fn what_is_missing(plan: &Plan, session: &Session, with_futures: bool) -> Vec<String> {
    let refused = session
        .refused
        .iter()
        .map(|unseen| format!("refused by the kernel: {} ({})", unseen.what, unseen.reason));
    let without = session
        .without
        .iter()
        .map(|unseen| format!("not seen: {} ({})", unseen.what, unseen.reason));
    let mut notes: Vec<String> = refused.chain(without).collect();
    notes.extend(session.not_apart.as_ref().map(|why| {
        format!(
            "end asynctrace by Ctrl-C or SIGTERM: killed with SIGKILL it may leave breakpoints, \
             because no process of its own could be started to hold the probes ({why})"
        )
    }));
    // Who asks for futures by name wants to know which of them are not probed.
    let named = if with_futures { UNSEEN_NAMED } else { 0 };
    notes.extend(
        plan.unseen
            .iter()
            .take(named)
            .map(|unseen| format!("not seen: {} ({})", unseen.what, unseen.reason)),
    );
    let more = plan.unseen.len().saturating_sub(named);
    if more > 0 {
        notes.push(more_unseen(named, more));
    }
    notes
}

/// What is said of so many things that cannot be seen and are not named, after those that are.
fn more_unseen(named: usize, more: usize) -> String {
    match named {
        0 => format!(
            "not everything can be seen in this binary: `asynctrace probes` lists {more} entries"
        ),
        _ => format!("not seen: {more} more (`asynctrace probes` lists them)"),
    }
}

pub(super) fn summarise(
    ended: Ended<Kept>,
    request: &Request,
    process: &mut Process,
    mut notes: Vec<String>,
) -> (Summary, Option<Gathered>) {
    let ending = match ended.ending {
        Ending::TargetExited(None) => Ending::TargetExited(process.exit_status()),
        ending => ending,
    };
    let counters = tracer_common::Counters::sum(&ended.finished.counters);
    for (count, what) in [
        (
            ended.finished.late,
            "records came too late to be put in order",
        ),
        (
            counters.too_deep,
            "polls were nested too deep to be followed",
        ),
        (
            counters.no_thread,
            "events were on more threads than can be followed",
        ),
        (
            ended.statistics.forgotten,
            "live tasks were dropped because there were too many",
        ),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    if ending == Ending::ProbesLost {
        notes.push(
            "somebody ended `probe-holder`, the process of ours that held the probes: what happened \
             later was not seen"
                .to_owned(),
        );
    }
    notes.extend(ended.unread);
    notes.extend(command_goes_on(&request.target, ending, process.pid));
    let statistics = ended.statistics;
    let path = request.output.clone();
    let (file, gathered) = ended.recording.map_or((None, None), |(kept, progress)| {
        kept.finish(path, ending, ended.ended_at, &statistics, progress)
    });
    let estimated = ended.finished.overhead.of_one_cpu();
    let overhead = ended
        .kept
        .as_ref()
        .map_or(estimated, |kept| kept.of_one_cpu);
    let summary = Summary {
        ending,
        elapsed: ended.elapsed,
        records: statistics.records,
        lost: (0..).zip(ended.losses).collect(),
        polls: statistics.polls,
        wakes: statistics.wakes,
        live: statistics.live as u64,
        spawned: statistics.spawned,
        over: statistics.over,
        overhead: Some(overhead),
        budget: ended.kept,
        nested: ended.nested,
        notes,
        file,
    };
    (summary, gathered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_still_there_is_said_to_go_on() {
        let command = TargetSelector::Command(vec!["server".into()]);
        let said = command_goes_on(&command, Ending::TimeUp, 17);
        assert_eq!(said.unwrap(), "the command goes on running: process 17");
        assert!(command_goes_on(&command, Ending::TargetExited(None), 17).is_none());
        assert!(command_goes_on(&TargetSelector::Pid(17), Ending::TimeUp, 17).is_none());
    }

    #[test]
    fn what_is_not_named_is_counted() {
        assert_eq!(
            more_unseen(10, 52),
            "not seen: 52 more (`asynctrace probes` lists them)"
        );
        assert!(more_unseen(0, 3).ends_with("lists 3 entries"));
    }
}
