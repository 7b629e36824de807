//! Debug information: a lean index of the whole, and types read when they are needed.
//!
//! In: the DWARF sections of a binary. Out: [`DebugInfo`], which answers questions about types,
//! paths, source lines and functions. It knows Rust's naming but no runtime, and reads no memory
//! of any process.

mod closures;
mod definitions;
mod enumerators;
mod find;
mod index;
mod layout;
mod lines;
mod passes;
mod paths;
mod scopes;
mod types;
mod units;
mod value;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use gimli::{EndianSlice, LittleEndian};

use crate::error::{Advice, ExitCode};
use crate::object::DebugSource;

pub use find::Finder;
pub use index::{AwaiteeVariable, PollFunction, ThreadLocal, Vtable};
pub use layout::Field;
pub use lines::SourceLine;
pub use scopes::{Function, Scope, Scopes, Variable};
pub use types::{Kind, Member, Type, Variant, VariantPart, base_name};
pub use units::{DieRef, Slice, Units};
pub use value::{Value, ValueError};

/// Why debug information cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DwarfError {
    /// A unit header is malformed.
    #[error("malformed debug information: {0}")]
    Malformed(#[from] gimli::Error),
}

impl Advice for DwarfError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::BadFile
    }

    fn next_step(&self) -> Option<String> {
        Some(
            "check that the binary or its debug file is whole (llvm-dwarfdump --verify)".to_owned(),
        )
    }
}

/// Asked for each task. Seeded at random, as std's is: a file cannot aim at it.
type FastMap<K, V> = foldhash::HashMap<K, V>;
/// A path that was looked for in a type, and what was found.
type FoundField = (Box<str>, Option<Field>);

/// What was found when all of the debug information was read, which is done once. It never changes,
/// so threads share it.
pub struct Indexed<'a> {
    units: Units<'a>,
    indexes: Vec<index::UnitIndex<'a>>,
    vtables: HashMap<u64, Vec<DieRef>>,
    generic_polls: HashMap<u64, Vec<DieRef>>,
    definitions: OnceLock<definitions::Definitions>,
}

impl Indexed<'_> {
    /// The definition of what is only declared: found by a pass of its own, when first asked for.
    fn definitions(&self) -> &definitions::Definitions {
        self.definitions
            .get_or_init(|| definitions::Definitions::collect(&self.units))
    }
}

/// The debug information of one binary, for one thread: types are read when they are asked for, and
/// kept.
pub struct DebugInfo<'a> {
    indexed: Arc<Indexed<'a>>,
    types: RefCell<FastMap<DieRef, Option<Rc<Type<'a>>>>>,
    lines: lines::Lines,
    /// Fields by type and path that were looked for: leaves ask for the same ones of each task.
    fields: RefCell<FastMap<DieRef, Vec<FoundField>>>,
    base_paths: RefCell<FastMap<DieRef, Rc<str>>>,
}

impl<'a> DebugInfo<'a> {
    /// Indexes the debug information of a binary.
    ///
    /// # Errors
    /// As [`DebugInfo::new`].
    pub fn load(source: &'a DebugSource) -> Result<Self, DwarfError> {
        let slice = |bytes: &'a [u8]| EndianSlice::new(bytes, LittleEndian);
        let dwarf = gimli::Dwarf::load(|id| Ok::<_, gimli::Error>(slice(source.section(id))))?;
        let has_package = source.dwp_section(gimli::SectionId::DebugInfo).is_some();
        let package = has_package
            .then(|| {
                gimli::DwarfPackage::load(
                    |id| Ok::<_, gimli::Error>(slice(source.dwp_section(id).unwrap_or(&[]))),
                    slice(&[]),
                )
            })
            .transpose()?;
        Self::read(dwarf, package.as_ref(), Some(source))
    }

    /// Indexes the DWARF in `dwarf`, with the split units of `package`.
    ///
    /// # Errors
    /// The list of units is malformed. A unit that is malformed inside is left out from there on
    /// and counted by [`DebugInfo::damaged_units`].
    pub fn new(
        dwarf: gimli::Dwarf<Slice<'a>>,
        package: Option<&gimli::DwarfPackage<Slice<'a>>>,
    ) -> Result<Self, DwarfError> {
        Self::read(dwarf, package, None)
    }

