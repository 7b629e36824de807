//! Beginning in the middle, and ending at a limit.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use prost::Message as _;

use super::format_tests::busy;
use super::frame::{self, FRAME_HEADER, MAGIC};
use super::samples::{end, header, read, snapshot};
use super::{Ending, Item, KnownUnit, Reader, Writer};
use crate::proto::{self, packet::Content};
use crate::rebuild::event::{Event, EventKind, UnitId};

type OpenReader = Reader<Cursor<Vec<u8>>>;

/// A file with many segments.
fn written(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("test"), &mut bytes, &header())
        .unwrap()
        .with_segments_of(64 << 10);
    writer.events(events).unwrap();
    writer.finish(&end()).unwrap();
    bytes
}

fn open(bytes: Vec<u8>) -> OpenReader {
    Reader::new(Path::new("test"), Cursor::new(bytes)).unwrap()
}

/// Everything from here on: events, and what was first told of units.
fn rest(reader: &mut OpenReader) -> (Vec<Event>, HashMap<UnitId, KnownUnit>) {
    let (mut events, mut units) = (Vec::new(), HashMap::new());
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Events(more) => events.extend(more),
            Item::Units(told) => {
                for unit in told {
                    // Each segment tells them: the first time counts.
                    units.entry(unit.unit).or_insert(unit);
                }
            }
            _ => {}
        }
    }
    (events, units)
}

/// What a reader of the whole file knows of a unit before the event with this index.
fn known_before(events: &[Event], unit: UnitId) -> Option<KnownUnit> {
    let mut known: Option<KnownUnit> = None;
    for event in events.iter().filter(|event| event.id.unit == unit) {
        match (&event.kind, &mut known) {
            (EventKind::Described(what), _) => {
                known = Some(KnownUnit {
                    unit,
                    what: what.clone(),
                    standing: None,
                });
            }
            (EventKind::AwaitChanged { suspension, marks }, Some(known)) => {
                known.standing = Some((suspension.clone(), *marks));
            }
            (EventKind::Finished { .. }, _) => known = None,
            _ => {}
        }
    }
    known
}

/// Seeks to times all over and checks what comes.
fn check_jumps(bytes: &[u8], events: &[Event], ending: &Ending) {
    let mut reader = open(bytes.to_vec());
    let (first, last) = (events[0].time, events[events.len() - 1].time);
    let mut skipped = 0;
    for tenth in [0, 9, 3, 10, 1, 5, 7] {
        let time = first + (last - first) * tenth / 10;
        reader.seek_to(time).unwrap();
        let (found, units) = rest(&mut reader);
        assert_eq!(reader.ending(), Some(ending));
        let wanted = events.iter().position(|event| event.time >= time).unwrap();
        let begins = events.len() - found.len();
        assert!(begins <= wanted, "{begins} {wanted}");
        assert!(found == events[begins..]);
        skipped = skipped.max(begins);
        // A sample of units: each is told as it is known from the beginning.
        for unit in (0..events[wanted].id.unit.0 + 300).step_by(37).map(UnitId) {
            let mentioned = found
                .iter()
                .any(|event| event.id.unit == unit || event.kind.target() == Some(unit));
            let known = known_before(&events[..begins], unit);
            if begins > 0 && mentioned && known.is_some() {
                let told = units.get(&unit).unwrap();
                assert_eq!(Some(&told.what), known.as_ref().map(|known| &known.what));
                let standing = known.and_then(|known| known.standing);
                assert_eq!(told.standing, standing);
            }
        }
    }
    assert!(skipped > events.len() / 2, "{skipped} of {}", events.len());
    // Long after the end: the last segment; before the beginning: everything.
    reader.seek_to(u64::MAX).unwrap();
    assert!(rest(&mut reader).0.len() < events.len() / 2);
    reader.seek_to(0).unwrap();
    assert!(rest(&mut reader).0 == events);
}

#[test]
fn a_jump_leaves_nothing_out_and_tells_the_units() {
    let events = busy(80_000);
    let bytes = written(&events);
    check_jumps(&bytes, &events, &Ending::Complete);
    // Without its end: found by the frames.
    let boundary = {
        let tail = u64::from_le_bytes(bytes[bytes.len() - 8..].try_into().unwrap());
        usize::try_from(tail).unwrap()
    };
    check_jumps(&bytes[..boundary], &events, &Ending::Open);
    // With an index that lies.
    for (offset, time) in [(9, 1), (u64::MAX, 0), (0, 0), (1 << 16, 7)] {
        let mut bytes = bytes[..boundary].to_vec();
        let index = proto::Index {
            offsets: vec![offset],
            times: vec![time],
        };
        let end = proto::End {
            index: boundary as u64,
            ..proto::End::default()
        };
        for content in [Content::Index(index), Content::End(end)] {
            let packet = proto::Packet {
                content: Some(content),
                ..proto::Packet::default()
            };
            assert!(frame::append(&packet.encode_to_vec(), &mut bytes));
        }
        let mut reader = open(bytes);
        reader.seek_to(u64::MAX).unwrap();
        let (found, _) = rest(&mut reader);
        assert!(events.ends_with(&found));
        assert!(found.len() < events.len() / 2);
    }
}

