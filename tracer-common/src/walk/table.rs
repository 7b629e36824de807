//! Entries of the tables that a walk goes by. Native endianness, no padding.

/// Words of a node that make its mark.
pub const MARK_WORDS: usize = 4;
/// No word here.
pub const NO_MARK: u16 = u16::MAX;
/// No state for other values.
pub const NO_STATE: u32 = u32::MAX;

/// Where a task's future lies, by the probe that saw the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Root {
    /// Node of the future's type; [`NO_STATE`] when it is not in the tables.
    pub node: u32,
    /// From the task's header to the future, in bytes.
    pub future: u32,
    /// Size of the future in bytes.
    pub bytes: u32,
    /// From the header to the discriminant of the stage, in bytes.
    pub stage: u32,
    /// Its width in bytes; 0 when it is not checked.
    pub stage_bytes: u32,
    /// Its value while the future exists.
    pub running: u32,
}

/// How the state of a value is told by its discriminant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Selector {
    /// The discriminant's value for the first state.
    pub base: u64,
    /// Ones for the bits of the discriminant ([`ones`]); 0 for a type with one state.
    pub mask: u64,
    /// Offset of the discriminant in bytes. It does not cross a multiple of 8, as it is aligned.
    pub discriminant: u32,
    /// Index of the first state.
    pub states: u32,
    /// Number of states with following values.
    pub count: u32,
    /// State for any other value, or [`NO_STATE`].
    pub default: u32,
}

impl Selector {
    /// One that finds no state.
    pub const NONE: Self = Self {
        base: 0,
        mask: 0,
        discriminant: 0,
        states: NO_STATE,
        count: 0,
        default: NO_STATE,
    };

    /// For a type with one state.
    #[must_use]
    pub const fn one(state: u32) -> Self {
        Self {
            states: state,
            ..Self::NONE
        }
    }
}

impl Default for Selector {
    fn default() -> Self {
        Self::NONE
    }
}

/// A type that is a future or leads to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeEntry {
    /// Its states.
    pub selector: Selector,
    /// Size of the type in bytes.
    pub bytes: u32,
    /// Zero.
    pub reserved: u32,
}

/// Ones for a value of so many bytes.
#[must_use]
#[inline(always)]
pub const fn ones(width: u32) -> u64 {
    if width >= 8 {
        u64::MAX
    } else {
        (1u64 << ((width & 7) * 8)) - 1
    }
}

/// Puts the selectors of nodes where states lead to them without a choice; the last step of making tables.
pub fn link(nodes: &[NodeEntry], states: &mut [StateEntry]) {
    for state in states {
        match nodes.get(state.only as usize) {
            Some(node) => state.next = node.selector,
            None => state.only = NO_STATE,
        }
    }
}

/// A state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StateEntry {
    /// Index of the first edge.
    pub edges: u32,
    /// Number of edges.
    pub count: u32,
    /// Offsets of the words that tell instances apart, [`NO_MARK`] where there are fewer.
    pub mark: [u16; MARK_WORDS],
    /// For each of them the bytes that count: bit 0 is the lowest byte.
    pub mark_bytes: [u8; MARK_WORDS],
    /// Where its one edge leads when that is [`EdgeKind::Inline`], as most are: what need not be
    /// looked up again. [`NO_STATE`] for any other state.
    pub only: u32,
    /// Offset of what lies there.
    pub only_at: u32,
    /// Zero.
    pub reserved: u32,
    /// How its state is told, which [`link`] has put here.
    pub next: Selector,
}

impl StateEntry {
    /// A state with these edges, of which the first has this index.
    #[must_use]
    pub fn new(first: u32, edges: &[EdgeEntry]) -> Self {
        let (only, only_at) = match edges {
            [edge] if edge.kind == EdgeKind::Inline as u32 => (edge.node, edge.offset),
            _ => (NO_STATE, 0),
        };
        Self {
            edges: first,
            count: edges.len() as u32,
            only,
            only_at,
            ..Self::default()
        }
    }
}

impl Default for StateEntry {
    fn default() -> Self {
        Self {
            edges: 0,
            count: 0,
            mark: [NO_MARK; MARK_WORDS],
            mark_bytes: [0; MARK_WORDS],
            only: NO_STATE,
            only_at: 0,
            reserved: 0,
            next: Selector::NONE,
        }
    }
}

/// A way from a node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EdgeEntry {
    /// [`EdgeKind`].
    pub kind: u32,
    /// Offset of what the kind speaks of.
    pub offset: u32,
    /// The node at the other end.
    pub node: u32,
    /// Vtable: offset of the vtable pointer. Sequence: offset of the length. Array: the number.
    /// List: from an item to the pointer to the next. Shared: from the pointer to the node.
    pub a: u32,
    /// Sequence, array: bytes from an element to the next. List: from an item to its future.
    pub b: u32,
    /// Zero.
    pub reserved: u32,
}

/// How an edge leads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EdgeKind {
    /// The node lies there.
    Inline = 0,
    /// A thin pointer.
    Pointer = 1,
    /// A fat pointer to a `dyn` type.
    Dyn = 2,
    /// A pointer and a length.
    Sequence = 3,
    /// Elements in place.
    Array = 4,
    /// An intrusive list: a pointer to the first item.
    List = 5,
}

impl EdgeKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        Some(match value {
            0 => Self::Inline,
            1 => Self::Pointer,
            2 => Self::Dyn,
            3 => Self::Sequence,
            4 => Self::Array,
            5 => Self::List,
            _ => return None,
        })
    }
}

const _: () = assert!(core::mem::size_of::<Root>() == 24);
const _: () = assert!(core::mem::size_of::<NodeEntry>() == 40);
const _: () = assert!(core::mem::size_of::<StateEntry>() == 64);
const _: () = assert!(core::mem::size_of::<EdgeEntry>() == 24);
