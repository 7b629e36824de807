//! Entries of a ring -> records, and what follows some of them: trees and panics. Pure; the bytes are
//! the BPF program's, and through it the target's.

use tracer_common::panic::{Payload, Site, TREE_BYTES};
use tracer_common::{Record, RecordKind, entries};

use super::Order;
use super::panics::{PanicTold, SiteTold, message};

/// A tree that the kernel's walk told, which records name by its hash from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// [`Record::path`].
    pub hash: u64,
    /// What the walk told.
    pub words: Vec<u32>,
}

impl Tree {
    fn of(hash: u64, bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(4).map(|word| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(word);
            u32::from_ne_bytes(bytes)
        });
        Self {
            hash,
            words: words.collect(),
        }
    }
}

/// Takes entries apart, and counts them.
#[derive(Debug, Default)]
pub struct Entries {
    read: u64,
    foreign: u64,
    trees: Vec<Tree>,
    panics: Vec<PanicTold>,
}

impl Entries {
    /// Takes what lay in the ring as one piece: its records go into `order`, what follows them is kept
    /// until it is asked for. What is no entry of this version is counted. The time of the last
    /// record, if there is one.
    pub fn take(&mut self, piece: &[u8], order: &mut Order) -> Option<u64> {
        let mut last = None;
        for entry in entries(piece) {
            let Some(entry) = entry else {
                self.foreign += 1;
                continue;
            };
            if !entry.rest.is_empty() {
                self.follow(&entry.record, entry.rest);
            }
            if let Some(ended) = entry.ended {
                self.read += 1;
                order.push(ended);
            }
            self.read += 1;
            order.push(entry.record);
            last = Some(entry.record.time);
        }
        last
    }

    /// What followed records of panics since the last call.
    pub fn take_panics(&mut self) -> Vec<PanicTold> {
        std::mem::take(&mut self.panics)
    }

    /// The trees that followed records since the last call.
    pub fn take_trees(&mut self) -> Vec<Tree> {
        std::mem::take(&mut self.trees)
    }

    /// Records so far.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Entries that were no records of this version: none, in a sound build.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// What follows a record.
    fn follow(&mut self, record: &Record, rest: &[u8]) {
        let mut panic = PanicTold {
            tid: record.tid,
            time: record.time,
            site: None,
            message: None,
        };
        match RecordKind::from_u8(record.kind) {
            Some(RecordKind::PollBegin) => {
                self.trees.push(Tree::of(record.path, rest));
                return;
            }
            Some(RecordKind::PanicBegin) => {
                let Some((words, site)) = rest.split_at_checked(TREE_BYTES) else {
                    return;
                };
                let used = words.get(..usize::from(record.reserved) * 4);
                if let Some(words) = used.filter(|_| record.path != 0) {
                    self.trees.push(Tree::of(record.path, words));
                }
                panic.site = Site::decode(site).and_then(|site| SiteTold::of(&site));
            }
            Some(RecordKind::Panic) => {
                panic.message = Payload::decode(rest).and_then(|payload| message(&payload));
            }
            _ => return,
        }
        self.panics.push(panic);
    }
}
