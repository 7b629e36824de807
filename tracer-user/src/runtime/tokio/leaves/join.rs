//! Waiting for other tasks.

use serde_json::Value as Json;

use super::is_tokio_body;
use super::waker::{self, Registered, Waiting};
use crate::address::Address;
use crate::dwarf::{Value, ValueError, base_name};
use crate::rebuild::tree::WaitsFor;
use crate::runtime::tokio::layout::{StateWord, TaskLayout};
use crate::walk::{Leaf, Step};

/// Tasks of a `JoinSet` that are named; the rest is counted.
const MAX_NAMED: usize = 64;

/// `JoinHandle.raw.ptr` is the target task's `Header`; who awaits it has left a waker in its `Trailer`.
pub(super) fn handle(value: Value<'_, '_>, waiting: &Waiting<'_, '_>) -> Result<Leaf, ValueError> {
    let layout = &waiting.layout;
    let header = Address(value.word()?);
    let mut waits_for = WaitsFor::new("join")
        .with("task", task_name(value, layout, header))
        .with("address", header.to_string());
    if let Some(state) = plausible_state(value, layout, header) {
        let because = state.is_complete().then(|| "the task finished".to_owned());
        waits_for = waker::ready(waits_for, Some(because));
        let registered = if state.has_join_waker() {
            let data = layout.join_waker(value.memory, header);
            data.map(Registered::Waker)
        } else {
            Some(Registered::None)
        };
        waits_for = waiting.told(waits_for, registered, value.memory);
    }
    Ok(Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    })
}

fn plausible_state(
    value: Value<'_, '_>,
    layout: &TaskLayout,
    header: Address,
) -> Option<StateWord> {
    let state = value.memory.u64(header.add(layout.state)).map(StateWord);
    state.ok().filter(|state| state.is_plausible())
}

fn task_name(value: Value<'_, '_>, layout: &TaskLayout, header: Address) -> Json {
    if plausible_state(value, layout, header).is_none() {
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
    waiting: &Waiting<'_, '_>,
) -> Option<Result<Leaf, ValueError>> {
    let parent = step.parent.filter(|parent| is_tokio_body(parent.node))?;
    parent
        .node
        .base_path
        .starts_with("tokio::task::join_set::")
        .then(|| tasks_of(value, waiting))
}

/// Its own waker is in `ListsInner.waker`; a task that finished has moved its entry to `notified`.
fn tasks_of(value: Value<'_, '_>, waiting: &Waiting<'_, '_>) -> Result<Leaf, ValueError> {
    let layout = &waiting.layout;
    // The closure captures `&mut &mut JoinSet` or `&mut JoinSet`, by optimisation.
    let mut set = value;
    for _ in 0..4 {
        if &*set.info.known_base_path(set.type_die) == "tokio::task::join_set::JoinSet" {
            break;
        }
        let Some(target) = set.target()? else { break };
        set = target;
    }
    let length = set.field("length")?.word()?;
    let mut tasks = Vec::new();
    let mut waits_for = WaitsFor::new("join").with("tasks_waited_for", length);
    if let Some(lists) = set.field("lists")?.shared()? {
        let notified = lists.field("notified")?.field("head")?;
        let finished = entries(notified, layout, &mut tasks)?;
        let idle = lists.field("idle")?.field("head")?;
        entries(idle, layout, &mut tasks)?;
        let because = match finished {
            0 => None,
            1 => Some("one of its tasks finished".to_owned()),
            count => Some(format!("{count} of its tasks finished")),
        };
        waits_for = waker::ready(waits_for, Some(because));
        let registered = lists.field("waker").and_then(waker::optional);
        waits_for = waiting.told(waits_for, registered.ok(), value.memory);
    }
    waits_for = waits_for.with("tasks", tasks);
    Ok(Leaf {
        waits_for: Some(waits_for),
        ..Leaf::default()
    })
}

/// Follows an intrusive list of `ListEntry<JoinHandle>`; how many of them have finished.
fn entries(
    head: Value<'_, '_>,
    layout: &TaskLayout,
    tasks: &mut Vec<Json>,
) -> Result<u64, ValueError> {
    let mut finished = 0;
    let mut next = head.target()?;
    while let Some(entry) = next {
        if tasks.len() >= MAX_NAMED
            || base_name(head.info.name(entry.type_die).unwrap_or("")) != "ListEntry"
        {
            break;
        }
        let header = Address(entry.field("value")?.word()?);
        let state = plausible_state(entry, layout, header);
        finished += u64::from(state.is_some_and(StateWord::is_complete));
        tasks.push(task_name(entry, layout, header));
        let pointer = entry.field("pointers.next")?.word()?;
        next = (pointer != 0).then_some(Value {
            address: Address(pointer),
            ..entry
        });
    }
    Ok(finished)
}