    /// As [`DebugInfo::new`]; while all of it is read, the memory of `source` that holds it is given
    /// back now and then.
    fn read(
        dwarf: gimli::Dwarf<Slice<'a>>,
        package: Option<&gimli::DwarfPackage<Slice<'a>>>,
        source: Option<&'a DebugSource>,
    ) -> Result<Self, DwarfError> {
        let mut units = Units::list(dwarf, package)?;
        if let Some(source) = source {
            units.spare(source);
        }
        let indexes = index::index(&units);
        let mut vtables: HashMap<u64, Vec<DieRef>> = HashMap::new();
        let mut generic_polls: HashMap<u64, Vec<DieRef>> = HashMap::new();
        for unit in &indexes {
            for vtable in &unit.vtables {
                vtables
                    .entry(vtable.address)
                    .or_default()
                    .push(vtable.type_die);
            }
            for (address, die) in &unit.generic_polls {
                generic_polls.entry(*address).or_default().push(*die);
            }
        }
        Ok(Self::of(Arc::new(Indexed {
            units,
            indexes,
            vtables,
            generic_polls,
            definitions: OnceLock::new(),
        })))
    }

    /// The same debug information for another thread.
    #[must_use]
    pub fn of(indexed: Arc<Indexed<'a>>) -> Self {
        Self {
            indexed,
            types: RefCell::default(),
            lines: lines::Lines::default(),
            fields: RefCell::default(),
            base_paths: RefCell::default(),
        }
    }

