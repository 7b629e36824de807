//! Where time goes, over the whole history: the await profile and its flame graph.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::code::{LEFT_OUT, NONE, future};
use super::strings::Strings;
use crate::analyse::history::{Awaited, History};
use crate::analyse::profile::awaits;

/// What is awaited, by number.
#[derive(Default)]
pub(super) struct Places {
    list: Vec<Arc<Awaited>>,
    by_pointer: HashMap<usize, u32>,
    by_value: HashMap<Arc<Awaited>, u32>,
}

impl Places {
    /// The number of a place. Most are told apart by their pointer, as they are interned.
    pub(super) fn number(&mut self, awaited: &Arc<Awaited>) -> u32 {
        let pointer = Arc::as_ptr(awaited).addr();
        if let Some(number) = self.by_pointer.get(&pointer) {
            return *number;
        }
        let number = *self.by_value.entry(awaited.clone()).or_insert_with(|| {
            self.list.push(awaited.clone());
            self.list.len() as u32 - 1
        });
        self.by_pointer.insert(pointer, number);
        number
    }

    pub(super) fn columns(&self, strings: &mut Strings) -> PlaceColumns {
        let mut columns = PlaceColumns::default();
        for place in &self.list {
            columns.future.push(strings.number(&place.future));
            columns.kind.push(future(place.kind));
            columns
                .waits_for
                .push(strings.optional(place.waits_for.as_deref()));
            columns.by.push(strings.optional(place.by.as_deref()));
            columns.file.push(strings.optional(place.file.as_deref()));
            columns.line.push(place.line.map_or(NONE, i64::from));
        }
        columns
    }
}

#[derive(Default, Serialize)]
pub(super) struct PlaceColumns {
    future: Vec<i64>,
    kind: Vec<i64>,
    waits_for: Vec<i64>,
    by: Vec<i64>,
    file: Vec<i64>,
    line: Vec<i64>,
}

/// A row for each await, as the text report has them.
#[derive(Default, Serialize)]
pub(super) struct ProfileColumns {
    place: Vec<i64>,
    leaf: Vec<i64>,
    count: Vec<i64>,
    open: Vec<i64>,
    cancelled: Vec<i64>,
    at_least: Vec<i64>,
    waiting: Vec<i64>,
    polled: Vec<i64>,
    p50: Vec<i64>,
    p99: Vec<i64>,
    max: Vec<i64>,
}

/// The await profile.
pub(super) fn profile(history: &History, places: &mut Places) -> ProfileColumns {
    let mut columns = ProfileColumns::default();
    for row in awaits(history) {
        columns.place.push(i64::from(places.number(&row.awaited)));
        columns.leaf.push(i64::from(row.leaf));
        columns.count.push(row.durations.count as i64);
        columns.open.push(row.open as i64);
        columns.cancelled.push(row.cancelled as i64);
        columns.at_least.push(row.at_least as i64);
        columns.waiting.push(nanoseconds(row.waiting_ns));
        columns.polled.push(nanoseconds(row.polled_ns));
        columns.p50.push(nanoseconds(row.durations.p50_ns));
        columns.p99.push(nanoseconds(row.durations.p99_ns));
        columns.max.push(nanoseconds(row.durations.max_ns));
    }
    columns
}

/// Nanoseconds as the page can hold them: exact up to 104 days.
pub(super) fn nanoseconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX).min(MAX_EXACT)
}

/// The largest integer that JavaScript's numbers hold exactly.
pub(super) const MAX_EXACT: i64 = (1 << 53) - 1;

/// The flame graph: a vertex for each stack of places, parents before children. Values are a
/// vertex's own, without those above it.
#[derive(Default, Serialize)]
pub(super) struct FlameColumns {
    parent: Vec<i64>,
    place: Vec<i64>,
    waiting: Vec<i64>,
    polled: Vec<i64>,
    count: Vec<i64>,
    /// Await instances that are not in it, as it has too many different stacks.
    left_out: u64,
}

/// The flame graph of all await instances, with at most `limit` vertices.
pub(super) fn flame(history: &History, places: &mut Places, limit: usize) -> FlameColumns {
    let awaits = &history.awaits;
    // What children of an instance waited and were polled, so that what is its own can be told.
    let mut below = vec![(0_u64, 0_u64); awaits.len()];
    for instance in awaits {
        let parent = instance
            .parent
            .and_then(|parent| below.get_mut(parent.0 as usize));
        if let Some((waiting, polled)) = parent {
            *waiting = waiting.saturating_add(instance.waiting);
            *polled = polled.saturating_add(instance.polled);
        }
    }
    let mut columns = FlameColumns::default();
    let mut vertices: HashMap<(i64, u32), i64> = HashMap::new();
    let mut vertex_of = vec![LEFT_OUT; awaits.len()];
    for (index, instance) in awaits.iter().enumerate() {
        let parent = match instance.parent {
            Some(parent) => vertex_of
                .get(parent.0 as usize)
                .copied()
                .unwrap_or(LEFT_OUT),
            None => NONE,
        };
        if parent == LEFT_OUT {
            columns.left_out += 1;
            continue;
        }
        let place = places.number(&instance.awaited);
        let vertex = match vertices.get(&(parent, place)) {
            Some(vertex) => *vertex,
            None if columns.parent.len() >= limit => {
                columns.left_out += 1;
                continue;
            }
            None => {
                let vertex = columns.parent.len() as i64;
                vertices.insert((parent, place), vertex);
                columns.parent.push(parent);
                columns.place.push(i64::from(place));
                columns.waiting.push(0);
                columns.polled.push(0);
                columns.count.push(0);
                vertex
            }
        };
        vertex_of[index] = vertex;
        let (waiting, polled) = below[index];
        let add = |column: &mut Vec<i64>, value: u64| {
            let sum = &mut column[vertex as usize];
            *sum = sum.saturating_add(nanoseconds(value)).min(MAX_EXACT);
        };
        add(
            &mut columns.waiting,
            instance.waiting.saturating_sub(waiting),
        );
        add(&mut columns.polled, instance.polled.saturating_sub(polled));
        add(&mut columns.count, 1);
    }
    columns
}
