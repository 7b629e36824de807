//! Where an export goes: standard output, a file that is replaced once the new one is whole, or
//! something that is no file (a device, a pipe), which is written to.

use std::fmt;
use std::fs;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::error::ExportError;
use crate::error::{Error, Result};
use crate::outfile::{self, Replacement};

const BUFFER: usize = 1 << 17;

/// Where an export goes.
#[derive(Debug)]
pub(super) enum Destination {
    Stdout,
    /// A file, made beside its place and moved there.
    File(PathBuf),
    /// Something that is there and no file.
    Special(PathBuf),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) | Self::Special(path) => path.display().fmt(f),
        }
    }
}

impl Destination {
    /// Chooses; `binary` has the name of a format that is no text and the usual ending of its
    /// files' names.
    ///
    /// # Errors
    /// When bytes would go to a terminal, or the recording be replaced.
    pub(super) fn choose(
        output: Option<&Path>,
        recording: &Path,
        binary: Option<(&'static str, &'static str)>,
    ) -> Result<Self, ExportError> {
        let Some(path) = output else {
            return match binary {
                Some((format, extension)) if io::stdout().is_terminal() => {
                    Err(ExportError::Terminal { format, extension })
                }
                _ => Ok(Self::Stdout),
            };
        };
        let Ok(metadata) = fs::metadata(path) else {
            return Ok(Self::File(path.to_owned()));
        };
        let identity = |of: &fs::Metadata| (of.dev(), of.ino());
        if fs::metadata(recording).is_ok_and(|it| identity(&it) == identity(&metadata)) {
            return Err(ExportError::Itself {
                path: path.to_owned(),
            });
        }
        match metadata {
            metadata if metadata.is_file() => Ok(Self::File(path.to_owned())),
            metadata if metadata.is_dir() => Err(ExportError::Create {
                path: path.to_owned(),
                source: io::ErrorKind::IsADirectory.into(),
            }),
            _ => Ok(Self::Special(path.to_owned())),
        }
    }

    /// Has it written, and returns how many bytes that were.
    ///
    /// # Errors
    /// When it cannot be written. A file that was there is then as it was.
    pub(super) fn write(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<u64> {
        match self {
            Self::Stdout => self.fill(io::stdout().lock(), write),
            Self::Special(path) => {
                let file = outfile::create(path);
                self.fill(file.map_err(|error| self.create(error))?, write)
            }
            Self::File(path) => {
                let mut file = Replacement::begin(path).map_err(|error| self.create(error))?;
                let size = self.fill(file.file(), write)?;
                file.finish().map_err(|error| self.create(error))?;
                Ok(size)
            }
        }
    }

    fn fill(
        &self,
        out: impl Write,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<u64> {
        let mut out = Counted {
            out: BufWriter::with_capacity(BUFFER, out),
            bytes: 0,
        };
        write(&mut out)
            .and_then(|()| Ok(out.flush()?))
            .map_err(|error| match error {
                WriteError::Clocks => ExportError::Clocks.into(),
                // The reader has gone, as `| head` does: a normal end, which `cli` knows.
                WriteError::Io(error)
                    if error.kind() == io::ErrorKind::BrokenPipe
                        && matches!(self, Self::Stdout) =>
                {
                    Error::Bug(anyhow::Error::new(error).context("standard output"))
                }
                WriteError::Io(source) => ExportError::Write {
                    what: self.to_string(),
                    source,
                }
                .into(),
            })?;
        Ok(out.bytes)
    }

    fn create(&self, source: io::Error) -> ExportError {
        ExportError::Create {
            path: PathBuf::from(self.to_string()),
            source,
        }
    }
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
