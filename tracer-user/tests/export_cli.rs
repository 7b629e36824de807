//! `asynctrace export` as a user runs it: every format of a recording, where it goes, and what is
//! said when it cannot go there. That the formats are right is tested beside them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tracer_user::address::Address;
use tracer_user::export::recording::{End, Header, Loss, Writer};
use tracer_user::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Outcome, TaskUnit, ThreadUnit, Unit, UnitId, WakeEffect,
};
use tracer_user::rebuild::snapshot::ProcessInfo;
use tracer_user::rebuild::suspension::{FutureState, Marks, Place, SuspendedFuture, Suspension};
use tracer_user::rebuild::tracker::Statistics;
use tracer_user::rebuild::tree::{NodeKind, NodeState};

const FORMATS: [&str; 7] = ["perfetto", "otlp", "pprof", "folded", "svg", "dot", "json"];
const MS: u64 = 1_000_000;

fn export(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asynctrace"))
        .arg("export")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn future(depth: u16, name: &str, kind: NodeKind, line: Option<u32>) -> SuspendedFuture {
    SuspendedFuture {
        depth,
        place: Place::Inside(u64::from(depth) * 16),
        mark: None,
        state: Arc::new(FutureState {
            future: name.into(),
            kind,
            state: NodeState::Suspended,
            file: line.map(|_| "src/main.rs".into()),
            line,
            waits_for: (kind == NodeKind::Leaf).then(|| "sleep".into()),
        }),
    }
}

/// A task that sleeps from 2 ms to 30 ms after the start, woken by the thread that polls it.
fn events(start: u64) -> Vec<Event> {
    let thread = Unit::Thread(ThreadUnit {
        tid: 77,
        name: Some("tokio-rt-worker".into()),
    });
    let task = Unit::Task(TaskUnit {
        runtime: "tokio".into(),
        address: Address(0x1000),
        task_id: Some(17),
        generation: 0,
        future: Some("app::serve".into()),
        existing: false,
    });
    let suspension = Arc::new(Suspension {
        futures: vec![
            future(0, "app::serve", NodeKind::AsyncFn, Some(23)),
            future(1, "tokio::Sleep", NodeKind::Leaf, None),
        ],
        missing: None,
    });
    let end = |outcome, began| EventKind::PollEnd {
        outcome,
        seen: EndSeen::ExitProbe,
        began: Some(start + began),
    };
    let begin = EventKind::PollBegin { thread: UnitId(0) };
    let wake = EventKind::Wake {
        task: UnitId(1),
        by_value: true,
        effect: WakeEffect::Scheduled,
    };
    let changed = EventKind::AwaitChanged {
        suspension,
        marks: Marks::default(),
    };
    let steps = [
        (0, 0, EventKind::Described(Arc::new(thread)), None),
        (0, 0, EventKind::Spawned { task: UnitId(1) }, None),
        (1, 0, EventKind::Described(Arc::new(task)), None),
        (1, MS, begin.clone(), Some((0, 1))),
        (1, 2 * MS, end(Outcome::Pending, MS), None),
        (0, 29 * MS, wake, None),
        (1, 30 * MS, changed, None),
        (1, 30 * MS, begin, Some((0, 2))),
        (1, 31 * MS, end(Outcome::Ready, 30 * MS), None),
        (
            1,
            31 * MS,
            EventKind::Finished {
                outcome: Outcome::Ready,
            },
            None,
        ),
    ];
    let mut next = [0_u64; 2];
    steps
        .into_iter()
        .map(|(unit, time, kind, cause)| {
            let sequence = &mut next[unit];
            *sequence += 1;
            Event {
                id: EventId {
                    unit: UnitId(unit as u64),
                    sequence: *sequence - 1,
                },
                time: start + time,
                kind,
                cause: cause.map(|(unit, sequence)| EventId {
                    unit: UnitId(unit),
                    sequence,
                }),
            }
        })
        .collect()
}

fn record(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("t.astrace");
    let process = ProcessInfo {
        pid: 4242,
        exe: "/srv/app".into(),
        build_id: None,
    };
    let header = Header::new(process, "tokio");
    let mut writer = Writer::create(&path, &header).unwrap();
    writer.events(&events(header.started)).unwrap();
    let loss = Loss {
        cpu: 1,
        count: 3,
        until: header.started + 5,
    };
    writer.losses(&[loss]).unwrap();
    let end = End {
        time: header.started + 50 * MS,
        reason: "interrupted".into(),
        events: 0,
        statistics: Statistics::default(),
    };
    writer.finish(&end).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_format_is_written_to_a_file_and_to_a_pipe_alike() {
    let folder = TempDir::new().unwrap();
    let recording = record(&folder);
    for format in FORMATS {
        let out = folder.path().join(format);
        std::fs::write(&out, vec![b'x'; 1_000_000]).unwrap();
        let output = export(&[text(&recording), "-f", format, "-o", text(&out)]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(output.stdout.is_empty());
        let said = said(&output);
        assert!(said.contains(&format!("wrote {}", out.display())), "{said}");
        assert!(said.contains("3 records were lost in the kernel"), "{said}");

        let piped = export(&[text(&recording), "-f", format]);
        assert_eq!(piped.status.code(), Some(0));
        let written = std::fs::read(&out).unwrap();
        assert!(!written.is_empty() && written == piped.stdout, "{format}");
    }
    // Nothing is left behind.
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, FORMATS.len() + 1);
}

#[test]
fn the_times_are_those_of_the_recording() {
    let folder = TempDir::new().unwrap();
    let recording = record(&folder);
    let output = export(&[text(&recording), "-f", "folded"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "app::serve 1000000\napp::serve;tokio::Sleep at src/main.rs:23 28000000\n"
    );
    let output = export(&[text(&recording), "-f", "folded", "--value", "polled"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "app::serve 2000000\n"
    );
    let output = export(&[text(&recording), "-f", "json", "--to", "0.01"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["polls"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_done_is_said_with_its_own_code() {
    let folder = TempDir::new().unwrap();
    let recording = record(&folder);
    let recording = text(&recording);
    let before = std::fs::read(recording).unwrap();
    let folder_path = text(folder.path());
    let nowhere = format!("{folder_path}/none/out");
    for (arguments, code, message) in [
        (
            vec!["-f", "dot", "--level", "polls"],
            2,
            "dot has no level polls",
        ),
        (
            vec!["-f", "json", "--level", "tasks"],
            2,
            "json has no level",
        ),
        (
            vec!["-f", "otlp", "--value", "both"],
            2,
            "--value is for folded and svg",
        ),
        (
            vec!["-f", "json", "-o", recording],
            2,
            "is the recording itself",
        ),
        (vec!["-f", "json", "-o", folder_path], 7, "could not create"),
        (vec!["-f", "json", "-o", &nowhere], 7, "could not create"),
        (
            vec!["-f", "json", "-o", "/dev/full"],
            7,
            "could not write /dev/full",
        ),
    ] {
        let mut all = vec![recording];
        all.extend(&arguments);
        let output = export(&all);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{said}");
        assert!(said.lines().count() >= 2, "no next step: {said}");
    }
    assert_eq!(std::fs::read(recording).unwrap(), before);
    for format in FORMATS {
        let output = Command::new(env!("CARGO_BIN_EXE_asynctrace"))
            .args(["export", recording, "-f", format])
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(7), "{format}: {}", said(&output));
        assert!(said(&output).contains("the disk is full"));
    }
    let output = export(&[folder_path, "-f", "json"]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
}

#[test]
fn a_terminal_gets_no_bytes_and_a_reader_may_go() {
    let folder = TempDir::new().unwrap();
    let recording = record(&folder);
    let program = env!("CARGO_BIN_EXE_asynctrace");
    for (format, code) in [("perfetto", 2), ("pprof", 2), ("otlp", 2), ("folded", 0)] {
        // `script` gives its command a terminal.
        let line = format!("{program} export {} -f {format}", text(&recording));
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert_eq!(
            shown.contains("name a file: -o trace."),
            code == 2,
            "{shown}"
        );
    }
    let line = format!(
        "{program} export {} -f json | head -c 1; exit ${{PIPESTATUS[0]}}",
        text(&recording)
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
