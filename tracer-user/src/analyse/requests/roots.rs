//! Which instances are requests: those that the user's patterns name, else sensible ones.
//!
//! Without patterns the first of these rules that finds something is taken; what it chose and why
//! is part of the result:
//!
//! 1. the program's own async bodies that hyper, axum, tonic or tower call as services;
//! 2. its own async bodies that one instance awaits at least [`LOOP`] times: the loop of a
//!    connection's task. Those that do nothing but wait for input are left out when others remain;
//! 3. tasks of which there are at least [`LOOP`] of a kind that began in the trace: jobs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::code::{Code, Owner};
use super::pattern::Patterns;
use super::{Candidate, Choice, LeftOut, Reason, Request, Requests};
use crate::analyse::history::{AwaitIndex, History, UnitKind};
use crate::rebuild::tree::NodeKind;

/// So many make a loop, or a kind of job.
const LOOP: u32 = 3;

/// Candidates that are named at most.
const CANDIDATES: usize = 10;

/// Of the time of what only waits for input, this share is spent waiting for it.
const INPUT_SHARE: f64 = 0.95;

/// The requests of a trace.
#[must_use]
pub fn find(history: &History, patterns: &Patterns) -> Requests {
    let code = Code::of(history);
    let mut found = Requests {
        candidates: candidates(history, &code),
        ..Requests::default()
    };
    let roots = if patterns.is_empty() {
        let mut roots = services(history, &code);
        if roots.is_empty() {
            roots = loops(history, &code, &mut found.left_out);
        }
        if roots.is_empty() {
            roots = jobs(history, &code);
        }
        roots
    } else {
        named(history, &code, patterns, &mut found.unmatched)
    };
    list(history, &code, roots, &mut found);
    found
}

/// The instances with the reason of each, as requests in order of start.
fn list(history: &History, code: &Code, roots: Vec<(usize, Reason)>, found: &mut Requests) {
    let mut counts: BTreeMap<(Arc<str>, Reason), u64> = BTreeMap::new();
    for (instance, reason) in roots {
        let (Some(root), Some(awaited)) = (history.awaits.get(instance), code.awaited(instance))
        else {
            continue;
        };
        let Ok(index) = u32::try_from(instance) else {
            continue;
        };
        let what = Arc::clone(&awaited.future);
        *counts.entry((Arc::clone(&what), reason)).or_default() += 1;
        found.list.push(Request {
            id: 0,
            what,
            root: AwaitIndex(index),
            task: root.task,
            start: root.start,
            at_least: root.at_least,
            end: root.end,
            outcome: root.outcome,
        });
    }
    found
        .list
        .sort_by_key(|request| (request.start, request.root));
    for (id, request) in (1..).zip(&mut found.list) {
        request.id = id;
    }
    found.chosen = counts
        .into_iter()
        .map(|((what, reason), instances)| Choice {
            what,
            instances,
            reason,
        })
        .collect();
    found
        .chosen
        .sort_by_key(|choice| std::cmp::Reverse(choice.instances));
}

/// Whether the instance is the body of an async fn or block.
fn is_body(history: &History, instance: usize) -> bool {
    history.awaits.get(instance).is_some_and(|instance| {
        matches!(
            instance.awaited.kind,
            NodeKind::AsyncFn | NodeKind::AsyncBlock
        )
    })
}

/// The parent of an instance. A parent stands before its child: what does not is no parent.
fn parent(history: &History, instance: usize) -> Option<usize> {
    let parent = history.awaits.get(instance)?.parent?.0 as usize;
    (parent < instance).then_some(parent)
}

