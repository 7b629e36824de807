//! Tasks without type information: by the shape of tokio's structures alone.
//!
//! For binaries with symbols only, or none. The anchor is the task vtable, a constant that is
//! recognised in the file (`plan/vtable.rs`) and that every task's header points to. A runtime is
//! found by looking, behind each pointer in the threads' thread-local storage, for a boxed slice of
//! lists whose every entry is empty or leads to headers with such vtables, with the number of tasks
//! stored beside it. Nothing is believed that this does not confirm.
//!
//! Layout (tokio 1.35 to 1.54, read from the source; without `tokio_unstable`): `Header { state@0,
//! vtable@16, owner_id@24 }`; `Trailer { owned: { prev@0, next@8 }, waker@16 }`; a shard is 24 bytes: a mutex's word, head,
//! tail; `ShardedList { lists: Box<[_]>, added, count, shard_mask }` in any order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::gone::{self, Header};
use super::handles::Scheduler;
use super::inspector::Found;
use super::layout::StateWord;
use super::task::state_of;
use super::threads;
use crate::address::{Address, LoadBias};
use crate::locate::{self, Process};
use crate::memory::{Memory, Nearby};
use crate::object::{Binary, TlsSegment};
use crate::plan::{Names, TaskVtable, future_of_poll, task_vtables};
use crate::rebuild::snapshot::{RuntimeInfo, TaskInfo};
use crate::rebuild::tracker::TaskKey;

const STATE: u64 = 0;
const VTABLE: u64 = 16;
const OWNER: u64 = 24;
const NEXT: u64 = 8;
const TRAILER_WAKER: u64 = 16;
const SHARD: u64 = 24;
/// tokio's own limit of shards.
const MAX_SHARDS: u64 = 65_536;
/// A handle's `shared.owned` was at +368 and +184 in tokio 1.54.
const HANDLE_BYTES: usize = 2048;
/// How far from the lists the count and the mask are looked for.
const NEIGHBOURHOOD: usize = 8;
/// Thread-local blocks are a few KiB; a larger one is hostile or not ours.
const MAX_TLS: u64 = 1 << 20;
const MAX_TASKS: usize = 20_000_000;

/// Finds tasks by shape.
pub struct ShapeInspector {
    pid: i32,
    tls: Option<TlsSegment>,
    vtables: HashMap<Address, TaskVtable>,
    names: HashMap<Address, Arc<str>>,
}

/// Where a thread-local pointer leads.
struct Candidate {
    handle: Address,
    scheduler: Scheduler,
}

/// Tasks that are listed behind a thread-local pointer.
#[derive(Debug)]
struct Listing {
    handle: Address,
    scheduler: Scheduler,
    headers: Vec<Address>,
    /// The runtime's own counter, where it was found.
    counted: Option<u64>,
}

impl ShapeInspector {
    /// Prepares reading; `None` when the binary holds no task vtable. `symbols` is the binary or
    /// the file with its symbols, `named` what debug information without types says of functions.
    #[must_use]
    pub fn new(
        pid: i32,
        binary: &Binary,
        symbols: &Binary,
        named: &Names,
        bias: LoadBias,
    ) -> Option<Self> {
        let found = task_vtables(binary);
        if found.is_empty() {
            return None;
        }
        let names = found
            .iter()
            .map(|vtable| {
                let of_symbol = || {
                    let symbol = symbols.function_at(vtable.poll)?.demangled();
                    future_of_poll(&symbol).map(str::to_owned)
                };
                let name = named.task(vtable.poll).or_else(of_symbol);
                let name = name.unwrap_or_else(|| {
                    format!("unknown future (its poll function is at {})", vtable.poll)
                });
                (bias.to_address(vtable.address), Arc::from(name))
            })
            .collect();
        let vtables = found
            .into_iter()
            .map(|vtable| (bias.to_address(vtable.address), vtable))
            .collect();
        Some(Self {
            pid,
            tls: binary.tls_segment(),
            vtables,
            names,
        })
    }

