//! Which functions, real and inlined, an address of the code is in, and their variables.
//!
//! In: a link address. Out: its [`Scope`]s, the innermost first, with the variables of the blocks
//! around the address. Nothing is read ahead: a unit's list of functions is made when an address
//! in it is first asked for, and a function's body when an address in it is.

mod walk;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::passes::over_units;
use super::units::{DieRef, Slice, Units};
use crate::address::LinkAddress;
use walk::Walk;

/// At most so many nested blocks and inlined functions; rustc's own nesting stays below 100.
const DEPTH: usize = 512;
/// At most so many locations of variables of one function are kept.
const VARIABLES: usize = 4096;
/// A chain of references between entries is followed so far.
const DEPTH_OF_REFERENCES: usize = 8;

type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;
type Node<'a, 'u, 't> = gimli::EntriesTreeNode<'u, 't, Slice<'a>>;

/// Address ranges of a unit's real functions with the offsets of their entries, sorted.
type Functions = Rc<[(gimli::Range, u32)]>;

/// A function around an address.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The entry of this instance: `DW_TAG_subprogram` or `DW_TAG_inlined_subroutine`.
    pub instance: DieRef,
    /// The entry that names the function: the abstract one or its declaration, where there is one.
    pub function: DieRef,
    /// Whether it was inlined into the next scope.
    pub inlined: bool,
    /// The frame base of the real function that it is part of (`DW_AT_frame_base`).
    pub frame_base: Option<gimli::Expression<Slice<'a>>>,
    /// Its parameters and the variables of its blocks around the address, outer blocks first.
    pub variables: Vec<Variable<'a>>,
}

/// A parameter or variable.
#[derive(Clone, Debug)]
pub struct Variable<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its type.
    pub type_die: DieRef,
    /// Where it is at the address, `None` when it was optimised out there.
    pub location: Option<gimli::Expression<Slice<'a>>>,
}

/// A function's name and type arguments.
#[derive(Clone, Debug, Default)]
pub struct Function<'a> {
    /// `DW_AT_name`, with the generic arguments.
    pub name: Option<&'a str>,
    /// `DW_AT_linkage_name`, mangled.
    pub linkage_name: Option<&'a str>,
    /// Template type arguments by name.
    pub arguments: Vec<(&'a str, DieRef)>,
}

/// Finds scopes, and keeps the lists of functions that it made.
pub struct Scopes<'u, 'a> {
    units: &'u Units<'a>,
    /// Address ranges of all units, sorted by their start.
    ranges: OnceCell<Vec<(gimli::Range, u32)>>,
    functions: RefCell<HashMap<u32, Functions>>,
}

impl<'u, 'a> Scopes<'u, 'a> {
    /// Scopes of the code that `units` describe.
    #[must_use]
    pub fn new(units: &'u Units<'a>) -> Self {
        Self {
            units,
            ranges: OnceCell::new(),
            functions: RefCell::default(),
        }
    }

    /// The units.
    #[must_use]
    pub fn units(&self) -> &'u Units<'a> {
        self.units
    }

