//! The futures that `block_on` runs: they have no task header, only a place on a thread's stack.
//!
//! In: the threads of a process that are blocked, their stacks unwound, and the debug information
//! of the executable. Out: for each activation of tokio's `block_on` on a stack a [`Root`], the
//! type and address of its future, or a [`RootUnknown`] with the reason.
//!
//! What is assumed about tokio (1.0 to 1.54 by reading, 1.54 tried): every `block_on` ends in one
//! of two functions, both generic in the type `F` of the future and called with or pinning it:
//! `CachedParkThread::block_on` (multi-thread runtimes, handles, blocking channel operations) and
//! `CoreGuard::block_on` (current-thread runtimes; `LocalSet` runs inside of them).
//!
//! In optimised builds the variable that holds the future is often gone in one frame and known in
//! a neighbour, and frames keep stale copies from before it was pinned. So all variables of the
//! stack whose type leads to `F` are tried (`candidates`) and the decoded state decides
//! (`verdict`): what waits in `block_on` has been polled, a stale copy has not. Where no
//! variable tells, the stack is scanned, and only an unambiguous find counts.

mod activations;
mod candidates;
mod plausible;
mod verdict;

use crate::address::Address;
use crate::dwarf::{DebugInfo, DieRef};
use crate::locate::Thread;
use crate::memory::Memory;
use crate::rebuild::tree::AwaitNode;
use crate::unwind::stack::{StackCopy, StackError, StackOver};
use crate::unwind::{CodeModules, Stack};
use crate::walk::Walker;

use activations::Activation;
pub use activations::ScopeCache;
use candidates::Candidates;

/// A future that a thread blocks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The thread, in our PID namespace.
    pub tid: i32,
    /// Its name.
    pub thread_name: String,
    /// `multi_thread`, `current_thread`, or `unknown` for a call through a handle.
    pub scheduler: &'static str,
    /// The future's type.
    pub future_type: DieRef,
    /// Where the future is.
    pub address: Address,
    /// Whether the thread is parked in `block_on`, so that the future is not being polled.
    pub parked: bool,
    /// How it was found, for a note to the user.
    pub evidence: String,
    /// Whether it was looked for on the stack, without a variable that says where it is.
    pub scanned: bool,
}

/// A root that cannot be shown: one that is there where its type is known, else one that may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootUnknown {
    /// The thread, in our PID namespace.
    pub tid: i32,
    /// Its name.
    pub thread_name: String,
    /// The future's type where at least that is known.
    pub future_type: Option<DieRef>,
    /// What is known and what is missing.
    pub reason: String,
}

/// One `block_on`, or what stands in the way of seeing whether there is one.
pub type Finding = Result<Root, RootUnknown>;

/// Decodes futures, to tell a live one from stale bytes.
pub trait Judge {
    /// The await tree of a future of this type at this address, whatever is there.
    fn tree(&self, future_type: DieRef, address: Address, memory: &dyn Memory) -> AwaitNode;
}

impl Judge for Walker<'_, '_, '_> {
    fn tree(&self, future_type: DieRef, address: Address, memory: &dyn Memory) -> AwaitNode {
        Walker::tree(self, self.futures.root(future_type), address, memory)
    }
}

/// What is known about the process.
pub struct Target<'t, 'a> {
    /// The modules of the process.
    pub modules: &'t CodeModules<'t>,
    /// The position of the executable in `modules`.
    pub executable: usize,
    /// The executable's debug information.
    pub info: &'t DebugInfo<'a>,
    /// Functions around addresses of the executable.
    pub scopes: &'t ScopeCache<'t, 'a>,
    /// Decodes futures.
    pub judge: &'t dyn Judge,
    /// The memory of the process.
    pub memory: &'t dyn Memory,
}

/// Looks at the stacks of `threads` of the process `pid` for `block_on`.
///
/// Threads without one give nothing. A thread that runs, or whose stack cannot be followed to its
/// start, gives a [`RootUnknown`].
#[must_use]
pub fn roots(pid: i32, threads: &[Thread], target: &Target<'_, '_>) -> Vec<Finding> {
    threads
        .iter()
        .flat_map(
            |thread| match StackCopy::capture(pid, thread.tid, target.memory) {
                Ok(stack) => of_stack(thread, &stack, target),
                Err(StackError::Gone) => Vec::new(),
                Err(error) => vec![Err(unknown(thread, None, describe(&error)))],
            },
        )
        .collect()
}

/// The roots on one thread's stack, innermost first.
#[must_use]
pub fn of_stack(thread: &Thread, copy: &StackCopy, target: &Target<'_, '_>) -> Vec<Finding> {
    let stack = copy.unwind(target.modules);
    let memory = StackOver {
        stack: copy,
        rest: target.memory,
    };
    let activations = activations::find(&stack, target);
    let mut findings: Vec<Finding> = activations
        .iter()
        .map(|activation| {
            let candidates = Candidates::collect(activation, &stack, target, &memory);
            resolve(thread, activation, &candidates, &stack, target, &memory)
        })
        .collect();
    if findings.is_empty() && !activations::is_whole(&stack, target) {
        let reason = format!(
            "the stack could be followed for {} frames only: {}",
            stack.frames.len(),
            stack.end
        );
        findings.push(Err(unknown(thread, None, reason)));
    }
    findings
}

/// Chooses among the candidates.
fn resolve(
    thread: &Thread,
    activation: &Activation,
    candidates: &Candidates,
    stack: &Stack,
    target: &Target<'_, '_>,
    memory: &dyn Memory,
) -> Finding {
    let root = |address, evidence, scanned| Root {
        tid: thread.tid,
        thread_name: thread.name.clone(),
        scheduler: activation.scheduler,
        future_type: activation.future_type,
        address,
        parked: activation.parked,
        evidence,
        scanned,
    };
    if let Some(frame) = stack.frames.get(activation.frame)
        && target
            .info
            .type_at(activation.future_type)
            .is_some_and(|future| future.size == 0)
    {
        // `pending()` and the like: every address is as good.
        return Ok(root(
            frame.frame_address,
            "it has no size".to_owned(),
            false,
        ));
    }
    let judged = verdict::judge(activation, candidates, target, memory);
    match judged {
        verdict::Choice::One { address, evidence } => return Ok(root(address, evidence, false)),
        verdict::Choice::Several(count) => {
            return Err(unknown(
                thread,
                Some(activation.future_type),
                format!("{count} places of its stack could hold the future"),
            ));
        }
        verdict::Choice::None => {}
    }
    match verdict::scan(activation, stack, target, memory) {
        verdict::Choice::One { address, evidence } => Ok(root(address, evidence, true)),
        verdict::Choice::Several(count) => Err(unknown(
            thread,
            Some(activation.future_type),
            format!(
                "{}; a scan of the stack found {count} places that could be it",
                candidates.why_none()
            ),
        )),
        verdict::Choice::None => Err(unknown(
            thread,
            Some(activation.future_type),
            format!(
                "{}; a scan of the stack found nothing like it",
                candidates.why_none()
            ),
        )),
    }
}

fn unknown(thread: &Thread, future_type: Option<DieRef>, reason: String) -> RootUnknown {
    RootUnknown {
        tid: thread.tid,
        thread_name: thread.name.clone(),
        future_type,
        reason,
    }
}

fn describe(error: &StackError) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
