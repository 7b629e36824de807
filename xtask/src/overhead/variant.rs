//! What may be on a program while it is measured.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::prepare::Programs;
use super::system::{Signal, send};

/// A way to observe a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Empty programs, or asynctrace's without its daemon: an argument of the bench `floor`.
    Floor(&'static str),
    /// `asynctrace record` with further arguments.
    Record(&'static [&'static str]),
    /// `bpftrace` counting tasks' polls.
    Bpftrace,
    /// await-tree, built into the program.
    AwaitTree,
    /// console-subscriber, built into the program, with a client that takes its updates.
    Console,
}

/// All, in the order of the table.
pub(crate) const VARIANTS: [(Variant, &str); 13] = [
    (
        Variant::Floor("entry"),
        "empty programs, entries of tasks' polls",
    ),
    (
        Variant::Floor("pair"),
        "empty programs, entries and returns of these",
    ),
    (
        Variant::Floor("all"),
        "empty programs, every site of the default",
    ),
    (
        Variant::Floor("least"),
        "the time and one read of the task, every site of the default",
    ),
    (
        Variant::Floor("polls"),
        "asynctrace in the kernel, polls only",
    ),
    (
        Variant::Floor("paths"),
        "asynctrace in the kernel, polls with await paths",
    ),
    (
        Variant::Record(&["--max-overhead", "none"]),
        "asynctrace record --max-overhead none",
    ),
    (
        Variant::Record(&["--max-overhead", "none", "--exact-polls"]),
        "asynctrace record --max-overhead none --exact-polls",
    ),
    (
        Variant::Record(&["--max-overhead", "5"]),
        "asynctrace record, its budget of 5 percent",
    ),
    (
        Variant::Record(&["--sample", "100"]),
        "asynctrace record --sample 100",
    ),
    (Variant::Bpftrace, "bpftrace, a counter at tasks' polls"),
    (Variant::AwaitTree, "await-tree, built in"),
    (
        Variant::Console,
        "tokio-console, built in, client connected",
    ),
];

impl Variant {
    /// Whether asynctrace as it was built knows the arguments.
    pub(crate) fn possible(self, programs: &Programs) -> bool {
        match self {
            Self::Record(further) => {
                let help = Command::new(&programs.asynctrace)
                    .args(["record", "--help"])
                    .output();
                let help = help.map_or_else(
                    |_| String::new(),
                    |output| String::from_utf8_lossy(&output.stdout).into_owned(),
                );
                further
                    .iter()
                    .all(|word| !word.starts_with("--") || help.contains(word))
            }
            Self::Bpftrace => programs.bpftrace.is_some(),
            _ => true,
        }
    }

    /// How long it is on a process before it is measured: a budget takes seconds to find what it
    /// permits, and in the first two seconds of any session the kernel measures the programs, which
    /// costs something itself.
    pub(crate) fn settles(self) -> Duration {
        Duration::from_secs(match self {
            _ if self.is_in_windows() => 5,
            Self::Record(_) | Self::Floor("polls" | "paths") => 3,
            _ => 0,
        })
    }

    /// Whether it watches in windows, so that the measurement has to be a long one.
    pub(crate) fn is_in_windows(self) -> bool {
        matches!(self, Self::Record(further) if further.contains(&"5"))
    }

    /// Puts it on a process. What is returned takes it off when it is dropped.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn attach(self, programs: &Programs, pid: u32) -> Result<Attached> {
        let pid = pid.to_string();
        let mut command;
        let ready: &str;
        match self {
            Self::AwaitTree | Self::Console => {
                return Ok(Attached {
                    child: None,
                    ends_with_input: true,
                });
            }
            Self::Floor(what) => {
                command = Command::new(&programs.floor);
                command.args([&pid, what]);
                ready = "probes";
            }
            Self::Record(further) => {
                // It does not write over a file.
                let _ = std::fs::remove_file(&programs.scratch);
                command = Command::new(&programs.asynctrace);
                command
                    .args(["record", "--pid", &pid, "--output"])
                    .arg(&programs.scratch)
                    .args(further);
                // The heading of its lines, which comes once the probes are in place; looks at memory
                // have another one.
                let looks = further.contains(&"--sample");
                ready = if looks { "" } else { "POLLS/S" };
            }
            Self::Bpftrace => {
                let program = programs.plain.display();
                command = Command::new(programs.bpftrace.as_deref().context("no bpftrace")?);
                command.args(["-p", &pid, "-e"]).arg(format!(
                    "BEGIN {{ printf(\"ready\\n\"); }} \
                     uprobe:{program}:*tokio*runtime*task*raw*poll* {{ @ = count(); }}"
                ));
                ready = "ready";
            }
        }
        let record = matches!(self, Self::Record(_));
        command
            .stdin(Stdio::piped())
            .stdout(if record {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stderr(if record {
                Stdio::piped()
            } else {
                Stdio::null()
            });
        let mut child = command
            .spawn()
            .with_context(|| format!("could not run {command:?}"))?;
        let told: Box<dyn std::io::Read + Send> = match (child.stdout.take(), child.stderr.take()) {
            (Some(out), _) => Box::new(out),
            (_, Some(err)) => Box::new(err),
            _ => bail!("no output of {command:?}"),
        };
        let attached = Attached {
            child: Some(child),
            ends_with_input: matches!(self, Self::Floor(_)),
        };
        wait_for(told, ready).with_context(|| format!("{command:?} did not get ready"))?;
        Ok(attached)
    }
}

/// Reads until a line has this word; what comes later is read and thrown away.
fn wait_for(from: Box<dyn std::io::Read + Send>, word: &'static str) -> Result<()> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if line.contains(word) {
                let _ = tell.send(Ok(()));
            } else if said.len() < 20 {
                said.push(line);
            }
        }
        let _ = tell.send(Err(said.join("\n")));
    });
    match told.recv_timeout(Duration::from_secs(60)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(said)) => bail!("it ended, having said:\n{said}"),
        Err(_) => bail!("it has said nothing with \"{word}\" for a minute"),
    }
}

/// Something that observes a process.
pub(crate) struct Attached {
    child: Option<Child>,
    /// Whether it ends when its standard input does, and takes its probes out before. A signal would
    /// kill it in the middle of that, and leave breakpoints to whatever is measured next.
    ends_with_input: bool,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        drop(child.stdin.take());
        if !self.ends_with_input {
            send(child, Signal::Interrupt);
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Lines of a program that tells one JSON object a line.
pub(crate) type Lines = std::io::Lines<BufReader<ChildStdout>>;
