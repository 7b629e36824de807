//! One step of the walk, and what comes before and after.

use super::table::{EdgeEntry, EdgeKind, NO_MARK, NO_STATE, Root, Selector, StateEntry, ones};
use super::{
    BUFFER_WORDS, FRAME_EDGES, FRAME_ELEMENTS, FRAME_LIST, Frame, MARKS, MAX_ELEMENTS, MAX_FRAMES,
    MAX_WORDS, OBJECT_BYTES, OBJECTS_END, Scratch, Target, WINDOW_BYTES, WORD_COUNT, WORD_CUT,
    WORD_END, WORD_INSIDE, WORD_NULL, WORD_OUTSIDE, WORD_UNKNOWN_STATE, WORD_UNKNOWN_VTABLE,
    WORD_UNREADABLE,
};

/// Odd, and random enough for a hash by multiplication (2^64 divided by the golden ratio).
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Values inside each other that one step tells, as long as each has one inside it only: what a step
/// costs beside is as much as telling one.
const CHAIN: u32 = 8;

/// How a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Go on with [`step`].
    Begun,
    /// All is told: a chain. Go on with [`finish`].
    Over,
    /// The task's future is not there any more, or not described.
    Nothing,
}

/// A value of the target, and where its copy is.
#[derive(Clone, Copy)]
struct Place {
    address: u64,
    at: u32,
    valid: u32,
}

impl Place {
    #[inline(always)]
    fn plus(self, bytes: u32) -> Self {
        Self {
            address: self.address.wrapping_add(u64::from(bytes)),
            at: self.at.wrapping_add(bytes),
            valid: self.valid.saturating_sub(bytes),
        }
    }
}

/// Copies the task whose header is at `header`, with its future, to the start of the buffer: one read
/// for all that a walk usually looks at. `false` when that failed; then [`begin`] goes on with a read
/// for each word.
#[inline(always)]
pub fn copy<T: Target>(scratch: &mut Scratch, target: &T, root: &Root, header: u64) -> bool {
    let shift = (header & 7) as u32;
    scratch.root = header.wrapping_add(u64::from(root.future));
    scratch.root_bytes = root.bytes;
    scratch.root_at = shift.wrapping_add(root.future);
    let wanted = at_most(scratch.root_at.saturating_add(root.bytes), WINDOW_BYTES - 7);
    let wanted = wanted.wrapping_add(7) & !7;
    // A page that is not resident fails the whole copy.
    let copied = target.copy_window(header & !7, wanted, &mut scratch.buffer);
    scratch.window = if copied {
        wanted.saturating_sub(scratch.root_at)
    } else {
        0
    };
    copied
}

/// Begins a walk of the task that [`copy`] was just called for.
#[inline(always)]
pub fn begin<T: Target>(scratch: &mut Scratch, target: &T, root: &Root) -> Walk {
    scratch.hash = 0;
    scratch.count = 0;
    scratch.depth = 0;
    scratch.marked = 0;
    scratch.marks = [0; MARKS / 8];
    scratch.used = WINDOW_BYTES + 8;
    scratch.cut = 0;
    if root.node == NO_STATE {
        return Walk::Nothing;
    }
    if root.stage_bytes != 0 {
        let header = scratch.root.wrapping_sub(u64::from(root.future));
        let copied = if scratch.window == 0 {
            0
        } else {
            scratch.window.wrapping_add(scratch.root_at)
        };
        let stage = Place {
            address: header,
            at: (header & 7) as u32,
            valid: copied.saturating_sub((header & 7) as u32),
        }
        .plus(root.stage);
        match load_narrow(scratch, target, stage, root.stage_bytes) {
            Some(value) if value == u64::from(root.running) => {}
            _ => return Walk::Nothing,
        }
    }
    let place = Place {
        address: scratch.root,
        at: scratch.root_at,
        valid: scratch.window,
    };
    enter(scratch, target, root.node, place);
    if scratch.depth == 0 {
        return Walk::Over;
    }
    Walk::Begun
}

/// What is left to do of a single value.
#[inline(always)]
fn one(node: u32, place: Place) -> Frame {
    Frame {
        address: place.address,
        at: place.at,
        valid: place.valid,
        kind: FRAME_ELEMENTS,
        cursor: node,
        end: 1,
        ..Frame::default()
    }
}

