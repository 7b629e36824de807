//! Subcommands that are not there yet say so.

use crate::error::{Advice, ExitCode};

/// A subcommand that this build does not have.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not in this build")]
pub(super) struct Unfinished(pub(super) &'static str);

impl Advice for Unfinished {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Bug
    }

    fn next_step(&self) -> Option<String> {
        None
    }
}
