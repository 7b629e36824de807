//! Batches, losses and readings against what comes out.

use tracer_common::RecordKind;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::follow::reader::Moment;
use crate::follow::recorder::{Sink, Writer, recorder};
use crate::rebuild::event::{EventKind, Outcome};
use crate::rebuild::snapshot::Snapshot;
use crate::show::live::table::{Table, TaskLabel};

const START: u64 = 1_000_000_000_000;

/// Remembers what was written.
#[derive(Default)]
struct Remember {
    events: usize,
    lost: Vec<(u32, u64, u64)>,
    snapshots: usize,
    watching: Vec<Watching>,
    statistics: Vec<u64>,
    /// What came in which order, of these two.
    order: Vec<&'static str>,
    all: Vec<Event>,
}

impl Sink for Remember {
    fn write(&mut self, entry: &Entry) -> std::io::Result<()> {
        match entry {
            Entry::Events(events) => {
                self.events += events.len();
                self.all.extend(events.iter().cloned());
            }
            Entry::Lost { cpu, count, until } => self.lost.push((*cpu, *count, *until)),
            Entry::Snapshot { .. } => self.snapshots += 1,
            Entry::Watching(watching) => {
                self.watching.push(watching.clone());
                self.order.push("watching");
            }
            Entry::Statistics { time, .. } => {
                self.statistics.push(*time);
                self.order.push("statistics");
            }
            Entry::Dropped { .. } => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn bytes(&self) -> u64 {
        0
    }
}

fn follower() -> (Follower, Writer<Remember>) {
    let (recorder, writer) = recorder(Remember::default());
    let options = Options {
        started: START,
        ..Options::default()
    };
    let about = About {
        program: "app".to_owned(),
        pid: 7,
        ..About::default()
    };
    (Follower::new(options, about, None, Some(recorder)), writer)
}

fn poll_begin(task: u64, time: u64) -> Record {
    Record {
        time,
        task: task << 8,
        task_id: task,
        state: 0xc9,
        stack_pointer: 0x7fff_0000,
        tid: 50,
        kind: RecordKind::PollBegin as u8,
        ..Record::default()
    }
}

fn reading(snapshot: Result<Snapshot, &str>, time: u64, moment: Moment) -> Reading {
    Reading {
        gone: HashSet::new(),
        suspensions: Vec::new(),
        time,
        took: Duration::ZERO,
        snapshot: snapshot.map(Arc::new).map_err(str::to_owned),
        moment,
        threads: vec![(50, "worker".into())],
    }
}

fn snapshot_of(numbers: &[u64]) -> Snapshot {
    let tasks = numbers.iter().map(|number| {
        super::super::table_maker::tests::info(&format!("tokio/{number}"), number << 8)
    });
    super::super::table_maker::tests::snapshot(tasks.collect())
}

fn numbers(table: &Table) -> Vec<u64> {
    table
        .rows
        .iter()
        .filter_map(|row| match row.label {
            TaskLabel::Numbered { number, .. } => Some(number),
            TaskLabel::Named(_) => None,
        })
        .collect()
}

#[test]
fn losses_are_counted_once_and_recorded_with_their_cpu() {
    let (mut follower, writer) = follower();
    follower.take_batch(&[], &[0, 5], START + 10);
    follower.take_batch(&[], &[0, 5], START + 20);
    follower.take_batch(&[poll_begin(1, START + 25)], &[2, 6], START + 30);
    assert_eq!(follower.losses(), [2, 6]);
    assert_eq!(follower.table(START + 40).status.lost, 8);
    assert_eq!(follower.counts().lost, 8);
    follower.end_recording();
    let written = writer.run();
    let lost = [(1, 5, START + 10), (0, 2, START + 30), (1, 1, START + 30)];
    assert_eq!(written.lost, lost);
    assert!(written.events > 0);
}

#[test]
fn a_pause_cuts_the_polls_that_were_open_and_comes_between_the_records() {
    let (mut follower, writer) = follower();
    follower.take_batch(&[poll_begin(1, START + 10)], &[], START + 15);
    let pause = Watching {
        polls: false,
        ..Watching::everything(START + 20)
    };
    follower.take_watching(pause.clone(), Some("less".to_owned()));
    let again = Watching::everything(START + 90);
    follower.take_watching(again.clone(), Some("less".to_owned()));
    follower.take_batch(&[poll_begin(1, START + 100)], &[], START + 110);
    let table = follower.table(START + 120);
    assert_eq!(table.status.notice.as_deref(), Some("less"));
    assert_eq!(follower.statistics().polls, 1, "the one that was cut");
    follower.end_recording();
    let written = writer.run();
    assert_eq!(written.watching, [pause, again]);
    let ends: Vec<_> = written
        .all
        .iter()
        .filter(|event| matches!(event.kind, EventKind::PollEnd { .. }))
        .collect();
    let [end] = ends[..] else { panic!("{ends:?}") };
    assert_eq!(end.time, START + 20);
    let EventKind::PollEnd { outcome, began, .. } = end.kind else {
        panic!("{end:?}");
    };
    assert_eq!((outcome, began), (Outcome::Unknown, Some(START + 10)));
    assert!(
        !written
            .all
            .iter()
            .any(|event| matches!(event.kind, EventKind::Gap { .. })),
        "nothing was lost"
    );
}

#[test]
fn nothing_is_told_of_a_pause_before_the_pause_is() {
    let (mut follower, writer) = follower();
    follower.take_batch(&[poll_begin(1, START + 10)], &[], START + 11);
    let pause = Watching {
        polls: false,
        ..Watching::everything(START + 20)
    };
    follower.take_watching(pause, None);
    // Whoever is told that it was `START + 15` may take the poll for one that went on until then: so all
    // that was until then has to be told before.
    follower.record_statistics(START + 15);
    follower.settle(START + 14);
    follower.record_statistics(START + 30);
    follower.settle(START + 25);
    follower.settle(START + 30);
    follower.end_recording();
    let told = writer.run();
    assert_eq!(told.watching.len(), 1);
    assert_eq!(told.statistics, [START + 15, START + 30]);
    assert_eq!(told.order, ["statistics", "watching", "statistics"]);
}

#[test]
fn the_first_reading_enters_at_once_and_later_ones_after_their_records() {
    let (mut follower, writer) = follower();
    follower.take_reading(reading(Ok(snapshot_of(&[1, 2])), START, Moment::Start));
    assert_eq!(numbers(&follower.table(START + 1)), [1, 2]);

    let later = START + 1_000_000_000;
    follower.take_reading(reading(Ok(snapshot_of(&[2, 3])), later, Moment::Meanwhile));
    follower.settle(later - 1);
    assert_eq!(numbers(&follower.table(later + 1)), [1, 2]);
    follower.settle(later);
    assert_eq!(numbers(&follower.table(later + 1)), [2, 3]);

    let end = later + 1_000_000_000;
    follower.take_reading(reading(Ok(snapshot_of(&[2, 3])), end, Moment::End));
    follower.settle(u64::MAX);
    follower.end_recording();
    assert_eq!(writer.run().snapshots, 3, "start, meanwhile, end");
}

#[test]
fn an_unreadable_target_is_said_with_its_reason() {
    let (mut follower, _writer) = follower();
    follower.take_reading(reading(Err("no debug information"), START, Moment::Start));
    let notice = follower.table(START + 1).status.notice.unwrap();
    assert!(notice.contains("no debug information"), "{notice}");
}
