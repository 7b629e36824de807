//! Why a live session ends, and waiting for it.

use std::fmt;
use std::io;
use std::process::ExitStatus;

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
            Self::ViewFailed => f.write_str("the terminal cannot be used any more"),
            Self::Quit => f.write_str("stopped by q"),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

/// The signals that end a session. Made before the probes are attached, so that from then on none
/// of them ends the process in the middle of something.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes over the signals. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn take() -> io::Result<Self> {
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
