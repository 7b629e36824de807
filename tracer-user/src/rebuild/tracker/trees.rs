//! The trees that records name by their hash.
//!
//! The BPF program sends a tree's words once and remembers that in a table in which a tree's place
//! is given by the low bits of its hash. This table follows the same rule, so that it holds every
//! tree that the program believes to be known, and is as bounded. Each place also keeps the tree
//! before: records of one batch may still name it.

use std::sync::Arc;

use tracer_common::walk::SENT_TREES_KEPT;

use crate::rebuild::suspension::Suspension;

type Slot = [Option<(u64, Arc<Suspension>)>; 2];

#[derive(Debug)]
pub(super) struct Trees {
    slots: Vec<Slot>,
}

impl Trees {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new() }
    }

    pub(super) fn insert(&mut self, hash: u64, suspension: Arc<Suspension>) {
        if self.slots.is_empty() {
            self.slots.resize(SENT_TREES_KEPT as usize, [None, None]);
        }
        if let Some([now, before]) = self.slots.get_mut(place(hash)) {
            if now.as_ref().is_some_and(|(known, _)| *known == hash) {
                return;
            }
            *before = now.replace((hash, suspension));
        }
    }

    pub(super) fn get(&self, hash: u64) -> Option<&Arc<Suspension>> {
        self.slots
            .get(place(hash))?
            .iter()
            .flatten()
            .find(|(known, _)| *known == hash)
            .map(|(_, suspension)| suspension)
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash & u64::from(SENT_TREES_KEPT - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_the_last_two() {
        let mut trees = Trees::new();
        let step = u64::from(SENT_TREES_KEPT);
        let hashes = [5, 5 + step, 5 + 2 * step];
        assert_eq!(trees.get(5), None);
        for hash in hashes {
            trees.insert(hash, Arc::new(Suspension::unknown(hash.to_string())));
            trees.insert(hash, Arc::new(Suspension::unknown("again")));
        }
        assert_eq!(trees.get(hashes[0]), None);
        for hash in &hashes[1..] {
            let missing = trees.get(*hash).unwrap().missing.clone().unwrap();
            assert_eq!(*missing, *hash.to_string());
        }
    }
}
