//! Units of `.debug_info` and of split debug information, and how to get at a DIE in them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gimli::{EndianSlice, LittleEndian, Reader as _, Section as _, UnitOffset};

use crate::object::DebugSource;

/// All sections are borrowed from the files, which outlive the debug information.
pub type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A debugging information entry: the unit's index and the offset inside that unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DieRef {
    /// Index of the unit in [`Units`].
    pub unit: u32,
    /// Offset from the start of the unit.
    pub offset: u32,
}

impl DieRef {
    /// The offset as gimli takes it.
    #[must_use]
    pub const fn in_unit(self) -> UnitOffset {
        UnitOffset(self.offset as usize)
    }
}

/// One unit: where it is and which set of sections it speaks of.
#[derive(Debug)]
pub struct UnitEntry<'a> {
    /// The unit's header.
    pub header: gimli::UnitHeader<Slice<'a>>,
    /// Sections: those of the file, or those of the unit's part of a `.dwp`.
    pub dwarf: Arc<gimli::Dwarf<Slice<'a>>>,
    /// For a split unit, its skeleton in the main file (address base, line table base).
    skeleton: Option<gimli::UnitHeader<Slice<'a>>>,
}

/// Every unit of a binary.
#[derive(Debug)]
pub struct Units<'a> {
    main: Arc<gimli::Dwarf<Slice<'a>>>,
    entries: Vec<UnitEntry<'a>>,
    /// Start of each unit of the main `.debug_info`, ascending, with its index in `entries`.
    starts: Vec<(usize, u32)>,
    parsed: Mutex<HashMap<u32, Arc<gimli::Unit<Slice<'a>>>>>,
    /// The files, whose memory can be given back.
    source: Option<&'a DebugSource>,
}

impl<'a> Units<'a> {
    /// From now on a pass over all units gives back the memory of `source`, which they are in.
    pub(super) fn spare(&mut self, source: &'a DebugSource) {
        self.source = Some(source);
    }

