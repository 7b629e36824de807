//! Call frame information of one module: from a link address to its rules.
//!
//! `.eh_frame_hdr` has a table that is searched by halves. It is read here and not by gimli, whose
//! arithmetic on it overflows for a hostile one. Where there is none, `.eh_frame` is read through
//! once and an index of it is kept.

use std::sync::OnceLock;

use gimli::{BaseAddresses, EhFrame, LittleEndian, UnwindSection as _};

use super::Reader;
use crate::address::LinkAddress;

/// Encodings of the only form of `.eh_frame_hdr` that linkers write (ld, lld, mold, gold):
/// pcrel|sdata4 pointer, udata4 count, datarel|sdata4 table.
const HEADER: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
/// Bytes before the table.
const HEADER_LEN: usize = 12;
/// At most so many descriptions are indexed of a file without a search table.
const INDEX_LIMIT: usize = 4 << 20;

/// The unwind tables of one module.
#[derive(Clone, Debug, Default)]
pub struct UnwindTables<'data> {
    frames: &'data [u8],
    frames_address: LinkAddress,
    header: &'data [u8],
    header_address: LinkAddress,
    code: &'data [u8],
    code_address: LinkAddress,
    bases: BaseAddresses,
    /// Start address and offset in `.eh_frame` of each function, sorted.
    index: OnceLock<Vec<(u64, usize)>>,
}

/// The rules for one address.
pub(super) type Rules<'data> = gimli::FrameDescriptionEntry<Reader<'data>>;

impl<'data> UnwindTables<'data> {
    /// Tables of a module from its loaded sections: names, link addresses and bytes.
    #[must_use]
    pub fn from_sections<'name>(
        sections: impl IntoIterator<Item = (&'name str, LinkAddress, &'data [u8])>,
    ) -> Self {
        let mut tables = Self::default();
        for (name, address, bytes) in sections {
            let bases = std::mem::take(&mut tables.bases);
            tables.bases = match name {
                ".eh_frame" => {
                    (tables.frames, tables.frames_address) = (bytes, address);
                    bases.set_eh_frame(address.0)
                }
                ".eh_frame_hdr" => {
                    (tables.header, tables.header_address) = (bytes, address);
                    bases.set_eh_frame_hdr(address.0)
                }
                ".text" => {
                    (tables.code, tables.code_address) = (bytes, address);
                    bases.set_text(address.0)
                }
                ".got" => bases.set_got(address.0),
                _ => bases,
            };
        }
        tables
    }

    /// Whether there are no tables.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The instructions from `start` up to `end`; `None` where they are not all in `.text`.
    pub(super) fn code(&self, start: LinkAddress, end: LinkAddress) -> Option<&'data [u8]> {
        let from = usize::try_from(start.0.checked_sub(self.code_address.0)?).ok()?;
        let to = usize::try_from(end.0.checked_sub(self.code_address.0)?).ok()?;
        self.code.get(from..to)
    }

    pub(super) fn section(&self) -> EhFrame<Reader<'data>> {
        EhFrame::new(self.frames, LittleEndian)
    }

    pub(super) fn bases(&self) -> &BaseAddresses {
        &self.bases
    }

    /// The description of the function around `address`, `None` where there is none.
    pub(super) fn rules(&self, address: LinkAddress) -> Option<Rules<'data>> {
        let offset = if self.header.starts_with(&HEADER) {
            self.search_header(address)?
        } else {
            let index = self.index.get_or_init(|| self.read_through());
            let after = index.partition_point(|(start, _)| *start <= address.0);
            index.get(after.checked_sub(1)?)?.1
        };
        let section = self.section();
        let rules = section
            .fde_from_offset(&self.bases, offset.into(), EhFrame::cie_from_offset)
            .ok()?;
        rules.contains(address.0).then_some(rules)
    }

    /// The offset in `.eh_frame` of the last description that starts at or before `address`.
    fn search_header(&self, address: LinkAddress) -> Option<usize> {
        let count = usize::try_from(self.relative(8)?.cast_unsigned()).ok()?;
        let rows = self.header.get(HEADER_LEN..)?.len() / 8;
        let start_of = |row: usize| {
            let start = self.relative(HEADER_LEN + row * 8)?;
            Some(self.header_address.0.wrapping_add_signed(start.into()))
        };
        // The first row that starts after `address`.
        let (mut low, mut high) = (0, count.min(rows));
        while low < high {
            let middle = low.midpoint(high);
            if start_of(middle)? <= address.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let description = self.relative(HEADER_LEN + low.checked_sub(1)? * 8 + 4)?;
        let description = self
            .header_address
            .0
            .wrapping_add_signed(description.into());
        usize::try_from(description.checked_sub(self.frames_address.0)?).ok()
    }

    fn relative(&self, offset: usize) -> Option<i32> {
        let bytes = self.header.get(offset..)?.first_chunk()?;
        Some(i32::from_le_bytes(*bytes))
    }

    fn read_through(&self) -> Vec<(u64, usize)> {
        let section = self.section();
        let mut index = Vec::new();
        let mut entries = section.entries(&self.bases);
        while let Ok(Some(entry)) = entries.next() {
            if let gimli::CieOrFde::Fde(partial) = entry
                && let Ok(entry) = partial.parse(EhFrame::cie_from_offset)
            {
                index.push((entry.initial_address(), entry.offset()));
            }
            if index.len() == INDEX_LIMIT {
                break;
            }
        }
        index.sort_unstable();
        index
    }
}
