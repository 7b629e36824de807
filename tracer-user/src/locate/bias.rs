//! The load bias of a module from its mappings and its program headers: pure.

use std::ops::Range;

use crate::address::{Address, LinkAddress, LoadBias};

/// Size of a page in bytes (x86-64).
const PAGE: u64 = 4096;

/// One mapping of a file in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where it is.
    pub range: Range<Address>,
    /// Which part of the file its start is, in bytes.
    pub offset: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What a `PT_LOAD` program header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSegment {
    /// Where it is linked.
    pub address: LinkAddress,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// Its size in memory in bytes.
    pub memory_size: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// The load bias that explains how a file with `segments` is mapped, and the range of addresses
/// it takes.
///
/// A process may map one file twice (std's backtraces map the executable to read its DWARF), and
/// a linker may place one page of the file in two segments. So a bias counts only when every
/// executable segment is found at the address that it implies, executable and with the right
/// offset. `None` when none does.
#[must_use]
pub fn load_bias(
    mappings: &[Mapping],
    segments: &[LoadSegment],
) -> Option<(LoadBias, Range<Address>)> {
    let first = segments.iter().find(|segment| segment.executable)?;
    let bias = mappings
        .iter()
        .filter(|mapping| mapping.executable)
        .filter_map(|mapping| {
            // Where the segment's first byte would be if this mapping held it.
            let into = page_of(first.offset).checked_sub(mapping.offset)?;
            let start = mapping.range.start.add(into);
            mapping
                .range
                .contains(&start)
                .then(|| LoadBias(start.0.wrapping_sub(page_of(first.address.0))))
        })
        .find(|bias| explains(*bias, mappings, segments))?;
    let start = segments.iter().map(|s| page_of(s.address.0)).min()?;
    let end = segments
        .iter()
        .map(|s| s.address.0.saturating_add(s.memory_size))
        .max()?;
    let start = bias.to_address(LinkAddress(start));
    let end = bias.to_address(LinkAddress(end));
    (start < end).then_some((bias, start..end))
}

fn explains(bias: LoadBias, mappings: &[Mapping], segments: &[LoadSegment]) -> bool {
    segments.iter().filter(|s| s.executable).all(|segment| {
        let start = bias.to_address(LinkAddress(page_of(segment.address.0)));
        mappings.iter().any(|mapping| {
            mapping.executable
                && mapping.range.contains(&start)
                && mapping.offset.checked_add(start.since(mapping.range.start))
                    == Some(page_of(segment.offset))
        })
    })
}

const fn page_of(value: u64) -> u64 {
    value & !(PAGE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, executable: bool) -> Mapping {
        Mapping {
            range: Address(start)..Address(end),
            offset,
            executable,
        }
    }

    fn segment(address: u64, offset: u64, memory_size: u64, executable: bool) -> LoadSegment {
        LoadSegment {
            address: LinkAddress(address),
            offset,
            memory_size,
            executable,
        }
    }

    /// The shape that lld gives: the segments' offsets are not page-aligned.
    fn lld() -> Vec<LoadSegment> {
        vec![
            segment(0, 0, 0x1a64, false),
            segment(0x2a80, 0x1a80, 0x5000, true),
            segment(0x8a80, 0x6a80, 0x300, false),
        ]
    }

    #[test]
    fn a_position_independent_module() {
        let base = 0x5555_0000_0000;
        let mappings = [
            mapping(base, base + 0x2000, 0, false),
            mapping(base + 0x2000, base + 0x8000, 0x1000, true),
            mapping(base + 0x8000, base + 0x9000, 0x6000, false),
        ];
        let (bias, range) = load_bias(&mappings, &lld()).unwrap();
        assert_eq!(bias, LoadBias(base));
        assert_eq!(range, Address(base)..Address(base + 0x8d80));
    }

    #[test]
    fn a_static_module_has_bias_zero() {
        let segments = [
            segment(0x40_0000, 0, 0x1000, false),
            segment(0x40_1000, 0x1000, 0x800, true),
        ];
        let mappings = [
            mapping(0x40_0000, 0x40_1000, 0, false),
            mapping(0x40_1000, 0x40_2000, 0x1000, true),
        ];
        assert_eq!(load_bias(&mappings, &segments).unwrap().0, LoadBias(0));
    }

    #[test]
    fn a_second_mapping_of_the_file_does_not_mislead() {
        let base = 0x7fff_0000_0000;
        let mappings = [
            mapping(0x1000_0000, 0x1001_0000, 0, false),
            mapping(0x2000_0000, 0x2000_1000, 0, true),
            mapping(base, base + 0x2000, 0, false),
            mapping(base + 0x2000, base + 0x8000, 0x1000, true),
        ];
        assert_eq!(load_bias(&mappings, &lld()).unwrap().0, LoadBias(base));
    }

    #[test]
    fn a_mapping_that_covers_more_than_the_segment() {
        // One read-execute mapping from the start of the file (`-z noseparate-code`).
        let segments = [
            segment(0, 0, 0x9000, true),
            segment(0xa000, 0x9000, 0x100, false),
        ];
        let mappings = [mapping(0x7000_0000, 0x7000_9000, 0, true)];
        assert_eq!(
            load_bias(&mappings, &segments).unwrap().0,
            LoadBias(0x7000_0000)
        );
    }

    #[test]
    fn what_does_not_fit_has_no_bias() {
        assert_eq!(load_bias(&[], &lld()), None);
        assert_eq!(load_bias(&[mapping(0, 0x1000, 0, true)], &[]), None);
        let wrong = [mapping(0x1000, 0x2000, 0x9000, true)];
        assert_eq!(load_bias(&wrong, &lld()), None);
        let hostile = [segment(u64::MAX, u64::MAX, u64::MAX, true)];
        assert_eq!(load_bias(&wrong, &hostile), None);
    }
}