/// Where a step leads: to a node, whose place may still have to be told.
#[derive(Clone, Copy)]
struct Onward {
    /// [`NO_STATE`] when it leads nowhere.
    node: u32,
    place: Place,
    /// It was reached by a pointer to so many bytes.
    bytes: u32,
    pointer: bool,
    /// Elements in a row, each so many bytes long; 0 for a single value.
    count: u32,
    stride: u32,
}

impl Onward {
    const NOWHERE: Self = Self {
        node: NO_STATE,
        place: Place {
            address: 0,
            at: 0,
            valid: 0,
        },
        bytes: 0,
        pointer: false,
        count: 0,
        stride: 0,
    };

    #[inline(always)]
    const fn to(node: u32, place: Place) -> Self {
        Self {
            node,
            place,
            ..Self::NOWHERE
        }
    }

    #[inline(always)]
    const fn by_pointer(node: u32, address: u64, bytes: u32) -> Self {
        Self {
            node,
            place: Place {
                address,
                at: 0,
                valid: 0,
            },
            bytes,
            pointer: true,
            ..Self::NOWHERE
        }
    }
}

/// Makes one step; `false` when the walk is over.
#[inline(always)]
pub fn step<T: Target>(scratch: &mut Scratch, target: &T) -> bool {
    let depth = scratch.depth as usize;
    if depth == 0 || scratch.cut != 0 {
        return false;
    }
    let top = (depth - 1) & (MAX_FRAMES - 1);
    let frame = scratch.frames[top];
    let place = Place {
        address: frame.address,
        at: frame.at,
        valid: frame.valid,
    };
    let mut onward = Onward::NOWHERE;
    match frame.kind {
        FRAME_EDGES => {
            // The last edge gives its level back first: a chain takes no more than one.
            if frame.cursor.wrapping_add(1) >= frame.end {
                scratch.depth = top as u32;
            } else {
                scratch.frames[top].cursor = frame.cursor.wrapping_add(1);
            }
            if let Some(edge) = target.edge(frame.cursor) {
                onward = follow(scratch, target, edge, place);
            }
        }
        FRAME_ELEMENTS => {
            if frame.end <= 1 {
                scratch.depth = top as u32;
            } else {
                let next = place.plus(frame.stride);
                scratch.frames[top].address = next.address;
                scratch.frames[top].at = next.at;
                scratch.frames[top].valid = next.valid;
                scratch.frames[top].end = frame.end.wrapping_sub(1);
            }
            onward = Onward::to(frame.cursor, place);
        }
        _ => onward = item(scratch, target, top, &frame),
    }
    if onward.node == NO_STATE {
        return true;
    }
    let mut place = onward.place;
    if onward.pointer {
        place = arrive(scratch, target, place.address, onward.bytes);
    }
    if onward.count > 0 {
        push(
            scratch,
            &Frame {
                address: place.address,
                at: place.at,
                valid: place.valid,
                kind: FRAME_ELEMENTS,
                cursor: onward.node,
                end: onward.count,
                stride: onward.stride,
                ..Frame::default()
            },
        );
    } else {
        enter(scratch, target, onward.node, place);
    }
    true
}

/// Ends a walk; its hash is final then.
#[inline(always)]
pub fn finish(scratch: &mut Scratch) {
    if scratch.depth != 0 || scratch.cut != 0 {
        // Room for this word is kept, see `emit`.
        push_word(scratch, WORD_CUT);
    }
    let mut hash = scratch.hash ^ u64::from(scratch.count);
    hash = (hash ^ (hash >> 32)).wrapping_mul(SCATTER);
    scratch.hash = (hash ^ (hash >> 29)) | 1;
}

