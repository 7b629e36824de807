//! `cargo xtask lint`: what has to be clean besides the tests.
//!
//! Formatting and clippy of all three workspaces that this machine's compiler can check (the BPF
//! object's own lints run where its toolchain is), and documentation without a warning.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::bpf::Folders;
use crate::shell::{cargo, run, say, which};

/// The highest exposure, in tenths, that the daemon's unit may have by `systemd-analyze security`.
const MOST_EXPOSURE: &str = "25";

/// Runs all checks; the first that fails ends it.
///
/// # Errors
/// When a check fails.
pub(crate) fn lint(folders: &Folders) -> Result<()> {
    let workspace = &folders.workspace;
    let fixtures = [workspace.join("fixtures"), workspace.join("fixtures/http")];
    let ebpf = workspace.join("tracer-ebpf");

    say("lint: formatting");
    run(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    for folder in &fixtures {
        run(cargo(folder).args(["fmt", "--check"]))?;
    }
    if ebpf.join("Cargo.toml").is_file() {
        run(cargo(&ebpf).args(["fmt", "--all", "--check"]))?;
    }

    say("lint: clippy");
    run(cargo(workspace).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    for folder in &fixtures {
        run(cargo(folder)
            .args([
                "clippy",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])
            .env("CARGO_TARGET_DIR", folders.target.join("fixtures")))?;
    }

    say("lint: documentation");
    run(cargo(workspace)
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    lint_unit(folders)?;
    say("lint: clean");
    Ok(())
}

/// The unit's rights, judged by systemd where that is here.
fn lint_unit(folders: &Folders) -> Result<()> {
    if which("systemd-analyze").is_none() {
        say("lint: systemd-analyze is not here: the unit's rights are not judged");
        return Ok(());
    }
    say("lint: the unit's rights");
    let unit = folders.workspace.join("packaging/asynctrace.service");
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold"])
        .arg(MOST_EXPOSURE)
        .arg(unit)
        .stdout(Stdio::null()))
}
