//! Everything that we assume about tokio's memory, found by name in the debug information.
//!
//! Checked on tokio 1.54.1. Names used, with the version they came with:
//!
//! | name | since |
//! |---|---|
//! | `runtime::task::core::{Header, Cell, Trailer}`, `Cell.core.stage` | 1.0 |
//! | `Header.{state, vtable, owner_id}` | 1.9 |
//! | `Vtable.trailer_offset`, `Trailer.owned` | 1.21 |
//! | `runtime::context::CONTEXT`, `Context.current.handle` | 1.22 / 1.29 |
//! | `Vtable.id_offset` | 1.23 |
//! | `Handle.shared.owned.list.{lists, count}` | 1.35 |
//! | `Trailer.waker` | 1.21 |

use crate::address::{Address, LoadBias};
use crate::dwarf::{DebugInfo, DieRef, Kind};
use crate::memory::{Memory, ReadError};

/// Offsets that are the same for all tasks of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLayout {
    /// `Header.state`.
    pub state: u64,
    /// `Header.vtable`.
    pub vtable: u64,
    /// `Header.owner_id`: the id of the list that the task is in, or was in last; 0 for none. `None` when
    /// not described.
    pub owner: Option<u64>,
    /// Size of `Header`.
    pub header_size: u64,
    /// `Vtable.poll`.
    pub vtable_poll: u64,
    /// `Vtable.trailer_offset`.
    pub vtable_trailer_offset: u64,
    /// `Vtable.id_offset`; `None` before tokio 1.23.
    pub vtable_id_offset: Option<u64>,
    /// `Trailer.owned.next`.
    pub trailer_next: u64,
    /// `Trailer.waker`, and in it the waker's data pointer; `None` when not described.
    pub trailer_waker_data: Option<u64>,
}

impl TaskLayout {
    /// Reads the layout from any task cell of the debug information.
    #[must_use]
    pub fn find(info: &DebugInfo<'_>) -> Option<Self> {
        info.cells().find_map(|cell| Self::from_cell(info, cell))
    }

    fn from_cell(info: &DebugInfo<'_>, cell: DieRef) -> Option<Self> {
        let this = info.type_at(cell)?;
        let header = this.member("header")?.type_die;
        let trailer = this.member("trailer")?.type_die;
        let vtable = info.field(header, "vtable")?;
        let vtable_type = match info.type_at(vtable.type_die)?.kind {
            Kind::Pointer { target } => target?,
            _ => return None,
        };
        Some(Self {
            state: info.field(header, "state")?.offset,
            vtable: vtable.offset,
            owner: info.field(header, "owner_id").map(|field| field.offset),
            header_size: info.type_at(header)?.size,
            vtable_poll: info.field(vtable_type, "poll")?.offset,
            vtable_trailer_offset: info.field(vtable_type, "trailer_offset")?.offset,
            vtable_id_offset: info
                .field(vtable_type, "id_offset")
                .map(|field| field.offset),
            trailer_next: info.field(trailer, "owned.next")?.offset,
            trailer_waker_data: info.field(trailer, "waker.data").map(|field| field.offset),
        })
    }

    /// The task's id: `Header` -> vtable -> `id_offset` -> id. `None` before tokio 1.23.
    ///
    /// # Errors
    /// The header or its vtable cannot be read.
    pub fn task_id(&self, memory: &dyn Memory, header: Address) -> Result<Option<u64>, ReadError> {
        let Some(slot) = self.vtable_id_offset else {
            return Ok(None);
        };
        let vtable = memory.pointer(header.add(self.vtable))?;
        let offset = memory.u64(vtable.add(slot))?;
        memory.u64(header.add(offset)).map(Some)
    }

    /// What the waker in a task's `Trailer` wakes: its data pointer, which is a `Header` when a task
    /// awaits the join handle itself. Only a state with [`StateWord::has_join_waker`] says that a
    /// waker is there. `None` when that cannot be read.
    #[must_use]
    pub fn join_waker(&self, memory: &dyn Memory, header: Address) -> Option<Address> {
        let vtable = memory.pointer(header.add(self.vtable)).ok()?;
        let trailer = memory.u64(vtable.add(self.vtable_trailer_offset)).ok()?;
        let data = header.add(trailer).add(self.trailer_waker_data?);
        memory.pointer(data).ok()
    }

    /// Whether a tokio task lies at `header`, live or finished: a plausible state, and a vtable whose
    /// poll function the debug information calls `tokio::runtime::task::raw::poll`.
    #[must_use]
    pub fn is_task(
        &self,
        info: &DebugInfo<'_>,
        bias: LoadBias,
        memory: &dyn Memory,
        header: Address,
    ) -> bool {
        let poll = || {
            let state = StateWord(memory.u64(header.add(self.state)).ok()?);
            if !state.is_plausible() {
                return None;
            }
            let vtable = memory.pointer(header.add(self.vtable)).ok()?;
            memory.pointer(vtable.add(self.vtable_poll)).ok()
        };
        poll().is_some_and(|poll| !info.generic_polls_at(bias.to_link(poll).0).is_empty())
    }
}

