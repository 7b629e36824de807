//! Where tokio is probed: the functions of its tasks and wakers, by symbol and by vtable.
//!
//! All take the task's `Header` as their argument in rdi, but for `OwnedTasks::bind_inner`, whose
//! second is it. Names checked on tokio 1.0 to 1.54, legacy and v0 mangling.

use std::collections::BTreeMap;

use tracer_common::{ArgumentRegister, ProbeKind};

use super::model::Unseen;
use super::vtable::{TaskVtable, task_vtables};
use super::waker_scan::waker_functions;
use crate::address::LinkAddress;
use crate::object::{Binary, SymbolKind};

/// Functions to be probed, by their path.
const FUNCTIONS: [(&str, ProbeKind, ArgumentRegister); 5] = [
    (
        "tokio::runtime::task::raw::poll",
        ProbeKind::TaskPoll,
        ArgumentRegister::Rdi,
    ),
    (
        "tokio::runtime::task::waker::wake_by_val",
        ProbeKind::WakeByValue,
        ArgumentRegister::Rdi,
    ),
    (
        "tokio::runtime::task::waker::wake_by_ref",
        ProbeKind::WakeByReference,
        ArgumentRegister::Rdi,
    ),
    (
        "tokio::runtime::task::waker::clone_waker",
        ProbeKind::WakerClone,
        ArgumentRegister::Rdi,
    ),
    (
        "tokio::runtime::task::waker::drop_waker",
        ProbeKind::WakerDrop,
        ArgumentRegister::Rdi,
    ),
];
/// The type whose `bind_inner` sees every spawn, as far as it is not inlined into `bind`.
const OWNED_TASKS: &str = "tokio::runtime::task::list::OwnedTasks";
/// Called by a multi-thread runtime with every task that it has just bound (tokio 1.36 to 1.54),
/// and by nothing else; null when the runtime is shutting down. Where `bind_inner` is inlined this
/// one mostly is not; where both are seen, the second is known by the task's id.
const SCHEDULE_SPAWNED: &str = "::schedule_option_task_without_yield";
const MULTI_THREAD: &str = "tokio::runtime::scheduler::multi_thread";

/// A function to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) entry: LinkAddress,
    pub(super) kind: ProbeKind,
    pub(super) argument: ArgumentRegister,
    pub(super) name: String,
    /// Other functions whose code was merged with this one.
    pub(super) merged: Vec<String>,
}

/// What of tokio is in a binary.
#[derive(Debug, Default)]
pub(super) struct Tokio {
    pub(super) candidates: Vec<Candidate>,
    pub(super) vtables: Vec<TaskVtable>,
    pub(super) unseen: Vec<Unseen>,
    /// Whether the functions were found without symbols.
    pub(super) by_shape: bool,
}

/// Finds tokio in `binary`, with the symbols of `symbols` (itself or its debug file).
pub(super) fn find(binary: &Binary, symbols: &Binary) -> Tokio {
    let mut tokio = Tokio {
        vtables: task_vtables(binary),
        ..Tokio::default()
    };
    let mut by_symbol = by_symbols(symbols);
    if by_symbol
        .values()
        .any(|candidate| candidate.kind == ProbeKind::TaskPoll)
    {
        let polls = |vtable: &TaskVtable| {
            by_symbol
                .get(&vtable.poll)
                .is_some_and(|candidate| candidate.kind == ProbeKind::TaskPoll)
        };
        // With names known, a look-alike is no task vtable.
        let (known, _): (Vec<_>, Vec<_>) = tokio.vtables.into_iter().partition(polls);
        tokio.vtables = known;
    } else {
        tokio.by_shape = !tokio.vtables.is_empty();
        for candidate in by_shape(binary, &tokio.vtables) {
            by_symbol.entry(candidate.entry).or_insert(candidate);
        }
    }
    tokio.candidates = by_symbol.into_values().collect();
    tokio.unseen = missing(&tokio);
    tokio
}

/// By symbol, one for each address: legacy mangling gives the instances of one generic function
/// the same name, and the linker merges equal ones.
fn by_symbols(symbols: &Binary) -> BTreeMap<LinkAddress, Candidate> {
    let mut found = BTreeMap::new();
    for symbol in symbols.symbols() {
        // Both manglings spell the crate with its length; most symbols are never demangled.
        if symbol.kind != SymbolKind::Function
            || symbol.address.is_null()
            || ![
                "5tokio7runtime4task",
                "34schedule_option_task_without_yield",
                "12scheduled_io11ScheduledIo4wake",
                "15process_at_time",
                "12remote_abort",
                "10rust_panic",
                "panic_with_hook",
            ]
            .iter()
            .any(|part| symbol.name.contains(part))
        {
            continue;
        }
        let name = symbol.demangled();
        if let Some((kind, argument)) = classify(&name) {
            let candidate: &mut Candidate = found.entry(symbol.address).or_insert(Candidate {
                entry: symbol.address,
                kind,
                argument,
                name: name.clone(),
                merged: Vec::new(),
            });
            if candidate.name != name && !candidate.merged.contains(&name) {
                candidate.merged.push(name);
            }
        }
    }
    found
}

