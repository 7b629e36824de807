//! Tasks that were there and are over, by what lies at their headers.
//!
//! A task that ends while nothing watches leaves no event. That it is in no list that was found proves
//! nothing by itself: a `LocalSet`, or a runtime between two calls of `block_on`, may not have been found. What
//! lies where its header was does: another task or no task, or that same task, of a list that was read to
//! its end and does not have it. tokio takes a task out of its list when it has finished, and nobody puts it
//! back (`OwnedTasks::remove`, tokio 1.54).

use std::collections::HashSet;

use foldhash::HashSet as FastSet;

use super::layout::StateWord;
use crate::rebuild::tracker::TaskKey;

/// What lies at the address of a header; `None` for what cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// `Header.state`.
    pub state: Option<StateWord>,
    /// The task's id.
    pub id: Option<u64>,
    /// `Header.owner_id`; 0 for a task in no list.
    pub owner: Option<u64>,
}

/// Those of the tasks that are over. `owners` are the lists that were read to their end and have none of
/// them. Tasks without an id are left out: nothing tells them from the next ones at their addresses.
#[must_use]
pub(super) fn of(
    keys: &[TaskKey],
    owners: &FastSet<u64>,
    header: impl Fn(&TaskKey) -> Header,
) -> HashSet<TaskKey> {
    keys.iter()
        .filter(|key| key.id.is_some_and(|id| is_gone(id, header(key), owners)))
        .copied()
        .collect()
}

fn is_gone(id: u64, header: Header, owners: &FastSet<u64>) -> bool {
    let is_over = |state: StateWord| !state.is_plausible() || state.is_complete();
    header.id != Some(id)
        || header.state.is_none_or(is_over)
        || header.owner.is_some_and(|owner| owners.contains(&owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn a_task_is_over_when_its_header_or_its_list_says_so() {
        let owners = FastSet::from_iter([3]);
        let idle = Some(StateWord(0xcc));
        let gone = |state: Option<StateWord>, id, owner| {
            let key = TaskKey {
                address: Address(0x1000),
                id: Some(7),
            };
            let header = Header { state, id, owner };
            of(&[key], &owners, |_| header).len() == 1
        };
        assert!(gone(idle, Some(7), Some(3)), "its list does not have it");
        assert!(gone(idle, Some(8), Some(4)), "another task is there");
        assert!(gone(idle, None, Some(4)), "no vtable of a task is there");
        assert!(gone(None, None, None), "its memory was given back");
        // COMPLETE, held by a join handle; and what an allocator leaves in freed memory.
        assert!(gone(Some(StateWord(0x42)), Some(7), Some(4)));
        assert!(gone(Some(StateWord(0x7f3a_9c00_1230)), Some(7), Some(4)));
        // A `LocalSet` that was not found; blocking work, which no list has; tokio without the field.
        for owner in [Some(4), Some(0), None] {
            assert!(!gone(idle, Some(7), owner), "{owner:?}");
        }
        let nameless = TaskKey {
            address: Address(0x1000),
            id: None,
        };
        let header = |_: &TaskKey| Header {
            state: None,
            id: None,
            owner: None,
        };
        assert!(of(&[nameless], &owners, header).is_empty());
    }
}
