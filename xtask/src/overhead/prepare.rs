//! What the bench builds and installs, said before it is done.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::bpf::Folders;
use crate::demo;
use crate::setup;
use crate::shell::{apt_install, cargo, run, say, which};

/// Everything that is run.
pub(crate) struct Programs {
    /// asynctrace itself, optimised.
    pub(crate) asynctrace: PathBuf,
    /// Holds empty programs in a process.
    pub(crate) floor: PathBuf,
    /// The loads as they are.
    pub(crate) plain: PathBuf,
    /// The loads with await-tree.
    pub(crate) tree: PathBuf,
    /// The loads with console-subscriber.
    pub(crate) console: PathBuf,
    /// What stands for tokio-console.
    pub(crate) console_client: PathBuf,
    /// `bpftrace`, if it is there.
    pub(crate) bpftrace: Option<PathBuf>,
    /// The load generator.
    pub(crate) wrk: PathBuf,
    /// Where recordings go.
    pub(crate) scratch: PathBuf,
}

impl Programs {
    /// Builds and installs.
    ///
    /// # Errors
    /// When that fails, or tracing is not permitted.
    pub(crate) fn build(folders: &Folders) -> Result<Self> {
        if let Err(reason) = setup::tracing() {
            bail!("tracing is not possible here: {reason}");
        }
        let debian = |program: &str| {
            which(program).map_or_else(
                || {
                    say(&format!("{program}: missing, installing it from Debian"));
                    apt_install(&[program])?;
                    which(program).ok_or_else(|| anyhow::anyhow!("no {program} after all"))
                },
                Ok,
            )
        };
        let wrk = debian("wrk")?;
        let bpftrace = debian("bpftrace")
            .inspect_err(|error| say(&format!("without bpftrace: {error:#}")))
            .ok();
        say("building asynctrace and the floor (target/release)");
        let asynctrace = demo::build(folders)?;
        run(cargo(&folders.workspace).args([
            "build",
            "--release",
            "--locked",
            "--package",
            "tracer-user",
            "--example",
            "floor",
        ]))?;
        let peers = folders.target.join("peers");
        let build = |name: &str, features: &[&str], flags: &str| -> Result<PathBuf> {
            let target = peers.join(name);
            say(&format!(
                "building the loads, {name} (fixtures/peers into {})",
                target.display()
            ));
            let mut command: Command = cargo(&folders.workspace.join("fixtures/peers"));
            command
                .args(["build", "--release", "--locked", "--quiet"])
                .args(features)
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .env("RUSTFLAGS", flags)
                .env("CARGO_TARGET_DIR", &target);
            run(&mut command)?;
            Ok(target.join("release"))
        };
        let plain = build("plain", &[], "")?;
        let tree = build("tree", &["--features", "tree"], "")?;
        let console = build(
            "console",
            &["--features", "console"],
            "--cfg tokio_unstable",
        )?;
        Ok(Self {
            asynctrace,
            floor: folders.target.join("release/examples/floor"),
            plain: plain.join("load"),
            tree: tree.join("load"),
            console_client: console.join("console_client"),
            console: console.join("load"),
            bpftrace,
            wrk,
            scratch: folders.target.join("overhead.astrace"),
        })
    }
}
