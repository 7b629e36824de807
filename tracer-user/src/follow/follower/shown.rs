//! What is shown of a session: the table of a moment, and the numbers of a line.

use std::time::Duration;

use super::Follower;
use crate::follow::lines::Counts;
use crate::follow::recorder::{Progress, Recorder};
use crate::show::live::format;
use crate::show::live::table::{RecordingStatus, Status, Table};

impl Follower {
    /// Makes the table of this moment (CLOCK_MONOTONIC, nanoseconds).
    pub fn table(&mut self, now: u64) -> Table {
        let statistics = self.tracker.statistics();
        let elapsed = Duration::from_nanos(now.saturating_sub(self.tabled_at));
        self.tabled_at = now;
        self.rate.update(statistics.records, elapsed);
        let progress = self.recorder.as_ref().map(Recorder::progress);
        let status = Status {
            program: self.about.program.clone(),
            pid: self.about.pid,
            runtimes: self.runtimes.clone(),
            elapsed: Duration::from_nanos(now.saturating_sub(self.started)),
            events: statistics.records,
            events_per_second: self.rate.per_second(),
            lost: self.lost.iter().sum(),
            overhead: self.overhead,
            recording: progress.as_ref().map(|progress| RecordingStatus {
                path: self.about.recording.clone().unwrap_or_default(),
                bytes: progress.bytes,
                dropped: progress.dropped,
            }),
            notice: match progress {
                Some(Progress {
                    failure: Some(failure),
                    ..
                }) => Some(format!("the recording stopped: {failure}")),
                Some(progress) if progress.full => {
                    let size = format::bytes(progress.bytes);
                    Some(format!("the recording ended at its limit ({size})"))
                }
                _ => self.watched.clone().or_else(|| self.notice.clone()),
            },
            sampling: None,
        };
        let known = self.known_until(now);
        let mut table = self.maker.make(&self.tracker, &self.nested, status, known);
        let shown = self.on_screen.iter().filter_map(|key| {
            let standing = self.tracker.task(key)?.standing();
            (!standing.is_empty()).then_some((*key, standing))
        });
        table.standing = shown.collect();
        if statistics.forgotten > 0 {
            table.rows_left_out += self.listed.saturating_sub(statistics.live);
        }
        table
    }

    /// Until when is known what goes on at `now`: records come some time after they were made, and what
    /// is watched less from some moment on shows after that.
    fn known_until(&self, now: u64) -> u64 {
        let change = self.changes.front().map_or(now, |change| change.time);
        self.released.min(change).min(now)
    }

    /// The numbers of a line.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let statistics = self.tracker.statistics();
        Counts {
            tasks: statistics.live as u64,
            polls: statistics.polls,
            wakes: statistics.wakes,
            lost: self.lost.iter().sum(),
        }
    }

    /// Live tasks, and those of them that were seen polled.
    #[must_use]
    pub fn tasks_seen(&self) -> (u64, u64) {
        let live = self.tracker.tasks().filter(|task| !task.is_over());
        live.fold((0, 0), |(all, seen), task| {
            (all + 1, seen + u64::from(task.polls > 0))
        })
    }
}
