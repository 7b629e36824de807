//! `asynctrace report --requests` and what belongs to it, as a user runs it on a file: durations,
//! reasons and critical paths of a made-up service of which everything is known.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tracer_user::address::Address;
use tracer_user::export::recording::{End, Header, Writer};
use tracer_user::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Outcome, TaskUnit, ThreadUnit, Unit, UnitId, WakeEffect,
};
use tracer_user::rebuild::snapshot::ProcessInfo;
use tracer_user::rebuild::suspension::{FutureState, Marks, Place, SuspendedFuture, Suspension};
use tracer_user::rebuild::tracker::Statistics;
use tracer_user::rebuild::tree::{NodeKind, NodeState};

const MS: u64 = 1_000_000;

/// Requests in the file.
const REQUESTS: u64 = 40;

/// Milliseconds that a request sleeps: numbers 7 and 27 (from 1) are slow.
const fn sleeps(number: u64) -> u64 {
    if number % 20 == 7 { 50 } else { 5 }
}

fn future(
    depth: u16,
    place: u64,
    path: &str,
    line: u32,
    waits_for: Option<&str>,
) -> SuspendedFuture {
    let leaf = waits_for.is_some();
    SuspendedFuture {
        depth,
        place: Place::Inside(place),
        mark: None,
        state: Arc::new(FutureState {
            future: path.into(),
            kind: if leaf {
                NodeKind::Leaf
            } else {
                NodeKind::AsyncFn
            },
            state: NodeState::Suspended,
            file: (!leaf).then(|| "src/main.rs".into()),
            line: (!leaf).then_some(line),
            waits_for: waits_for.map(Into::into),
        }),
    }
}

/// A thread (unit 0) and a connection's task (unit 1).
struct Trace {
    events: Vec<Event>,
    next: [u64; 2],
}

impl Trace {
    fn add(&mut self, unit: usize, time: u64, kind: EventKind, cause: Option<EventId>) -> EventId {
        let id = EventId {
            unit: UnitId(unit as u64),
            sequence: self.next[unit],
        };
        self.next[unit] += 1;
        self.events.push(Event {
            id,
            time,
            kind,
            cause,
        });
        id
    }

    /// The task, standing at `futures`, is woken at `time` and polled from 0.1 to 0.2 ms later.
    fn turn(&mut self, time: u64, futures: Vec<SuspendedFuture>) {
        let wake = EventKind::Wake {
            task: UnitId(1),
            by_value: true,
            effect: WakeEffect::Scheduled,
        };
        let wake = self.add(0, time, wake, None);
        let (begin, end) = (time + MS / 10, time + MS / 5);
        let stood = EventKind::AwaitChanged {
            suspension: Arc::new(Suspension {
                futures,
                missing: None,
            }),
            marks: Marks::default(),
        };
        self.add(1, begin, stood, None);
        let thread = UnitId(0);
        self.add(1, begin, EventKind::PollBegin { thread }, Some(wake));
        let ends = EventKind::PollEnd {
            outcome: Outcome::Pending,
            seen: EndSeen::ExitProbe,
            began: Some(begin),
        };
        self.add(1, end, ends, None);
    }
}

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
        future: Some("app::connection".into()),
        existing: true,
    });
    let mut trace = Trace {
        events: Vec::new(),
        next: [0; 2],
    };
    trace.add(0, start, EventKind::Described(Arc::new(thread)), None);
    trace.add(1, start, EventKind::Described(Arc::new(task)), None);
    let reading = || {
        vec![
            future(0, 0, "app::connection", 5, None),
            future(1, 8, "tokio::net::tcp::stream::TcpStream", 0, Some("io")),
        ]
    };
    let handling = || {
        vec![
            future(0, 0, "app::connection", 6, None),
            future(1, 16, "app::handle", 20, None),
            future(2, 24, "tokio::time::sleep::Sleep", 0, Some("sleep")),
        ]
    };
    for number in 1..=REQUESTS {
        let at = start + number * 100 * MS;
        trace.turn(at, reading());
        trace.turn(at + sleeps(number) * MS, handling());
    }
    // What became of the last request is told where the task stands next.
    trace.turn(start + (REQUESTS + 1) * 100 * MS, reading());
    trace.events
}

fn recording(folder: &TempDir, patterns: &[&str]) -> PathBuf {
    let path = folder.path().join("service.astrace");
    let process = ProcessInfo {
        pid: 4242,
        exe: "/srv/app".into(),
        build_id: None,
    };
    let mut header = Header::new(process, "tokio");
    header.requests = patterns.iter().map(ToString::to_string).collect();
    let mut writer = Writer::create(&path, &header).unwrap();
    writer.events(&events(header.started)).unwrap();
    let end = End {
        time: header.started + 5_000 * MS,
        reason: "interrupted".into(),
        events: 0,
        statistics: Statistics::default(),
    };
    writer.finish(&end).unwrap();
    path
}

fn report(file: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asynctrace"))
        .arg("report")
        .arg(file)
        .args(arguments)
        .output()
        .unwrap()
}