/// The state word of a task (tokio 1.0 to 1.54, `runtime/task/state.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWord(pub u64);

impl StateWord {
    /// A worker polls the task.
    #[must_use]
    pub const fn is_running(self) -> bool {
        self.0 & 1 != 0
    }

    /// The task has finished.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.0 & 2 != 0
    }

    /// The task was woken and is in a run queue, or will be when its poll ends.
    #[must_use]
    pub const fn is_notified(self) -> bool {
        self.0 & 4 != 0
    }

    /// A `JoinHandle` exists.
    #[must_use]
    pub const fn has_join_interest(self) -> bool {
        self.0 & 8 != 0
    }

    /// A waker stands in the task's `Trailer`: somebody awaits its `JoinHandle`.
    #[must_use]
    pub const fn has_join_waker(self) -> bool {
        self.0 & 16 != 0
    }

    /// The task was aborted or its runtime shuts down.
    #[must_use]
    pub const fn is_cancelled(self) -> bool {
        self.0 & 32 != 0
    }

    /// References to the task: owner, join handle, wakers, run queue.
    #[must_use]
    pub const fn references(self) -> u64 {
        self.0 >> 6
    }

    /// Wakers of the task that are left, at most. All from this one word, so of one moment. `None`
    /// while the task is polled (the poll itself lends a waker that is not counted, and may store it
    /// anywhere), when it has finished, and when the word contradicts itself.
    ///
    /// What else holds a reference (tokio 1.54.1, `runtime/task/{state,waker,join,abort}.rs`):
    /// - the list of owned tasks, until the task has finished (`OwnedTasks`, `LocalOwnedTasks`);
    /// - the `JoinHandle`, exactly while JOIN_INTEREST is set (the bit goes first, so that a handle
    ///   that is being dropped counts as a waker for a moment);
    /// - the run queue, exactly while NOTIFIED is set and the task is not polled: the same with a
    ///   multi-thread, a current-thread scheduler and a `LocalSet`, in the LIFO slot and the injection
    ///   queue too. `block_in_place` keeps the task RUNNING;
    /// - each `AbortHandle` (the one that `JoinSet::spawn` returns, if kept; every task in a
    ///   `tokio_util` `JoinMap`): it is counted as a waker here.
    ///
    /// Every clone of the waker holds one: wherever it is kept, in `coop`'s deferred list after a
    /// spent budget too. `wake` by value gives its reference to the run queue and sets NOTIFIED in
    /// one step, so no healthy wake-up passes through 0.
    ///
    /// So 0 on an idle task means: nothing but an abort, or its runtime's end, will ever poll it.
    /// Healthy tasks with 0 are those that are meant to wait for ever: their leaf is
    /// `std::future::pending()` or `futures::future::pending()` (kind `never`), `stream::pending`, a
    /// terminated `Fuse`, or a `poll_fn` that answers `Pending` and keeps nothing. A task that holds
    /// its own waker (in its own future, or in a cycle through an `Arc`) has 1 and more, though
    /// nobody may wake it; so has one whose waker stayed where it was used already (a oneshot's, and
    /// that in the `Trailer` of a finished task whose join handle is kept: both wake by reference).
    #[must_use]
    pub const fn wakers_left(self) -> Option<u64> {
        if self.is_running() || self.is_complete() {
            return None;
        }
        let accounted = 1 + self.has_join_interest() as u64 + self.is_notified() as u64;
        self.references().checked_sub(accounted)
    }

    /// Whether this can be the state of a live task at all: a reference count of more than 2^26
    /// is no reference count.
    #[must_use]
    pub const fn is_plausible(self) -> bool {
        self.0 >> 32 == 0 && self.references() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakers_are_what_nothing_else_accounts_for() {
        let word = |references: u64, bits: u64| StateWord(references << 6 | bits);
        // A new task: list, run queue, join handle.
        assert_eq!(StateWord(0xcc).wakers_left(), Some(0));
        // Idle with a join handle, and nobody else.
        assert_eq!(word(2, 8).wakers_left(), Some(0));
        assert_eq!(word(3, 8).wakers_left(), Some(1));
        assert_eq!(word(3, 0).wakers_left(), Some(2));
        // In a run queue, while two wakers are kept.
        assert_eq!(word(4, 4).wakers_left(), Some(2));
        // Polled, or finished: not to be told.
        assert_eq!(word(3, 8 | 1).wakers_left(), None);
        assert_eq!(word(1, 8 | 2).wakers_left(), None);
        // Contradicts itself.
        assert_eq!(word(1, 8).wakers_left(), None);
        assert_eq!(word(0, 0).wakers_left(), None);
    }
}
