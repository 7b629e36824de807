//! Running the real `asynctrace`.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What a run of `asynctrace` gave.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// `asynctrace` with `arguments`, not started yet, away from any terminal.
pub(crate) fn asynctrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asynctrace"));
    // What is watched is to be exact here, whatever it costs.
    command.env("ASYNCTRACE_MAX_OVERHEAD", "none");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `asynctrace` to its end.
///
/// # Panics
/// If it does not end within two minutes: a test must not hang.
pub(crate) fn run(arguments: &[&str]) -> Run {
    let begin = Instant::now();
    let patience = super::patience(120);
    let child = asynctrace(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("asynctrace starts");
    let pid = child.id().cast_signed();
    let waiter = thread::spawn(move || child.wait_with_output());
    while !waiter.is_finished() {
        if begin.elapsed() > patience {
            signal(pid, Signal::KILL);
            panic!("asynctrace {arguments:?} did not end within {patience:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let Output {
        status,
        stdout,
        stderr,
    } = waiter.join().expect("the waiter").expect("asynctrace");
    Run {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(stderr).expect("UTF-8 on stderr"),
        took: begin.elapsed(),
    }
}

/// `asynctrace dump --json` of a process that must succeed.
///
/// # Panics
/// With all that it said, if it does not.
pub(crate) fn dump(pid: i32) -> Value {
    let run = run(&["dump", "--pid", &pid.to_string(), "--json"]);
    assert_eq!(run.code, Some(0), "dump failed: {}", run.stderr);
    serde_json::from_str(&run.stdout)
        .unwrap_or_else(|error| panic!("dump printed no JSON ({error}): {}", run.stdout))
}

/// Sends a signal to a process that this test started and has not waited for.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a pid");
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}
