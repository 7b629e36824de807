//! From a binary to its plan.

use std::collections::HashMap;
use std::sync::Arc;

use super::emulation::Rules;
use super::error::PlanError;
use super::functions::Functions;
use super::model::{Instruction, Method, Plan, Probe, ProbedFile, Unseen};
use super::names::{Names, future_of_poll};
use super::site::{Wanted, choose};
use super::tokio::{Candidate, Tokio};
use super::{exits, nested, tokio};
use crate::address::LinkAddress;
use crate::locate::Module;
use crate::object::DebugSource;
use tracer_common::ProbeKind;

/// Most probes of a plan; a cookie has 24 bits for their index, a kernel less patience.
const MAX_PROBES: usize = 100_000;

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The module to be probed.
    pub module: &'a Module,
    /// Its binary and debug information.
    pub source: &'a DebugSource,
    /// Names by debug information; empty where there is none.
    pub names: &'a Names,
    /// `--futures` patterns.
    pub futures: &'a [String],
    /// Whether to probe the exits of task polls as well.
    pub exact_polls: bool,
    /// What the kernel emulates.
    pub rules: Rules,
}

/// Plans the probes of a module.
///
/// # Errors
/// [`PlanError`] when there is nothing to probe, or a pattern matches nothing.
pub fn make(request: Request<'_>) -> Result<Plan, PlanError> {
    let binary = &**request.source.binary();
    let symbols = request.source.symbol_file();
    let found = tokio::find(binary, symbols);
    if !found
        .candidates
        .iter()
        .any(|candidate| candidate.kind == ProbeKind::TaskPoll)
    {
        return Err(PlanError::NoRuntime {
            program: request.module.path.clone(),
            looked_at: looked_at(symbols.has_symbol_table()),
        });
    }
    let nested = nested::find(request.futures, request.names, symbols)?;
    let functions = Functions::new(binary, symbols);
    let file = Arc::new(ProbedFile::of(request.source.binary()));
    let mut plan = Plan {
        probes: Vec::new(),
        walk: super::model::WalkPlan::default(),
        unseen: [found.unseen.clone(), nested.unseen].concat(),
        task_id_offsets: found
            .vtables
            .iter()
            .map(|vtable| {
                (
                    request.module.bias.to_address(vtable.address),
                    vtable.id_offset,
                )
            })
            .collect(),
    };
    for candidate in found.candidates.iter().chain(&nested.candidates) {
        if plan.probes.len() >= MAX_PROBES {
            plan.unseen.push(Unseen {
                what: "further functions".to_owned(),
                reason: format!("a plan has at most {MAX_PROBES} probes"),
                remedy: None,
            });
            break;
        }
        match probe(candidate, &found, &functions, request, &file) {
            Ok(probe) if is_too_dear(&probe) => plan.unseen.push(Unseen {
                what: format!("wake-ups by {}", probe.name),
                reason: "the kernel would have to single-step a probe there, at each of them"
                    .to_owned(),
                remedy: None,
            }),
            Ok(probe) => {
                plan.unseen
                    .extend(attempts(&probe, &functions, request.rules));
                plan.probes.push(probe);
            }
            Err(unseen) => plan.unseen.push(unseen),
        }
    }
    if request.exact_polls {
        add_exits(&mut plan, &functions, request);
    }
    Ok(plan)
}

/// Probes where task polls return.
fn add_exits(plan: &mut Plan, functions: &Functions<'_>, request: Request<'_>) {
    let mut made: Vec<Probe> = Vec::new();
    let polls = plan
        .probes
        .iter()
        .filter(|probe| probe.kind == ProbeKind::TaskPoll);
    for poll in polls {
        let Some(exits) = exits::find(functions, poll.function) else {
            plan.unseen.push(Unseen {
                what: format!("exact ends of polls of {}", poll.name),
                reason: "where its function ends is not known".to_owned(),
                remedy: None,
            });
            continue;
        };
        if let Some(reason) = exits.incomplete {
            plan.unseen.push(Unseen {
                what: format!("exact ends of some polls of {}", poll.name),
                reason: reason.to_owned(),
                remedy: None,
            });
        }
        for at in exits.returns {
            let Some(file_offset) = request.source.binary().file_offset(at) else {
                continue;
            };
            if plan.probes.len() + made.len() >= MAX_PROBES
                || made.iter().any(|probe| probe.file_offset == file_offset)
            {
                continue;
            }
            made.push(Probe {
                kind: ProbeKind::PollExit,
                function: exits.function,
                instruction: Instruction {
                    offset_in_function: at.0.wrapping_sub(exits.function.0),
                    text: "ret".to_owned(),
                    method: Method::SingleStepped,
                    pushed: 0,
                },
                file_offset,
                task_id_offset: 0,
                ..poll.clone()
            });
        }
    }
    plan.probes.extend(made);
}

