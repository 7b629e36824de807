//! What is written is read, wherever the file ends.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;

use super::samples::{any_events, end, events, header, read, recording, snapshot, tree};
use super::{Ending, Item, Loss, RecordingError, Writer, frame};
use crate::error::{Advice as _, ExitCode};
use crate::proto;
use crate::rebuild::event::{EndSeen, Event, EventId, EventKind, Outcome, UnitId, WakeEffect};
use crate::rebuild::tree::AwaitNode;

fn written(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("test"), &mut bytes, &header()).unwrap();
    writer.events(events).unwrap();
    writer.finish(&end()).unwrap();
    bytes
}

/// Where packets end in the bytes.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = frame::MAGIC.len();
    let mut boundaries = vec![];
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at += frame::FRAME_HEADER + length;
        boundaries.push(at);
    }
    boundaries
}

#[test]
fn everything_comes_back_in_order() {
    let read = read(&recording()).unwrap();
    assert_eq!(read.events(), events());
    assert_eq!(read.ending, Ending::Complete);
    let kinds: Vec<&str> = read
        .items
        .iter()
        .map(|item| match item {
            Item::Events(_) => "events",
            Item::Losses(losses) => {
                let expected = Loss {
                    cpu: 1,
                    count: 12,
                    until: 1_020_000,
                };
                assert_eq!(losses, &[expected]);
                "losses"
            }
            Item::Dropped { count, until } => {
                assert_eq!((*count, *until), (4, 1_019_000));
                "dropped"
            }
            Item::Watching(watching) => panic!("{watching:?}"),
            Item::Statistics { time, counts } => {
                assert_eq!((*time, counts), (1_500_000, &end().statistics));
                "statistics"
            }
            Item::Snapshot(part) => {
                assert!(part.last && part.number == 0 && part.time == 1_001_000);
                assert_eq!(part.warnings, ["one thing"]);
                assert_eq!(part.runtimes[0].tasks_counted, Some(2));
                assert_eq!(part.coverage.as_ref().unwrap().tasks_counted, 2);
                assert_eq!(part.tasks[1].id, "tokio/1");
                assert_eq!(part.tasks[1].tree, Some(tree(2)));
                assert_eq!(part.tasks[1].references, Some(2));
                "snapshot"
            }
            Item::End(found) => {
                assert_eq!(found, &end());
                "end"
            }
            Item::Units(_) => panic!("nobody asked"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "snapshot",
            "events",
            "losses",
            "dropped",
            "events",
            "statistics",
            "end"
        ]
    );
}

#[test]
fn the_header_comes_back() {
    let bytes = recording();
    let reader = super::Reader::new(Path::new("test"), bytes.as_slice()).unwrap();
    assert_eq!(format!("{:?}", reader.header()), format!("{:?}", header()));
    assert_eq!(
        reader.header().realtime(1_000_001_000_000),
        Some(1_700_001_000_000_000_000)
    );
    let made = super::Header::new(header().process, "tokio");
    assert_eq!(made.trace_id.get_version_num(), 7);
    assert!(made.clock_monotonic > 0 && made.clock_realtime > made.clock_monotonic);
}

#[test]
fn cut_off_anywhere_it_reads_to_the_last_whole_packet() {
    let bytes = recording();
    let boundaries = boundaries(&bytes);
    let whole = read(&bytes).unwrap();
    for length in 0..bytes.len() {
        let cut = read(&bytes[..length]);
        if length < boundaries[0] {
            let error = cut.unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::BadFile);
            assert!(error.next_step().is_some());
            assert_eq!(
                matches!(error, RecordingError::Empty { .. }),
                length == 0,
                "{error}"
            );
            continue;
        }
        let cut = cut.unwrap();
        let end = boundaries.iter().rposition(|at| *at <= length).unwrap();
        // Neither the header nor the index is an item.
        let index = boundaries.len() - 2;
        assert_eq!(cut.items.len(), end - usize::from(end >= index));
        assert_eq!(cut.offset, boundaries[end] as u64);
        let rest = (length - boundaries[end]) as u64;
        if rest == 0 {
            assert_eq!(cut.ending, Ending::Open);
        } else {
            assert_eq!(cut.ending, Ending::CutOff { bytes: rest });
        }
        assert!(whole.events().starts_with(&cut.events()));
    }
}