#[inline(always)]
fn item<T: Target>(scratch: &mut Scratch, target: &T, top: usize, frame: &Frame) -> Onward {
    let mut ended_by = 0;
    if frame.address == 0 {
        ended_by = WORD_END;
    } else if frame.end == 0 {
        ended_by = WORD_COUNT;
    } else {
        match target.word(frame.address.wrapping_add(u64::from(frame.next)) & !7) {
            Some(next) => scratch.frames[top].address = next,
            None => ended_by = WORD_UNREADABLE,
        }
    }
    if ended_by != 0 {
        scratch.depth = top as u32;
        emit(scratch, ended_by);
        return Onward::NOWHERE;
    }
    scratch.frames[top].end = frame.end.wrapping_sub(1);
    let address = frame.address.wrapping_add(u64::from(frame.stride));
    Onward::by_pointer(frame.cursor, address, bytes_of(target, frame.cursor))
}

#[inline(always)]
fn bytes_of<T: Target>(target: &T, node: u32) -> u32 {
    target.node(node).map_or(0, |node| node.bytes)
}

#[inline(always)]
fn follow<T: Target>(scratch: &mut Scratch, target: &T, edge: &EdgeEntry, from: Place) -> Onward {
    let here = from.plus(edge.offset);
    let Some(kind) = EdgeKind::from_u32(edge.kind) else {
        return Onward::NOWHERE;
    };
    if let EdgeKind::Inline = kind {
        return Onward::to(edge.node, here);
    }
    if let EdgeKind::Array = kind {
        if edge.a == 0 {
            return Onward::NOWHERE;
        }
        return Onward {
            count: at_most(edge.a, MAX_ELEMENTS),
            stride: edge.b,
            ..Onward::to(edge.node, here)
        };
    }
    let Some(pointer) = load(scratch, target, here) else {
        emit(scratch, WORD_UNREADABLE);
        return Onward::NOWHERE;
    };
    if pointer == 0 {
        emit(scratch, WORD_NULL);
        return Onward::NOWHERE;
    }
    if let EdgeKind::List = kind {
        let frame = Frame {
            address: pointer,
            kind: FRAME_LIST,
            cursor: edge.node,
            end: MAX_ELEMENTS,
            stride: edge.b,
            next: edge.a,
            ..Frame::default()
        };
        push(scratch, &frame);
        return Onward::NOWHERE;
    }
    if let EdgeKind::Pointer = kind {
        let address = pointer.wrapping_add(u64::from(edge.a));
        return Onward::by_pointer(edge.node, address, bytes_of(target, edge.node));
    }
    // A vtable or a length lies elsewhere in the same value.
    let Some(second) = load(scratch, target, from.plus(edge.a)) else {
        emit(scratch, WORD_UNREADABLE);
        return Onward::NOWHERE;
    };
    if let EdgeKind::Dyn = kind {
        let Some(node) = target.vtable(second) else {
            emit(scratch, WORD_UNKNOWN_VTABLE);
            return Onward::NOWHERE;
        };
        return Onward::by_pointer(node, pointer, bytes_of(target, node));
    }
    emit(scratch, WORD_COUNT);
    let known = if second > 0xffff {
        0xffff
    } else {
        second as u32
    };
    emit(scratch, known);
    if known == 0 {
        return Onward::NOWHERE;
    }
    let count = at_most(known, MAX_ELEMENTS);
    Onward {
        count,
        stride: edge.b,
        ..Onward::by_pointer(edge.node, pointer, count.wrapping_mul(edge.b))
    }
}

#[inline(always)]
const fn at_most(value: u32, most: u32) -> u32 {
    if value > most { most } else { value }
}

/// Tells where a pointer leads, and copies what is there unless it is part of the task's future.
#[inline(always)]
fn arrive<T: Target>(scratch: &mut Scratch, target: &T, address: u64, bytes: u32) -> Place {
    let inside = address.wrapping_sub(scratch.root);
    if inside < u64::from(scratch.root_bytes) {
        emit(scratch, WORD_INSIDE);
        emit(scratch, inside as u32);
        return Place {
            address,
            at: scratch.root_at.wrapping_add(inside as u32),
            valid: scratch.window.saturating_sub(inside as u32),
        };
    }
    emit(scratch, WORD_OUTSIDE);
    emit(scratch, address as u32);
    emit(scratch, (address >> 32) as u32);
    let shift = (address & 7) as u32;
    let wanted = bytes.saturating_add(shift).saturating_add(7) & !7;
    let wanted = if wanted > OBJECT_BYTES {
        OBJECT_BYTES
    } else {
        wanted
    };
    let at = scratch.used;
    let mut valid = 0;
    // A word or two are as cheap to read when they are needed.
    if wanted > 16
        && at < OBJECTS_END
        && target.copy_object(address & !7, wanted, &mut scratch.buffer, at)
    {
        scratch.used = at.wrapping_add(wanted);
        valid = wanted.saturating_sub(shift);
    }
    Place {
        address,
        at: at.wrapping_add(shift),
        valid,
    }
}

