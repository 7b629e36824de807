//! What can go wrong with a recording, and what to do then.

use std::io;
use std::path::PathBuf;

use crate::error::{Advice, ExitCode};

/// A recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be made.
    #[error("could not create the recording {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written any further; what was written before stays readable.
    #[error("could not write the recording {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be opened.
    #[error("could not open the recording {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("could not read the recording {} at byte {offset}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file holds nothing.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not an asynctrace recording: {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        reason: String,
    },
    /// The file ends before its header does.
    #[error("{} ends after {bytes} bytes, inside its header", path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The file's header is damaged, so that nothing in it can be told.
    #[error("the header of {} is damaged: {reason}", path.display())]
    DamagedHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is of a version that this program does not read.
    #[error(
        "{} is a recording of format {major}.{minor}; this program reads format {}",
        path.display(),
        super::MAJOR
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
}

/// What to do where a folder was named.
const IS_A_FOLDER: &str = "name a file that asynctrace attach -o or record -o wrote, not a folder";

impl Advice for RecordingError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Create { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ExitCode::NotPermitted
            }
            _ => ExitCode::BadFile,
        }
    }

    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Create { path, source } => match source.kind() {
                io::ErrorKind::NotFound => "make its folder first, or name another with -o",
                io::ErrorKind::IsADirectory => "-o takes the name of a file, not of a folder",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "name a place with -o where you may write"
                }
                _ if path.as_os_str().is_empty() => "-o takes the name of a file",
                _ => return None,
            },
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full; what was written before can be read"
            }
            Self::Write { .. } => "what was written before can be read",
            Self::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the file's name",
                io::ErrorKind::PermissionDenied => {
                    "it belongs to someone else: run as its owner, or with sudo"
                }
                io::ErrorKind::IsADirectory => IS_A_FOLDER,
                _ => return None,
            },
            Self::Read { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                IS_A_FOLDER
            }
            Self::Read { .. } => return None,
            Self::Empty { .. } | Self::NoHeader { .. } => {
                "the recorder was stopped before it wrote anything: record again"
            }
            Self::Foreign { .. } => "name a file that asynctrace attach -o or record -o wrote",
            Self::DamagedHeader { .. } => "record again; the file cannot be mended",
            Self::OtherVersion { .. } => {
                "read it with the asynctrace that wrote it, or a later one"
            }
        };
        Some(step.to_owned())
    }
}
