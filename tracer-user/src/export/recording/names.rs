//! Names that the program knows at compile time and a file brings at run time.
//!
//! Snapshots name runtimes, schedulers and kinds of wait by `&'static str`. A file may bring names
//! that this version does not have, so those are kept for the life of the program: a bounded number
//! of short ones.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// More kinds than any runtime has; together with the length this bounds what is kept to 16 KiB.
const MAX_NAMES: usize = 256;
const MAX_LENGTH: usize = 64;

/// What stands for a name that is too long or one too many.
const OTHER: &str = "other";

/// The name as one that lives as long as the program.
pub(super) fn lasting(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    if name.len() > MAX_LENGTH || names.len() >= MAX_NAMES {
        return OTHER;
    }
    let name: &'static str = Box::leak(name.into());
    names.insert(name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_file_cannot_fill_memory_with_names() {
        assert_eq!(lasting("tokio"), "tokio");
        assert!(std::ptr::eq(lasting("tokio"), lasting("tokio")));
        assert_eq!(lasting(&"x".repeat(65)), OTHER);
        let kept = (0..1_000).filter(|n| lasting(&format!("name {n}")) != OTHER);
        assert!(kept.count() < MAX_NAMES);
        assert_eq!(lasting("tokio"), "tokio");
    }
}
