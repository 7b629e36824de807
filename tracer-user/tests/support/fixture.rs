//! A running fixture and what it told about itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Build;

/// A task that a fixture announced.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    /// The name of its truth in the source.
    pub name: String,
    /// `tokio/17`.
    pub id: String,
    /// What its leaf waits for, where only the process knows it.
    pub waits_for: Option<Value>,
}

/// A running fixture. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Fixture {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// The tasks it announced, in their order.
    pub tasks: Vec<Announced>,
    /// Its other facts by name.
    pub facts: BTreeMap<String, Value>,
    /// What is wrong in it, as it told.
    pub faults: Vec<Value>,
}

impl Fixture {
    /// Starts a fixture and waits until all that it told holds.
    ///
    /// # Panics
    /// If it is not built, or does not get ready within a minute.
    pub(crate) fn start(build: Build, name: &str, arguments: &[&str]) -> Self {
        let path = build.folder().join(name);
        assert!(
            path.is_file(),
            "{} is missing: run `cargo xtask build --fixtures`",
            path.display()
        );
        Self::of(Command::new(&path).args(arguments))
    }

    /// As [`Fixture::start`], of a command that the caller made.
    ///
    /// # Panics
    /// As [`Fixture::start`].
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the fixture starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("fixture said {line:?}: {error}"));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut fixture = Self {
            stdin: child.stdin.take(),
            child,
            lines,
            tasks: Vec::new(),
            facts: BTreeMap::new(),
            faults: Vec::new(),
        };
        fixture.listen_until_ready();
        fixture
    }

    fn listen_until_ready(&mut self) {
        let begin = Instant::now();
        loop {
            let line = self.next_line(super::patience(240).saturating_sub(begin.elapsed()));
            if line.get("ready").is_some() {
                return;
            }
            if let Some(name) = line["task"].as_str() {
                self.tasks.push(Announced {
                    name: name.to_owned(),
                    id: line["id"].as_str().expect("an id").to_owned(),
                    waits_for: line.get("waits_for").cloned(),
                });
            } else if let Some(name) = line["fact"].as_str() {
                self.facts.insert(name.to_owned(), line.clone());
            } else if line.get("fault").is_some() {
                self.faults.push(line);
            }
        }
    }

    /// The next line it says.
    ///
    /// # Panics
    /// If it says nothing in time.
    pub(crate) fn next_line(&self, patience: Duration) -> Value {
        self.lines.recv_timeout(patience).unwrap_or_else(|error| {
            let why = match error {
                RecvTimeoutError::Timeout => "says nothing",
                RecvTimeoutError::Disconnected => "has ended",
            };
            panic!("the fixture {why}")
        })
    }

    /// Writes a line to its stdin.
    ///
    /// # Panics
    /// If it does not read any more.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("still open");
        writeln!(stdin, "{line}").expect("the fixture reads");
        stdin.flush().expect("the fixture reads");
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// A fact that is one number, under `count`.
    ///
    /// # Panics
    /// If it was not told.
    pub(crate) fn count(&self, fact: &str) -> u64 {
        let value = self.facts.get(fact).and_then(|fact| fact["count"].as_u64());
        value.unwrap_or_else(|| panic!("the fixture told no {fact}"))
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its own end; its exit code.
    ///
    /// # Panics
    /// If it does not end in time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code();
            }
            assert!(begin.elapsed() < patience, "the fixture does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
