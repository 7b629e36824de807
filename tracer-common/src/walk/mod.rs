//! The walk over a suspended task, by integers only: the same code runs in the BPF program at the
//! entry of a task's poll and in the daemon over memory of idle tasks, so that both tell the same.
//!
//! In: a [`Root`] and the tables that the daemon compiled from debug information ([`NodeEntry`],
//! [`StateEntry`], [`EdgeEntry`], and vtables). Out: words in [`Scratch::words`], which describe
//! the tree in preorder, a [hash](Scratch::hash) of them, and [marks](Scratch::marks). What the
//! words mean only the daemon knows, which replays the walk over the same tables.
//!
//! Written for the verifier: no recursion, all state in memory of a map, indexes masked to powers
//! of two, one step a call.

mod chain;
mod place;
mod root;
mod step;
mod table;
mod words;

#[cfg(test)]
mod tests;

pub use root::{Walk, begin, copy, finish};
pub use step::step;
pub use table::{
    EdgeEntry, EdgeKind, MARK_WORDS, NO_MARK, NO_STATE, NodeEntry, Root, Selector, StateEntry,
    link, ones,
};

/// Words of one tree at most.
pub const MAX_WORDS: usize = 128;
/// Levels of the stack of the walk; a chain of single futures takes one.
pub const MAX_FRAMES: usize = 32;
/// Steps of one walk at most.
pub const MAX_STEPS: u32 = 256;
/// Elements of one sequence that are walked at most.
pub const MAX_ELEMENTS: u32 = 64;
/// Bytes of the task, from its header on, that are copied at once.
pub const WINDOW_BYTES: u32 = 4096 - 8;
/// Bytes of one object on the heap that are copied at once.
pub const OBJECT_BYTES: u32 = 2048 - 8;
/// Words of the buffer that copies go to.
pub const BUFFER_WORDS: usize = 1024;
/// Copies of objects begin below this byte of the buffer, so that one always fits.
pub const OBJECTS_END: u32 = 6144;
/// Marks of one tree, a byte each.
pub const MARKS: usize = 16;

/// Marks in words, the first in the lowest byte: words are copied and cleared at once.
pub type MarkWords = [u64; MARKS / 8];

/// The marks, one by one.
#[must_use]
pub fn marks_of(words: MarkWords) -> [u8; MARKS] {
    let mut marks = [0; MARKS];
    for (index, mark) in marks.iter_mut().enumerate() {
        *mark = (words[index / 8] >> (index % 8 * 8)) as u8;
    }
    marks
}

/// Trees that the program remembers to have sent: a power of two.
pub const SENT_TREES_KEPT: u32 = 1 << 16;

/// A pointer was null.
pub const WORD_NULL: u32 = 0x8000_0000;
/// Memory was not readable.
pub const WORD_UNREADABLE: u32 = 0x8000_0001;
/// The type behind a vtable is not in the tables.
pub const WORD_UNKNOWN_VTABLE: u32 = 0x8000_0002;
/// A discriminant had none of the values that it may have.
pub const WORD_UNKNOWN_STATE: u32 = 0x8000_0003;
/// A pointer into the task's own future; its offset there follows.
pub const WORD_INSIDE: u32 = 0x8000_0004;
/// A pointer elsewhere; its low and high halves follow.
pub const WORD_OUTSIDE: u32 = 0x8000_0005;
/// A sequence; the number of its elements follows, of which [`MAX_ELEMENTS`] are walked.
pub const WORD_COUNT: u32 = 0x8000_0006;
/// The walk was ended here: too long or too deep.
pub const WORD_CUT: u32 = 0x8000_0007;
/// The end of a list; [`WORD_COUNT`] in its place when there are more items than are walked.
pub const WORD_END: u32 = 0x8000_0008;
/// Words from here on are not states.
pub const FIRST_MARKER: u32 = 0x8000_0000;