    /// The functions around a link address, innermost first; none where nothing describes it.
    #[must_use]
    pub fn at(&self, address: LinkAddress) -> Vec<Scope<'a>> {
        let Some(die) = self.real_function(address) else {
            return Vec::new();
        };
        let mut scopes = self.body(die, address).unwrap_or_default();
        scopes.reverse();
        scopes
    }

    /// The entry of the function that was not inlined.
    fn real_function(&self, address: LinkAddress) -> Option<DieRef> {
        self.units_at(address).into_iter().find_map(|unit| {
            let functions = self.functions_of(unit);
            // Ranges of real functions do not overlap.
            let after = functions.partition_point(|(range, _)| range.begin <= address.0);
            let (range, offset) = *functions.get(after.checked_sub(1)?)?;
            (address.0 < range.end).then_some(DieRef { unit, offset })
        })
    }

    /// The variables of the real function around a link address, of all its blocks and inlined
    /// functions, each at every point of the function: what `wanted` takes, by type. For stack
    /// slots, which keep their place in a frame, the point does not matter.
    #[must_use]
    pub fn everywhere(
        &self,
        address: LinkAddress,
        wanted: &mut dyn FnMut(DieRef) -> bool,
    ) -> Option<Scope<'a>> {
        let die = self.real_function(address)?;
        let unit = self.units.unit(die.unit).ok()?;
        let mut tree = unit.entries_tree(Some(die.in_unit())).ok()?;
        let root = tree.root().ok()?;
        let mut walk = Walk::new(self, &unit, die.unit, address);
        walk.wanted = Some(wanted);
        walk.enter(root.entry(), false, frame_base(root.entry()));
        // What was read before damage is as good as the rest.
        let _ = walk.children(root, 0, DEPTH);
        walk.found.into_iter().next()
    }

    /// Name and type arguments of a function entry; they may stand on its declaration.
    #[must_use]
    pub fn function(&self, die: DieRef) -> Function<'a> {
        let mut function = Function::default();
        let mut at = Some(die);
        for _ in 0..DEPTH_OF_REFERENCES {
            let Some(die) = at else { break };
            at = self.describe(die, &mut function);
        }
        function
    }

    /// Adds what `die` says to `function`; the entry to go on with.
    fn describe(&self, die: DieRef, function: &mut Function<'a>) -> Option<DieRef> {
        let unit = self.units.unit(die.unit).ok()?;
        let mut tree = unit.entries_tree(Some(die.in_unit())).ok()?;
        let root = tree.root().ok()?;
        let entry = root.entry();
        let text = |entry: &Entry<'a>, name| {
            let value = entry.attr_value(name)?;
            self.units.string((die.unit, &unit), value)
        };
        function.name = function.name.or_else(|| text(entry, gimli::DW_AT_name));
        function.linkage_name = function
            .linkage_name
            .or_else(|| text(entry, gimli::DW_AT_linkage_name));
        let next = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
            .into_iter()
            .find_map(|name| self.units.resolve(die.unit, &entry.attr_value(name)?));
        if function.arguments.is_empty() {
            let mut children = root.children();
            while let Ok(Some(child)) = children.next() {
                let entry = child.entry();
                if entry.tag() == gimli::DW_TAG_template_type_parameter
                    && let Some(name) = text(entry, gimli::DW_AT_name)
                    && let Some(type_die) = self.reference(die.unit, entry, gimli::DW_AT_type)
                {
                    function.arguments.push((name, type_die));
                }
            }
        }
        next
    }

    fn reference(&self, unit: u32, entry: &Entry<'a>, name: gimli::DwAt) -> Option<DieRef> {
        self.units.resolve(unit, &entry.attr_value(name)?)
    }

    /// The units whose ranges hold an address: one, unless the file contradicts itself.
    fn units_at(&self, address: LinkAddress) -> Vec<u32> {
        let ranges = self.ranges.get_or_init(|| {
            let units = self.units;
            let of_units = over_units(units, |number, entry| {
                let mut found = Vec::new();
                let unit = units.parse(entry);
                let ranges = unit.and_then(|unit| entry.dwarf.unit_ranges(&unit));
                if let Ok(mut ranges) = ranges {
                    while let Ok(Some(range)) = ranges.next() {
                        if is_live(range) {
                            found.push((range, number));
                        }
                    }
                }
                found
            });
            let mut all: Vec<_> = of_units.into_iter().flatten().collect();
            all.sort_unstable_by_key(|(range, _)| range.begin);
            all
        });
        let after = ranges.partition_point(|(range, _)| range.begin <= address.0);
        let before = ranges.get(..after).unwrap_or_default();
        // A few back: ranges may overlap when functions were merged.
        let mut units: Vec<u32> = before
            .iter()
            .rev()
            .take(16)
            .filter(|(range, _)| address.0 < range.end)
            .map(|(_, unit)| *unit)
            .collect();
        units.dedup();
        units
    }

    /// Address ranges of a unit's real functions with the offsets of their entries, sorted.
    fn functions_of(&self, number: u32) -> Functions {
        if let Some(known) = self.functions.borrow().get(&number) {
            return Rc::clone(known);
        }
        let mut functions = Vec::new();
        // A malformed unit gives what could be read before the damage.
        let _ = self.list_functions(number, &mut functions);
        functions.sort_unstable_by_key(|(range, _)| range.begin);
        let functions: Functions = functions.into();
        self.functions
            .borrow_mut()
            .insert(number, Rc::clone(&functions));
        functions
    }

    fn list_functions(
        &self,
        number: u32,
        functions: &mut Vec<(gimli::Range, u32)>,
    ) -> gimli::Result<()> {
        let unit = self.units.unit(number)?;
        let Some(dwarf) = self.units.dwarf(number) else {
            return Ok(());
        };
        let mut entries = unit.entries_raw(None)?;
        let mut entry = Entry::null();
        while !entries.is_empty() {
            let start = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            if abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            // Few entries are functions: reading them once more by their offset costs little.
            entries.skip_attributes(abbreviation.attributes())?;
            let mut at = unit.entries_raw(Some(start))?;
            at.read_entry(&mut entry)?;
            let Ok(offset) = u32::try_from(start.0) else {
                return Ok(());
            };
            let mut ranges = dwarf.die_ranges(&unit, &entry)?;
            while let Some(range) = ranges.next()? {
                if is_live(range) {
                    functions.push((range, offset));
                }
            }
        }
        Ok(())
    }

    /// The scopes around `address` in a real function, outermost first.
    fn body(&self, die: DieRef, address: LinkAddress) -> gimli::Result<Vec<Scope<'a>>> {
        let unit = self.units.unit(die.unit)?;
        let mut tree = unit.entries_tree(Some(die.in_unit()))?;
        let root = tree.root()?;
        let mut walk = Walk::new(self, &unit, die.unit, address);
        walk.enter(root.entry(), false, frame_base(root.entry()));
        walk.children(root, 0, DEPTH)?;
        Ok(walk.found)
    }
}

fn frame_base<'a>(function: &Entry<'a>) -> Option<gimli::Expression<Slice<'a>>> {
    match function.attr_value(gimli::DW_AT_frame_base) {
        Some(gimli::AttributeValue::Exprloc(expression)) => Some(expression),
        _ => None,
    }
}

/// Linkers leave functions that they dropped at address 0 or 1, or at the highest ones.
fn is_live(range: gimli::Range) -> bool {
    range.begin > 1 && range.begin < range.end && range.end < u64::MAX - 1
}
