//! How the walk over a task begins and ends.

use super::chain::enter;
use super::place::{Place, at_most, load_narrow};
use super::table::{NO_STATE, Root};
use super::words::{SCATTER, push_word};
use super::{MARKS, Scratch, Target, WINDOW_BYTES, WORD_CUT};

/// How a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Go on with [`step`](super::step()).
    Begun,
    /// All is told: a chain. Go on with [`finish`].
    Over,
    /// The task's future is not there any more, or not described.
    Nothing,
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