#[test]
fn a_file_can_be_sought_while_it_grows() {
    let events = busy(60_000);
    let bytes = written(&events);
    let mut reader = open(bytes[..bytes.len() / 2].to_vec());
    let last = events[events.len() - 1].time;
    reader.seek_to(last).unwrap();
    let (first, _) = rest(&mut reader);
    assert!(matches!(reader.ending(), Some(Ending::CutOff { .. })));
    *reader.source.get_mut() = bytes;
    reader.seek_to(last).unwrap();
    let (found, _) = rest(&mut reader);
    assert_eq!(reader.ending(), Some(&Ending::Complete));
    assert!(events.ends_with(&found) && found.len() < events.len() / 2);
    assert!(first.len() < events.len() / 2);
    assert!(first.iter().all(|event| event.time < found[0].time));
}

#[test]
fn the_constants_of_seeking_are_those_of_the_schema() {
    let segment = proto::Packet {
        content: Some(Content::Segment(proto::Segment::default())),
        ..proto::Packet::default()
    };
    assert_eq!(segment.encode_to_vec()[0], 0x4a);
    let bytes = written(&[]);
    let index = bytes.len() - 9;
    assert_eq!(bytes[index], 0x79);
    let at = u64::from_le_bytes(bytes[index + 1..].try_into().unwrap()) as usize;
    let mut payload = Vec::new();
    let frame = frame::read(&mut &bytes[at..], &mut payload).unwrap();
    assert_eq!(frame, frame::Frame::Whole);
    let packet = proto::Packet::decode(payload.as_slice()).unwrap();
    assert!(matches!(packet.content, Some(Content::Index(_))));
    assert!(at > MAGIC.len() + FRAME_HEADER);
}

#[test]
fn a_limit_ends_the_file_in_order() {
    let events = busy(300_000);
    for limit in [64 << 10, 300_000, 1 << 20] {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(Path::new("test"), &mut bytes, &header())
            .unwrap()
            .with_limit(limit);
        writer.snapshot(&snapshot(20, 4), 1_001_000).unwrap();
        let mut chunks = events.chunks(10_000);
        let before = chunks.by_ref().take_while(|chunk| {
            writer.events(chunk).unwrap();
            let time = chunk[chunk.len() - 1].time;
            writer.statistics(&end().statistics, time).unwrap();
            !writer.is_full()
        });
        assert!(before.count() < 30);
        // What comes after the end is no error.
        writer.events(&events[..100]).unwrap();
        writer.snapshot(&snapshot(300, 40), 5).unwrap();
        let written = writer.finish(&end()).unwrap();
        assert_eq!(written.bytes, bytes.len() as u64);
        assert!((limit / 2..=limit).contains(&written.bytes), "{written:?}");
        let read = read(&bytes).unwrap();
        assert_eq!(read.ending, Ending::Complete);
        assert!(events.starts_with(&read.events()));
        assert_eq!(read.events().len() as u64, written.events);
        let Some(Item::End(found)) = read.items.last() else {
            panic!("no end")
        };
        let last = read.events().last().map(|event| event.time);
        assert_eq!(
            (found.reason.as_str(), found.events, Some(found.time)),
            ("size", written.events, last.or(Some(1_001_000)))
        );
    }
}

#[test]
fn names_that_fill_the_tables_begin_segments() {
    let described = |unit: u64| {
        use crate::rebuild::event::{EventId, ThreadUnit, Unit};
        Event {
            id: EventId {
                unit: UnitId(unit),
                sequence: 0,
            },
            time: unit,
            kind: EventKind::Described(std::sync::Arc::new(Unit::Thread(ThreadUnit {
                tid: unit as u32,
                name: Some(format!("{unit}{}", "x".repeat(8_000)).into()),
            }))),
            cause: None,
        }
    };
    let events: Vec<Event> = (0..6_000).map(described).collect();
    let bytes = written(&events);
    let read = read(&bytes).unwrap();
    assert_eq!(read.ending, Ending::Complete);
    assert!(read.events() == events);
}