/// The words told so far and their hash: what changes with each future, kept at hand.
#[derive(Clone, Copy)]
struct Told {
    count: u32,
    hash: u64,
}

impl Told {
    /// Adds a word, if there is room besides the one that is kept for [`WORD_CUT`].
    #[inline(always)]
    fn add<T: Target>(&mut self, target: &T, words: &mut [u32; MAX_WORDS], word: u32) -> bool {
        if self.count as usize >= MAX_WORDS - 1 {
            return false;
        }
        words[target.unknown(self.count) as usize & (MAX_WORDS - 1)] = word;
        self.count = self.count.wrapping_add(1);
        self.hash = hashed(self.hash, word);
        true
    }
}

#[inline(always)]
fn hashed(hash: u64, word: u32) -> u64 {
    (hash ^ u64::from(word)).wrapping_mul(SCATTER)
}

/// Tells the state of the value and, one inside the other, those of the only ones in it.
#[inline(always)]
fn enter<T: Target>(scratch: &mut Scratch, target: &T, index: u32, place: Place) {
    let Some(node) = target.node(index) else {
        emit(scratch, WORD_UNREADABLE);
        return;
    };
    let mut told = Told {
        count: scratch.count,
        hash: scratch.hash,
    };
    let rest = chain(scratch, target, &mut told, index, &node.selector, place);
    scratch.count = told.count;
    scratch.hash = told.hash;
    if let Some(frame) = rest {
        push(scratch, &frame);
    }
}

/// What is left to do of the value is returned.
#[inline(always)]
fn chain<T: Target>(
    scratch: &mut Scratch,
    target: &T,
    told: &mut Told,
    index: u32,
    selector: &Selector,
    place: Place,
) -> Option<Frame> {
    let (mut index, mut selector) = (index, selector);
    // What lies inside moves in the copy as it does in memory.
    let base = place.address.wrapping_sub(u64::from(place.at));
    let end = place.at.wrapping_add(place.valid);
    let mut at = place.at;
    let place_of = |at: u32| Place {
        address: base.wrapping_add(u64::from(at)),
        at,
        valid: end.saturating_sub(at),
    };
    for _ in 0..CHAIN {
        let (word, state) = look(scratch, target, selector, base, at, end);
        if !told.add(target, &mut scratch.words, word) {
            scratch.cut = 1;
            return None;
        }
        let state = state?;
        if state.mark[0] != NO_MARK {
            mark(scratch, target, state, place_of(at));
        }
        if state.only == NO_STATE {
            if state.count == 0 {
                return None;
            }
            let place = place_of(at);
            return Some(Frame {
                address: place.address,
                at: place.at,
                valid: place.valid,
                kind: FRAME_EDGES,
                cursor: state.edges,
                end: state.edges.wrapping_add(state.count),
                ..Frame::default()
            });
        }
        index = state.only;
        selector = &state.next;
        at = at.wrapping_add(state.only_at);
    }
    Some(one(index, place_of(at)))
}

/// Looks up the state that a value is in, and the word for it. The value lies at `base + at`, and its
/// copy at `at` of the buffer, as far as that is before `end`.
#[inline(always)]
fn look<'t, T: Target>(
    scratch: &Scratch,
    target: &'t T,
    selector: &Selector,
    base: u64,
    at: u32,
    end: u32,
) -> (u32, Option<&'t StateEntry>) {
    let mut state = selector.states;
    if selector.mask != 0 {
        let here = at.wrapping_add(selector.discriminant);
        let address = base.wrapping_add(u64::from(here));
        // Copies end with whole words.
        let word = if here < end {
            scratch.buffer[(here >> 3) as usize & (BUFFER_WORDS - 1)]
        } else {
            match target.word(address & !7) {
                Some(word) => word,
                None => return (WORD_UNREADABLE, None),
            }
        };
        let value = word >> ((address & 7) * 8);
        let distance = value.wrapping_sub(selector.base) & selector.mask;
        if distance < u64::from(selector.count) {
            state = selector.states.wrapping_add(distance as u32);
        } else if selector.default != NO_STATE {
            state = selector.default;
        } else {
            return (WORD_UNKNOWN_STATE, None);
        }
    }
    match target.state(state) {
        Some(entry) => (state, Some(entry)),
        None => (WORD_UNREADABLE, None),
    }
}

