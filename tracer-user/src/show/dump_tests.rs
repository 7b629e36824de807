//! A dump as text: hostile names, equal tasks.

use super::*;
use crate::address::Address;
use crate::rebuild::snapshot::{Coverage, ProcessInfo, RuntimeInfo, SCHEMA, ThreadInfo};
use crate::rebuild::tree::WaitsFor;

#[test]
fn a_name_of_a_megabyte_is_cut() {
    assert!(shown_name(&"a".repeat(1_000_000)).len() < 10_000);
}

fn leaf(deadline: u64) -> AwaitNode {
    AwaitNode {
        future: "tokio::time::sleep::Sleep".into(),
        kind: NodeKind::Leaf,
        state: NodeState::Suspended,
        file: None,
        line: None,
        waits_for: Some(
            WaitsFor::new("sleep")
                .with("deadline_ns", deadline)
                .with("remaining_ms", deadline),
        ),
        notes: Vec::new(),
        children: Vec::new(),
        ..AwaitNode::default()
    }
}

fn body(future: &str, line: u32, children: Vec<AwaitNode>) -> AwaitNode {
    AwaitNode {
        future: future.into(),
        kind: NodeKind::AsyncFn,
        file: Some("src/main.rs".into()),
        line: Some(line),
        waits_for: None,
        children,
        ..leaf(0)
    }
}

fn task(id: u64, state: TaskState, tree: Option<AwaitNode>, note: Option<&str>) -> TaskInfo {
    TaskInfo {
        id: format!("tokio/{id}"),
        runtime: "tokio",
        scheduler: "multi_thread",
        state,
        future: "app::handler".into(),
        tree,
        notes: note.map(str::to_owned).into_iter().collect(),
        address: Address(id),
        references: Some(2),
        ..TaskInfo::default()
    }
}

#[test]
fn equal_tasks_are_one_entry_and_hostile_names_are_escaped() {
    let handler = |seconds| {
        body(
            "app::handler",
            23,
            vec![body("app::mid", 11, vec![leaf(seconds)])],
        )
    };
    let mut tasks: Vec<TaskInfo> = (1..=10_000)
        .map(|id| task(id, TaskState::Idle, Some(handler(id * 1000)), None))
        .collect();
    let fork = body("app::bo\u{1b}[2Jth", 5, vec![leaf(1), handler(2), leaf(3)]);
    tasks.push(task(10_001, TaskState::Scheduled, Some(fork), None));
    tasks.push(task(
        10_002,
        TaskState::Running,
        None,
        Some("torn: it changed"),
    ));
    let snapshot = Snapshot {
        schema: SCHEMA,
        time: 0,
        stolen: None,
        threads: vec![
            ThreadInfo {
                tid: 8,
                name: "wor\u{1b}[2Jker".into(),
                polls: Some("tokio/10002".into()),
                syscall: Some("clock_nanosleep".into()),
                ..ThreadInfo::default()
            },
            ThreadInfo {
                tid: 9,
                parked: true,
                ..ThreadInfo::default()
            },
        ],
        process: ProcessInfo {
            pid: 7,
            exe: "/srv/app".into(),
            build_id: Some("00ff".into()),
        },
        runtimes: vec![RuntimeInfo {
            runtime: "tokio",
            scheduler: "multi_thread",
            address: Address(0x10),
            tasks_listed: 10_002,
            tasks_counted: Some(10_003),
        }],
        tasks,
        coverage: Coverage {
            debug_info: DebugInfoLevel::Full,
            tasks_listed: 10_002,
            tasks_counted: 10_003,
            opaque_nodes: 0,
            torn_tasks: 1,
        },
        warnings: vec!["something was not seen".into()],
    };
    let mut out = anstream::StripStream::new(Vec::new());
    write(&snapshot, &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out.into_inner()).unwrap());
}
