//! The lean index: one pass over every unit that keeps only what await trees need.
//!
//! In: units. Out: namespaces (for paths), vtables of `dyn` types, the types that implement
//! `Future` or `Stream`, task poll functions, task cells, thread-locals and the user's lines of
//! awaits. It deliberately reads no type: those are read one by one when a future needs them
//! (`types.rs`). Most entries are skipped by their abbreviation alone.

use super::passes::over_units;
use super::units::{DieRef, Slice, UnitEntry, Units, starts_with};

/// A namespace and the range of entries inside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Namespace<'a> {
    /// Offset of its entry in the unit.
    pub start: u32,
    /// Offset of the first entry after it.
    pub end: u32,
    /// Index of the enclosing one among the unit's namespaces.
    pub parent: Option<u32>,
    /// Its name.
    pub name: &'a str,
}

/// A `{vtable}` static of a `dyn` type (rustc >= 1.65, `DW_AT_containing_type` on its type).
#[derive(Clone, Copy, Debug)]
pub struct Vtable<'a> {
    /// Link address.
    pub address: u64,
    /// `<T as Trait>::{vtable}`.
    pub name: &'a str,
    /// The vtable's type, whose `DW_AT_containing_type` is T.
    pub type_die: DieRef,
}

/// A function whose body polls: a `Future::poll`, `Stream::poll_next` or an async body.
#[derive(Clone, Copy, Debug)]
pub struct PollFunction<'a> {
    /// Its entry, the abstract one where there are several.
    pub die: DieRef,
    /// `poll`, `poll_next`, `{async_fn#0}`, ...
    pub name: &'a str,
    /// The name of its first parameter's type: `Pin<&mut T>`.
    pub receiver: &'a str,
    /// The type of its first parameter.
    pub receiver_die: DieRef,
    /// Link address of this entry's code, when it has any.
    pub low_pc: Option<u64>,
    /// File index and line of its declaration.
    pub declared_at: (u64, u64),
}

/// A variable `__awaitee` of an async body: it carries the user's line of an await.
#[derive(Clone, Copy, Debug)]
pub struct AwaiteeVariable<'a> {
    /// Name of the body's first parameter's type, `Pin<&mut path::{async_fn_env#0}>`.
    pub receiver: &'a str,
    /// Type of the awaited future.
    pub type_die: DieRef,
    /// File index in the unit's line table.
    pub file: u64,
    /// Line, 1-based.
    pub line: u64,
}

/// A thread-local's storage (`__RUST_STD_INTERNAL_VAL` of `thread_local!`).
#[derive(Clone, Copy, Debug)]
pub struct ThreadLocal {
    /// The variable's entry.
    pub die: DieRef,
    /// Its type.
    pub type_die: DieRef,
    /// Offset in the module's TLS segment.
    pub tls_offset: u64,
}

/// What one unit contributes.
#[derive(Debug, Default)]
pub(super) struct UnitIndex<'a> {
    /// In order of `start`.
    pub namespaces: Vec<Namespace<'a>>,
    /// Vtables of `dyn` types.
    pub vtables: Vec<Vtable<'a>>,
    /// Functions that poll.
    pub poll_functions: Vec<PollFunction<'a>>,
    /// `__awaitee` variables.
    pub awaitees: Vec<AwaiteeVariable<'a>>,
    /// Thread-locals.
    pub thread_locals: Vec<ThreadLocal>,
    /// `Cell<T, S>` structures of tokio's tasks.
    pub cells: Vec<DieRef>,
    /// Functions with code by link address: those named `poll<..>` (tokio's `raw::poll` is
    /// among them).
    pub generic_polls: Vec<(u64, DieRef)>,
    /// Out-of-line instances: link address and the abstract entry they come from.
    pub instances: Vec<(u64, DieRef)>,
    /// Why the pass over this unit ended early, if it did.
    pub error: Option<gimli::Error>,
}

