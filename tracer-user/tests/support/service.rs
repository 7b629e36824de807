//! The fixture `service`: recorded while it serves, with what it measured itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::fixture::Fixture;
use super::lateness::{Lateness, Watch};
use super::{Build, command, workspace};

const PATIENCE: Duration = Duration::from_secs(90);

/// Begin and end, CLOCK_MONOTONIC in nanoseconds.
pub(crate) type Span = (u64, u64);

/// A request as the service measured it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Its number.
    pub id: u64,
    /// Its task, as asynctrace names it.
    pub task: String,
    /// From begin to end.
    pub span: Span,
    /// Each await by its marker.
    pub awaits: BTreeMap<String, Span>,
}

/// What the service told at its end.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Its requests.
    pub requests: Vec<Measured>,
    /// When the lock was held elsewhere.
    pub held: Vec<Span>,
}

/// A recording of the service at work.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Where the recording is; goes with this value.
    pub folder: tempfile::TempDir,
    /// The recording.
    pub file: PathBuf,
    /// What `record` said on stderr.
    pub said: String,
    /// What the service told.
    pub told: Told,
    /// When the machine was late meanwhile.
    pub late: Lateness,
}

impl Recorded {
    /// The recording's path as text.
    pub(crate) fn path(&self) -> &str {
        self.file.to_str().expect("UTF-8")
    }

    /// `report FILE ARGUMENTS --json`.
    ///
    /// # Panics
    /// If it fails.
    pub(crate) fn report(&self, arguments: &[&str]) -> Value {
        let arguments = [&["report", self.path(), "--json"], arguments].concat();
        let run = command::run(&arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        serde_json::from_str(&run.stdout).expect("JSON")
    }
}

/// Starts the service `name`, records all that it serves for `seconds`, and ends both.
///
/// # Panics
/// If anything of that fails.
pub(crate) fn record(build: Build, name: &str, seconds: u32, arguments: &[&str]) -> Recorded {
    record_by(&[], "Attached to", build, name, seconds, arguments)
}

/// As [`record`], by looks at memory alone: so many a second.
///
/// # Panics
/// If anything of that fails.
pub(crate) fn sample(hertz: &str, build: Build, seconds: u32, arguments: &[&str]) -> Recorded {
    let by = ["--sample", hertz];
    record_by(&by, "Looking at", build, "service", seconds, arguments)
}

fn record_by(
    by: &[&str],
    word: &str,
    build: Build,
    name: &str,
    seconds: u32,
    arguments: &[&str],
) -> Recorded {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("service.astrace");
    let seconds = seconds.to_string();
    let arguments = [&["--wait", "--seconds", &seconds], arguments].concat();
    let mut service = Fixture::start(build, name, &arguments);
    let pid = service.pid().to_string();
    let log = folder.path().join("record.log");
    let mut recorder = command::asynctrace(&["record", "--pid", &pid, "-o"])
        .arg(&file)
        .args(by)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("asynctrace starts");
    wait_for(&mut recorder, &log, word);
    let watch = Watch::start();
    service.tell("go");
    let mut told = Told::default();
    loop {
        let line = service.next_line(PATIENCE);
        if let Some(count) = line["served"].as_u64() {
            assert_eq!(count, told.requests.len() as u64);
            break;
        }
        take(&line, &mut told);
    }
    // What it did last is in the recording within a second.
    thread::sleep(Duration::from_millis(300));
    command::signal(recorder.id().cast_signed(), Signal::INT);
    let status = recorder.wait().expect("our child");
    let late = watch.end();
    let said = fs::read_to_string(&log).expect("a log");
    assert!(status.success(), "{said}");
    Recorded {
        folder,
        file,
        said,
        told,
        late,
    }
}

fn wait_for(recorder: &mut Child, log: &std::path::Path, word: &str) {
    let begin = Instant::now();
    loop {
        let said = fs::read_to_string(log).expect("a log");
        if said.contains(word) {
            return;
        }
        let ended = recorder.try_wait().expect("our child");
        assert!(ended.is_none(), "it ended before it said {word:?}: {said}");
        assert!(begin.elapsed() < PATIENCE, "no {word:?}: {said}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn take(line: &Value, told: &mut Told) {
    let number = |value: &Value| value.as_u64().expect("a number");
    if let Some(held) = line["held"].as_array() {
        told.held.push((number(&held[0]), number(&held[1])));
    } else if line.get("request").is_some() {
        let awaits = line["awaits"].as_array().expect("awaits").iter();
        told.requests.push(Measured {
            id: number(&line["request"]),
            task: line["task"].as_str().expect("a task").to_owned(),
            span: (number(&line["begin"]), number(&line["end"])),
            awaits: awaits
                .map(|entry| {
                    let name = entry[0].as_str().expect("a name").to_owned();
                    (name, (number(&entry[1]), number(&entry[2])))
                })
                .collect(),
        });
    }
}

/// The lines of the service's markers, by file (as debug information names it) and marker.
///
/// # Panics
/// If a source cannot be read.
pub(crate) fn markers() -> BTreeMap<String, (String, u64)> {
    let folder = workspace().join("fixtures/src/bin/service");
    let mut markers = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("sources") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a source");
        let name = path.file_name().expect("a file").to_string_lossy();
        for (line, number) in text.lines().zip(1_u64..) {
            if let Some((_, marker)) = line.split_once("//@ ") {
                markers.insert(marker.trim().to_owned(), (name.to_string(), number));
            }
        }
    }
    markers
}
