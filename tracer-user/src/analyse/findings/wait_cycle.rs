//! Tasks that wait for each other in a circle: each holds what the one before it waits for.
//!
//! [`graph`](mod@super::graph) tells who is stuck and in which circles. A circle through a future that
//! its task keeps without polling it is a futurelock, and told there.

use std::collections::HashSet;

use super::case::Case;
use super::graph::{Circle, Class, Facts, Kept, Member, Progress, Rules, Step, circles};
use super::model::{Certainty, Kind, Role, Sighting, Site};
use super::past::duration;
use super::source::{awaited_in, place, site, subject};

/// Circles of waits.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let facts = Facts::of(case);
    let mut told: HashSet<usize> = HashSet::new();
    let mut sightings = Vec::new();
    let mut stricter: Option<Progress> = None;
    for rules in Rules::ALL {
        let progress = Progress::of(&facts, rules);
        // Where nobody else is stuck there is no other circle.
        if stricter
            .as_ref()
            .is_some_and(|stricter| stricter.is_as(&progress))
        {
            continue;
        }
        for circle in circles(&facts, &progress, Kept::Without) {
            if circle.tasks.iter().any(|task| told.contains(task)) {
                continue;
            }
            told.extend(&circle.tasks);
            sightings.push(sighting(case, &facts, &circle, rules));
        }
        stricter = Some(progress);
    }
    sightings
}

fn sighting(case: &Case<'_>, facts: &Facts<'_>, circle: &Circle<'_>, rules: Rules) -> Sighting {
    let hops: Vec<Hop<'_, '_>> = circle
        .steps
        .iter()
        .map(|step| Hop { facts, step })
        .collect();
    let mut evidence: Vec<String> = hops
        .iter()
        .zip(hops.iter().cycle().skip(1))
        .map(|(hop, next)| hop.sentence(next))
        .collect();
    let mut certainty = rules.certainty;
    if case.events_are_missing() && certainty == Certainty::Proved {
        certainty = Certainty::Likely;
        evidence.push(
            "not all events were seen: that none of them was polled meanwhile is told by memory alone"
                .to_owned(),
        );
    }
    if hops.iter().all(Hop::is_kept_on_purpose) {
        certainty = Certainty::Possible;
        evidence.push(
            "the name of the local that holds it begins with `_`: it may wait for ever on purpose"
                .to_owned(),
        );
    }
    if rules.certainty == Certainty::Possible {
        evidence.push(
            "one of them waits for something else besides, which may end its wait, or what is held \
             is in doubt"
                .to_owned(),
        );
    }
    evidence.push(still(facts, circle));
    if circle.behind > 0 {
        evidence.push(format!(
            "besides, {} for what they hold, directly or not",
            match circle.behind {
                1 => "1 task waits".to_owned(),
                many => format!("{many} tasks wait"),
            }
        ));
    }
    let (cause, summary) = cause(&hops);
    let began = circle.tasks.iter().filter_map(|&task| {
        let still = facts.tasks[task].still.as_ref()?;
        still.since()
    });
    Sighting {
        kind: Kind::WaitCycle,
        certainty,
        cause,
        summary,
        tasks: hops.iter().map(|hop| subject(hop.member().info)).collect(),
        sites: sites(&hops),
        evidence,
        // It was closed by the last of them.
        began: began.max(),
        ended: ended(facts, circle),
        advice: advice(&hops),
        weight: circle.tasks.len() as u64 + circle.behind as u64,
    }
}

/// When one of them went on after the last look.
fn ended(facts: &Facts<'_>, circle: &Circle<'_>) -> Option<u64> {
    let members = circle.tasks.iter().filter_map(|&task| {
        let still = facts.tasks[task].still.as_ref()?;
        still.past.polled_after(still.to)
    });
    members.min()
}

fn still(facts: &Facts<'_>, circle: &Circle<'_>) -> String {
    let stood = circle
        .tasks
        .iter()
        .filter_map(|&task| facts.tasks[task].still.as_ref());
    let shortest = stood
        .clone()
        .map(super::still::Still::duration)
        .min()
        .unwrap_or(0);
    let looks = stood.map(|still| still.looks).min().unwrap_or(0);
    format!(
        "all of them stood still for {} at least, in {looks} looks",
        duration(shortest)
    )
}

fn sites(hops: &[Hop<'_, '_>]) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for hop in hops {
        let waits = hop.waits_at();
        let holds = hop
            .step
            .claim
            .as_ref()
            .map(|claim| site(Role::HoldsAt, claim.holder));
        // Where it stands while it holds something is mostly where it waits.
        let holds = holds.filter(|holds| {
            let next = hops.iter().any(|hop| {
                let waits = hop.waits_at();
                (&waits.file, waits.line) == (&holds.file, holds.line)
            });
            !next && holds.line.is_some()
        });
        for site in [Some(waits), holds].into_iter().flatten() {
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
    }
    sites.sort_by_key(|site| site.role != Role::WaitsAt);
    sites
}

