//! Many tasks read with few calls.
//!
//! [`TaskReader::read`] reads one task, as often as it takes to be sure: a dozen calls to the kernel.
//! Here tasks are read by the hundred: one call for their headers, one or two for their cells and what
//! lies behind their pointers, all of it copied twice ([`Taken`]). A task that is not being polled and
//! whose every byte that was looked at was the same in both copies was at one moment as it is told;
//! nothing weaker is accepted. Every other task is read by [`TaskReader::read`].

mod habits;

use std::rc::Rc;

use super::handles::Scheduler;
use super::layout::StateWord;
use super::roots::RootType;
use super::task::{HeaderRead, MAX_CELL, TaskRead, TaskReader};
use crate::address::Address;
use crate::memory::{Copies, Memory, Part, Taken, Wanted};

pub(super) use self::habits::Habits;
use self::habits::{Known, merged};

/// Tasks of the first batch: nothing is known yet of where tasks of their kinds are read.
const FIRST: usize = 8;
/// Tasks of a batch.
const MOST: usize = 256;
/// Bytes of the cells of a batch, more or less.
const MAX_BYTES: u64 = 1 << 20;
/// How often a task is copied before it is read alone. The second time everything is copied that was
/// missing the first time.
const ROUNDS: usize = 3;
/// A task that is looked at in more places is read alone.
const MAX_RANGES: usize = 256;
/// Of a header: its state and its vtable are within these bytes.
const HEADER: u64 = 64;

/// A task that is being read.
struct Open {
    /// Its place in the batch.
    index: usize,
    header: Address,
    seen: HeaderRead,
    root: Rc<RootType>,
    /// What is copied of it: its cell first.
    wanted: Vec<Wanted>,
}

/// What became of it.
enum Outcome {
    Read(Box<TaskRead>),
    /// It was looked at in more places than were copied.
    Further(Vec<Wanted>),
    /// It is polled, or has changed.
    Disturbed,
}

