//! What the daemon is told of a session: counts it, keeps the newest reading of memory, and has it
//! judged on a thread of its own, which may be late without a count being so.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::totals::{Counting, Totals};
use crate::analyse::findings::Thresholds;
use crate::follow::judging::Judging;
use crate::follow::recorder::{Entry, Recorder, Sink, recorder_of};
use crate::rebuild::snapshot::Snapshot;
use crate::show::live::exchange::Exchange;

/// Events that wait to be judged at most.
const MAX_UNJUDGED: u64 = 200_000;

/// What was read of memory last.
pub type Latest = Arc<Mutex<Option<Arc<Snapshot>>>>;

/// Locks what is only ever changed as a whole, so that it is good even after a panic elsewhere.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The observer of a session.
#[derive(Debug)]
pub struct Observer {
    counting: Counting,
    totals: Arc<Mutex<Totals>>,
    latest: Latest,
    judge: Option<(Recorder, JoinHandle<()>)>,
}

impl Observer {
    /// Of a session that began at `started` (CLOCK_MONOTONIC, nanoseconds), counts into `totals`
    /// and puts the newest reading into `latest`.
    #[must_use]
    pub fn new(started: u64, totals: Arc<Mutex<Totals>>, latest: Latest) -> Self {
        Self {
            counting: Counting::new(started),
            totals,
            latest,
            judge: None,
        }
    }

    /// That judges too, from `started` (CLOCK_MONOTONIC, nanoseconds) on; findings are put into the
    /// exchange.
    #[must_use]
    pub fn judging(mut self, started: u64, thresholds: Thresholds, into: Arc<Exchange>) -> Self {
        let judging = Judging::new(started, into).with_thresholds(thresholds);
        let (recorder, writer) = recorder_of(judging, MAX_UNJUDGED);
        let thread = std::thread::Builder::new().name("asynctrace-judge".to_owned());
        match thread.spawn(move || drop(writer.run())) {
            Ok(thread) => self.judge = Some((recorder, thread)),
            Err(error) => tracing::error!("findings are not looked for: no thread: {error}"),
        }
        self
    }

    fn judge(&mut self, entry: &Entry) {
        let Some((judge, _)) = &mut self.judge else {
            return;
        };
        match entry {
            Entry::Events(events) => judge.events(events.clone()),
            other => judge.entry(other.clone()),
        }
    }
}

impl Sink for Observer {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.counting.take(entry, &mut lock(&self.totals));
        if let Entry::Snapshot { snapshot, .. } = entry {
            *lock(&self.latest) = Some(Arc::clone(snapshot));
        }
        self.judge(entry);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self) -> u64 {
        0
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some((judge, thread)) = self.judge.take() {
            drop(judge);
            if thread.join().is_err() {
                tracing::error!("looking for findings panicked: a bug of asynctrace");
            }
        }
    }
}