/// Those that patterns name, the outermost of each pattern.
fn named(
    history: &History,
    code: &Code,
    patterns: &Patterns,
    unmatched: &mut Vec<String>,
) -> Vec<(usize, Reason)> {
    let texts: Vec<&str> = patterns.texts().collect();
    let direct: Vec<Vec<usize>> = code
        .keys
        .iter()
        .map(|key| patterns.naming(&key.future))
        .collect();
    let mut by_key = direct.clone();
    for (pattern, text) in texts.iter().enumerate() {
        if direct.iter().any(|named| named.contains(&pattern)) {
            continue;
        }
        let mut any = false;
        for (key, named) in code.keys.iter().zip(&mut by_key) {
            if patterns
                .naming_the_function_around(&key.future)
                .contains(&pattern)
            {
                named.push(pattern);
                any = true;
            }
        }
        if !any {
            unmatched.push((*text).to_owned());
        }
    }
    // The patterns that an instance or one above it matches, interned: there are few different sets.
    let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
    let mut above: Vec<u32> = Vec::with_capacity(history.awaits.len());
    let mut roots = Vec::new();
    for instance in 0..history.awaits.len() {
        let inherited = parent(history, instance).map_or(0, |parent| above[parent]);
        let own = by_key.get(code.key(instance)).map_or(&[][..], |own| own);
        let covered = &sets[inherited as usize];
        let new: Vec<usize> = own
            .iter()
            .copied()
            .filter(|pattern| !covered.contains(pattern))
            .collect();
        let Some(&first) = new.first() else {
            above.push(inherited);
            continue;
        };
        let mut all = covered.clone();
        all.extend(&new);
        all.sort_unstable();
        let set = sets.iter().position(|set| *set == all).unwrap_or_else(|| {
            sets.push(all);
            sets.len() - 1
        });
        above.push(u32::try_from(set).unwrap_or(0));
        let pattern = texts.get(first).map_or("", |text| text).to_owned();
        let is_direct = direct
            .get(code.key(instance))
            .is_some_and(|direct| direct.contains(&first));
        let reason = if is_direct {
            Reason::Pattern { pattern }
        } else {
            Reason::BodyOfPattern { pattern }
        };
        roots.push((instance, reason));
    }
    roots
}