fn json(file: &Path, arguments: &[&str]) -> Value {
    let output = report(file, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn durations_and_reasons_are_those_of_the_program() {
    let folder = TempDir::new().unwrap();
    let file = recording(&folder, &[]);
    let list = json(&file, &["--requests", "--critical-path"]);
    assert_eq!(list["schema"], 1);
    // Nobody named it: it is what the connection awaits again and again.
    assert_eq!(list["chosen"][0]["what"], "app::handle");
    assert_eq!(list["chosen"][0]["reason"]["kind"], "loop");
    let requests = list["requests"].as_array().unwrap();
    assert_eq!(requests.len() as u64, REQUESTS);
    let mut slow = Vec::new();
    for request in requests {
        // From the poll that made it to the end of the one that ended it.
        let expected = sleeps(request["id"].as_u64().unwrap()) * MS + MS / 10;
        assert_eq!(request["duration_ns"], expected, "{request}");
        assert_eq!(request["outcome"], "ready");
        if let Some(line) = request["because"]["line"].as_u64() {
            assert_eq!(line, 20);
            assert_eq!(request["because"]["future"], "tokio::time::sleep::Sleep");
            slow.push(request["id"].as_u64().unwrap());
        }
    }
    assert_eq!(slow, [7, 27]);
    let kind = &list["kinds"][0];
    assert_eq!(kind["p50_ns"], 5 * MS + MS / 10);
    assert_eq!(kind["p99_ns"], 50 * MS + MS / 10);
    assert_eq!(kind["slow"]["verdict"], "slow");
    assert_eq!(kind["slow"]["clusters"]["bursts"], Value::Array(Vec::new()));
    let share = &list["critical_paths"][0]["slow"]["shares"][0];
    assert_eq!(share["kind"], "waiting");
    assert_eq!(share["awaited"]["line"], 20);
}

#[test]
fn one_request_is_opened_and_its_path_sums_to_it() {
    let folder = TempDir::new().unwrap();
    let file = recording(&folder, &["*::handle"]);
    let one = json(&file, &["--id", "7"]);
    assert_eq!(one["vertices"][0]["future"], "app::handle");
    assert_eq!(one["vertices"][1]["waits_for"], "sleep");
    // The sleep: from the end of the poll that made it to the begin of the one that ended it.
    assert_eq!(one["vertices"][1]["waiting_ns"], 50 * MS - MS / 10);
    let pieces = one["critical_path"]["pieces"].as_array().unwrap();
    let sum: u64 = pieces
        .iter()
        .map(|piece| piece["length_ns"].as_u64().unwrap())
        .sum();
    assert_eq!(one["request"]["duration_ns"], sum);
    let kinds: Vec<&str> = pieces
        .iter()
        .map(|piece| piece["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["polled", "waiting", "scheduled", "polled"]);
    // The same between its two events.
    let event = |at: usize| pieces[at]["event"].as_str().unwrap().to_owned();
    let between = json(&file, &["--between", &event(0), &event(3)]);
    assert_eq!(between["length_ns"], 50 * MS);
    // Levels open more and more.
    let opened = |level: &str| json(&file, &["--id", "7", "--level", level]);
    assert_eq!(opened("requests")["tasks"].as_array().unwrap().len(), 0);
    assert_eq!(opened("tasks")["tasks"].as_array().unwrap().len(), 1);
    let polls = opened("polls");
    assert_eq!(polls["vertices"][0]["went_on"].as_array().unwrap().len(), 2);
}

#[test]
fn a_recording_remembers_what_requests_are_and_the_command_line_overrides_it() {
    let folder = TempDir::new().unwrap();
    let file = recording(&folder, &["app::connection"]);
    let list = json(&file, &["--requests"]);
    assert_eq!(list["requests"].as_array().unwrap().len(), 1);
    assert_eq!(list["requests"][0]["open"], true);
    assert_eq!(list["requests"][0]["at_least"], true);
    let list = json(&file, &["--request", "handle", "--top", "3"]);
    assert_eq!(list["requests"].as_array().unwrap().len(), 3);
    assert_eq!(list["not_listed"], REQUESTS - 3);
    let list = json(&file, &["--request", "nobody"]);
    assert_eq!(list["unmatched"][0], "nobody");
    assert_eq!(list["candidates"][0]["what"], "app::handle");
}

#[test]
fn a_question_without_an_answer_is_a_usage_error_with_a_next_step() {
    let folder = TempDir::new().unwrap();
    let file = recording(&folder, &[]);
    for (arguments, says) in [
        (&["--id", "41"][..], "there are 40"),
        (&["--id", "0"], "no request 0"),
        (&["--between", "u9#1", "u1#3"], "event u9#1 is not known"),
        (&["--between", "u1#5", "u1#2"], "is later than"),
        (&["--between", "nothing", "u1#2"], "UNIT#SEQUENCE"),
        (
            &["--level", "spans"],
            "expected requests, tasks, awaits or polls",
        ),
    ] {
        let output = report(&file, arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn text_goes_to_standard_output_and_names_the_choice() {
    let folder = TempDir::new().unwrap();
    let file = recording(&folder, &[]);
    let output = report(&file, &["--requests"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "40 of app::handle: awaited again and again by app::connection",
        "--request GLOB names others",
        "2 of 2 spent 49.9ms in tokio::time::sleep::Sleep  src/main.rs:20; others 4.90ms  #7, #27",
        "in time they are spread as by chance",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(output.stderr.is_empty());
}