#[test]
fn a_writer_that_is_dropped_has_written_what_waited() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("test"), &mut bytes, &header()).unwrap();
    writer.events(&events()).unwrap();
    drop(writer);
    let read = read(&bytes).unwrap();
    assert_eq!(read.events(), events());
    assert_eq!(read.ending, Ending::Open);
}

#[test]
fn trees_deeper_than_protobuf_nests_come_back_and_long_snapshots_come_in_parts() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("test"), &mut bytes, &header()).unwrap();
    writer.snapshot(&snapshot(300, 40), 5).unwrap();
    writer.snapshot(&snapshot(1, 300), 6).unwrap();
    drop(writer);
    let read = read(&bytes).unwrap();
    let parts: Vec<_> = read
        .items
        .iter()
        .map(|item| match item {
            Item::Snapshot(part) => part,
            other => panic!("{other:?}"),
        })
        .collect();
    let first: Vec<_> = parts.iter().filter(|part| part.number == 0).collect();
    assert!(first.len() > 1);
    let tasks: Vec<_> = first.iter().flat_map(|part| &part.tasks).collect();
    assert_eq!(tasks.len(), 300);
    assert!(tasks.iter().all(|task| task.tree == Some(tree(40))));
    for (task, was) in tasks.iter().zip(snapshot(300, 40).tasks) {
        // Everything else of it.
        assert_eq!(format!("{task:?}"), format!("{was:?}"));
    }
    assert_eq!(parts[0].threads, snapshot(0, 0).threads);
    assert!(
        parts[1..first.len()]
            .iter()
            .all(|part| part.threads.is_empty())
    );
    let last: Vec<bool> = first.iter().map(|part| part.last).collect();
    assert_eq!(last.iter().filter(|last| **last).count(), 1);
    assert_eq!(last.last(), Some(&true));
    assert_eq!(parts.last().unwrap().tasks[0].tree, Some(tree(300)));
}

#[test]
fn a_chain_of_futures_that_nobody_awaits_is_cut_where_a_tree_is() {
    let chain = (0..2_000).fold(AwaitNode::default(), |kept, _| AwaitNode {
        not_awaited: vec![kept],
        ..AwaitNode::default()
    });
    let mut long = snapshot(1, 0);
    long.tasks[0].tree = Some(chain);
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("test"), &mut bytes, &header()).unwrap();
    writer.snapshot(&long, 5).unwrap();
    drop(writer);
    let read = read(&bytes).unwrap();
    assert_eq!(read.ending, Ending::Open);
    let [Item::Snapshot(part)] = &read.items[..] else {
        panic!("one snapshot");
    };
    let mut node = part.tasks[0].tree.as_ref().unwrap();
    let mut depth = 1;
    while let [kept] = &node.not_awaited[..] {
        node = kept;
        depth += 1;
    }
    assert_eq!(depth, 512);
    assert!(node.notes[0].contains("too deep"), "{:?}", node.notes);
}

#[test]
fn many_long_names_still_fit_into_packets() {
    let long = |at: u64| Some(Arc::from(format!("{at}{}", "x".repeat(5_000)).as_str()));
    let events: Vec<Event> = (0..2_000)
        .map(|at| Event {
            id: EventId {
                unit: UnitId(0),
                sequence: at,
            },
            time: at,
            kind: EventKind::FuturePoll {
                future: crate::address::Address(at),
                name: long(at),
                depth: 0,
            },
            cause: None,
        })
        .collect();
    let bytes = written(&events);
    assert_eq!(read(&bytes).unwrap().events(), events);
}

#[test]
fn a_disk_that_fills_up_is_said_once_and_counted() {
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }
    impl io::Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            self.bytes.extend_from_slice(&bytes[..fits]);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut disk = Disk {
        bytes: Vec::new(),
        room: written(&events()).len() - 30,
    };
    let mut writer = Writer::new(Path::new("test"), &mut disk, &header()).unwrap();
    writer.events(&events()[..9]).unwrap();
    writer.flush().unwrap();
    writer.events(&events()[9..]).unwrap();
    let error = writer.flush().unwrap_err();
    assert!(error.next_step().unwrap().contains("disk is full"));
    assert_eq!(writer.events_written(), 9);
    assert_eq!(writer.not_written(), 10);
    writer.events(&events()).unwrap();
    assert!(writer.flush().is_err());
    assert_eq!(writer.not_written(), 29);
    drop(writer);
    let read = read(&disk.bytes).unwrap();
    assert_eq!(read.events(), events()[..9]);
    assert!(matches!(read.ending, Ending::CutOff { .. }));
}

