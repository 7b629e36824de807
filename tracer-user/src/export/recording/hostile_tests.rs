//! Files that somebody changed: no panic, no more memory than the limits say, and never a word
//! about what follows the damage.

use proptest::prelude::*;
use prost::Message as _;

use super::samples::{any_events, header, read, recording};
use super::{Ending, RecordingError, Writer, encode, frame, tables};
use crate::error::{Advice as _, ExitCode};
use crate::proto::{self, packet::Content};

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(frame::append(payload, &mut bytes));
    bytes
}

fn headed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(Writer::new(std::path::Path::new("test"), &mut bytes, &header()).unwrap());
    bytes.extend(framed(payload));
    bytes
}

fn damage(content: Content) -> String {
    let packet = proto::Packet {
        content: Some(content),
        ..proto::Packet::default()
    };
    match read(&headed(&packet.encode_to_vec())).unwrap().ending {
        Ending::Damaged { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn columns() -> proto::Events {
    proto::Events {
        units: vec![5],
        sequences: vec![9],
        kinds: vec![12],
        owners: vec![0],
        times: vec![0],
        ..proto::Events::default()
    }
}

#[test]
fn columns_that_do_not_hold_together_are_refused() {
    let reasons = [
        proto::Events {
            owners: vec![],
            ..columns()
        },
        proto::Events {
            units: vec![],
            ..columns()
        },
        proto::Events {
            owners: vec![1],
            ..columns()
        },
        proto::Events {
            kinds: vec![0],
            ..columns()
        },
        proto::Events {
            kinds: vec![23],
            ..columns()
        },
        proto::Events {
            kinds: vec![2],
            ..columns()
        },
        proto::Events {
            kinds: vec![2],
            arguments: vec![1],
            ..columns()
        },
        proto::Events {
            arguments: vec![1],
            ..columns()
        },
        proto::Events {
            kinds: vec![1],
            ..columns()
        },
        proto::Events {
            kinds: vec![5],
            ..columns()
        },
        proto::Events {
            kinds: vec![4],
            arguments: vec![16],
            ..columns()
        },
        proto::Events {
            kinds: vec![4],
            arguments: vec![48],
            ..columns()
        },
        proto::Events {
            kinds: vec![4],
            arguments: vec![32, 1],
            ..columns()
        },
        proto::Events {
            kinds: vec![12 | 0x40],
            ..columns()
        },
        proto::Events {
            kinds: vec![12 | 0x40],
            causes: vec![10],
            ..columns()
        },
        proto::Events {
            kinds: vec![12 | 0x40],
            causes: vec![0],
            ..columns()
        },
        proto::Events {
            kinds: vec![12 | 0x80],
            causes: vec![0],
            ..columns()
        },
        proto::Events {
            kinds: vec![12 | 0x80],
            causes: vec![1, 0],
            ..columns()
        },
        proto::Events {
            kinds: vec![12 | 0xc0],
            causes: vec![1, 0],
            ..columns()
        },
        proto::Events {
            sequences: vec![u64::MAX],
            ..columns()
        },
        proto::Events {
            kinds: vec![15],
            arguments: vec![1, 1, 1],
            ..columns()
        },
        proto::Events {
            kinds: vec![31],
            arguments: vec![u64::MAX],
            ..columns()
        },
    ]
    .map(|events| damage(Content::Events(events)));
    for reason in &reasons {
        assert!(!reason.is_empty());
    }
    assert_eq!(reasons[3], "an event has no known kind");
}

/// A packet with a state of a future, suspensions and an `AWAIT_CHANGED` of these arguments.
fn await_packet(suspensions: Vec<proto::Suspension>, arguments: &[u64], marks: &[u8]) -> Vec<u8> {
    let columns = proto::Events {
        kinds: vec![5],
        arguments: arguments.to_vec(),
        marks: marks.to_vec(),
        ..columns()
    };
    let packet = proto::Packet {
        states: vec![proto::FutureState::default()],
        suspensions,
        content: Some(Content::Events(columns)),
        ..proto::Packet::default()
    };
    packet.encode_to_vec()
}

fn outside(futures: usize) -> proto::Suspension {
    proto::Suspension {
        depths: vec![0; futures],
        states: vec![1; futures],
        places: vec![0; futures],
        marks: vec![1; futures],
        missing: 0,
    }
}

#[test]
fn suspensions_that_do_not_hold_together_are_refused() {
    let whole = await_packet(vec![outside(1)], &[1 << 2 | 3, 1, 2], &[9]);
    let events = read(&headed(&whole)).unwrap().events();
    assert_eq!(events.len(), 1);

    let changed = |change: fn(&mut proto::Suspension)| {
        let mut suspension = outside(2);
        change(&mut suspension);
        await_packet(vec![suspension], &[1 << 2 | 2, 0, 0], &[])
    };
    let packets = [
        (changed(|s| s.depths.push(1)), "columns"),
        (changed(|s| s.states.truncate(1)), "columns"),
        (changed(|s| s.depths[0] = 1), "not a tree"),
        (changed(|s| s.depths[1] = 2), "not a tree"),
        (changed(|s| s.states[1] = 2), "not there"),
        (changed(|s| s.states[1] = 0), "not there"),
        (changed(|s| s.marks[1] = 257), "mark"),
        (changed(|s| s.missing = 1), "not there"),
        (await_packet(vec![outside(1_025)], &[], &[]), "more futures"),
        (await_packet(vec![], &[1 << 2], &[]), "not there"),
        (await_packet(vec![outside(1)], &[0], &[]), "not there"),
        (
            await_packet(vec![outside(1)], &[u64::MAX], &[]),
            "not there",
        ),
        (await_packet(vec![outside(1)], &[1 << 2], &[]), "not told"),
        (await_packet(vec![outside(1)], &[1 << 2 | 2], &[]), "fewer"),
        (
            await_packet(vec![outside(1)], &[1 << 2 | 3, 1, 0], &[]),
            "marks",
        ),
        (
            await_packet(vec![outside(1)], &[1 << 2 | 3, 1 << 16, 0], &[1]),
            "marks",
        ),
        (
            await_packet(vec![outside(1)], &[1 << 2 | 2, 0], &[1]),
            "more",
        ),
    ];
    for (at, (payload, word)) in packets.iter().enumerate() {
        match read(&headed(payload)).unwrap().ending {
            Ending::Damaged { reason, .. } => assert!(reason.contains(word), "{at}: {reason}"),
            other => panic!("{at}: {other:?}"),
        }
    }
}

#[test]
fn events_that_place_many_futures_take_no_more_memory_than_they_may() {
    // One address, 1,023 futures inside: each event of four bytes would take some 50 KB.
    let mut large = outside(1_024);
    large.places = vec![1; 1_024];
    large.places[0] = 0;
    let count = 100_000;
    let columns = proto::Events {
        units: vec![5],
        sequences: vec![9],
        kinds: vec![5; count],
        owners: vec![0; count],
        times: vec![0; count],
        arguments: [1 << 2 | 2, 2].repeat(count),
        ..proto::Events::default()
    };
    let packet = proto::Packet {
        states: vec![proto::FutureState::default()],
        suspensions: vec![large],
        content: Some(Content::Events(columns)),
        ..proto::Packet::default()
    };
    match read(&headed(&packet.encode_to_vec())).unwrap().ending {
        Ending::Damaged { reason, .. } => assert!(reason.contains("places"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tables_are_bounded_whatever_fills_them() {
    let states = proto::Packet {
        states: vec![proto::FutureState::default(); 100_000],
        ..proto::Packet::default()
    };
    let suspensions = proto::Packet {
        suspensions: vec![proto::Suspension::default(); 100_000],
        ..proto::Packet::default()
    };
    let strings = proto::Packet {
        strings: vec!["x".repeat(8_000); 100],
        ..proto::Packet::default()
    };
    let segment = proto::Packet {
        content: Some(Content::Segment(proto::Segment::default())),
        ..proto::Packet::default()
    };
    for (packet, word, times) in [
        (states, "states", 3),
        (suspensions, "suspensions", 3),
        (strings, "strings", 45),
    ] {
        let frame = framed(&packet.encode_to_vec());
        let damaged = read(&[headed(&[]), frame.repeat(times)].concat()).unwrap();
        match damaged.ending {
            Ending::Damaged { reason, .. } => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
        // With segments between them they never come to the limit.
        let fine = [framed(&segment.encode_to_vec()), frame].concat();
        let read = read(&[headed(&[]), fine.repeat(times)].concat()).unwrap();
        assert_eq!(read.ending, Ending::Open);
    }
}

#[test]
fn trees_that_are_none_are_refused() {
    for depths in [&[1_u32][..], &[0, 2], &[0, 0], &[0, 1, 1, 3]] {
        let tree = depths.iter().map(|depth| proto::Node {
            depth: *depth,
            ..proto::Node::default()
        });
        let task = proto::SnapshotTask {
            tree: tree.collect(),
            ..proto::SnapshotTask::default()
        };
        let reason = damage(Content::Snapshot(proto::Snapshot {
            tasks: vec![task],
            ..proto::Snapshot::default()
        }));
        assert_eq!(reason, "an await tree is not a tree");
    }
}

#[test]
fn futures_kept_by_no_node_are_refused() {
    let nodes = |depths: &[u32]| -> Vec<proto::Node> {
        let nodes = depths.iter().map(|depth| proto::Node {
            depth: *depth,
            ..proto::Node::default()
        });
        nodes.collect()
    };
    // A tree of two nodes, and asides: node and depths.
    let cases: [&[(u32, &[u32])]; 6] = [
        &[(2, &[1])],
        &[(u32::MAX, &[1])],
        &[(0, &[2])],
        &[(1, &[2, 2])],
        &[(0, &[])],
        &[(0, &[1]), (3, &[2])],
    ];
    for asides in cases {
        let asides = asides.iter().map(|(node, depths)| proto::Aside {
            node: *node,
            tree: nodes(depths),
        });
        let task = proto::SnapshotTask {
            tree: nodes(&[0, 1]),
            asides: asides.collect(),
            ..proto::SnapshotTask::default()
        };
        let reason = damage(Content::Snapshot(proto::Snapshot {
            tasks: vec![task],
            ..proto::Snapshot::default()
        }));
        assert_eq!(reason, "an await tree is not a tree");
    }
}

#[test]
fn a_chain_of_kept_futures_as_long_as_a_packet_is_refused() {
    // Each is kept by the one before.
    let asides = (0..20_000).map(|number| proto::Aside {
        node: number,
        tree: vec![proto::Node {
            depth: number + 1,
            ..proto::Node::default()
        }],
    });
    let task = proto::SnapshotTask {
        tree: vec![proto::Node::default()],
        asides: asides.collect(),
        ..proto::SnapshotTask::default()
    };
    let reason = damage(Content::Snapshot(proto::Snapshot {
        tasks: vec![task],
        ..proto::Snapshot::default()
    }));
    assert_eq!(reason, "an await tree is not a tree");
}

#[test]
fn a_chain_as_deep_as_a_packet_is_long_is_refused() {
    let tree = (0..100_000).map(|depth| proto::Node {
        depth,
        ..proto::Node::default()
    });
    let task = proto::SnapshotTask {
        tree: tree.collect(),
        ..proto::SnapshotTask::default()
    };
    damage(Content::Snapshot(proto::Snapshot {
        tasks: vec![task],
        ..proto::Snapshot::default()
    }));
}

#[test]
fn packets_out_of_place_are_refused() {
    let header = || Content::Header(header().to_proto());
    assert_eq!(damage(header()), "there is a second header");
    let mut bytes = recording();
    bytes.extend(framed(&proto::Packet::default().encode_to_vec()));
    let packet = proto::Packet {
        strings: vec!["x".into()],
        ..proto::Packet::default()
    };
    bytes.extend(framed(&packet.encode_to_vec()));
    let read = read(&bytes).unwrap();
    assert!(matches!(read.ending, Ending::Damaged { .. }));
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    let mut bytes = headed(&[]);
    bytes.extend_from_slice(&(frame::MAX_PAYLOAD as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 20]);
    assert!(matches!(
        read(&bytes).unwrap().ending,
        Ending::CutOff { bytes: 24 }
    ));
    let mut bytes = headed(&[]);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    bytes.extend_from_slice(&[0; 20]);
    assert!(matches!(
        read(&bytes).unwrap().ending,
        Ending::Damaged { .. }
    ));
}

#[test]
fn zeros_after_a_crash_of_the_machine_are_damage_and_no_packets() {
    let mut bytes = recording();
    let length = bytes.len() as u64;
    bytes.extend([0; 4096]);
    assert!(matches!(
        read(&bytes).unwrap().ending,
        Ending::Damaged { offset, .. } if offset == length
    ));
}

#[test]
fn foreign_files_are_named_for_what_they_look_like() {
    for (bytes, word) in [
        (&b"\x7fELF\x02\x01\x01\0"[..], "ELF"),
        (b"{\"schema\":1}", "JSON"),
        (b"PERFILE2", "perf"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (b"\x89ATRC\n\x1a\x01", "text"),
        (b"\0\0\0\0\0\0\0\0", "00 00"),
        (b"x", "78"),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(matches!(error, RecordingError::Foreign { .. }));
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.exit_code(), ExitCode::BadFile);
        assert!(error.next_step().is_some());
    }
    let mut bytes = recording();
    bytes[20] ^= 1;
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error, RecordingError::DamagedHeader { .. }));
}

/// A recording with events, as payloads that can be changed below the checksums.
fn payloads(events: &[crate::rebuild::event::Event]) -> Vec<Vec<u8>> {
    let bytes = recording();
    let mut payloads = Vec::new();
    let mut rest = &bytes[frame::MAGIC.len()..];
    let mut payload = Vec::new();
    while frame::read(&mut rest, &mut payload).unwrap() == frame::Frame::Whole {
        payloads.push(payload.clone());
    }
    let mut interner = tables::Interner::default();
    let events = encode::events(events, &mut interner);
    let (before, mut packet) = interner.take();
    assert!(before.is_empty());
    packet.content = Some(Content::Events(events));
    payloads.insert(1, packet.encode_to_vec());
    let segment = proto::Packet {
        content: Some(Content::Segment(proto::Segment::default())),
        ..proto::Packet::default()
    };
    payloads.insert(1, segment.encode_to_vec());
    payloads
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn bytes_changed_anywhere_are_noticed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..6),
    ) {
        let sample = recording();
        let whole = read(&sample).unwrap();
        let mut bytes = sample.clone();
        for (at, change) in changes {
            bytes[at.index(sample.len())] ^= change;
        }
        if bytes == sample {
            return Ok(());
        }
        if let Ok(read) = read(&bytes) {
            prop_assert_ne!(&read.ending, &Ending::Complete);
            prop_assert!(whole.events().starts_with(&read.events()));
        }
    }

    #[test]
    fn contents_changed_below_the_checksum_never_panic(
        events in any_events(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..3_u8),
            1..12,
        ),
    ) {
        let mut payloads = payloads(&events);
        for (packet, at, byte, how) in changes {
            let packet = packet.index(payloads.len());
            let payload = &mut payloads[packet];
            if payload.is_empty() {
                continue;
            }
            let at = at.index(payload.len());
            match how {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ => {
                    payload.remove(at);
                }
            }
        }
        let mut bytes = frame::MAGIC.to_vec();
        for payload in payloads {
            bytes.extend(framed(&payload));
        }
        // Whatever it says, it says it without a panic.
        let _ = read(&bytes);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&headed(&bytes));
        let _ = read(&[frame::MAGIC.to_vec(), framed(&bytes)].concat());
    }
}
