//! `asynctrace check` as a user runs it: exit codes, JSON, what is left out, recordings and processes
//! that say the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use support::Build;
use support::fixture::Fixture;
use tempfile::TempDir;
use tracer_user::address::Address;
use tracer_user::export::recording::{End, Header, Writer};
use tracer_user::rebuild::event::{Event, EventId, EventKind, TaskUnit, Unit, UnitId};
use tracer_user::rebuild::snapshot::{
    DebugInfoLevel, ProcessInfo, Snapshot, TaskInfo, TaskState, ThreadInfo,
};
use tracer_user::rebuild::tracker::Statistics;
use tracer_user::rebuild::tree::{AwaitNode, NodeKind, NodeState, SourcePlace};

/// `nobody`.
const NOBODY: u32 = 65534;
const SECOND: u64 = 1_000_000_000;

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asynctrace"));
    // What is watched is to be exact here, whatever it costs.
    command.env("ASYNCTRACE_MAX_OVERHEAD", "none");
    command.arg("check").args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A task that waits for a future of a user's, which kept no waker.
fn stuck() -> TaskInfo {
    let gate = AwaitNode {
        future: "app::Gate".into(),
        kind: NodeKind::Leaf,
        address: Some(Address(0x1100)),
        defined: Some(SourcePlace {
            file: "src/gate.rs".into(),
            line: 41,
        }),
        ..AwaitNode::default()
    };
    TaskInfo {
        id: "tokio/17".to_owned(),
        state: TaskState::Idle,
        future: "app::serve".into(),
        tree: Some(AwaitNode {
            future: "app::serve".into(),
            kind: NodeKind::AsyncFn,
            state: NodeState::Suspended,
            file: Some("src/main.rs".into()),
            line: Some(88),
            address: Some(Address(0x1080)),
            children: vec![gate],
            ..AwaitNode::default()
        }),
        address: Address(0x1000),
        references: Some(1),
        wakers: Some(0),
        ..TaskInfo::default()
    }
}

/// A recording of five seconds with two looks at these tasks, and one event.
fn recording(folder: &TempDir, name: &str, tasks: &[TaskInfo]) -> PathBuf {
    let path = folder.path().join(name);
    let process = ProcessInfo {
        pid: 42,
        exe: "/srv/app".to_owned(),
        build_id: None,
    };
    let mut header = Header::new(process, "tokio");
    header.debug_info = Some(DebugInfoLevel::Full);
    let mut writer = Writer::create(&path, &header).unwrap();
    let look = |time| {
        let mut snapshot = Snapshot {
            tasks: tasks.to_vec(),
            threads: vec![ThreadInfo {
                tid: 7,
                name: "tokio-rt-worker".into(),
                state: "S".to_owned(),
                in_runtime: true,
                parked: true,
                ..ThreadInfo::default()
            }],
            ..Snapshot::empty(time)
        };
        snapshot.coverage.debug_info = DebugInfoLevel::Full;
        snapshot
    };
    let start = header.started;
    writer.snapshot(&look(start), start).unwrap();
    let task = Unit::Task(TaskUnit {
        runtime: "tokio".into(),
        address: Address(0x1000),
        task_id: Some(17),
        generation: 0,
        future: Some("app::serve".into()),
        existing: true,
    });
    let event = Event {
        id: EventId {
            unit: UnitId(0),
            sequence: 0,
        },
        time: start,
        kind: EventKind::Described(Arc::new(task)),
        cause: None,
    };
    writer.events(&[event]).unwrap();
    let end = start + 5 * SECOND;
    writer.snapshot(&look(end), end).unwrap();
    let end = End {
        time: end,
        reason: "duration".to_owned(),
        events: 0,
        statistics: Statistics::default(),
    };
    writer.finish(&end).unwrap();
    path
}

