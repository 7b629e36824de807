//! A runtime's lists of its tasks.
//!
//! `OwnedTasks` is a number of shards, each a mutex around an intrusive list (one shard for a
//! current-thread runtime; before tokio 1.35 one mutex around one list), with a count beside.
//! The runtime changes the lists while they are read, and a task that is unlinked under us leads
//! astray: every header is validated, and the number listed is compared with the count by the
//! caller, who reads again when they differ.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use crate::address::Address;
use crate::dwarf::{Value, ValueError, base_name};
use crate::memory::{Memory, Nearby};

use super::layout::{StateWord, TaskLayout};

/// Tasks that are listed of one runtime: a bound on a list that hostile memory makes endless, and on
/// our memory (some 100 MB of headers, and what is read of each task).
pub(super) const MAX_TASKS: usize = 2_000_000;
/// tokio's own limit of shards is 65,536.
const MAX_SHARDS: u64 = 65_536;

/// What the lists of one runtime held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Headers of tasks, in list order.
    pub headers: Vec<Address>,
    /// The runtime's own counter, where it has one.
    pub counted: Option<u64>,
    /// Places where a list led astray: an entry that is not a task, or a list that never ended.
    pub broken: u64,
    /// There are more than [`MAX_TASKS`]: the rest is not listed.
    pub cut: bool,
}

impl Listing {
    /// Whether nothing contradicts that this is every task.
    #[must_use]
    pub(super) fn is_consistent(&self) -> bool {
        // Reading again does not make it shorter.
        let counted = self
            .counted
            .is_none_or(|counted| counted == self.headers.len() as u64);
        self.cut || (self.broken == 0 && counted)
    }
}

/// Lists the tasks of `owned`, an `OwnedTasks` or `LocalOwnedTasks`.
///
/// # Errors
/// The structure has no list that we know, or its top is not readable.
pub(super) fn list(owned: Value<'_, '_>, layout: &TaskLayout) -> Result<Listing, ValueError> {
    let mut listing = Listing {
        counted: owned.field("count").and_then(Value::word).ok(),
        ..Listing::default()
    };
    // What the heads lead to was allocated in order, mostly.
    let nearby = Nearby::new(owned.memory);
    let mut lists = Lists::new(&nearby, layout, MAX_TASKS);
    let is_list = |name: &str| base_name(name) == "LinkedList";
    let in_shards = owned.field("lists").and_then(Value::elements);
    let mut heads = Vec::new();
    match in_shards {
        Ok((first, shards, stride)) => {
            for shard in 0..shards.min(MAX_SHARDS) {
                let at = Value {
                    address: first.address.add(shard.wrapping_mul(stride)),
                    ..first
                };
                let head = at
                    .part("<LinkedList>", |this, _| is_list(this.name))?
                    .field("head")?;
                heads.push(head.word());
            }
        }
        Err(_) => {
            let head = owned
                .part("<LinkedList>", |this, _| is_list(this.name))?
                .field("head")?;
            heads.push(head.word());
        }
    }
    listing.broken += heads.iter().filter(|head| head.is_err()).count() as u64;
    let heads = heads.into_iter().flatten().map(Address);
    lists.follow(heads.collect(), &mut listing);
    Ok(listing)
}

/// The lists of one runtime on the way through them.
struct Lists<'l> {
    /// Where entries are read; the heads are read as they are now.
    memory: &'l dyn Memory,
    layout: &'l TaskLayout,
    most: usize,
    seen: HashSet<Address>,
    /// Where the trailer is in the tasks of a vtable; `None` when that makes no sense.
    trailers: HashMap<Address, Option<u64>>,
}

impl<'l> Lists<'l> {
    fn new(memory: &'l dyn Memory, layout: &'l TaskLayout, most: usize) -> Self {
        Self {
            memory,
            layout,
            most,
            seen: HashSet::new(),
            trailers: HashMap::new(),
        }
    }

