//! Writes the initial file system: a cpio archive in the `newc` format, which the kernel unpacks
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Not compressed: unpacking is
//! slower than reading in an emulated machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being written.
pub(crate) struct Archive<W: Write> {
    out: W,
    written: u64,
    entries: u32,
    known: BTreeSet<PathBuf>,
}

impl Archive<BufWriter<File>> {
    /// Into a new file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self::new(BufWriter::new(file)))
    }
}

impl<W: Write> Archive<W> {
    /// Into `out`.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            entries: 0,
            known: BTreeSet::new(),
        }
    }

    /// Adds a folder and those above it.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn folder(&mut self, path: &Path) -> Result<()> {
        let above: Vec<&Path> = path
            .ancestors()
            .filter(|path| *path != Path::new("/"))
            .collect();
        for path in above.into_iter().rev() {
            if self.is_new(path) {
                self.entry(path, FOLDER, 0, io::empty())?;
            }
        }
        Ok(())
    }

    /// Adds a copy of the file `from` as `path`, executable; a file that is there already stays.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn file(&mut self, path: &Path, from: &Path) -> Result<()> {
        let file = File::open(from).with_context(|| from.display().to_string())?;
        let length = file.metadata()?.len();
        self.contents(path, PROGRAM, length, file)
    }

    /// Adds a file with this text.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn text(&mut self, path: &Path, text: &str) -> Result<()> {
        self.contents(path, PROGRAM, text.len() as u64, text.as_bytes())
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn link(&mut self, path: &Path, to: &str) -> Result<()> {
        self.contents(path, LINK, to.len() as u64, to.as_bytes())
    }

    /// Ends it; its length in bytes.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.entry(Path::new("TRAILER!!!"), 0, 0, io::empty())?;
        self.out.flush()?;
        Ok(self.written)
    }

    fn is_new(&mut self, path: &Path) -> bool {
        self.known.insert(path.to_owned())
    }

    fn contents(&mut self, path: &Path, mode: u32, length: u64, from: impl io::Read) -> Result<()> {
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        if self.is_new(path) {
            self.entry(path, mode, length, from)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, mode: u32, length: u64, from: impl io::Read) -> Result<()> {
        let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
        let size = u32::try_from(length)
            .with_context(|| format!("{} is too large for an archive", path.display()))?;
        self.entries += 1;
        // inode, mode, uid, gid, links, time, size, device (4 numbers), length of the name, sum.
        let name_size = u32::try_from(name.len() + 1)?;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        let copied = io::copy(&mut from.take(length), &mut self.out)?;
        self.written += copied;
        anyhow::ensure!(copied == length, "{} has become shorter", path.display());
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Everything begins at a multiple of four bytes.
    fn pad(&mut self) -> Result<()> {
        let rest = usize::try_from(self.written % 4)?;
        if rest != 0 {
            self.put(&[0; 4][rest..])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.text(Path::new("/a/b"), "hello").unwrap();
        archive.text(Path::new("/a/b"), "again").unwrap();
        archive.link(Path::new("/a/c"), "b").unwrap();
        let length = archive.finish().unwrap();
        assert_eq!(length, bytes.len() as u64);
        assert_eq!(length % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 4, "a, a/b, a/c and the end");
        assert!(text.contains("hello") && !text.contains("again"));
        assert!(text.contains("TRAILER!!!"));
        // The header is 110 bytes; the name `a` and its zero make it 112.
        assert!(text[112..].starts_with("070701"));
    }
}
