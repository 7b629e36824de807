//! The walk over made-up memory.

extern crate std;

use std::boxed::Box;
use std::cell::Cell;
use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use super::*;

/// A target of made-up memory and tables.
#[derive(Default)]
struct Fake {
    memory: HashMap<u64, u64>,
    nodes: Vec<NodeEntry>,
    states: Vec<StateEntry>,
    edges: Vec<EdgeEntry>,
    vtables: HashMap<u64, u32>,
    /// Refuses copies, as a page that is not resident does.
    no_copies: bool,
    copies: Cell<usize>,
}

impl Target for Fake {
    fn word(&self, address: u64) -> Option<u64> {
        assert_eq!(address % 8, 0);
        self.memory.get(&address).copied()
    }

    fn copy_window(&self, address: u64, bytes: u32, buffer: &mut [u64; BUFFER_WORDS]) -> bool {
        assert!(bytes <= WINDOW_BYTES);
        self.copy(address, bytes, buffer, 0)
    }

    fn copy_object(
        &self,
        address: u64,
        bytes: u32,
        buffer: &mut [u64; BUFFER_WORDS],
        at: u32,
    ) -> bool {
        assert!(bytes <= OBJECT_BYTES && (WINDOW_BYTES..OBJECTS_END).contains(&at));
        self.copy(address, bytes, buffer, at)
    }

    fn node(&self, index: u32) -> Option<&NodeEntry> {
        self.nodes.get(index as usize)
    }

    fn state(&self, index: u32) -> Option<&StateEntry> {
        self.states.get(index as usize)
    }

    fn edge(&self, index: u32) -> Option<&EdgeEntry> {
        self.edges.get(index as usize)
    }

    fn vtable(&self, address: u64) -> Option<u32> {
        self.vtables.get(&address).copied()
    }
}

impl Fake {
    fn copy(&self, address: u64, bytes: u32, buffer: &mut [u64], at: u32) -> bool {
        assert_eq!((address % 8, bytes % 8, at % 8), (0, 0, 0));
        if self.no_copies {
            return false;
        }
        self.copies.set(self.copies.get() + 1);
        for index in 0..bytes / 8 {
            let Some(word) = self.memory.get(&(address + u64::from(index) * 8)) else {
                return false;
            };
            buffer[(at / 8 + index) as usize] = *word;
        }
        true
    }

    fn put(&mut self, address: u64, words: &[u64]) {
        for (index, word) in (0..).zip(words) {
            self.memory.insert(address + index * 8, *word);
        }
    }

    fn walk(&mut self, root: &Root, header: u64) -> (Vec<u32>, Box<Scratch>) {
        let mut scratch = Box::new(Scratch::EMPTY);
        copy(&mut scratch, self, root, header);
        if begin(&mut scratch, self, root) != Walk::Nothing {
            for _ in 0..MAX_STEPS {
                if !step(&mut scratch, self) {
                    break;
                }
            }
            finish(&mut scratch);
        }
        (scratch.words[..scratch.count as usize].to_vec(), scratch)
    }
}

fn node(states: u32, count: u32, bytes: u32) -> NodeEntry {
    NodeEntry {
        selector: Selector {
            states,
            count,
            ..Selector::NONE
        },
        bytes,
        reserved: 0,
    }
}

/// A byte at offset 16 tells the state.
fn by_discriminant(mut node: NodeEntry) -> NodeEntry {
    node.selector.discriminant = 16;
    node.selector.mask = ones(1);
    node
}

fn edges(edges: u32, count: u32) -> StateEntry {
    StateEntry {
        edges,
        count,
        ..StateEntry::default()
    }
}

