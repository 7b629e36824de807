//! The whole path of a session without probes: [`sample`].

use std::path::PathBuf;
use std::time::Duration;

use super::find;
use super::reading::{Opened, with_tasks};
use super::words::{command_goes_on, notice, program_name, quiet_command};
use crate::error::Result;
use crate::export::recording::{Header, Window};
use crate::follow::ending::Ending;
use crate::follow::evidence::{Evidence, Gathered};
use crate::follow::follower::About;
use crate::follow::kept::Kept;
use crate::follow::outlet::Showing;
use crate::follow::recording_file::RecordingFile;
use crate::follow::sampling::session::{self, Setup, statistics};
use crate::follow::sampling::summary::Summary;
use crate::follow::sampling::{Hertz, pace};
use crate::follow::watched::Ends;
use crate::locate::{Process, TargetSelector};
use crate::plan::Unseen;
use crate::rebuild::snapshot::ProcessInfo;
use crate::stream::monotonic_ns;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// The target.
    pub target: TargetSelector,
    /// Debug information that the user gave.
    pub debug_file: Option<PathBuf>,
    /// How often memory is looked at.
    pub hertz: Hertz,
    /// When to end.
    pub duration: Option<Duration>,
    /// The recording's file.
    pub output: Option<PathBuf>,
    /// Bytes that the recording may have.
    pub max_size: Option<u64>,
    /// What to show meanwhile.
    pub showing: Showing,
}

/// Looks at a process at a rate until the user, the clock or the target ends it. `announce` is called
/// with the open line before the first look. With `gather` it hands out what the process is judged
/// by.
///
/// # Errors
/// Those of each stage, see there. BPF is not used, and no right to it needed.
pub fn sample(
    request: &SampleRequest,
    gather: bool,
    announce: impl FnOnce(&str),
) -> Result<(Summary, Option<Gathered>)> {
    // locate
    let mut process = find(&request.target, request.showing)?;
    // object -> dwarf -> memory
    let (ended, notes) = with_tasks(&process, request.debug_file.as_deref(), |mut opened| {
        look(request, gather, &process, &mut opened, announce)
    })?;
    let ending = match ended.ending {
        Ending::TargetExited(None) => Ending::TargetExited(process.exit_status()),
        ending => ending,
    };
    let (file, gathered) = match ended.recording {
        Some((kept, progress)) => kept.finish(
            request.output.clone(),
            ending,
            ended.ended_at,
            &statistics(&ended.sampled),
            progress,
        ),
        None => (None, None),
    };
    let mut notes = [notes, ended.notes].concat();
    notes.extend(command_goes_on(&request.target, ending, process.pid));
    let summary = Summary {
        ending,
        elapsed: ended.elapsed,
        sampled: ended.sampled,
        cpu: ended.cpu,
        notes,
        file,
    };
    Ok((summary, gathered))
}

fn look(
    request: &SampleRequest,
    gather: bool,
    process: &Process,
    opened: &mut Opened<'_, '_, '_, '_>,
    announce: impl FnOnce(&str),
) -> Result<(session::Ended<Kept>, Vec<String>)> {
    let header = header(request, process, opened);
    let file = match &request.output {
        // The looks are all that it consists of: only the user's limit bounds them.
        Some(path) => Some(RecordingFile::create(
            path,
            &header,
            request.max_size,
            u64::MAX,
        )?),
        None => None,
    };
    let evidence = gather.then(|| Evidence::new(header, Window::default()));
    let program = program_name(process);
    announce(&format!(
        "Looking at {program} ({}) {} times a second, without probes. Press Ctrl-C to stop.",
        process.pid,
        pace::rate(request.hertz.per_second()),
    ));
    let pid = process.pid;
    let image = image_of(pid);
    let setup = Setup {
        about: About {
            program,
            pid,
            recording: request
                .output
                .as_ref()
                .map(|path| path.display().to_string()),
            notice: notice(opened.level)
                .or_else(|| quiet_command(&request.target, request.showing)),
        },
        hertz: request.hertz,
        showing: request.showing,
        duration: request.duration,
        // Who looks at the live view goes on without the recording.
        max_size: request
            .max_size
            .filter(|_| request.showing == Showing::LinesOnStderr),
        sink: Some(Kept {
            file,
            evidence,
            flight: None,
        })
        .filter(Kept::is_wanted),
        ends: Ends::default(),
        replaced: Box::new(move || {
            // Of a process that is ending nothing can be read; the reader of its memory says so.
            image_of(pid).is_some_and(|now| image.as_ref().is_some_and(|then| *then != now))
        }),
    };
    let ended = session::run(setup, opened.tasks)?;
    Ok((ended, opened.damage.to_vec()))
}

/// What tells one execution of a program from the next (`execve`) in a process: its auxiliary vector,
/// which has the address of random bytes that the kernel made for it.
fn image_of(pid: i32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/auxv"))
        .ok()
        .filter(|bytes| !bytes.is_empty())
}

/// What a recording of the session says of itself.
fn header(request: &SampleRequest, process: &Process, opened: &Opened<'_, '_, '_, '_>) -> Header {
    let process = ProcessInfo {
        pid: process.pid,
        exe: process.exe.display().to_string(),
        build_id: opened.build_id.clone(),
    };
    let mut header = Header::new(process, "tokio");
    header.started = monotonic_ns();
    header.debug_info = Some(opened.level);
    header.sampling = Some(request.hertz.per_second());
    header.unseen = vec![Unseen {
        what: "events: polls, wake-ups, spawns, ends of tasks, durations of awaits".to_owned(),
        reason: "memory was looked at (--sample) and no probe was attached".to_owned(),
        remedy: Some("record without --sample, as root".to_owned()),
    }];
    header
}
