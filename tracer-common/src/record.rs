//! The fixed-size record that a BPF program puts into the ring buffer.

use crate::panic::{PAYLOAD_BYTES, SITE_BYTES, TREE_BYTES};

/// Size of a [`Record`] in bytes.
pub const RECORD_SIZE: usize = 104;

/// Bytes of a record in the ring, unless it is of a poll's begin or a panic: all but the path.
pub const SHORT_RECORD: usize = 80;

/// Bytes of a record of [`RecordKind::PollBegin`] in the ring, before the words of a tree: with its
/// path, and with the poll that [ended](Ended) with it.
pub const LONG_RECORD: usize = RECORD_SIZE + size_of::<Ended>();

/// First word of a batch: entries without anything that follows them, one behind the other. No time of
/// a record.
pub const BATCH: u64 = u64::MAX;

/// Bytes of the entries of a batch at most, a power of two.
pub const BATCH_BYTES: usize = 4096;

/// Of what tells how full a batch is: somebody is at it. Set for ever where there are to be no batches.
pub const BATCH_BUSY: u64 = 1 << 63;

/// What a long record has more.
const FURTHER_BYTES: usize = LONG_RECORD - SHORT_RECORD;

/// [`Record::state`] when the task's header could not be read, for example because it was freed.
pub const STATE_UNREADABLE: u64 = u64::MAX;

/// [`Record::state`] of an [`RecordKind::OffCpu`] outside any system call: what the kernel keeps as
/// `orig_ax` where it was entered by an interrupt or a fault.
pub const NO_SYSTEM_CALL: u64 = u64::MAX;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordKind {
    /// A task's poll was entered. `task`, `task_id`, `state`, `probe`, `stack_pointer`, `path`,
    /// `marks`; `aux` is a [`WalkResult`]. In the ring the words of the tree may follow, and the poll
    /// that was proved to have ended by this begin comes with it.
    PollBegin = 1,
    /// A task's poll is known to have ended. `aux` is a [`PollEndCause`]; `state` is the header's
    /// state when the end was noticed, [`STATE_UNREADABLE`] when it is gone or belongs to another
    /// task by then.
    PollEnd = 2,
    /// A waker was consumed to wake. `by`, `by_id` are the task polled on this thread, or 0. Where
    /// `aux` is a [`WakeOrigin`], `by` is the runtime's record of the resource and `by_id` when its
    /// driver began to wake, which names that occasion on this thread.
    WakeByValue = 3,
    /// A waker was used by reference to wake. `by` as above.
    WakeByReference = 4,
    /// A waker was cloned. `by` as above.
    WakerClone = 5,
    /// A waker was dropped without waking. `by` as above.
    WakerDrop = 6,
    /// A task was bound to its runtime. `by` is the spawning task, or 0.
    Spawn = 7,
    /// A nested future's poll was entered. `task` is the future's address, `by`/`by_id` the task
    /// that is polled, `aux` its depth below the task's poll.
    FuturePoll = 8,
    /// The thread left the CPU inside a task's poll. `task`, `task_id`; `aux` is 1 when it was
    /// runnable (preempted), 0 when it went to sleep (blocked); `state` is the number of the system
    /// call it is in, [`NO_SYSTEM_CALL`] when it is in none.
    OffCpu = 9,
    /// The thread came back to the CPU inside a task's poll. `task`, `task_id`.
    OnCpu = 10,
    /// A task was aborted: it is cancelled when it is polled next. `by` as for a spawn.
    Abort = 11,
    /// A panic begins to unwind, or to abort the process. `task`, `task_id` are the task polled on
    /// this thread, 0 outside any poll. In the ring its [message](crate::panic::Payload) may follow.
    Panic = 12,
    /// A panic begins. `task`, `task_id` as before; in a poll also `path`, `marks`, `aux` as for a
    /// poll's begin, and `probe` is the one of that poll. `state` and `by` are where a location was
    /// looked for; `reserved` is the number of words of the tree. In the ring the room of the words
    /// follows, whole, and then [where it began](crate::panic::Site).
    PanicBegin = 13,
}

impl RecordKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::PollBegin,
            2 => Self::PollEnd,
            3 => Self::WakeByValue,
            4 => Self::WakeByReference,
            5 => Self::WakerClone,
            6 => Self::WakerDrop,
            7 => Self::Spawn,
            8 => Self::FuturePoll,
            9 => Self::OffCpu,
            10 => Self::OnCpu,
            11 => Self::Abort,
            12 => Self::Panic,
            13 => Self::PanicBegin,
            _ => return None,
        })
    }
}