/// Indexes every unit.
pub(super) fn index<'a>(units: &Units<'a>) -> Vec<UnitIndex<'a>> {
    over_units(units, |number, entry| {
        let mut pass = Pass::new(units, number);
        if let Err(error) = pass.run(entry) {
            pass.out.error = Some(error);
        }
        pass.out
    })
}

/// A subprogram that the pass is inside of.
struct Open<'a> {
    depth: isize,
    die: DieRef,
    name: Option<&'a str>,
    low_pc: Option<u64>,
    declared_at: (u64, u64),
    parameters: u32,
    receiver: Option<DieRef>,
    receiver_name: Option<&'a str>,
}

struct Pass<'a, 'u> {
    units: &'u Units<'a>,
    number: u32,
    out: UnitIndex<'a>,
    namespaces: Vec<(isize, u32)>,
    subprograms: Vec<Open<'a>>,
}

/// The attributes of one entry that any branch of the pass looks at.
#[derive(Default)]
struct Attributes<'a> {
    name: Option<gimli::AttributeValue<Slice<'a>>>,
    type_die: Option<DieRef>,
    origin: Option<DieRef>,
    low_pc: Option<u64>,
    file: u64,
    line: u64,
    location: Option<gimli::Expression<Slice<'a>>>,
}

impl<'a, 'u> Pass<'a, 'u> {
    fn new(units: &'u Units<'a>, number: u32) -> Self {
        Self {
            units,
            number,
            out: UnitIndex::default(),
            namespaces: Vec::new(),
            subprograms: Vec::new(),
        }
    }

    fn run(&mut self, entry: &UnitEntry<'a>) -> gimli::Result<()> {
        let unit = self.units.parse(entry)?;
        let mut entries = unit.entries_raw(None)?;
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let offset = u32::try_from(entries.next_offset().0).unwrap_or(u32::MAX);
            self.close(depth, offset);
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            let wanted = match abbreviation.tag() {
                gimli::DW_TAG_namespace
                | gimli::DW_TAG_subprogram
                | gimli::DW_TAG_variable
                | gimli::DW_TAG_structure_type => true,
                gimli::DW_TAG_formal_parameter => self
                    .subprograms
                    .last()
                    .is_some_and(|open| open.depth + 1 == depth && open.name.is_some()),
                _ => false,
            };
            if !wanted {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let mut attributes = Attributes::default();
            for specification in abbreviation.attributes() {
                let attribute = entries.read_attribute(*specification)?;
                self.take(&unit, entry, &mut attributes, &attribute);
            }
            let die = DieRef {
                unit: self.number,
                offset,
            };
            match abbreviation.tag() {
                gimli::DW_TAG_namespace => self.namespace(&unit, die, depth, &attributes),
                gimli::DW_TAG_subprogram => self.subprogram(&unit, entry, die, depth, &attributes),
                gimli::DW_TAG_formal_parameter => self.parameter(&attributes),
                gimli::DW_TAG_structure_type => self.structure(&unit, entry, die, &attributes),
                _ => self.variable(&unit, entry, die, &attributes),
            }
        }
        self.close(isize::MIN, u32::MAX);
        Ok(())
    }

