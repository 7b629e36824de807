//! Why a live session ends, and waiting for it.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::show::live::format;

/// Why a session ended. All of these are normal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Ctrl-C (SIGINT), or the same key in the live view.
    Interrupted,
    /// SIGTERM, or SIGHUP when the terminal was closed.
    Terminated,
    /// The time the user gave has passed.
    TimeUp,
    /// The recording came to the size that the user gave, in bytes.
    RecordingFull(u64),
    /// The target has ended; with its status when it was started by us.
    TargetExited(Option<ExitStatus>),
    /// The target has replaced its program (`execve`): what is known of its tasks is void.
    TargetReplaced,
    /// Somebody has ended the process that held the probes.
    ProbesLost,
    /// `q` in the live view.
    Quit,
    /// The terminal of the live view failed or was closed.
    ViewFailed,
    /// Nobody reads standard output any more (`| head`).
    OutputClosed,
}

impl Ending {
    /// The word for it in a recording (docs/recording-format.md).
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Interrupted | Self::Quit => "interrupted",
            Self::Terminated => "terminated",
            Self::TimeUp => "duration",
            Self::RecordingFull(_) => "size",
            Self::TargetExited(_) => "target exited",
            Self::TargetReplaced => "target replaced",
            Self::ProbesLost => "probes lost",
            Self::ViewFailed => "terminal closed",
            Self::OutputClosed => "output closed",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("stopped by Ctrl-C"),
            Self::Terminated => f.write_str("stopped by a signal"),
            Self::TimeUp => f.write_str("the time is up"),
            Self::RecordingFull(bytes) => {
                write!(f, "the recording reached {}", format::bytes(*bytes))
            }
            Self::TargetExited(None) => f.write_str("the target has exited"),
            Self::TargetExited(Some(status)) => write!(f, "the target has exited ({status})"),
            Self::TargetReplaced => f.write_str("the target has replaced its program (execve)"),
            Self::ProbesLost => f.write_str(
                "the process that held the probes (probe-holder) was ended, no probe is in place",
            ),
            Self::ViewFailed => f.write_str("the terminal cannot be used any more"),
            Self::Quit => f.write_str("stopped by q"),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

/// The signals that end a session. Made before the probes are attached, so that from then on none
/// of them ends the process in the middle of something. They belong to the process: a runtime that is
/// made later delivers them, also those that came meanwhile.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn take() -> io::Result<Self> {
        // Only the handlers are wanted of it, and a place to wait for it is not needed.
        let handlers = match Handle::try_current() {
            Ok(_) => None,
            Err(_) => Some(Builder::new_current_thread().enable_io().build()?),
        };
        let _inside = handlers.as_ref().map(Runtime::enter);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next of them. Cancel-safe.
    pub async fn next(&mut self) -> Ending {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Ending::Interrupted,
            Some(()) = self.terminate.recv() => Ending::Terminated,
            Some(()) = self.hang_up.recv() => Ending::Terminated,
            // Only if all of them are closed, which a runtime does at its own end.
            else => std::future::pending().await,
        }
    }

    /// Once an end has begun, the next signal is the user's last word: `abort` is called.
    pub fn abort_on_next(mut self, abort: impl FnOnce() + Send + 'static) {
        tokio::spawn(async move {
            self.next().await;
            abort();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, getpid, kill_process};

    /// Sent to the whole process: no other test of this program may take these signals.
    #[test]
    fn a_signal_that_came_before_there_was_a_runtime_is_delivered() {
        let mut signals = Signals::take().unwrap();
        let me: Pid = getpid();
        kill_process(me, rustix::process::Signal::HUP).unwrap();
        for (sent, ending) in [
            (None, Ending::Terminated),
            (Some(rustix::process::Signal::INT), Ending::Interrupted),
        ] {
            if let Some(signal) = sent {
                kill_process(me, signal).unwrap();
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            assert_eq!(runtime.block_on(signals.next()), ending);
        }
    }
}
