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

use crate::address::Address;
use crate::dwarf::{DebugInfo, DieRef, Kind};
use crate::memory::{Memory, ReadError};

/// Offsets that are the same for all tasks of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLayout {
    /// `Header.state`.
    pub state: u64,
    /// `Header.vtable`.
    pub vtable: u64,
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
            header_size: info.type_at(header)?.size,
            vtable_poll: info.field(vtable_type, "poll")?.offset,
            vtable_trailer_offset: info.field(vtable_type, "trailer_offset")?.offset,
            vtable_id_offset: info
                .field(vtable_type, "id_offset")
                .map(|field| field.offset),
            trailer_next: info.field(trailer, "owned.next")?.offset,
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

    /// Whether this can be the state of a live task at all: a reference count of more than 2^26
    /// is no reference count.
    #[must_use]
    pub const fn is_plausible(self) -> bool {
        self.0 >> 32 == 0 && self.references() > 0
    }
}
