//! What the tests against real processes share: where things are, how targets are started and
//! ended, what their sources promise, and how trees are compared.
//!
//! Every target is started by its test with its own pid and ports that the kernel chose, and is
//! killed when its handle is dropped. Nothing here knows a line number: markers in the fixtures'
//! sources do.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod directives;
pub(crate) mod expect;
pub(crate) mod faults;
pub(crate) mod fixture;
pub(crate) mod kernel;
pub(crate) mod lateness;
pub(crate) mod mini_redis;
pub(crate) mod service;
pub(crate) mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether this is an emulated machine, ten to twenty times slower (`cargo xtask vm`).
pub(crate) fn is_slow() -> bool {
    std::env::var_os("ASYNCTRACE_SLOW").is_some()
}

/// How long to wait for what takes far less than these seconds where a processor is one.
pub(crate) fn patience(seconds: u64) -> Duration {
    Duration::from_secs(if is_slow() { seconds * 10 } else { seconds })
}

/// Root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("inside a workspace")
        .to_owned()
}

/// The workspace's target folder; `CARGO_TARGET_DIR` is honoured.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("target"),
        |folder| workspace().join(folder),
    )
}

/// How a fixture is built (`fixtures/Cargo.toml`, `xtask/src/fixtures.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// Unoptimised, full debug information.
    Dev,
    /// Optimised, `debug = 2`.
    Release,
    /// Optimised, `debug = 2`, fat LTO, one codegen unit, panic = abort.
    Lto,
    /// Optimised, lines for backtraces only: names of functions, no types.
    Lines,
    /// Default release: symbols, no debug information.
    Plain,
    /// Without symbols.
    Stripped,
    /// Dev with tokio's own task dump inside (`--cfg tokio_unstable`).
    Witness,
}

impl Build {
    /// Where its binaries are.
    pub(crate) fn folder(self) -> PathBuf {
        let name = match self {
            Self::Dev => "debug",
            Self::Release => "release",
            Self::Lto => "lto",
            Self::Lines => "lines",
            Self::Plain => "plain",
            Self::Stripped => "stripped",
            Self::Witness => "taskdump/debug",
        };
        target().join("fixtures").join(name)
    }
}
