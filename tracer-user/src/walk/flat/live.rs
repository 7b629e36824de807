//! The same walk over a task that is idle, from outside.

use std::collections::HashMap;

use tracer_common::walk::{
    BUFFER_WORDS, EdgeEntry, MAX_STEPS, NodeEntry, Scratch, StateEntry, Target, Walk, begin, copy,
    finish, marks_of, step,
};

use super::Tables;
use crate::address::Address;
use crate::memory::Memory;
use crate::rebuild::suspension::Marks;

/// Walks over memory by the tables.
pub struct LiveWalk<'t> {
    tables: &'t Tables,
    vtables: HashMap<u64, u32>,
    scratch: Box<Scratch>,
}

/// What a walk told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The words.
    pub words: Vec<u32>,
    /// Their hash.
    pub hash: u64,
    /// The marks.
    pub marks: Marks,
}

impl<'t> LiveWalk<'t> {
    /// By these tables.
    #[must_use]
    pub fn new(tables: &'t Tables) -> Self {
        Self {
            tables,
            vtables: tables
                .vtables
                .iter()
                .map(|(address, node)| (address.0, *node))
                .collect(),
            scratch: Box::new(Scratch::EMPTY),
        }
    }

    /// Walks the task with this header and vtable. `None` when it has no future, or none that is
    /// described. That the task did not change meanwhile is for the caller to make sure.
    pub fn task(&mut self, header: Address, vtable: Address, memory: &dyn Memory) -> Option<Told> {
        let root = self.tables.roots.get(&vtable)?;
        let target = Live {
            tables: self.tables,
            vtables: &self.vtables,
            memory,
        };
        let scratch = &mut *self.scratch;
        copy(scratch, &target, root, header.0);
        if begin(scratch, &target, root) == Walk::Nothing {
            return None;
        }
        for _ in 0..MAX_STEPS {
            if !step(scratch, &target) {
                break;
            }
        }
        finish(scratch);
        let count = (scratch.count as usize).min(scratch.words.len());
        Some(Told {
            words: scratch.words[..count].to_vec(),
            hash: scratch.hash,
            marks: Marks(marks_of(scratch.marks)),
        })
    }
}

struct Live<'t> {
    tables: &'t Tables,
    vtables: &'t HashMap<u64, u32>,
    memory: &'t dyn Memory,
}

impl Live<'_> {
    fn copy(&self, address: u64, bytes: u32, buffer: &mut [u64; BUFFER_WORDS], at: u32) -> bool {
        let mut copy = vec![0; bytes as usize];
        if self.memory.read(Address(address), &mut copy).is_err() {
            return false;
        }
        let words = copy.chunks_exact(8).map(|word| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            u64::from_le_bytes(bytes)
        });
        for (to, word) in buffer.iter_mut().skip(at as usize / 8).zip(words) {
            *to = word;
        }
        true
    }
}

impl Target for Live<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        self.memory.u64(Address(address)).ok()
    }

    fn copy_window(&self, address: u64, bytes: u32, buffer: &mut [u64; BUFFER_WORDS]) -> bool {
        self.copy(address, bytes, buffer, 0)
    }

    fn copy_object(
        &self,
        address: u64,
        bytes: u32,
        buffer: &mut [u64; BUFFER_WORDS],
        at: u32,
    ) -> bool {
        self.copy(address, bytes, buffer, at)
    }

    fn node(&self, index: u32) -> Option<&NodeEntry> {
        self.tables.nodes.get(index as usize)
    }

    fn state(&self, index: u32) -> Option<&StateEntry> {
        self.tables.states.get(index as usize)
    }

    fn edge(&self, index: u32) -> Option<&EdgeEntry> {
        self.tables.edges.get(index as usize)
    }

    fn vtable(&self, address: u64) -> Option<u32> {
        self.vtables.get(&address).copied()
    }
}
