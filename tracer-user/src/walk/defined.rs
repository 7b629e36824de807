//! Where the `poll` of a future is written that is no async body.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dwarf::{DebugInfo, DieRef, PollFunction, base_name};
use crate::rebuild::tree::SourcePlace;

/// Instances of one generic future that are compared before its `poll` is said to be at one place.
const MAX_INSTANCES: usize = 32;

/// Futures that poll a closure: `core` (std's too), and those of futures-util and of tokio up to 1.40,
/// which are older.
const POLL_FN: [&str; 3] = [
    "core::future::poll_fn::PollFn",
    "futures_util::future::poll_fn::PollFn",
    "tokio::future::poll_fn::PollFn",
];

/// Whether a future of this type (its path without generic arguments) polls a closure.
pub(crate) fn is_poll_fn(base_path: &str) -> bool {
    POLL_FN.contains(&base_path)
}

/// The functions that poll by the type that they poll.
#[derive(Default)]
pub(super) struct Polls<'a> {
    /// By the type's path with generic arguments.
    exact: HashMap<&'a str, PollFunction<'a>>,
    /// By the type's path without them.
    bases: HashMap<&'a str, Vec<PollFunction<'a>>>,
}

impl<'a> Polls<'a> {
    /// Of all functions whose first parameter is a `Pin<&mut T>`: `Future::poll`,
    /// `Stream::poll_next`. A function that was inlined everywhere keeps its abstract entry.
    pub(super) fn new(info: &DebugInfo<'a>) -> Self {
        let mut exact: HashMap<&str, PollFunction<'_>> = HashMap::new();
        let mut bases: HashMap<&str, Vec<PollFunction<'_>>> = HashMap::new();
        for function in info.poll_functions() {
            if function.name.starts_with('{') || function.declared_at.1 == 0 {
                continue;
            }
            let Some(polled) = function
                .receiver
                .strip_prefix("Pin<&mut ")
                .and_then(|name| name.strip_suffix('>'))
            else {
                continue;
            };
            if exact.contains_key(polled) {
                continue;
            }
            exact.insert(polled, *function);
            let instances = bases.entry(base_name(polled)).or_default();
            if instances.len() < MAX_INSTANCES {
                instances.push(*function);
            }
        }
        Self { exact, bases }
    }

    /// Where the type at `die` is polled. Of a `poll_fn` that is its closure. `None` when nothing
    /// in the debug information says so, or says different places.
    pub(super) fn place(&self, info: &DebugInfo<'a>, die: DieRef) -> Option<SourcePlace> {
        let path = info.path(die);
        let base = info.base_path(die);
        if is_poll_fn(&base) {
            return closure(info, die);
        }
        let at = |function: &PollFunction<'a>| {
            let (file, line) = function.declared_at;
            info.source_line(function.die.unit, file, line)
        };
        let line = match self.exact.get(path.as_str()) {
            Some(function) => at(function)?,
            // Polled by code for other arguments of the same type: one `impl`, one place.
            None => {
                let mut lines = self.bases.get(base.as_str())?.iter().map(at);
                let first = lines.next()??;
                lines
                    .all(|other| other.as_ref() == Some(&first))
                    .then_some(first)?
            }
        };
        Some(SourcePlace {
            file: Arc::clone(&line.file),
            line: line.line,
        })
    }
}

/// Where the closure inside a `PollFn<F>` is written.
fn closure(info: &DebugInfo<'_>, die: DieRef) -> Option<SourcePlace> {
    let closure = info.type_at(die)?.argument("F")?;
    let line = info.closure_line(closure)?;
    Some(SourcePlace {
        file: line.file,
        line: line.line,
    })
}