/// What a walk reads and asks.
pub trait Target {
    /// The 8 bytes at an address that is a multiple of 8.
    fn word(&self, address: u64) -> Option<u64>;
    /// Copies `bytes` (at most [`WINDOW_BYTES`], a multiple of 8) from an address that is a
    /// multiple of 8 to the start of the buffer.
    fn copy_window(&self, address: u64, bytes: u32, buffer: &mut [u64; BUFFER_WORDS]) -> bool;
    /// Copies `bytes` (at most [`OBJECT_BYTES`], a multiple of 8) to byte `at` of the buffer, a
    /// multiple of 8 from [`WINDOW_BYTES`] + 8 to [`OBJECTS_END`].
    fn copy_object(
        &self,
        address: u64,
        bytes: u32,
        buffer: &mut [u64; BUFFER_WORDS],
        at: u32,
    ) -> bool;
    /// A node of the table.
    fn node(&self, index: u32) -> Option<&NodeEntry>;
    /// A state of the table.
    fn state(&self, index: u32) -> Option<&StateEntry>;
    /// An edge of the table.
    fn edge(&self, index: u32) -> Option<&EdgeEntry>;
    /// The node of the type with this vtable.
    fn vtable(&self, address: u64) -> Option<u32>;
    /// The same number. In a program one of which the optimiser knows nothing, so that it keeps the
    /// masks of indexes, which the verifier needs.
    fn unknown(&self, value: u32) -> u32 {
        value
    }
}

/// What is going on at one level of the walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// Address of the value, of the next element, or of the next item of a list.
    pub address: u64,
    /// Byte of the buffer where it was copied to.
    pub at: u32,
    /// Bytes from there that hold it; 0 when it was not copied.
    pub valid: u32,
    /// [`FRAME_EDGES`], [`FRAME_ELEMENTS`] or [`FRAME_LIST`].
    pub kind: u32,
    /// Next edge; node of the elements.
    pub cursor: u32,
    /// Edge after the last; elements left.
    pub end: u32,
    /// Bytes from an element to the next; from an item to its future.
    pub stride: u32,
    /// From an item to the pointer to the next.
    pub next: u32,
    /// Zero.
    pub reserved: u32,
}

/// A value whose edges are followed.
pub const FRAME_EDGES: u32 = 0;
/// Elements in a row.
pub const FRAME_ELEMENTS: u32 = 1;
/// Items of a linked list.
pub const FRAME_LIST: u32 = 2;

/// The memory of one walk: 10 KiB, a value of a map.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The tree.
    pub words: [u32; MAX_WORDS],
    /// Copies of the target's memory.
    pub buffer: [u64; BUFFER_WORDS],
    /// The stack.
    pub frames: [Frame; MAX_FRAMES],
    /// Fingerprints of the futures that have one, in preorder.
    pub marks: MarkWords,
    /// Hash of the words; 0 only before the first.
    pub hash: u64,
    /// Address of the task's future.
    pub root: u64,
    /// Its size in bytes.
    pub root_bytes: u32,
    /// Number of words.
    pub count: u32,
    /// Levels of the stack in use.
    pub depth: u32,
    /// Number of marks, those that found no room included.
    pub marked: u32,
    /// Byte of the buffer where the next object goes.
    pub used: u32,
    /// Not 0 when the walk was ended early.
    pub cut: u32,
    /// Bytes of the future, from its start, that were copied; 0 when that failed.
    pub window: u32,
    /// Byte of the buffer where the future begins.
    pub root_at: u32,
    /// Who walks, to notice that the memory was given to another thread meanwhile.
    pub owner: u64,
}

impl Scratch {
    /// Memory that no walk has used yet.
    pub const EMPTY: Self = Self {
        words: [0; MAX_WORDS],
        buffer: [0; BUFFER_WORDS],
        frames: [Frame {
            address: 0,
            at: 0,
            valid: 0,
            kind: 0,
            cursor: 0,
            end: 0,
            stride: 0,
            next: 0,
            reserved: 0,
        }; MAX_FRAMES],
        marks: [0; MARKS / 8],
        hash: 0,
        root: 0,
        root_bytes: 0,
        count: 0,
        depth: 0,
        marked: 0,
        used: 0,
        cut: 0,
        window: 0,
        root_at: 0,
        owner: 0,
    };
}
