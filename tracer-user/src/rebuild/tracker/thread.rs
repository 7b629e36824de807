//! What the tracker remembers of a thread: its unit, where its records stand, and which polls are
//! stacked on it.

use foldhash::{HashMap, HashMapExt as _};
use std::sync::Arc;

use tracer_common::Record;

use super::task::TaskKey;
use crate::rebuild::event::{Event, EventId, EventKind, ThreadUnit, Unit, UnitId};

/// Polls nest where a task blocks on another runtime; deeper than this, the outer ones are not
/// followed.
const MAX_NESTED_POLLS: usize = 32;

/// Records of one thread with the same time that are told from each other: one trap makes a few
/// at most.
const MAX_SAME_TIME: usize = 8;

/// A poll that was entered on the thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) key: TaskKey,
    pub(super) began: u64,
    pub(super) stack_pointer: u64,
}

/// A thread of the target.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) unit: UnitId,
    pub(super) tid: u32,
    pub(super) name: Option<Arc<str>>,
    pub(super) last_time: u64,
    /// What was described is not what is known.
    renamed: bool,
    sequence: u64,
    same_time: Vec<Record>,
    frames: Vec<Frame>,
}

/// How a record stands to those of its thread that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    InOrder,
    Duplicate,
    Late,
}

impl Thread {
    fn new(unit: UnitId, tid: u32) -> Self {
        Self {
            unit,
            tid,
            name: None,
            last_time: 0,
            renamed: false,
            sequence: 0,
            same_time: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Takes note of a record.
    pub(super) fn arrive(&mut self, record: &Record) -> Arrival {
        if record.time < self.last_time {
            return Arrival::Late;
        }
        if record.time > self.last_time {
            self.last_time = record.time;
            self.same_time.clear();
        } else if self.same_time.contains(record) {
            return Arrival::Duplicate;
        }
        if self.same_time.len() < MAX_SAME_TIME {
            self.same_time.push(*record);
        }
        Arrival::InOrder
    }

    /// Appends an event of this thread.
    pub(super) fn emit(
        &mut self,
        time: u64,
        kind: EventKind,
        cause: Option<EventId>,
        into: &mut Vec<Event>,
    ) -> EventId {
        let id = EventId {
            unit: self.unit,
            sequence: self.sequence,
        };
        self.sequence += 1;
        into.push(Event {
            id,
            time,
            kind,
            cause,
        });
        id
    }

    /// Appends what is known of this thread.
    pub(super) fn describe(&mut self, time: u64, into: &mut Vec<Event>) {
        let unit = Unit::Thread(ThreadUnit {
            tid: self.tid,
            name: self.name.clone(),
        });
        self.emit(time, EventKind::Described(Arc::new(unit)), None, into);
    }

    /// Enters a poll and returns the polls that have ended without a record of it: a frame whose
    /// stack pointer is at or below the new one's cannot be on the stack any more.
    pub(super) fn enter(&mut self, frame: Frame) -> Vec<Frame> {
        let mut ended = Vec::new();
        while frame.stack_pointer != 0
            && let Some(last) = self
                .frames
                .pop_if(|last| last.stack_pointer != 0 && last.stack_pointer <= frame.stack_pointer)
        {
            ended.push(last);
        }
        if self.frames.len() == MAX_NESTED_POLLS {
            self.frames.remove(0);
        }
        self.frames.push(frame);
        ended
    }

    /// Leaves the innermost poll of a task: that poll, and the polls inside it, which have ended
    /// too.
    pub(super) fn leave(&mut self, key: &TaskKey) -> (Option<Frame>, Vec<Frame>) {
        let Some(at) = self.frames.iter().rposition(|frame| frame.key == *key) else {
            return (None, Vec::new());
        };
        let mut inner = self.frames.split_off(at);
        let frame = inner.remove(0);
        inner.reverse();
        (Some(frame), inner)
    }
}

/// The threads, bounded like the tasks.
#[derive(Debug)]
pub(super) struct Threads {
    threads: HashMap<u32, Thread>,
    names: HashMap<u32, Arc<str>>,
    max: usize,
    /// Threads that left because there were too many.
    pub(super) forgotten: u64,
}

impl Threads {
    pub(super) fn new(max: usize) -> Self {
        Self {
            threads: HashMap::new(),
            names: HashMap::new(),
            max: max.max(1),
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    pub(super) fn get_mut(&mut self, tid: u32) -> Option<&mut Thread> {
        self.threads.get_mut(&tid)
    }

    pub(super) fn name_of(&self, tid: u32) -> Option<&Arc<str>> {
        self.names.get(&tid)
    }

    /// Remembers a thread's name for when it is described, which is with its next record where it
    /// was described without.
    pub(super) fn name(&mut self, tid: u32, name: Arc<str>) {
        if let Some(thread) = self.threads.get_mut(&tid)
            && thread.name.as_ref() != Some(&name)
        {
            thread.name = Some(Arc::clone(&name));
            thread.renamed = true;
        }
        if self.names.len() < self.max || self.names.contains_key(&tid) {
            self.names.insert(tid, name);
        }
    }

    /// The thread with this id; a new one is described.
    pub(super) fn get_or_add(
        &mut self,
        tid: u32,
        time: u64,
        next_unit: &mut u64,
        into: &mut Vec<Event>,
    ) -> &mut Thread {
        if self.threads.len() >= self.max && !self.threads.contains_key(&tid) {
            self.forget_oldest();
        }
        let name = self.names.get(&tid);
        let thread = self.threads.entry(tid).or_insert_with(|| {
            let mut thread = Thread::new(UnitId(*next_unit), tid);
            *next_unit += 1;
            thread.name = name.cloned();
            thread.describe(time, into);
            thread
        });
        if thread.renamed && time >= thread.last_time {
            thread.renamed = false;
            thread.describe(time, into);
        }
        thread
    }

    /// Whether these tasks' polls are still stacked on the threads is not known any more.
    pub(super) fn forget_frames(&mut self, of: impl Fn(&TaskKey) -> bool) {
        for thread in self.threads.values_mut() {
            thread.frames.retain(|frame| !of(&frame.key));
        }
    }

    fn forget_oldest(&mut self) {
        let mut seen: Vec<(u64, u32)> = self
            .threads
            .values()
            .map(|thread| (thread.last_time, thread.tid))
            .collect();
        let count = (self.max / 8).clamp(1, seen.len().max(1));
        if seen.len() > count {
            seen.select_nth_unstable(count - 1);
        }
        for (_, tid) in seen.into_iter().take(count) {
            self.threads.remove(&tid);
            self.names.remove(&tid);
            self.forgotten += 1;
        }
    }
}