/// What moves a thread that wakes tasks outside any poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WakeOrigin {
    /// The I/O driver: a resource became ready.
    Io = 1,
    /// The timer driver: a time has come.
    Timer = 2,
}

impl WakeOrigin {
    /// The origin with this number, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Io,
            2 => Self::Timer,
            _ => return None,
        })
    }
}

/// How the end of a poll was noticed: a trap at the entry only costs half of a pair, so the end is
/// the first later thing that proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PollEndCause {
    /// The next probe hit on the thread, with the stack pointer at or above the poll's entry. The
    /// time is that hit's, so the poll ended at or before it.
    NextEvent = 1,
    /// The thread left the CPU outside the poll. The poll ended at or before that.
    LeftCpu = 2,
    /// An exit probe (exact).
    ExitProbe = 3,
    /// The thread ended.
    ThreadExit = 4,
}

impl PollEndCause {
    /// The cause with this number, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::NextEvent,
            2 => Self::LeftCpu,
            3 => Self::ExitProbe,
            4 => Self::ThreadExit,
            _ => return None,
        })
    }
}

/// What became of the walk over a task at the entry of its poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WalkResult {
    /// `path` and `marks` tell where the task stood.
    Walked = 0,
    /// The task's future is not in the walk tables.
    NotDescribed = 1,
    /// The task has no future any more.
    NoFuture = 2,
    /// There was no memory for a walk on this thread.
    NoMemory = 3,
    /// The memory of the walk was taken by another thread meanwhile.
    Disturbed = 4,
    /// The session has no walk tables.
    NoTables = 5,
}

impl WalkResult {
    /// The result with this number, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Walked,
            1 => Self::NotDescribed,
            2 => Self::NoFuture,
            3 => Self::NoMemory,
            4 => Self::Disturbed,
            5 => Self::NoTables,
            _ => return None,
        })
    }
}

/// One event as the kernel saw it. 104 bytes, native endianness, no padding.
///
/// Addresses are the target's; times are `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`) in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
    /// The task's `Header`, or the future's address for [`RecordKind::FuturePoll`].
    pub task: u64,
    /// The task's id as the runtime numbers it; 0 when not readable.
    pub task_id: u64,
    /// The task's state word, [`STATE_UNREADABLE`] when not readable; for
    /// [`RecordKind::OffCpu`] a system call.
    pub state: u64,
    /// The `Header` of the task that was being polled on this thread; 0 outside any poll.
    pub by: u64,
    /// The id of that task.
    pub by_id: u64,
    /// The stack pointer at the function's entry; 0 for a [`RecordKind::PollEnd`].
    pub stack_pointer: u64,
    /// The poll that this record was made in, named by the time of its [`RecordKind::PollBegin`]
    /// on this thread; for [`RecordKind::PollEnd`] the poll that ended, for a nested poll's begin
    /// the poll around it; 0 outside any poll, or when its begin was not seen. With it a reader
    /// joins records to polls without guessing when records in between were lost.
    pub poll: u64,
    /// Index of the probe in the plan; `u32::MAX` for records that no probe made.
    pub probe: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// The CPU the record was made on.
    pub cpu: u32,
    /// [`RecordKind`].
    pub kind: u8,
    /// Depends on the kind.
    pub aux: u8,
    /// Zero, but for [`RecordKind::PanicBegin`].
    pub reserved: u16,
    /// Hash of the words that tell where the task stood; 0 when that is not known.
    pub path: u64,
    /// What tells its futures from others at the same places.
    pub marks: crate::walk::MarkWords,
}

const _: () = assert!(core::mem::size_of::<Record>() == RECORD_SIZE);

impl Record {
    /// All zero.
    pub const EMPTY: Self = Self {
        time: 0,
        task: 0,
        task_id: 0,
        state: 0,
        by: 0,
        by_id: 0,
        stack_pointer: 0,
        poll: 0,
        probe: 0,
        tid: 0,
        cpu: 0,
        kind: 0,
        aux: 0,
        reserved: 0,
        path: 0,
        marks: [0; crate::walk::MARKS / 8],
    };
}