    /// Every live task that can be found, now.
    #[must_use]
    pub fn tasks(&self, process: &Process, memory: &dyn Memory) -> Found {
        let mut found = Found::default();
        let mut seen_handles = HashSet::new();
        let mut seen_lists = HashSet::new();
        let threads: Vec<i32> = process.threads().iter().map(|thread| thread.tid).collect();
        let mut candidates: Vec<(i32, Address)> = Vec::new();
        let mut listings = Vec::new();
        for (tid, pointer) in locate::thread_pointers(self.pid, memory, &threads) {
            match pointer {
                Ok(pointer) => {
                    for candidate in self.candidates(pointer, memory) {
                        candidates.push((tid, candidate.handle));
                        if seen_handles.insert(candidate.handle) {
                            self.handle(&candidate, memory, &mut seen_lists, &mut listings);
                        }
                    }
                }
                Err(error) => found.warnings.push(format!(
                    "thread {tid}: its thread-locals were not found: {error}"
                )),
            }
        }
        for listing in distinct(listings) {
            self.tell(listing, memory, &mut found);
        }
        if found.runtimes.is_empty() {
            found.warnings.push(
                "no runtime was found: none has a thread inside, or the lists of its tasks have \
                 another shape than those of tokio 1.35 to 1.54 (with debug information: 1.22 to \
                 1.54)"
                    .to_owned(),
            );
        }
        // Where a runtime was found, every thread with a pointer to it is inside.
        let runtimes: HashSet<Address> = found
            .runtimes
            .iter()
            .map(|runtime| runtime.address)
            .collect();
        let inside = candidates
            .into_iter()
            .filter(|(_, handle)| runtimes.contains(handle))
            .map(|(tid, _)| tid)
            .collect();
        found.threads = threads::look(self.pid, None, &found.tasks, &inside, memory);
        found.warnings.push(
            "found by the shape of tokio's structures: tasks of a LocalSet, the futures of \
             block_on and await trees need debug information (debug = 2 in the Cargo profile)"
                .to_owned(),
        );
        found
    }

