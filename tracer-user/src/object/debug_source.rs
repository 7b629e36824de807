//! The files that hold the DWARF of a binary.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use gimli::SectionId;

use super::debuglink::{below, by_build_id, by_link};
use super::level::level;
use super::{Binary, BinaryError};
use crate::locate::Process;
use crate::rebuild::snapshot::DebugInfoLevel;

/// Time in which what is read of the files stays in memory: some ten megabytes.
const RELEASED_EVERY: Duration = Duration::from_millis(10);

/// Where the debug information was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the binary itself.
    Binary,
    /// In the file that the user gave.
    Given(PathBuf),
    /// In the file under `.build-id` with the binary's build-id.
    BuildId(PathBuf),
    /// In the file that `.gnu_debuglink` names, its CRC checked.
    DebugLink(PathBuf),
    /// Nowhere: the binary has none and no separate file was found.
    Nowhere,
}

impl Origin {
    /// The separate file, where there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Given(path) | Self::BuildId(path) | Self::DebugLink(path) => Some(path),
            Self::Binary | Self::Nowhere => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary => write!(f, "in the binary"),
            Self::Given(path) => write!(f, "{} (--debug-file)", path.display()),
            Self::BuildId(path) => write!(f, "{} (by build-id)", path.display()),
            Self::DebugLink(path) => write!(f, "{} (by .gnu_debuglink)", path.display()),
            Self::Nowhere => write!(f, "not found"),
        }
    }
}

/// The DWARF of one binary: in itself or in a separate file, with its package of split units.
#[derive(Debug)]
pub struct DebugSource {
    binary: Arc<Binary>,
    separate: Option<Binary>,
    package: Option<Binary>,
    origin: Origin,
    level: DebugInfoLevel,
}

impl DebugSource {
    /// Finds the debug information of `binary`, the executable of `process`: the file that the
    /// user gave; else in the binary; else by build-id, then by `.gnu_debuglink`, in the root file
    /// system of the process first and in ours second. A `.dwp` next to the binary or next to the
    /// debug file is taken with it.
    ///
    /// # Errors
    /// Only a file that the user gave is an error: when it is unreadable, belongs to another build
    /// or holds no debug information. A file that was searched and does not fit is passed over.
    pub fn find(
        binary: Arc<Binary>,
        process: &Process,
        explicit: Option<&Path>,
    ) -> Result<Self, BinaryError> {
        let roots = [process.root(), PathBuf::from("/")];
        Self::search(binary, &process.exe, &roots, explicit)
    }

    /// As [`DebugSource::find`], for a binary whose path inside each of `roots` is `exe`.
    ///
    /// # Errors
    /// As [`DebugSource::find`].
    pub fn search(
        binary: Arc<Binary>,
        exe: &Path,
        roots: &[PathBuf],
        explicit: Option<&Path>,
    ) -> Result<Self, BinaryError> {
        let (origin, separate) = if let Some(path) = explicit {
            (Origin::Given(path.to_owned()), Some(given(path, &binary)?))
        } else if has_debug_information(&binary) {
            (Origin::Binary, None)
        } else {
            match find_separate(&binary, exe, roots) {
                Some((origin, file)) => (origin, Some(file)),
                None => (Origin::Nowhere, None),
            }
        };
        let package = find_package(&binary, exe, roots, origin.file());
        let level = level(
            &binary,
            separate.as_ref().unwrap_or(&binary),
            package.as_ref(),
        );
        Ok(Self {
            binary,
            separate,
            package,
            origin,
            level,
        })
    }

    /// Where the debug information was found.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How much of it there is.
    #[must_use]
    pub fn level(&self) -> DebugInfoLevel {
        self.level
    }

    /// The binary that it describes.
    #[must_use]
    pub fn binary(&self) -> &Arc<Binary> {
        &self.binary
    }

    /// The file that holds `.debug_info`: a separate one, or the binary itself.
    #[must_use]
    pub fn info_file(&self) -> &Binary {
        self.separate.as_ref().unwrap_or(&self.binary)
    }