impl TaskReader<'_, '_, '_, '_> {
    /// Reads the tasks at these headers, and gives each that is there to `each`, in their order.
    pub(super) fn read_all(
        &self,
        headers: &[Address],
        scheduler: Scheduler,
        memory: &dyn Memory,
        each: &mut dyn FnMut(TaskRead),
    ) {
        let mut size = FIRST;
        let mut rest = headers;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(size.min(rest.len()));
            for (header, read) in batch.iter().zip(self.batch(batch, scheduler, memory)) {
                let read = read.or_else(|| self.read(*header, scheduler, memory));
                read.into_iter().for_each(&mut *each);
            }
            size = (size * 2).min(MOST);
            rest = after;
        }
    }

    /// Those of the batch that can be read together.
    fn batch(
        &self,
        headers: &[Address],
        scheduler: Scheduler,
        memory: &dyn Memory,
    ) -> Vec<Option<TaskRead>> {
        let mut out: Vec<Option<TaskRead>> = headers.iter().map(|_| None).collect();
        let mut bytes = 0;
        let mut open = Vec::new();
        for (index, (header, seen)) in headers
            .iter()
            .zip(self.headers(headers, memory))
            .enumerate()
        {
            let Some((seen, root)) = seen.and_then(|seen| {
                let root = self.roots.of_vtable(seen.vtable, memory).ok()?;
                (root.cell_size <= MAX_CELL).then_some((seen, root))
            }) else {
                continue;
            };
            let cell = Wanted {
                address: *header,
                len: u32::try_from(root.cell_size).unwrap_or(0),
            };
            bytes += root.cell_size;
            open.push(Open {
                index,
                header: *header,
                seen,
                root,
                wanted: vec![cell],
            });
            if bytes > MAX_BYTES {
                self.together(std::mem::take(&mut open), scheduler, memory, &mut out);
                bytes = 0;
            }
        }
        self.together(open, scheduler, memory, &mut out);
        out
    }

    /// The headers of tasks that are not being polled.
    fn headers(&self, headers: &[Address], memory: &dyn Memory) -> Vec<Option<HeaderRead>> {
        let (state, vtable) = (self.layout.state, self.layout.vtable);
        let len = state.max(vtable).saturating_add(8);
        let Some(len) = usize::try_from(len).ok().filter(|_| len <= HEADER) else {
            return headers.iter().map(|_| None).collect();
        };
        let mut bytes = vec![0; headers.len() * len];
        let mut parts: Vec<Part<'_>> = headers
            .iter()
            .zip(bytes.chunks_exact_mut(len))
            .map(|(header, into)| Part::new(*header, into))
            .collect();
        memory.read_parts(&mut parts);
        let read = |part: &Part<'_>| {
            part.outcome.ok()?;
            let word = |at: u64| {
                let at = usize::try_from(at).ok()?;
                let bytes = part.into.get(at..at.checked_add(8)?)?;
                Some(u64::from_le_bytes(bytes.try_into().ok()?))
            };
            let state = StateWord(word(state)?);
            (state.is_plausible() && !state.is_running()).then_some(HeaderRead {
                state,
                vtable: Address(word(vtable)?),
            })
        };
        parts.iter().map(read).collect()
    }

    fn together(
        &self,
        mut open: Vec<Open>,
        scheduler: Scheduler,
        memory: &dyn Memory,
        out: &mut [Option<TaskRead>],
    ) {
        let tasks: Vec<(Address, Wanted)> = open
            .iter()
            .filter_map(|task| Some((task.seen.vtable, *task.wanted.first()?)))
            .collect();
        let mut groups = self.habits.foretell(&tasks, memory);
        for round in 0..ROUNDS {
            if open.is_empty() {
                return;
            }
            let taken = Taken::twice(memory, &groups);
            let mut again = Vec::new();
            groups = Vec::new();
            for (group, task) in open.into_iter().enumerate() {
                let copies = taken.group(group, memory);
                match self.from_copies(&task, scheduler, &copies) {
                    Outcome::Read(read) => {
                        if round > 0 {
                            self.learn(&task, &copies);
                        }
                        if let Some(place) = out.get_mut(task.index) {
                            *place = Some(*read);
                        }
                    }
                    Outcome::Further(wanted) => {
                        groups.push(wanted);
                        again.push(task);
                    }
                    Outcome::Disturbed => {}
                }
            }
            open = again;
        }
    }

    fn from_copies(&self, task: &Open, scheduler: Scheduler, copies: &Copies<'_>) -> Outcome {
        // The header is a part of the cell.
        if copies.bytes_of(0).is_none() {
            return Outcome::Disturbed;
        }
        let Ok(seen) = self.header(task.header, copies) else {
            return Outcome::Disturbed;
        };
        let is_idle = seen.state.is_plausible() && !seen.state.is_running();
        if !is_idle || seen.vtable != task.seen.vtable {
            return Outcome::Disturbed;
        }
        let contents = self.contents(task.header, seen, &task.root, copies);
        let joined_by = self.joined_by(task.header, seen.state, copies);
        let missed = copies.missed();
        if missed.is_empty() {
            let root = Ok(&*task.root);
            let mut info = self.info(task.header, seen, scheduler, root, contents);
            info.joined_by = joined_by;
            return Outcome::Read(Box::new(TaskRead { info, torn: false }));
        }
        let mut ranges = copies.ranges();
        let cell = ranges.next();
        // What was foretold, was there and was not asked for is copied again: it costs little.
        let others = merged(ranges.chain(missed).collect());
        if others.len() > MAX_RANGES {
            return Outcome::Disturbed;
        }
        Outcome::Further(cell.into_iter().chain(others).collect())
    }

    fn learn(&self, task: &Open, copies: &Copies<'_>) {
        let known: Vec<Known<'_>> = copies
            .ranges()
            .enumerate()
            .filter_map(|(index, wanted)| Some((wanted, copies.bytes_of(index)?)))
            .collect();
        self.habits.learn(task.seen.vtable, &known);
    }
}
