//! The daemon's configuration: TOML in, a [`Config`] out, or an error with line and reason. Pure;
//! [`load`] alone reads a file. The reference is docs/daemon.md.

mod values;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use wildmatch::WildMatch;

use self::values::{
    absolute, absolute_path, cgroup, count, default_listen, default_long_poll, default_max_files,
    default_max_size, default_overhead, default_processes, default_slow_to_run, default_stalled,
    default_types, file_size, label, loopback, optional_path, pattern, percent, period, texts,
    time, types, unit, yes,
};
use crate::analyse::findings::Thresholds;
use crate::error::{Advice, ExitCode};

/// Bytes of a configuration at most.
const MAX_BYTES: u64 = 1 << 20;
/// Targets in it at most.
const MAX_TARGETS: usize = 64;
/// Bytes of a name, path or pattern at most.
const MAX_TEXT: usize = 4096;
/// Bytes of a target's label at most.
const MAX_LABEL: usize = 64;

/// All that the daemon is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The control socket.
    pub control: Control,
    /// The metrics; `None`: there are none.
    pub metrics: Option<Metrics>,
    /// Where `ctl record` may write; `None`: nowhere.
    pub recordings: Option<Recordings>,
    /// The log.
    pub log: Log,
    /// Time between two looks for processes.
    pub period: Duration,
    /// What is followed.
    pub targets: Vec<Target>,
}

/// The control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Its path.
    pub socket: SocketPath,
}

/// The path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct SocketPath(pub PathBuf);

/// Where the socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/asynctrace/control.sock";

impl Default for SocketPath {
    fn default() -> Self {
        Self(DEFAULT_SOCKET.into())
    }
}

impl TryFrom<PathBuf> for SocketPath {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        // sockaddr_un has 108 bytes with the final zero.
        if path.as_os_str().len() > 107 {
            return Err("longer than the 107 bytes that a socket's path may have".to_owned());
        }
        absolute(path).map(Self)
    }
}

/// The endpoint for Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where it listens: an address of the loopback device.
    #[serde(deserialize_with = "loopback", default = "default_listen")]
    pub listen: SocketAddr,
    /// Types of tasks that are told apart in each target; the others are `other`.
    #[serde(deserialize_with = "types", default = "default_types")]
    pub max_types: usize,
}

/// Where recordings go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recordings {
    /// The folder. It must be the daemon's own, and nobody else may write it.
    #[serde(deserialize_with = "absolute_path")]
    pub directory: PathBuf,
    /// Bytes that one of them may have.
    #[serde(deserialize_with = "file_size", default = "default_max_size")]
    pub max_size: u64,
    /// Recordings in the folder: with this many, no further one is made.
    #[serde(deserialize_with = "count", default = "default_max_files")]
    pub max_files: usize,
}

/// The daemon's log, on standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
    /// What is left out.
    pub level: LogLevel,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// The least grave thing that is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What needs somebody's attention.
    Warn,
    /// What the daemon does: processes that come and go, requests.
    #[default]
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// As `tracing` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Processes that are followed as one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name in answers and metrics.
    pub label: String,
    /// What its processes have, all of it.
    pub matching: Matching,
    /// Debug information that the user gave.
    pub debug_file: Option<PathBuf>,
    /// Patterns of the async functions whose instances are requests.
    pub requests: Vec<String>,
    /// Percent of the target's CPU time that tracing may cost.
    pub max_overhead: Percent,
    /// What counts as long.
    pub thresholds: Thresholds,
    /// Whether findings are looked for all the time.
    pub findings: bool,
    /// Processes that are followed at once.
    pub max_processes: usize,
}

/// Hundredths of a percent, so that configurations can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u32);

impl Percent {
    /// In percent.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// What a process must have to be followed; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// File name of its executable, or its `comm`.
    pub name: Option<WildMatch>,
    /// Path of its executable, as it sees it.
    pub exe: Option<WildMatch>,
    /// Its control group, or one above it.
    pub cgroup: Option<String>,
    /// The systemd unit that it belongs to.
    pub unit: Option<WildMatch>,
}

