//! A reader of recordings that knows nothing but `docs/recording-format.md` and the published
//! schema: it shares no code with ours, not even the checksum, and reads protobuf by reflection.
//! And the annotated example in that document is a recording.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

use std::path::Path;
use std::sync::Arc;

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use tracer_user::address::Address;
use tracer_user::export::recording::{End, Header, Host, Item, Reader, Writer};
use tracer_user::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Outcome, TaskUnit, ThreadUnit, Unit, UnitId, WakeEffect,
};
use tracer_user::rebuild::snapshot::ProcessInfo;
use tracer_user::rebuild::suspension::{FutureState, Marks, Place, SuspendedFuture, Suspension};
use tracer_user::rebuild::tracker::Statistics;
use tracer_user::rebuild::tree::{NodeKind, NodeState};

fn header() -> Header {
    Header {
        trace_id: uuid::Uuid::from_u128(0x018f_0000_0000_7001_8002_0304_0506_0708),
        tool: "asynctrace 0.1.0".into(),
        process: ProcessInfo {
            pid: 42,
            exe: "/srv/app".into(),
            build_id: None,
        },
        clock_monotonic: 1_000,
        clock_realtime: 1_700_000_000_000_000_000,
        host: Host {
            kernel: "6.18".into(),
            architecture: "x86_64".into(),
            cpus: 2,
        },
        started: 1_000,
        runtime: "tokio".into(),
        debug_info: None,
        probes: Vec::new(),
        unseen: Vec::new(),
        sampling: None,
        kept: None,
        requests: Vec::new(),
    }
}

fn id(unit: u64, sequence: u64) -> EventId {
    EventId {
        unit: UnitId(unit),
        sequence,
    }
}

/// The task waits for a sleep on the heap.
fn standing() -> EventKind {
    let state = |future: &str, kind, line: Option<u32>, waits_for: Option<&str>| {
        Arc::new(FutureState {
            future: future.into(),
            kind,
            state: NodeState::Suspended,
            file: line.and(Some("main.rs".into())),
            line,
            waits_for: waits_for.map(Into::into),
        })
    };
    let futures = vec![
        SuspendedFuture {
            depth: 0,
            place: Place::Inside(0),
            mark: None,
            state: state("app::serve", NodeKind::AsyncFn, Some(23), None),
        },
        SuspendedFuture {
            depth: 1,
            place: Place::Outside(Address(0x2000)),
            mark: Some(0),
            state: state("Sleep", NodeKind::Leaf, None, Some("sleep")),
        },
    ];
    let mut marks = Marks::default();
    marks.0[0] = 0xa5;
    EventKind::AwaitChanged {
        suspension: Arc::new(Suspension {
            futures,
            missing: None,
        }),
        marks,
    }
}

/// A thread wakes a task and polls it because of that; the task stood at a sleep, it clones a waker
/// sleeps in a system call (nanosleep is 35) and goes to wait.
fn events() -> Vec<Event> {
    let thread = Unit::Thread(ThreadUnit {
        tid: 7,
        name: Some("worker".into()),
    });
    let task = Unit::Task(TaskUnit {
        runtime: "tokio".into(),
        address: Address(0x1000),
        task_id: Some(3),
        generation: 0,
        future: Some("app::serve".into()),
        existing: false,
    });
    let wake = EventKind::Wake {
        task: UnitId(1),
        by_value: true,
        effect: WakeEffect::Scheduled,
    };
    let end = EventKind::PollEnd {
        outcome: Outcome::Pending,
        seen: EndSeen::NextEvent,
        began: Some(2_300),
    };
    let event = |id, time, kind, cause| Event {
        id,
        time,
        kind,
        cause,
    };
    let begin = EventKind::PollBegin { thread: UnitId(0) };
    let blocked = EventKind::Blocked {
        preempted: false,
        syscall: Some(35),
    };
    let clone = EventKind::WakerCloned { task: UnitId(1) };
    vec![
        event(
            id(0, 0),
            2_000,
            EventKind::Described(Arc::new(thread)),
            None,
        ),
        event(id(1, 0), 2_000, EventKind::Described(Arc::new(task)), None),
        event(id(0, 1), 2_000, wake, None),
        event(id(1, 1), 2_300, standing(), None),
        event(id(1, 2), 2_300, begin, Some(id(0, 1))),
        event(id(1, 3), 2_350, clone, Some(id(1, 2))),
        event(id(1, 4), 2_400, blocked, None),
        event(id(1, 5), 2_450, EventKind::Unblocked, None),
        event(id(1, 6), 2_500, end, None),
    ]
}