/// The poll before, whose end a poll's begin proves: the end that is most frequent by far goes with
/// the begin, in one piece. Its other fields are those of the begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Ended {
    /// As [`Record::poll`]; 0 when no poll ended.
    pub poll: u64,
    /// As [`Record::task`].
    pub task: u64,
    /// As [`Record::task_id`].
    pub task_id: u64,
    /// As [`Record::state`].
    pub state: u64,
    /// As [`Record::probe`].
    pub probe: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(core::mem::size_of::<Ended>() == 40);

impl Ended {
    /// No poll ended.
    pub const NONE: Self = Self {
        poll: 0,
        task: 0,
        task_id: 0,
        state: 0,
        probe: 0,
        reserved: 0,
    };

    /// The record of this end, which comes with a begin; `None` when no poll ended.
    #[must_use]
    pub fn record(&self, begin: &Record) -> Option<Record> {
        (self.poll != 0).then_some(Record {
            task: self.task,
            task_id: self.task_id,
            state: self.state,
            stack_pointer: 0,
            poll: self.poll,
            probe: self.probe,
            kind: RecordKind::PollEnd as u8,
            aux: PollEndCause::NextEvent as u8,
            path: 0,
            marks: [0; crate::walk::MARKS / 8],
            ..*begin
        })
    }
}

/// An entry of the ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingEntry<'b> {
    /// The end of a poll, of the same time, to be taken before the record.
    pub ended: Option<Record>,
    /// The record.
    pub record: Record,
    /// What follows it: words of a tree, what is told of a panic.
    pub rest: &'b [u8],
}

/// The entries of what was put into the ring as one piece; `None` for each that is none of this version.
#[must_use = "nothing is decoded before it is asked for"]
pub fn entries(piece: &[u8]) -> impl Iterator<Item = Option<RingEntry<'_>>> {
    let batch = piece.len() > 8 && u64_at(piece, 0) == BATCH;
    let mut rest = Some(if batch { &piece[8..] } else { piece });
    core::iter::from_fn(move || {
        let bytes = rest.take()?;
        let length = if !batch {
            bytes.len()
        } else if bytes.get(76) == Some(&(RecordKind::PollBegin as u8)) {
            LONG_RECORD
        } else {
            SHORT_RECORD
        };
        let (entry, more) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        rest = (!more.is_empty()).then_some(more);
        Some(RingEntry::decode(entry))
    })
}

impl<'b> RingEntry<'b> {
    /// Decodes an entry. `None` when the length or the kind is not that of this version.
    #[must_use]
    pub fn decode(bytes: &'b [u8]) -> Option<Self> {
        let (short, rest) = bytes.split_at_checked(SHORT_RECORD)?;
        let kind = RecordKind::from_u8(short[76])?;
        let mut record = Record {
            time: u64_at(short, 0),
            task: u64_at(short, 8),
            task_id: u64_at(short, 16),
            state: u64_at(short, 24),
            by: u64_at(short, 32),
            by_id: u64_at(short, 40),
            stack_pointer: u64_at(short, 48),
            poll: u64_at(short, 56),
            probe: u32_at(short, 64),
            tid: u32_at(short, 68),
            cpu: u32_at(short, 72),
            kind: short[76],
            aux: short[77],
            reserved: u16::from_ne_bytes([short[78], short[79]]),
            ..Record::default()
        };
        let long = match kind {
            RecordKind::PollBegin => true,
            RecordKind::PanicBegin => rest.len() == FURTHER_BYTES + TREE_BYTES + SITE_BYTES,
            RecordKind::Panic => rest.len() == FURTHER_BYTES + PAYLOAD_BYTES,
            _ => false,
        };
        if !long {
            return rest.is_empty().then_some(Self {
                ended: None,
                record,
                rest,
            });
        }
        let (further, rest) = rest.split_at_checked(FURTHER_BYTES)?;
        let (path, ended) = further.split_at_checked(RECORD_SIZE - SHORT_RECORD)?;
        let ended = Ended {
            poll: u64_at(ended, 0),
            task: u64_at(ended, 8),
            task_id: u64_at(ended, 16),
            state: u64_at(ended, 24),
            probe: u32_at(ended, 32),
            reserved: 0,
        }
        .record(&record);
        record.path = u64_at(path, 0);
        record.marks = [u64_at(path, 8), u64_at(path, 16)];
        (rest.len() % 4 == 0).then_some(Self {
            ended,
            record,
            rest,
        })
    }
}

