//! Names of the values of enums without fields (`DW_TAG_enumeration_type`).

use super::types::discriminant_value;
use super::units::{DieRef, Units};

/// More values than any real enum has.
const MAX_VALUES: usize = 100_000;

/// The name that the enum at `die` gives to `value`, compared in `size` bytes; `None` when it has no
/// such value, is no enum or is malformed.
pub(super) fn name_of<'a>(
    units: &Units<'a>,
    die: DieRef,
    value: u64,
    size: u64,
) -> Option<&'a str> {
    let mask = match size {
        1..8 => (1_u64 << (size * 8)) - 1,
        _ => u64::MAX,
    };
    let unit = units.unit(die.unit).ok()?;
    let mut tree = unit.entries_tree(Some(die.in_unit())).ok()?;
    let root = tree.root().ok()?;
    if root.entry().tag() != gimli::DW_TAG_enumeration_type {
        return None;
    }
    let mut children = root.children();
    for _ in 0..MAX_VALUES {
        let child = children.next().ok()??;
        let entry = child.entry();
        let known = entry
            .attr(gimli::DW_AT_const_value)
            .and_then(discriminant_value);
        if entry.tag() == gimli::DW_TAG_enumerator
            && known.is_some_and(|known| known & mask == value & mask)
        {
            let name = entry.attr_value(gimli::DW_AT_name)?;
            return units.string((die.unit, &unit), name);
        }
    }
    None
}