fn sample() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("sample"), &mut bytes, &header()).unwrap();
    writer.events(&events()).unwrap();
    let end = End {
        time: 3_000,
        reason: "interrupted".into(),
        events: 9,
        statistics: Statistics::default(),
    };
    writer.finish(&end).unwrap();
    bytes
}

/// CRC-32 as in zip, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// The payloads of a file's frames, by the document's section "Frames".
fn payloads(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.strip_prefix(b"\x89ATRC\r\n\x1a").unwrap();
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_at(4);
        let (checksum, after) = after.split_at(4);
        let size = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (payload, after) = after.split_at(size);
        let checked = [length, payload].concat();
        assert_eq!(
            crc(&checked),
            u32::from_le_bytes(checksum.try_into().unwrap())
        );
        payloads.push(payload);
        rest = after;
    }
    payloads
}

fn packets(file: &[u8]) -> Vec<DynamicMessage> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile([proto.join("asynctrace.proto")], [&proto]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let packet = pool.get_message_by_name("asynctrace.v1.Packet").unwrap();
    payloads(file)
        .into_iter()
        .map(|payload| DynamicMessage::decode(packet.clone(), payload).unwrap())
        .collect()
}

fn numbers(message: &DynamicMessage, field: &str) -> Vec<i64> {
    let value = message.get_field_by_name(field).unwrap();
    let list = value.as_list().unwrap();
    list.iter()
        .map(|value| match value {
            Value::U64(number) => number.cast_signed(),
            Value::U32(number) => i64::from(*number),
            Value::I64(number) => *number,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn number(message: &DynamicMessage, field: &str) -> u64 {
    match *message.get_field_by_name(field).unwrap() {
        Value::U64(number) => number,
        Value::U32(number) => u64::from(number),
        ref other => panic!("{other:?}"),
    }
}

fn content(packet: &DynamicMessage) -> (String, DynamicMessage) {
    let oneof = packet.descriptor().oneofs().next().unwrap();
    let field = oneof
        .fields()
        .find(|field| packet.has_field(field))
        .unwrap();
    let value = packet.get_field(&field);
    (field.name().to_owned(), value.as_message().unwrap().clone())
}

/// Events as `time unit.sequence KIND [arguments] <- cause`, by the section "Events".
fn read_events(events: &DynamicMessage) -> Vec<String> {
    let kinds = events.get_field_by_name("kinds").unwrap();
    let kinds = kinds.as_bytes().unwrap().clone();
    let kind_names = events
        .descriptor()
        .parent_pool()
        .get_enum_by_name("asynctrace.v1.Kind")
        .unwrap();
    let units = numbers(events, "units");
    let bases = numbers(events, "sequences");
    let owners = numbers(events, "owners");
    let times = numbers(events, "times");
    let mut arguments = numbers(events, "arguments").into_iter();
    let mut causes = numbers(events, "causes").into_iter();
    let mut syscalls = numbers(events, "syscalls").into_iter();
    let marks = events.get_field_by_name("marks").unwrap();
    let mut marks = marks.as_bytes().unwrap().clone().into_iter();
    let mut address = 0_u64;
    let mut next = bases.clone();
    let mut time = number(events, "time").cast_signed();
    let mut lines = Vec::new();
    for (at, byte) in kinds.iter().enumerate() {
        time += times[at];
        let owner = owners[at] as usize;
        let sequence = next[owner];
        next[owner] += 1;
        let name = kind_names
            .get_value(i32::from(byte & 0x1f))
            .unwrap()
            .name()
            .to_owned();
        let arguments: Vec<String> = match name.as_str() {
            "DESCRIBED" | "BLOCKED" | "UNBLOCKED" => Vec::new(),
            "POLL_BEGIN" | "WAKER_CLONED" => {
                vec![format!("u{}", units[arguments.next().unwrap() as usize])]
            }
            "WAKE_BY_VALUE" => vec![
                format!("u{}", units[arguments.next().unwrap() as usize]),
                arguments.next().unwrap().to_string(),
            ],
            "POLL_END" => vec![arguments.next().unwrap().to_string()],
            "AWAIT_CHANGED" => {
                let packed = arguments.next().unwrap();
                let mut told = vec![format!("suspension {}", packed >> 2)];
                if packed & 1 == 1 {
                    let set = arguments.next().unwrap();
                    let changed = (0..16).filter(|at| set >> at & 1 == 1);
                    told.extend(changed.map(|at| format!("{at}: {:x}", marks.next().unwrap())));
                }
                if packed & 2 == 2 {
                    // One of its futures lies outside.
                    let zigzag = arguments.next().unwrap();
                    address = address.wrapping_add_signed((zigzag >> 1) ^ -(zigzag & 1));
                    told.push(format!("at {address:#x}"));
                }
                told
            }
            other => panic!("{other} is not in the sample"),
        };
        let mut cause = match byte & 0xc0 {
            0 => String::new(),
            0x40 => {
                let back = causes.next().unwrap();
                format!(" <- {}.{}", units[owner], sequence - back)
            }
            0x80 => {
                let unit = causes.next().unwrap() as usize;
                let zigzag = causes.next().unwrap();
                let distance = (zigzag >> 1) ^ -(zigzag & 1);
                format!(" <- {}.{}", units[unit], bases[unit] + distance)
            }
            _ => panic!("two causes"),
        };
        if name == "BLOCKED" {
            let call = syscalls.next().unwrap();
            if call > 0 {
                cause += &format!(" in {}", call - 1);
            }
        }
        lines.push(format!(
            "{time} {}.{sequence} {name} [{}]{cause}",
            units[owner],
            arguments.join(", ")
        ));
    }
    assert_eq!(arguments.next(), None);
    assert_eq!(causes.next(), None);
    assert_eq!(marks.next(), None);
    assert_eq!(syscalls.next(), None);
    lines
}

#[test]
fn the_schema_and_the_document_are_enough_to_read_a_recording() {
    let packets = packets(&sample());
    let contents: Vec<(String, DynamicMessage)> = packets.iter().map(content).collect();
    let names: Vec<&str> = contents.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["header", "events", "index", "end"]);

    let header = &contents[0].1;
    assert_eq!(number(header, "major"), 1);
    let tool = header.get_field_by_name("tool").unwrap();
    assert_eq!(tool.as_str(), Some("asynctrace 0.1.0"));
    let trace_id = header.get_field_by_name("trace_id").unwrap();
    assert_eq!(trace_id.as_bytes().unwrap().len(), 16);

    let strings = packets[1].get_field_by_name("strings").unwrap();
    let strings: Vec<&str> = strings
        .as_list()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    assert_eq!(
        strings,
        ["worker", "tokio", "app::serve", "main.rs", "Sleep", "sleep"]
    );

    let events = &contents[1].1;
    assert_eq!(
        read_events(events),
        [
            "2000 0.0 DESCRIBED []",
            "2000 1.0 DESCRIBED []",
            "2000 0.1 WAKE_BY_VALUE [u1, 1]",
            "2300 1.1 AWAIT_CHANGED [suspension 1, 0: a5, at 0x2000]",
            "2300 1.2 POLL_BEGIN [u0] <- 0.1",
            "2350 1.3 WAKER_CLONED [u1] <- 1.2",
            "2400 1.4 BLOCKED [] in 35",
            "2450 1.5 UNBLOCKED []",
            "2500 1.6 POLL_END [81]",
        ]
    );
    let suspensions = packets[1].get_field_by_name("suspensions").unwrap();
    let suspension = suspensions.as_list().unwrap()[0].as_message().unwrap();
    assert_eq!(numbers(suspension, "depths"), [0, 1]);
    assert_eq!(
        numbers(suspension, "places"),
        [1, 0],
        "inside at 0, and outside"
    );
    assert_eq!(numbers(suspension, "marks"), [0, 1], "none, and place 0");
    let states = packets[1].get_field_by_name("states").unwrap();
    let of_the_leaf = numbers(suspension, "states")[1] as usize - 1;
    let leaf = states.as_list().unwrap()[of_the_leaf].clone();
    let leaf = leaf.as_message().unwrap();
    assert_eq!(strings[number(leaf, "future") as usize - 1], "Sleep");
    assert_eq!(strings[number(leaf, "waits_for") as usize - 1], "sleep");
    let descriptions = events.get_field_by_name("descriptions").unwrap();
    let task = descriptions.as_list().unwrap()[1]
        .as_message()
        .unwrap()
        .get_field_by_name("task")
        .unwrap()
        .into_owned();
    let task = task.as_message().unwrap();
    assert_eq!(
        (number(task, "address"), number(task, "task_id")),
        (0x1000, 3)
    );
    assert_eq!(strings[number(task, "future") as usize - 1], "app::serve");

    assert_eq!(number(&contents[3].1, "events"), 9);
    let tail: [u8; 8] = *sample().last_chunk().unwrap();
    assert_eq!(number(&contents[3].1, "index"), u64::from_le_bytes(tail));
}

/// The document's example, without its notes: the hexadecimal pairs of each line of the block that
/// begins with "```hexdump", up to two spaces.
fn documented() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recording-format.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, block) = text.split_once("```hexdump\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block
        .lines()
        .map(|line| line.split("  ").next().unwrap())
        .flat_map(str::split_whitespace)
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[test]
fn the_documented_example_is_a_recording() {
    let bytes = documented();
    let mut reader = Reader::new(Path::new("docs/recording-format.md"), bytes.as_slice()).unwrap();
    let Some(Item::Events(read)) = reader.next_item().unwrap() else {
        panic!("{:?}", reader.ending());
    };
    assert_eq!(read, events());
    assert_eq!(bytes, sample(), "the writer writes it otherwise now");
}

/// Tasks that wait at two places in turn, a file of more than one segment.
fn many_events() -> Vec<Event> {
    let mut events = Vec::new();
    for unit in 0..200 {
        let task = TaskUnit {
            runtime: "tokio".into(),
            address: Address(0x1000 * (unit + 1)),
            task_id: Some(unit),
            generation: 0,
            future: Some("app::serve".into()),
            existing: unit == 0,
        };
        let described = EventKind::Described(Arc::new(Unit::Task(task)));
        events.push((unit, described, None));
    }
    for round in 0..90_000_u64 {
        let unit = round * 7 % 200;
        let EventKind::AwaitChanged {
            suspension,
            mut marks,
        } = standing()
        else {
            panic!("it tells where a task stands")
        };
        marks.0[0] = (round % 251) as u8;
        let mut suspension = Suspension::clone(&suspension);
        suspension.futures[1].place = Place::Outside(Address(0x2000 + round % 3 * 64));
        if round / 200 % 2 == 1 {
            suspension.futures.truncate(1);
        }
        let stands = EventKind::AwaitChanged {
            suspension: Arc::new(suspension),
            marks,
        };
        let end = EventKind::PollEnd {
            outcome: Outcome::Pending,
            seen: EndSeen::LeftCpu,
            began: (round % 5 > 0).then_some(round * 10),
        };
        let wake = EventKind::Wake {
            task: UnitId((unit + 7) % 200),
            by_value: round % 3 == 0,
            effect: WakeEffect::Scheduled,
        };
        let thread = UnitId(200);
        events.push((unit, stands, None));
        events.push((unit, EventKind::PollBegin { thread }, None));
        events.push((unit, wake, Some(1)));
        events.push((unit, end, None));
    }
    let mut next = [0_u64; 200];
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(at, (unit, kind, back))| {
            let sequence = next[unit as usize];
            next[unit as usize] += 1;
            Event {
                id: id(unit, sequence),
                time: 5_000 + at as u64 / 4 * 10,
                kind,
                cause: back.map(|back| id(unit, sequence - back)),
            }
        })
        .collect()
}

/// The reader in Python, which knows nothing but the schema, counts what ours counts: in a file of
/// several segments, whole and cut off.
#[test]
fn python_reads_the_same() {
    use tracer_user::export::recording::Ending;
    let events = many_events();
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("sample"), &mut bytes, &header()).unwrap();
    writer.events(&events).unwrap();
    let end = End {
        time: 3_000,
        reason: "interrupted".into(),
        events: 0,
        statistics: Statistics::default(),
    };
    let written = writer.finish(&end).unwrap();
    assert!(written.bytes > 2 << 20, "one segment: {written:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sample.astrace");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/read_recording.py");
    for (length, ending) in [(bytes.len(), "complete"), (bytes.len() - 40_000, "cut off")] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        // Debian's, which has Debian's protobuf.
        let output = std::process::Command::new("/usr/bin/python3")
            .arg(&script)
            .arg(&file)
            .output()
            .expect("python3: run `cargo xtask setup`");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "is python3-protobuf there, and protoc? run `cargo xtask setup`: {errors}"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (totals, tasks) = lines.split_last().unwrap();

        let mut reader = Reader::open(&file).unwrap();
        let (mut read, mut changed, mut causes, mut polls) = (0, 0, 0, 0);
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Events(events) = item else { continue };
            read += events.len();
            for event in &events {
                causes += usize::from(event.cause.is_some());
                match event.kind {
                    EventKind::AwaitChanged { .. } => changed += 1,
                    EventKind::PollBegin { .. } if event.id.unit == UnitId(7) => polls += 1,
                    _ => {}
                }
            }
        }
        assert_eq!(
            matches!(reader.ending(), Some(Ending::Complete)),
            ending == "complete"
        );
        assert_eq!(totals["ending"], ending);
        assert_eq!(totals["events"], read);
        assert_eq!(totals["AWAIT_CHANGED"], changed);
        assert_eq!(totals["causes"], causes);
        assert_eq!(totals["tasks"], tasks.len());
        let seventh = tasks.iter().find(|task| task["unit"] == 7).unwrap();
        assert_eq!(seventh["polls"], polls);
        let awaits = seventh["awaits"].as_object().unwrap();
        let mut names: Vec<&str> = awaits.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["Sleep at main.rs:23", "app::serve at main.rs:23"]);
    }
}
