//! `cargo xtask bench own`: what asynctrace itself needs, and how that grows.
//!
//! Each figure is of one run of the optimised `asynctrace` against a fixture: its own CPU time, its
//! wall time and its peak resident memory, as the kernel accounts them for the process (`wait4`).
//! Growth is told as the exponent between neighbours: 1 is linear. CPU time hardly depends on what
//! else runs on the machine; wall time does.

#![expect(unsafe_code, reason = "wait4() has no wrapper in std")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::bpf::Folders;
use crate::shell::say;
use crate::{demo, fixtures, permission};

/// Live tasks of the targets.
const TASKS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Live tasks with deep trees.
const CONNECTIONS: [u64; 3] = [1_000, 10_000, 100_000];
/// Seconds of recordings.
const SECONDS: [u64; 4] = [1, 3, 10, 30];

/// What a run of a program took.
#[derive(Clone, Copy, Debug)]
struct Took {
    wall: Duration,
    cpu: Duration,
    /// Peak resident memory, bytes. Pages of files that are mapped count.
    resident: u64,
}

/// Measures everything.
///
/// # Errors
/// When something does not build or run.
pub(crate) fn run(folders: &Folders) -> Result<()> {
    say("bench: measure alone: nothing else should run on this machine now");
    let asynctrace = demo::build(folders)?;
    for program in ["busy", "idle", "polls"] {
        fixtures::build_one(folders, program)?;
    }
    let programs = folders.target.join("fixtures/release");
    let folder = std::env::temp_dir().join(format!("asynctrace-own-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&asynctrace, &programs, &folder);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(asynctrace: &Path, programs: &Path, folder: &Path) -> Result<()> {
    println!("\n`dump` of tasks that sleep\n");
    heading("tasks");
    let mut before = None;
    for tasks in TASKS {
        let mut target = Command::new(programs.join("busy"));
        target.args(["--pairs", "0", "--yielders", "0", "--seconds", "0"]);
        target.args(["--sleepers", &tasks.to_string()]);
        let target = Target::start(&mut target)?;
        let took = dump(asynctrace, &target)?;
        before = Some(row(tasks, took, before));
    }
    println!("\n`dump` of connections, each a `select!` with a timeout\n");
    heading("tasks");
    let mut before = None;
    for tasks in CONNECTIONS {
        let mut target = Command::new(programs.join("idle"));
        target.args(["--connections", &tasks.to_string(), "--talk", "0"]);
        let target = Target::start(&mut target)?;
        let took = dump(asynctrace, &target)?;
        before = Some(row(tasks, took, before));
    }
    println!("\n`record --sample 1` of connections, 20 s\n");
    heading("tasks");
    let mut before = None;
    for tasks in CONNECTIONS {
        let mut target = Command::new(programs.join("idle"));
        target.args(["--connections", &tasks.to_string(), "--talk", "0"]);
        let target = Target::start(&mut target)?;
        let file = folder.join("sampled.astrace");
        let mut command = Command::new(asynctrace);
        command.args(["record", "--sample", "1", "-d", "20", "-p", &target.pid()]);
        let took = took(command.arg("-o").arg(&file))?;
        before = Some(row(tasks, took, before));
    }
    if let Err(reason) = permission::try_bpf() {
        say(&format!("bench: no recordings of events: {reason}"));
        return Ok(());
    }
    println!("\n`record` of one task that is polled as fast as it goes\n");
    println!("| seconds | events | lost | CPU an event | bytes an event | resident |");
    println!("|---|---|---|---|---|---|");
    for seconds in SECONDS {
        let mut target = Command::new(programs.join("polls"));
        let target = Target::start(target.args(["--shape", "chain8"]))?;
        let file = folder.join("events.astrace");
        let mut command = Command::new(asynctrace);
        command.args(["record", "--max-overhead", "none", "-p", &target.pid()]);
        command.args(["-d", &seconds.to_string()]);
        let took = took(command.arg("-o").arg(&file))?;
        let report = Command::new(asynctrace)
            .args(["report", "--json"])
            .arg(&file)
            .output()?;
        let report: serde_json::Value = serde_json::from_slice(&report.stdout)?;
        let events = report["events"].as_u64().context("no count of events")?;
        let lost = report["missing"]["records"].as_u64().unwrap_or(0);
        let bytes = std::fs::metadata(&file)?.len();
        let each = |all: f64| all / events.max(1) as f64;
        println!(
            "| {seconds} | {events} | {lost} | {:.2} us | {:.1} | {} MB |",
            each(took.cpu.as_secs_f64() * 1e6),
            each(bytes as f64),
            took.resident >> 20,
        );
    }
    Ok(())
}

fn heading(what: &str) {
    println!("| {what} | wall | CPU | CPU each | resident | growth of CPU | growth of memory |");
    println!("|---|---|---|---|---|---|---|");
}

/// Prints a row, and gives what the next is compared with.
fn row(count: u64, took: Took, before: Option<(u64, Took)>) -> (u64, Took) {
    let exponent = |of: fn(Took) -> f64| match before {
        Some((fewer, less)) => {
            let growth = (of(took) / of(less).max(1e-9)).ln() / (count as f64 / fewer as f64).ln();
            format!("{growth:.2}")
        }
        None => "-".to_owned(),
    };
    println!(
        "| {count} | {:.2} s | {:.2} s | {:.1} us | {} MB | {} | {} |",
        took.wall.as_secs_f64(),
        took.cpu.as_secs_f64(),
        took.cpu.as_secs_f64() * 1e6 / count as f64,
        took.resident >> 20,
        exponent(|took| took.cpu.as_secs_f64()),
        exponent(|took| took.resident as f64),
    );
    (count, took)
}

fn dump(asynctrace: &Path, target: &Target) -> Result<Took> {
    took(Command::new(asynctrace).args(["dump", "-p", &target.pid()]))
}

/// Runs a command to its end.
fn took(command: &mut Command) -> Result<Took> {
    let begin = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of this frame; the child is ours, and nobody else
    // waits for it.
    let waited =
        unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    if waited < 0 {
        return Err(std::io::Error::last_os_error()).context("wait4");
    }
    if status != 0 {
        bail!("{command:?} ended with status {status:#x}");
    }
    let time = |of: libc::timeval| {
        Duration::from_secs(of.tv_sec.unsigned_abs())
            + Duration::from_micros(of.tv_usec.unsigned_abs())
    };
    Ok(Took {
        wall: begin.elapsed(),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        resident: usage.ru_maxrss.unsigned_abs() << 10,
    })
}

/// A fixture; ended when dropped.
struct Target {
    child: Child,
    /// Keeps its output open.
    _output: BufReader<std::process::ChildStdout>,
}

impl Target {
    /// Starts it and waits until it is ready.
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {command:?}"))?;
        let output = child.stdout.take().context("no standard output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while !line.contains("\"ready\"") {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                bail!("{command:?} ended before it was ready");
            }
        }
        Ok(Self {
            child,
            _output: output,
        })
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
