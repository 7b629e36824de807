//! What debug information says about functions that the plan probes.

use std::collections::{BTreeMap, HashMap};

use tracer_common::ArgumentRegister;

use crate::address::LinkAddress;

/// A function that polls a future: `Future::poll` of some type, or the body of an async fn or
/// block. A future may have several (merged or repeated code) or none (inlined everywhere).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FutureFunction {
    /// The future's path, for example `app::serve::{async_fn#0}`.
    pub name: String,
    /// Its out-of-line code; `None` where all of it is inlined.
    pub entry: Option<LinkAddress>,
    /// Where the future is at the entry.
    pub argument: ArgumentRegister,
}

/// Names of functions, by debug information.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The futures of each `raw::poll`; several where the linker merged their code.
    pub tasks: HashMap<LinkAddress, Vec<String>>,
    /// Every function that polls a future; `None` without debug information.
    pub futures: Option<Vec<FutureFunction>>,
}

impl Names {
    /// The futures that a `raw::poll` may poll, as one name.
    pub(crate) fn task(&self, poll: LinkAddress) -> Option<String> {
        let names = self.tasks.get(&poll)?;
        match names.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("one of {}", several.join(", "))),
        }
    }

    /// Futures by name: their entries, none where all code is inlined.
    pub(super) fn futures_by_name(&self) -> BTreeMap<&str, Vec<&FutureFunction>> {
        let mut by_name: BTreeMap<&str, Vec<&FutureFunction>> = BTreeMap::new();
        for function in self.futures.iter().flatten() {
            by_name.entry(&function.name).or_default().push(function);
        }
        by_name
    }
}

/// `T` of a function's name `..::poll::<T, S>`, as v0 symbols have it, or `poll<T, S>`, as debug
/// information of every level has it.
pub(crate) fn future_of_poll(name: &str) -> Option<&str> {
    let (_, arguments) = match name.split_once("::poll::<") {
        Some(parts) => parts,
        None => ("", name.strip_prefix("poll<")?),
    };
    let arguments = arguments.strip_suffix('>')?;
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, c) in arguments.char_indices() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            // Not the head of an arrow (`fn() -> T`).
            '>' if previous == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return arguments.get(..at),
            _ => {}
        }
        previous = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_of_a_poll_functions_name() {
        for (before, after) in [("tokio::runtime::task::raw::poll::<", ">"), ("poll<", ">")] {
            let first = |arguments: &str| {
                let name = format!("{before}{arguments}{after}");
                future_of_poll(&name).map(ToOwned::to_owned)
            };
            assert_eq!(
                first("app::main::{closure#0}, S").unwrap(),
                "app::main::{closure#0}"
            );
            assert_eq!(
                first("a::Map<fn(u8) -> u8, (u8, u16)>, alloc::sync::Arc<H>").unwrap(),
                "a::Map<fn(u8) -> u8, (u8, u16)>"
            );
            assert_eq!(first("a"), None);
        }
        let raw = "tokio::runtime::task::raw::poll";
        for name in [raw, &format!("{raw}::h0123"), "poll<", "poll<a, b", ""] {
            assert_eq!(future_of_poll(name), None);
        }
    }
}
