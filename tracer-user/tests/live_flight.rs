//! The flight recorder (`record --keep`) on real processes: what has it write, that it goes on, and
//! that its files are recordings like any other.
//!
//! Needs root (uprobes and BPF); says so and passes where that is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::Build;
use support::command::{asynctrace, run, signal};
use support::fixture::Fixture;

const PATIENCE: Duration = Duration::from_secs(60);

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// A flight recorder, killed when dropped.
struct Recorder {
    child: Child,
    folder: tempfile::TempDir,
}

impl Recorder {
    /// Of a process, attached.
    fn start(pid: i32, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.astrace");
        let (pid, file) = (pid.to_string(), file.to_str().unwrap());
        let arguments = [&["record", "-p", &pid, "-o", file], arguments].concat();
        Self::spawn(folder, &mut asynctrace(&arguments))
    }

    /// By a command that becomes one, attached.
    fn spawn(folder: tempfile::TempDir, command: &mut Command) -> Self {
        let said = File::create(folder.path().join("said")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        let recorder = Self { child, folder };
        recorder.wait_until("it is attached", |said| said.contains("Press Ctrl-C"));
        recorder
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !holds(&self.said()) {
            assert!(begun.elapsed() < PATIENCE, "not {what}: {}", self.said());
            sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, which: Signal) {
        signal(self.child.id().cast_signed(), which);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its exit code.
    fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not end: {}",
                self.said()
            );
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `report --json` says of a file, which must be complete.
fn report(file: &Path) -> Value {
    let run = run(&["report", file.to_str().unwrap(), "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["file"]["ending"], "complete", "{report}");
    assert_eq!(report["missing"]["records"], 0, "{report}");
    report
}

fn seconds(report: &Value) -> f64 {
    report["duration_ns"].as_f64().unwrap() / 1e9
}

#[test]
fn live_flight_writes_at_each_signal_and_goes_on() {
    if !permitted() {
        return;
    }
    let load = "--pairs 2 --yielders 1 --sleepers 3 --rate 100";
    let load: Vec<&str> = load.split(' ').collect();
    let target = Fixture::start(Build::Release, "busy", &load);
    let mut recorder = Recorder::start(target.pid(), &["--keep", "2s", "--max-overhead", "100"]);
    sleep(Duration::from_secs(4));
    recorder.signal(Signal::USR1);
    recorder.wait_until("the first is written", |said| {
        said.contains("t.1.astrace: ")
    });
    sleep(Duration::from_secs(1));
    recorder.signal(Signal::USR1);
    recorder.wait_until("the second is written", |said| {
        said.contains("t.2.astrace: ")
    });
    recorder.signal(Signal::INT);
    assert_eq!(recorder.end(), Some(0), "{}", recorder.said());

    let names = ["t.1.astrace", "t.2.astrace", "t.astrace"];
    let reports = names.map(|name| report(&recorder.file(name)));
    for report in &reports {
        let kept = seconds(report);
        assert!((2.0..4.0).contains(&kept), "{kept} s: {report}");
        // Those that did nothing since the attach are known, and where they stand.
        assert_eq!(report["tasks"], 9, "{report}");
        assert_eq!(report["incomplete"]["gaps"], 0, "{report}");
        assert!(report["polls"].as_u64().unwrap() > 100, "{report}");
        let sleeps = report["open"].as_array().unwrap().iter().filter(|open| {
            open["future"]
                .as_str()
                .is_some_and(|future| future.contains("sleeper"))
        });
        assert_eq!(sleeps.count(), 3, "{report}");
    }
    let kept = |report: &Value, what: &str| report["file"]["kept"][what].clone();
    assert_eq!(kept(&reports[0], "why"), "SIGUSR1");
    assert_eq!(kept(&reports[2], "trigger"), "end");
    let from = |report: &Value| report["started_unix_ns"].as_u64().unwrap();
    assert!(from(&reports[0]) < from(&reports[1]), "{reports:?}");
    let check = run(&[
        "check",
        recorder.file("t.1.astrace").to_str().unwrap(),
        "--json",
    ]);
    let answer: Value = serde_json::from_str(&check.stdout).unwrap();
    let sure: Vec<&Value> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["certainty"] != "possible")
        .collect();
    assert!(sure.is_empty(), "a healthy program: {sure:?}");
    let out = recorder.file("t.pftrace");
    let file = recorder.file("t.2.astrace");
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let export = run(&["export", file, "-f", "perfetto", "-o", out]);
    assert_eq!(export.code, Some(0), "{}", export.stderr);
}

#[test]
fn live_flight_writes_at_a_slow_request() {
    if !permitted() {
        return;
    }
    let arguments = ["--wait", "--connections", "2", "--seconds", "4"];
    let mut target = Fixture::start(Build::Release, "service", &arguments);
    let flags = [
        "--keep",
        "10s",
        "--on-slow-request",
        "handle=25ms",
        "--pause",
        "1s",
    ];
    let mut recorder = Recorder::start(target.pid(), &flags);
    target.tell("");
    recorder.wait_until("a slow one is written", |said| {
        said.contains("t.1.astrace: ")
    });
    let report = report(&recorder.file("t.1.astrace"));
    assert_eq!(report["file"]["kept"]["trigger"], "request", "{report}");
    let why = report["file"]["kept"]["why"].as_str().unwrap();
    assert!(why.contains("more than 25ms"), "{why}");
    recorder.signal(Signal::INT);
    assert_eq!(recorder.end(), Some(0), "{}", recorder.said());
}

#[test]
fn live_flight_writes_at_a_slow_await() {
    if !permitted() {
        return;
    }
    let arguments = ["--wait", "--connections", "2", "--seconds", "4"];
    let mut target = Fixture::start(Build::Release, "service", &arguments);
    // Requests take longer than that, and what they await in turn: only this one counts.
    let flags = ["--keep", "10s", "--on-slow-await", "look_up=25ms"];
    let mut recorder = Recorder::start(target.pid(), &flags);
    target.tell("");
    recorder.wait_until("a slow one is written", |said| {
        said.contains("t.1.astrace: ")
    });
    let file = recorder.file("t.1.astrace");
    let report = report(&file);
    assert_eq!(report["file"]["kept"]["trigger"], "await", "{report}");
    let why = report["file"]["kept"]["why"].as_str().unwrap();
    assert!(why.contains("service::requests::look_up"), "{why}");
    // What had it written is in it, with all of the request around it.
    let requests = run(&[
        "report",
        file.to_str().unwrap(),
        "--requests",
        "--request",
        "handle",
        "--json",
    ]);
    let listed: Value = serde_json::from_str(&requests.stdout).unwrap();
    let slow = listed["requests"].as_array().unwrap().iter();
    let slow = slow.filter(|one| one["duration_ns"].as_u64() >= Some(25_000_000));
    assert!(slow.count() >= 1, "{listed}");
    recorder.signal(Signal::INT);
    assert_eq!(recorder.end(), Some(0), "{}", recorder.said());
}

#[test]
fn live_flight_writes_at_a_finding() {
    if !permitted() {
        return;
    }
    let target = Fixture::start(Build::Release, "faults", &["busy_poll/wakes_itself"]);
    // As users have it: all of what spins without a rest is more than an unoptimised build judges.
    let flags = [
        "--keep",
        "10s",
        "--on-finding",
        "busy_poll",
        "--max-overhead",
        "5",
    ];
    let mut recorder = Recorder::start(target.pid(), &flags);
    recorder.wait_until("the finding is written", |said| {
        said.contains("t.1.astrace: ")
    });
    let file = recorder.file("t.1.astrace");
    let report = report(&file);
    assert_eq!(report["file"]["kept"]["trigger"], "finding", "{report}");
    let why = report["file"]["kept"]["why"].as_str().unwrap();
    assert!(why.contains("busy_poll"), "{why}");
    // Who opens the file finds what had it written.
    let check = run(&["check", file.to_str().unwrap(), "--json"]);
    assert!(check.stdout.contains("\"busy_poll\""), "{}", check.stdout);
    recorder.signal(Signal::INT);
    assert_eq!(recorder.end(), Some(0), "{}", recorder.said());
}

/// A disk that is full when the recorder is asked to write, and has room again later: what was kept
/// at the time of asking is written then.
#[test]
fn live_flight_keeps_what_a_full_disk_refused() {
    if !permitted() {
        return;
    }
    let target = Fixture::start(Build::Release, "busy", &["--pairs", "1", "--rate", "50"]);
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // A disk of its own, in a mount namespace of the recorder's own: nothing is left of it.
    let script = "mount -t tmpfs -o size=1M none \"$0\" && exec \"$@\"";
    let file = disk.join("t.astrace");
    let pid = target.pid().to_string();
    let mut recorder = Recorder::spawn(
        folder,
        Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .arg(&disk)
            .arg(env!("CARGO_BIN_EXE_asynctrace"))
            .args(["record", "-p", &pid, "--keep", "20s", "-o"])
            .arg(&file),
    );
    let inside = PathBuf::from(format!("/proc/{}/root", recorder.child.id()))
        .join(disk.strip_prefix("/").unwrap());
    let filler = inside.join("filler");
    let full = std::fs::write(&filler, vec![0; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    sleep(Duration::from_secs(2));
    recorder.signal(Signal::USR1);
    recorder.wait_until("the refusal is told", |said| said.contains("stays kept"));
    assert!(!inside.join("t.1.astrace").exists());
    let refused = Instant::now();
    sleep(Duration::from_secs(3));
    std::fs::remove_file(&filler).unwrap();
    recorder.wait_until("it is written after all", |said| {
        said.contains("t.1.astrace: ")
    });
    let late = refused.elapsed();
    // The namespace ends with the recorder.
    std::fs::copy(inside.join("t.1.astrace"), recorder.file("first")).unwrap();
    let report = report(&recorder.file("first"));
    let kept = seconds(&report);
    // Events come a tenth of a second after they happened.
    assert!(kept >= 1.8, "what came before it: {kept} s");
    assert_eq!(report["file"]["kept"]["why"], "SIGUSR1", "{report}");
    assert!(
        kept < 2.0 + late.as_secs_f64(),
        "{kept} s: it is that of the first try"
    );
    recorder.signal(Signal::INT);
    assert_eq!(recorder.end(), Some(0), "{}", recorder.said());
}

#[test]
fn live_flight_writes_at_a_panic_and_at_the_targets_end() {
    if !permitted() {
        return;
    }
    let arguments = ["--count", "50", "--pause-ms", "15000"];
    let target = Fixture::start(Build::Release, "panics", &arguments);
    let mut recorder = Recorder::start(target.pid(), &["--keep", "30s"]);
    assert_eq!(recorder.end(), Some(0), "{}", recorder.said());
    let last = report(&recorder.file("t.astrace"));
    let why = last["file"]["kept"]["why"].as_str().unwrap();
    assert!(why.contains("the target has exited"), "{why}");
    // The process ends with its last panics: they may be in the last file only.
    let panicked = |text: &str| text.contains("panicked at");
    assert!(panicked(why) || panicked(&recorder.said()), "{why}");
    let check = run(&[
        "check",
        recorder.file("t.astrace").to_str().unwrap(),
        "--json",
    ]);
    assert!(check.stdout.contains("\"panicked\""), "{}", check.stdout);
}

#[test]
fn live_flight_says_at_once_when_it_could_not_write() {
    if !permitted() {
        return;
    }
    let target = Fixture::start(Build::Release, "busy", &["--pairs", "1", "--rate", "10"]);
    let pid = target.pid().to_string();
    let run = run(&[
        "record",
        "-p",
        &pid,
        "--keep",
        "5s",
        "-o",
        "/proc/no/such/x",
    ]);
    assert_eq!(run.code, Some(7), "{}", run.stderr);
    assert!(run.stderr.contains("/proc/no/such/x"), "{}", run.stderr);
}