    /// Aligned, non-null words in a thread's block of thread-local storage.
    fn candidates(&self, thread_pointer: Address, memory: &dyn Memory) -> Vec<Candidate> {
        let Some(tls) = self.tls else {
            return Vec::new();
        };
        let size = tls
            .memory_size
            .next_multiple_of(tls.align.max(8))
            .min(MAX_TLS);
        let start = Address(thread_pointer.0.wrapping_sub(size));
        let Some(words) = words(memory, start, size) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let plausible = *word > 0xffff && word.is_multiple_of(8) && *word < 1 << 47;
            if plausible {
                // `scheduler::Handle` is an enum: its discriminant stands before the pointer.
                let before = index.checked_sub(1).and_then(|before| words.get(before));
                let scheduler = match before {
                    Some(0) => Scheduler::CurrentThread,
                    Some(1) => Scheduler::MultiThread,
                    _ => Scheduler::Unknown,
                };
                found.push(Candidate {
                    handle: Address(*word),
                    scheduler,
                });
            }
        }
        found
    }

    fn handle(
        &self,
        candidate: &Candidate,
        memory: &dyn Memory,
        seen: &mut HashSet<Address>,
        listings: &mut Vec<Listing>,
    ) {
        // Tasks lie near each other, mostly.
        let nearby = Nearby::new(memory);
        let read = [HANDLE_BYTES, HANDLE_BYTES / 2, HANDLE_BYTES / 4]
            .into_iter()
            .find_map(|size| words(memory, candidate.handle, size as u64));
        let Some(handle) = read else { return };
        for index in 0..handle.len().saturating_sub(1) {
            let (Some(&lists), Some(&shards)) = (handle.get(index), handle.get(index + 1)) else {
                continue;
            };
            let plausible = lists > 0xffff
                && lists.is_multiple_of(8)
                && shards.is_power_of_two()
                && shards <= MAX_SHARDS
                && !seen.contains(&Address(lists));
            if !plausible {
                continue;
            }
            let Some(headers) = self.lists(Address(lists), shards, memory, &nearby) else {
                continue;
            };
            let near = handle
                .get(index.saturating_sub(NEIGHBOURHOOD)..)
                .map_or(&[][..], |rest| {
                    rest.get(..2 * NEIGHBOURHOOD).unwrap_or(rest)
                });
            let listed = headers.len() as u64;
            if headers.is_empty() || !near.contains(&(shards - 1)) {
                continue;
            }
            seen.insert(Address(lists));
            listings.push(Listing {
                handle: candidate.handle,
                scheduler: candidate.scheduler,
                counted: near.iter().copied().find(|word| *word == listed),
                headers,
            });
        }
    }

    fn tell(&self, listing: Listing, memory: &dyn Memory, found: &mut Found) {
        let Listing {
            handle,
            scheduler,
            counted,
            headers,
        } = listing;
        if counted.is_some() {
            // All tasks of a list have its id; of an empty one it is not known.
            let of_one = |header: &Address| memory.u64(header.add(OWNER)).ok();
            let owner = headers.first().and_then(of_one);
            found.owners.extend(owner.filter(|owner| *owner != 0));
        } else {
            found.warnings.push(format!(
                "the tasks of the runtime at {handle} came and went while they were listed"
            ));
        }
        found.runtimes.push(RuntimeInfo {
            runtime: "tokio",
            scheduler: scheduler.name(),
            address: handle,
            tasks_listed: headers.len() as u64,
            tasks_counted: counted,
        });
        // What is told of one is read once, so that a copy which is some milliseconds old tells it as well.
        let nearby = Nearby::new(memory);
        let tasks = headers
            .into_iter()
            .filter_map(|header| self.task(header, scheduler, &nearby));
        found.tasks.extend(tasks);
    }

    /// All tasks of a slice of lists, or `None` when it is no such thing; entries are read through
    /// `nearby`.
    fn lists(
        &self,
        lists: Address,
        shards: u64,
        memory: &dyn Memory,
        nearby: &Nearby<'_>,
    ) -> Option<Vec<Address>> {
        let shards = words(memory, lists, shards.checked_mul(SHARD)?)?;
        let mut headers = Vec::new();
        let mut seen = HashSet::new();
        for shard in shards.chunks_exact(3) {
            let &[_, head, tail] = shard else { return None };
            if (head == 0) != (tail == 0) {
                return None;
            }
            let mut header = Address(head);
            while !header.is_null() {
                if seen.len() > MAX_TASKS || !seen.insert(header) {
                    return None;
                }
                headers.push(header);
                header = self.next(header, nearby)?;
            }
        }
        Some(headers)
    }

    fn vtable(&self, header: Address, memory: &dyn Memory) -> Option<(Address, TaskVtable)> {
        let vtable = memory.pointer(header.add(VTABLE)).ok()?;
        Some((vtable, *self.vtables.get(&vtable)?))
    }

    fn next(&self, header: Address, memory: &dyn Memory) -> Option<Address> {
        let (_, vtable) = self.vtable(header, memory)?;
        let state = StateWord(memory.u64(header.add(STATE)).ok()?);
        if !state.is_plausible() {
            return None;
        }
        memory
            .pointer(header.add(vtable.trailer_offset).add(NEXT))
            .ok()
    }

    /// As [`super::Inspector::gone`].
    #[must_use]
    pub fn gone(
        &self,
        keys: &[TaskKey],
        owners: &foldhash::HashSet<u64>,
        memory: &dyn Memory,
    ) -> HashSet<TaskKey> {
        gone::of(keys, owners, |key| {
            let header = key.address;
            Header {
                state: memory.u64(header.add(STATE)).ok().map(StateWord),
                // A vtable that was not recognised in the file proves nothing.
                id: match self.vtable(header, memory) {
                    Some((_, vtable)) => memory.u64(header.add(u64::from(vtable.id_offset))).ok(),
                    None => key.id,
                },
                owner: memory.u64(header.add(OWNER)).ok(),
            }
        })
    }

    /// The task at `header`, if there is one.
    #[must_use]
    pub fn task(
        &self,
        header: Address,
        scheduler: Scheduler,
        memory: &dyn Memory,
    ) -> Option<TaskInfo> {
        let (address, vtable) = self.vtable(header, memory)?;
        let state = StateWord(memory.u64(header.add(STATE)).ok()?);
        if !state.is_plausible() {
            return None;
        }
        let id = memory.u64(header.add(u64::from(vtable.id_offset))).ok()?;
        Some(TaskInfo {
            id: format!("tokio/{id}"),
            runtime: "tokio",
            scheduler: scheduler.name(),
            state: state_of(state),
            future: self
                .names
                .get(&address)
                .map_or_else(|| Arc::from("?"), Arc::clone),
            tree: None,
            notes: vec!["no await tree: no debug information about its future".to_owned()],
            address: header,
            references: Some(state.references()),
            wakers: state.wakers_left(),
            cancelled: state.is_cancelled(),
            joined_by: self.joined_by(header, vtable, state, memory),
        })
    }

    /// The task that awaits this one's join handle: one of the two words of the waker behind the
    /// list's pointers in the `Trailer` is a `Header` (the other is the waker's vtable).
    fn joined_by(
        &self,
        header: Address,
        vtable: TaskVtable,
        state: StateWord,
        memory: &dyn Memory,
    ) -> Option<Address> {
        if !state.has_join_waker() || state.is_complete() {
            return None;
        }
        let waker = header.add(vtable.trailer_offset).add(TRAILER_WAKER);
        [0, 8].into_iter().find_map(|word| {
            let waiting = memory.pointer(waker.add(word)).ok()?;
            let state = StateWord(memory.u64(waiting.add(STATE)).ok()?);
            let is_task = state.is_plausible() && self.vtable(waiting, memory).is_some();
            is_task.then_some(waiting)
        })
    }
}

