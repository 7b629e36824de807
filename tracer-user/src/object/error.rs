//! What can be wrong with a binary or its debug file.

use std::path::PathBuf;

use crate::error::{Advice, ExitCode};

/// Why a binary, or a file with debug information, is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not a regular file, or larger than we are ready to read.
    #[error("cannot read {}: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// Not an ELF file, or one damaged in its headers.
    #[error("{} is not a readable ELF file: {reason}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// An ELF file for another machine.
    #[error("{} is a {found} binary; asynctrace reads 64-bit x86-64 only", path.display())]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// A debug file that belongs to another build.
    #[error("{} has build-id {found}, the running binary has {expected}", path.display())]
    BuildIdMismatch {
        /// The debug file.
        path: PathBuf,
        /// The build-id of the running binary, or "none".
        expected: String,
        /// The build-id of the debug file, or "none".
        found: String,
    },
    /// A debug file that was asked for has no debug information in it.
    #[error("{} holds no debug information", path.display())]
    NoDebugInformation {
        /// The debug file.
        path: PathBuf,
    },
}

impl Advice for BinaryError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreadable { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                ExitCode::NotPermitted
            }
            Self::OtherMachine { .. } => ExitCode::NothingToTrace,
            Self::Unreadable { .. }
            | Self::Unsuitable { .. }
            | Self::NotElf { .. }
            | Self::BuildIdMismatch { .. }
            | Self::NoDebugInformation { .. } => ExitCode::BadFile,
        }
    }

    fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } => {
                "check that the file exists and that you may read it".to_owned()
            }
            Self::Unsuitable { .. } => "give the path of an ordinary ELF file".to_owned(),
            Self::NotElf { .. } => {
                "check that the path names the binary or debug file meant".to_owned()
            }
            Self::OtherMachine { .. } => {
                "trace a binary built for x86_64-unknown-linux-gnu or -musl".to_owned()
            }
            Self::BuildIdMismatch { .. } => {
                "give the debug file that was produced by the same build as the running binary \
                 (`readelf -n FILE` prints its build-id)"
                    .to_owned()
            }
            Self::NoDebugInformation { .. } => {
                "make the debug file with `objcopy --only-keep-debug BINARY FILE` from a build \
                 with `debug = 2`"
                    .to_owned()
            }
        })
    }
}
