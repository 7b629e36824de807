//! The last file, which has the user's name: what is kept when the session ends. Everything that
//! still waits to be written is in it or is written before it.

use std::time::{Duration, Instant};

use super::file::Job;
use super::trigger::{Cause, Trigger, Written};
use super::writing::{RETRY, told};
use super::{Flight, with_more};
use crate::follow::ending::Ending;
use crate::follow::recorder::Progress;
use crate::follow::summary::FileSummary;
use crate::rebuild::tracker::Statistics;

/// How long the last file is tried when the session has ended.
const LAST_TRIES: Duration = Duration::from_secs(30);

impl Flight {
    /// Writes what is kept as the file of the user's name, as the session has ended at `time`
    /// (CLOCK_MONOTONIC, nanoseconds). What cannot be written is tried for 30 s.
    #[must_use]
    pub fn finish(
        mut self,
        ending: Ending,
        time: u64,
        statistics: &Statistics,
        progress: Progress,
    ) -> FileSummary {
        self.statistics = statistics.clone();
        let mut why = ending.to_string();
        let mut rest = std::mem::take(&mut self.found);
        for asked in self.options.handle.take(u64::MAX) {
            if asked.trigger.cause.is_asked() {
                self.take(asked);
            } else {
                rest.push(asked.trigger);
            }
        }
        // What was still held is in the last file.
        let held = self.held.take();
        let more = held.as_ref().map_or(0, |(_, more)| *more);
        let mut rest = held.into_iter().map(|(trigger, _)| trigger).chain(rest);
        if let Some(first) = rest.next() {
            why.push_str("; ");
            why.push_str(&with_more(first, more + rest.count() as u64).why);
        }
        let end = Trigger {
            cause: Cause::End,
            why,
            at: time,
        };
        self.join();
        if let Some((trigger, replies)) = self.next_asked() {
            self.start_new(trigger, replies);
            self.join();
        }
        let last = self
            .job(end, true, ending.word())
            .map_err(|error| told(&error))
            .and_then(|job| self.write_last(&job));
        let also = self.summary();
        let mut summary = FileSummary {
            path: self.path,
            bytes: 0,
            events: 0,
            dropped: progress.dropped,
            failure: progress.failure,
            full: false,
            also,
        };
        match last {
            Ok(written) => {
                let kept = written.to_string();
                summary
                    .also
                    .insert(0, format!("kept {}", after_colon(&kept)));
                summary.bytes = written.bytes;
                summary.events = written.events;
            }
            Err(reason) => summary.failure = Some(reason),
        }
        summary
    }

    fn write_last(&mut self, job: &Job) -> Result<Written, String> {
        let begun = Instant::now();
        let mut is_told = false;
        loop {
            if let Some(failed) = self.failed.take() {
                match failed.job.write() {
                    Ok(written) => {
                        self.tell(&format!("wrote {written} ({})", failed.job.trigger.why));
                    }
                    Err(_) => self.failed = Some(failed),
                }
            }
            match job.write() {
                Ok(written) => return Ok(written),
                Err(error) if begun.elapsed() >= LAST_TRIES => return Err(told(&error)),
                Err(error) => {
                    if !is_told {
                        is_told = true;
                        self.tell(&format!(
                            "{}; trying again for {} s (Ctrl-C gives up)",
                            told(&error),
                            LAST_TRIES.as_secs()
                        ));
                    }
                    std::thread::sleep(RETRY.0);
                }
            }
        }
    }

    /// What became of triggers, for the end.
    fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let failed = u64::from(self.failed.is_some());
        let files = self.files.saturating_sub(failed);
        if files > 0 {
            lines.push(format!("{files} written before, as told then"));
        }
        if failed > 0 {
            lines.push("one that could not be written is lost".to_owned());
        }
        if !self.left_out.is_empty() {
            let left_out: Vec<String> = self
                .left_out
                .iter()
                .map(|(cause, count)| format!("{count} {}", cause.word()))
                .collect();
            lines.push(format!(
                "triggers without a file, as there were as many as may be: {}",
                left_out.join(", ")
            ));
        }
        lines
    }
}

/// What stands after a path and its colon.
fn after_colon(text: &str) -> &str {
    text.rsplit_once(": ").map_or(text, |(_, rest)| rest)
}
