//! Who waits for what a lost task holds: the resource between them is named.

use std::collections::HashMap;

use super::super::case::Case;
use super::super::graph::{Facts, Rules, holders};
use super::super::model::Sighting;

/// Adds to each sighting who waits for what its task holds.
pub(super) fn tell(case: &Case<'_>, sightings: &mut [Sighting]) {
    if sightings.is_empty() {
        return;
    }
    let facts = Facts::of(case);
    let mut waiting: HashMap<&str, Vec<String>> = HashMap::new();
    for resource in &facts.resources {
        for claim in holders(resource, Rules::SURE) {
            let others = resource
                .waiters
                .iter()
                .filter(|(task, _)| *task != claim.task);
            let count = others.count();
            if count > 0 {
                let holder = facts.tasks[claim.task].info.id.as_str();
                waiting.entry(holder).or_default().push(format!(
                    "{} for the {} at {:#x} that it holds in `{}`",
                    if count == 1 {
                        "1 task waits".to_owned()
                    } else {
                        format!("{count} tasks wait")
                    },
                    resource.name,
                    resource.address,
                    claim.local
                ));
            }
        }
    }
    for sighting in sightings {
        let task = sighting.tasks.first().map(|task| &*task.id);
        if let Some(told) = task.and_then(|task| waiting.get(task)) {
            sighting.evidence.extend(told.iter().take(4).cloned());
        }
    }
}
