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
    pub(super) fn task(&self, poll: LinkAddress) -> Option<String> {
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