/// Those that are of a list each. On a thread's stack there can be what looks like a handle, with a pointer
/// into the lists of a real one and a number that fits: it has some of the real one's tasks.
fn distinct(mut listings: Vec<Listing>) -> Vec<Listing> {
    listings.sort_by_key(|listing| std::cmp::Reverse(listing.headers.len()));
    let mut seen = HashSet::new();
    listings.retain(|listing| {
        let is_new = listing.headers.iter().all(|header| !seen.contains(header));
        if is_new {
            seen.extend(listing.headers.iter().copied());
        }
        is_new
    });
    listings
}

/// `size` bytes at `start` as words.
fn words(memory: &dyn Memory, start: Address, size: u64) -> Option<Vec<u64>> {
    let bytes = memory.bytes(start, usize::try_from(size).ok()?).ok()?;
    Some(
        bytes
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_tasks_of_a_larger_list_is_no_runtime() {
        let listing = |handle, headers: &[u64]| Listing {
            handle: Address(handle),
            scheduler: Scheduler::Unknown,
            headers: headers.iter().copied().map(Address).collect(),
            counted: Some(headers.len() as u64),
        };
        let listings = vec![
            listing(1, &[0x20, 0x30]),
            listing(2, &[0x10, 0x20, 0x30]),
            listing(3, &[0x40, 0x50]),
            listing(4, &[0x50]),
        ];
        let handles: Vec<u64> = distinct(listings)
            .iter()
            .map(|kept| kept.handle.0)
            .collect();
        assert_eq!(handles, [2, 3]);
    }
}
