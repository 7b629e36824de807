//! `cargo xtask setup`: makes a machine able to build and test, or says what is missing.
//!
//! Each step says what it does. What only some tests need is not an error: those tests are left
//! out, and `cargo xtask test` says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bpf::{self, Folders};
use crate::readers;
use crate::shell::{apt_install, cargo, is_root, run, say, which};

/// The program that we trace and did not write.
const MINI_REDIS: &str = "0.4.1";

/// Sets the machine up.
///
/// # Errors
/// When something is missing that the build needs and cannot be installed.
pub(crate) fn setup(folders: &Folders) -> Result<()> {
    bpf::setup(folders)?;
    nextest(folders)?;
    optional("mini-redis", mini_redis(folders));
    optional("redis-benchmark", redis_benchmark());
    optional("chromium", chromium());
    optional("schemas of exports", readers::schemas(folders));
    optional("protoc and python3-protobuf", readers::protobuf());
    optional("go tool pprof", readers::go_pprof());
    optional("graphviz", readers::graphviz());
    match tracing() {
        Ok(()) => say("tracing: permitted here (root, BPF, tracefs)"),
        Err(reason) => say(&format!(
            "tracing: not possible here: {reason}. All builds; tests that trace are left out"
        )),
    }
    say("setup: done. Next: cargo xtask demo (as root), or cargo xtask test");
    Ok(())
}

/// As [`setup`]; what cannot be installed here is said and gone without.
pub(crate) fn as_far_as_possible(folders: &Folders) {
    if let Err(error) = setup(folders) {
        say(&format!(
            "setup: not complete: {error:#}. Going on with what is there"
        ));
    }
}

fn optional(what: &str, result: Result<()>) {
    match result {
        Ok(()) => say(&format!("{what}: there")),
        Err(error) => say(&format!(
            "{what}: missing ({error:#}); tests that need it are left out"
        )),
    }
}

/// Where the tools of this workspace are installed.
fn tools(folders: &Folders) -> PathBuf {
    folders.target.join("tools")
}

/// Where mini-redis is, once set up.
pub(crate) fn mini_redis_server(folders: &Folders) -> PathBuf {
    tools(folders).join("bin/mini-redis-server")
}

fn nextest(folders: &Folders) -> Result<()> {
    if crate::test::nextest(folders).is_some() {
        say("cargo-nextest: there");
        return Ok(());
    }
    say("cargo-nextest: missing, installing it into target/tools (some minutes)");
    run(cargo(&folders.workspace)
        .args(["install", "cargo-nextest", "--locked", "--root"])
        .arg(tools(folders))
        .env_remove("CARGO_TARGET_DIR"))
    .context("no cargo-nextest; run `cargo install cargo-nextest --locked`")
}

fn mini_redis(folders: &Folders) -> Result<()> {
    if mini_redis_server(folders).is_file() {
        return Ok(());
    }
    say(&format!(
        "mini-redis: building {MINI_REDIS} from crates.io, release + debug=2, into target/tools"
    ));
    // Its lock file has tokio 1.8 of 2021; a user's `cargo install` takes the newest.
    run(cargo(&folders.workspace)
        .args(["install", "mini-redis", "--version", MINI_REDIS])
        .args(["--quiet", "--config", "profile.release.debug=2", "--root"])
        .arg(tools(folders))
        .env_remove("CARGO_TARGET_DIR"))
}

fn redis_benchmark() -> Result<()> {
    if which("redis-benchmark").is_some() {
        return Ok(());
    }
    say("redis-benchmark: missing, installing Debian's redis-tools");
    apt_install(&["redis-tools"])
        .context("run `apt-get install --no-install-recommends redis-tools` as root")
}

/// The browser that opens the page of `report --html` in tests.
fn chromium() -> Result<()> {
    if has_browser() {
        return Ok(());
    }
    say("chromium: missing, installing Debian's (some 100 MB)");
    apt_install(&["chromium", "fonts-dejavu-core"])
        .context("run `apt-get install --no-install-recommends chromium fonts-dejavu-core` as root")
}

/// Whether the tests of the page find a browser: the names that they look for.
pub(crate) fn has_browser() -> bool {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .any(|name| which(name).is_some())
}

/// Whether probes can be attached here; if not, why. Mounts tracefs where that is all there is to
/// do.
///
/// # Errors
/// The reason, in words.
pub(crate) fn tracing() -> Result<(), String> {
    if !is_root() {
        return Err("not root".to_owned());
    }
    let tracefs = Path::new("/sys/kernel/tracing/uprobe_events");
    if !tracefs.exists() && Path::new("/sys/kernel/tracing").is_dir() {
        let mount = Command::new("mount")
            .args(["-t", "tracefs", "none", "/sys/kernel/tracing"])
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            say("tracing: mounted tracefs at /sys/kernel/tracing");
        }
    }
    if !Path::new("/sys/bus/event_source/devices/uprobe").exists() {
        return Err("this kernel has no uprobes (CONFIG_UPROBE_EVENTS)".to_owned());
    }
    crate::permission::try_bpf().map_err(|error| {
        format!(
            "the kernel refuses bpf() ({error}): no CAP_BPF, a seccomp filter, or no BPF at all"
        )
    })
}
