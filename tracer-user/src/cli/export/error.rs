//! What can go wrong with an export, and what to do then.

use std::io;
use std::path::PathBuf;

use crate::error::{Advice, ExitCode};

/// An export cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// Bytes that are no text would go to a terminal.
    #[error("{format} is a binary format, and standard output is a terminal")]
    Terminal {
        /// The format.
        format: &'static str,
        /// The usual ending of such a file's name.
        extension: &'static str,
    },
    /// The format has not this level.
    #[error("{format} has no level {level}")]
    Level {
        /// The format.
        format: &'static str,
        /// What was asked for.
        level: String,
        /// What there is.
        levels: Vec<&'static str>,
    },
    /// The format has all times.
    #[error("--value is for folded and svg; {format} has no use for it")]
    Value {
        /// The format.
        format: &'static str,
    },
    /// The output would replace the recording.
    #[error("{} is the recording itself", path.display())]
    Itself {
        /// The output.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("could not create {}", path.display())]
    Create {
        /// The output.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("could not write {what}")]
    Write {
        /// The output.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The recording's clocks are out of range.
    #[error("the recording's clocks do not give a time of day")]
    Clocks,
}

impl Advice for ExportError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Terminal { .. }
            | Self::Level { .. }
            | Self::Value { .. }
            | Self::Itself { .. } => ExitCode::Usage,
            Self::Create { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ExitCode::NotPermitted
            }
            Self::Create { .. } | Self::Write { .. } | Self::Clocks => ExitCode::BadFile,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::Terminal { extension, .. } => {
                format!("name a file: -o trace.{extension}; or pipe it to a program")
            }
            Self::Level { levels, .. } if levels.is_empty() => {
                "leave --level out; perfetto, otlp and dot have levels".to_owned()
            }
            Self::Level { levels, .. } => format!("its levels: {}", levels.join(", ")),
            Self::Value { .. } => "leave --value out".to_owned(),
            Self::Itself { .. } | Self::Create { .. } => {
                "name another file, in a folder that is there and where you may write: -o OUT"
                    .to_owned()
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full: make room, or name a file elsewhere with -o. What was there \
                 before is as it was"
                    .to_owned()
            }
            Self::Write { .. } => "name a file elsewhere with -o".to_owned(),
            Self::Clocks => "otlp needs the time of day; the other formats do not".to_owned(),
        })
    }
}