#[test]
fn a_recording_with_a_finding_exits_with_10_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "stuck.astrace", &[stuck()]);
    let file = path.to_str().unwrap();

    let run = check(&[file, "--json"]);
    assert_eq!(run.status.code(), Some(10), "{}", text(&run.stderr));
    let found = json(&run);
    assert_eq!(found["schema"], 1);
    assert_eq!(found["source"]["kind"], "recording");
    assert_eq!(found["source"]["ending"], "complete");
    assert_eq!(found["process"]["pid"], 42);
    assert_eq!(found["thresholds"]["long_poll_ns"], 10_000_000);
    let span = &found["span"];
    let length = span["ended_ns"].as_u64().unwrap() - span["began_ns"].as_u64().unwrap();
    assert_eq!(length, 5 * SECOND);
    assert_eq!(found["coverage"]["looks"], 2);
    assert_eq!(found["coverage"]["tasks"], 1);
    assert_eq!(found["coverage"]["events"], 1);
    let finding = &found["findings"][0];
    assert_eq!(finding["kind"], "lost_wake");
    assert_eq!(finding["certainty"], "proved");
    assert_eq!(finding["tasks"][0]["id"], "tokio/17");
    let sites = finding["sites"].as_array().unwrap();
    let place = |role: &str| {
        let site = sites.iter().find(|site| site["role"] == role).unwrap();
        (
            site["file"].as_str().unwrap(),
            site["line"].as_u64().unwrap(),
        )
    };
    assert_eq!(place("culprit"), ("src/gate.rs", 41));
    assert_eq!(place("waits_at"), ("src/main.rs", 88));

    let run = check(&[file]);
    assert_eq!(run.status.code(), Some(10));
    let said = text(&run.stdout);
    for part in [
        "proved lost_wake",
        "src/gate.rs:41",
        "src/main.rs:88",
        "tokio/17",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!said.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn what_is_not_asked_for_is_counted_and_does_not_count_as_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "stuck.astrace", &[stuck()]);
    let file = path.to_str().unwrap();
    let run = check(&[file, "--json", "--only", "stalled,wait_cycle"]);
    assert_eq!(run.status.code(), Some(0));
    let all = json(&check(&[file, "--json"]))["findings"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(json(&run)["findings"], Value::Array(Vec::new()));
    assert_eq!(json(&run)["left_out"], all);

    let run = check(&[
        file,
        "--json",
        "--only",
        "lost_wake",
        "--min-certainty",
        "proved",
    ]);
    assert_eq!(run.status.code(), Some(10));
    let found = json(&run);
    assert_eq!(found["findings"].as_array().unwrap().len(), 1);

    // Thresholds are told as they were given.
    let found = json(&check(&[
        file,
        "--json",
        "--stalled",
        "1.5s",
        "--long-poll",
        "250ms",
    ]));
    assert_eq!(found["thresholds"]["stalled_ns"], 1_500_000_000);
    assert_eq!(found["thresholds"]["long_poll_ns"], 250_000_000);
}

#[test]
fn nothing_found_says_what_was_looked_at_and_what_could_not_be_judged() {
    let folder = tempfile::tempdir().unwrap();
    let healthy = TaskInfo {
        wakers: Some(1),
        references: Some(2),
        ..stuck()
    };
    let path = recording(&folder, "fine.astrace", &[healthy]);
    let run = check(&[path.to_str().unwrap()]);
    let said = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{said}");
    for part in [
        "no findings",
        "5.0s",
        "1 live task",
        "memory read 2 times",
        "nothing was lost",
        "not judged: stalled (5.0 s is less than --stalled (60.0 s))",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn a_recording_that_was_cut_off_is_judged_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "cut.astrace", &[stuck()]);
    let bytes = fs::read(&path).unwrap();
    for keep in [bytes.len() - 3, bytes.len() * 2 / 3] {
        fs::write(&path, &bytes[..keep]).unwrap();
        let run = check(&[path.to_str().unwrap(), "--json"]);
        let found = json(&run);
        assert_eq!(found["source"]["ending"], "cut_off");
        assert!(found["warnings"][0].as_str().unwrap().contains("cut off"));
    }
}

