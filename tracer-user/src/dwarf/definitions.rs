//! Where a type is defined that a unit only declares.
//!
//! With ThinLTO (what a default release build does between codegen units) LLVM imports a function
//! into another unit with declarations of the types it names: `DW_AT_declaration`, no members
//! (1,193 of them in a small tokio program, rustc 1.95). The definition is in another unit, under
//! the same path. The table of definitions is made by a pass of its own, when the first
//! declaration is met.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::passes::over_units;
use super::units::{DieRef, Slice, UnitEntry, Units};

/// Definitions of structures, unions and enums by the hash of their name.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_name: HashMap<u64, Vec<DieRef>>,
}

impl Definitions {
    /// One pass over all units.
    pub(super) fn collect(units: &Units<'_>) -> Self {
        let per_unit = over_units(units, |number, entry| {
            let mut found = Vec::new();
            // A malformed unit contributes what stands before the damage.
            let _ = collect_unit(units, number, entry, &mut found);
            found
        });
        let mut by_name: HashMap<u64, Vec<DieRef>> = HashMap::new();
        for (hash, die) in per_unit.into_iter().flatten() {
            by_name.entry(hash).or_default().push(die);
        }
        Self { by_name }
    }

    /// Definitions of types with this name (without path).
    pub(super) fn named(&self, name: &str) -> &[DieRef] {
        self.by_name
            .get(&hash(name.as_bytes()))
            .map_or(&[], Vec::as_slice)
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn collect_unit<'a>(
    units: &Units<'a>,
    number: u32,
    entry: &UnitEntry<'a>,
    found: &mut Vec<(u64, DieRef)>,
) -> gimli::Result<()> {
    let unit = units.parse(entry)?;
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() {
        let offset = u32::try_from(entries.next_offset().0).unwrap_or(u32::MAX);
        let Some(abbreviation) = entries.read_abbreviation()? else {
            continue;
        };
        let is_type = matches!(
            abbreviation.tag(),
            gimli::DW_TAG_structure_type
                | gimli::DW_TAG_union_type
                | gimli::DW_TAG_enumeration_type
        );
        // A declaration is told by its abbreviation alone: the attribute's presence is its value.
        let is_declaration = abbreviation
            .attributes()
            .iter()
            .any(|specification| specification.name() == gimli::DW_AT_declaration);
        if !is_type || is_declaration {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        for specification in abbreviation.attributes() {
            let attribute: gimli::Attribute<Slice<'a>> = entries.read_attribute(*specification)?;
            if attribute.name() == gimli::DW_AT_name
                && let Ok(name) = entry.dwarf.attr_string(&unit, attribute.value())
            {
                found.push((
                    hash(name.slice()),
                    DieRef {
                        unit: number,
                        offset,
                    },
                ));
            }
        }
    }
    Ok(())
}
