//! Ids of traces and spans.

use super::roots::Root;
use crate::analyse::history::{AwaitIndex, PollIndex, UnitIndex};
use crate::export::recording::Header;

/// Gives ids that depend on nothing but the recording's own and the number of what is named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    high: u64,
    low: u64,
}

/// What a span is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Task(UnitIndex),
    Await(AwaitIndex),
    Poll(PollIndex),
}

impl Ids {
    pub(super) fn new(header: &Header) -> Self {
        let (high, low) = header.trace_id.as_u64_pair();
        Self { high, low }
    }

    /// A trace. Its first half is that of the recording's id, which sorts by time.
    pub(super) fn trace(&self, root: Root) -> Vec<u8> {
        let number = match root {
            Root::Task(task) => 3 << 32 | u64::from(task.0),
            Root::Request(request) => 4 << 32 | u64::from(request.0),
        };
        let low = mixed(self.low ^ number);
        [self.high.to_be_bytes(), low.to_be_bytes()].concat()
    }

    /// A span.
    pub(super) fn span(&self, key: Key) -> Vec<u8> {
        let number = match key {
            Key::Task(task) => u64::from(task.0),
            Key::Await(instance) => 1 << 32 | u64::from(instance.0),
            Key::Poll(poll) => 2 << 32 | u64::from(poll.0),
        };
        mixed(self.low ^ number).to_be_bytes().to_vec()
    }
}

/// One number for another, such that neighbours look unlike and no two get the same: what ends the
/// SplitMix64 generator (Steele, Lea, Flood 2014). Ids of zero mean "none" and are not given.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    if mixed == 0 { 1 } else { mixed }
}
