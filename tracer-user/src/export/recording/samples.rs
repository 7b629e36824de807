//! Recordings for the tests of this module.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::{End, Header, Host, Loss, ProbeCount, Reader, RecordingError, Writer};
use crate::address::Address;
use crate::export::recording::{Ending, Item};
use crate::plan::Unseen;
use crate::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Origin, Outcome, PanicLocation, TaskUnit, ThreadUnit, Unit,
    UnitId, WakeEffect,
};
use crate::rebuild::snapshot::{
    Coverage, DebugInfoLevel, ProcessInfo, RuntimeInfo, SCHEMA, Snapshot, TaskInfo, TaskState,
    ThreadInfo,
};
use crate::rebuild::suspension::{FutureState, Marks, Place, SuspendedFuture, Suspension};
use crate::rebuild::tracker::Statistics;
use crate::rebuild::tree::{AwaitNode, Held, NodeKind, NodeState, SourcePlace, WaitsFor};

pub(super) fn header() -> Header {
    Header {
        trace_id: Uuid::from_bytes([0x01, 0x8f, 0, 0, 0, 0, 0x70, 1, 0x80, 2, 3, 4, 5, 6, 7, 8]),
        tool: "asynctrace 0.1.0".into(),
        process: process(),
        clock_monotonic: 1_000_000,
        clock_realtime: 1_700_000_000_000_000_000,
        host: Host {
            kernel: "6.18.0".into(),
            architecture: "x86_64".into(),
            cpus: 2,
        },
        started: 1_000_500,
        runtime: "tokio".into(),
        debug_info: Some(DebugInfoLevel::Full),
        probes: vec![ProbeCount {
            kind: "task_poll".into(),
            count: 62,
        }],
        unseen: vec![Unseen {
            what: "app::inlined".into(),
            reason: "inlined".into(),
            remedy: None,
        }],
        sampling: None,
        requests: vec!["app::handle*".into()],
        kept: None,
    }
}

fn process() -> ProcessInfo {
    ProcessInfo {
        pid: 4242,
        exe: "/srv/app".into(),
        build_id: Some("c0ffee".into()),
    }
}

fn task(number: u64) -> Arc<Unit> {
    Arc::new(Unit::Task(TaskUnit {
        runtime: "tokio".into(),
        address: Address(0x7f00_0000_0000 + number * 0x100),
        task_id: Some(number),
        generation: 0,
        future: Some("app::serve::{async_fn#0}".into()),
        existing: number == 1,
    }))
}

