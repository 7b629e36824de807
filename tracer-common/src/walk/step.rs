//! One step of the walk: from a value to one that it leads to.

use super::chain::enter;
use super::place::{Place, arrive, at_most, load};
use super::table::{EdgeEntry, EdgeKind, NO_STATE};
use super::words::{emit, push};
use super::{
    FRAME_EDGES, FRAME_ELEMENTS, FRAME_LIST, Frame, MAX_ELEMENTS, MAX_FRAMES, Scratch, Target,
    WORD_COUNT, WORD_END, WORD_NULL, WORD_UNKNOWN_VTABLE, WORD_UNREADABLE,
};

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
