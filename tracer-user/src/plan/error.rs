//! Why there is nothing to plan.

use crate::error::{Advice, ExitCode};

/// Why there is nothing to probe.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No async runtime that we know.
    #[error("cannot trace {program}: no async runtime found in it ({looked_at})")]
    NoRuntime {
        /// The program.
        program: String,
        /// What was searched, without result.
        looked_at: String,
    },
    /// A `--futures` pattern that matches no function, not even an inlined one.
    #[error("cannot probe --futures '{pattern}': no future of the program matches it")]
    NoSuchFuture {
        /// The pattern.
        pattern: String,
    },
}

impl Advice for PlanError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoRuntime { .. } => ExitCode::NothingToTrace,
            Self::NoSuchFuture { .. } => ExitCode::Usage,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::NoRuntime { .. } => {
                "choose a program that runs tokio 1.23 or later, or any tokio 1 with symbols \
                 (`strip = \"none\"`)"
                    .to_owned()
            }
            Self::NoSuchFuture { .. } => {
                "patterns match whole paths such as `app::serve::{async_fn#0}`: try '*serve*'"
                    .to_owned()
            }
        })
    }
}
