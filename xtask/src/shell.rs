//! Running other programs and talking to the person in front. Talk goes to stderr, as everywhere
//! in this project.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Says what is being done, or found.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Runs a command to its end with its output in view.
///
/// # Errors
/// When it cannot be run or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("could not run {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// Cargo, for a workspace other than the one this xtask was built for: nothing of the outer
/// cargo's environment may leak into it.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Where a program is, searched in `PATH`.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            == Some("0")
    })
}

/// Installs Debian packages.
///
/// # Errors
/// When not root, or there are no such packages to be had.
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    if !is_root() {
        bail!("not root, so packages cannot be installed");
    }
    let install = || {
        run(Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages)
            .stdout(std::io::stderr())
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // A fresh machine has no package lists; a prepared one need not fetch them.
    install().or_else(|_| {
        run(Command::new("apt-get")
            .arg("update")
            .stdout(std::io::stderr()))?;
        install()
    })
}
