//! From a task's poll function to the type of its future and where it lies in the task.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::address::{Address, LoadBias};
use crate::dwarf::{DebugInfo, DieRef};
use crate::memory::Memory;
use crate::walk::{Futures, NodeId};

use super::layout::TaskLayout;

/// A kind of task: one `raw::poll<T, S>`.
#[derive(Clone, Debug)]
pub(super) struct RootType {
    /// The future's path.
    pub future: Arc<str>,
    /// The future in the walk table.
    pub node: NodeId,
    /// Size of the task's cell in bytes.
    pub cell_size: u64,
    /// From the header to the discriminant of `Stage`, its width and the value for `Running`.
    pub stage: StageTag,
    /// From the header to the future.
    pub future_offset: u64,
    /// It is a closure on the blocking pool, not an async task.
    pub is_blocking: bool,
    /// From the header to the task's id; 0 when the vtable does not tell.
    pub id_offset: u64,
}

/// Where `Stage`'s discriminant is and what it reads while the future exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageTag {
    /// From the header, in bytes.
    pub offset: u64,
    /// Width in bytes.
    pub size: u64,
    /// Value of `Running`; `None` when it is the default of a niche.
    pub running: Option<u64>,
    /// Value of `Finished`.
    pub finished: Option<u64>,
    /// Value of `Consumed`.
    pub consumed: Option<u64>,
}

/// Why a task's future is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RootError {
    /// Its vtable cannot be read.
    #[error("its vtable at {0} cannot be read")]
    Vtable(Address),
    /// No debug information for its poll function.
    #[error("no debug information for its poll function at link address {0:#x}")]
    NoPoll(u64),
    /// Several functions were merged at that address.
    #[error("its poll function was merged by the linker with others: one of {0}")]
    Merged(String),
    /// The task's cell is not described.
    #[error("no debug information for the memory of {0}")]
    NoCell(String),
}

/// Root types by vtable, resolved once.
pub(super) struct Roots<'f, 'd, 'a> {
    futures: &'f Futures<'d, 'a>,
    bias: LoadBias,
    layout: TaskLayout,
    known: RefCell<foldhash::HashMap<Address, Result<Rc<RootType>, RootError>>>,
    cells: HashMap<String, DieRef>,
}

impl<'f, 'd, 'a> Roots<'f, 'd, 'a> {
    /// Prepares the look-up; `bias` is that of the module with the vtables.
    #[must_use]
    pub(super) fn new(futures: &'f Futures<'d, 'a>, bias: LoadBias, layout: TaskLayout) -> Self {
        let info = futures.info();
        let cells = info.cells().map(|cell| (info.path(cell), cell)).collect();
        Self {
            futures,
            bias,
            layout,
            known: RefCell::default(),
            cells,
        }
    }

    /// The kind of task whose vtable is at `vtable`.
    ///
    /// # Errors
    /// [`RootError`] says why its future is not known.
    pub(super) fn of_vtable(
        &self,
        vtable: Address,
        memory: &dyn Memory,
    ) -> Result<Rc<RootType>, RootError> {
        if let Some(known) = self.known.borrow().get(&vtable) {
            return known.clone();
        }
        let found = self.resolve(vtable, memory).map(Rc::new);
        self.known.borrow_mut().insert(vtable, found.clone());
        found
    }

    fn resolve(&self, vtable: Address, memory: &dyn Memory) -> Result<RootType, RootError> {
        let word = |offset: u64| {
            memory
                .u64(vtable.add(offset))
                .map_err(|_| RootError::Vtable(vtable))
        };
        let poll = self.bias.to_link(Address(word(self.layout.vtable_poll)?));
        let trailer_offset = word(self.layout.vtable_trailer_offset)?;
        let id_offset = self.layout.vtable_id_offset.map_or(Ok(0), word)?;
        let info = self.futures.info();
        let polls = info.generic_polls_at(poll.0);
        let Some(first) = polls.first() else {
            return Err(RootError::NoPoll(poll.0));
        };
        let mut names: Vec<String> = polls
            .iter()
            .filter_map(|die| Some(info.path(argument(info, *die, "T")?)))
            .collect();
        names.sort_unstable();
        names.dedup();
        // Merged functions have one address. The cell's size tells some of them apart.
        let mut candidates: Vec<DieRef> = polls
            .iter()
            .filter_map(|poll| self.cell_of(*poll))
            .filter(|cell| self.fits(*cell, trailer_offset))
            .collect();
        candidates.dedup_by_key(|cell| info.path(*cell));
        if names.len() > 1 && candidates.len() != 1 {
            return Err(RootError::Merged(names.join(", ")));
        }
        let Some(cell) = candidates.pop() else {
            let name = argument(info, *first, "T").map_or_else(String::new, |die| info.path(die));
            return Err(RootError::NoCell(name));
        };
        self.of_cell(cell, id_offset)
            .ok_or_else(|| RootError::NoCell(info.path(cell)))
    }