/// The word at an offset that the caller knows to be inside.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

/// As [`u64_at`].
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn decode(bytes: &[u8]) -> Option<(Record, &[u8])> {
        RingEntry::decode(bytes).map(|entry| (entry.record, entry.rest))
    }

    #[test]
    fn a_record_of_another_length_or_kind_is_refused() {
        assert_eq!(decode(&[0; SHORT_RECORD]), None, "kind 0 does not exist");
        assert_eq!(decode(&[1; SHORT_RECORD - 1]), None);
        assert_eq!(decode(&[1; SHORT_RECORD]), None, "a begin has a path");
        assert_eq!(decode(&[1; RECORD_SIZE]), None, "and a poll that ended");
        assert_eq!(decode(&[2; SHORT_RECORD + 1]), None);
        assert_eq!(decode(&[1; LONG_RECORD + 3]), None);
        let (record, words) = decode(&[1; LONG_RECORD + 8]).unwrap();
        assert_eq!(record.kind, RecordKind::PollBegin as u8);
        assert_eq!(record.time, 0x0101_0101_0101_0101);
        assert_eq!((record.path, record.marks), (record.time, [record.time; 2]));
        assert_eq!(words.len(), 8);
        let long = [12; LONG_RECORD + PAYLOAD_BYTES];
        let (record, message) = decode(&long).unwrap();
        assert_eq!((record.kind, message.len()), (12, PAYLOAD_BYTES));
        assert_eq!(decode(&long[1..]), None);
        assert!(decode(&long[..SHORT_RECORD]).is_some());
        let long = [13; LONG_RECORD + TREE_BYTES + SITE_BYTES];
        let (record, rest) = decode(&long).unwrap();
        assert_eq!((record.kind, rest.len()), (13, TREE_BYTES + SITE_BYTES));
        assert_eq!(decode(&long[1..]), None);
        let (record, _) = decode(&[2; SHORT_RECORD]).unwrap();
        assert_eq!((record.kind, record.path), (2, 0));
    }

    #[test]
    fn a_batch_is_its_entries_one_behind_the_other() {
        let mut piece = std::vec::Vec::from(BATCH.to_ne_bytes());
        let entry = |kind: u8, bytes: usize| {
            let mut entry = std::vec![0; bytes];
            entry[76] = kind;
            entry
        };
        piece.extend(entry(3, SHORT_RECORD));
        piece.extend(entry(1, LONG_RECORD));
        piece.extend(entry(2, SHORT_RECORD));
        let kinds = |piece: &[u8]| -> std::vec::Vec<Option<u8>> {
            entries(piece)
                .map(|entry| entry.map(|entry| entry.record.kind))
                .collect()
        };
        assert_eq!(kinds(&piece), [Some(3), Some(1), Some(2)]);
        assert_eq!(kinds(&piece[..piece.len() - 1]), [Some(3), Some(1), None]);
        piece[8 + 76] = 99;
        assert_eq!(kinds(&piece), [None, Some(1), Some(2)]);
        assert_eq!(kinds(&entry(2, SHORT_RECORD)), [Some(2)]);
        assert_eq!(kinds(&[]), [None]);
        assert_eq!(kinds(&BATCH.to_ne_bytes()), [None]);
    }

    #[test]
    fn the_end_that_a_begin_proves_comes_with_it() {
        let mut bytes = [0u8; LONG_RECORD];
        bytes[76] = RecordKind::PollBegin as u8;
        assert_eq!(RingEntry::decode(&bytes).unwrap().ended, None);
        bytes[0] = 9;
        bytes[68] = 77;
        for (place, value) in [(0, 5), (8, 6), (16, 7), (24, 8), (32, 3)] {
            bytes[RECORD_SIZE + place] = value;
        }
        let entry = RingEntry::decode(&bytes).unwrap();
        let expected = Record {
            time: 9,
            tid: 77,
            poll: 5,
            task: 6,
            task_id: 7,
            state: 8,
            probe: 3,
            kind: RecordKind::PollEnd as u8,
            aux: PollEndCause::NextEvent as u8,
            ..Record::default()
        };
        assert_eq!(entry.ended, Some(expected));
        assert_eq!((entry.record.time, entry.record.poll), (9, 0));
    }
}
