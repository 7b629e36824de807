//! Data sections as they look in memory once the loader has applied the relative relocations.
//!
//! In a position-independent file the pointers of vtables are zero in the file (`.rela.dyn` holds
//! their values) or link addresses already (`.relr.dyn`, static executables). Here both are link
//! addresses.

use std::borrow::Cow;

use super::Binary;
use crate::address::LinkAddress;

/// `R_X86_64_RELATIVE`: the word becomes load bias + addend.
const RELATIVE: u64 = 8;
/// Size of an `Elf64_Rela` in bytes.
const RELA: usize = 24;

/// A data section with its pointers as link addresses.
#[derive(Clone, Debug)]
pub struct DataSection<'data> {
    /// Its name.
    pub name: &'data str,
    /// Where it is linked.
    pub address: LinkAddress,
    /// Its bytes.
    pub bytes: Cow<'data, [u8]>,
}

impl DataSection<'_> {
    /// The 64-bit words at multiples of 8, with their addresses.
    pub fn words(&self) -> impl Iterator<Item = (LinkAddress, u64)> {
        let skip = usize::try_from(self.address.0.wrapping_neg() % 8).unwrap_or(0);
        let start = self.address.add(skip as u64);
        self.bytes
            .get(skip..)
            .unwrap_or_default()
            .chunks_exact(8)
            .zip(0_u64..)
            .map(move |(word, index)| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(word);
                (start.add(index * 8), u64::from_le_bytes(bytes))
            })
    }
}

impl Binary {
    /// The sections in which vtables and constants with pointers are: `.data.rel.ro` and, in
    /// static executables, `.rodata`.
    #[must_use]
    pub fn constant_data(&self) -> Vec<DataSection<'_>> {
        let mut sections: Vec<_> = self
            .loaded_sections()
            .filter(|(name, ..)| name.starts_with(".data.rel.ro") || name.starts_with(".rodata"))
            .map(|(name, address, bytes)| DataSection {
                name,
                address,
                bytes: Cow::Borrowed(bytes),
            })
            .collect();
        sections.sort_by_key(|section| section.address);
        let relocations = self.section(".rela.dyn").unwrap_or_default();
        for entry in relocations.chunks_exact(RELA) {
            let word = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&entry[at..at + 8]);
                u64::from_le_bytes(bytes)
            };
            if word(8) & 0xffff_ffff == RELATIVE {
                apply(&mut sections, LinkAddress(word(0)), word(16));
            }
        }
        sections
    }
}

fn apply(sections: &mut [DataSection<'_>], at: LinkAddress, value: u64) {
    let after = sections.partition_point(|section| section.address <= at);
    let Some(section) = after
        .checked_sub(1)
        .and_then(|index| sections.get_mut(index))
    else {
        return;
    };
    let Ok(start) = usize::try_from(at.since(section.address)) else {
        return;
    };
    // Looked up before the copy is made, so relocations elsewhere cost nothing.
    if start
        .checked_add(8)
        .is_some_and(|end| end <= section.bytes.len())
    {
        section.bytes.to_mut()[start..start + 8].copy_from_slice(&value.to_le_bytes());
    }
}
