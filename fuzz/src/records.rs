//! Entries of the ring buffers -> records in order -> events -> what is shown and recorded.
//!
//! Input: operations, each a byte. Below 200: an entry of the ring follows, its length in two bytes.
//! Else: time passes, records are lost, a tree is told by words that follow.

use std::path::Path;
use std::sync::Arc;

use tracer_user::analyse::activity::Collector;
use tracer_user::analyse::findings::{Thresholds, find};
use tracer_user::export::recording::{Header, Reader, Window, Writer};
use tracer_user::follow::evidence::Evidence;
use tracer_user::follow::recorder::Entry;
use tracer_user::rebuild::event::Event;
use tracer_user::rebuild::snapshot::ProcessInfo;
use tracer_user::rebuild::tracker::{Options, Tracker};
use tracer_user::runtime::tokio::TokioConventions;
use tracer_user::stream::{Entries, Order};
use tracer_user::walk::flat::Decoder;

use crate::program::Program;

/// Events of one input at most.
const EVENTS: usize = 20_000;

/// A cursor that gives zeros at the end.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.byte());
        u64::from_le_bytes(bytes)
    }

    fn bytes(&mut self) -> &'b [u8] {
        let length = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Feeds them.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut entries = Entries::default();
    let mut order = Order::default();
    let mut tracker = Tracker::new(Options {
        probe_names: vec![Some("app::serve".into()), None],
        sees_panics: input.byte() & 1 == 1,
        started: 1,
        max_tasks: 16,
        max_over: 8,
        max_threads: 8,
        ..Options::default()
    });
    let mut decoder = Decoder::new(
        Arc::clone(&Program::get().tables),
        Arc::new(TokioConventions),
    );
    let mut events = Vec::new();
    let mut ready = Vec::new();
    while !input.0.is_empty() && events.len() < EVENTS {
        match input.byte() {
            200..=219 => order.release(input.number(), &mut ready),
            220..=229 => {
                let (cpu, count) = (input.byte(), input.byte());
                tracker.lost(cpu.into(), count.into(), input.number());
            }
            230..=239 => {
                let (resource, fd) = (input.number(), input.byte());
                tracker.resource(tracer_user::address::Address(resource), fd.into());
            }
            _ => {
                let _ = entries.take(input.bytes(), &mut order);
            }
        }
        apply(
            &mut entries,
            &mut decoder,
            &mut tracker,
            &mut ready,
            &mut events,
        );
    }
    order.finish(&mut ready);
    apply(
        &mut entries,
        &mut decoder,
        &mut tracker,
        &mut ready,
        &mut events,
    );
    let statistics = tracker.statistics();
    assert!(
        statistics.live <= 16 && statistics.threads <= 8 + 1,
        "{statistics:?}"
    );
    assert_eq!(order.held(), 0);
    judge(&events);
    record(&events);
}

fn apply(
    entries: &mut Entries,
    decoder: &mut Decoder,
    tracker: &mut Tracker,
    ready: &mut Vec<tracer_common::Record>,
    events: &mut Vec<Event>,
) {
    for tree in entries.take_trees() {
        tracker.tree(tree.hash, Arc::new(decoder.decode(&tree.words)));
    }
    let _ = entries.take_panics();
    for record in ready.drain(..) {
        tracker.apply(&record, events);
    }
}

fn header() -> Header {
    let process = ProcessInfo {
        pid: 1,
        exe: "/srv/app".to_owned(),
        build_id: None,
    };
    Header::new(process, "tokio")
}

fn judge(events: &[Event]) {
    let mut collector = Collector::new(1);
    collector.events(events);
    let _ = collector.finish();
    let mut evidence = Evidence::new(header(), Window::default());
    evidence.entry(&Entry::Events(events.to_vec()));
    let gathered = evidence.finish();
    let _ = find(&gathered.case(Thresholds::default()));
}

/// What was written is read again as it was.
fn record(events: &[Event]) {
    let mut file = Vec::new();
    let path = Path::new("fuzzed");
    let header = header();
    let mut writer = Writer::new(path, &mut file, &header).expect("memory takes it");
    writer.events(events).expect("memory takes it");
    writer.flush().expect("memory takes it");
    drop(writer);
    let mut reader = Reader::new(path, file.as_slice()).expect("its own header");
    let mut read = Vec::new();
    while let Some(item) = reader.next_item().expect("memory") {
        if let tracer_user::export::recording::Item::Events(more) = item {
            read.extend(more);
        }
    }
    assert_eq!(read, events);
}
