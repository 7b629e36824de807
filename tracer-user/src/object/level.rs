//! How much debug information a file holds, without reading it.

use crate::rebuild::snapshot::DebugInfoLevel;

use super::Binary;

/// `DW_TAG_variant_part`, DWARF 5, table 7.3. rustc emits it for every enum and coroutine when
/// types are described (`debug = 2`), C compilers never do, and neither `debug = 1` nor
/// `line-tables-only` describes types.
const VARIANT_PART: u64 = 0x33;

/// The level of a binary with the debug information in `info` and, where split, in `package`.
pub(super) fn level(binary: &Binary, info: &Binary, package: Option<&Binary>) -> DebugInfoLevel {
    let abbreviations = [
        info.section(".debug_abbrev"),
        package.and_then(|package| package.section(".debug_abbrev.dwo")),
    ];
    if abbreviations.into_iter().flatten().any(describes_types) {
        DebugInfoLevel::Full
    } else if binary.has_symbol_table()
        || info.has_symbol_table()
        || info.section(".debug_info").is_some_and(|s| !s.is_empty())
    {
        DebugInfoLevel::Symbols
    } else {
        DebugInfoLevel::None
    }
}

/// Whether an abbreviation section declares a variant part. The section is a sequence of tables
/// of declarations (code, tag, children, attribute pairs), each table ended by a zero code.
fn describes_types(section: &[u8]) -> bool {
    let mut reader = section;
    while !reader.is_empty() {
        if leb128(&mut reader) == Some(0) {
            continue;
        }
        let Some(tag) = leb128(&mut reader) else {
            return false;
        };
        if tag == VARIANT_PART {
            return true;
        }
        let Some((_children, rest)) = reader.split_first() else {
            return false;
        };
        reader = rest;
        loop {
            let (Some(attribute), Some(form)) = (leb128(&mut reader), leb128(&mut reader)) else {
                return false;
            };
            // `DW_FORM_implicit_const` carries its value here.
            if form == 0x21 && leb128(&mut reader).is_none() {
                return false;
            }
            if attribute == 0 && form == 0 {
                break;
            }
        }
    }
    false
}

/// One LEB128 number; its bits above 64 are dropped. `None` at the end of the bytes.
fn leb128(reader: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    let mut shift = 0_u32;
    loop {
        let (byte, rest) = reader.split_first()?;
        *reader = rest;
        if shift < 64 {
            value |= u64::from(byte & 0x7f) << shift;
        }
        shift = shift.saturating_add(7);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_part_is_found_in_any_table() {
        // Code 1, DW_TAG_compile_unit, children, DW_AT_name/DW_FORM_strp, an implicit constant.
        let unit = [1, 0x11, 1, 0x03, 0x0e, 0x10, 0x21, 0x7f, 0, 0, 0];
        let variant = [1, 0x33, 1, 0x15, 0x13, 0, 0, 0];
        assert!(!describes_types(&unit));
        assert!(describes_types(&[unit.as_slice(), &variant].concat()));
        assert!(!describes_types(&unit[..5]));
        assert!(!describes_types(&[0x80; 100]));
    }
}
