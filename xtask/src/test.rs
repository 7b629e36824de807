//! `cargo xtask test`: builds the fixtures, then runs every test that can run here.
//!
//! What cannot run (no root, no BPF, a program that is not installed) is left out by name and
//! said before and after, never silently passed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bpf::Folders;
use crate::shell::{cargo, run, say, which};
use crate::{fixtures, readers, setup};

/// Tests that attach probes: the test group of the same name in `.config/nextest.toml`.
const LIVE: &str = "test(/(^|::)live/)";
/// Tests of a real program that we did not write.
const MINI_REDIS: &str = "test(/mini_redis/)";

/// Tests of the page of `report --html`.
const BROWSER: &str = "test(/(^|::)browser_/)";

/// Builds what is traced and runs the tests; `further` goes to `cargo nextest run`.
///
/// # Errors
/// When something does not build, or a test fails.
pub(crate) fn test(folders: &Folders, further: &[String]) -> Result<()> {
    setup::as_far_as_possible(folders);
    let mut left_out = Vec::new();
    if let Err(reason) = setup::tracing() {
        left_out.push((LIVE, format!("tests that attach probes: {reason}")));
    }
    if !setup::mini_redis_server(folders).is_file() || which("redis-benchmark").is_none() {
        left_out.push((
            MINI_REDIS,
            "tests of mini-redis: it or redis-benchmark is missing (cargo xtask setup)".to_owned(),
        ));
    }
    left_out.extend(readers::left_out(folders));
    if !setup::has_browser() {
        left_out.push((
            BROWSER,
            "tests of the HTML page in a browser: no chromium (cargo xtask setup)".to_owned(),
        ));
    }
    let tell = || {
        for (_, what) in &left_out {
            say(&format!("LEFT OUT: {what}"));
        }
    };
    tell();

    let nextest = || nextest(folders).context("no cargo-nextest: run cargo xtask setup");
    let mut tests = nextest()?;
    tests
        .current_dir(&folders.workspace)
        .args(["run", "--no-run", "--workspace", "--locked"]);
    // Side by side: both have long stretches that keep one core only.
    std::thread::scope(|scope| {
        let fixtures = scope.spawn(|| fixtures::build(folders));
        say("test: documentation examples");
        run(cargo(&folders.workspace).args([
            "test",
            "--doc",
            "--workspace",
            "--locked",
            "--quiet",
        ]))?;
        say("test: building the tests");
        run(&mut tests)?;
        fixtures
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    say("test: the logic of the BPF programs");
    run(cargo(&folders.workspace.join("tracer-ebpf"))
        .args(["test", "--lib", "--locked", "--quiet"])
        .env("CARGO_TARGET_DIR", &folders.target))?;
    say("test: everything else");
    let mut command = nextest()?;
    command
        .current_dir(&folders.workspace)
        .args(["run", "--workspace", "--locked"])
        .args(further);
    if !left_out.is_empty() {
        let filters: Vec<&str> = left_out.iter().map(|(filter, _)| *filter).collect();
        command.args(["-E", &format!("not ({})", filters.join(" | "))]);
    }
    let result = run(&mut command);
    tell();
    result
}

/// `cargo nextest`, of the machine or of this workspace's tools.
pub(crate) fn nextest(folders: &Folders) -> Option<Command> {
    let ours: PathBuf = folders.target.join("tools/bin/cargo-nextest");
    let program = which("cargo-nextest").or_else(|| ours.is_file().then_some(ours))?;
    let mut command = Command::new(program);
    command.arg("nextest");
    Some(command)
}
