//! Same cause, same finding.

use std::collections::HashMap;

use super::model::{Finding, Sighting};

/// Tasks that one finding names at most.
pub(super) const MAX_TASKS: usize = 16;

/// Makes one finding of all sightings of one kind with one cause. The surest stands for the others:
/// its sentence, places, evidence. Findings come in order of certainty, kind and weight.
#[must_use]
pub fn group(sightings: impl IntoIterator<Item = Sighting>) -> Vec<Finding> {
    let mut groups: HashMap<_, Vec<Sighting>> = HashMap::new();
    for sighting in sightings {
        let key = (sighting.kind, sighting.cause.clone());
        groups.entry(key).or_default().push(sighting);
    }
    let mut findings: Vec<(u64, Finding)> = groups.into_values().filter_map(merge).collect();
    findings.sort_by(|(weight, one), (other_weight, other)| {
        let rank = |finding: &Finding| (std::cmp::Reverse(finding.certainty), finding.kind);
        rank(one)
            .cmp(&rank(other))
            .then(other_weight.cmp(weight))
            .then_with(|| one.key.cmp(&other.key))
    });
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn merge(mut sightings: Vec<Sighting>) -> Option<(u64, Finding)> {
    sightings.sort_by(|one, other| {
        let rank = |sighting: &Sighting| {
            (
                std::cmp::Reverse(sighting.certainty),
                std::cmp::Reverse(sighting.weight),
            )
        };
        rank(one)
            .cmp(&rank(other))
            .then_with(|| one.tasks.cmp(&other.tasks))
            // The same whatever order they came in.
            .then_with(|| one.evidence.cmp(&other.evidence))
            .then_with(|| one.sites.cmp(&other.sites))
    });
    let count = sightings.len() as u64;
    let weight = sightings.iter().map(|sighting| sighting.weight).max()?;
    // Unknown is earlier than all, and still so later than all.
    let began = sightings.iter().map(|sighting| sighting.began).min()?;
    let ended = sightings
        .iter()
        .map(|sighting| sighting.ended)
        .max_by_key(|ended| (ended.is_none(), *ended))?;
    let mut others = sightings.split_off(1).into_iter();
    let first = sightings.pop()?;
    let mut tasks = first.tasks;
    tasks.truncate(MAX_TASKS);
    for task in others
        .by_ref()
        .filter_map(|other| other.tasks.into_iter().next())
    {
        if tasks.len() >= MAX_TASKS {
            break;
        }
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    let finding = Finding {
        kind: first.kind,
        certainty: first.certainty,
        summary: first.summary,
        key: format!("{}:{}", first.kind, first.cause),
        count,
        tasks,
        sites: first.sites,
        evidence: first.evidence,
        began_ns: began,
        ended_ns: ended,
        advice: first.advice,
    };
    Some((weight, finding))
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
