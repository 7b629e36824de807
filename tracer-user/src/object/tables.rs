//! The tables of an ELF file read into our own types.

use std::ops::Range;
use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, ProgramHeader, SectionHeader, Sym};

use super::binary::{Segment, TlsSegment};
use super::section::{Encoding, Section};
use super::{BinaryError, Symbol, SymbolKind};
use crate::address::{FileOffset, LinkAddress};

pub(super) type Elf<'data> = ElfFile64<'data, Endianness>;
type Header = elf::FileHeader64<Endianness>;

pub(super) fn parse_elf(bytes: &[u8]) -> object::read::Result<Elf<'_>> {
    ElfFile64::parse(bytes)
}

/// Refuses what is not a 64-bit little-endian x86-64 file, by name.
pub(super) fn check_machine(path: &Path, bytes: &[u8]) -> Result<(), BinaryError> {
    let other = |found: String| BinaryError::OtherMachine {
        path: path.to_owned(),
        found,
    };
    match crate::locate::machine(bytes) {
        crate::locate::Machine::X86_64 => Ok(()),
        crate::locate::Machine::Other(found) => Err(other(found)),
        crate::locate::Machine::NotElf => Err(BinaryError::NotElf {
            path: path.to_owned(),
            reason: "it does not start with an ELF header".to_owned(),
        }),
    }
}

pub(super) fn segment(header: &elf::ProgramHeader64<Endianness>, endian: Endianness) -> Segment {
    Segment {
        address: LinkAddress(header.p_vaddr(endian)),
        memory_size: header.p_memsz(endian),
        file_offset: FileOffset(header.p_offset(endian)),
        file_size: header.p_filesz(endian),
        executable: header.p_flags(endian) & elf::PF_X != 0,
        writable: header.p_flags(endian) & elf::PF_W != 0,
    }
}

pub(super) fn tls_segment(
    header: &elf::ProgramHeader64<Endianness>,
    endian: Endianness,
) -> TlsSegment {
    TlsSegment {
        address: LinkAddress(header.p_vaddr(endian)),
        memory_size: header.p_memsz(endian),
        file_size: header.p_filesz(endian),
        align: match header.p_align(endian) {
            align if align.is_power_of_two() => align,
            _ => 1,
        },
    }
}

pub(super) fn read_section(
    name: &str,
    header: &elf::SectionHeader64<Endianness>,
    endian: Endianness,
    file: &[u8],
) -> Section {
    let mut range = header
        .file_range(endian)
        .and_then(|(offset, size)| {
            let start = usize::try_from(offset).ok()?;
            Some(start..start.checked_add(usize::try_from(size).ok()?)?)
        })
        .unwrap_or(0..0);
    let mut encoding = Encoding::Plain;
    if let Ok(Some((compression, offset, _))) = header.compression(endian, file) {
        use object::read::elf::CompressionHeader;
        let size = compression.ch_size(endian);
        encoding = match compression.ch_type(endian) {
            elf::ELFCOMPRESS_ZLIB => Encoding::Zlib { size },
            elf::ELFCOMPRESS_ZSTD => Encoding::Zstandard { size },
            _ => Encoding::Unknown,
        };
        range = usize::try_from(offset).map_or(0..0, |start| start..range.end.max(start));
    } else if header.sh_flags(endian) & u64::from(elf::SHF_COMPRESSED) != 0 {
        encoding = Encoding::Unknown;
    } else if name.starts_with(".zdebug_") {
        (encoding, range) = old_compression(file, range);
    }
    Section::new(
        name.into(),
        LinkAddress(header.sh_addr(endian)),
        range,
        encoding,
    )
}

/// GNU's form before `SHF_COMPRESSED`: "ZLIB", the size as a big-endian 64-bit word, the stream.
fn old_compression(file: &[u8], range: Range<usize>) -> (Encoding, Range<usize>) {
    let header = file.get(range.clone()).and_then(<[u8]>::first_chunk::<12>);
    match header {
        Some([b'Z', b'L', b'I', b'B', size @ ..]) => (
            Encoding::Zlib {
                size: u64::from_be_bytes(*size),
            },
            range.start + 12..range.end,
        ),
        _ => (Encoding::Unknown, range),
    }
}

pub(super) fn best_table<'data, 'file>(
    file: &'file Elf<'data>,
) -> &'file object::read::elf::SymbolTable<'data, Header> {
    let table = file.elf_symbol_table();
    if table.is_empty() {
        file.elf_dynamic_symbol_table()
    } else {
        table
    }
}

pub(super) fn convert<'data>(
    raw: &elf::Sym64<Endianness>,
    name: &'data [u8],
    endian: Endianness,
) -> Option<Symbol<'data>> {
    let kind = match raw.st_type() {
        elf::STT_FUNC | elf::STT_GNU_IFUNC => SymbolKind::Function,
        elf::STT_OBJECT => SymbolKind::Object,
        elf::STT_TLS => SymbolKind::ThreadLocal,
        _ => return None,
    };
    if raw.st_shndx(endian) == elf::SHN_UNDEF {
        return None;
    }
    Some(Symbol {
        name: std::str::from_utf8(name).ok()?,
        address: LinkAddress(raw.st_value(endian)),
        size: raw.st_size(endian),
        kind,
    })
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
