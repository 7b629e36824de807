//! Where a value of the target lies, in its memory and in the copies of it.

use super::words::emit;
use super::{
    BUFFER_WORDS, OBJECT_BYTES, OBJECTS_END, Scratch, Target, WORD_INSIDE, WORD_OUTSIDE, ones,
};

/// A value of the target, and where its copy is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) at: u32,
    pub(super) valid: u32,
}

impl Place {
    #[inline(always)]
    pub(super) fn plus(self, bytes: u32) -> Self {
        Self {
            address: self.address.wrapping_add(u64::from(bytes)),
            at: self.at.wrapping_add(bytes),
            valid: self.valid.saturating_sub(bytes),
        }
    }
}

/// Tells where a pointer leads, and copies what is there unless it is part of the task's future.
#[inline(always)]
pub(super) fn arrive<T: Target>(
    scratch: &mut Scratch,
    target: &T,
    address: u64,
    bytes: u32,
) -> Place {
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

#[inline(always)]
pub(super) const fn at_most(value: u32, most: u32) -> u32 {
    if value > most { most } else { value }
}

/// The aligned word that holds the value at `place`; pointers and lengths are aligned.
#[inline(always)]
pub(super) fn load<T: Target>(scratch: &Scratch, target: &T, place: Place) -> Option<u64> {
    if place.valid >= 8 {
        let index = (place.at >> 3) as usize & (BUFFER_WORDS - 1);
        return Some(scratch.buffer[index]);
    }
    target.word(place.address & !7)
}

#[inline(always)]
pub(super) fn load_narrow<T: Target>(
    scratch: &Scratch,
    target: &T,
    place: Place,
    width: u32,
) -> Option<u64> {
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