fn classify(name: &str) -> Option<(ProbeKind, ArgumentRegister)> {
    if let Some(kind) = origin(name) {
        if kind == ProbeKind::PanicBegin {
            return Some((kind, ArgumentRegister::Rdx));
        }
        return Some((kind, ArgumentRegister::Rdi));
    }
    for (path, kind, argument) in FUNCTIONS {
        if let Some(rest) = name.strip_prefix(path)
            && (rest.is_empty() || rest.starts_with("::<"))
        {
            return Some((kind, argument));
        }
    }
    if let Some(owner) = name.strip_suffix(SCHEDULE_SPAWNED) {
        return owner
            .trim_start_matches('<')
            .starts_with(MULTI_THREAD)
            .then_some((ProbeKind::Spawn, ArgumentRegister::Rsi));
    }
    // `tokio::..::OwnedTasks<S>::bind_inner`, and `<tokio::..::OwnedTasks<..>>::bind_inner` in v0.
    let owner = name.strip_suffix("::bind_inner")?;
    owner
        .strip_prefix('<')
        .unwrap_or(owner)
        .strip_prefix(OWNED_TASKS)?
        .starts_with('<')
        .then_some((ProbeKind::Spawn, ArgumentRegister::Rsi))
}

/// What wakes and ends tasks from outside of them. Not generic, and too large or too cold to be
/// inlined in the binaries that were looked at (tokio 1.54.1: dev, release, fat LTO), but for
/// aborts in fat LTO. One that is not there is not missed: its wake-ups are then the
/// thread's.
fn origin(name: &str) -> Option<ProbeKind> {
    let is_in = |module: &str| name.trim_start_matches('<').starts_with(module);
    // `ScheduledIo::wake` was in `tokio::io::driver` before 1.21.
    if name.ends_with("::scheduled_io::ScheduledIo::wake")
        || name.ends_with("::scheduled_io::ScheduledIo>::wake")
    {
        return is_in("tokio::").then_some(ProbeKind::IoReady);
    }
    if name.ends_with("::process_at_time") {
        return (is_in("tokio::runtime::time") || is_in("tokio::time::driver"))
            .then_some(ProbeKind::TimerFired);
    }
    // A handle's `abort` calls `remote_abort`, or has it inlined: two events of one abort are one to
    // the tracker. All take a header, or a reference to what holds nothing but the pointer to it.
    let aborts = name.ends_with("::remote_abort")
        || name.starts_with("tokio::runtime::task::raw::shutdown")
        || name.ends_with("::AbortHandle::abort")
        || name.ends_with("::AbortHandle>::abort")
        || (name.contains("::join::JoinHandle<") && name.ends_with(">::abort"));
    if aborts {
        return is_in("tokio::runtime::task").then_some(ProbeKind::Abort);
    }
    // std's first function of a panic that knows where it began; `rust_panic_with_hook` until 1.94.
    // Not generic, `optimize(size)` and diverging: of its own in dev, release and fat LTO.
    if matches!(
        name,
        "std::panicking::panic_with_hook" | "std::panicking::rust_panic_with_hook"
    ) {
        return Some(ProbeKind::PanicBegin);
    }
    // std's last function before a panic unwinds, for its users' breakpoints: never inlined.
    (name == "rust_panic" || name == "__rustc::rust_panic").then_some(ProbeKind::Panic)
}

/// In a stripped binary: polls from task vtables, wakers from their code.
fn by_shape(binary: &Binary, vtables: &[TaskVtable]) -> Vec<Candidate> {
    if vtables.is_empty() {
        return Vec::new();
    }
    let candidate = |entry: LinkAddress, kind: ProbeKind| {
        let path = FUNCTIONS
            .iter()
            .find(|(_, of, _)| *of == kind)
            .map_or("", |(path, ..)| path);
        Candidate {
            entry,
            kind,
            argument: ArgumentRegister::Rdi,
            name: path.to_owned(),
            merged: Vec::new(),
        }
    };
    let polls = vtables
        .iter()
        .map(|vtable| candidate(vtable.poll, ProbeKind::TaskPoll));
    let wakers = waker_functions(binary).into_iter().flat_map(|functions| {
        [
            candidate(functions.wake_by_value, ProbeKind::WakeByValue),
            candidate(functions.wake_by_reference, ProbeKind::WakeByReference),
            candidate(functions.clone, ProbeKind::WakerClone),
            candidate(functions.drop, ProbeKind::WakerDrop),
        ]
    });
    polls.chain(wakers).collect()
}

