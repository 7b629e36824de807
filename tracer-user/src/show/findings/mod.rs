//! Findings for a person and for machines: the text of `check`, and its JSON form (schema 1, see
//! docs/findings.md: fields may be added, never renamed or removed).

mod text;
mod told;
mod words;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub(in crate::show) use self::text::brief;
pub use self::text::write;
pub(in crate::show) use self::told::Told;
pub(in crate::show) use self::words::Clock;

use serde::Serialize;

use crate::analyse::findings::{Coverage, Finding, Thresholds};
use crate::rebuild::snapshot::ProcessInfo;

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// A judgement.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was judged.
    pub source: Source,
    /// The process.
    pub process: ProcessInfo,
    /// The time that was looked at.
    pub span: Span,
    /// What counted as long.
    pub thresholds: ThresholdsNs,
    /// What was seen, and what could not be judged.
    pub coverage: Coverage,
    /// What is wrong, the surest and gravest first.
    pub findings: Vec<Finding>,
    /// Findings that were not asked for (`--only`, `--min-certainty`).
    pub left_out: u64,
    /// What the reader should know, in sentences.
    pub warnings: Vec<String>,
}

/// What was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// A process, with probes.
    Live,
    /// A process, by its memory alone.
    Memory,
    /// A recording.
    Recording {
        /// Its name.
        path: String,
        /// `complete`, `open`, `cut_off`, `damaged`.
        ending: &'static str,
    },
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub began_ns: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub ended_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC at its begin, where that is known.
    pub began_unix_ns: Option<u64>,
}

/// What counted as long, with the units in the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThresholdsNs {
    /// `--long-poll`.
    pub long_poll_ns: u64,
    /// `--slow-to-run`.
    pub slow_to_run_ns: u64,
    /// `--stalled`.
    pub stalled_ns: u64,
}

impl From<Thresholds> for ThresholdsNs {
    fn from(thresholds: Thresholds) -> Self {
        Self {
            long_poll_ns: thresholds.long_poll,
            slow_to_run_ns: thresholds.slow_to_run,
            stalled_ns: thresholds.stalled,
        }
    }
}