    /// Follows lists from their first tasks on: side by side, for tasks that were spawned one after
    /// the other lie near each other and are in different lists.
    fn follow(&mut self, heads: Vec<Address>, listing: &mut Listing) {
        let mut lists: Vec<Vec<Address>> = heads.iter().map(|_| Vec::new()).collect();
        let mut open: Vec<(usize, Address)> = heads.into_iter().enumerate().collect();
        while !open.is_empty() {
            open.retain_mut(|(list, header)| {
                if header.is_null() {
                    return false;
                }
                if self.seen.len() >= self.most {
                    listing.cut = true;
                    return false;
                }
                let next = if self.seen.insert(*header) {
                    self.next(*header)
                } else {
                    None
                };
                let Some(next) = next else {
                    listing.broken += 1;
                    return false;
                };
                if let Some(list) = lists.get_mut(*list) {
                    list.push(*header);
                }
                *header = next;
                true
            });
        }
        let listed = lists.iter().map(Vec::len).sum();
        listing.headers.reserve_exact(listed);
        lists
            .into_iter()
            .for_each(|list| listing.headers.extend(list));
    }

    /// The next task in the list, when `header` looks like a task at all.
    fn next(&mut self, header: Address) -> Option<Address> {
        let (memory, layout) = (self.memory, self.layout);
        let state = StateWord(memory.u64(header.add(layout.state)).ok()?);
        if !state.is_plausible() {
            return None;
        }
        let vtable = memory.pointer(header.add(layout.vtable)).ok()?;
        let trailer = *self.trailers.entry(vtable).or_insert_with(|| {
            let trailer = memory.u64(vtable.add(layout.vtable_trailer_offset));
            trailer.ok().filter(|trailer| *trailer < 1 << 32)
        });
        memory
            .pointer(header.add(trailer?).add(layout.trailer_next))
            .ok()
    }
}

/// The id of a runtime's list, as the headers of its tasks keep it (`owner_id`; `OwnedTasks.id` and
/// `LocalOwnedTasks.id`, of one counter for both). `None` where that is not described.
#[must_use]
pub(super) fn owner_id(owned: Value<'_, '_>) -> Option<u64> {
    let id = owned.field("id").and_then(Value::word).ok()?;
    (id != 0).then_some(id)
}

