//! A recording -> the [`History`](crate::analyse::history::History) in it.

use std::time::Duration;

use super::{Header, Item};
use crate::analyse::history::{Builder, Probed};

/// A part of a recording, by time since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// What ended before is left out.
    pub from: Option<Duration>,
    /// What began later is left out.
    pub to: Option<Duration>,
}

impl Window {
    /// Its bounds in a recording with this header: CLOCK_MONOTONIC, nanoseconds.
    #[must_use]
    pub fn bounds(&self, header: &Header) -> (u64, u64) {
        let at = |since_start: Duration| {
            let nanoseconds = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
            header.started.saturating_add(nanoseconds)
        };
        (
            self.from.map_or(header.started, at),
            self.to.map_or(u64::MAX, at),
        )
    }

    /// Whether it is all of the recording.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// A builder for the part of a recording with this header that lies in a window.
#[must_use]
pub fn builder(header: &Header, window: Window) -> Builder {
    let mut builder = Builder::new(header.attached());
    // A header that names none says nothing.
    if !header.probes.is_empty() {
        let kinds = header.probes.iter().map(|probes| probes.kind.as_str());
        builder.probed(Probed::by_kinds(kinds));
    }
    // What a kept stretch tells from before its start is what was known then.
    if !window.is_everything() || header.kept.is_some() {
        let (from, until) = window.bounds(header);
        builder.window(from, until);
    }
    builder
}

/// Gives the builder what a recording says next. To be called for every item, in order.
pub fn join(item: &Item, builder: &mut Builder) {
    match item {
        Item::Events(events) => builder.events(events),
        Item::Losses(losses) => {
            for loss in losses {
                builder.lost(loss.count);
            }
        }
        Item::Dropped { count, .. } => builder.dropped(*count),
        Item::Watching(watching) => builder.watching(watching),
        Item::Statistics { time, .. } => builder.reached(*time),
        Item::Snapshot(part) => builder.snapshot_part(&part.tasks),
        // Only after a jump.
        Item::Units(_) => {}
        Item::End(end) => builder.reached(end.time),
    }
}
