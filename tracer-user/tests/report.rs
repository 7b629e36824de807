//! `asynctrace report` as a user runs it: on whole, unfinished, cut off, damaged, foreign, empty and
//! missing files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;
use tracer_user::address::Address;
use tracer_user::export::recording::{End, Header, Loss, Writer};
use tracer_user::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Outcome, TaskUnit, ThreadUnit, Unit, UnitId,
};
use tracer_user::rebuild::snapshot::ProcessInfo;
use tracer_user::rebuild::tracker::Statistics;

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asynctrace"))
        .arg("report")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn events(header: &Header) -> Vec<Event> {
    let start = header.started;
    let id = |unit, sequence| EventId {
        unit: UnitId(unit),
        sequence,
    };
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
    let kinds = [
        (0, EventKind::Described(Arc::new(thread))),
        (1, EventKind::Described(Arc::new(task))),
        (1, EventKind::PollBegin { thread: UnitId(0) }),
        (
            1,
            EventKind::PollEnd {
                outcome: Outcome::Pending,
                seen: EndSeen::ExitProbe,
                began: Some(start + 2_000_000),
            },
        ),
    ];
    let mut next = [0_u64; 2];
    kinds
        .into_iter()
        .enumerate()
        .map(|(at, (unit, kind))| {
            let sequence = &mut next[unit];
            *sequence += 1;
            Event {
                id: id(unit as u64, *sequence - 1),
                time: start + at as u64 * 1_000_000,
                kind,
                cause: None,
            }
        })
        .collect()
}

/// Writes a recording; `finished` with an end.
fn record(path: &Path, finished: bool) {
    let process = ProcessInfo {
        pid: 4242,
        exe: "/srv/app".into(),
        build_id: None,
    };
    let header = Header::new(process, "tokio");
    let mut writer = Writer::create(path, &header).unwrap();
    writer.events(&events(&header)).unwrap();
    let loss = Loss {
        cpu: 1,
        count: 3,
        until: header.started + 5,
    };
    writer.losses(&[loss]).unwrap();
    if finished {
        let end = End {
            time: header.started + 1_000_000_000,
            reason: "interrupted".into(),
            events: 0,
            statistics: Statistics::default(),
        };
        let written = writer.finish(&end).unwrap();
        assert_eq!(written.bytes, std::fs::metadata(path).unwrap().len());
    }
}

#[test]
fn a_whole_recording_is_reported_as_text_and_as_json() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.astrace");
    record(&path, true);
    let path = path.to_str().unwrap();

    let output = report(&[path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for part in [
        "process 4242  /srv/app",
        "1.0s recorded, 4 events",
        "ended: interrupted",
        "the kernel lost 3 records (CPU 1: 3)",
        "app::serve",
        "Longest polls",
        "1.0ms",
        "tokio/17",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }

    let output = report(&[path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["file"]["ending"], "complete");
    assert_eq!(json["duration_ns"], 1_000_000_000);
    assert_eq!(json["types"][0]["busy_ns"], 1_000_000);
    assert_eq!(json["open"][0]["task"], "tokio/17");
    assert_eq!(json["missing"]["records"], 3);
}

#[test]
fn the_life_of_a_task_is_told_and_a_window_leaves_out_the_rest() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.astrace");
    record(&path, true);
    let path = path.to_str().unwrap();

    let output = report(&[path, "--task", "17"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for part in [
        "tokio/17  app::serve  1 poll",
        "+0.002000s  poll, 1.0ms, on thread 77",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    let output = report(&[path, "--task", "tokio/17", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["events"][0]["what"], "poll");
    assert_eq!(json["events"][0]["length_ns"], 1_000_000);

    let output = report(&[path, "--task", "18"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no task 18"));

    let output = report(&[path, "--from", "0.5", "--to", "0.75", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["polls"], &json["tasks"]), (&0.into(), &1.into()));
    assert_eq!(json["duration_ns"], 250_000_000);

    for (window, says) in [
        (["--from", "1.5"].as_slice(), "the recording has 1.0 s"),
        (&["--from", "0.5", "--to", "0.5"], "before --to"),
    ] {
        let output = report(&[&[path], window].concat());
        assert_eq!(output.status.code(), Some(2), "{window:?}");
        assert!(text(&output.stderr).contains(says), "{window:?}");
        assert!(output.stdout.is_empty(), "{window:?}");
    }
}

#[test]
fn a_recording_without_its_end_is_reported_and_said_to_be_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.astrace");
    record(&path, false);
    let json = |path: &Path| -> serde_json::Value {
        let output = report(&[path.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let open = json(&path);
    assert_eq!(open["file"]["ending"], "open");
    assert_eq!(open["events"], 4);

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let cut_off = json(&path);
    assert_eq!(cut_off["file"]["ending"], "cut_off");
    assert_eq!(cut_off["events"], 4);
    assert_eq!(cut_off["missing"]["records"], 0);
    assert!(text(&report(&[path.to_str().unwrap()]).stdout).contains("was cut off"));

    let mut damaged = bytes;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(json(&path)["file"]["ending"], "damaged");
}

#[test]
fn files_that_are_none_end_with_code_7_and_say_what_to_do() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.astrace");
    let cases: [(&str, Option<&[u8]>); 5] = [
        ("could not open the recording", None),
        ("is empty", Some(b"")),
        (
            "is not an asynctrace recording: it looks like an ELF file",
            Some(b"\x7fELF\x02\x01\x01\0"),
        ),
        (
            "ends after 8 bytes, inside its header",
            Some(b"\x89ATRC\r\n\x1a"),
        ),
        (
            "the header of",
            Some(b"\x89ATRC\r\n\x1a\x01\0\0\0\0\0\0\0\0"),
        ),
    ];
    for (message, bytes) in cases {
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let output = report(&[path.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{said}");
        assert!(said.contains(message), "{said}");
        assert!(said.lines().count() >= 2, "no next step: {said}");
        assert!(output.stdout.is_empty());
    }
    let output = report(&[folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
}

#[test]
fn a_recording_replaces_what_was_there_and_a_bad_place_is_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.astrace");
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    record(&path, true);
    assert_eq!(report(&[path.to_str().unwrap()]).status.code(), Some(0));

    let process = ProcessInfo {
        pid: 1,
        exe: String::new(),
        build_id: None,
    };
    let header = Header::new(process, "tokio");
    let nowhere = folder.path().join("none/t.astrace");
    let error = Writer::create(&nowhere, &header).unwrap_err();
    assert!(error.to_string().contains("could not create"), "{error}");
}
