//! A program under measurement. It runs only while it is measured: others of its kind wait, stopped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::prepare::Programs;
use super::system::{Signal, send};
use super::variant::{Lines, Variant};

/// The three builds of one load.
pub(crate) struct Targets {
    pub(crate) plain: Target,
    tree: Target,
    console: Target,
}

impl Targets {
    /// Starts them, stopped.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) fn start(programs: &Programs, load: &[&str], port: u16) -> Result<Self> {
        let mut console = Target::start(&programs.console, load, Some(port))?;
        console.client(&programs.console_client, port)?;
        Ok(Self {
            plain: Target::start(&programs.plain, load, None)?,
            tree: Target::start(&programs.tree, load, None)?,
            console,
        })
    }

    /// The one that a variant is measured on.
    pub(crate) fn of(&mut self, variant: Variant) -> &mut Target {
        match variant {
            Variant::AwaitTree => &mut self.tree,
            Variant::Console => &mut self.console,
            _ => &mut self.plain,
        }
    }
}

/// A program under measurement.
pub(crate) struct Target {
    child: Child,
    client: Option<Child>,
    pub(crate) lines: Lines,
}

impl Target {
    fn start(program: &Path, load: &[&str], console: Option<u16>) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(load)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(port) = console {
            command.env("CONSOLE_PORT", port.to_string());
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self {
            child,
            client: None,
            lines,
        })
    }

    /// Connects a client to the console in it.
    fn client(&mut self, program: &Path, port: u16) -> Result<()> {
        let mut client = Command::new(program)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let out = client.stdout.take().context("no output")?;
        self.client = Some(client);
        let mut first = String::new();
        BufReader::new(out).read_line(&mut first)?;
        anyhow::ensure!(
            first.contains("connected"),
            "the console's client did not get an update"
        );
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it tells.
    ///
    /// # Errors
    /// When it has ended, or tells something else.
    pub(crate) fn told(&mut self) -> Result<Value> {
        let line = self.lines.next().context("the program has ended")??;
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }

    /// Lets it run, or not.
    pub(crate) fn run(&self, run: bool) {
        let signal = if run { Signal::Continue } else { Signal::Stop };
        for child in [Some(&self.child), self.client.as_ref()]
            .into_iter()
            .flatten()
        {
            send(child, signal);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for child in [self.client.as_mut(), Some(&mut self.child)]
            .into_iter()
            .flatten()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
