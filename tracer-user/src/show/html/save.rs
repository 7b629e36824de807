//! The page as a file: whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Page;
use crate::error::{Advice, ExitCode};
use crate::outfile::Replacement;

/// A page cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    /// There is no place to write it.
    #[error("could not create a file beside {}", path.display())]
    Create {
        /// The page.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written to its end.
    #[error("could not write the page {}", path.display())]
    Write {
        /// The page.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is written, but cannot take its name.
    #[error("could not put the page at {}", path.display())]
    Rename {
        /// The page.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Advice for HtmlError {
    fn exit_code(&self) -> ExitCode {
        let (Self::Create { source, .. }
        | Self::Write { source, .. }
        | Self::Rename { source, .. }) = self;
        if source.kind() == io::ErrorKind::PermissionDenied {
            ExitCode::NotPermitted
        } else {
            ExitCode::BadFile
        }
    }

    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::Create { .. } => {
                "Choose a folder that exists and that you may write to: --html /tmp/report.html"
            }
            Self::Write { .. } => "Make room on that disk, or choose another: --html PATH",
            Self::Rename { .. } => "Choose a name that is not taken by a folder: --html PATH",
        };
        Some(step.to_owned())
    }
}

/// Writes the page to `path`; a file that is there is replaced only when the new one is whole.
/// Returns its size in bytes.
///
/// # Errors
/// When the file cannot be made, written or renamed; what was at `path` is then as it was.
pub fn save(page: &Page<'_>, path: &Path) -> Result<u64, HtmlError> {
    save_as(path, |out| super::write(page, out))
}

/// As [`save`], for any page.
///
/// # Errors
/// As [`save`].
pub fn save_as(
    path: &Path,
    page: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<u64, HtmlError> {
    let create = |source| HtmlError::Create {
        path: path.to_owned(),
        source,
    };
    let write = |source| HtmlError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = Replacement::begin(path).map_err(create)?;
    let mut out = BufWriter::with_capacity(1 << 16, file.file());
    page(&mut out).map_err(write)?;
    out.flush().map_err(write)?;
    drop(out);
    let bytes = file.file().metadata().map_err(write)?.len();
    file.finish().map_err(|source| HtmlError::Rename {
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}
