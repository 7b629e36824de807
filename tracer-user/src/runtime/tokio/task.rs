//! One task read from memory, with the races against its own runtime detected.
//!
//! A task that runs changes its future while it is read. Measured (shared facts, dwarf.md): with
//! "not running, and the header unchanged before and after" 40 of 100,000 walks of a task that
//! changes every 50 us are still bad; reading twice and comparing removes those. What stays
//! different in every retry is reported as torn, never shown as if it were sure.

use std::sync::Arc;

use crate::address::Address;
use crate::memory::{Memory, ReadError, Window};
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::AwaitNode;
use crate::walk::Walker;

use super::batch::Batches;
use super::handles::Scheduler;
use super::layout::{StateWord, TaskLayout};
use super::leaves::TokioLeaves;
use super::roots::{RootError, RootType, Roots};

/// Reads of one task before it is called torn.
const ATTEMPTS: u32 = 8;
/// Cells up to this size are read at once; a larger one is read piece by piece.
pub(super) const MAX_CELL: u64 = 64 * 1024;

/// Reads tasks.
pub(super) struct TaskReader<'r, 'f, 'd, 'a> {
    /// Types of futures by vtable.
    pub roots: &'r Roots<'f, 'd, 'a>,
    /// Offsets in the header.
    pub layout: TaskLayout,
    /// Reads trees; its leaves are those of no task.
    pub walker: Walker<'r, 'd, 'a>,
    /// What leaves wait for.
    pub leaves: &'r TokioLeaves<'d, 'a>,
    /// Reads many together.
    pub batches: Batches<'r, 'f, 'd, 'a>,
}

/// A task as it was read.
#[derive(Debug)]
pub(super) struct TaskRead {
    /// The task.
    pub info: TaskInfo,
    /// Its memory changed in every attempt.
    pub torn: bool,
}

