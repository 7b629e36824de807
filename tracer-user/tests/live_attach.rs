//! Attaching for real. Needs root; says so and passes where that is not given.

mod attach_support;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use attach_support::{Fixture, permitted, tokio_plan};
use tracer_common::{Counters, Record, RecordKind, STATE_UNREADABLE};
use tracer_user::attach::{Finished, LinkKind, Session, SessionOptions};

/// Bits of tokio's state word (runtimes.md).
const COMPLETE: u64 = 2;
const CANCELLED: u64 = 32;

fn of_kind(records: &[Record], kind: RecordKind) -> impl Iterator<Item = &Record> {
    records
        .iter()
        .filter(move |record| record.kind == kind as u8)
}

/// Reads until the time is over or the target has ended.
async fn read_for(session: &mut Session, time: Duration) -> Vec<Record> {
    let end = Instant::now() + time;
    let mut records = Vec::new();
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(rest, session.next_batch()).await {
            Ok(batch) if batch.is_empty() => return records,
            Ok(batch) => records.extend(batch),
            Err(_) => return records,
        }
    }
}

fn finish(session: Session, records: &mut Vec<Record>) -> Finished {
    let mut finished = session.finish();
    records.append(&mut finished.records);
    finished
}

async fn polls_agree(links: LinkKind, arguments: &[&str]) {
    let mut target = Fixture::start("busy", arguments);
    let plan = tokio_plan(&target.exe, target.pid());
    let options = SessionOptions {
        links: Some(links),
        ..SessionOptions::default()
    };
    let mut session = Session::start(&plan, target.pid(), &options).unwrap();
    assert_eq!(session.link_kind(), links);
    assert!(session.refused.is_empty(), "{:?}", session.refused);
    assert!(session.without.is_empty(), "{:?}", session.without);
    target.go();
    let mut records = read_for(&mut session, Duration::from_secs(60)).await;
    let polls = target.number("polls");
    assert!(target.wait().success());
    let hits: u64 = session
        .hits()
        .iter()
        .filter(|hit| plan.probes[hit.probe as usize].kind == tracer_common::ProbeKind::TaskPoll)
        .map(tracer_user::attach::ProbeHits::total)
        .sum();
    let attach_time = session.attach_time();
    let finished = finish(session, &mut records);
    let counts = Counters::sum(&finished.counters);
    assert_eq!(counts.lost, 0, "{counts:?}");
    assert_eq!(finished.late, 0);
    assert_eq!(counts.sent, records.len() as u64);
    assert_eq!((counts.too_deep, counts.no_thread), (0, 0));
    assert!(records.is_sorted_by_key(|record| record.time));

    // At the end the runtime cancels what is queued: those polls are entered without polling the
    // future. Everything else must agree exactly.
    let begins: Vec<&Record> = of_kind(&records, RecordKind::PollBegin).collect();
    assert_eq!(begins.len() as u64, hits);
    let cancelled = |record: &&&Record| record.state & (CANCELLED | COMPLETE) != 0;
    let voided = begins.iter().filter(cancelled).count() as u64;
    println!(
        "{links:?}: {polls} polls by the program, {} by us, {voided} of them cancelled, {} records; \
         attached in {attach_time:?}, detached in {:?}; {:?}",
        begins.len(),
        records.len(),
        finished.detach_time,
        finished.overhead
    );
    assert!(voided < 20);
    assert_eq!(begins.len() as u64 - voided, polls);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_poll_is_seen_once_with_one_link() {
    if permitted() {
        let arguments = ["--wait", "--seconds", "3", "--rate", "0"];
        polls_agree(LinkKind::Multi, &arguments).await;
    }
}
