//! Runs the machine and listens to its console.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::console::{Console, Ended, Said, Verdict};
use super::tests::{LeftOut, Test};
use crate::shell::say;

/// What is started.
pub(crate) struct Machine {
    /// The kernel's image.
    pub(crate) kernel: PathBuf,
    /// The initial file system.
    pub(crate) initial: PathBuf,
    /// Memory in MiB.
    pub(crate) memory: u64,
    /// Processors.
    pub(crate) cpus: u32,
    /// Where the console is written.
    pub(crate) log: PathBuf,
    /// The longest that it may run.
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    kernel: Option<String>,
    ended: Vec<Ended>,
    /// The test that was running when the machine ended.
    running: Option<String>,
    done: bool,
    took: Duration,
}

/// The machine, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots it and runs the tests to their end.
///
/// # Errors
/// When it does not start.
pub(crate) fn run(machine: &Machine, tests: usize) -> Result<Outcome> {
    let mut log = File::create(&machine.log).with_context(|| machine.log.display().to_string())?;
    let begin = Instant::now();
    // Others need the processors, too. One thread for all processors: where each has its own, QEMU
    // (7.2) executed an instruction that Linux had just replaced in a slot for single-stepping, and the
    // target died of the wrong one. A processor does not.
    let mut running = Running(
        Command::new("nice")
            .args([
                "-n",
                "10",
                "qemu-system-x86_64",
                "-accel",
                "tcg,thread=single",
            ])
            .args(["-m", &machine.memory.to_string()])
            .args(["-smp", &machine.cpus.to_string()])
            .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
            .args(["-no-reboot", "-nodefaults"])
            .arg("-kernel")
            .arg(&machine.kernel)
            .arg("-initrd")
            .arg(&machine.initial)
            // What the kernel says is shown, and why a program died; a panic ends the machine.
            .args([
                "-append",
                "console=ttyS0 loglevel=7 print-fatal-signals=1 panic=-1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not run qemu-system-x86_64")?,
    );
    let stdout = running.0.stdout.take().context("no console")?;
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut console = BufReader::new(stdout);
        let mut line = Vec::new();
        while console
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
            line.clear();
        }
    });

    let mut console = Console::default();
    let mut outcome = Outcome::default();
    loop {
        let left = machine.limit.saturating_sub(begin.elapsed());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                say(&format!("vm: not done after {:?}", machine.limit));
                break;
            }
        };
        log.write_all(line.as_bytes())?;
        match console.line(&line) {
            Said::Nothing => {}
            Said::Kernel(version) => {
                say(&format!(
                    "vm: up after {:.0?}: Linux {version}",
                    begin.elapsed()
                ));
                outcome.kernel = Some(version);
            }
            Said::Began(name) => outcome.running = Some(name),
            Said::Ended(ended) => {
                outcome.running = None;
                tell(&ended, outcome.ended.len() + 1, tests);
                outcome.ended.push(ended);
            }
            Said::Done => outcome.done = true,
        }
    }
    outcome.took = begin.elapsed();
    Ok(outcome)
}

fn tell(ended: &Ended, number: usize, of: usize) {
    let Ended { name, seconds, .. } = ended;
    let verdict = match &ended.verdict {
        Verdict::Passed => "ok".to_owned(),
        Verdict::Skipped(reason) => format!("SKIPPED ({reason})"),
        Verdict::Failed(code) => format!("FAILED (exit code {code})"),
        Verdict::TooLong => "FAILED (killed after its time)".to_owned(),
    };
    say(&format!("vm: {number}/{of} {name}: {verdict}, {seconds} s"));
    if matches!(ended.verdict, Verdict::Failed(_) | Verdict::TooLong) {
        for line in &ended.output {
            eprintln!("    {line}");
        }
    }
}

impl Outcome {
    /// The sum, and what was left out.
    pub(crate) fn tell(&self, left_out: &[LeftOut]) {
        let count = |wanted: fn(&Verdict) -> bool| {
            self.ended
                .iter()
                .filter(|test| wanted(&test.verdict))
                .count()
        };
        say(&format!(
            "vm: Linux {}: {} passed, {} failed, {} skipped, {} left out; {:.0} minutes",
            self.kernel.as_deref().unwrap_or("that did not start"),
            count(|verdict| *verdict == Verdict::Passed),
            count(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::TooLong)),
            count(|verdict| matches!(verdict, Verdict::Skipped(_))),
            left_out.len(),
            self.took.as_secs_f64() / 60.0,
        ));
        for test in &self.ended {
            if test.verdict != Verdict::Passed {
                say(&format!("vm: {}: {:?}", test.name, test.verdict));
            }
        }
    }

    /// Whether every test ran and passed. A test that could not run is no pass: this machine is
    /// there for nothing else.
    ///
    /// # Errors
    /// Says which did not.
    pub(crate) fn judge(&self, tests: &[Test]) -> Result<()> {
        if self.kernel.is_none() {
            bail!("the machine did not come up");
        }
        if let Some(running) = &self.running {
            bail!("the machine ended while {running} ran");
        }
        let passed = |test: &Test| {
            let name = test.name();
            let mut ended = self.ended.iter().filter(|ended| ended.name == name);
            ended.any(|ended| ended.verdict == Verdict::Passed)
        };
        let not: Vec<String> = tests
            .iter()
            .filter(|test| !passed(test))
            .map(Test::name)
            .collect();
        if !not.is_empty() {
            bail!("not passed: {}", not.join(", "));
        }
        if !self.done {
            bail!("the machine did not come to its end");
        }
        Ok(())
    }
}
