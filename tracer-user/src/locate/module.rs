//! The modules of a process: its executable and the shared libraries with code.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use procfs::process::{MMPermissions, MMapPath, MemoryMap};

use super::bias::{LoadSegment, Mapping, load_bias};
use crate::address::{Address, LinkAddress, LoadBias};

/// One ELF file mapped into a process with code in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its path as the process sees it, for people.
    pub path: String,
    /// A path by which this process can open it: `/proc/PID/exe`, or one below `/proc/PID/root`
    /// or `/proc/PID/map_files`.
    pub file: PathBuf,
    /// What the loader added to its link addresses.
    pub bias: LoadBias,
    /// The addresses it takes.
    pub range: Range<Address>,
    /// Whether it is the executable.
    pub is_executable_of_process: bool,
}

/// A mapped file: device and inode, and path where the device is unreliable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    device: (i32, i32),
    inode: u64,
    path: PathBuf,
}

/// The modules of process `pid` from its mappings, the executable first. Files that are not ELF,
/// or are not mapped as their program headers say, are left out.
pub(super) fn modules_of(pid: i32, maps: &[MemoryMap]) -> Vec<Module> {
    let mut files: HashMap<FileKey, Vec<&MemoryMap>> = HashMap::new();
    for map in maps {
        if let MMapPath::Path(path) = &map.pathname {
            let key = FileKey {
                device: map.dev,
                inode: map.inode,
                path: path.clone(),
            };
            files.entry(key).or_default().push(map);
        }
    }
    let exe = PathBuf::from(format!("/proc/{pid}/exe"));
    let exe_inode = exe.metadata().ok().map(|metadata| metadata.ino());
    let exe_path = exe.read_link().unwrap_or_default();
    let mut modules: Vec<Module> = files
        .into_iter()
        .filter_map(|(key, maps)| {
            // Overlay and btrfs file systems show another device in maps than stat does, so the
            // device cannot be compared; path and inode together are enough.
            let is_exe = key.path == exe_path && Some(key.inode) == exe_inode;
            module(pid, &key, &maps, is_exe, &exe)
        })
        .collect();
    modules.sort_by_key(|module| (!module.is_executable_of_process, module.range.start));
    modules
}

fn module(
    pid: i32,
    key: &FileKey,
    maps: &[&MemoryMap],
    is_exe: bool,
    exe: &Path,
) -> Option<Module> {
    let mappings: Vec<Mapping> = maps
        .iter()
        .map(|map| Mapping {
            range: Address(map.address.0)..Address(map.address.1),
            offset: map.offset,
            executable: map.perms.contains(MMPermissions::EXECUTE),
        })
        .collect();
    if !mappings.iter().any(|mapping| mapping.executable) {
        return None;
    }
    let file = if is_exe {
        exe.to_owned()
    } else {
        openable(pid, key, maps)?
    };
    let segments = load_segments(&file)?;
    let (bias, range) = load_bias(&mappings, &segments)?;
    Some(Module {
        path: key.path.to_string_lossy().into_owned(),
        file,
        bias,
        range,
        is_executable_of_process: is_exe,
    })
}

/// A path by which we can open the mapped file: below `/proc/PID/root` while the path still leads
/// to the same file, by the mapping itself (`map_files`, needs a capability) otherwise.
fn openable(pid: i32, key: &FileKey, maps: &[&MemoryMap]) -> Option<PathBuf> {
    let inside = key.path.strip_prefix("/").ok()?;
    let by_root = PathBuf::from(format!("/proc/{pid}/root")).join(inside);
    if by_root
        .metadata()
        .is_ok_and(|metadata| metadata.ino() == key.inode)
    {
        return Some(by_root);
    }
    let (start, end) = maps.first()?.address;
    let by_mapping = PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
    by_mapping.metadata().ok().map(|_| by_mapping)
}

/// The `PT_LOAD` headers of a 64-bit ELF file, read without the rest of it.
fn load_segments(path: &Path) -> Option<Vec<LoadSegment>> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let cache = ReadCache::new(file);
    let header = elf::FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let segments = header
        .program_headers(endian, &cache)
        .ok()?
        .iter()
        .filter(|header| header.p_type(endian) == elf::PT_LOAD)
        .map(|header| LoadSegment {
            address: LinkAddress(header.p_vaddr(endian)),
            offset: header.p_offset(endian),
            memory_size: header.p_memsz(endian),
            executable: header.p_flags(endian) & elf::PF_X != 0,
        })
        .collect();
    Some(segments)
}
