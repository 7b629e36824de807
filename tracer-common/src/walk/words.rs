//! What a walk tells, word by word, with the hash of it; and its stack.

use super::{Frame, MAX_FRAMES, MAX_WORDS, Scratch, Target};

/// Odd, and random enough for a hash by multiplication (2^64 divided by the golden ratio).
pub(super) const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The words told so far and their hash: what changes with each future, kept at hand.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) count: u32,
    pub(super) hash: u64,
}

impl Told {
    /// Adds a word, if there is room besides the one that is kept for [`WORD_CUT`](super::WORD_CUT).
    #[inline(always)]
    pub(super) fn add<T: Target>(
        &mut self,
        target: &T,
        words: &mut [u32; MAX_WORDS],
        word: u32,
    ) -> bool {
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
pub(super) fn push(scratch: &mut Scratch, frame: &Frame) {
    let depth = scratch.depth as usize;
    if depth >= MAX_FRAMES {
        scratch.cut = 1;
        return;
    }
    scratch.frames[depth & (MAX_FRAMES - 1)] = *frame;
    scratch.depth = depth as u32 + 1;
}

/// The last word is kept for [`WORD_CUT`](super::WORD_CUT).
#[inline(always)]
pub(super) fn emit(scratch: &mut Scratch, word: u32) {
    if scratch.count as usize >= MAX_WORDS - 1 {
        scratch.cut = 1;
        return;
    }
    push_word(scratch, word);
}

#[inline(always)]
pub(super) fn push_word(scratch: &mut Scratch, word: u32) {
    let count = scratch.count as usize;
    if count >= MAX_WORDS {
        return;
    }
    scratch.words[count & (MAX_WORDS - 1)] = word;
    scratch.count = count as u32 + 1;
    scratch.hash = hashed(scratch.hash, word);
}

#[inline(always)]
pub(super) fn hashed(hash: u64, word: u32) -> u64 {
    (hash ^ u64::from(word)).wrapping_mul(SCATTER)
}
