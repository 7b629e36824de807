//! What is done for each request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::unix::UCred;
use tokio::sync::oneshot;

use super::message::{Chosen, Form, Refusal, Request, answer_line};
use crate::analyse::findings::Coverage;
use crate::cli::look::look;
use crate::daemon::followed::{Followed, Job, Status};
use crate::daemon::observer::lock;
use crate::daemon::recordings;
use crate::daemon::supervise::Supervisor;
use crate::error::{Error, ExitCode};
use crate::locate::{Process, TargetSelector};
use crate::rebuild::snapshot::Snapshot;
use crate::show;
use crate::show::findings::{Check, SCHEMA, Source, Span};
use crate::stream::monotonic_ns;

/// How long a new reading of memory is waited for, and a first judgement.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether it is there.
const PAUSE: Duration = Duration::from_millis(25);

/// A text, and how many findings it tells.
#[derive(Serialize)]
struct Text {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<usize>,
}

/// Answer of `record`.
#[derive(Serialize)]
struct Recorded {
    path: String,
    bytes: u64,
    events: u64,
    dropped: u64,
    lost: u64,
    seconds: f64,
    ending: &'static str,
    owner_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// Does what is asked for; the answer as a line.
pub(super) async fn answer(
    request: Request,
    peer: &UCred,
    supervisor: &Arc<Mutex<Supervisor>>,
) -> Vec<u8> {
    match request {
        Request::List => answer_line(&Ok(lock(supervisor).list())),
        Request::Dump(chosen, form) => match dump(&chosen, supervisor).await {
            Ok(snapshot) if form == Form::Text => {
                answer_line(&text(None, |out| show::dump::write(&snapshot, out)))
            }
            snapshot => answer_line(&snapshot),
        },
        Request::Check(chosen, form) => match check(&chosen, supervisor).await {
            Ok(check) if form == Form::Text => {
                let findings = Some(check.findings.len());
                answer_line(&text(findings, |out| show::findings::write(&check, out)))
            }
            check => answer_line(&check),
        },
        Request::Record(chosen, time) => {
            answer_line(&record(&chosen, time, peer, supervisor).await)
        }
    }
}

fn text(
    findings: Option<usize>,
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<Text, Refusal> {
    let mut bytes = Vec::new();
    write(&mut bytes).map_err(|error| Refusal::of(&Error::Bug(error.into())))?;
    Ok(Text {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        findings,
    })
}

fn chosen(chosen: &Chosen, supervisor: &Mutex<Supervisor>) -> Result<Arc<Followed>, Refusal> {
    lock(supervisor).choose(chosen)
}

/// All tasks now: of the session where there is one, otherwise by looking at the process.
async fn dump(which: &Chosen, supervisor: &Mutex<Supervisor>) -> Result<Arc<Snapshot>, Refusal> {
    let followed = chosen(which, supervisor)?;
    let asked = monotonic_ns();
    let end = Instant::now() + PATIENCE;
    if matches!(followed.status().0, Status::Following) {
        followed.read_again();
        while Instant::now() < end {
            let latest = lock(&followed.latest).clone();
            if let Some(snapshot) = latest.filter(|snapshot| snapshot.time >= asked) {
                return Ok(snapshot);
            }
            if !matches!(followed.status().0, Status::Following) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    let looked = tokio::task::spawn_blocking(move || {
        let identity = TargetSelector::Identity(followed.process.identity);
        let process = Process::find(&identity)?;
        let debug_file = followed.target.debug_file.as_deref();
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is not general enough over its lifetimes"
        )]
        let snapshot = look(&process, debug_file, |look| look.snapshot());
        snapshot
    });
    match looked.await {
        Ok(snapshot) => snapshot.map(Arc::new).map_err(|error| Refusal::of(&error)),
        Err(_) => Err(Refusal::new(
            "failed",
            ExitCode::Bug,
            "reading its memory panicked",
        )),
    }
}

/// What was found until now.
async fn check(which: &Chosen, supervisor: &Mutex<Supervisor>) -> Result<Check, Refusal> {
    let followed = chosen(which, supervisor)?;
    if !followed.target.findings {
        let label = &followed.target.label;
        let text = format!("target {label} is not judged: its configuration has findings = false");
        return Err(
            Refusal::new("failed", ExitCode::Usage, text).advising(format!(
                "asynctrace check -p {} judges it now",
                followed.pid()
            )),
        );
    }
    let end = Instant::now() + PATIENCE;
    loop {
        if let Status::Waiting { reason, .. } = followed.status().0 {
            return Err(reason);
        }
        let view = followed.view();
        if let (Some(found), Some((process, started, unix))) = (view.found, view.process) {
            let open = found.episodes.iter().filter(|one| one.closed.is_none());
            let began = found.span.start;
            let coverage: Coverage = found.coverage.clone();
            return Ok(Check {
                schema: SCHEMA,
                source: Source::Live,
                process,
                span: Span {
                    began_ns: began,
                    ended_ns: found.now,
                    began_unix_ns: unix.map(|unix| unix + began.saturating_sub(started)),
                },
                thresholds: followed.target.thresholds.into(),
                coverage,
                findings: open.map(|one| one.finding.clone()).collect(),
                left_out: found.beyond,
                warnings: view
                    .table
                    .and_then(|table| table.status.notice.clone())
                    .into_iter()
                    .collect(),
            });
        }
        if Instant::now() > end || matches!(followed.status().0, Status::Over) {
            let text = "the process was not judged yet";
            return Err(Refusal::new("busy", ExitCode::NoTarget, text)
                .advising("ask again in some seconds; `asynctrace ctl list` shows how it is"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Records for a while.
async fn record(
    which: &Chosen,
    time: Duration,
    peer: &UCred,
    supervisor: &Mutex<Supervisor>,
) -> Result<Recorded, Refusal> {
    let followed = chosen(which, supervisor)?;
    let recordings = lock(supervisor).config().recordings.clone();
    let Some(recordings) = recordings else {
        let text = "this daemon makes no recordings: its configuration has no [recordings]";
        return Err(Refusal::new("failed", ExitCode::Usage, text));
    };
    let path = recordings::new_path(&recordings, &followed.target.label, followed.pid())?;
    let (reply, answer) = oneshot::channel();
    followed.record(Job {
        path: path.clone(),
        max_size: recordings.max_size,
        time,
        reply,
    })?;
    let gone = || Refusal::new("failed", ExitCode::Bug, "the recording was given up");
    let summary = answer.await.map_err(|_| gone())??;
    let file = summary.file.ok_or_else(gone)?;
    let owner = recordings::give(&path, peer.uid(), peer.gid());
    Ok(Recorded {
        path: path.display().to_string(),
        bytes: file.bytes,
        events: file.events,
        dropped: file.dropped,
        lost: summary.lost.iter().map(|(_, count)| count).sum(),
        seconds: summary.elapsed.as_secs_f64(),
        ending: summary.ending.word(),
        owner_uid: owner.ok(),
        failure: file.failure,
    })
}
