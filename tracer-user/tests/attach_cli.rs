//! `asynctrace attach` and `record` of real processes: how they end, and what they say.
//!
//! Needs root (uprobes and BPF); says so and passes where that is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::command::{Run, asynctrace, run, signal};
use support::fixture::Fixture;
use support::{Build, command};

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

/// A target with a steady load of some hundred polls a second.
fn target(arguments: &[&str]) -> Fixture {
    let load = [
        "--pairs",
        "2",
        "--yielders",
        "1",
        "--sleepers",
        "3",
        "--rate",
        "100",
    ];
    Fixture::start(Build::Release, "busy", &[&load, arguments].concat())
}

/// A running `asynctrace`, killed when dropped.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    /// Starts it and waits until the probes are in place.
    fn start(arguments: &[&str]) -> Self {
        let mut child = asynctrace(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self {
            child,
            stderr,
            said: String::new(),
        };
        running.listen_until("Press Ctrl-C to stop.");
        running
    }

    fn listen_until(&mut self, word: &str) {
        while !self.said.contains(word) {
            let length = self.stderr.read_line(&mut self.said).unwrap();
            assert_ne!(length, 0, "it ended before it said {word:?}: {}", self.said);
        }
    }

    fn signal(&self, which: Signal) {
        signal(self.child.id().cast_signed(), which);
    }

    /// Its exit code and everything that it said.
    fn end(mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end: {}", self.said);
            sleep(Duration::from_millis(10));
        };
        self.stderr.read_to_string(&mut self.said).unwrap();
        (status.code(), std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number after `word` in the summary.
fn number_after(said: &str, word: &str) -> u64 {
    let (_, summary) = said
        .split_once("Ended after")
        .unwrap_or_else(|| panic!("no summary in {said}"));
    let rest = summary
        .split_once(word)
        .unwrap_or_else(|| panic!("no {word:?} in {said}"))
        .1;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number after {word:?} in {said}"))
}

fn assert_clean_end(code: Option<i32>, said: &str, reason: &str) {
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Ended after"), "{said}");
    assert!(said.contains(reason), "{said}");
    assert_eq!(number_after(said, "lost"), 0, "{said}");
}

#[test]
fn live_the_time_is_up() {
    if !permitted() {
        return;
    }
    let mut target = target(&[]);
    let pid = target.pid().to_string();
    let Run {
        code,
        stdout,
        stderr,
        took,
    } = run(&["attach", "--pid", &pid, "-d", "2.5"]);
    assert_clean_end(code, &stderr, "the time is up");
    assert!(took > Duration::from_millis(2500));
    // 2 pairs of 2 tasks, a yielder: 5 tasks at 100 rounds a second.
    let polls = number_after(&stderr, "polls");
    assert!((500..20_000).contains(&polls), "{polls} polls: {stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines.len() >= 3, "a heading and a line a second: {stdout}");
    let tasks: u64 = lines[2].split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(
        tasks, 9,
        "the sleepers and the block_on root too, which are never polled: {stdout}"
    );
    assert!(target.is_alive());
}

#[test]
fn live_interrupted_and_terminated() {
    if !permitted() {
        return;
    }
    let mut target = target(&[]);
    let pid = target.pid().to_string();
    for (which, reason) in [
        (Signal::INT, "stopped by Ctrl-C"),
        (Signal::TERM, "stopped by a signal"),
        (Signal::HUP, "stopped by a signal"),
    ] {
        let running = Running::start(&["attach", "--pid", &pid]);
        sleep(Duration::from_millis(300));
        running.signal(which);
        let (code, said) = running.end();
        assert_clean_end(code, &said, reason);
        assert!(number_after(&said, "records") > 0, "{said}");
    }
    assert!(target.is_alive());
}

/// A recording that was ended by Ctrl-C is complete: the report of it counts what the summary does.
#[test]
fn live_a_recording_is_complete_after_ctrl_c() {
    if !permitted() {
        return;
    }
    let target = target(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.astrace");
    let file = file.to_str().unwrap();
    let running = Running::start(&["record", "--pid", &target.pid().to_string(), "-o", file]);
    sleep(Duration::from_millis(1500));
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert_clean_end(code, &said, "stopped by Ctrl-C");
    assert!(said.contains(&format!("recording  {file}: ")), "{said}");

    let report = run(&["report", file, "--json"]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["file"]["ending"], "complete", "{report}");
    assert_eq!(report["file"]["ended_because"], "interrupted", "{report}");
    assert_eq!(report["polls"], number_after(&said, "polls"), "{report}");
    assert_eq!(report["tasks"], 9, "{report}");
    assert_eq!(report["missing"]["records"], 0, "{report}");
}

/// A place where nothing can be written is told before anything is attached for long.
#[test]
fn live_a_recording_that_cannot_be_made() {
    if !permitted() {
        return;
    }
    let mut target = target(&[]);
    let pid = target.pid().to_string();
    let run = run(&["record", "--pid", &pid, "-o", "/proc/no/such/folder/x"]);
    assert_eq!(run.code, Some(7), "{}", run.stderr);
    assert!(
        run.stderr.contains("/proc/no/such/folder/x"),
        "{}",
        run.stderr
    );
    assert!(target.is_alive());
}

#[test]
fn live_the_target_exits() {
    if !permitted() {
        return;
    }
    let mut target = target(&[]);
    let running = Running::start(&["attach", "--pid", &target.pid().to_string()]);
    signal(target.pid(), Signal::KILL);
    let begin = Instant::now();
    let (code, said) = running.end();
    assert_clean_end(code, &said, "the target has exited");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(target.wait(PATIENCE), None, "it ended by the signal");
}

#[test]
fn live_a_command_is_started_and_its_exit_is_the_end() {
    if !permitted() {
        return;
    }
    let busy = Build::Release.folder().join("busy");
    let busy = busy.to_str().unwrap();
    // An emulated machine needs longer to attach.
    let slow = std::env::var_os("ASYNCTRACE_SLOW").is_some();
    let seconds = if slow { "60" } else { "8" };
    let command = ["attach", "--", busy, "--seconds", seconds, "--rate", "100"];
    let Run {
        code,
        stderr,
        stdout,
        ..
    } = run(&command);
    assert_clean_end(code, &stderr, "the target has exited (exit status: 0)");
    assert!(number_after(&stderr, "polls") > 0, "{stderr}");
    assert!(
        stdout.starts_with("    TIME"),
        "its output is not ours: {stdout}"
    );
}

#[test]
fn live_a_target_that_is_gone() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().to_string();
    child.wait().unwrap();
    for subcommand in [&["attach"][..], &["record", "-o", "/dev/null"]] {
        let run = run(&[subcommand, &["--pid", &pid]].concat());
        assert_eq!(
            run.code,
            Some(if permitted() { 3 } else { 4 }),
            "{}",
            run.stderr
        );
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    }
}

#[test]
fn live_a_reader_who_leaves_ends_it() {
    if !permitted() {
        return;
    }
    let mut target = target(&[]);
    let mut running = Running::start(&["attach", "--pid", &target.pid().to_string()]);
    let mut lines = BufReader::new(running.child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("POLLS/S"), "{line}");
    drop(lines);
    let (code, said) = running.end();
    assert_clean_end(code, &said, "standard output was closed");
    assert!(target.is_alive());
}

/// A terminal of its own, ended when dropped.
struct Tmux {
    socket: String,
}

impl Tmux {
    fn start(columns: u16, lines: u16) -> Self {
        let socket = format!("asynctrace-test-{}-{columns}", std::process::id());
        let tmux = Self { socket };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let size = ["-x", &columns, "-y", &lines];
        tmux.run(
            &[
                &["-f", "/dev/null", "new-session", "-d"],
                &size[..],
                &["sh"],
            ]
            .concat(),
        );
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .output()
            .expect("tmux is installed (DEVELOPERS.md)");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn type_line(&self, line: &str) {
        self.run(&["send-keys", "-l", line]);
        self.run(&["send-keys", "Enter"]);
    }

    fn key(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "no {what} on the screen:\n{screen}"
            );
            sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_text(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// The program has given the terminal back: the alternate screen is off, echo is on.
    fn assert_restored(&self) {
        let alternate = self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(alternate.trim(), "0 1", "alternate screen, cursor");
        self.type_line("stty -a | grep ' echo ' | grep -c '^isig icanon '; echo checked");
        let screen = self.wait_for("stty", |screen| screen.contains("\nchecked"));
        assert!(screen.contains("\n1\nchecked"), "{screen}");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn live_view_keys_work_and_the_terminal_is_given_back() {
    if !permitted() {
        return;
    }
    let mut target = target(&[]);
    let program = env!("CARGO_BIN_EXE_asynctrace");
    let tmux = Tmux::start(140, 30);
    tmux.type_line(&format!(
        "{program} attach --pid {}; echo code=$?",
        target.pid()
    ));
    // All 8 tasks and the root, those that never run too, and the awaits of this program's own code.
    tmux.wait_for("all tasks", |screen| {
        screen.contains("9 tasks") && screen.contains("src/bin/busy.rs:")
    });
    tmux.wait_for("polls", |screen| {
        screen.contains("POLLS") && screen.contains("/s  lost 0")
    });
    tmux.key("?");
    tmux.wait_for_text("any key goes back");
    tmux.key("x");
    tmux.wait_for("the table", |screen| !screen.contains("any key goes back"));
    for key in ["/", "z", "z", "Enter"] {
        tmux.key(key);
    }
    tmux.wait_for_text("no task has \"zz\"");
    tmux.key("Escape");
    tmux.wait_for_text("1/9");
    tmux.key("Down");
    tmux.wait_for_text("2/9");
    tmux.key("p");
    tmux.wait_for_text("PAUSED");
    tmux.key("p");
    tmux.key("q");
    let screen = tmux.wait_for_text("code=0");
    assert!(screen.contains("stopped by q"), "{screen}");
    assert!(screen.contains("Press Ctrl-C to stop."), "{screen}");
    tmux.assert_restored();
    assert!(target.is_alive());
}

#[test]
fn live_view_ends_with_ctrl_c_signals_and_the_target() {
    if !permitted() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_asynctrace");
    let tmux = Tmux::start(100, 24);
    for (how, reason) in [
        ("key", "stopped by Ctrl-C"),
        ("signal", "stopped by a signal"),
        ("target", "the target has exited"),
    ] {
        let target = target(&[]);
        tmux.type_line("clear");
        tmux.type_line(&format!(
            "{program} attach --pid {}; echo code=$?",
            target.pid()
        ));
        tmux.wait_for_text("9 tasks");
        match how {
            "key" => tmux.key("C-c"),
            "signal" => {
                let pane = tmux.run(&["display-message", "-p", "#{pane_pid}"]);
                signal(child_of(pane.trim()), Signal::TERM);
            }
            _ => signal(target.pid(), Signal::KILL),
        }
        let screen = tmux.wait_for_text("code=0");
        assert!(screen.contains(reason), "{how}: {screen}");
        tmux.assert_restored();
    }
}

/// The only child of a shell.
fn child_of(shell: &str) -> i32 {
    let path = format!("/proc/{shell}/task/{shell}/children");
    let children = std::fs::read_to_string(path).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

/// Without a terminal there is no view, and nothing that only a terminal understands is written.
#[test]
fn live_no_escape_sequences_without_a_terminal() {
    if !permitted() {
        return;
    }
    let target = target(&[]);
    let pid = target.pid().to_string();
    let run = command::run(&["attach", "--pid", &pid, "-d", "1.2"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}