    /// What a [`DebugInfo`] for another thread is made of.
    #[must_use]
    pub fn indexed(&self) -> Arc<Indexed<'a>> {
        Arc::clone(&self.indexed)
    }

    /// The units.
    #[must_use]
    pub fn units(&self) -> &Units<'a> {
        &self.indexed.units
    }

    /// What is not read of split debug information (`split-debuginfo` of rustc), in a sentence.
    #[must_use]
    pub fn split(&self) -> Option<String> {
        if self.units().are_split() {
            return Some(
                "its debug information is split: roots of `block_on` are not seen, and of some \
                 futures not what is inside (`split-debuginfo = \"off\"` has all)"
                    .to_owned(),
            );
        }
        // Looked for only where something is missing, as it costs parsing every root.
        let elsewhere = if self.has_types() {
            0
        } else {
            self.units().elsewhere()
        };
        (elsewhere > 0).then(|| {
            format!(
                "{elsewhere} units of its debug information are in .dwo files, which are read only \
                 from a package beside the program (`split-debuginfo = \"packed\"`, or \"off\")"
            )
        })
    }

    /// Number of units whose index is not complete because they are malformed.
    #[must_use]
    pub fn damaged_units(&self) -> usize {
        self.indexed
            .indexes
            .iter()
            .filter(|unit| unit.error.is_some())
            .count()
    }

    /// The type at `die`. Read once, then kept.
    #[must_use]
    pub fn type_at(&self, die: DieRef) -> Option<Rc<Type<'a>>> {
        if let Some(known) = self.types.borrow().get(&die) {
            return known.clone();
        }
        let mut read = types::read(&self.indexed.units, die).map(Rc::new);
        if read.as_ref().is_some_and(|read| read.is_declaration) {
            read = self.definition(die).or(read);
        }
        self.types.borrow_mut().insert(die, read.clone());
        read
    }

    /// The definition of a type that is only declared at `die`; `None` when no unit defines it.
    fn definition(&self, die: DieRef) -> Option<Rc<Type<'a>>> {
        let definitions = self.indexed.definitions();
        let path = self.path(die);
        let found = definitions
            .named(self.name(die)?)
            .iter()
            .find(|found| self.path(**found) == path)?;
        types::read(&self.indexed.units, *found).map(Rc::new)
    }

    /// The name that an enum without fields gives to a value.
    #[must_use]
    pub fn enumerator(&self, die: DieRef, value: u64) -> Option<&'a str> {
        let size = self.type_at(die)?.size;
        enumerators::name_of(&self.indexed.units, die, value, size)
    }

    /// The type whose vtable is at a link address: T of `<T as Trait>::{vtable}`. `None` when
    /// there is none or when merged vtables of different types share the address.
    #[must_use]
    pub fn type_of_vtable(&self, address: u64) -> Option<DieRef> {
        let candidates = self.indexed.vtables.get(&address)?;
        let mut types = candidates
            .iter()
            .filter_map(|die| self.type_at(*die)?.containing_type);
        let first = types.next()?;
        let path = self.path(first);
        types.all(|other| self.path(other) == path).then_some(first)
    }

    /// Every vtable: link address and `<T as Trait>::{vtable}`.
    pub fn vtables(&self) -> impl Iterator<Item = &Vtable<'a>> {
        self.indexed.indexes.iter().flat_map(|unit| &unit.vtables)
    }

    /// Functions that poll: `Future::poll`, `Stream::poll_next`, async bodies; with duplicates
    /// from several units.
    pub fn poll_functions(&self) -> impl Iterator<Item = &PollFunction<'a>> {
        self.indexed
            .indexes
            .iter()
            .flat_map(|unit| &unit.poll_functions)
    }

    /// Link addresses of out-of-line code with the abstract entry that they are instances of.
    pub fn instances(&self) -> impl Iterator<Item = (u64, DieRef)> + '_ {
        self.indexed
            .indexes
            .iter()
            .flat_map(|unit| unit.instances.iter().copied())
    }

    /// The functions called `poll<..>` at a link address; more than one when they were merged.
    #[must_use]
    pub fn generic_polls_at(&self, address: u64) -> &[DieRef] {
        self.indexed
            .generic_polls
            .get(&address)
            .map_or(&[], Vec::as_slice)
    }

    /// Thread-locals of std's `thread_local!`.
    pub fn thread_locals(&self) -> impl Iterator<Item = &ThreadLocal> {
        self.indexed
            .indexes
            .iter()
            .flat_map(|unit| &unit.thread_locals)
    }

    /// The `Cell<T, S>` structures of one unit.
    pub fn cells_of_unit(&self, unit: u32) -> &[DieRef] {
        self.indexed
            .indexes
            .get(unit as usize)
            .map_or(&[], |index| &index.cells)
    }

    /// All `Cell<T, S>` structures.
    pub fn cells(&self) -> impl Iterator<Item = DieRef> + '_ {
        self.indexed
            .indexes
            .iter()
            .flat_map(|unit| unit.cells.iter().copied())
    }

    /// The `__awaitee` variables of all async bodies, with their unit.
    pub fn awaitees(&self) -> impl Iterator<Item = (u32, &AwaiteeVariable<'a>)> {
        self.indexed
            .indexes
            .iter()
            .enumerate()
            .flat_map(|(number, unit)| {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                unit.awaitees.iter().map(move |variable| (number, variable))
            })
    }

    /// `DW_AT_name` of any entry.
    #[must_use]
    pub fn name(&self, die: DieRef) -> Option<&'a str> {
        index::name_of(&self.indexed.units, die)
    }

    /// The template type arguments of a function or type.
    #[must_use]
    pub fn arguments(&self, die: DieRef) -> Vec<(&'a str, DieRef)> {
        self.type_at(die)
            .map_or_else(Vec::new, |found| found.arguments.clone())
    }

    /// Whether there is any type information: with `debug = 1` there are units and functions, but
    /// no types.
    #[must_use]
    pub fn has_types(&self) -> bool {
        self.indexed
            .indexes
            .iter()
            .any(|unit| !unit.vtables.is_empty() || !unit.cells.is_empty())
    }

    /// Source file and line of a `DW_AT_decl_file`/`decl_line` pair in `unit`; `None` for 0.
    #[must_use]
    pub fn source_line(&self, unit: u32, file: u64, line: u64) -> Option<SourceLine> {
        self.lines.resolve(&self.indexed.units, unit, file, line)
    }

    /// The full path of a type or function: namespaces joined by `::`, generics as in the name.
    #[must_use]
    pub fn path(&self, die: DieRef) -> String {
        let name = self.name(die).unwrap_or("{unnamed}");
        let namespaces = self
            .indexed
            .indexes
            .get(die.unit as usize)
            .map_or(&[][..], |index| index.namespaces.as_slice());
        paths::join(namespaces, die.offset, name)
    }

    /// The path without generic arguments of the type itself: `tokio::time::timeout::Timeout`.
    #[must_use]
    pub fn base_path(&self, die: DieRef) -> String {
        let name = self.name(die).unwrap_or("{unnamed}");
        let namespaces = self
            .indexed
            .indexes
            .get(die.unit as usize)
            .map_or(&[][..], |index| index.namespaces.as_slice());
        paths::join(namespaces, die.offset, base_name(name))
    }

    /// The same, put together once: for types that are asked about for each task.
    #[must_use]
    pub fn known_base_path(&self, die: DieRef) -> Rc<str> {
        let mut known = self.base_paths.borrow_mut();
        Rc::clone(
            known
                .entry(die)
                .or_insert_with(|| self.base_path(die).into()),
        )
    }

    /// Where a function is declared, by its own or its abstract entry's `DW_AT_decl_*`.
    #[must_use]
    pub fn declared_at(&self, die: DieRef) -> Option<SourceLine> {
        let unit = self.indexed.units.unit(die.unit).ok()?;
        let entry = unit.entry(die.in_unit()).ok()?;
        let file = entry.attr(gimli::DW_AT_decl_file)?.udata_value()?;
        let line = entry.attr(gimli::DW_AT_decl_line)?.udata_value()?;
        self.source_line(die.unit, file, line)
    }

    /// The mangled name of a function (`DW_AT_linkage_name`).
    #[must_use]
    pub fn linkage_name(&self, die: DieRef) -> Option<&'a str> {
        let unit = self.indexed.units.unit(die.unit).ok()?;
        let entry = unit.entry(die.in_unit()).ok()?;
        self.indexed.units.string(
            (die.unit, &unit),
            entry.attr_value(gimli::DW_AT_linkage_name)?,
        )
    }
}