/// Whole kinds of event that cannot be seen.
fn missing(tokio: &Tokio) -> Vec<Unseen> {
    let has = |kind| {
        tokio
            .candidates
            .iter()
            .any(|candidate| candidate.kind == kind)
    };
    let mut unseen = Vec::new();
    if !has(ProbeKind::TaskPoll) {
        return unseen;
    }
    let reason = if tokio.by_shape {
        "the binary is stripped, and the function's code is not recognised"
    } else {
        "the binary has no function of its own for it: inlined, or another tokio version"
    };
    let remedy = tokio.by_shape.then(|| "strip = \"none\"".to_owned());
    let mut say = |what: &str, reason: &str, remedy: Option<String>| {
        unseen.push(Unseen {
            what: what.to_owned(),
            reason: reason.to_owned(),
            remedy,
        });
    };
    for (kind, what) in [
        (ProbeKind::WakeByValue, "wake-ups by value"),
        (ProbeKind::WakeByReference, "wake-ups by reference"),
        (ProbeKind::WakerClone, "clones of wakers"),
        (ProbeKind::WakerDrop, "drops of wakers"),
        (
            ProbeKind::IoReady,
            "which I/O resource woke a task (the wake-up is its thread's)",
        ),
        (
            ProbeKind::TimerFired,
            "that a timer woke a task (the wake-up is its thread's)",
        ),
        (ProbeKind::Abort, "who aborted a task"),
        (
            ProbeKind::Panic,
            "whether a task that ended returned or panicked",
        ),
        (ProbeKind::PanicBegin, "where a panic began"),
    ] {
        if !has(kind) {
            say(what, reason, remedy.clone());
        }
    }
    if has(ProbeKind::Spawn) {
        say(
            "spawns where OwnedTasks::bind_inner is inlined into its caller",
            "the function of its own is not called there; a task's first poll stands for its spawn",
            None,
        );
        say(
            "spawns on a LocalSet",
            "LocalOwnedTasks::bind makes the task inside; a task's first poll stands for its spawn",
            None,
        );
    } else {
        let reason = if tokio.by_shape {
            "the binary is stripped; a task's first poll stands for its spawn"
        } else {
            "OwnedTasks::bind_inner is inlined or of another tokio version; a task's first poll \
             stands for its spawn"
        };
        say("spawns", reason, remedy.clone());
    }
    let polls = tokio
        .candidates
        .iter()
        .filter(|c| c.kind == ProbeKind::TaskPoll);
    let without_id = polls
        .filter(|candidate| {
            tokio
                .vtables
                .iter()
                .all(|vtable| vtable.poll != candidate.entry)
        })
        .count();
    if without_id > 0 {
        say(
            &format!("ids of the tasks of {without_id} poll functions, and where these tasks wait"),
            "their task vtable is not of a known shape (tokio before 1.23), so tasks are told \
             apart by address only",
            None,
        );
    }
    unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_both_manglings() {
        let kind = |name| classify(name).map(|(kind, _)| kind);
        assert_eq!(
            kind("tokio::runtime::task::raw::poll"),
            Some(ProbeKind::TaskPoll)
        );
        assert_eq!(
            kind("tokio::runtime::task::raw::poll::<app::main::{closure#0}, S>"),
            Some(ProbeKind::TaskPoll)
        );
        assert_eq!(kind("tokio::runtime::task::raw::poll_unknown"), None);
        assert_eq!(
            kind(
                "tokio::runtime::scheduler::multi_thread::worker::<impl \
                 tokio::runtime::scheduler::multi_thread::handle::Handle>::\
                 schedule_option_task_without_yield"
            ),
            Some(ProbeKind::Spawn)
        );
        assert_eq!(
            kind(
                "<tokio::runtime::scheduler::multi_thread::handle::Handle>::schedule_option_task_without_yield"
            ),
            Some(ProbeKind::Spawn)
        );
        assert_eq!(kind("other::schedule_option_task_without_yield"), None);
        assert_eq!(kind("monoio::task::raw::poll"), None);
        assert_eq!(
            kind("tokio::runtime::task::list::OwnedTasks<S>::bind_inner"),
            Some(ProbeKind::Spawn)
        );
        assert_eq!(
            kind("<tokio::runtime::task::list::OwnedTasks<alloc::sync::Arc<H>>>::bind_inner"),
            Some(ProbeKind::Spawn)
        );
        assert_eq!(
            kind("tokio::runtime::task::list::OwnedTasks<S>::bind"),
            None
        );
        assert_eq!(
            kind("tokio::runtime::task::waker::drop_waker"),
            Some(ProbeKind::WakerDrop)
        );
    }
}