    /// The vtable gives the trailer's offset; it must be that of the cell.
    fn fits(&self, cell: DieRef, trailer_offset: u64) -> bool {
        let info = self.futures.info();
        info.type_at(cell)
            .and_then(|this| this.member("trailer").map(|member| member.offset))
            .is_some_and(|offset| offset == trailer_offset)
    }

    /// The `Cell<T, S>` of a `raw::poll<T, S>`: in the same unit by its template arguments, or
    /// anywhere by its name.
    fn cell_of(&self, poll: DieRef) -> Option<DieRef> {
        let info = self.futures.info();
        let future = argument(info, poll, "T")?;
        let scheduler = argument(info, poll, "S")?;
        let in_unit = info.cells_of_unit(poll.unit).iter().copied().find(|cell| {
            argument(info, *cell, "T") == Some(future)
                && argument(info, *cell, "S") == Some(scheduler)
        });
        in_unit.or_else(|| {
            let name = format!(
                "tokio::runtime::task::core::Cell<{}, {}>",
                info.path(future),
                info.path(scheduler)
            );
            self.cells.get(&name).copied()
        })
    }

    fn of_cell(&self, cell: DieRef, id_offset: u64) -> Option<RootType> {
        let info = self.futures.info();
        let future = argument(info, cell, "T")?;
        let stage = info.field(cell, "core.stage")?;
        let stage_enum = info.field_of_type(stage.type_die, |this, _| {
            this.variants().is_some() && this.name.starts_with("Stage<")
        })?;
        let stage_offset = stage.offset.wrapping_add(stage_enum.offset);
        let this = info.type_at(stage_enum.type_die)?;
        let part = this.variants()?;
        let value = |name: &str| {
            part.variants
                .iter()
                .find(|variant| {
                    info.name(variant.member.type_die)
                        .is_some_and(|found| found.starts_with(name))
                })
                .map(|variant| (variant.value, variant.member))
        };
        let (running, member) = value("Running")?;
        let payload = info.field(member.type_die, "__0")?;
        let discriminant = part.discriminant?;
        Some(RootType {
            future: self.futures.future_name(unboxed(info, future)),
            node: self.futures.root(future),
            cell_size: info.type_at(cell)?.size,
            stage: StageTag {
                offset: stage_offset.wrapping_add(discriminant.offset),
                size: info.type_at(discriminant.type_die)?.size,
                running,
                finished: value("Finished").and_then(|(value, _)| value),
                consumed: value("Consumed").and_then(|(value, _)| value),
            },
            future_offset: stage_offset
                .wrapping_add(member.offset)
                .wrapping_add(payload.offset),
            is_blocking: info.base_path(future) == "tokio::runtime::blocking::task::BlockingTask",
            id_offset,
        })
    }
}

/// A template argument of a type or function.
fn argument(info: &DebugInfo<'_>, die: DieRef, name: &str) -> Option<DieRef> {
    info.arguments(die)
        .into_iter()
        .find(|(found, _)| *found == name)
        .map(|(_, die)| die)
}

/// tokio boxes a future larger than 16 KiB (2 KiB in debug builds): T is `Pin<Box<F>>` then, and
/// the user means F.
pub(super) fn unboxed(info: &DebugInfo<'_>, die: DieRef) -> DieRef {
    if info.base_path(die) != "core::pin::Pin" {
        return die;
    }
    info.pointee(die).unwrap_or(die)
}