/// Node 0: a body with states 0 to 3 at offset 16 (1 byte); in state 3 it awaits node 1 at offset 8
/// through a pointer and node 2 inline at offset 0. Nodes 1 and 2 have one state each (4, 5).
fn body() -> Fake {
    Fake {
        nodes: vec![
            by_discriminant(node(0, 4, 24)),
            node(4, 0, 32),
            node(5, 0, 8),
        ],
        states: vec![
            edges(0, 0),
            edges(0, 0),
            edges(0, 0),
            edges(0, 2),
            edges(0, 0),
            edges(0, 0),
        ],
        edges: vec![
            EdgeEntry {
                kind: EdgeKind::Pointer as u32,
                offset: 8,
                node: 1,
                ..EdgeEntry::default()
            },
            EdgeEntry {
                node: 2,
                ..EdgeEntry::default()
            },
        ],
        ..Fake::default()
    }
}

const HEADER: u64 = 0x1000;
const ROOT: Root = Root {
    node: 0,
    future: 64,
    bytes: 24,
    stage: 56,
    stage_bytes: 4,
    running: 0,
};

#[test]
fn a_tree_is_told_in_preorder_with_what_lies_outside() {
    let mut fake = body();
    fake.put(
        HEADER + 56,
        &[0xffff_ffff_0000_0000, 7, 0xabc0_0001_0000, 0x3],
    );
    fake.put(0xabc0_0001_0000, &[0; 4]);
    let (words, scratch) = fake.walk(&ROOT, HEADER);
    assert_eq!(words, [3, WORD_OUTSIDE, 0x0001_0000, 0xabc0, 4, 5]);
    assert_ne!(scratch.hash, 0);
    assert_eq!(fake.copies.get(), 2, "the future and the object");

    fake.no_copies = true;
    let (again, other) = fake.walk(&ROOT, HEADER);
    assert_eq!(again, words, "word by word it reads the same");
    assert_eq!(other.hash, scratch.hash);
}

#[test]
fn a_pointer_into_the_future_itself_is_told_by_its_offset() {
    let mut fake = body();
    fake.put(HEADER + 56, &[0, 7, HEADER + 64, 0x3]);
    let (words, _) = fake.walk(&ROOT, HEADER);
    assert_eq!(words, [3, WORD_INSIDE, 0, 4, 5]);
}

#[test]
fn a_future_that_is_gone_or_in_no_known_state_is_not_guessed() {
    let mut fake = body();
    fake.put(HEADER + 56, &[1, 7, 0, 3]);
    assert_eq!(fake.walk(&ROOT, HEADER).0, [], "finished");
    fake.put(HEADER + 56, &[0, 7, 0, 9]);
    assert_eq!(fake.walk(&ROOT, HEADER).0, [WORD_UNKNOWN_STATE]);
    fake.put(HEADER + 56, &[0, 7, 0, 3]);
    assert_eq!(fake.walk(&ROOT, HEADER).0, [3, WORD_NULL, 5]);
    assert_eq!(fake.walk(&ROOT, 0x9000).0, [], "not readable");
}

#[test]
fn what_holds_itself_is_cut() {
    let mut fake = body();
    fake.edges[0].node = 0;
    fake.put(HEADER + 56, &[0, 7, HEADER + 64, 0x3]);
    let (words, scratch) = fake.walk(&ROOT, HEADER);
    assert_eq!(words.last(), Some(&WORD_CUT));
    assert!(words.len() <= MAX_WORDS);
    assert!(scratch.hash != 0);
}

/// Ten values inside each other, each with one state, the last with a pointer to nothing.
#[test]
fn a_chain_is_told_as_edge_by_edge() {
    let edge = |node: u32| EdgeEntry {
        offset: 8,
        node,
        ..EdgeEntry::default()
    };
    let mut fake = Fake {
        nodes: (0..10).map(|state| node(state, 0, 96)).collect(),
        edges: (1..10).map(edge).collect(),
        ..Fake::default()
    };
    fake.edges.push(EdgeEntry {
        kind: EdgeKind::Pointer as u32,
        ..edge(0)
    });
    fake.states = (0..10).map(|index| edges(index, 1)).collect();
    fake.put(HEADER, &[0; 24]);
    let (words, scratch) = fake.walk(&ROOT, HEADER);
    assert_eq!(words, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, WORD_NULL]);

    let each = fake.edges.chunks(1).enumerate();
    fake.states = each
        .map(|(index, edge)| StateEntry::new(index as u32, edge))
        .collect();
    link(&fake.nodes, &mut fake.states);
    assert_eq!((fake.states[3].only, fake.states[3].only_at), (4, 8));
    assert_eq!(fake.states[9].only, NO_STATE, "a pointer");
    let (same, other) = fake.walk(&ROOT, HEADER);
    assert_eq!((same, other.hash), (words, scratch.hash));
}