    fn take(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        entry: &UnitEntry<'a>,
        into: &mut Attributes<'a>,
        attribute: &gimli::Attribute<Slice<'a>>,
    ) {
        match attribute.name() {
            gimli::DW_AT_name => into.name = Some(attribute.value()),
            gimli::DW_AT_type => {
                into.type_die = self.units.resolve(self.number, &attribute.value());
            }
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                into.origin = self.units.resolve(self.number, &attribute.value());
            }
            gimli::DW_AT_low_pc => {
                // A dropped function keeps its entry at address 0 or at a tombstone.
                into.low_pc = entry
                    .dwarf
                    .attr_address(unit, attribute.value())
                    .ok()
                    .flatten()
                    .filter(|pc| *pc != 0 && *pc < u64::MAX - 1);
            }
            gimli::DW_AT_decl_file => into.file = attribute.udata_value().unwrap_or(0),
            gimli::DW_AT_decl_line => into.line = attribute.udata_value().unwrap_or(0),
            gimli::DW_AT_location => into.location = attribute.exprloc_value(),
            _ => {}
        }
    }

    fn string(
        &self,
        unit: &gimli::Unit<Slice<'a>>,
        value: Option<gimli::AttributeValue<Slice<'a>>>,
    ) -> Option<&'a str> {
        self.units.string((self.number, unit), value?)
    }

    /// Leaves every scope that ends before an entry at `depth`.
    fn close(&mut self, depth: isize, offset: u32) {
        while let Some((open, index)) = self.namespaces.last().copied() {
            if open < depth {
                break;
            }
            if let Some(namespace) = self.out.namespaces.get_mut(index as usize) {
                namespace.end = offset;
            }
            self.namespaces.pop();
        }
        while self
            .subprograms
            .last()
            .is_some_and(|open| open.depth >= depth)
        {
            let Some(open) = self.subprograms.pop() else {
                break;
            };
            self.finish(&open);
        }
    }

    fn namespace(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        die: DieRef,
        depth: isize,
        attributes: &Attributes<'a>,
    ) {
        let index = u32::try_from(self.out.namespaces.len()).unwrap_or(u32::MAX);
        self.out.namespaces.push(Namespace {
            start: die.offset,
            end: u32::MAX,
            parent: self.namespaces.last().map(|(_, index)| *index),
            name: self.string(unit, attributes.name).unwrap_or("{unnamed}"),
        });
        self.namespaces.push((depth, index));
    }

    fn subprogram(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        entry: &UnitEntry<'a>,
        die: DieRef,
        depth: isize,
        attributes: &Attributes<'a>,
    ) {
        if let (Some(low_pc), Some(origin)) = (attributes.low_pc, attributes.origin) {
            self.out.instances.push((low_pc, origin));
        }
        let is = |prefix: &[u8]| {
            attributes
                .name
                .is_some_and(|name| starts_with(&entry.dwarf, unit, name, prefix))
        };
        if let Some(low_pc) = attributes.low_pc
            && is(b"poll<")
        {
            self.out.generic_polls.push((low_pc, die));
        }
        let polls = is(b"poll\0") || is(b"poll<") || is(b"poll_next") || is(b"{async_");
        self.subprograms.push(Open {
            depth,
            die,
            name: if polls {
                self.string(unit, attributes.name)
            } else {
                None
            },
            low_pc: attributes.low_pc,
            declared_at: (attributes.file, attributes.line),
            parameters: 0,
            receiver: None,
            receiver_name: None,
        });
    }

    fn parameter(&mut self, attributes: &Attributes<'a>) {
        let Some(open) = self.subprograms.last_mut() else {
            return;
        };
        open.parameters += 1;
        if open.parameters == 1 {
            open.receiver = attributes.type_die;
        }
    }

    /// The name of the receiver's type when it is `Pin<&mut T>`, read once per subprogram.
    fn receiver_name(&mut self, level: usize) -> Option<&'a str> {
        let open = self.subprograms.get(level)?;
        if open.receiver_name.is_some() {
            return open.receiver_name;
        }
        let name = name_of(self.units, open.receiver?)?;
        let name = name.starts_with("Pin<&mut ").then_some(name)?;
        self.subprograms.get_mut(level)?.receiver_name = Some(name);
        Some(name)
    }

    fn finish(&mut self, open: &Open<'a>) {
        let (Some(name), Some(receiver_die)) = (open.name, open.receiver) else {
            return;
        };
        let receiver = open.receiver_name.or_else(|| {
            name_of(self.units, receiver_die).filter(|name| name.starts_with("Pin<&mut "))
        });
        let Some(receiver) = receiver else { return };
        self.out.poll_functions.push(PollFunction {
            die: open.die,
            name,
            receiver,
            receiver_die,
            low_pc: open.low_pc,
            declared_at: open.declared_at,
        });
    }

    fn structure(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        entry: &UnitEntry<'a>,
        die: DieRef,
        attributes: &Attributes<'a>,
    ) {
        let is_cell = attributes
            .name
            .is_some_and(|name| starts_with(&entry.dwarf, unit, name, b"Cell<"));
        let in_core = || {
            self.namespaces
                .last()
                .and_then(|(_, index)| self.out.namespaces.get(*index as usize))
                .is_some_and(|namespace| namespace.name == "core" && namespace.parent.is_some())
        };
        if is_cell && in_core() {
            self.out.cells.push(die);
        }
    }

    fn variable(
        &mut self,
        unit: &gimli::Unit<Slice<'a>>,
        entry: &UnitEntry<'a>,
        die: DieRef,
        attributes: &Attributes<'a>,
    ) {
        let (Some(name), Some(type_die)) = (attributes.name, attributes.type_die) else {
            return;
        };
        if !self.subprograms.is_empty() {
            if starts_with(&entry.dwarf, unit, name, b"__awaitee\0")
                && let Some(receiver) = self.receiver_name(self.subprograms.len() - 1)
            {
                self.out.awaitees.push(AwaiteeVariable {
                    receiver,
                    type_die,
                    file: attributes.file,
                    line: attributes.line,
                });
            }
            return;
        }
        let Some(location) = attributes.location else {
            return;
        };
        if starts_with(&entry.dwarf, unit, name, b"__RUST_STD_INTERNAL_VAL") {
            if let Some(tls_offset) = tls_offset(entry, unit, location) {
                self.out.thread_locals.push(ThreadLocal {
                    die,
                    type_die,
                    tls_offset,
                });
            }
            return;
        }
        if starts_with(&entry.dwarf, unit, name, b"<")
            && let Some(name) = self.string(unit, attributes.name)
            && name.ends_with("::{vtable}")
            && let Some(address) = static_address(entry, unit, location)
        {
            self.out.vtables.push(Vtable {
                address,
                name,
                type_die,
            });
        }
    }
}

