//! The numbers of the format for the enumerations of the event model, and back.

use crate::proto;
use crate::rebuild::event::{EndSeen, Outcome, WakeEffect};
use crate::rebuild::snapshot::{DebugInfoLevel, TaskState};
use crate::rebuild::tree::{NodeKind, NodeState};

/// Bits of a kind byte that are the kind.
pub(super) const KIND_MASK: u8 = 0x1f;
/// The cause is an earlier event of the same unit.
pub(super) const CAUSE_HERE: u8 = 0x40;
/// The cause is an event of another unit.
pub(super) const CAUSE_ELSEWHERE: u8 = 0x80;
/// The first of the kinds that later minor versions may add.
pub(super) const FIRST_ADDED_KIND: u8 = 24;
/// `PANIC_BEGAN`: arguments before the addresses.
pub(super) const PANIC_FIXED: usize = 6;

/// `POLL_END`: from this bit on, how the end was seen.
pub(super) const SEEN_SHIFT: u32 = 6;
/// `POLL_END`: the begin is that of the last `POLL_BEGIN` in the packet.
pub(super) const BEGAN_HERE: u64 = 16;
/// `POLL_END`: a further argument tells the begin.
pub(super) const BEGAN_TOLD: u64 = 32;

/// A two-way table between an enumeration of ours and one of the schema. What a file has and the
/// table does not is the enumeration's word for "not known".
macro_rules! table {
    ($to:ident, $from:ident, $ours:ty, $theirs:ty, $unknown:ident, [$($our:ident = $their:ident),+ $(,)?]) => {
        pub(super) fn $to(value: $ours) -> i32 {
            match value {
                $(<$ours>::$our => <$theirs>::$their as i32,)+
            }
        }

        pub(super) fn $from(value: i32) -> $ours {
            match <$theirs>::try_from(value) {
                $(Ok(<$theirs>::$their) => <$ours>::$our,)+
                Err(_) => <$ours>::$unknown,
            }
        }
    };
}

table!(
    outcome_number,
    outcome,
    Outcome,
    proto::Outcome,
    Unknown,
    [
        Unknown = Unknown,
        Pending = Pending,
        Ready = Ready,
        Cancelled = Cancelled,
        Panicked = Panicked,
        Over = Over,
    ]
);
table!(
    effect_number,
    effect,
    WakeEffect,
    proto::WakeEffect,
    Unknown,
    [
        Unknown = EffectUnknown,
        Scheduled = Scheduled,
        PollAgain = PollAgain,
        Redundant = Redundant,
        AlreadyOver = AlreadyOver,
    ]
);
table!(
    task_state_number,
    task_state,
    TaskState,
    proto::TaskState,
    Unknown,
    [
        Unknown = TaskUnknown,
        Idle = TaskIdle,
        Scheduled = TaskScheduled,
        Running = TaskRunning,
        Complete = TaskComplete,
    ]
);
table!(
    node_kind_number,
    node_kind,
    NodeKind,
    proto::NodeKind,
    Unknown,
    [
        Unknown = NodeUnknown,
        AsyncFn = AsyncFn,
        AsyncBlock = AsyncBlock,
        Future = Future,
        Leaf = Leaf,
    ]
);
table!(
    node_state_number,
    node_state,
    NodeState,
    proto::NodeState,
    Unknown,
    [
        Unknown = Unknown,
        Suspended = Suspended,
        Unresumed = Unresumed,
        Returned = Returned,
        Panicked = NodePanicked,
    ]
);

table!(
    seen_number,
    seen,
    EndSeen,
    proto::EndSeen,
    Inferred,
    [
        Inferred = Inferred,
        NextEvent = NextEvent,
        LeftCpu = LeftCpu,
        ExitProbe = ExitProbe,
        ThreadExit = ThreadExit,
        NotWatched = NotWatched,
    ]
);

pub(super) fn debug_info_text(level: DebugInfoLevel) -> &'static str {
    match level {
        DebugInfoLevel::Full => "full",
        DebugInfoLevel::Symbols => "symbols",
        DebugInfoLevel::None => "none",
    }
}

pub(super) fn debug_info(text: &str) -> Option<DebugInfoLevel> {
    match text {
        "full" => Some(DebugInfoLevel::Full),
        "symbols" => Some(DebugInfoLevel::Symbols),
        "none" => Some(DebugInfoLevel::None),
        _ => None,
    }
}

/// Small numbers of either sign as small unsigned ones, as protobuf's `sint64`.
pub(super) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// The other way.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
