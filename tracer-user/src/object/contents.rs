#![expect(
    unsafe_code,
    reason = "memory-maps the executable of a running process"
)]
//! The bytes of one file.
//!
//! A mapped file that is truncated under us kills us with `SIGBUS`, and the files here belong to
//! whoever runs the target. So files are copied into private memory, with one exception: the
//! executable of a running process, through `/proc/PID/exe`, is mapped, because it is the large
//! one (hundreds of megabytes of DWARF of which we touch a fraction) and Linux refuses to open it
//! for writing or to truncate it while it runs (`ETXTBSY`; not on 6.11 and 6.12, where the refusal
//! was given up for a while). What remains is the window between the end of the process and the
//! end of our reading; in it, someone who truncates the file in place ends us, and nothing else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::BinaryError;

/// Files above this size are refused: 16 GiB, far above any real binary.
const MAX_FILE: u64 = 16 << 30;

/// The bytes of one file, mapped or copied.
#[derive(Debug)]
pub(super) enum Contents {
    Mapped(memmap2::Mmap),
    Copied(Vec<u8>),
}

impl Contents {
    /// Copies the regular file `path` into memory.
    pub(super) fn copy(path: &Path) -> Result<Self, BinaryError> {
        let (file, len) = open(path)?;
        Self::copied(path, &file, len)
    }

    fn copied(path: &Path, file: &File, len: u64) -> Result<Self, BinaryError> {
        let unreadable = |source| BinaryError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let capacity = usize::try_from(len).unwrap_or(usize::MAX);
        bytes
            .try_reserve_exact(capacity)
            .map_err(|_| BinaryError::Unsuitable {
                path: path.to_owned(),
                reason: "it does not fit into memory",
            })?;
        // The file may grow meanwhile; what counts is the size that was checked.
        file.take(len).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Self::Copied(bytes))
    }

    /// Maps `path`, which must be the executable of a running process, and returns the open file
    /// as well: that, and no other that the path may lead to later, is what was mapped.
    pub(super) fn map_running(path: &Path) -> Result<(Self, File), BinaryError> {
        let (file, len) = open(path)?;
        // SAFETY: the mapping is private and read-only. Its bytes do not change while we hold it:
        // the kernel denies writing to a file that a process executes (see the module's text for
        // the versions and the window in which this does not hold).
        let mapping = unsafe { memmap2::Mmap::map(&file) };
        match mapping {
            Ok(mapping) => Ok((Self::Mapped(mapping), file)),
            // Some file systems cannot be mapped.
            Err(_) => Ok((Self::copied(path, &file, len)?, file)),
        }
    }

    /// Gives the memory back that holds what was read of a mapped file; it is read again when it is
    /// asked for. Copied bytes stay.
    pub(super) fn release(&self) {
        if let Self::Mapped(mapping) = self {
            // SAFETY: nobody writes through this mapping, and the file does not change while we hold
            // it (see the module's text): what is read again are the same bytes.
            let released = unsafe { mapping.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = released {
                tracing::debug!("the pages of a file stay in memory: {error}");
            }
        }
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// Opens a regular file and returns its size in bytes. Never blocks on a FIFO or a device.
fn open(path: &Path) -> Result<(File, u64), BinaryError> {
    let unreadable = |source| BinaryError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let unsuitable = |reason| BinaryError::Unsuitable {
        path: path.to_owned(),
        reason,
    };
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unsuitable("it is not a regular file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(unsuitable("it is larger than 16 GiB"));
    }
    Ok((file, metadata.len()))
}
