//! What a task's state word says about a poll's end and a wake-up's effect.
//!
//! The only runtime whose word is read here is tokio: bits of `Header.state` as in tokio's
//! `runtime/task/state.rs`, the same from 1.0 to 1.54 (seen live on 1.54, read in the sources of
//! the others). For any other runtime everything stays [`Unknown`](Outcome::Unknown).

use tracer_common::STATE_UNREADABLE;

use crate::rebuild::event::{Outcome, WakeEffect};

const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const NOTIFIED: u64 = 4;
const CANCELLED: u64 = 32;

/// References are counted from bit 6 on; a count beyond this is not a task's header any more but
/// memory that was freed and used for something else.
const IMPLAUSIBLE: u64 = 1 << 32;

/// How to read state words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateWord {
    /// As tokio's.
    Tokio,
    /// Not at all.
    Opaque,
}

impl StateWord {
    /// How the words of this runtime are read.
    pub(super) fn of_runtime(runtime: &str) -> Self {
        match runtime {
            "tokio" => Self::Tokio,
            _ => Self::Opaque,
        }
    }

    /// Whether the word says that the next poll will cancel the task.
    pub(super) fn is_cancelled(self, state: u64) -> bool {
        self.plausible(state) && state & CANCELLED != 0
    }

    /// How a poll ended, by the word when the end was noticed and whether the task had been
    /// cancelled when the poll began.
    pub(super) fn outcome(self, state: u64, cancelled_before: bool) -> Outcome {
        match self {
            Self::Opaque => Outcome::Unknown,
            Self::Tokio if state == 0 => Outcome::Unknown,
            Self::Tokio if state == STATE_UNREADABLE || state >= IMPLAUSIBLE => Outcome::Over,
            Self::Tokio if state & COMPLETE == 0 => Outcome::Pending,
            Self::Tokio if cancelled_before => Outcome::Cancelled,
            // The word does not tell a panic from a value, and a task that was cancelled while it
            // was polled may have returned all the same.
            Self::Tokio => Outcome::Over,
        }
    }

    /// What a wake-up does that finds the task with this word.
    pub(super) fn wake_effect(self, state: u64) -> WakeEffect {
        if !self.plausible(state) {
            WakeEffect::Unknown
        } else if state & COMPLETE != 0 {
            WakeEffect::AlreadyOver
        } else if state & NOTIFIED != 0 {
            WakeEffect::Redundant
        } else if state & RUNNING != 0 {
            WakeEffect::PollAgain
        } else {
            WakeEffect::Scheduled
        }
    }

    /// Whether the word can be a live header's: a task that somebody holds a waker of has at least
    /// one reference, so 0 means that the record carries no word.
    fn plausible(self, state: u64) -> bool {
        self == Self::Tokio && state != 0 && state < IMPLAUSIBLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_tasks_life_are_read() {
        let tokio = StateWord::of_runtime("tokio");
        assert_eq!(
            tokio.wake_effect(0xcc),
            WakeEffect::Redundant,
            "a new task is scheduled"
        );
        assert_eq!(tokio.wake_effect(0xc8), WakeEffect::Scheduled);
        assert_eq!(tokio.wake_effect(0xc9), WakeEffect::PollAgain);
        assert_eq!(tokio.wake_effect(0x8a), WakeEffect::AlreadyOver);
        assert_eq!(tokio.wake_effect(STATE_UNREADABLE), WakeEffect::Unknown);
        assert_eq!(tokio.outcome(0xc8, false), Outcome::Pending);
        assert_eq!(tokio.outcome(0x8a, false), Outcome::Over);
        assert_eq!(tokio.outcome(0x8a, true), Outcome::Cancelled);
        assert_eq!(tokio.outcome(STATE_UNREADABLE, false), Outcome::Over);
        assert_eq!(
            tokio.outcome(0x7f00_1234_5678_9abc, false),
            Outcome::Over,
            "freed and reused"
        );
        assert!(tokio.is_cancelled(0xe8) && !tokio.is_cancelled(0xc8));
    }

    #[test]
    fn an_unknown_runtime_says_nothing() {
        let other = StateWord::of_runtime("async-task");
        assert_eq!(other.outcome(0x8a, false), Outcome::Unknown);
        assert_eq!(other.wake_effect(0xc8), WakeEffect::Unknown);
        assert!(!other.is_cancelled(0xff));
    }
}
