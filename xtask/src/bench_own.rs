//! `cargo xtask bench own`: what asynctrace itself needs, and how that grows.
//!
//! Each figure is of one run of the optimised `asynctrace` against a fixture: its own CPU time, its
//! wall time and its peak resident memory, as the kernel accounts them for the process (`wait4`).
//! Growth is told as the exponent between neighbours: 1 is linear. CPU time hardly depends on what
//! else runs on the machine; wall time does.

#![expect(unsafe_code, reason = "wait4() has no wrapper in std")]

mod view;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::bpf::Folders;
use crate::shell::{cargo, run as run_command, say};
use crate::{demo, fixtures, permission};

/// Live tasks of the targets.
const TASKS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Live tasks with deep trees.
const CONNECTIONS: [u64; 3] = [1_000, 10_000, 100_000];
/// Seconds of recordings: a soak at the rate of a whole hour of an ordinary service.
const SECONDS: [u64; 5] = [1, 3, 10, 30, 100];

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
    let measured = measure(&asynctrace, &programs, &folder)
        .and_then(|()| large(folders, &asynctrace, &folder));
    std::fs::remove_dir_all(&folder)?;
    measured
}

/// The first tree of a binary with much debug information: asynctrace's own, optimised, with all that
/// rustc can tell, running as a daemon that has nothing to follow.
fn large(folders: &Folders, asynctrace: &Path, folder: &Path) -> Result<()> {
    let target = folders.target.join("large");
    say(&format!(
        "building a large program: asynctrace with full debug information ({})",
        target.display()
    ));
    run_command(
        cargo(&folders.workspace)
            .args(["build", "--release", "--locked", "--package", "tracer-user"])
            .env("CARGO_PROFILE_RELEASE_DEBUG", "full")
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let program = target.join("release/asynctrace");
    let config = folder.join("daemon.toml");
    let socket = folder.join("control.sock");
    let text = format!(
        "[control]\nsocket = {:?}\n[[target]]\nlabel = \"none\"\nexe = \"/none\"\n",
        socket.display().to_string()
    );
    std::fs::write(&config, text)?;
    let mut daemon = Command::new(&program)
        .args(["daemon", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begin = Instant::now();
    while !socket.exists() && begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("\n`dump` of a program with much debug information\n");
    println!("| program | debug sections | wall | CPU | resident |");
    println!("|---|---|---|---|---|");
    let pid = daemon.id().to_string();
    let measured = (0..3).try_for_each(|_| {
        let took = took(Command::new(asynctrace).args(["dump", "-p", &pid]))?;
        println!(
            "| {} MB | {} MB | {:.2} s | {:.2} s | {} MB |",
            std::fs::metadata(&program)?.len() >> 20,
            debug_sections(&program)? >> 20,
            took.wall.as_secs_f64(),
            took.cpu.as_secs_f64(),
            took.resident >> 20,
        );
        Ok(())
    });
    let _ = daemon.kill();
    daemon.wait()?;
    measured
}

/// Bytes of a program's debug information, as `size` tells them.
fn debug_sections(program: &Path) -> Result<u64> {
    let output = Command::new("size").arg("-A").arg(program).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let sizes = told.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let size: u64 = words.next()?.parse().ok()?;
        name.starts_with(".debug_").then_some(size)
    });
    Ok(sizes.sum())
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
        target.has(asynctrace, tasks)?;
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
        target.has(asynctrace, tasks)?;
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
        target.has(asynctrace, tasks)?;
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
    println!("\n`attach`, the live view, of connections that are idle\n");
    println!("| tasks | first picture | a key shows after | the slowest | CPU | resident |");
    println!("|---|---|---|---|---|---|");
    for tasks in CONNECTIONS {
        let mut target = Command::new(programs.join("idle"));
        target.args(["--connections", &tasks.to_string(), "--talk", "0"]);
        let target = Target::start(&mut target)?;
        target.has(asynctrace, tasks)?;
        let view = view::view(asynctrace, &target.pid())?;
        let middle = view.keys.get(view.keys.len() / 2);
        let milliseconds =
            |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        println!(
            "| {tasks} | {:.2} s | {:.1} ms | {:.0} ms | {:.2} of a CPU | {} MB |",
            view.first.as_secs_f64(),
            milliseconds(middle),
            milliseconds(view.keys.last()),
            view.took.cpu.as_secs_f64() / view.took.wall.as_secs_f64(),
            view.took.resident >> 20,
        );
    }
    println!("\n`record` of one task that is polled as fast as it goes\n");
    println!("| seconds | events | a second | lost | CPU an event | bytes an event | resident |");
    println!("|---|---|---|---|---|---|---|");
    for seconds in SECONDS {
        let mut target = Command::new(programs.join("polls"));
        let target = Target::start(target.args(["--shape", "chain8"]))?;
        let file = folder.join("events.astrace");
        let mut command = Command::new(asynctrace);
        command.args(["record", "--max-overhead", "none", "-p", &target.pid()]);
        command.args(["-d", &seconds.to_string()]);
        let (took, told) = told(command.arg("-o").arg(&file))?;
        let (events, lost) = counts(&told).with_context(|| format!("no counts in {told}"))?;
        let bytes = std::fs::metadata(&file)?.len();
        let each = |all: f64| all / events.max(1) as f64;
        println!(
            "| {seconds} | {events} | {} | {lost} | {:.2} us | {:.1} | {} MB |",
            events / seconds,
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
    command.stdout(Stdio::null()).stderr(Stdio::null());
    finished(Instant::now(), &command.stdin(Stdio::null()).spawn()?)
}

/// The same, with what it says.
fn told(command: &mut Command) -> Result<(Took, String)> {
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = String::new();
    let mut output = child.stderr.take().context("no standard error")?;
    output.read_to_string(&mut told)?;
    Ok((finished(begin, &child)?, told))
}

/// What a recording's summary counts: records of the kernel, and how many of them were lost anywhere.
fn counts(told: &str) -> Option<(u64, u64)> {
    let line = told.lines().find(|line| line.starts_with("records "))?;
    let mut words = line.split_whitespace().skip(1);
    let events = words.next()?.parse().ok()?;
    let lost = line.rsplit_once("lost ")?.1.split([' ', ',']).next()?;
    // What writing was too slow for is told with the file.
    let dropped = told.lines().find_map(|line| {
        let (before, _) = line.split_once(" not written")?;
        before.rsplit(' ').next()?.parse::<u64>().ok()
    });
    Some((events, lost.parse::<u64>().ok()? + dropped.unwrap_or(0)))
}

/// Waits for the end of a child that was started at `begin`.
fn finished(begin: Instant, child: &Child) -> Result<Took> {
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
        bail!("process {} ended with status {status:#x}", child.id());
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

    /// Waits until it has so many live tasks: it says that it is ready before it has begun all.
    fn has(&self, asynctrace: &Path, tasks: u64) -> Result<()> {
        let begin = Instant::now();
        loop {
            let output = Command::new(asynctrace)
                .args(["dump", "-p", &self.pid()])
                .stderr(Stdio::null())
                .output()?;
            let told = String::from_utf8_lossy(&output.stdout);
            let counted = told.lines().find_map(|line| {
                let (count, rest) = line.split_once(' ')?;
                rest.starts_with("tasks:")
                    .then(|| count.replace(',', "").parse::<u64>().ok())?
            });
            if counted.is_some_and(|counted| counted >= tasks) {
                return Ok(());
            }
            if begin.elapsed() > Duration::from_secs(120) {
                bail!("the target has {counted:?} tasks, not {tasks}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_counts() {
        let told = "Ended after 6.0s: the time is up.\nrecords    5905727 (983k/s), lost 12 (CPU 0)\n\
                    recording  /tmp/x: 3.0 MiB, 99 events, 5 not written (writing was too slow)\n";
        assert_eq!(counts(told), Some((5_905_727, 17)));
        assert_eq!(counts("records 7 (1/s), lost 0\n"), Some((7, 0)));
        assert_eq!(counts("nothing"), None);
    }
}
