//! Damaged debug information and memory full of anything: wrong answers are possible, a panic, an
//! endless walk or unbounded memory is not.
//!
//! The sample is a fixture, as `cargo xtask build --fixtures` makes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use gimli::{EndianSlice, LittleEndian, SectionId};
use proptest::prelude::*;
use support::Build;
use tracer_user::address::{Address, LoadBias};
use tracer_user::dwarf::{DebugInfo, DieRef};
use tracer_user::memory::{Memory, ReadError};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::walk::{Futures, Leaf, Leaves, Limits, Step, Walker};

/// A fixture that has futures of every shape.
fn debug_information() -> DebugSource {
    let exe = Build::Dev.folder().join("shapes");
    let binary = Arc::new(Binary::open(&exe).unwrap());
    DebugSource::search(binary, &exe, &[PathBuf::from("/")], None).unwrap()
}

struct NoLeaves;

impl Leaves for NoLeaves {
    fn waits_for(&self, _: &Step<'_>, _: &dyn Memory, _: bool) -> Option<Leaf> {
        None
    }
}

/// Memory that answers anything: small numbers, pointers into itself, noise; and sometimes not.
struct Noise {
    state: Cell<u64>,
    reads: Cell<u64>,
}

impl Noise {
    fn next(&self) -> u64 {
        // xorshift64*, Vigna 2014.
        let mut x = self.state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Memory for Noise {
    fn read(&self, address: Address, into: &mut [u8]) -> Result<(), ReadError> {
        self.reads.set(self.reads.get() + 1);
        if self.next().is_multiple_of(64) {
            return Err(ReadError::Unmapped {
                address,
                len: into.len(),
            });
        }
        for chunk in into.chunks_mut(8) {
            let word = match self.next() % 8 {
                0..=4 => self.next() % 5,
                5 => 0x1000 + self.next() % 0x1000,
                6 => 0,
                _ => self.next(),
            };
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn roots(info: &DebugInfo<'_>) -> Vec<DieRef> {
    info.cells()
        .filter_map(|cell| info.arguments(cell).first().map(|(_, future)| *future))
        // Its own: what a library's hold changes with every version.
        .filter(|future| info.path(*future).contains("shapes::"))
        .collect()
}

#[test]
fn noise_in_memory_ends_every_walk_within_its_bounds() {
    let source = debug_information();
    let info = DebugInfo::load(&source).unwrap();
    let futures = Futures::new(&info);
    let roots = roots(&info);
    assert!(!roots.is_empty(), "nothing to walk");
    let limits = Limits {
        depth: 64,
        nodes: 500,
        elements: 50,
    };
    let walker = Walker {
        futures: &futures,
        bias: LoadBias(0),
        leaves: &NoLeaves,
        limits,
    };
    let mut far = 0_usize;
    for seed in 1..200_u64 {
        let memory = Noise {
            state: Cell::new(seed),
            reads: Cell::new(0),
        };
        let root = roots[usize::try_from(memory.next()).unwrap() % roots.len()];
        let tree = walker.tree(futures.root(root), Address(0x1000), &memory);
        let mut size = 0;
        tree.visit(&mut |_| size += 1);
        far += usize::from(size > 3);
        // Each visited node makes a bounded number of nodes for what could not be walked.
        assert!(size <= 500 * 52, "{size} nodes from seed {seed}");
        assert!(
            memory.reads.get() < 500 * 60,
            "{} reads from seed {seed}",
            memory.reads.get()
        );
    }
    assert!(
        far >= 5,
        "the walks went nowhere: {far} of 199 past 3 nodes"
    );
}

const SECTIONS: [SectionId; 8] = [
    SectionId::DebugAbbrev,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugStr,
    SectionId::DebugLineStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugAddr,
    SectionId::DebugRngLists,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 4, ..ProptestConfig::default() })]

    #[test]
    fn damaged_debug_information_is_no_panic(
        damage in prop::collection::vec((0..SECTIONS.len(), any::<prop::sample::Index>(), any::<u8>()), 1..400),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let source = debug_information();
        let mut sections: Vec<Vec<u8>> =
            SECTIONS.iter().map(|id| source.section(*id).to_vec()).collect();
        for (section, at, byte) in damage {
            let bytes = &mut sections[section];
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Some(cut) = cut {
            let keep = cut.index(sections[1].len());
            sections[1].truncate(keep);
        }
        let dwarf = gimli::Dwarf::load(|id| {
            let place = SECTIONS.iter().position(|known| *known == id);
            let bytes = place.map_or(&[][..], |place| sections[place].as_slice());
            Ok::<_, gimli::Error>(EndianSlice::new(bytes, LittleEndian))
        })
        .unwrap();
        // An error is a fine answer.
        let Ok(info) = DebugInfo::new(dwarf, None) else { return Ok(()) };
        let futures = Futures::new(&info);
        let limits = Limits { depth: 64, nodes: 200, elements: 20 };
        let walker = Walker { futures: &futures, bias: LoadBias(0), leaves: &NoLeaves, limits };
        for root in roots(&info).into_iter().take(40) {
            let memory = Noise { state: Cell::new(u64::from(root.offset) | 1), reads: Cell::new(0) };
            let _ = walker.tree(futures.root(root), Address(0x1000), &memory);
        }
    }
}
