//! One section of an ELF file, decompressed on first use.

use std::io::Read;
use std::ops::Range;
use std::sync::OnceLock;

use crate::address::LinkAddress;

/// Largest decompressed section: 8 GiB. A compressed section names its own size, and a hostile
/// one may name any.
const MAX_SECTION: u64 = 8 << 30;

/// How the bytes of a section are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As they are.
    Plain,
    /// `SHF_COMPRESSED` with `ELFCOMPRESS_ZLIB`, or GNU's older `.zdebug_*`.
    Zlib {
        /// Size of the decompressed bytes.
        size: u64,
    },
    /// `SHF_COMPRESSED` with `ELFCOMPRESS_ZSTD`.
    Zstandard {
        /// Size of the decompressed bytes.
        size: u64,
    },
    /// Compressed in a way that we do not know.
    Unknown,
}

/// One section.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: Box<str>,
    /// Where it is loaded; 0 when it is not.
    pub(super) address: LinkAddress,
    /// Its stored bytes in the file; empty for `SHT_NOBITS`.
    pub(super) file_range: Range<usize>,
    pub(super) encoding: Encoding,
    decompressed: OnceLock<Option<Vec<u8>>>,
}

impl Section {
    pub(super) fn new(
        name: Box<str>,
        address: LinkAddress,
        file_range: Range<usize>,
        encoding: Encoding,
    ) -> Self {
        Self {
            name,
            address,
            file_range,
            encoding,
            decompressed: OnceLock::new(),
        }
    }

    /// The section's bytes, decompressed once and kept; `None` where they are damaged.
    pub(super) fn data<'a>(&'a self, file: &'a [u8]) -> Option<&'a [u8]> {
        let stored = file.get(self.file_range.clone())?;
        if self.encoding == Encoding::Plain {
            return Some(stored);
        }
        self.decompressed
            .get_or_init(|| decompress(stored, self.encoding))
            .as_deref()
    }
}

/// Decompresses `stored`; `None` where it is damaged or does not have the size it names.
fn decompress(stored: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Plain => Some(stored.to_vec()),
        Encoding::Zlib { size } => read_exactly(flate2::read::ZlibDecoder::new(stored), size),
        Encoding::Zstandard { size } => zstandard(stored, size),
        Encoding::Unknown => None,
    }
}

/// Decompresses one or more Zstandard frames; a linker that compresses in parallel may write many.
fn zstandard(mut stored: &[u8], size: u64) -> Option<Vec<u8>> {
    if size > MAX_SECTION {
        return None;
    }
    let mut bytes = Vec::new();
    while !stored.is_empty() {
        let left = size.checked_sub(bytes.len() as u64)?;
        let decoder = ruzstd::decoding::StreamingDecoder::new(&mut stored).ok()?;
        // Reads the whole frame or one byte too many, so the loop moves on or ends.
        decoder.take(left + 1).read_to_end(&mut bytes).ok()?;
    }
    (bytes.len() as u64 == size).then_some(bytes)
}

/// Reads `size` bytes and requires that there are no more. Memory grows with what is really there,
/// so a short file that names a huge size costs nothing.
fn read_exactly(decoder: impl Read, size: u64) -> Option<Vec<u8>> {
    if size > MAX_SECTION {
        return None;
    }
    let mut bytes = Vec::new();
    decoder
        .take(size.checked_add(1)?)
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_section_has_exactly_the_size_it_names() {
        let stored = zlib(&[7; 1000]);
        let sized = |size| decompress(&stored, Encoding::Zlib { size });
        assert_eq!(sized(1000).unwrap(), [7; 1000]);
        assert_eq!(sized(999), None, "more bytes than named");
        assert_eq!(sized(1001), None, "fewer bytes than named");
        assert_eq!(sized(u64::MAX), None, "more than we are ready to hold");
        assert_eq!(decompress(&stored, Encoding::Unknown), None);
        assert_eq!(
            decompress(&stored[..5], Encoding::Zlib { size: 1000 }),
            None
        );
        assert_eq!(
            decompress(&stored, Encoding::Zstandard { size: 1000 }),
            None
        );
    }
}
