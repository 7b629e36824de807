//! What has the kept stretch written, and asking for it from any thread.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::stream::monotonic_ns;

/// Triggers that wait at most; more are counted with the last.
const MAX_WAITING: usize = 64;

/// What has it written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// SIGUSR1.
    Signal,
    /// A slow request.
    Request,
    /// A slow await.
    Await,
    /// A finding.
    Finding,
    /// A panic.
    Panic,
    /// A program that uses this one, through a [`Handle`].
    Asked,
    /// The session ends.
    End,
}

impl Cause {
    /// The word for it in a recording (docs/recording-format.md).
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Await => "await",
            Self::Finding => "finding",
            Self::Panic => "panic",
            Self::Asked => "asked",
            Self::End => "end",
        }
    }

    /// Whether somebody wants it now, as opposed to what happens by itself and may happen often.
    pub(super) const fn is_asked(self) -> bool {
        matches!(self, Self::Signal | Self::Asked | Self::End)
    }
}

/// A reason to write the kept stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What.
    pub cause: Cause,
    /// The same in words, on one line.
    pub why: String,
    /// When, CLOCK_MONOTONIC in nanoseconds: what happened until then is in the file.
    pub at: u64,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Events in it, those that tell what was known before included.
    pub events: u64,
    /// From when on it tells everything, CLOCK_MONOTONIC in nanoseconds.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// It is shorter than was asked, as there were too many bytes.
    pub short: bool,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::show::live::format;
        let length = std::time::Duration::from_nanos(self.until.saturating_sub(self.from));
        write!(
            f,
            "{}: {}, {} events, the last {}",
            crate::show::escape::escape(&self.path.display().to_string()),
            format::bytes(self.bytes),
            self.events,
            format::duration(length),
        )?;
        if self.short {
            f.write_str(" (more did not fit into --keep)")?;
        }
        Ok(())
    }
}

/// What became of a trigger: the file, or why there is none (yet).
pub type Outcome = Result<Written, String>;

/// A trigger on its way, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) trigger: Trigger,
    pub(super) reply: Option<Sender<Outcome>>,
}

/// Has a flight recorder write, from any thread. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<VecDeque<Asked>>,
    any: AtomicBool,
    /// Triggers that did not fit.
    beyond: AtomicU64,
    requests: Mutex<Option<Vec<Arc<str>>>>,
    requests_changed: AtomicBool,
}

impl Handle {
    /// Has what is kept written now, whatever the bounds of triggers that come by themselves.
    /// What becomes of it is received once: the file, or why it could not be written this time (it
    /// is tried again) or will not be. Nothing is received from a session that has ended.
    #[must_use]
    pub fn write_now(&self, why: &str) -> Receiver<Outcome> {
        let (reply, outcome) = channel();
        let trigger = Trigger {
            cause: Cause::Asked,
            why: why.to_owned(),
            at: monotonic_ns(),
        };
        self.put(Asked {
            trigger,
            reply: Some(reply),
        });
        outcome
    }

    /// Has it written because of something that happened.
    pub fn trigger(&self, trigger: Trigger) {
        self.put(Asked {
            trigger,
            reply: None,
        });
    }

    /// SIGUSR1 came.
    pub fn signal(&self) {
        self.trigger(Trigger {
            cause: Cause::Signal,
            why: "SIGUSR1".to_owned(),
            at: monotonic_ns(),
        });
    }

    fn put(&self, asked: Asked) {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            self.0.beyond.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = asked.reply {
                let _ = reply.send(Err("too many files were asked for at once".to_owned()));
            }
            return;
        }
        waiting.push_back(asked);
        self.0.any.store(true, Ordering::Release);
    }

    /// Takes those whose time has come; all of them when nothing is on its way to the recorder.
    pub(super) fn take(&self, until: u64) -> Vec<Asked> {
        if !self.0.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (due, later): (VecDeque<Asked>, _) = waiting
            .drain(..)
            .partition(|asked| asked.trigger.at <= until);
        *waiting = later;
        self.0.any.store(!waiting.is_empty(), Ordering::Release);
        due.into()
    }

    /// Triggers since the last call that did not fit; they share a file with those that did.
    pub(super) fn take_beyond(&self) -> u64 {
        self.0.beyond.swap(0, Ordering::Relaxed)
    }

    /// Tells which async functions are requests, as the last seconds had it.
    pub fn requests_are(&self, paths: Vec<Arc<str>>) {
        let mut requests = self
            .0
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *requests = Some(paths);
        self.0.requests_changed.store(true, Ordering::Release);
    }

    /// The same, if it was told since the last call.
    pub(super) fn new_requests(&self) -> Option<Vec<Arc<str>>> {
        if !self.0.requests_changed.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut requests = self
            .0
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        requests.take()
    }
}