/// What makes circles equal, and the circle in one sentence: the same wherever one begins.
fn cause(hops: &[Hop<'_, '_>]) -> (String, String) {
    let told: Vec<String> = hops
        .iter()
        .map(|hop| {
            format!(
                "{} waits at {} for {}",
                hop.future(),
                place(&hop.waits_at()),
                hop.what()
            )
        })
        .collect();
    let count = told.len();
    let rotated = |from: usize| (0..count).map(move |at| (from + at) % count);
    let first = (0..count)
        .min_by(|&one, &other| {
            let texts = |from| rotated(from).map(|at| told[at].as_str());
            texts(one).cmp(texts(other))
        })
        .unwrap_or(0);
    let places: Vec<String> = rotated(first)
        .map(|at| format!("{} ({})", place(&hops[at].waits_at()), hops[at].what()))
        .collect();
    let mut sentence: Vec<&str> = rotated(first).map(|at| told[at].as_str()).collect();
    sentence.dedup();
    let summary = match count {
        1 => format!("a task waits for itself: {}", sentence.join(", ")),
        _ => format!(
            "{} wait for each other in a circle: {}",
            tasks(count),
            sentence.join(", ")
        ),
    };
    (places.join(" -> "), summary)
}

fn tasks(count: usize) -> String {
    match count {
        1 => "1 task".to_owned(),
        many => format!("{many} tasks"),
    }
}

fn advice(hops: &[Hop<'_, '_>]) -> String {
    let locks = hops
        .iter()
        .filter(|hop| hop.class() == Some(Class::Permits))
        .count();
    match (hops.len(), locks) {
        (1, 1) => {
            "drop the guard before the await that locks again, or hand the guard on".to_owned()
        }
        (1, _) => {
            "drop the task's own sender before it waits for the channel to be closed or filled"
                .to_owned()
        }
        (count, locks) if count == locks => {
            "take these locks in the same order everywhere, or drop the first before the second is \
             awaited"
                .to_owned()
        }
        (_, 0) => {
            "let one of them go on without the other: a timeout, or a message sent before it \
                   waits"
                .to_owned()
        }
        _ => {
            "drop the guard before the await that depends on a task which needs the lock".to_owned()
        }
    }
}

/// A step with what is known of its task.
struct Hop<'f, 'a> {
    facts: &'f Facts<'a>,
    step: &'f Step<'a>,
}

impl<'a> Hop<'_, 'a> {
    fn member(&self) -> &Member<'a> {
        &self.facts.tasks[self.step.task]
    }

    fn waits_at(&self) -> Site {
        let member = self.member();
        awaited_in(&member.tree, self.step.leaf).map_or_else(
            || Site {
                role: Role::WaitsAt,
                future: std::sync::Arc::clone(&member.info.future),
                file: None,
                line: None,
            },
            |at| site(Role::WaitsAt, at.node),
        )
    }

    fn future(&self) -> &str {
        &self.member().info.future
    }

    fn class(&self) -> Option<Class> {
        Some(self.facts.resources[self.step.resource?].class)
    }

    /// What it waits for, without an address.
    fn what(&self) -> String {
        match self.step.resource {
            Some(index) => match self.facts.resources[index].name {
                name if name.starts_with('m') && name.contains("channel") => format!("an {name}"),
                name => format!("a {name}"),
            },
            None => "a task to finish".to_owned(),
        }
    }

    /// A local whose name says that it is only kept.
    fn is_kept_on_purpose(&self) -> bool {
        self.class() != Some(Class::Permits)
            && self
                .step
                .claim
                .is_some_and(|claim| claim.local.starts_with('_'))
    }

    fn sentence(&self, next: &Self) -> String {
        let member = self.member();
        let who = format!("{} ({})", member.info.id, member.info.future);
        let at = place(&self.waits_at());
        let next = &next.member().info.id;
        let Some(index) = self.step.resource else {
            return format!("{who} waits at {at} for {next} to finish");
        };
        let resource = &self.facts.resources[index];
        let held = self.step.claim.map_or_else(String::new, |claim| {
            let holder = place(&site(Role::HoldsAt, claim.holder));
            let doubt = claim
                .doubt
                .map_or_else(String::new, |doubt| format!("; in doubt: {doubt}"));
            format!(
                ", which {next} {} in `{}` while it stands at {holder}{doubt}",
                match resource.class {
                    Class::Permits => "holds",
                    Class::Messages | Class::Value => "would send to, by what it has",
                    Class::Room => "would take from, by what it has",
                },
                claim.local
            )
        });
        let of = match (resource.class, resource.senders) {
            (Class::Messages, Some(1)) => " of one sender".to_owned(),
            (Class::Messages, Some(senders)) => format!(" of {senders} senders"),
            _ => String::new(),
        };
        format!(
            "{who} waits at {at} for the {} at {:#x}{of}{held}",
            resource.name, resource.address
        )
    }
}

#[cfg(test)]
#[path = "wait_cycle_tests.rs"]
mod tests;