#[test]
fn a_later_minor_version_is_read_and_a_later_major_one_refused() {
    let encode = |packet: &proto::Packet, extra: &[u8]| {
        let mut payload = packet.encode_to_vec();
        payload.extend_from_slice(extra);
        let mut bytes = Vec::new();
        assert!(frame::append(&payload, &mut bytes));
        bytes
    };
    let with_header = |major, minor| {
        let mut header = header().to_proto();
        (header.major, header.minor) = (major, minor);
        let packet = proto::Packet {
            content: Some(proto::packet::Content::Header(header)),
            ..proto::Packet::default()
        };
        [frame::MAGIC.to_vec(), encode(&packet, &[])].concat()
    };
    let error = read(&with_header(2, 0)).unwrap_err();
    assert!(matches!(
        error,
        RecordingError::OtherVersion { major: 2, .. }
    ));
    assert!(error.to_string().contains("format 2.0"), "{error}");

    // A content with field number 99, a field with number 90 beside known content, and an event of
    // kind 30 with two arguments between two that are known.
    let unknown_content = encode(&proto::Packet::default(), &[0x9a, 0x06, 2, 1, 2]);
    let columns = proto::Events {
        time: 7,
        units: vec![5],
        sequences: vec![9],
        kinds: vec![12, 30, 12],
        owners: vec![0, 0, 0],
        times: vec![0, 1, 1],
        arguments: vec![2, 1_000, 2_000],
        ..proto::Events::default()
    };
    let events = proto::Packet {
        content: Some(proto::packet::Content::Events(columns)),
        ..proto::Packet::default()
    };
    let known = encode(&events, &[0xd0, 0x05, 1]);
    let bytes = [with_header(1, 9), unknown_content, known].concat();
    let mut reader = super::Reader::new(Path::new("test"), bytes.as_slice()).unwrap();
    assert_eq!(reader.minor(), 9);
    let Some(Item::Events(events)) = reader.next_item().unwrap() else {
        panic!("{:?}", reader.ending());
    };
    let sequences: Vec<u64> = events.iter().map(|event| event.id.sequence).collect();
    assert_eq!(sequences, [9, 11]);
    assert_eq!(reader.skipped(), 1);
    assert!(reader.next_item().unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_events_come_back(events in any_events()) {
        let bytes = written(&events);
        let read = read(&bytes).unwrap();
        prop_assert_eq!(read.events(), events);
        prop_assert_eq!(read.ending, Ending::Complete);
    }
}

/// Where a connection task may stand: one of 12 places of 3 to 8 futures, of which one in four lies
/// on the heap, where it is made anew for every third request. The root's mark is the task's own,
/// one or two others are the moment's.
fn standing(unit: u64, random: u64) -> EventKind {
    use crate::address::Address;
    use crate::rebuild::suspension::{FutureState, Marks, Place, SuspendedFuture, Suspension};
    use crate::rebuild::tree::{NodeKind, NodeState};
    let at = random >> 50 & 7;
    let at = if at > 5 { at + (random >> 40 & 7) } else { at };
    let boxed = at % 4 == 3;
    let depth = 3 + at as u16 % 6;
    let address = 0x7f32_1000_0000 + ((unit * 7 + random % 3) << 6) * 17;
    let future = |depth: u16| SuspendedFuture {
        depth,
        place: if boxed && depth >= 2 {
            Place::Outside(Address(address + u64::from(depth - 2) * 8))
        } else {
            Place::Inside(u64::from(depth) * 40)
        },
        mark: (depth < 4).then_some(depth as u8),
        state: Arc::new(FutureState {
            future: format!("mini_redis::connection::Connection::read_{depth}::{{async_fn#0}}")
                .into(),
            kind: NodeKind::AsyncFn,
            state: NodeState::Suspended,
            file: Some("src/connection.rs".into()),
            line: Some(100 + at as u32 * 10 + u32::from(depth)),
            waits_for: None,
        }),
    };
    let mut marks = Marks::default();
    marks.0[0] = unit as u8 | 1;
    marks.0[1] = (random >> 8) as u8;
    if random & 1 == 1 {
        marks.0[2] = (random >> 16) as u8;
    }
    EventKind::AwaitChanged {
        suspension: Arc::new(Suspension {
            futures: (0..depth).map(future).collect(),
            missing: None,
        }),
        marks,
    }
}

/// A busy service: 200 connection tasks woken by the I/O driver, which have stood somewhere else
/// each time; each poll clones and drops a waker and every tenth wakes another task; every
/// hundredth connection ends and is followed by another.
pub(super) fn busy(events: usize) -> Vec<Event> {
    use crate::rebuild::event::{TaskUnit, ThreadUnit, Unit};
    let mut made = Vec::new();
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut random = 12_345_u64;
    let mut time = 1_000_000_000_u64;
    let mut push = |made: &mut Vec<Event>, unit: u64, time, kind, cause| {
        let sequence = next.entry(unit).or_default();
        let id = EventId {
            unit: UnitId(unit),
            sequence: *sequence,
        };
        *sequence += 1;
        made.push(Event {
            id,
            time,
            kind,
            cause,
        });
        id
    };
    let task = |number: u64| {
        EventKind::Described(Arc::new(Unit::Task(TaskUnit {
            runtime: "tokio".into(),
            address: crate::address::Address(0x7f32_1000_0000 + number % 300 * 0x380),
            task_id: Some(number),
            generation: 0,
            future: Some("mini_redis::server::Listener::run::{async_fn#0}::{async_block#0}".into()),
            existing: false,
        })))
    };
    for thread in 0..4 {
        let unit = Unit::Thread(ThreadUnit {
            tid: 4_000 + thread as u32,
            name: Some("tokio-rt-worker".into()),
        });
        push(
            &mut made,
            thread,
            time,
            EventKind::Described(Arc::new(unit)),
            None,
        );
    }
    let mut tasks: Vec<u64> = (4..204).collect();
    let mut fresh = 204;
    for unit in &tasks {
        push(&mut made, *unit, time, task(*unit), None);
    }
    while made.len() < events {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let slot = (random >> 33) as usize % tasks.len();
        let unit = tasks[slot];
        let thread = random >> 20 & 3;
        let mut step = |most: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            time += 200 + (random >> 40) % most;
            time
        };
        let wake = EventKind::Wake {
            task: UnitId(unit),
            by_value: true,
            effect: WakeEffect::Scheduled,
        };
        let woken = push(&mut made, thread, step(2_000), wake, None);
        let began = step(8_000);
        let stood = standing(unit, began.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        push(&mut made, unit, began, stood, None);
        let thread = UnitId(thread);
        let poll = push(
            &mut made,
            unit,
            began,
            EventKind::PollBegin { thread },
            Some(woken),
        );
        let own = UnitId(unit);
        push(
            &mut made,
            unit,
            step(3_000),
            EventKind::WakerCloned { task: own },
            Some(poll),
        );
        if began % 10 == 0 {
            let other = EventKind::Wake {
                task: UnitId(tasks[(slot + 1) % tasks.len()]),
                by_value: false,
                effect: WakeEffect::Redundant,
            };
            push(&mut made, unit, step(1_000), other, Some(poll));
        }
        push(
            &mut made,
            unit,
            step(3_000),
            EventKind::WakerDropped { task: own },
            Some(poll),
        );
        let over = began % 100 == 0;
        let outcome = if over {
            Outcome::Over
        } else {
            Outcome::Pending
        };
        let end = EventKind::PollEnd {
            outcome,
            seen: EndSeen::NextEvent,
            began: Some(began),
        };
        let ended = step(12_000);
        push(&mut made, unit, ended, end, None);
        if over {
            push(
                &mut made,
                unit,
                ended,
                EventKind::Finished { outcome },
                None,
            );
            push(&mut made, fresh, ended, task(fresh), None);
            tasks[slot] = fresh;
            fresh += 1;
        }
    }
    made
}

#[test]
fn a_busy_service_takes_at_most_eight_bytes_an_event() {
    let events = busy(100_000);
    let bytes = written(&events);
    let each = bytes.len() as f64 / events.len() as f64;
    println!("{each:.2} bytes an event");
    let read = read(&bytes).unwrap();
    assert_eq!(read.events().len(), events.len());
    assert!(read.events() == events);
    assert!(each <= 8.0, "{each:.2} bytes an event");
}
