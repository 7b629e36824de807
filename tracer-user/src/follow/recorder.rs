//! Writing the recording on a thread of its own: a slow disk delays this thread only. What waits
//! is bounded; what does not fit is dropped and counted, and the file says so.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reader::Moment;
use crate::rebuild::event::Event;
use crate::rebuild::snapshot::Snapshot;
use crate::rebuild::tracker::Statistics;
use crate::rebuild::watching::Watching;

/// Events that wait for the disk at most: about 100 MB of memory.
const MAX_WAITING: u64 = 1_000_000;

/// How long the writer waits for the next entry before it flushes.
const IDLE: Duration = Duration::from_millis(500);

/// Something for the file, in order.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Events.
    Events(Vec<Event>),
    /// The kernel lost records of a CPU at some time up to `until` (CLOCK_MONOTONIC, nanoseconds).
    Lost {
        /// The CPU.
        cpu: u32,
        /// How many.
        count: u64,
        /// When the counter was read.
        until: u64,
    },
    /// Events that did not fit into the queue before this entry.
    Dropped {
        /// How many.
        count: u64,
        /// Time of the last of them.
        until: u64,
    },
    /// What is watched from a moment on.
    Watching(Watching),
    /// Counts as they were at `time` (CLOCK_MONOTONIC, nanoseconds).
    Statistics {
        /// The counts.
        counts: Statistics,
        /// When.
        time: u64,
    },
    /// What memory told at `time` (CLOCK_MONOTONIC, nanoseconds).
    Snapshot {
        /// What it told.
        snapshot: Arc<Snapshot>,
        /// When reading began.
        time: u64,
        /// Which one it is.
        moment: Moment,
    },
}

/// Where entries go: the recording file, or a test.
pub trait Sink: Send {
    /// Writes an entry.
    ///
    /// # Errors
    /// When it cannot be written. Nothing is written after that.
    fn write(&mut self, entry: &Entry) -> io::Result<()>;

    /// Called after every batch, and twice a second when nothing comes: the time to let what waits
    /// reach the file.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> io::Result<()>;

    /// Bytes written.
    fn bytes(&self) -> u64;

    /// Whether it takes nothing more because it came to its limit.
    fn is_full(&self) -> bool {
        false
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        (**self).write(entry)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn bytes(&self) -> u64 {
        (**self).bytes()
    }

    fn is_full(&self) -> bool {
        (**self).is_full()
    }
}

/// Two sinks that are told the same. The first failure of either is the failure of both.
pub struct Both(Box<dyn Sink>, Box<dyn Sink>);

impl Both {
    /// The second one, and the first where there is one.
    #[must_use]
    pub fn of(first: Option<Box<dyn Sink>>, second: Box<dyn Sink>) -> Option<Box<dyn Sink>> {
        Some(match first {
            Some(first) => Box::new(Self(first, second)),
            None => second,
        })
    }
}

impl Sink for Both {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.0.write(entry).and(self.1.write(entry))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().and(self.1.flush())
    }

    fn bytes(&self) -> u64 {
        self.0.bytes() + self.1.bytes()
    }
}

/// What the writer and the follower both see.
#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicU64,
    bytes: AtomicU64,
    written: AtomicU64,
    full: AtomicBool,
    failure: Mutex<Option<String>>,
}

/// The follower's end: takes entries and never blocks.
#[derive(Debug)]
pub struct Recorder {
    queue: Sender<Entry>,
    shared: Arc<Shared>,
    /// Events that wait at most.
    most: u64,
    dropped: u64,
    untold: u64,
    untold_until: u64,
}

/// The thread's end.
#[derive(Debug)]
pub struct Writer<S> {
    queue: Receiver<Entry>,
    shared: Arc<Shared>,
    sink: S,
}

/// What became of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written.
    pub bytes: u64,
    /// Events written.
    pub events: u64,
    /// Events dropped.
    pub dropped: u64,
    /// Why writing stopped.
    pub failure: Option<String>,
    /// Whether the file came to its limit. What comes after that is not counted as dropped.
    pub full: bool,
}

