//! Parts of a history as words.

use std::sync::Arc;

use serde::Serialize;

use crate::analyse::history::{AwaitOutcome, History, TaskHistory, UnitIndex, UnitKind, WakeIndex};
use crate::rebuild::event::Origin;
use crate::show::escape::escape;
use crate::show::live::format;

use super::AwaitedPlace;

/// A name longer than this is cut at its left, where it says least.
const NAME: usize = 72;

/// The same beside other names.
const NARROW: usize = 44;

/// What made a wake-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// The task itself.
    Itself,
    /// Another task.
    Task {
        /// Its name.
        name: Arc<str>,
        /// Path of its future.
        future: Option<Arc<str>>,
        /// The await that it was in the middle of.
        within: Option<AwaitedPlace>,
    },
    /// I/O.
    Io {
        /// The file descriptor, where it is known.
        fd: Option<i32>,
    },
    /// A timer.
    Timer,
    /// A signal.
    Signal,
    /// A thread that polls tasks, outside any poll: the runtime's I/O or timer driver.
    RuntimeThread {
        /// Its name.
        name: Option<Arc<str>>,
    },
    /// Another thread.
    Thread {
        /// Its name.
        name: Option<Arc<str>>,
    },
    /// Not known.
    Unknown,
}

/// What made a wake-up.
pub(super) fn cause(history: &History, wake: WakeIndex) -> Cause {
    let Some(wake) = history.wakes.get(wake.0 as usize) else {
        return Cause::Unknown;
    };
    let kind = |unit: UnitIndex| history.units.get(unit.0 as usize).map(|unit| &unit.kind);
    if let Some(UnitKind::Origin(origin)) = wake.by.origin.and_then(kind) {
        return origin_cause(*origin);
    }
    match kind(wake.by.unit) {
        Some(UnitKind::Task(_)) if wake.by.unit == wake.task => Cause::Itself,
        Some(UnitKind::Task(task)) => Cause::Task {
            name: Arc::clone(&task.name),
            future: task.future.clone(),
            within: super::place_of(history, wake.by.within),
        },
        Some(UnitKind::Thread {
            name, polls_tasks, ..
        }) => {
            let name = name.clone();
            if *polls_tasks {
                Cause::RuntimeThread { name }
            } else {
                Cause::Thread { name }
            }
        }
        Some(UnitKind::Origin(origin)) => origin_cause(*origin),
        Some(UnitKind::Unknown) | None => Cause::Unknown,
    }
}

const fn origin_cause(origin: Origin) -> Cause {
    match origin {
        Origin::Io { fd, .. } => Cause::Io { fd },
        Origin::Timer => Cause::Timer,
        Origin::Signal => Cause::Signal,
    }
}

impl Cause {
    /// In words, safe for a terminal.
    pub(super) fn words(&self) -> String {
        let thread = |name: &Option<Arc<str>>| {
            name.as_ref()
                .map_or_else(|| "?".to_owned(), |name| escape(name).into_owned())
        };
        match self {
            Self::Itself => "itself".to_owned(),
            Self::Task { name, future, .. } => match future {
                Some(future) => format!(
                    "{} {}",
                    escape(name),
                    format::keep_right(&escape(future), NARROW)
                ),
                None => escape(name).into_owned(),
            },
            Self::Io { fd: Some(fd) } => format!("I/O on fd {fd}"),
            Self::Io { fd: None } => "I/O".to_owned(),
            Self::Timer => "timer".to_owned(),
            Self::Signal => "signal".to_owned(),
            Self::RuntimeThread { name } => format!("runtime on thread {}", thread(name)),
            Self::Thread { name } => format!("thread {}", thread(name)),
            Self::Unknown => "not known".to_owned(),
        }
    }
}

/// What is known of a unit as a task.
pub(super) fn task(history: &History, unit: UnitIndex) -> Option<&TaskHistory> {
    history.units.get(unit.0 as usize)?.task()
}

