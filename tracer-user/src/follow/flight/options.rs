//! What a flight recorder is asked for: how much it keeps, what has it write, and who is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ring::Keep;
use super::slow::Watching;
use super::trigger::Handle;
use crate::analyse::findings::{Certainty, Finding, Kind};

/// What to keep, when to write it, and how much of that.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is kept.
    pub keep: Keep,
    /// What has it written, beside signals, a [`Handle`], and the end.
    pub watched: Watching,
    /// Findings that have it written; `None` for none.
    pub findings: Option<Findings>,
    /// Files beside the last one that are written at most.
    pub max_files: u64,
    /// Between two files that nobody asked for.
    pub pause: Duration,
    /// Has it written from outside.
    pub handle: Handle,
    /// Is told what was written and what could not be.
    pub tell: Tell,
}

impl Options {
    /// Whether somebody has to judge the session while it goes on.
    #[must_use]
    pub fn needs_judging(&self) -> bool {
        self.findings.is_some() || self.watched.learns_requests()
    }
}

/// Which findings have it written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Findings {
    /// Any that is likely or proved.
    Any,
    /// Those of these kinds, however sure.
    Of(Vec<Kind>),
}

impl Findings {
    /// Whether this one is.
    #[must_use]
    pub fn are(&self, finding: &Finding) -> bool {
        match self {
            Self::Any => finding.certainty >= Certainty::Likely,
            Self::Of(kinds) => kinds.contains(&finding.kind),
        }
    }
}

/// Is told what a user should know meanwhile, a line at a time.
#[derive(Clone)]
pub struct Tell(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

impl Default for Tell {
    /// Tells the log.
    fn default() -> Self {
        Self(Arc::new(|line| tracing::info!("{line}")))
    }
}