/// A recorder and the writer that belongs to it.
pub fn recorder<S: Sink>(sink: S) -> (Recorder, Writer<S>) {
    recorder_of(sink, MAX_WAITING)
}

/// As [`recorder`], with another number of events that wait at most.
pub fn recorder_of<S: Sink>(sink: S, most: u64) -> (Recorder, Writer<S>) {
    // The channel itself is unbounded; `waiting` bounds it in events, which is what takes memory.
    let (sender, receiver) = channel();
    let shared = Arc::new(Shared::default());
    let recorder = Recorder {
        queue: sender,
        shared: Arc::clone(&shared),
        most,
        dropped: 0,
        untold: 0,
        untold_until: 0,
    };
    let writer = Writer {
        queue: receiver,
        shared,
        sink,
    };
    (recorder, writer)
}

impl Recorder {
    /// Queues events, or drops and counts them.
    pub fn events(&mut self, events: Vec<Event>) {
        let Some(last) = events.last() else { return };
        if self.shared.is_full() {
            return;
        }
        let count = events.len() as u64;
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if waiting + count > self.most || self.has_failed() {
            self.dropped += count;
            self.untold += count;
            self.untold_until = self.untold_until.max(last.time);
            return;
        }
        self.tell_dropped();
        self.shared.waiting.fetch_add(count, Ordering::Relaxed);
        self.send(Entry::Events(events));
    }

    /// Queues anything else; these are few.
    pub fn entry(&mut self, entry: Entry) {
        self.tell_dropped();
        self.send(entry);
    }

    /// Whether the file came to its limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    fn tell_dropped(&mut self) {
        if self.untold > 0 {
            let count = std::mem::take(&mut self.untold);
            self.send(Entry::Dropped {
                count,
                until: self.untold_until,
            });
        }
    }

    fn send(&self, entry: Entry) {
        // A writer that has gone has said why.
        let _ = self.queue.send(entry);
    }

    fn has_failed(&self) -> bool {
        self.shared.failure().is_some()
    }

    /// How far the file is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress(self.dropped)
    }

    /// Ends the queue: the writer writes what waits and returns.
    #[must_use]
    pub fn close(mut self) -> Closed {
        self.tell_dropped();
        Closed {
            shared: Arc::clone(&self.shared),
            dropped: self.dropped,
        }
    }
}

/// A recorder that takes nothing more.
#[derive(Debug)]
pub struct Closed {
    shared: Arc<Shared>,
    dropped: u64,
}

impl Closed {
    /// How far the file is; final once the writer has returned.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress(self.dropped)
    }
}

impl Shared {
    fn progress(&self, dropped: u64) -> Progress {
        Progress {
            bytes: self.bytes.load(Ordering::Relaxed),
            events: self.written.load(Ordering::Relaxed),
            dropped,
            failure: self.failure(),
            full: self.is_full(),
        }
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tell_dropped();
    }
}

impl<S: Sink> Writer<S> {
    /// Writes until the recorder is dropped and everything that waited is written. After a failure
    /// the rest is thrown away, so that the recorder is never held up. Returns the sink.
    pub fn run(mut self) -> S {
        loop {
            let mut next = match self.queue.recv_timeout(IDLE) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.sink,
            };
            // Whole bursts between two flushes.
            while let Some(entry) = next {
                self.write(&entry);
                next = self.queue.try_recv().ok();
            }
            let flushed = self.sink.flush();
            self.note(flushed);
            if self.sink.is_full() {
                self.shared.full.store(true, Ordering::Relaxed);
            }
            let bytes = self.sink.bytes();
            self.shared.bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn write(&mut self, entry: &Entry) {
        let count = match entry {
            Entry::Events(events) => events.len() as u64,
            _ => 0,
        };
        if self.shared.failure().is_none() && !self.shared.is_full() {
            let written = self.sink.write(entry);
            if self.sink.is_full() {
                self.shared.full.store(true, Ordering::Relaxed);
            } else if self.note(written) {
                self.shared.written.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// Whether it went well; keeps the first failure.
    fn note(&self, result: io::Result<()>) -> bool {
        let Err(error) = result else { return true };
        self.shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| error.to_string());
        false
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