    /// What they are in, where that was told.
    pub(super) fn source(&self) -> Option<&'a DebugSource> {
        self.source
    }

    /// Lists the units of `dwarf`; a skeleton is replaced by its split unit in `package`, the
    /// `.dwp`, where that has it.
    ///
    /// # Errors
    /// A malformed unit header; units before it are lost too, because nothing after it can be
    /// found.
    pub fn list(
        dwarf: gimli::Dwarf<Slice<'a>>,
        package: Option<&gimli::DwarfPackage<Slice<'a>>>,
    ) -> gimli::Result<Self> {
        let main = Arc::new(dwarf);
        let mut units = Self {
            main: Arc::clone(&main),
            source: None,
            entries: Vec::new(),
            starts: Vec::new(),
            parsed: Mutex::new(HashMap::new()),
        };
        let mut headers = main.units();
        while let Some(header) = headers.next()? {
            let index =
                u32::try_from(units.entries.len()).map_err(|_| gimli::Error::UnsupportedOffset)?;
            if let Some(start) = header.debug_info_offset() {
                units.starts.push((start.0, index));
            }
            let entry = units.with_split_part(header, package);
            units.entries.push(entry);
        }
        Ok(units)
    }

    fn with_split_part(
        &self,
        header: gimli::UnitHeader<Slice<'a>>,
        package: Option<&gimli::DwarfPackage<Slice<'a>>>,
    ) -> UnitEntry<'a> {
        let main = Arc::clone(&self.main);
        let whole = |header| UnitEntry {
            header,
            dwarf: main,
            skeleton: None,
        };
        // DWARF 5 marks skeletons in the header; DWARF 4 (GNU) only by an attribute of the root,
        // which is looked at only when there is a package, for it costs parsing every root.
        let marked = matches!(header.type_(), gimli::UnitType::Skeleton(_));
        if !(marked || package.is_some() && header.version() < 5) {
            return whole(header);
        }
        let Ok(skeleton) = self.main.unit(header) else {
            return whole(header);
        };
        let Some(id) = skeleton.dwo_id else {
            return whole(header);
        };
        let split = package
            .and_then(|package| package.find_cu(id, &self.main).ok().flatten())
            .and_then(|split| Some((split.units().next().ok().flatten()?, split)));
        if let Some((split_header, split)) = split {
            UnitEntry {
                header: split_header,
                dwarf: Arc::new(split),
                skeleton: Some(header),
            }
        } else {
            whole(header)
        }
    }

    /// The units in order.
    #[must_use]
    pub fn entries(&self) -> &[UnitEntry<'a>] {
        &self.entries
    }

    /// Whether some are split units, from a package.
    pub(super) fn are_split(&self) -> bool {
        self.entries.iter().any(|entry| entry.skeleton.is_some())
    }

    /// Units whose contents are in files of their own. Parses the root of each.
    pub(super) fn elsewhere(&self) -> usize {
        let is_elsewhere = |entry: &&UnitEntry<'a>| {
            let unit = self.main.unit(entry.header);
            entry.skeleton.is_none() && unit.is_ok_and(|unit| unit.dwo_id.is_some())
        };
        self.entries.iter().filter(is_elsewhere).count()
    }

    /// The sections of the main file.
    #[must_use]
    pub fn main(&self) -> &gimli::Dwarf<Slice<'a>> {
        &self.main
    }

    /// The sections that unit `index` speaks of.
    #[must_use]
    pub fn dwarf(&self, index: u32) -> Option<&gimli::Dwarf<Slice<'a>>> {
        Some(&self.entries.get(index as usize)?.dwarf)
    }

    /// The parsed unit `index`; parsed once and kept.
    ///
    /// # Errors
    /// No such unit, or its root entry or abbreviations are malformed.
    pub fn unit(&self, index: u32) -> gimli::Result<Arc<gimli::Unit<Slice<'a>>>> {
        let mut parsed = self
            .parsed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(unit) = parsed.get(&index) {
            return Ok(Arc::clone(unit));
        }
        let entry = self
            .entries
            .get(index as usize)
            .ok_or(gimli::Error::UnsupportedOffset)?;
        let unit = Arc::new(self.parse(entry)?);
        parsed.insert(index, Arc::clone(&unit));
        Ok(unit)
    }

    /// Parses a unit without keeping it: for one pass over everything.
    ///
    /// # Errors
    /// The root entry or the abbreviations are malformed.
    pub fn parse(&self, entry: &UnitEntry<'a>) -> gimli::Result<gimli::Unit<Slice<'a>>> {
        let mut unit = entry.dwarf.unit(entry.header)?;
        if let Some(skeleton) = entry.skeleton {
            unit.copy_relocated_attributes(&self.main.unit(skeleton)?);
        }
        Ok(unit)
    }

    /// Follows a reference attribute that stands in unit `from`.
    #[must_use]
    pub fn resolve(&self, from: u32, value: &gimli::AttributeValue<Slice<'a>>) -> Option<DieRef> {
        match value {
            gimli::AttributeValue::UnitRef(offset) => Some(DieRef {
                unit: from,
                offset: u32::try_from(offset.0).ok()?,
            }),
            gimli::AttributeValue::DebugInfoRef(offset) => self.containing(offset.0),
            _ => None,
        }
    }

    /// The entry at an offset of the main `.debug_info` section.
    #[must_use]
    pub fn containing(&self, section_offset: usize) -> Option<DieRef> {
        let after = self
            .starts
            .partition_point(|(start, _)| *start <= section_offset);
        let (start, unit) = *self.starts.get(after.checked_sub(1)?)?;
        Some(DieRef {
            unit,
            offset: u32::try_from(section_offset - start).ok()?,
        })
    }

    /// The attribute as a string of the unit's own sections.
    #[must_use]
    pub fn string(
        &self,
        unit: (u32, &gimli::Unit<Slice<'a>>),
        value: gimli::AttributeValue<Slice<'a>>,
    ) -> Option<&'a str> {
        let slice = self.dwarf(unit.0)?.attr_string(unit.1, value).ok()?;
        std::str::from_utf8(slice.slice()).ok()
    }
}

/// Whether the bytes at a string attribute start with `prefix`. Does not search for the string's
/// end, which in a table of merged names can be far.
pub(super) fn starts_with<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    value: gimli::AttributeValue<Slice<'a>>,
    prefix: &[u8],
) -> bool {
    if let gimli::AttributeValue::DebugStrRef(offset) = value {
        let mut section = *dwarf.debug_str.reader();
        return section.skip(offset.0).is_ok() && section.slice().starts_with(prefix);
    }
    dwarf
        .attr_string(unit, value)
        .is_ok_and(|string| string.slice().starts_with(prefix))
}
