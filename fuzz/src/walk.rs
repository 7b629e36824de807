//! Walks over memory that somebody made up, by every walker there is, and words of a walk.
//!
//! Input: the root (1 byte), the header's address (2 bytes), then the memory. The same bytes are
//! taken as the words of the kernel's walk.

use std::cell::RefCell;
use std::sync::Arc;

use tracer_user::address::{Address, LoadBias};
use tracer_user::memory::Memory;
use tracer_user::rebuild::tree::AwaitNode;
use tracer_user::runtime::tokio::{Scheduler, TokioConventions};
use tracer_user::walk::flat::{Decoder, LiveWalk};
use tracer_user::walk::{Leaf, Leaves, Limits, Step, Walker};

use crate::hostile_memory::HostileMemory;
use crate::program::Program;

struct NoLeaves;

impl Leaves for NoLeaves {
    fn waits_for(&self, _: &Step<'_>, _: &dyn Memory, _: bool) -> Option<Leaf> {
        None
    }
}

const LIMITS: Limits = Limits {
    depth: 64,
    nodes: 500,
    elements: 50,
};

/// Nodes of a tree: each that is visited makes a bounded number of nodes for what could not be.
const MOST: usize = 500 * 52;

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new(
        Arc::clone(&Program::get().tables),
        Arc::new(TokioConventions),
    ));
}

/// Walks.
pub fn run(bytes: &[u8]) {
    let Some((&[choice, low, high], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let program = Program::get();
    let memory = HostileMemory::new(rest);
    let header = Address(0x1000 + u64::from(u16::from_le_bytes([low, high])));

    let index = usize::from(choice) % program.roots.len();
    let walker = Walker {
        futures: program.futures,
        bias: LoadBias(0),
        leaves: &NoLeaves,
        limits: LIMITS,
    };
    check(&walker.tree(program.roots[index], header, &memory));

    let vtable = Address(index as u64 + 1);
    if let Some(told) = LiveWalk::new(&program.tables).task(header, vtable, &memory) {
        decode(&told.words);
    }
    let words: Vec<u32> = rest
        .chunks_exact(4)
        .take(160)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    decode(&words);

    if let Some(inspector) = &program.inspector {
        let read = inspector.tasks_at(&[header], Scheduler::Unknown, &memory);
        for tree in read.values().filter_map(|task| task.tree.as_ref()) {
            let mut nodes = 0_usize;
            tree.visit(&mut |_| nodes += 1);
            assert!(nodes <= 20_000 * 4_200, "{nodes} nodes");
        }
        let mut walk = LiveWalk::new(&program.tables);
        let _ = inspector.walk_idle(header, &mut walk, &memory);
    }
}

fn check(tree: &AwaitNode) {
    let mut nodes = 0_usize;
    tree.visit(&mut |_| nodes += 1);
    assert!(nodes <= MOST, "{nodes} nodes");
}

fn decode(words: &[u32]) {
    let suspension = DECODER.with(|decoder| decoder.borrow_mut().decode(words));
    assert!(
        suspension.futures.len() <= 1_000,
        "{}",
        suspension.futures.len()
    );
    for (index, future) in suspension.futures.iter().enumerate() {
        assert!(suspension.parent(index).is_none_or(|parent| parent < index));
        assert!(usize::from(future.depth) <= index);
    }
    let _ = suspension.leaves().count();
}