    /// The file with the most complete symbol table: the binary's, else the separate file's.
    #[must_use]
    pub fn symbol_file(&self) -> &Binary {
        if self.binary.has_symbol_table() {
            &self.binary
        } else {
            self.info_file()
        }
    }

    /// The package of split units (`.dwp`), where there is one.
    #[must_use]
    pub fn package_path(&self) -> Option<&Path> {
        self.package.as_ref().map(Binary::path)
    }

    /// The bytes of a DWARF section, decompressed once and kept; empty where it is absent.
    #[must_use]
    pub fn section(&self, id: SectionId) -> &[u8] {
        self.info_file().section(id.name()).unwrap_or_default()
    }

    /// Gives memory back that holds what was read of the files, as far as they are mapped. What is
    /// asked for later is read again.
    fn release(&self) {
        self.binary.release();
        self.separate.iter().for_each(Binary::release);
        self.package.iter().for_each(Binary::release);
    }

    /// Does what reads here and there in all of the files, and gives memory back meanwhile, so that
    /// no more of them stays resident than is read in a short time, and nothing at the end. What is
    /// needed again soon is in the kernel's page cache.
    pub fn sparing<T>(&self, work: impl FnOnce() -> T) -> T {
        let (working, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(RELEASED_EVERY) == Err(RecvTimeoutError::Timeout) {
                    self.release();
                }
                self.release();
            });
            let made = work();
            drop(working);
            made
        })
    }

    /// The bytes of a section of the `.dwp`, where there is one.
    #[must_use]
    pub fn dwp_section(&self, id: SectionId) -> Option<&[u8]> {
        self.package.as_ref()?.section(id.dwo_name()?)
    }
}

fn has_debug_information(binary: &Binary) -> bool {
    binary
        .section(".debug_info")
        .is_some_and(|section| !section.is_empty())
}

/// The debug file that the user named.
fn given(path: &Path, binary: &Binary) -> Result<Binary, BinaryError> {
    let file = Binary::open(path)?;
    if file.build_id() != binary.build_id() {
        let name = |id: Option<&str>| id.unwrap_or("none").to_owned();
        return Err(BinaryError::BuildIdMismatch {
            path: path.to_owned(),
            expected: name(binary.build_id()),
            found: name(file.build_id()),
        });
    }
    if !has_debug_information(&file) && !file.has_symbol_table() {
        return Err(BinaryError::NoDebugInformation {
            path: path.to_owned(),
        });
    }
    Ok(file)
}

fn find_separate(binary: &Binary, exe: &Path, roots: &[PathBuf]) -> Option<(Origin, Binary)> {
    if let Some(id) = binary.build_id() {
        for path in by_build_id(id, roots) {
            if let Ok(file) = Binary::open(&path)
                && file.build_id() == Some(id)
            {
                return Some((Origin::BuildId(path), file));
            }
        }
    }
    let (name, crc) = binary.debug_link()?;
    for path in by_link(name, exe, roots) {
        if let Ok(file) = Binary::open(&path)
            && crc32fast::hash(file.file_bytes()) == crc
        {
            return Some((Origin::DebugLink(path), file));
        }
    }
    None
}

/// The `.dwp` of the binary: `app.dwp` next to `app`, or next to its debug file.
fn find_package(
    binary: &Binary,
    exe: &Path,
    roots: &[PathBuf],
    separate: Option<&Path>,
) -> Option<Binary> {
    let append = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dwp");
        PathBuf::from(name)
    };
    let candidates = roots
        .iter()
        .map(|root| append(&below(root, exe)))
        .chain(
            separate
                .into_iter()
                .flat_map(|file| [append(file), file.with_extension("dwp")]),
        )
        .chain([append(binary.path())]);
    for path in candidates {
        if let Ok(package) = Binary::open(&path)
            && package.section(".debug_info.dwo").is_some()
        {
            return Some(package);
        }
    }
    None
}
