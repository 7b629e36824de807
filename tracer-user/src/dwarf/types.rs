//! Types, read one at a time from their entries.
//!
//! A [`Type`] is what DWARF says, nothing inferred: members at offsets, the variants of an enum
//! with their discriminant, template arguments. rustc's conventions on top of it (coroutines,
//! boxes, vectors) are the business of `walk/`.

use super::units::{DieRef, Slice, Units};

/// A member of a structure or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name; tuples have `__0`, `__1`, ...
    pub name: &'a str,
    /// Offset in bytes.
    pub offset: u64,
    /// Its type.
    pub type_die: DieRef,
    /// `DW_AT_decl_file`, an index in the unit's line table; 0 when absent.
    pub file: u64,
    /// `DW_AT_decl_line`; 0 when absent.
    pub line: u64,
}

/// One variant of an enum or coroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant<'a> {
    /// Its discriminant; `None` is the default of a niche encoding.
    pub value: Option<u64>,
    /// The variant's structure as a member.
    pub member: Member<'a>,
}

/// `DW_TAG_variant_part`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantPart<'a> {
    /// The discriminant; `None` when there is one variant only.
    pub discriminant: Option<Member<'a>>,
    /// The variants.
    pub variants: Vec<Variant<'a>>,
}

/// What a type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A structure, tuple, closure or coroutine.
    Structure {
        /// Plain members.
        members: Vec<Member<'a>>,
        /// Variants, for enums and coroutines.
        variants: Option<VariantPart<'a>>,
    },
    /// A union: which member is live is not known.
    Union {
        /// Its members.
        members: Vec<Member<'a>>,
    },
    /// A thin pointer of any sort; the name tells (`&mut T`, `*const T`, `Box<..>`).
    Pointer {
        /// What it points to; `None` for `void`.
        target: Option<DieRef>,
    },
    /// An array.
    Array {
        /// The element.
        element: DieRef,
        /// Their number.
        count: u64,
    },
    /// An integer, float, bool, char or C-like enum.
    Scalar,
    /// Anything else (functions, declarations).
    Other,
}

/// A type as DWARF describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type<'a> {
    /// `DW_AT_name`, with generic arguments; without the path.
    pub name: &'a str,
    /// Size in bytes; 0 when not given.
    pub size: u64,
    /// What it is.
    pub kind: Kind<'a>,
    /// Template type arguments in order.
    pub arguments: Vec<(&'a str, DieRef)>,
    /// It is only declared here (`DW_AT_declaration`); see `definitions.rs`.
    pub is_declaration: bool,
    /// The unit whose line table its members' file indexes speak of.
    pub unit: u32,
    /// `DW_AT_containing_type`: of a vtable's type, the type it is the vtable of.
    pub containing_type: Option<DieRef>,
}

impl<'a> Type<'a> {
    /// The plain members of a structure; none for anything else.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        match &self.kind {
            Kind::Structure { members, .. } | Kind::Union { members } => members,
            _ => &[],
        }
    }

    /// The plain member called `name`.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member<'a>> {
        self.members().iter().find(|member| member.name == name)
    }

    /// The variants, for an enum or a coroutine.
    #[must_use]
    pub fn variants(&self) -> Option<&VariantPart<'a>> {
        match &self.kind {
            Kind::Structure { variants, .. } => variants.as_ref(),
            _ => None,
        }
    }

    /// The template argument called `name`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<DieRef> {
        Some(
            self.arguments
                .iter()
                .find(|(argument, _)| *argument == name)?
                .1,
        )
    }

    /// The name without generic arguments. Braces may hold `<`, as in `{impl#0}`, never before
    /// the first argument list.
    #[must_use]
    pub fn base_name(&self) -> &'a str {
        base_name(self.name)
    }
}

/// A type's name without generic arguments: `Timeout<T>` -> `Timeout`.
#[must_use]
pub fn base_name(name: &str) -> &str {
    if name.starts_with(['&', '*', '(', '[', '<']) {
        return name;
    }
    name.split_once('<').map_or(name, |(base, _)| base)
}

/// More members than any real type has: a bound on what a hostile file makes us keep.
const MAX_MEMBERS: usize = 100_000;

/// Reads the type at `die`; `None` when there is no such entry or it is malformed.
pub(super) fn read<'a>(units: &Units<'a>, die: DieRef) -> Option<Type<'a>> {
    let unit = units.unit(die.unit).ok()?;
    let reader = Reader {
        units,
        unit: &unit,
        number: die.unit,
    };
    let mut tree = unit.entries_tree(Some(die.in_unit())).ok()?;
    let root = tree.root().ok()?;
    let entry = root.entry();
    let name = reader.name(entry).unwrap_or("");
    let size = reader.number_of(entry, gimli::DW_AT_byte_size);
    let containing_type = reader.reference(entry, gimli::DW_AT_containing_type);
    let target = reader.reference(entry, gimli::DW_AT_type);
    let is_declaration = entry.has_attr(gimli::DW_AT_declaration);
    let mut arguments = Vec::new();
    let kind = match entry.tag() {
        gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type => Kind::Pointer { target },
        gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type => Kind::Scalar,
        gimli::DW_TAG_array_type => Kind::Array {
            element: target?,
            count: reader.count(root),
        },
        gimli::DW_TAG_typedef => return read_through(units, target?),
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
            let is_union = entry.tag() == gimli::DW_TAG_union_type;
            let (members, variants) = reader.members(root, &mut arguments)?;
            if is_union {
                Kind::Union { members }
            } else {
                Kind::Structure { members, variants }
            }
        }
        _ => {
            let mut children = root.children();
            while let Ok(Some(child)) = children.next() {
                reader.template_argument(child.entry(), &mut arguments);
            }
            Kind::Other
        }
    };
    Some(Type {
        name,
        size,
        kind,
        arguments,
        is_declaration,
        unit: die.unit,
        containing_type,
    })
}

