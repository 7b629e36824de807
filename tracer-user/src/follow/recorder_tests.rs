//! A writer that keeps up, one that does not, and ones that are full or fail.

use super::*;
use crate::rebuild::event::{EventId, EventKind};

#[derive(Default)]
struct Fake {
    events: u64,
    told_dropped: u64,
    fail_after: Option<u64>,
    full_after: Option<u64>,
}

impl Sink for Fake {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Events(events) => self.events += events.len() as u64,
            Entry::Dropped { count, .. } => self.told_dropped += count,
            _ => {}
        }
        if self.fail_after.is_some_and(|limit| self.events > limit) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.events * 10
    }

    fn is_full(&self) -> bool {
        self.full_after.is_some_and(|limit| self.events > limit)
    }
}

fn events(count: usize) -> Vec<Event> {
    vec![
        Event {
            id: EventId {
                unit: crate::rebuild::event::UnitId(1),
                sequence: 0
            },
            time: 5,
            kind: EventKind::Unblocked,
            cause: None,
        };
        count
    ]
}

#[test]
fn everything_that_fits_is_written() {
    let (mut recorder, writer) = recorder(Fake::default());
    let thread = std::thread::spawn(|| writer.run());
    for _ in 0..100 {
        recorder.events(events(1_000));
    }
    drop(recorder);
    let sink = thread.join().unwrap();
    assert_eq!((sink.events, sink.told_dropped), (100_000, 0));
}

#[test]
fn a_queue_that_is_full_drops_counts_and_says_so_in_the_file() {
    let (mut recorder, writer) = recorder(Fake::default());
    for _ in 0..1_100 {
        recorder.events(events(1_000));
    }
    assert_eq!(recorder.progress().dropped, 100_000);
    drop(recorder);
    let sink = writer.run();
    assert_eq!(sink.events, MAX_WAITING);
    assert_eq!(sink.told_dropped, 100_000);
}

#[test]
fn what_comes_after_the_limit_is_neither_written_nor_dropped() {
    let (mut recorder, writer) = recorder(Fake {
        full_after: Some(10),
        ..Fake::default()
    });
    for _ in 0..3 {
        recorder.events(events(8));
    }
    std::thread::scope(|scope| {
        let shared = Arc::clone(&recorder.shared);
        let thread = scope.spawn(|| writer.run());
        while shared.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert!(recorder.is_full());
        recorder.events(events(4));
        let progress = recorder.progress();
        assert_eq!((progress.dropped, progress.failure), (0, None));
        drop(recorder);
        assert_eq!(thread.join().unwrap().events, 16);
    });
}

#[test]
fn after_a_failure_nothing_blocks_and_the_reason_is_kept() {
    let (mut recorder, writer) = recorder(Fake {
        fail_after: Some(10),
        ..Fake::default()
    });
    recorder.events(events(8));
    recorder.events(events(8));
    recorder.events(events(8));
    std::thread::scope(|scope| {
        let shared = Arc::clone(&recorder.shared);
        let thread = scope.spawn(|| writer.run());
        while shared.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        recorder.events(events(4));
        let progress = recorder.progress();
        assert_eq!((progress.events, progress.dropped), (8, 4));
        assert!(progress.failure.is_some());
        drop(recorder);
        thread.join().unwrap();
    });
}
