//! A process of its own that holds the links, so that whoever kills asynctrace kills nobody who is
//! setting probes or taking them out.
//!
//! Linux (6.18) gives up when SIGKILL comes in the middle of either, and leaks breakpoints in the
//! target: "uprobe: failed to unregister, leaking uprobe". The holder is this very program
//! (`/proc/self/exe`) with a hidden subcommand. It gets a stream to us, the BPF program, and the
//! file to probe, as its three standard streams, the scheduler's program through the stream, and the
//! rights to link and nothing else. Terminals
//! and kills of our process group do not reach it, and it ignores the signals that end programs.
//! When the stream ends, because we closed it or because we ended however we did, it takes the
//! probes out and exits.
//!
//! It reads nothing but that stream. When it is killed itself, the stream ends on our side.

mod descriptor;
mod serve;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, setpriority_process};

use super::LinkKind;
use super::links::Answer;
use super::sites::Site;
use crate::plan::{ProbeSet, ProbedFile};
use crate::privilege;

use descriptor::send_descriptor;
pub use serve::serve;
use wire::{Begin, Request, receive, send};

/// The subcommand. It is none of the command line's: neither help nor manual nor completions know it.
pub const SUBCOMMAND: &str = "hold-links";

/// What `ps` and `top` show. Not our own name: whoever kills asynctrace by its name means us.
const NAME: &str = "probe-holder";

/// Nice value, as of the thread that waits for it: while probes are set and taken out, the target
/// pays for them and little is seen.
const PREFERENCE: i32 = -10;

/// The process that holds the links of a session. Dropping it ends it, and waits for that.
pub(super) struct Holder {
    stream: UnixStream,
    child: Child,
}

impl Holder {
    /// Starts it. No probe is in place yet.
    ///
    /// # Errors
    /// When it cannot be started, or has not the rights that we have.
    pub(super) fn start(
        program: &OwnedFd,
        kind: LinkKind,
        pid: i32,
        sites: &[Site],
        files: &[Arc<ProbedFile>],
        scheduler: Option<&OwnedFd>,
    ) -> io::Result<Self> {
        let [file] = files else {
            let many = format!("the probes are in {} files", files.len());
            return Err(io::Error::other(many));
        };
        let file = File::open(file.to_open())?;
        let program = program.try_clone()?;
        let (stream, theirs) = UnixStream::pair()?;
        let needed = privilege::to_link(kind == LinkKind::Perf);
        let child = privilege::start_with(&needed, move || {
            // All of these are closed here once it has its own.
            Command::new("/proc/self/exe")
                .arg0(NAME)
                .args([SUBCOMMAND, "--target", &pid.to_string()])
                .stdin(OwnedFd::from(theirs))
                .stdout(program)
                .stderr(file)
                .current_dir("/")
                .process_group(0)
                .spawn()
        })?;
        if let Err(error) = setpriority_process(Some(Pid::from_child(&child)), PREFERENCE) {
            tracing::debug!("no preference for setting probes: {error}");
        }
        let mut holder = Self { stream, child };
        let begin = Request::Begin(Begin {
            kind,
            pid: pid.unsigned_abs(),
            sites: sites.to_vec(),
            scheduler: scheduler.is_some(),
        });
        let mut sent = send(&mut holder.stream, &begin);
        if let (Ok(()), Some(program)) = (&sent, scheduler) {
            sent = send_descriptor(&holder.stream, program.as_fd());
        }
        match holder.answer(sent)?.failed {
            None => Ok(holder),
            Some(failed) => Err(io::Error::other(format!("{failed:?}"))),
        }
    }

    /// See [`Links::prepare`](super::links::Links::prepare).
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn prepare(&mut self, wanted: &ProbeSet) -> io::Result<()> {
        self.ask(&Request::Prepare(wanted.clone())).map(drop)
    }

    /// See [`Links::place`](super::links::Links::place).
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn place(&mut self, wanted: &ProbeSet, switches: bool) -> io::Result<Answer> {
        self.ask(&Request::Place {
            probes: wanted.clone(),
            switches,
        })
    }

    fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let sent = send(&mut self.stream, request);
        self.answer(sent)
    }

    /// Waits for the answer to what was sent: as long as the kernel takes, or until it ends.
    fn answer(&mut self, sent: io::Result<()>) -> io::Result<Answer> {
        match sent.and_then(|()| receive(&mut self.stream)) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.how_it_ended(None)),
            Err(error) => Err(self.how_it_ended(Some(error))),
        }
    }

    fn how_it_ended(&mut self, error: Option<io::Error>) -> io::Error {
        self.end();
        match (self.child.wait(), error) {
            (Ok(status), None) => io::Error::other(status.to_string()),
            (Ok(status), Some(error)) if status.success() => error,
            (Ok(status), Some(error)) => io::Error::other(format!("{status}; {error}")),
            (Err(error), _) => error,
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        // Asked for or not, the other end's being closed is told.
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// No more requests: it takes its probes out.
    fn end(&self) {
        // Fails when it has ended already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
        match self.child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::debug!("the process that held the probes ended: {status}"),
            Err(error) => tracing::debug!("nothing is known of the end of {NAME}: {error}"),
        }
    }
}
