//! Names of polled functions from debug information.

use std::collections::{BTreeSet, HashMap};

use tracer_common::ArgumentRegister;

use super::make::TaskPoll;
use super::names::{FutureFunction, Names, future_of_poll};
use crate::address::LinkAddress;
use crate::dwarf::{DebugInfo, DieRef};
use crate::walk::{Futures, readable};

/// Largest `Poll<T>` that is returned in registers, in bytes: two of them (rustc since 1.79;
/// before, from 9 bytes on only a pair of scalars was).
const RETURNED_IN_REGISTERS: u64 = 16;

impl Names {
    /// What `info` says about the `raw::poll` functions at `polls` and about every other function
    /// that polls a future.
    #[must_use]
    pub fn from_debug_info(info: &DebugInfo<'_>, polls: &[TaskPoll]) -> Self {
        let futures = Futures::new(info);
        let tasks = polls
            .iter()
            .filter_map(|poll| {
                let mut functions = info.generic_polls_at(poll.entry.0);
                // With lines only, what is inlined into nothing and inlines nothing is left out.
                if let (true, Some(target)) = (functions.is_empty(), poll.jumps_to) {
                    functions = info.generic_polls_at(target.0);
                }
                let names: BTreeSet<String> = functions
                    .iter()
                    .filter_map(|die| {
                        let arguments = info.arguments(*die);
                        match arguments.iter().find(|(name, _)| *name == "T") {
                            Some((_, future)) => Some(futures.future_name(*future).to_string()),
                            // With `debug = 1` and with lines only there are names and no types.
                            None => future_of_poll(info.name(*die)?).map(readable),
                        }
                    })
                    .collect();
                (!names.is_empty()).then(|| (poll.entry, names.into_iter().collect()))
            })
            .collect();
        Self {
            tasks,
            futures: info.has_types().then(|| poll_functions(info, &futures)),
        }
    }
}

fn poll_functions(info: &DebugInfo<'_>, futures: &Futures<'_, '_>) -> Vec<FutureFunction> {
    let mut instances: HashMap<DieRef, Vec<LinkAddress>> = HashMap::new();
    for (address, function) in info.instances() {
        instances
            .entry(function)
            .or_default()
            .push(LinkAddress(address));
    }
    let mut functions = Vec::new();
    for function in info.poll_functions() {
        // `{async_fn#0}`, `{async_block#0}`, `{closure#0}` before rustc 1.66.
        if function.name != "poll" && !function.name.starts_with('{') {
            continue;
        }
        // The receiver is `Pin<&mut T>`.
        let Some(future) = info.pointee(function.receiver_die) else {
            continue;
        };
        let name = futures.future_name(future).to_string();
        let argument = argument(info, function.die);
        let entries: BTreeSet<LinkAddress> = function
            .low_pc
            .map(LinkAddress)
            .into_iter()
            .chain(instances.get(&function.die).into_iter().flatten().copied())
            // Code that the linker dropped is at address 0.
            .filter(|entry| !entry.is_null())
            .collect();
        let with_entry = |entry| FutureFunction {
            name: name.clone(),
            entry,
            argument,
        };
        if entries.is_empty() {
            functions.push(with_entry(None));
        }
        functions.extend(entries.into_iter().map(|entry| with_entry(Some(entry))));
    }
    functions
}

/// Where the future is at the entry: behind the place for the result where that is returned
/// through memory.
fn argument(info: &DebugInfo<'_>, function: DieRef) -> ArgumentRegister {
    match returned_size(info, function) {
        Some(size) if size > RETURNED_IN_REGISTERS => ArgumentRegister::Rsi,
        _ => ArgumentRegister::Rdi,
    }
}

fn returned_size(info: &DebugInfo<'_>, function: DieRef) -> Option<u64> {
    let unit = info.units().unit(function.unit).ok()?;
    let entry = unit.entry(function.in_unit()).ok()?;
    let value = entry.attr_value(gimli::DW_AT_type)?;
    let returned = info.units().resolve(function.unit, &value)?;
    Some(info.type_at(returned)?.size)
}
