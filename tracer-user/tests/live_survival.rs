//! The target survives us: it gives the same answer with the same exit code as when nobody traces
//! it, whatever it does, whatever becomes of it or of us; and afterwards no probe is left. That is
//! read from the kernel: its list of links, and the target's code compared with its file, byte by
//! byte (`support/kernel.rs`).
//!
//! What is tried in `live_attach.rs` (a thousand panics, exit and exec seen by a session) is not
//! repeated here: these are runs of the real command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::Build;
use support::command::{self, signal};
use support::fixture::Fixture;
use support::kernel::{changed_code, expect_no_probe, wait_for_probes};
use tracer_user::export::recording::{Item, Reader};
use tracer_user::rebuild::event::EventKind;

const PATIENCE: Duration = Duration::from_secs(60);

/// What `survivor` exits with when every chapter had the same answer.
const GOOD: Option<i32> = Some(42);

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// The fixture `survivor` in one of its modes.
struct Survivor {
    fixture: Fixture,
}

impl Survivor {
    fn start(mode: &str) -> Self {
        Self::start_with(mode, "0")
    }

    fn start_with(mode: &str, backtrace: &str) -> Self {
        let mut program = Command::new(Build::Release.folder().join("survivor"));
        program
            .args(["--mode", mode])
            .env("RUST_BACKTRACE", backtrace)
            // What panics say.
            .stderr(Stdio::null());
        Self {
            fixture: Fixture::of(&mut program),
        }
    }

    fn pid(&self) -> i32 {
        self.fixture.pid()
    }

    /// Waits until it has said something.
    fn wait_for(&self, word: &str) -> Value {
        let begin = Instant::now();
        loop {
            let line = self
                .fixture
                .next_line(PATIENCE.saturating_sub(begin.elapsed()));
            if line.get(word).is_some() {
                return line;
            }
        }
    }

    /// Tells it to end, which it must do with [`GOOD`]; its answer.
    fn end(mut self) -> u64 {
        let answer = self.answer();
        assert_eq!(self.fixture.wait(PATIENCE), GOOD);
        answer
    }

    /// Tells it to end what it does now; its answer.
    fn answer(&mut self) -> u64 {
        self.fixture.tell("");
        let told = self.wait_for("answer");
        assert_eq!(told["same"], true, "{told}");
        told["answer"].as_u64().unwrap()
    }
}

/// The answer of a mode when nobody traces it.
fn untraced(mode: &str) -> u64 {
    let survivor = Survivor::start(mode);
    std::thread::sleep(Duration::from_millis(100));
    survivor.end()
}

/// `asynctrace` on a process, while it runs. Killed when dropped.
struct Tracer {
    child: Child,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Tracer {
    /// Starts `asynctrace record`, and does not wait for it.
    fn start(pid: i32, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let child = command::asynctrace(&["record", "--pid", &pid.to_string(), "--output"])
            .arg(&file)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            file,
            _folder: folder,
        }
    }

    /// The same, and waits until the probes are in the target's code.
    fn attached(pid: i32, arguments: &[&str]) -> Self {
        let tracer = Self::start(pid, arguments);
        wait_for_probes(pid);
        tracer
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn interrupt(&self) {
        signal(self.pid(), Signal::INT);
    }

    /// Waits for its end: exit code (`None`: a signal) and what it said.
    fn wait(&mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "asynctrace does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        std::io::Read::read_to_string(stderr, &mut said).unwrap();
        (status.code(), said)
    }

    /// Waits for its end, which must be a good one; the number of polls that it recorded.
    fn polls(mut self) -> usize {
        let (code, said) = self.wait();
        assert_eq!(code, Some(0), "{said}");
        let mut reader = Reader::open(&self.file).unwrap();
        let mut polls = 0;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Events(events) = item {
                let begins = |kind: &EventKind| matches!(kind, EventKind::PollBegin { .. });
                polls += events.iter().filter(|event| begins(&event.kind)).count();
            }
        }
        polls
    }

    /// Ends it by Ctrl-C; the number of polls that it recorded.
    fn stop(self) -> usize {
        self.interrupt();
        self.polls()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Traces a mode for a while; its answer must be that of an untraced run.
fn survives(mode: &str, backtrace: &str, arguments: &[&str]) {
    let expected = untraced(mode);
    let survivor = Survivor::start_with(mode, backtrace);
    let pid = survivor.pid();
    let tracer = Tracer::attached(pid, arguments);
    std::thread::sleep(Duration::from_millis(700));
    assert!(changed_code(pid).unwrap() > 0, "the check sees probes");
    let polls = tracer.stop();
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected, "mode {mode}");
    assert!(polls > 100, "{mode}: {polls}");
}

#[test]
fn live_panics_that_are_caught_at_any_depth_are_caught() {
    if permitted() {
        for backtrace in ["0", "1"] {
            survives("panics", backtrace, &["--exact-polls"]);
        }
    }
}

#[test]
fn live_a_forked_child_goes_on_without_us() {
    if !permitted() {
        return;
    }
    // Children that end before their parent.
    survives("fork", "0", &[]);
    // One that goes on after it: with the code that it got from its parent, probes and all.
    let expected = untraced("plain");
    let survivor = Survivor::start("forked");
    let child = i32::try_from(survivor.wait_for("child")["child"].as_i64().unwrap()).unwrap();
    let first = Tracer::attached(survivor.pid(), &[]);
    assert!(first.stop() > 0);
    assert_eq!(changed_code(child), Some(0));
    let mut survivor = survivor;
    assert_eq!(survivor.answer(), expected);
    let told = survivor.wait_for("child_answer");
    assert_eq!(told["child_answer"].as_u64(), Some(expected), "{told}");
    assert_eq!(told["same"], true);
    assert_eq!(survivor.fixture.wait(PATIENCE), GOOD);
    expect_no_probe(child);
}

#[test]
fn live_a_program_that_executes_itself_goes_on() {
    if !permitted() {
        return;
    }
    let expected = untraced("plain");
    let mut survivor = Survivor::start("exec");
    let pid = survivor.pid();
    let mut tracer = Tracer::attached(pid, &[]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(survivor.answer(), expected);
    survivor.wait_for("ready");
    // The same file is now another program: everything known of its tasks is void.
    let (code, said) = tracer.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("replaced its program"), "{said}");
    expect_no_probe(pid);
    assert_eq!(survivor.end(), expected);
}

#[test]
fn live_threads_come_and_go() {
    if permitted() {
        survives("threads", "0", &[]);
    }
}

#[test]
fn live_a_library_with_futures_is_loaded_and_unloaded() {
    if permitted() {
        survives("library", "0", &["--exact-polls"]);
    }
}

#[test]
fn live_a_target_that_gives_up_root_or_system_calls_goes_on() {
    if !permitted() {
        return;
    }
    for (mode, word) in [("setuid", "nobody"), ("seccomp", "filtered")] {
        let expected = untraced(mode);
        // Attached before it does so, while it does, and after.
        let survivor = Survivor::start(mode);
        let pid = survivor.pid();
        let tracer = Tracer::start(pid, &["--exact-polls"]);
        survivor.wait_for(word);
        wait_for_probes(pid);
        assert!(tracer.stop() > 0);
        expect_no_probe(pid);
        let tracer = Tracer::attached(pid, &["--exact-polls"]);
        let dump = command::dump(pid);
        assert!(!dump["tasks"].as_array().unwrap().is_empty(), "{dump}");
        assert_eq!(survivor.end(), expected, "{mode}");
        assert!(tracer.polls() > 0);
        expect_no_probe(pid);
    }
}
