//! Made-up tables.

use super::*;
use crate::address::Address;

const SECOND: u64 = 1_000_000_000;
/// The time of every sample.
pub(crate) const NOW: u64 = 10_000 * SECOND;

pub(crate) fn row(number: u64, future: &str, state: TaskState) -> TaskRow {
    TaskRow {
        key: TaskKey {
            address: Address(0x7f00_0000_0000 + number * 256),
            id: Some(number),
        },
        label: TaskLabel::Numbered {
            runtime: "tokio",
            number,
        },
        future: future.into(),
        state,
        since: NOW,
        since_before_attach: false,
        unwatched: false,
        activity: None,
        awaiting: None,
    }
}

/// A small service: four tasks of all kinds.
pub(crate) fn service() -> Table {
    let mut acceptor = row(1, "app::accept::{async_fn#0}", TaskState::Idle);
    acceptor.since = NOW - 90 * SECOND;
    acceptor.since_before_attach = true;
    acceptor.activity = Some(Activity::default());
    acceptor.awaiting = Some(Awaiting {
        site: Some(("src/main.rs".into(), 41)),
        what: "io fd 9 0.0.0.0:6379".into(),
        read_at_poll: 0,
    });

    let mut busy = row(17, "app::handler::{async_block#0}", TaskState::Running);
    busy.since = NOW - 12_000;
    busy.activity = Some(Activity {
        polls: 123_456,
        polls_per_second: 2_034.0,
        busy: Duration::from_millis(1_540),
        busy_share: 0.236,
        last_wake: Some(LastWake {
            at_most: false,
            at: NOW - 20_000,
            by: WokenBy::Thread(4711),
        }),
    });
    busy.awaiting = Some(Awaiting {
        site: None,
        what: "not known: no debug information".into(),
        read_at_poll: 123_456,
    });

    let mut waiting = row(18, "app::handler::{async_block#0}", TaskState::Idle);
    waiting.since = NOW - 1_250_000_000;
    waiting.activity = Some(Activity {
        polls: 12,
        polls_per_second: 0.4,
        busy: Duration::from_micros(310),
        busy_share: 0.0002,
        last_wake: Some(LastWake {
            at_most: false,
            at: NOW - 1_250_000_000,
            by: WokenBy::Task(Some(17)),
        }),
    });
    waiting.awaiting = Some(Awaiting {
        site: Some(("src/db.rs".into(), 88)),
        what: "semaphore, 1 permit".into(),
        read_at_poll: 11,
    });

    let mut root = row(0, "app::amain::{async_fn#0}", TaskState::Idle);
    root.key.id = None;
    root.label = TaskLabel::Named("tokio/block_on/1".into());
    root.future = "app::amain".into();
    root.since = NOW - 7_200 * SECOND;
    root.since_before_attach = true;
    root.awaiting = Some(Awaiting {
        site: Some(("src/main.rs".into(), 12)),
        what: "join tokio/1".into(),
        read_at_poll: 0,
    });

    Table {
        now: NOW,
        status: Status {
            program: "app".to_owned(),
            pid: 4242,
            runtimes: "tokio multi_thread".to_owned(),
            elapsed: Duration::from_secs(65),
            events: 812_345,
            events_per_second: 12_345.0,
            lost: 0,
            overhead: Some(0.012),
            recording: Some(RecordingStatus {
                path: "run.atrace".to_owned(),
                bytes: 3 << 20,
                dropped: 0,
            }),
            sampling: None,
            notice: None,
        },
        rows: vec![acceptor, busy, waiting, root],
        rows_left_out: 0,
        threads: HashMap::from([(4711, "tokio-rt-worker".into())]),
        nested: HashMap::new(),
        standing: HashMap::new(),
    }
}

/// Many equal tasks.
pub(crate) fn crowd(size: u64) -> Table {
    let future: Arc<str> = "app::worker::{async_block#0}".into();
    let rows = (1..=size).map(|number| {
        let mut row = row(number, "", TaskState::Idle);
        row.future = Arc::clone(&future);
        row.activity = Some(Activity {
            polls: number * 7919 % 1000,
            ..Activity::default()
        });
        row
    });
    Table {
        now: NOW,
        rows: rows.collect(),
        ..Table::default()
    }
}