#[test]
fn files_that_are_none_and_usage() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign");
    fs::write(&foreign, b"not a recording at all").unwrap();
    for path in [foreign.as_path(), Path::new("/no/such/file")] {
        let run = check(&[path.to_str().unwrap()]);
        assert_eq!(run.status.code(), Some(7), "{}", text(&run.stderr));
        assert!(run.stdout.is_empty());
    }
    for (arguments, part) in [
        (&["--pid", "1", "--only", "lost_wakes"][..], "lost_wake"),
        (&["--pid", "1", "--stalled", "60"][..], "without a unit"),
        (&["--pid", "1", "--min-certainty", "sure"][..], "likely"),
        (&[][..], "--pid"),
    ] {
        let run = check(arguments);
        assert_eq!(run.status.code(), Some(2));
        let said = text(&run.stderr);
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

/// Ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies a program to where everyone may run it.
fn for_everyone(folder: &TempDir, program: &Path) -> PathBuf {
    let copy = folder.path().join(program.file_name().unwrap());
    fs::copy(program, &copy).unwrap();
    copy
}

#[test]
fn who_may_only_read_a_process_judges_it_by_its_memory_and_is_told_how() {
    // With it, only ancestors may read a process; nobody is none.
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    if scope.is_ok_and(|scope| scope.trim() != "0") || !rustix::process::geteuid().is_root() {
        eprintln!("not run: it takes root and an open ptrace_scope");
        return;
    }
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap();
    let asynctrace = for_everyone(&folder, Path::new(env!("CARGO_BIN_EXE_asynctrace")));
    let faults = for_everyone(&folder, &Build::Dev.folder().join("faults"));
    let mut target = Ended(
        Command::new(faults)
            .arg("lost_wake/no_waker")
            .uid(NOBODY)
            .gid(NOBODY)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(target.0.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("\"ready\"")),
        "the fixture gets ready"
    );
    let pid = target.0.id().to_string();
    let as_nobody = |arguments: &[&str]| {
        Command::new(&asynctrace)
            .args(["check", "-p", &pid])
            .args(arguments)
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap()
    };
    let run = as_nobody(&[]);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(4), "{said}");
    let way_out = format!("asynctrace check --now -p {pid}");
    for part in ["not permitted", "run: sudo ", &way_out] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }

    let run = as_nobody(&["--now", "--json", "--only", "lost_wake"]);
    assert_eq!(run.status.code(), Some(10), "{}", text(&run.stderr));
    let found = json(&run);
    assert_eq!(found["source"]["kind"], "memory");
    assert_eq!(found["coverage"]["events_watched"], false);
    assert_eq!(found["coverage"]["looks"], 3);
    assert_eq!(found["findings"][0]["certainty"], "proved");
    let not_judged = found["coverage"]["not_judged"].as_array().unwrap();
    let slow = not_judged.iter().find(|one| one["kind"] == "slow_to_run");
    assert!(slow.unwrap()["reason"].as_str().unwrap().contains("--now"));
}

#[test]
fn live_a_session_and_its_recording_say_the_same() {
    let fixture = Fixture::start(Build::Dev, "faults", &["lost_wake/", "futurelock/"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.astrace");
    let file = path.to_str().unwrap();
    let pid = fixture.pid().to_string();
    let live = check(&["-p", &pid, "-d", "3", "-o", file, "--json"]);
    assert_eq!(live.status.code(), Some(10), "{}", text(&live.stderr));
    let recorded = check(&[file, "--json"]);
    assert_eq!(
        recorded.status.code(),
        Some(10),
        "{}",
        text(&recorded.stderr)
    );
    let (mut live, mut recorded) = (json(&live), json(&recorded));
    assert_eq!(live["source"]["kind"], "live");
    assert!(live["coverage"]["looks"].as_u64() >= Some(2));
    assert!(live["findings"].as_array().unwrap().len() > 3);
    // A session says in its warnings what a recording has in its header.
    for one in [&mut live, &mut recorded] {
        let object = one.as_object_mut().unwrap();
        object.remove("source");
        object.remove("warnings");
    }
    assert_eq!(live, recorded);
}