impl Matching {
    /// Whether every process has all of it, because it asks for nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.name.is_none() && self.exe.is_none() && self.cgroup.is_none() && self.unit.is_none()
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    control: Control,
    metrics: Option<Metrics>,
    recordings: Option<Recordings>,
    #[serde(default)]
    log: Log,
    #[serde(default)]
    discovery: Discovery,
    #[serde(default)]
    target: Vec<Spanned<WrittenTarget>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Discovery {
    #[serde(deserialize_with = "period")]
    period: Duration,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    #[serde(deserialize_with = "label")]
    label: String,
    #[serde(deserialize_with = "pattern", default)]
    name: Option<WildMatch>,
    #[serde(deserialize_with = "pattern", default)]
    exe: Option<WildMatch>,
    #[serde(deserialize_with = "cgroup", default)]
    cgroup: Option<String>,
    #[serde(deserialize_with = "unit", default)]
    unit: Option<WildMatch>,
    #[serde(deserialize_with = "optional_path", default)]
    debug_file: Option<PathBuf>,
    #[serde(deserialize_with = "texts", default)]
    requests: Vec<String>,
    #[serde(deserialize_with = "percent", default = "default_overhead")]
    max_overhead: Percent,
    #[serde(deserialize_with = "time", default = "default_long_poll")]
    long_poll: u64,
    #[serde(deserialize_with = "time", default = "default_slow_to_run")]
    slow_to_run: u64,
    #[serde(deserialize_with = "time", default = "default_stalled")]
    stalled: u64,
    #[serde(default = "yes")]
    findings: bool,
    #[serde(deserialize_with = "count", default = "default_processes")]
    max_processes: usize,
}

/// A configuration that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line, from 1, where that is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration file that is not used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is wrong.
    #[error("{}: {error}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: ConfigError,
    },
}

impl Advice for LoadError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreadable { .. } => ExitCode::BadFile,
            Self::Wrong { .. } => ExitCode::Usage,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some("docs/daemon.md has all options; `asynctrace daemon --config FILE --check` only reads the file".to_owned())
    }
}

/// Reads a configuration file.
///
/// # Errors
/// [`LoadError`].
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than it may have.
    let mut bounded = file.take(MAX_BYTES + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    parse(&bytes).map_err(|error| LoadError::Wrong {
        path: path.to_owned(),
        error,
    })
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`].
pub fn parse(bytes: &[u8]) -> Result<Config, ConfigError> {
    let whole = |reason: String| ConfigError { line: None, reason };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole(format!("more than {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ConfigError {
        line: Some(line_of(bytes, error.valid_up_to())),
        reason: "not UTF-8".to_owned(),
    })?;
    let written: Written = toml::from_str(text).map_err(|error| ConfigError {
        line: error.span().map(|span| line_of(bytes, span.start)),
        // One line of a log or a terminal.
        reason: error.message().trim().replace('\n', ", "),
    })?;
    if written.target.len() > MAX_TARGETS {
        return Err(whole(format!("more than {MAX_TARGETS} targets")));
    }
    let mut labels = HashSet::new();
    let mut targets = Vec::with_capacity(written.target.len());
    for one in written.target {
        let line = Some(line_of(bytes, one.span().start));
        let wrong = |reason: String| ConfigError { line, reason };
        let target = one.into_inner().target();
        if target.matching.is_empty() {
            return Err(wrong(format!(
                "target {} needs one of name, exe, cgroup and unit",
                target.label
            )));
        }
        if !labels.insert(target.label.clone()) {
            return Err(wrong(format!(
                "a second target has the label {}",
                target.label
            )));
        }
        targets.push(target);
    }
    Ok(Config {
        control: written.control,
        metrics: written.metrics,
        recordings: written.recordings,
        log: written.log,
        period: written.discovery.period,
        targets,
    })
}

impl WrittenTarget {
    fn target(self) -> Target {
        Target {
            label: self.label,
            matching: Matching {
                name: self.name,
                exe: self.exe,
                cgroup: self.cgroup,
                unit: self.unit,
            },
            debug_file: self.debug_file,
            requests: self.requests,
            max_overhead: self.max_overhead,
            thresholds: Thresholds {
                long_poll: self.long_poll,
                slow_to_run: self.slow_to_run,
                stalled: self.stalled,
            },
            findings: self.findings,
            max_processes: self.max_processes,
        }
    }
}

/// The line, from 1, of a byte.
fn line_of(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or(bytes);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