/// Units 0 to 3: a thread, two tasks, an origin.
pub(super) fn events() -> Vec<Event> {
    let id = |unit, sequence| EventId {
        unit: UnitId(unit),
        sequence,
    };
    let event = |unit, sequence, time, kind, cause| Event {
        id: id(unit, sequence),
        time,
        kind,
        cause,
    };
    let thread = Arc::new(Unit::Thread(ThreadUnit {
        tid: 77,
        name: Some("tokio-rt-worker".into()),
    }));
    let task_one = UnitId(1);
    let task_two = UnitId(2);
    let pending = EventKind::PollEnd {
        outcome: Outcome::Pending,
        seen: EndSeen::NextEvent,
        began: Some(1_010_000),
    };
    let suspended = |depth, place, future: &str, line, waits_for: Option<&str>| SuspendedFuture {
        depth,
        place,
        mark: (depth == 0).then_some(0),
        state: Arc::new(FutureState {
            future: future.into(),
            kind: NodeKind::AsyncFn,
            state: NodeState::Suspended,
            file: Some("src/main.rs".into()),
            line,
            waits_for: waits_for.map(Into::into),
        }),
    };
    let suspension = Arc::new(Suspension {
        futures: vec![
            suspended(
                0,
                Place::Inside(0),
                "app::serve::{async_fn#0}",
                Some(23),
                None,
            ),
            suspended(
                1,
                Place::Outside(Address(0x7f00_0000_9000)),
                "tokio::time::Sleep",
                None,
                Some("sleep"),
            ),
        ],
        missing: Some("cut".into()),
    });
    let over = EventKind::PollEnd {
        outcome: Outcome::Over,
        seen: EndSeen::ExitProbe,
        began: Some(900_000),
    };
    vec![
        event(0, 0, 1_002_000, EventKind::Described(thread), None),
        event(1, 0, 1_002_000, EventKind::Described(task(1)), None),
        event(
            3,
            0,
            1_002_500,
            EventKind::Described(Arc::new(Unit::Origin(Origin::Io {
                resource: Some(Address(0x5000)),
                fd: Some(9),
            }))),
            None,
        ),
        event(
            0,
            1,
            1_003_000,
            EventKind::Wake {
                task: task_one,
                by_value: true,
                effect: WakeEffect::Scheduled,
            },
            None,
        ),
        event(
            1,
            1,
            1_010_000,
            EventKind::PollBegin { thread: UnitId(0) },
            Some(id(0, 1)),
        ),
        event(
            1,
            2,
            1_010_100,
            EventKind::FuturePoll {
                future: Address(0x7fff_0000),
                name: Some("app::inner".into()),
                depth: 1,
            },
            Some(id(1, 1)),
        ),
        event(
            1,
            3,
            1_010_200,
            EventKind::Blocked {
                preempted: false,
                syscall: Some(0),
            },
            None,
        ),
        event(1, 4, 1_010_300, EventKind::Unblocked, None),
        event(
            1,
            5,
            1_010_310,
            EventKind::Blocked {
                preempted: true,
                syscall: None,
            },
            None,
        ),
        event(1, 6, 1_010_320, EventKind::Unblocked, None),
        event(
            1,
            7,
            1_010_400,
            EventKind::Spawned { task: task_two },
            Some(id(1, 1)),
        ),
        event(2, 0, 1_010_400, EventKind::Described(task(2)), None),
        event(
            1,
            8,
            1_010_500,
            EventKind::WakerCloned { task: task_one },
            Some(id(1, 1)),
        ),
        event(
            1,
            9,
            1_010_600,
            EventKind::WakerDropped { task: task_one },
            Some(id(1, 1)),
        ),
        event(1, 10, 1_011_000, pending, None),
        event(
            1,
            11,
            1_011_000,
            EventKind::AwaitChanged {
                suspension,
                marks: Marks([7; 16]),
            },
            None,
        ),
        event(2, 1, 1_020_000, EventKind::Gap { lost: 3 }, None),
        event(2, 2, 1_021_000, over, None),
        event(
            2,
            3,
            1_021_000,
            EventKind::Finished {
                outcome: Outcome::Over,
            },
            None,
        ),
    ]
}

fn leaf() -> AwaitNode {
    AwaitNode {
        future: "tokio::time::Sleep".into(),
        kind: NodeKind::Leaf,
        state: NodeState::Suspended,
        file: None,
        line: None,
        waits_for: Some(WaitsFor::new("sleep").with("deadline_ns", 5_000_000_000_u64)),
        notes: vec!["torn once".into()],
        address: Some(Address(0x7f00_2000_0040)),
        defined: Some(SourcePlace {
            file: "src/gate.rs".into(),
            line: 41,
        }),
        holds: Vec::new(),
        not_awaited: Vec::new(),
        in_doubt: false,
        own_wakers: None,
        children: Vec::new(),
    }
}

/// What a level holds, and what it does not await: two futures, of which the second keeps others.
fn aside(level: usize) -> (Vec<Held>, Vec<AwaitNode>) {
    let named = |name: String| AwaitNode {
        future: name.into(),
        ..leaf()
    };
    let held = Held {
        local: "guard".into(),
        what: WaitsFor::new("lock").with("address", "0x7f0010"),
        doubt: (level.is_multiple_of(2)).then(|| "it may have been moved out".to_owned()),
    };
    let second = AwaitNode {
        not_awaited: vec![named("app::third".into()), named("app::fourth".into())],
        children: vec![leaf()],
        in_doubt: true,
        own_wakers: Some(3),
        ..named(format!("app::second{level}"))
    };
    (vec![held], vec![named("app::first".into()), second])
}

pub(super) fn tree(depth: usize) -> AwaitNode {
    (0..depth).fold(leaf(), |child, level| {
        let (holds, not_awaited) = if level % 7 == 0 {
            aside(level)
        } else {
            (Vec::new(), Vec::new())
        };
        AwaitNode {
            future: format!("app::level{level}").into(),
            kind: NodeKind::AsyncFn,
            state: NodeState::Suspended,
            file: Some("src/main.rs".into()),
            line: Some(level as u32 + 1),
            holds,
            not_awaited,
            children: vec![child, leaf()],
            ..AwaitNode::default()
        }
    })
}