/// The type `OwnedTasks<..>` inside a handle: `shared.owned`.
///
/// # Errors
/// The handle has no such field.
pub(super) fn owned_of_handle<'v, 'a>(handle: Value<'v, 'a>) -> Result<Value<'v, 'a>, ValueError> {
    handle
        .field("shared.owned")
        .or_else(|_| handle.field("owned"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::memory::{FakeMemory, ReadError};

    const LAYOUT: TaskLayout = TaskLayout {
        state: 0,
        vtable: 16,
        owner: Some(24),
        header_size: 32,
        vtable_poll: 0,
        vtable_trailer_offset: 56,
        vtable_id_offset: None,
        trailer_next: 8,
        trailer_waker_data: None,
    };
    const VTABLE: u64 = 0x10;
    const TRAILER: u64 = 64;
    /// Idle, with a reference and interest in joining.
    const IDLE: u64 = 0xcc;

    /// A list as long as anybody follows it: every address is a task whose next is `stride` on, and
    /// the last leads to `last`.
    struct Forged {
        stride: u64,
        tasks: u64,
        last: u64,
        reads: Cell<u64>,
    }

    const FIRST: u64 = 1 << 20;

    impl Memory for Forged {
        fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
            self.reads.set(self.reads.get() + 1);
            let word = if address.0 == VTABLE + LAYOUT.vtable_trailer_offset {
                TRAILER
            } else {
                let task = (address.0 - FIRST) / self.stride;
                match (address.0 - FIRST) % self.stride {
                    0 => IDLE,
                    16 => VTABLE,
                    _ if task + 1 == self.tasks => self.last,
                    _ => FIRST + (task + 1) * self.stride,
                }
            };
            into.copy_from_slice(&word.to_le_bytes()[..into.len()]);
            Ok(())
        }
    }

    fn list_of(memory: &dyn Memory, most: usize) -> Listing {
        let mut listing = Listing::default();
        Lists::new(memory, &LAYOUT, most).follow(vec![Address(FIRST)], &mut listing);
        listing
    }

    fn forged(tasks: u64, last: u64) -> Forged {
        Forged {
            stride: 128,
            tasks,
            last,
            reads: Cell::new(0),
        }
    }

    #[test]
    fn a_million_entries_are_listed_once_each() {
        let memory = forged(1_000_000, 0);
        let listing = list_of(&memory, MAX_TASKS);
        assert_eq!(listing.headers.len(), 1_000_000);
        assert_eq!((listing.broken, listing.cut), (0, false));
        assert_eq!(memory.reads.get(), 3_000_001, "three an entry, one vtable");
    }

    #[test]
    fn a_list_without_an_end_is_cut_and_says_so() {
        let memory = forged(u64::MAX, 0);
        let listing = list_of(&memory, 1_000);
        assert_eq!((listing.headers.len(), listing.cut), (1_000, true));
        assert_eq!(memory.reads.get(), 3_001);
        assert!(listing.is_consistent(), "reading again does not help");
    }

    #[test]
    fn lists_are_followed_side_by_side_and_told_one_after_the_other() {
        let mut memory = FakeMemory::default();
        memory.map_words(Address(VTABLE + 56), &[TRAILER]);
        // Tasks 0, 3, 6.. are in the first list, and so on; the third list is led into the first.
        let at = |task: u64| Address(FIRST + task * 128);
        for task in 0..30 {
            memory.map_words(at(task), &[IDLE, 0, VTABLE]);
            let next = match task {
                27 | 28 => Address(0),
                29 => at(15),
                task => at(task + 3),
            };
            memory.map_words(at(task).add(TRAILER + 8), &[next.0]);
        }
        let mut listing = Listing::default();
        let nearby = Nearby::new(&memory);
        let heads = vec![at(0), at(1), Address(0), at(2), Address(0xdead_0000)];
        Lists::new(&nearby, &LAYOUT, MAX_TASKS).follow(heads, &mut listing);
        let expected: Vec<Address> = (0..3)
            .flat_map(|list| (0..10).map(move |task| at(task * 3 + list)))
            .collect();
        assert_eq!(listing.headers, expected);
        assert_eq!((listing.broken, listing.cut), (2, false));
    }

    #[test]
    fn many_lists_that_are_empty_cost_nothing_beside_a_long_one() {
        let memory = forged(100_000, 0);
        let mut heads = vec![Address(0); 65_535];
        heads.push(Address(FIRST));
        let mut listing = Listing::default();
        let begin = std::time::Instant::now();
        Lists::new(&memory, &LAYOUT, MAX_TASKS).follow(heads, &mut listing);
        assert_eq!(listing.headers.len(), 100_000);
        // Each entry times each list would take minutes.
        assert!(begin.elapsed().as_secs() < 20);
    }

    #[test]
    fn cycles_and_wild_pointers_end_a_list_as_broken() {
        for last in [FIRST, FIRST + 128 * 50, FIRST + 128 * 99] {
            let listing = list_of(&forged(100, last), MAX_TASKS);
            assert_eq!(
                (listing.headers.len(), listing.broken),
                (100, 1),
                "{last:#x}"
            );
            assert!(!listing.is_consistent());
        }
        // Not mapped, no task, at the end of the address space.
        let mut memory = FakeMemory::default();
        memory.map_words(Address(VTABLE + 56), &[TRAILER]);
        for wild in [0xdead_0000, VTABLE, u64::MAX, u64::MAX - 8] {
            memory.map_words(Address(FIRST), &[IDLE, 0, VTABLE]);
            memory.map_words(Address(FIRST + TRAILER + 8), &[wild]);
            let listing = list_of(&memory, MAX_TASKS);
            assert_eq!((listing.headers.len(), listing.broken), (1, 1), "{wild:#x}");
        }
    }
}
