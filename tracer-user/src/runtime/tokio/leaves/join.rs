//! Waiting for other tasks.

use serde_json::Value as Json;

use super::is_tokio_body;
use crate::address::Address;
use crate::dwarf::{Value, ValueError, base_name};
use crate::rebuild::tree::WaitsFor;
use crate::runtime::tokio::layout::{StateWord, TaskLayout};
use crate::walk::{Leaf, Step};

/// Tasks of a `JoinSet` that are named; the rest is counted.
const MAX_NAMED: usize = 64;

/// `JoinHandle.raw.ptr` is the target task's `Header`.
pub(super) fn handle(value: Value<'_, '_>, layout: &TaskLayout) -> Result<Leaf, ValueError> {
    let header = Address(value.word()?);
    Ok(Leaf {
        waits_for: Some(
            WaitsFor::new("join")
                .with("task", task_name(value, layout, header))
                .with("address", header.to_string()),
        ),
        ..Leaf::default()
    })
}

fn task_name(value: Value<'_, '_>, layout: &TaskLayout, header: Address) -> Json {
    let state = value.memory.u64(header.add(layout.state)).map(StateWord);
    if !state.is_ok_and(StateWord::is_plausible) {
        return Json::Null;
    }
    match layout.task_id(value.memory, header) {
        Ok(Some(id)) => Json::String(format!("tokio/{id}")),
        _ => Json::Null,
    }
}

/// `JoinSet::join_next` polls an `IdleNotifiedSet<JoinHandle<T>>` through a `poll_fn` closure that
/// captures the set: `lists: Arc<Mutex<ListsInner { notified, idle }>>`, `length` (tokio 1.21 on).
pub(super) fn join_set(
    step: &Step<'_>,
    value: Value<'_, '_>,
    layout: &TaskLayout,
) -> Option<Result<Leaf, ValueError>> {
    let parent = step.parent.filter(|parent| is_tokio_body(parent.node))?;
    parent
        .node
        .base_path
        .starts_with("tokio::task::join_set::")
        .then(|| tasks_of(value, layout))
}

fn tasks_of(value: Value<'_, '_>, layout: &TaskLayout) -> Result<Leaf, ValueError> {
    // The closure captures `&mut &mut JoinSet` or `&mut JoinSet`, by optimisation.
    let mut set = value;
    for _ in 0..4 {
        if set.info.base_path(set.type_die) == "tokio::task::join_set::JoinSet" {
            break;
        }
        let Some(target) = set.target()? else { break };
        set = target;
    }
    let length = set.field("length")?.word()?;
    let mut tasks = Vec::new();
    if let Some(lists) = set.field("lists")?.shared()? {
        for list in ["notified", "idle"] {
            let head = lists.field(list)?.field("head")?;
            entries(head, layout, &mut tasks)?;
        }
    }
    let mut waits_for = WaitsFor::new("join").with("tasks_waited_for", length);
    waits_for = waits_for.with("tasks", tasks);
    Ok(Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    })
}

/// Follows an intrusive list of `ListEntry<JoinHandle>`.
fn entries(
    head: Value<'_, '_>,
    layout: &TaskLayout,
    tasks: &mut Vec<Json>,
) -> Result<(), ValueError> {
    let mut next = head.target()?;
    while let Some(entry) = next {
        if tasks.len() >= MAX_NAMED
            || base_name(head.info.name(entry.type_die).unwrap_or("")) != "ListEntry"
        {
            break;
        }
        let header = Address(entry.field("value")?.word()?);
        tasks.push(task_name(entry, layout, header));
        let pointer = entry.field("pointers.next")?.word()?;
        next = (pointer != 0).then_some(Value {
            address: Address(pointer),
            ..entry
        });
    }
    Ok(())
}