#[inline(always)]
fn mark<T: Target>(scratch: &mut Scratch, target: &T, state: &StateEntry, place: Place) {
    let index = scratch.marked as usize;
    scratch.marked = scratch.marked.wrapping_add(1);
    if index >= MARKS {
        return;
    }
    let mut hash = 0u64;
    for (&offset, &bytes) in state.mark.iter().zip(&state.mark_bytes) {
        if offset == NO_MARK {
            break;
        }
        let word = load(scratch, target, place.plus(u32::from(offset))).unwrap_or(0);
        hash = (hash.rotate_left(5) ^ (word & spread(bytes))).wrapping_mul(SCATTER);
    }
    scratch.marks[index >> 3 & (MARKS / 8 - 1)] |= (hash >> 56) << ((index & 7) * 8);
}

/// A byte of ones for each bit that is set.
#[inline(always)]
fn spread(bits: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let each = (u64::from(bits)).wrapping_mul(LOW) & 0x8040_2010_0804_0201;
    // The highest bit of each byte in which anything is set.
    let high = (each | (each & !(LOW << 7)).wrapping_add(LOW * 0x7f)) & (LOW << 7);
    (high >> 7).wrapping_mul(0xff)
}

#[inline(always)]
fn push(scratch: &mut Scratch, frame: &Frame) {
    let depth = scratch.depth as usize;
    if depth >= MAX_FRAMES {
        scratch.cut = 1;
        return;
    }
    scratch.frames[depth & (MAX_FRAMES - 1)] = *frame;
    scratch.depth = depth as u32 + 1;
}

/// The last word is kept for [`WORD_CUT`].
#[inline(always)]
fn emit(scratch: &mut Scratch, word: u32) {
    if scratch.count as usize >= MAX_WORDS - 1 {
        scratch.cut = 1;
        return;
    }
    push_word(scratch, word);
}

#[inline(always)]
fn push_word(scratch: &mut Scratch, word: u32) {
    let count = scratch.count as usize;
    if count >= MAX_WORDS {
        return;
    }
    scratch.words[count & (MAX_WORDS - 1)] = word;
    scratch.count = count as u32 + 1;
    scratch.hash = hashed(scratch.hash, word);
}

/// The aligned word that holds the value at `place`; pointers and lengths are aligned.
#[inline(always)]
fn load<T: Target>(scratch: &Scratch, target: &T, place: Place) -> Option<u64> {
    if place.valid >= 8 {
        let index = (place.at >> 3) as usize & (BUFFER_WORDS - 1);
        return Some(scratch.buffer[index]);
    }
    target.word(place.address & !7)
}

#[inline(always)]
fn load_narrow<T: Target>(scratch: &Scratch, target: &T, place: Place, width: u32) -> Option<u64> {
    let word = if place.valid >= width {
        let index = (place.at >> 3) as usize & (BUFFER_WORDS - 1);
        scratch.buffer[index]
    } else {
        target.word(place.address & !7)?
    };
    Some(field(word, place.address, width))
}

/// The field of `width` bytes at `address`, out of the aligned word that holds it.
#[inline(always)]
fn field(word: u64, address: u64, width: u32) -> u64 {
    word >> ((address & 7) * 8) & ones(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes() {
        assert_eq!(spread(0), 0);
        assert_eq!(spread(0xff), u64::MAX);
        assert_eq!(spread(0b1000_0101), 0xff00_0000_00ff_00ff);
        for bit in 0..8 {
            assert_eq!(spread(1 << bit), 0xff << (bit * 8));
        }
    }
}