/// A unit's name and what it is, safe for a terminal.
pub(super) fn unit(history: &History, index: UnitIndex) -> String {
    match history.units.get(index.0 as usize).map(|unit| &unit.kind) {
        Some(UnitKind::Task(task)) => match &task.future {
            Some(future) => format!(
                "{} {}",
                escape(&task.name),
                format::keep_right(&escape(future), NARROW)
            ),
            None => escape(&task.name).into_owned(),
        },
        Some(UnitKind::Thread { tid, name, .. }) => match name {
            Some(name) => format!("thread {tid} {}", escape(name)),
            None => format!("thread {tid}"),
        },
        Some(UnitKind::Origin(origin)) => origin_cause(*origin).words(),
        Some(UnitKind::Unknown) | None => "not known".to_owned(),
    }
}

/// A path, safe for a terminal and not too long.
pub(super) fn path(path: &str) -> String {
    format::keep_right(&escape(path), NAME)
}

/// Where in the source an await stands: `src/main.rs:23`, nothing when that is not known.
pub(super) fn source(file: Option<&Arc<str>>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => {
            let file = escape(format::short_path(file)).into_owned();
            format!("{}:{line}", format::keep_right(&file, 56))
        }
        _ => String::new(),
    }
}

/// An await: what, and where.
pub(super) fn awaited(place: &AwaitedPlace) -> String {
    let source = source(place.file.as_ref(), place.line);
    if source.is_empty() {
        path(&place.future)
    } else {
        format!("{}  {source}", path(&place.future))
    }
}

/// A leaf, and where the user awaits it: `tokio::sync::Notified  src/main.rs:23`.
pub(super) fn leaf_at(leaf: Option<&AwaitedPlace>, at: Option<&AwaitedPlace>) -> String {
    let Some(leaf) = leaf else {
        return "-".to_owned();
    };
    let at = at.unwrap_or(leaf);
    let source = source(at.file.as_ref(), at.line);
    let name = format::keep_right(&escape(&leaf.future), NARROW);
    if source.is_empty() {
        name
    } else {
        format!("{name}  {source}")
    }
}

/// The word for an outcome.
pub(super) const fn outcome(outcome: AwaitOutcome) -> &'static str {
    match outcome {
        AwaitOutcome::Open => "open",
        AwaitOutcome::Detached => "detached",
        AwaitOutcome::Ready => "ready",
        AwaitOutcome::Cancelled => "cancelled",
        AwaitOutcome::Panicked => "panicked",
        AwaitOutcome::Over => "over",
        AwaitOutcome::Unknown => "end not seen",
    }
}

/// A length of time with three digits: `480ns`, `12.3us`, `30.1ms`, `1.23s`, `4m05s`.
pub(super) fn length(nanoseconds: u64) -> String {
    let unit = |divisor: u64, name: &str| {
        let (whole, rest) = (nanoseconds / divisor, nanoseconds % divisor);
        match whole {
            0..10 => format!("{whole}.{:02}{name}", rest * 100 / divisor),
            10..100 => format!("{whole}.{}{name}", rest * 10 / divisor),
            _ => format!("{whole}{name}"),
        }
    };
    match nanoseconds {
        0 => "0".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => unit(1_000, "us"),
        1_000_000..1_000_000_000 => unit(1_000_000, "ms"),
        1_000_000_000..60_000_000_000 => unit(1_000_000_000, "s"),
        _ => format::duration(std::time::Duration::from_nanos(nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn lengths_have_three_digits() {
        for (nanoseconds, text) in [
            (0, "0"),
            (480, "480ns"),
            (1_000, "1.00us"),
            (12_345, "12.3us"),
            (999_999, "999us"),
            (30_123_456, "30.1ms"),
            (1_234_000_000, "1.23s"),
            (59_999_999_999, "59.9s"),
            (245_000_000_000, "4m05s"),
        ] {
            assert_eq!(length(nanoseconds), text);
        }
    }
}
