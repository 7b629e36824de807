//! Many tasks read with few calls.
//!
//! [`TaskReader::read`](super::task::TaskReader::read) reads one task, as often as it takes to be
//! sure: a dozen calls to the kernel.
//! Here tasks are read by the hundred: one call for their headers, one or two for their cells and what
//! lies behind their pointers, all of it copied twice ([`Taken`]). A task that is not being polled and
//! whose every byte that was looked at was the same in both copies was at one moment as it is told;
//! nothing weaker is accepted. Every other task is for the caller to read alone.

mod habits;

use std::rc::Rc;

use super::layout::{StateWord, TaskLayout};
use super::roots::{RootType, Roots};
use super::task::{HeaderRead, MAX_CELL};
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
/// And so is one with more bytes beside its cell.
const MAX_BESIDE: u64 = 64 * 1024;
/// Of a header: its state and its vtable are within these bytes.
const HEADER: u64 = 64;

/// Reads tasks by the batch.
#[derive(Clone, Copy)]
pub(super) struct Batches<'r, 'f, 'd, 'a> {
    /// Types of futures by vtable.
    pub roots: &'r Roots<'f, 'd, 'a>,
    /// Offsets in the header.
    pub layout: TaskLayout,
    /// What tasks of each kind were read at beside their cells.
    pub habits: &'r Habits,
}

/// A task whose kind is known.
pub(super) struct Open {
    /// Its place in the batch.
    index: usize,
    /// Its header.
    pub header: Address,
    /// What stood there.
    pub seen: HeaderRead,
    /// Its kind.
    pub root: Rc<RootType>,
}

/// What became of it.
enum Outcome<T> {
    Read(T),
    /// It was looked at in more places than were copied.
    Further(Vec<Wanted>),
    /// It is polled, or has changed.
    Disturbed,
}

/// What is made of a task and the copies of it.
type Read<'c, T> = dyn FnMut(&Open, &dyn Memory) -> T + 'c;

impl Batches<'_, '_, '_, '_> {
    /// Calls `read` for the tasks at these headers as far as they can be read together, and gives
    /// what it made of each to `each`, in their order; of those that cannot be read so, `None`.
    ///
    /// `read` may be called for a task more than once; what it makes of a task counts only if the
    /// memory that it was given had all that it asked for, the same twice.
    pub(super) fn read_all<T>(
        self,
        headers: &[Address],
        memory: &dyn Memory,
        read: &mut Read<'_, T>,
        each: &mut dyn FnMut(Address, Option<T>),
    ) {
        let mut size = FIRST;
        let mut rest = headers;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(size.min(rest.len()));
            for (header, made) in batch.iter().zip(self.batch(batch, memory, read)) {
                each(*header, made);
            }
            size = (size * 2).min(MOST);
            rest = after;
        }
    }

    fn batch<T>(
        self,
        headers: &[Address],
        memory: &dyn Memory,
        read: &mut Read<'_, T>,
    ) -> Vec<Option<T>> {
        let mut out: Vec<Option<T>> = headers.iter().map(|_| None).collect();
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
            bytes += root.cell_size;
            open.push(Open {
                index,
                header: *header,
                seen,
                root,
            });
            if bytes > MAX_BYTES {
                self.together(std::mem::take(&mut open), memory, read, &mut out);
                bytes = 0;
            }
        }
        self.together(open, memory, read, &mut out);
        out
    }

    /// The headers of tasks that are not being polled.
    fn headers(self, headers: &[Address], memory: &dyn Memory) -> Vec<Option<HeaderRead>> {
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

    fn together<T>(
        self,
        mut open: Vec<Open>,
        memory: &dyn Memory,
        read: &mut Read<'_, T>,
        out: &mut [Option<T>],
    ) {
        let cells: Vec<(Address, Wanted)> = open
            .iter()
            .map(|task| {
                let cell = Wanted {
                    address: task.header,
                    len: u32::try_from(task.root.cell_size).unwrap_or(0),
                };
                (task.seen.vtable, cell)
            })
            .collect();
        let mut groups = self.habits.foretell(&cells, memory);
        for group in &mut groups {
            if beside(group.get(1..).unwrap_or_default()) > MAX_BESIDE {
                group.truncate(1);
            }
        }
        for round in 0..ROUNDS {
            if open.is_empty() {
                return;
            }
            let taken = Taken::twice(memory, &groups);
            let mut again = Vec::new();
            groups = Vec::new();
            for (group, mut task) in open.into_iter().enumerate() {
                let copies = taken.group(group, memory);
                match self.try_copies(&mut task, &copies, read) {
                    Outcome::Read(made) => {
                        if round > 0 {
                            self.learn(&task, &copies);
                        }
                        if let Some(place) = out.get_mut(task.index) {
                            *place = Some(made);
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

    fn try_copies<T>(
        self,
        task: &mut Open,
        copies: &Copies<'_>,
        read: &mut Read<'_, T>,
    ) -> Outcome<T> {
        // The header is a part of the cell.
        if copies.bytes_of(0).is_none() {
            return Outcome::Disturbed;
        }
        let word = |offset: u64| copies.u64(task.header.add(offset));
        let (Ok(state), Ok(vtable)) = (word(self.layout.state), word(self.layout.vtable)) else {
            return Outcome::Disturbed;
        };
        let state = StateWord(state);
        let is_idle = state.is_plausible() && !state.is_running();
        if !is_idle || vtable != task.seen.vtable.0 {
            return Outcome::Disturbed;
        }
        task.seen.state = state;
        let made = read(task, copies);
        let missed = copies.missed();
        if missed.is_empty() {
            return Outcome::Read(made);
        }
        let mut ranges = copies.ranges();
        let cell = ranges.next();
        // What was foretold and was not asked for is copied again: it costs little.
        let others = merged(ranges.chain(missed).collect());
        if others.len() > MAX_RANGES || beside(&others) > MAX_BESIDE {
            return Outcome::Disturbed;
        }
        Outcome::Further(cell.into_iter().chain(others).collect())
    }

    fn learn(self, task: &Open, copies: &Copies<'_>) {
        let known: Vec<Known<'_>> = copies
            .ranges()
            .enumerate()
            .filter_map(|(index, wanted)| Some((wanted, copies.bytes_of(index)?)))
            .collect();
        self.habits.learn(task.seen.vtable, &known);
    }
}

fn beside(ranges: &[Wanted]) -> u64 {
    ranges.iter().map(|range| u64::from(range.len)).sum()
}