/// The parts of a header that prove that a read was not disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderRead {
    pub state: StateWord,
    pub vtable: Address,
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
        self.batches.read_all(
            headers,
            memory,
            &mut |task, copies| {
                let (header, seen, root) = (task.header, task.seen, &*task.root);
                let contents = self.contents(header, seen, root, copies);
                let mut info = self.info(header, seen, scheduler, Ok(root), contents);
                info.joined_by = self.joined_by(header, seen.state, copies);
                TaskRead { info, torn: false }
            },
            &mut |header, together| {
                let read = together.or_else(|| self.read(header, scheduler, memory));
                read.into_iter().for_each(&mut *each);
            },
        );
    }

    /// Reads the task at `header`. `None` when there is no task (any more).
    #[must_use]
    pub(super) fn read(
        &self,
        header: Address,
        scheduler: Scheduler,
        memory: &dyn Memory,
    ) -> Option<TaskRead> {
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let before = self.header(header, memory).ok()?;
            if !before.state.is_plausible() {
                return None;
            }
            let root = self.roots.of_vtable(before.vtable, memory);
            let first = self.once(header, before, root.as_deref(), memory);
            let is_stable = self
                .header(header, memory)
                .is_ok_and(|after| after == before)
                && !before.state.is_running();
            // The second read costs as much again, so it is done where the first can be wrong:
            // a task that is idle and was not touched in between still may have run in whole.
            let confirmed = is_stable
                && self
                    .once(header, before, root.as_deref(), memory)
                    .tree
                    .as_ref()
                    .map(shape)
                    == first.tree.as_ref().map(shape);
            let mut info = self.info(header, before, scheduler, root.as_deref(), first);
            info.joined_by = self.joined_by(header, before.state, memory);
            if confirmed
                && self
                    .header(header, memory)
                    .is_ok_and(|after| after == before)
            {
                return Some(TaskRead { info, torn: false });
            }
            let was_running = before.state.is_running();
            last = Some((info, was_running));
            if was_running && attempt + 1 < ATTEMPTS {
                std::thread::yield_now();
            }
        }
        let (mut info, was_running) = last?;
        let torn = !was_running;
        if torn {
            info.tree = None;
            info.notes.push(format!(
                "torn: it changed while it was read, {ATTEMPTS} times"
            ));
        } else if info.tree.is_some() {
            info.notes.push(
                "it was being polled while it was read: the tree is where it was suspended last, \
                 as far as its memory shows"
                    .to_owned(),
            );
        }
        Some(TaskRead { info, torn })
    }

    /// The task that awaits this one's join handle. One that waits through a `JoinSet`, or another
    /// collection, is woken by that: then it is not known here.
    fn joined_by(&self, header: Address, state: StateWord, memory: &dyn Memory) -> Option<Address> {
        if !state.has_join_waker() || state.is_complete() {
            return None;
        }
        let walker = &self.walker;
        let waiting = self.layout.join_waker(memory, header)?;
        let info = walker.futures.info();
        self.layout
            .is_task(info, walker.bias, memory, waiting)
            .then_some(waiting)
    }

    fn header(&self, header: Address, memory: &dyn Memory) -> Result<HeaderRead, ReadError> {
        Ok(HeaderRead {
            state: StateWord(memory.u64(header.add(self.layout.state))?),
            vtable: memory.pointer(header.add(self.layout.vtable))?,
        })
    }

    /// One read of everything but the header.
    fn once(
        &self,
        header: Address,
        seen: HeaderRead,
        root: Result<&RootType, &RootError>,
        memory: &dyn Memory,
    ) -> Contents {
        match root {
            Ok(root) => {
                // One read for the whole task: cheaper, and closer to one moment.
                let cell = (root.cell_size <= MAX_CELL)
                    .then(|| Window::read(memory, header, root.cell_size))
                    .and_then(Result::ok);
                let memory: &dyn Memory = cell.as_ref().map_or(memory, |cell| cell);
                self.contents(header, seen, root, memory)
            }
            Err(error) => Contents {
                id: self.layout.task_id(memory, header).ok().flatten(),
                tree: None,
                notes: vec![error.to_string()],
            },
        }
    }

    /// What a task of a known kind has in its cell, and behind it.
    fn contents(
        &self,
        header: Address,
        seen: HeaderRead,
        root: &RootType,
        memory: &dyn Memory,
    ) -> Contents {
        let mut notes = Vec::new();
        let id = (root.id_offset != 0)
            .then(|| memory.u64(header.add(root.id_offset)).ok())
            .flatten();
        let tag = self.stage(header, root, memory);
        let tree = match tag {
            Some(tag) if root.stage.finished == Some(tag) || root.stage.consumed == Some(tag) => {
                notes.push("finished: its future is gone".to_owned());
                None
            }
            None => {
                notes.push("its stage cannot be read".to_owned());
                None
            }
            Some(_) if seen.state.is_complete() => None,
            Some(_) => Some(self.tree(header, root, memory)),
        };
        if root.is_blocking {
            notes.push("a closure on the blocking pool".to_owned());
        }
        Contents { id, tree, notes }
    }

    fn stage(&self, header: Address, root: &RootType, memory: &dyn Memory) -> Option<u64> {
        let at = header.add(root.stage.offset);
        match root.stage.size {
            1 => memory.u8(at).ok().map(u64::from),
            4 => memory.u32(at).ok().map(u64::from),
            8 => memory.u64(at).ok(),
            _ => None,
        }
    }

    fn tree(&self, header: Address, root: &RootType, memory: &dyn Memory) -> AwaitNode {
        let leaves = self.leaves.of_task(header);
        let walker = Walker {
            leaves: &leaves,
            ..self.walker
        };
        walker.tree(root.node, header.add(root.future_offset), memory)
    }

    fn info(
        &self,
        header: Address,
        seen: HeaderRead,
        scheduler: Scheduler,
        root: Result<&RootType, &RootError>,
        contents: Contents,
    ) -> TaskInfo {
        // Of a `Pin<Box<dyn Future>>` only the tree tells which future it is.
        let future = match (root, &contents.tree) {
            (Ok(root), Some(tree)) if root.future.starts_with("(dyn ") => Arc::clone(&tree.future),
            (Ok(root), _) => Arc::clone(&root.future),
            (Err(_), _) => Arc::from("?"),
        };
        TaskInfo {
            id: contents
                .id
                .map_or_else(|| format!("tokio/{header}"), |id| format!("tokio/{id}")),
            runtime: "tokio",
            scheduler: scheduler.name(),
            state: state_of(seen.state),
            future,
            tree: contents.tree,
            notes: contents.notes,
            address: header,
            references: Some(seen.state.references()),
            wakers: seen.state.wakers_left(),
            cancelled: seen.state.is_cancelled(),
            ..TaskInfo::default()
        }
    }
}

/// What was read of a task beside its header.
struct Contents {
    id: Option<u64>,
    tree: Option<AwaitNode>,
    notes: Vec<String>,
}

pub(super) fn state_of(word: StateWord) -> TaskState {
    if word.is_complete() {
        TaskState::Complete
    } else if word.is_running() {
        TaskState::Running
    } else if word.is_notified() {
        TaskState::Scheduled
    } else {
        TaskState::Idle
    }
}

/// What of a tree must be equal in two reads: everything but values that may change while the
/// task waits (permits left, time to a deadline).
fn shape(tree: &AwaitNode) -> Vec<(Arc<str>, Option<u32>, crate::rebuild::tree::NodeState)> {
    let mut parts = Vec::new();
    tree.visit(&mut |node| parts.push((Arc::clone(&node.future), node.line, node.state)));
    parts
}