/// `DW_AT_name` of an entry.
pub(super) fn name_of<'a>(units: &Units<'a>, die: DieRef) -> Option<&'a str> {
    let unit = units.unit(die.unit).ok()?;
    let mut entries = unit.entries_raw(Some(die.in_unit())).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification).ok()?;
        if attribute.name() == gimli::DW_AT_name {
            return units.string((die.unit, &unit), attribute.value());
        }
    }
    None
}

/// The address of `DW_OP_addr X` or `DW_OP_addrx N`; 0 is a dropped static.
fn static_address<'a>(
    entry: &UnitEntry<'a>,
    unit: &gimli::Unit<Slice<'a>>,
    location: gimli::Expression<Slice<'a>>,
) -> Option<u64> {
    let mut operations = location.operations(unit.encoding());
    let address = match operations.next().ok()?? {
        gimli::Operation::Address { address } => address,
        gimli::Operation::AddressIndex { index } => entry.dwarf.address(unit, index).ok()?,
        _ => return None,
    };
    (address != 0).then_some(address)
}

/// The offset of `DW_OP_const8u N; DW_OP_GNU_push_tls_address` (or `form_tls_address`). In a split
/// unit N is in the main file's `.debug_addr` (`DW_OP_GNU_const_index`, `DW_OP_constx`).
fn tls_offset(
    entry: &UnitEntry<'_>,
    unit: &gimli::Unit<Slice<'_>>,
    location: gimli::Expression<Slice<'_>>,
) -> Option<u64> {
    let mut operations = location.operations(unit.encoding());
    let value = match operations.next().ok()?? {
        gimli::Operation::UnsignedConstant { value } => value,
        gimli::Operation::ConstantIndex { index } => entry.dwarf.address(unit, index).ok()?,
        _ => return None,
    };
    matches!(operations.next().ok()??, gimli::Operation::TLS).then_some(value)
}
