//! Where functions end: by their symbol, else by unwind information, which `strip` leaves.

use std::collections::BTreeMap;

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};

use super::site::Code;
use crate::address::LinkAddress;
use crate::object::Binary;

/// Longest function that is looked at, in bytes; beyond it only the entry is considered.
const MAX_FUNCTION: u64 = 4 << 20;
/// Bytes looked at where the end of a function is not known: one instruction.
const LONGEST_INSTRUCTION: u64 = 15;

/// The extents of the functions of one binary.
pub struct Functions<'a> {
    binary: &'a Binary,
    symbols: &'a Binary,
    frames: BTreeMap<LinkAddress, u64>,
}

impl<'a> Functions<'a> {
    /// Functions of `binary`, with the symbols of `symbols` (itself or its debug file).
    #[must_use]
    pub fn new(binary: &'a Binary, symbols: &'a Binary) -> Self {
        let frames = if symbols.has_symbol_table() {
            BTreeMap::new()
        } else {
            frames(binary)
        };
        Self {
            binary,
            symbols,
            frames,
        }
    }

    /// The code of the function that starts at `entry`; `None` where the file has no code there.
    #[must_use]
    pub fn code(&self, entry: LinkAddress) -> Option<Code<'a>> {
        if !self.binary.is_code(entry) {
            return None;
        }
        let size = self
            .symbols
            .function_at(entry)
            .filter(|symbol| symbol.address == entry && symbol.size > 0)
            .map(|symbol| symbol.size)
            .or_else(|| self.frames.get(&entry).copied())
            .filter(|size| *size <= MAX_FUNCTION);
        if let Some(size) = size
            && let Ok(len) = usize::try_from(size)
            && let Some(bytes) = self.binary.bytes_at(entry, len)
        {
            return Some(Code {
                bytes,
                entry,
                whole: true,
            });
        }
        (1..=LONGEST_INSTRUCTION).rev().find_map(|len| {
            let bytes = self.binary.bytes_at(entry, usize::try_from(len).ok()?)?;
            Some(Code {
                bytes,
                entry,
                whole: false,
            })
        })
    }
}

/// Start and size of every function with unwind information. Damage ends the list.
fn frames(binary: &Binary) -> BTreeMap<LinkAddress, u64> {
    let mut found = BTreeMap::new();
    let Some((_, address, bytes)) = binary
        .loaded_sections()
        .find(|(name, ..)| *name == ".eh_frame")
    else {
        return found;
    };
    let section = EhFrame::new(bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(address.0);
    let mut entries = section.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        if let CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(EhFrame::cie_from_offset)
        {
            found.insert(LinkAddress(fde.initial_address()), fde.len());
        }
    }
    found
}
