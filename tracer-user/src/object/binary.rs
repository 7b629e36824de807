//! One ELF file.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use object::Object;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Sym};

use super::contents::Contents;
use super::section::Section;
use super::tables::{
    best_table, check_machine, convert, hexadecimal, parse_elf, read_section, segment, tls_segment,
};
use super::{BinaryError, Symbol, SymbolKind};
use crate::address::{FileOffset, LinkAddress};
use crate::locate::Module;

/// A loadable segment (`PT_LOAD`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is linked.
    pub address: LinkAddress,
    /// Its size in memory in bytes.
    pub memory_size: u64,
    /// Where its bytes start in the file.
    pub file_offset: FileOffset,
    /// How many bytes are in the file; the rest is zero.
    pub file_size: u64,
    /// Whether it may be executed.
    pub executable: bool,
    /// Whether it may be written.
    pub writable: bool,
}

/// The template of the thread-local block (`PT_TLS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSegment {
    /// Where the initial image is linked.
    pub address: LinkAddress,
    /// Size of the block in bytes.
    pub memory_size: u64,
    /// Bytes of initial image; the rest of the block starts as zero.
    pub file_size: u64,
    /// Alignment of the block in bytes; at least 1, a power of two.
    pub align: u64,
}

/// An ELF file for x86-64, wholly readable in memory.
#[derive(Debug)]
pub struct Binary {
    path: PathBuf,
    contents: Contents,
    file: Option<Arc<File>>,
    sections: Vec<Section>,
    by_name: HashMap<Box<str>, usize>,
    segments: Vec<Segment>,
    tls: Option<TlsSegment>,
    build_id: Option<String>,
    debug_link: Option<(String, u32)>,
    position_independent: bool,
    functions: OnceLock<Vec<(LinkAddress, u64, usize)>>,
}

impl Binary {
    /// Reads the file at `path` into memory.
    ///
    /// # Errors
    /// [`BinaryError`] when it cannot be read or is not an ELF file for x86-64.
    pub fn open(path: &Path) -> Result<Self, BinaryError> {
        Self::parse(path, Contents::copy(path)?)
    }

    /// Opens the file of a module of a running process. The executable is mapped, not copied.
    ///
    /// # Errors
    /// As [`Binary::open`].
    pub fn of_module(module: &Module) -> Result<Self, BinaryError> {
        if module.is_executable_of_process {
            let (contents, file) = Contents::map_running(&module.file)?;
            let mut binary = Self::parse(&module.file, contents)?;
            binary.file = Some(Arc::new(file));
            Ok(binary)
        } else {
            Self::open(&module.file)
        }
    }