/// A typedef names another type; a chain of them that never ends is hostile.
fn read_through<'a>(units: &Units<'a>, die: DieRef) -> Option<Type<'a>> {
    let unit = units.unit(die.unit).ok()?;
    let entry = unit.entry(die.in_unit()).ok()?;
    if entry.tag() == gimli::DW_TAG_typedef {
        None
    } else {
        read(units, die)
    }
}

struct Reader<'a, 'r> {
    units: &'r Units<'a>,
    unit: &'r gimli::Unit<Slice<'a>>,
    number: u32,
}

type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;
type Node<'a, 'r, 't> = gimli::EntriesTreeNode<'r, 't, Slice<'a>>;

impl<'a, 'r> Reader<'a, 'r> {
    fn name(&self, entry: &Entry<'a>) -> Option<&'a str> {
        self.units.string(
            (self.number, self.unit),
            entry.attr_value(gimli::DW_AT_name)?,
        )
    }

    fn reference(&self, entry: &Entry<'a>, name: gimli::DwAt) -> Option<DieRef> {
        self.units.resolve(self.number, &entry.attr_value(name)?)
    }

    fn number_of(&self, entry: &Entry<'a>, name: gimli::DwAt) -> u64 {
        entry
            .attr(name)
            .and_then(gimli::Attribute::udata_value)
            .unwrap_or(0)
    }

    fn count(&self, root: Node<'a, 'r, '_>) -> u64 {
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            if entry.tag() == gimli::DW_TAG_subrange_type {
                if entry.attr(gimli::DW_AT_count).is_some() {
                    return self.number_of(entry, gimli::DW_AT_count);
                }
                return self
                    .number_of(entry, gimli::DW_AT_upper_bound)
                    .saturating_add(1);
            }
        }
        0
    }

    fn member(&self, entry: &Entry<'a>) -> Option<Member<'a>> {
        Some(Member {
            name: self.name(entry).unwrap_or(""),
            offset: self.number_of(entry, gimli::DW_AT_data_member_location),
            type_die: self.reference(entry, gimli::DW_AT_type)?,
            file: self.number_of(entry, gimli::DW_AT_decl_file),
            line: self.number_of(entry, gimli::DW_AT_decl_line),
        })
    }

    fn template_argument(&self, entry: &Entry<'a>, arguments: &mut Vec<(&'a str, DieRef)>) {
        if entry.tag() == gimli::DW_TAG_template_type_parameter
            && let (Some(name), Some(die)) =
                (self.name(entry), self.reference(entry, gimli::DW_AT_type))
        {
            arguments.push((name, die));
        }
    }

    fn members(
        &self,
        root: Node<'a, 'r, '_>,
        arguments: &mut Vec<(&'a str, DieRef)>,
    ) -> Option<(Vec<Member<'a>>, Option<VariantPart<'a>>)> {
        let mut members = Vec::new();
        let mut variants = None;
        let mut children = root.children();
        while let Some(child) = children.next().ok()? {
            match child.entry().tag() {
                gimli::DW_TAG_member if members.len() < MAX_MEMBERS => {
                    members.extend(self.member(child.entry()));
                }
                gimli::DW_TAG_variant_part => variants = Some(self.variant_part(child)?),
                _ => self.template_argument(child.entry(), arguments),
            }
        }
        Some((members, variants))
    }

    fn variant_part(&self, node: Node<'a, 'r, '_>) -> Option<VariantPart<'a>> {
        let discriminant_die = self.reference(node.entry(), gimli::DW_AT_discr);
        let mut discriminant = None;
        let mut variants = Vec::new();
        let mut children = node.children();
        while let Some(child) = children.next().ok()? {
            let entry = child.entry();
            match entry.tag() {
                gimli::DW_TAG_member => {
                    let offset = u32::try_from(entry.offset().0).ok()?;
                    if discriminant_die
                        == Some(DieRef {
                            unit: self.number,
                            offset,
                        })
                    {
                        discriminant = self.member(entry);
                    }
                }
                gimli::DW_TAG_variant if variants.len() < MAX_MEMBERS => {
                    let value = match entry.attr(gimli::DW_AT_discr_value) {
                        // A 128-bit discriminant fits no word; such a variant is never matched.
                        Some(value) => match discriminant_value(value) {
                            Some(value) => Some(value),
                            None => continue,
                        },
                        None => None,
                    };
                    let mut inner = child.children();
                    while let Some(grandchild) = inner.next().ok()? {
                        if grandchild.entry().tag() == gimli::DW_TAG_member {
                            variants.extend(
                                self.member(grandchild.entry())
                                    .map(|member| Variant { value, member }),
                            );
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        Some(VariantPart {
            discriminant,
            variants,
        })
    }
}

/// Discriminants are written with any integer form, signed or not; niches such as `i64::MIN`
/// occur. Compared masked to the discriminant's width, so the sign extension does not matter.
pub(super) fn discriminant_value(attribute: &gimli::Attribute<Slice<'_>>) -> Option<u64> {
    match attribute.value() {
        gimli::AttributeValue::Data1(value) => Some(u64::from(value)),
        gimli::AttributeValue::Data2(value) => Some(u64::from(value)),
        gimli::AttributeValue::Data4(value) => Some(u64::from(value)),
        gimli::AttributeValue::Data8(value) | gimli::AttributeValue::Udata(value) => Some(value),
        gimli::AttributeValue::Sdata(value) => Some(value.cast_unsigned()),
        _ => None,
    }
}