/// The user's async bodies that a library calls as services, the outermost.
fn services(history: &History, code: &Code) -> Vec<(usize, Reason)> {
    // For each instance: the library that it is called by, and whether it is part of a request.
    let mut inside: Vec<(Option<&'static str>, bool)> = Vec::with_capacity(history.awaits.len());
    let mut roots = Vec::new();
    for instance in 0..history.awaits.len() {
        let (caller, covered) =
            parent(history, instance).map_or((None, false), |parent| inside[parent]);
        inside.push(match (code.owner(instance), caller) {
            (Owner::Service(library), _) => (Some(library), covered),
            (Owner::Library, _) => (caller, covered),
            (Owner::User, Some(library)) if !covered && is_body(history, instance) => {
                roots.push((instance, Reason::Service { library }));
                (None, true)
            }
            (Owner::User, _) => (None, covered),
        });
    }
    roots
}

/// The user's async bodies that one instance awaits again and again, the outermost.
fn loops(history: &History, code: &Code, left_out: &mut Vec<LeftOut>) -> Vec<(usize, Reason)> {
    let mut times: HashMap<(usize, usize), u32> = HashMap::new();
    let mut looped: HashSet<usize> = HashSet::new();
    for instance in 0..history.awaits.len() {
        let Some(parent) = parent(history, instance) else {
            continue;
        };
        if code.owner(instance) == Owner::User && is_body(history, instance) {
            let key = code.key(instance);
            let count = times.entry((parent, key)).or_default();
            *count += 1;
            if *count >= LOOP {
                looped.insert(key);
            }
        }
    }
    // The outermost: what is below another loop's instance is a part of that.
    let mut covered: Vec<bool> = Vec::with_capacity(history.awaits.len());
    let mut outermost: Vec<usize> = Vec::new();
    for instance in 0..history.awaits.len() {
        let parent = parent(history, instance);
        let above = parent.is_some_and(|parent| covered[parent]);
        let starts = !above && parent.is_some() && looped.contains(&code.key(instance));
        covered.push(above || starts);
        if starts {
            outermost.push(instance);
        }
    }
    let inputs = inputs(history, code, &outermost);
    let kept: HashSet<usize> = outermost
        .iter()
        .map(|&instance| code.key(instance))
        .filter(|key| !inputs.contains(key))
        .collect();
    if !kept.is_empty() {
        let mut counts: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for &instance in &outermost {
            if let Some(awaited) = code.awaited(instance)
                && !kept.contains(&code.key(instance))
            {
                *counts.entry(Arc::clone(&awaited.future)).or_default() += 1;
            }
        }
        left_out.extend(counts.into_iter().map(|(what, instances)| LeftOut {
            what,
            instances,
            reason: "it only waits for input",
        }));
    }
    outermost
        .into_iter()
        .filter(|&instance| kept.is_empty() || kept.contains(&code.key(instance)))
        .map(|instance| {
            let by = code.awaited(instance).and_then(|key| key.by.clone());
            (instance, Reason::Loop { by })
        })
        .collect()
}

/// Keys of instances whose time goes by in waiting for I/O or a channel.
fn inputs(history: &History, code: &Code, instances: &[usize]) -> HashSet<usize> {
    // The instance of `instances` that each await is in.
    let mut root_of: Vec<Option<usize>> = vec![None; history.awaits.len()];
    for &instance in instances {
        root_of[instance] = Some(instance);
    }
    let mut totals: HashMap<usize, (u64, u64)> = HashMap::new();
    for (index, instance) in history.awaits.iter().enumerate() {
        if root_of[index].is_none() {
            root_of[index] = parent(history, index).and_then(|parent| root_of[parent]);
        }
        let Some(root) = root_of[index] else {
            continue;
        };
        let end = instance.end.unwrap_or(history.span.end);
        let length = end.saturating_sub(instance.start);
        let total = totals.entry(code.key(root)).or_default();
        if root == index {
            total.0 = total.0.saturating_add(length);
        }
        if matches!(
            instance.awaited.waits_for.as_deref(),
            Some("io" | "channel")
        ) {
            total.1 = total.1.saturating_add(length);
        }
    }
    totals
        .into_iter()
        .filter(|(_, (whole, input))| *input as f64 > *whole as f64 * INPUT_SHARE)
        .map(|(key, _)| key)
        .collect()
}

/// Tasks of which there are many; the program's own if there are such.
fn jobs(history: &History, code: &Code) -> Vec<(usize, Reason)> {
    let mut kinds: BTreeMap<usize, (bool, Vec<usize>)> = BTreeMap::new();
    for unit in &history.units {
        let UnitKind::Task(task) = &unit.kind else {
            continue;
        };
        if task.existing || task.blocking {
            continue;
        }
        let first = unit.awaits.iter().map(|index| index.0 as usize);
        let Some(root) = first
            .filter(|&index| {
                history
                    .awaits
                    .get(index)
                    .is_some_and(|root| root.parent.is_none())
            })
            .min()
        else {
            continue;
        };
        let own = code.owner(root) == Owner::User;
        let kind = kinds.entry(code.key(root)).or_insert((own, Vec::new()));
        kind.1.push(root);
    }
    kinds.retain(|_, (_, tasks)| tasks.len() >= LOOP as usize);
    let any_own = kinds.values().any(|(own, _)| *own);
    kinds
        .into_values()
        .filter(|(own, _)| *own || !any_own)
        .flat_map(|(_, tasks)| tasks)
        .map(|root| (root, Reason::Job))
        .collect()
}

/// The program's own async bodies by number of instances.
fn candidates(history: &History, code: &Code) -> Vec<Candidate> {
    let mut counts: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
    for instance in 0..history.awaits.len() {
        if code.owner(instance) == Owner::User
            && is_body(history, instance)
            && let Some(awaited) = code.awaited(instance)
        {
            *counts.entry(&awaited.future).or_default() += 1;
        }
    }
    let mut candidates: Vec<Candidate> = counts
        .into_iter()
        .map(|(what, instances)| Candidate {
            what: Arc::clone(what),
            instances,
        })
        .collect();
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.instances));
    candidates.truncate(CANDIDATES);
    candidates
}
