//! Writing a kept stretch as a file of its own: beside its name, synced, and renamed when it is
//! whole. So a name never stands for half a file, and what was there before is replaced only by
//! something complete.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::ring::Stretch;
use super::trigger::{Trigger, Written};
use crate::export::recording::{
    End, Header, KeptStretch, RecordingError, Writer, Written as Counted,
};
use crate::rebuild::tracker::Statistics;

/// Numbers that are tried for a file.
const MAX_NUMBER: u32 = 100_000;

/// A file to be written.
#[derive(Debug)]
pub(super) struct Job {
    /// The name that the user gave.
    pub(super) path: PathBuf,
    /// Whether it gets that name, or one with a number.
    pub(super) plain: bool,
    pub(super) header: Header,
    pub(super) stretch: Stretch,
    pub(super) trigger: Trigger,
    pub(super) statistics: Statistics,
    /// Why the session ended, or that it goes on.
    pub(super) reason: String,
}

impl Job {
    /// Writes it.
    ///
    /// # Errors
    /// [`RecordingError::Create`], [`RecordingError::Write`]; nothing is left of it then.
    pub(super) fn write(&self) -> Result<Written, RecordingError> {
        let (beside, file) = create_beside(&self.path)?;
        let written = self.write_to(&beside, file);
        if written.is_err() {
            // It is of no use; why it is there is told already.
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    fn write_to(&self, beside: &Path, file: File) -> Result<Written, RecordingError> {
        let failed = |source| RecordingError::Write {
            path: self.path.clone(),
            source,
        };
        let mut out = BufWriter::with_capacity(1 << 18, file);
        let stretch = &self.stretch;
        let counted = self.fill(&mut out)?;
        out.flush().map_err(failed)?;
        out.get_ref().sync_all().map_err(failed)?;
        let path = self.give_name(beside).map_err(failed)?;
        if let Some(folder) = folder_of(&path) {
            // The name is safe on the disk as well, where the file system can do that.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(Written {
            path,
            bytes: counted.bytes,
            events: counted.events,
            from: stretch.from,
            until: stretch.until,
            short: stretch.short,
        })
    }

    /// Writes what is in it.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub(super) fn fill(&self, out: impl io::Write) -> Result<Counted, RecordingError> {
        let stretch = &self.stretch;
        let mut writer = Writer::new(&self.path, out, &self.header())?;
        writer.events(&stretch.before)?;
        if let Some(watching) = &stretch.watching {
            writer.watching(watching)?;
        }
        for piece in &stretch.pieces {
            writer.append(piece)?;
        }
        writer.finish(&End {
            time: stretch.until,
            reason: self.reason.clone(),
            events: 0,
            statistics: self.statistics.clone(),
        })
    }

    fn header(&self) -> Header {
        Header {
            started: self.stretch.from,
            kept: Some(KeptStretch {
                attached: self.header.started,
                until: self.stretch.until,
                trigger: self.trigger.cause.word().to_owned(),
                why: self.trigger.why.clone(),
                at: self.trigger.at.min(self.stretch.until),
            }),
            ..self.header.clone()
        }
    }

    fn give_name(&self, beside: &Path) -> io::Result<PathBuf> {
        if self.plain {
            std::fs::rename(beside, &self.path)?;
            return Ok(self.path.clone());
        }
        for number in 1..MAX_NUMBER {
            let path = numbered(&self.path, number);
            match rename_to_new(beside, &path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Says whether files can be written there, before anything depends on it.
///
/// # Errors
/// [`RecordingError::Create`].
pub(super) fn check(path: &Path) -> Result<(), RecordingError> {
    let (beside, file) = create_beside(path)?;
    drop(file);
    let _ = std::fs::remove_file(beside);
    // A rename would replace a device or a link; a folder it cannot.
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => Err(cannot(path, io::ErrorKind::IsADirectory.into())),
        Ok(there) if !there.is_file() => Err(cannot(
            path,
            io::Error::other("it is no ordinary file, and --keep replaces files"),
        )),
        _ => Ok(()),
    }
}

fn cannot(path: &Path, source: io::Error) -> RecordingError {
    RecordingError::Create {
        path: path.to_owned(),
        source,
    }
}

fn folder_of(path: &Path) -> Option<&Path> {
    path.parent().map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    })
}

/// A new file in the same folder, hidden.
fn create_beside(path: &Path) -> Result<(PathBuf, File), RecordingError> {
    let name = path
        .file_name()
        .ok_or_else(|| cannot(path, io::ErrorKind::IsADirectory.into()))?;
    for number in 0..100 {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{number}.part", std::process::id()));
        let beside = path.with_file_name(hidden);
        match crate::outfile::create_new(&beside) {
            Ok(file) => return Ok((beside, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot(path, error)),
        }
    }
    Err(cannot(path, io::ErrorKind::AlreadyExists.into()))
}

/// `t.astrace` -> `t.3.astrace`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Renames, unless something has that name.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            // A file system that cannot: a second name fails where there is one.
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
