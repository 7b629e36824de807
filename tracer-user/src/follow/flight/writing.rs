//! Writing a file on a thread of its own, so that recording goes on meanwhile; one that could not be
//! written is tried again with the same contents.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Flight;
use super::file::Job;
use super::trigger::{Outcome, Written};
use crate::export::recording::RecordingError;

/// A file that could not be written is tried again after this time, then after twice as long each
/// time, up to the second.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) job: Arc<Job>,
    pub(super) thread: JoinHandle<Result<Written, RecordingError>>,
    pub(super) replies: Vec<Sender<Outcome>>,
    pub(super) tries: u32,
}

/// A file that could not be written: what it is to hold stays.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) job: Arc<Job>,
    pub(super) tries: u32,
    pub(super) again: Instant,
}

impl Flight {
    /// Writes it on a thread of its own. Who asked for it is told what became of it.
    pub(super) fn start(&mut self, job: Arc<Job>, replies: Vec<Sender<Outcome>>, tries: u32) {
        let thread = std::thread::Builder::new().name("asynctrace-file".to_owned());
        let shared = Arc::clone(&job);
        match thread.spawn(move || shared.write()) {
            Ok(thread) => {
                self.writing = Some(Writing {
                    job,
                    thread,
                    replies,
                    tries,
                });
            }
            Err(error) => self.fail(job, tries, &format!("cannot start a thread: {error}")),
        }
    }

    /// Takes note of a file that is written, or failed.
    pub(super) fn written(&mut self) {
        if self
            .writing
            .as_ref()
            .is_some_and(|writing| writing.thread.is_finished())
        {
            self.join();
        }
    }

    /// Waits for the thread that writes, if there is one, and tells what became of its file.
    pub(super) fn join(&mut self) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        let job = writing.job;
        let outcome = match writing.thread.join() {
            Ok(Ok(written)) => {
                let why = &job.trigger.why;
                self.tell(&format!("wrote {written} ({why})"));
                Ok(written)
            }
            Ok(Err(error)) => {
                let reason = told(&error);
                self.fail(job, writing.tries, &reason);
                Err(reason)
            }
            Err(_) => {
                let reason = "the thread that writes a file panicked".to_owned();
                self.fail(job, writing.tries, &reason);
                Err(reason)
            }
        };
        for reply in writing.replies {
            // Who asked may have gone.
            let _ = reply.send(outcome.clone());
        }
    }

    fn fail(&mut self, job: Arc<Job>, tries: u32, reason: &str) {
        let wait = RETRY.0.saturating_mul(1 << tries.min(8)).min(RETRY.1);
        // Once is enough as long as nothing changes.
        if tries == 0 {
            let why = &job.trigger.why;
            self.tell(&format!(
                "{reason}; what was kept ({why}) stays kept, and writing it is tried again"
            ));
        }
        self.failed = Some(Failed {
            job,
            tries: tries.saturating_add(1),
            again: Instant::now() + wait,
        });
    }
}

/// An error with its cause, on one line.
pub(super) fn told(error: &RecordingError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
