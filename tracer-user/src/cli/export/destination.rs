//! Where an export goes: standard output, a file that is replaced once the new one is whole, or
//! something that is no file (a device, a pipe), which is written to.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::error::ExportError;
use crate::error::{Error, Result};

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
        // The place behind a link is what is to be replaced, not the link.
        let Ok(real) = fs::canonicalize(path) else {
            return Ok(Self::File(path.to_owned()));
        };
        if fs::canonicalize(recording).is_ok_and(|recording| recording == real) {
            return Err(ExportError::Itself {
                path: path.to_owned(),
            });
        }
        match fs::metadata(&real) {
            Ok(metadata) if metadata.is_file() => Ok(Self::File(real)),
            Ok(metadata) if metadata.is_dir() => Err(ExportError::Create {
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
                let file = OpenOptions::new().write(true).open(path);
                self.fill(file.map_err(|error| self.create(error))?, write)
            }
            Self::File(path) => {
                let folder = match path.parent() {
                    Some(folder) if !folder.as_os_str().is_empty() => folder,
                    _ => Path::new("."),
                };
                // As any file that a program makes: the umask decides who may read it.
                let mut file = tempfile::Builder::new()
                    .prefix(".asynctrace-")
                    .suffix(".partial")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(folder)
                    .map_err(|error| self.create(error))?;
                let size = self.fill(file.as_file_mut(), write)?;
                give_to_sudo_user(file.as_file()).map_err(|error| self.create(error))?;
                file.persist(path)
                    .map_err(|error| self.create(error.error))?;
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

/// A file that is made under sudo belongs to the user who ran it. It is new, and still has a name
/// that nobody knew, so it is nobody else's.
fn give_to_sudo_user(file: &File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if let (Some(user), Some(group)) = (number("SUDO_UID"), number("SUDO_GID")) {
        let user = rustix::fs::Uid::from_raw(user);
        let group = rustix::fs::Gid::from_raw(group);
        rustix::fs::fchown(file, Some(user), Some(group))?;
    }
    Ok(())
}
