//! Values one inside the other, each the only one there: futures that await one future. Told in one go,
//! without the stack.

use super::place::{Place, load};
use super::table::{NO_MARK, NO_STATE, Selector, StateEntry};
use super::words::{SCATTER, Told, emit, push};
use super::{
    BUFFER_WORDS, FRAME_EDGES, FRAME_ELEMENTS, Frame, MARKS, Scratch, Target, WORD_UNKNOWN_STATE,
    WORD_UNREADABLE,
};

/// Values inside each other that one step tells, as long as each has one inside it only: what a step
/// costs beside is as much as telling one.
const CHAIN: u32 = 8;

/// Tells the state of the value and, one inside the other, those of the only ones in it.
#[inline(always)]
pub(super) fn enter<T: Target>(scratch: &mut Scratch, target: &T, index: u32, place: Place) {
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
