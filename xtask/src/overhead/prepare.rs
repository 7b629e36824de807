//! What the bench builds and installs, said before it is done.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

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
    /// Builds and installs; with `as_built` what was built before is taken as it is.
    ///
    /// # Errors
    /// When that fails, or tracing is not permitted.
    pub(crate) fn build(folders: &Folders, as_built: bool) -> Result<Self> {
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
        let release = folders.target.join("release");
        if !as_built {
            say("building asynctrace and the floor (target/release)");
            demo::build(folders)?;
            build_floor(folders, &release.join("floor"))?;
        }
        let peers = folders.target.join("peers");
        let build = |name: &str, features: &[&str], flags: &str| -> Result<PathBuf> {
            let target = peers.join(name);
            let built = target.join("release");
            if as_built {
                return Ok(built);
            }
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
            Ok(built)
        };
        let plain = build("plain", &[], "")?;
        let tree = build("tree", &["--features", "tree"], "")?;
        let console = build(
            "console",
            &["--features", "console"],
            "--cfg tokio_unstable",
        )?;
        Ok(Self {
            asynctrace: release.join("asynctrace"),
            floor: release.join("floor"),
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

/// Builds the program that holds empty programs; cargo gives its file a name that has to be asked for.
fn build_floor(folders: &Folders, to: &Path) -> Result<()> {
    let output = cargo(&folders.workspace)
        .args(["bench", "--locked", "--package", "tracer-user"])
        .args(["--bench", "floor", "--no-run", "--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the bench `floor` does not build");
    let built = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|told| told["target"]["name"] == "floor")
        .find_map(|told| told["executable"].as_str().map(PathBuf::from))
        .context("cargo did not tell where the bench `floor` is")?;
    std::fs::copy(&built, to).with_context(|| format!("could not copy {}", built.display()))?;
    Ok(())
}