pub(super) fn snapshot(tasks: u64, depth: usize) -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        time: 0,
        threads: vec![
            ThreadInfo {
                tid: 43,
                name: "worker".into(),
                state: "S".into(),
                in_runtime: true,
                polls: Some("tokio/0".into()),
                syscall: Some("nanosleep".into()),
                parked: false,
                switches: (17, 3),
                cpu_time: 5_000_000,
                run_delay: Some(7_000),
                aside: true,
            },
            ThreadInfo {
                parked: true,
                ..ThreadInfo::default()
            },
        ],
        stolen: Some(30_000_000),
        process: process(),
        runtimes: vec![RuntimeInfo {
            runtime: "tokio",
            scheduler: "multi_thread",
            address: Address(0x7f00_1000_0000),
            tasks_listed: tasks,
            tasks_counted: Some(tasks),
        }],
        tasks: (0..tasks)
            .map(|number| TaskInfo {
                id: format!("tokio/{number}"),
                runtime: "tokio",
                scheduler: "multi_thread",
                state: TaskState::Idle,
                future: "app::serve::{async_fn#0}".into(),
                tree: Some(tree(depth)),
                notes: Vec::new(),
                address: Address(0x7f00_0000_0000 + number * 0x100),
                references: Some(2),
                wakers: (number % 2 == 0).then_some(number % 4),
                cancelled: number % 3 == 0,
                joined_by: (number % 2 == 1).then_some(Address(0x7f00_0000_0000)),
            })
            .collect(),
        coverage: Coverage {
            debug_info: DebugInfoLevel::Full,
            tasks_listed: tasks,
            tasks_counted: tasks,
            opaque_nodes: 0,
            torn_tasks: 0,
        },
        warnings: vec!["one thing".into()],
    }
}

pub(super) fn end() -> End {
    End {
        time: 2_000_000,
        reason: "interrupted".into(),
        events: events().len() as u64,
        statistics: Statistics {
            records: 20,
            events: 19,
            polls: 2,
            ..Statistics::default()
        },
    }
}

/// A recording with every kind of packet.
pub(super) fn recording() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Path::new("sample"), &mut bytes, &header()).unwrap();
    writer.snapshot(&snapshot(2, 2), 1_001_000).unwrap();
    writer.events(&events()[..12]).unwrap();
    writer
        .losses(&[Loss {
            cpu: 1,
            count: 12,
            until: 1_020_000,
        }])
        .unwrap();
    writer.dropped(4, 1_019_000).unwrap();
    writer.events(&events()[12..]).unwrap();
    writer.statistics(&end().statistics, 1_500_000).unwrap();
    writer.finish(&end()).unwrap();
    bytes
}

/// Everything that a recording says.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) items: Vec<Item>,
    pub(super) ending: Ending,
    pub(super) offset: u64,
}