#[test]
fn marks_tell_instances_apart_and_are_not_part_of_the_tree() {
    let mut fake = body();
    fake.states[3].mark = [0, NO_MARK, NO_MARK, NO_MARK];
    fake.states[3].mark_bytes = [0x0f, 0, 0, 0];
    fake.put(HEADER + 56, &[0, 7, 0, 3]);
    let (words, first) = fake.walk(&ROOT, HEADER);
    fake.put(HEADER + 64, &[8]);
    let (same, second) = fake.walk(&ROOT, HEADER);
    assert_eq!(words, same);
    assert_eq!(first.hash, second.hash);
    assert_ne!(marks_of(first.marks)[0], marks_of(second.marks)[0]);
    assert_eq!(first.marked, 1);
    fake.put(HEADER + 64, &[0xff00_0000_0000_0008]);
    let (_, third) = fake.walk(&ROOT, HEADER);
    assert_eq!(second.marks, third.marks, "only four bytes count");
}

#[test]
fn sequences_and_lists_are_bounded() {
    let mut fake = body();
    // Elements of node 2 behind a pointer with a length at offset 0.
    fake.edges[0] = EdgeEntry {
        kind: EdgeKind::Sequence as u32,
        offset: 8,
        node: 2,
        a: 0,
        b: 8,
        reserved: 0,
    };
    fake.put(HEADER + 56, &[0, 3, 0x5000, 3]);
    fake.put(0x5000, &[0; 3]);
    let (words, _) = fake.walk(&ROOT, HEADER);
    assert_eq!(
        words,
        [3, WORD_COUNT, 3, WORD_OUTSIDE, 0x5000, 0, 5, 5, 5, 5]
    );

    // A list whose items point at each other for ever: next at 0, the future at 8.
    fake.edges[0] = EdgeEntry {
        kind: EdgeKind::List as u32,
        offset: 8,
        node: 2,
        a: 0,
        b: 8,
        reserved: 0,
    };
    fake.put(0x5000, &[0x6000, 0]);
    fake.put(0x6000, &[0x5000, 0]);
    let (words, _) = fake.walk(&ROOT, HEADER);
    assert_eq!(
        words.last(),
        Some(&WORD_CUT),
        "128 words are full before 64 items"
    );
    fake.put(0x6000, &[0, 0]);
    let (words, _) = fake.walk(&ROOT, HEADER);
    let item = |low| [WORD_OUTSIDE, low, 0, 5];
    let expected = [&[3][..], &item(0x5008), &item(0x6008), &[WORD_END, 5]].concat();
    assert_eq!(words, expected);
}

#[test]
fn trait_objects_are_known_by_their_vtable() {
    let mut fake = body();
    fake.edges[0] = EdgeEntry {
        kind: EdgeKind::Dyn as u32,
        offset: 8,
        node: NO_STATE,
        a: 0,
        ..EdgeEntry::default()
    };
    fake.put(HEADER + 56, &[0, 0x7777, 0x5000, 3]);
    assert_eq!(fake.walk(&ROOT, HEADER).0, [3, WORD_UNKNOWN_VTABLE, 5]);
    fake.vtables.insert(0x7777, 1);
    fake.put(0x5000, &[0; 4]);
    let (words, _) = fake.walk(&ROOT, HEADER);
    assert_eq!(words, [3, WORD_OUTSIDE, 0x5000, 0, 4, 5]);
}