    /// The open file, of the executable of a running process. It stays what was read here, also when
    /// the process executes another program or the path leads elsewhere.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// Parses bytes that are already in memory; `path` is only for messages.
    ///
    /// # Errors
    /// [`BinaryError`] when they are not an ELF file for x86-64.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, BinaryError> {
        Self::parse(path, Contents::Copied(bytes))
    }

    fn parse(path: &Path, contents: Contents) -> Result<Self, BinaryError> {
        let bytes = contents.bytes();
        check_machine(path, bytes)?;
        let file = parse_elf(bytes).map_err(|reason| BinaryError::NotElf {
            path: path.to_owned(),
            reason: reason.to_string(),
        })?;
        let endian = file.endian();
        let mut segments = Vec::new();
        let mut tls = None;
        for header in file.elf_program_headers() {
            match header.p_type(endian) {
                elf::PT_LOAD => segments.push(segment(header, endian)),
                elf::PT_TLS => tls = Some(tls_segment(header, endian)),
                _ => {}
            }
        }
        let mut sections = Vec::new();
        let mut by_name = HashMap::new();
        for header in file.elf_section_table().iter() {
            let name = file
                .elf_section_table()
                .section_name(endian, header)
                .unwrap_or_default();
            let section = read_section(&String::from_utf8_lossy(name), header, endian, bytes);
            by_name
                .entry(section.name.clone())
                .or_insert(sections.len());
            sections.push(section);
        }
        let build_id = file
            .build_id()
            .ok()
            .flatten()
            .filter(|id| !id.is_empty() && id.len() <= 64)
            .map(hexadecimal);
        let debug_link = file
            .gnu_debuglink()
            .ok()
            .flatten()
            .map(|(name, crc)| (String::from_utf8_lossy(name).into_owned(), crc));
        let position_independent = file.elf_header().e_type(endian) == elf::ET_DYN;
        Ok(Self {
            path: path.to_owned(),
            sections,
            by_name,
            segments,
            tls,
            build_id,
            debug_link,
            position_independent,
            functions: OnceLock::new(),
            contents,
            file: None,
        })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The GNU build-id in hexadecimal, where the linker wrote one.
    #[must_use]
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// Whether it can be loaded anywhere (PIE, static-PIE, shared library).
    #[must_use]
    pub fn is_position_independent(&self) -> bool {
        self.position_independent
    }

    /// The loadable segments in the order of the file.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The template of its thread-local block, where it has one.
    #[must_use]
    pub fn tls_segment(&self) -> Option<TlsSegment> {
        self.tls
    }

    /// File name and CRC-32 of `.gnu_debuglink`.
    pub(super) fn debug_link(&self) -> Option<(&str, u32)> {
        self.debug_link.as_ref().map(|(name, crc)| (&**name, *crc))
    }

    /// Gives memory back: what was read of the file is read again when it is asked for.
    pub(super) fn release(&self) {
        self.contents.release();
    }

    /// All bytes of the file.
    pub(super) fn file_bytes(&self) -> &[u8] {
        self.contents.bytes()
    }

    /// The bytes of the section with this name, decompressed; `None` where there is none or it is
    /// damaged. GNU's old `.zdebug_*` is found under the `.debug_*` name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let index = self.by_name.get(name).copied().or_else(|| {
            let old = format!(".z{}", name.strip_prefix('.')?);
            self.by_name.get(old.as_str()).copied()
        })?;
        self.sections.get(index)?.data(self.contents.bytes())
    }

    /// Name, link address and bytes of every section that is loaded.
    pub fn loaded_sections(&self) -> impl Iterator<Item = (&str, LinkAddress, &[u8])> {
        self.sections.iter().filter_map(|section| {
            let data = section.data(self.contents.bytes())?;
            (section.address.0 != 0).then_some((&*section.name, section.address, data))
        })
    }

    /// Whether an address is inside a segment that may be executed.
    #[must_use]
    pub fn is_code(&self, address: LinkAddress) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.executable && segment.contains(address))
    }

    /// `len` bytes at a link address, from the file; `None` where not all of them are in it.
    #[must_use]
    pub fn bytes_at(&self, address: LinkAddress, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(self.file_offset(address)?.0).ok()?;
        let segment = self.segment_of(address)?;
        let left = segment.file_size - address.since(segment.address);
        if len as u64 > left {
            return None;
        }
        self.contents.bytes().get(start..start.checked_add(len)?)
    }

    /// Where the byte at a link address is in the file; `None` where it is not in it.
    #[must_use]
    pub fn file_offset(&self, address: LinkAddress) -> Option<FileOffset> {
        let segment = self.segment_of(address)?;
        let offset = segment
            .file_offset
            .0
            .checked_add(address.since(segment.address))?;
        Some(FileOffset(offset))
    }

    fn segment_of(&self, address: LinkAddress) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|segment| segment.has_bytes_of(address))
    }

    /// The symbols that the file defines: `.symtab`, or `.dynsym` in a file without it.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.raw_symbols().map(|(_, symbol)| symbol)
    }

    /// Whether it has a `.symtab`, which `strip` removes.
    #[must_use]
    pub fn has_symbol_table(&self) -> bool {
        self.section(".symtab")
            .is_some_and(|table| !table.is_empty())
    }

    /// The function that covers `address`, by the symbol table.
    #[must_use]
    pub fn function_at(&self, address: LinkAddress) -> Option<Symbol<'_>> {
        let functions = self.functions.get_or_init(|| {
            let mut functions: Vec<_> = self
                .raw_symbols()
                .filter(|(_, symbol)| symbol.kind == SymbolKind::Function)
                .map(|(index, symbol)| (symbol.address, symbol.size, index))
                .collect();
            functions.sort_unstable();
            functions
        });
        let after = functions.partition_point(|(start, ..)| *start <= address);
        let &(start, size, index) = functions.get(after.checked_sub(1)?)?;
        if address != start && address.since(start) >= size {
            return None;
        }
        let file = parse_elf(self.contents.bytes()).ok()?;
        let table = best_table(&file);
        let raw = table.symbol(object::SymbolIndex(index)).ok()?;
        convert(
            raw,
            table.symbol_name(file.endian(), raw).ok()?,
            file.endian(),
        )
    }

    fn raw_symbols(&self) -> impl Iterator<Item = (usize, Symbol<'_>)> {
        let file = parse_elf(self.contents.bytes()).ok();
        file.into_iter().flat_map(|file| {
            let endian = file.endian();
            let table = best_table(&file);
            let (symbols, strings) = (table.symbols(), table.strings());
            symbols.iter().enumerate().filter_map(move |(index, raw)| {
                let name = raw.name(endian, strings).ok()?;
                Some((index, convert(raw, name, endian)?))
            })
        })
    }
}

impl Segment {
    fn contains(&self, address: LinkAddress) -> bool {
        address >= self.address && address.since(self.address) < self.memory_size
    }

    fn has_bytes_of(&self, address: LinkAddress) -> bool {
        address >= self.address && address.since(self.address) < self.file_size
    }
}