/// What a driver wakes is seen without its probe too, as a wake-up by its thread.
fn is_too_dear(probe: &Probe) -> bool {
    matches!(probe.kind, ProbeKind::IoReady | ProbeKind::TimerFired)
        && probe.instruction.method == Method::SingleStepped
}

fn looked_at(symbols: bool) -> String {
    let symbols = if symbols {
        "no symbol tokio::runtime::task::raw::poll"
    } else {
        "stripped: no symbols"
    };
    format!("{symbols}, no task vtable of tokio")
}

fn probe(
    candidate: &Candidate,
    tokio: &Tokio,
    functions: &Functions<'_>,
    request: Request<'_>,
    file: &Arc<ProbedFile>,
) -> Result<Probe, Unseen> {
    let name = name(candidate, request.names);
    let unseen = |reason: String| Unseen {
        what: format!("{name} at {}", candidate.entry),
        reason,
        remedy: None,
    };
    let code = functions
        .code(candidate.entry)
        .ok_or_else(|| unseen("the file has no code there".to_owned()))?;
    let wanted = Wanted::of(candidate.kind, candidate.argument);
    let instruction =
        choose(code, wanted, request.rules).map_err(|reason| unseen(reason.to_string()))?;
    let at = candidate.entry.add(instruction.offset_in_function);
    let file_offset = request
        .source
        .binary()
        .file_offset(at)
        .ok_or_else(|| unseen("the instruction is not in the file".to_owned()))?;
    Ok(Probe {
        kind: candidate.kind,
        task_id_offset: id_offset(candidate, tokio),
        argument: candidate.argument,
        function: candidate.entry,
        file: Arc::clone(file),
        name: name.as_str().into(),
        instruction,
        file_offset,
    })
}

/// What a probe in the retry loop of a compare-exchange cannot tell.
fn attempts(probe: &Probe, functions: &Functions<'_>, rules: Rules) -> Option<Unseen> {
    let wanted = Wanted::of(probe.kind, probe.argument);
    let once = Wanted {
        attempts: false,
        ..wanted
    };
    let elsewhere = choose(functions.code(probe.function)?, once, rules).ok()?;
    (elsewhere != probe.instruction).then(|| Unseen {
        what: format!("the exact number of calls of {}", probe.name),
        reason: "an attempt to wake that loses a race with another thread is counted again"
            .to_owned(),
        remedy: None,
    })
}

/// The future's type for a task's poll where that is known, else the function's name. Where the
/// linker merged equal functions, all of them: "one of ..".
fn name(candidate: &Candidate, names: &Names) -> String {
    if candidate.kind == ProbeKind::TaskPoll
        && let Some(name) = names.task(candidate.entry)
    {
        return name;
    }
    let own = |name: &String| match candidate.kind {
        ProbeKind::TaskPoll => future_of_poll(name).unwrap_or(name).to_owned(),
        _ => name.clone(),
    };
    let mut all = vec![own(&candidate.name)];
    for merged in &candidate.merged {
        let name = own(merged);
        if !all.contains(&name) {
            all.push(name);
        }
    }
    match all.as_slice() {
        [one] => one.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// The offset of the task id for a task's poll; 0 where it is not known, or differs between the
/// vtables that share the function.
fn id_offset(candidate: &Candidate, tokio: &Tokio) -> u16 {
    if candidate.kind != ProbeKind::TaskPoll {
        return 0;
    }
    let mut offsets = tokio
        .vtables
        .iter()
        .filter(|vtable| vtable.poll == candidate.entry)
        .map(|vtable| vtable.id_offset);
    match offsets.next() {
        Some(first) if offsets.all(|offset| offset == first) => first,
        _ => 0,
    }
}

/// A function that polls tasks, for naming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskPoll {
    /// Its entry.
    pub entry: LinkAddress,
    /// The function that it does nothing but jump to, where no other one does.
    pub jumps_to: Option<LinkAddress>,
}

/// The task polls that a plan would probe, for naming them beforehand.
#[must_use]
pub fn task_polls(source: &DebugSource) -> Vec<TaskPoll> {
    let (binary, symbols) = (source.binary(), source.symbol_file());
    let functions = Functions::new(binary, symbols);
    let candidates = tokio::find(binary, symbols).candidates.into_iter();
    let mut polls: Vec<TaskPoll> = candidates
        .filter(|candidate| candidate.kind == ProbeKind::TaskPoll)
        .map(|candidate| TaskPoll {
            entry: candidate.entry,
            jumps_to: functions.code(candidate.entry).and_then(exits::lone_jump),
        })
        .collect();
    // What two jump to may be equal code of two futures, and has the name of one.
    let mut jumps: HashMap<LinkAddress, u32> = HashMap::new();
    for target in polls.iter().filter_map(|poll| poll.jumps_to) {
        *jumps.entry(target).or_default() += 1;
    }
    for poll in &mut polls {
        poll.jumps_to = poll.jumps_to.filter(|target| jumps.get(target) == Some(&1));
    }
    polls
}
