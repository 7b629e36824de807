//! `cargo xtask demo`: the main job on a small service of ours, as a user would do it.
//!
//! Builds everything, starts the service, takes a dump, attaches for some seconds with a
//! recording, and prints the report of it. Only commands that a user has are run.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bpf::{self, Folders};
use crate::shell::{cargo, run, say};
use crate::{fixtures, setup};

/// Time for the service's clients to warm it up.
const WARM_UP: Duration = Duration::from_secs(1);

/// A process that ends with us.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds the optimised `asynctrace`; where it is.
///
/// # Errors
/// When it does not build.
pub(crate) fn build(folders: &Folders) -> Result<PathBuf> {
    run(cargo(&folders.workspace).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "tracer-user",
    ]))?;
    let program = folders.target.join("release/asynctrace");
    say(&format!("built {}", program.display()));
    if let Err(error) = bpf::chosen(folders) {
        say(&format!(
            "it cannot attach, as the programs for the kernel are not in it ({error:#}): `cargo xtask setup` gets what builds them"
        ));
    }
    Ok(program)
}

/// Runs the demo.
///
/// # Errors
/// When something does not build or a command fails.
pub(crate) fn demo(folders: &Folders, seconds: u64) -> Result<()> {
    setup::as_far_as_possible(folders);
    say("demo: building asynctrace and the service (the first time takes some minutes)");
    let asynctrace = build(folders)?;
    fixtures::build_one(folders, "demo")?;
    let service = start(folders)?;
    let pid = service.0.id().to_string();
    thread::sleep(WARM_UP);

    let show = |arguments: &[&str]| {
        eprintln!("\n$ asynctrace {}", arguments.join(" "));
        run(Command::new(&asynctrace)
            .args(arguments)
            .stdin(Stdio::null()))
    };
    show(&["dump", "--pid", &pid])?;
    if let Err(reason) = setup::tracing() {
        say(&format!(
            "demo: attaching is not possible here ({reason}); the dump above needs no more than this"
        ));
        return Ok(());
    }
    let file = folders.target.join("demo.astrace");
    let file = file.to_str().context("a path in UTF-8")?;
    attach(&asynctrace, &pid, seconds, file)?;
    show(&["report", file])
}

/// Attaches away from any terminal, so that what it prints stays readable in a log.
fn attach(asynctrace: &PathBuf, pid: &str, seconds: u64, file: &str) -> Result<()> {
    let seconds = seconds.to_string();
    let arguments = ["attach", "--pid", pid, "-d", &seconds, "-o", file];
    eprintln!("\n$ asynctrace {}", arguments.join(" "));
    let mut child = Command::new(asynctrace)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start asynctrace")?;
    let stdout = child.stdout.take().context("no pipe")?;
    for line in BufReader::new(stdout).lines() {
        println!("{}", line?);
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "asynctrace attach ended with {status}");
    Ok(())
}

/// Starts the service and waits until it serves.
fn start(folders: &Folders) -> Result<Service> {
    let program = folders.target.join("fixtures/release/demo");
    let mut child = Command::new(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", program.display()))?;
    let stdout = child.stdout.take().context("no pipe")?;
    let service = Service(child);
    for line in BufReader::new(stdout).lines() {
        if line?.contains("\"ready\"") {
            say(&format!(
                "demo: the service runs as process {}",
                service.0.id()
            ));
            return Ok(service);
        }
    }
    anyhow::bail!("the service ended before it was ready")
}