impl Read {
    pub(super) fn events(&self) -> Vec<Event> {
        let events = self.items.iter().filter_map(|item| match item {
            Item::Events(events) => Some(events.clone()),
            _ => None,
        });
        events.flatten().collect()
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Read, RecordingError> {
    let mut reader = Reader::new(Path::new("sample"), bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    Ok(Read {
        items,
        ending: reader.ending().unwrap().clone(),
        offset: reader.offset(),
    })
}

/// Any suspension, its places and marks; few enough shapes to occur again.
fn any_await() -> impl Strategy<Value = EventKind> {
    let future = (0..3_u16, 0..3_u8, prop::option::of(any::<u32>()), 0..4_u32);
    let futures = prop::collection::vec(future, 0..4);
    let marks = prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 16);
    (futures, prop::option::of("[a-z]{1,2}"), marks).prop_map(|(futures, missing, marks)| {
        let mut deepest = 0;
        let futures = futures.into_iter().map(|(depth, mark, address, line)| {
            let depth = depth.min(deepest);
            deepest = depth + 1;
            SuspendedFuture {
                depth,
                place: match address {
                    Some(address) => Place::Outside(Address(u64::from(address) << 20)),
                    None => Place::Inside(u64::from(line) * 8),
                },
                mark: mark.checked_sub(1),
                state: Arc::new(FutureState {
                    future: "app::serve".into(),
                    kind: NodeKind::AsyncBlock,
                    state: NodeState::Suspended,
                    file: (line > 1).then(|| "src/lib.rs".into()),
                    line: (line > 0).then_some(line),
                    waits_for: (line == 2).then(|| "lock".into()),
                }),
            }
        });
        EventKind::AwaitChanged {
            suspension: Arc::new(Suspension {
                futures: futures.collect(),
                missing: missing.map(Into::into),
            }),
            marks: Marks(marks.try_into().unwrap()),
        }
    })
}

/// Any events: units, sequence numbers with holes, causes anywhere.
pub(super) fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let unit = || (0..6_u64).prop_map(UnitId);
    let outcome = || {
        prop_oneof![
            Just(Outcome::Pending),
            Just(Outcome::Ready),
            Just(Outcome::Cancelled),
            Just(Outcome::Panicked),
            Just(Outcome::Over),
            Just(Outcome::Unknown),
        ]
    };
    let effect = prop_oneof![
        Just(WakeEffect::Scheduled),
        Just(WakeEffect::PollAgain),
        Just(WakeEffect::Redundant),
        Just(WakeEffect::AlreadyOver),
        Just(WakeEffect::Unknown),
    ];
    let kind = prop_oneof![
        (0..9_u64).prop_map(|number| EventKind::Described(task(number))),
        unit().prop_map(|task| EventKind::Spawned { task }),
        unit().prop_map(|thread| EventKind::PollBegin { thread }),
        (outcome(), any::<bool>(), prop::option::of(0..500_u64)).prop_map(
            |(outcome, exact, began)| EventKind::PollEnd {
                outcome,
                seen: if exact {
                    EndSeen::ExitProbe
                } else {
                    EndSeen::LeftCpu
                },
                began
            }
        ),
        unit().prop_map(|task| EventKind::Aborted { task }),
        Just(EventKind::Fired),
        prop::option::of("[a-z]{0,4}").prop_map(|message| EventKind::PanicRaised {
            message: message.filter(|text| !text.is_empty()).map(Into::into)
        }),
        (
            any_await(),
            prop::option::of(("[a-z]{1,4}", any::<u32>(), any::<u32>()))
        )
            .prop_map(|(stands, place)| {
                let EventKind::AwaitChanged { suspension, marks } = stands else {
                    return EventKind::Fired;
                };
                EventKind::PanicBegan {
                    location: place.map(|(file, line, column)| {
                        Arc::new(PanicLocation {
                            file: file.into(),
                            line,
                            column,
                        })
                    }),
                    suspension,
                    marks,
                }
            }),
        (unit(), any::<bool>(), effect).prop_map(|(task, by_value, effect)| EventKind::Wake {
            task,
            by_value,
            effect
        }),
        unit().prop_map(|task| EventKind::WakerDropped { task }),
        (any::<bool>(), prop::option::of(0..u32::MAX))
            .prop_map(|(preempted, syscall)| EventKind::Blocked { preempted, syscall }),
        Just(EventKind::Unblocked),
        outcome().prop_map(|outcome| EventKind::Finished { outcome }),
        any::<u64>().prop_map(|lost| EventKind::Gap { lost }),
        (any::<u64>(), prop::option::of("[a-z]{0,4}"), any::<u8>()).prop_map(
            |(future, name, depth)| EventKind::FuturePoll {
                future: Address(future),
                name: name.map(Into::into),
                depth
            }
        ),
    ];
    let kind = prop_oneof![4 => kind, 1 => any_await()];
    let cause = prop::option::of((0..8_u64, any::<u32>()));
    let event = (
        unit(),
        prop::bool::weighted(0.05),
        500..u64::MAX,
        kind,
        cause,
    );
    prop::collection::vec(event, 0..120).prop_map(|steps| {
        let mut sequences = [0_u64; 6];
        let made = steps.into_iter().map(|(unit, hole, time, kind, cause)| {
            let sequence = &mut sequences[unit.0 as usize];
            *sequence += 1 + u64::from(hole) * 7;
            Event {
                id: EventId {
                    unit,
                    sequence: *sequence,
                },
                time,
                kind,
                cause: cause.map(|(unit, sequence)| EventId {
                    unit: UnitId(unit),
                    sequence: sequence.into(),
                }),
            }
        });
        made.collect()
    })
}
