//! What becomes of sightings of one cause.

use proptest::prelude::*;

use super::*;
use crate::analyse::findings::{Certainty, Kind, Subject};

fn sighting(kind: Kind, certainty: Certainty, cause: &str, task: u64) -> Sighting {
    Sighting {
        kind,
        certainty,
        cause: cause.to_owned(),
        summary: format!("{cause} {certainty}"),
        tasks: vec![Subject {
            id: format!("tokio/{task}").into(),
            future: None,
        }],
        sites: Vec::new(),
        evidence: vec![format!("seen of {task}")],
        began: Some(task * 10),
        ended: Some(task * 10 + 5),
        advice: String::new(),
        weight: task % 7,
    }
}

#[test]
fn the_surest_and_gravest_stands_for_all() {
    let mut grave = sighting(Kind::LostWake, Certainty::Proved, "a", 3);
    grave.weight = 9;
    let found = group([
        sighting(Kind::LostWake, Certainty::Possible, "a", 6),
        sighting(Kind::LostWake, Certainty::Proved, "a", 2),
        grave,
    ]);
    assert_eq!(found.len(), 1);
    let finding = &found[0];
    assert_eq!((finding.certainty, finding.count), (Certainty::Proved, 3));
    assert_eq!(finding.evidence, ["seen of 3"]);
    assert_eq!(finding.key, "lost_wake:a");
    let tasks: Vec<&str> = finding.tasks.iter().map(|task| &*task.id).collect();
    assert_eq!(tasks, ["tokio/3", "tokio/2", "tokio/6"]);
    assert_eq!((finding.began_ns, finding.ended_ns), (Some(20), Some(65)));
}

#[test]
fn unknown_begins_are_the_earliest_and_what_goes_on_is_the_latest() {
    let mut old = sighting(Kind::Stalled, Certainty::Possible, "a", 1);
    old.began = None;
    let mut open = sighting(Kind::Stalled, Certainty::Possible, "a", 2);
    open.ended = None;
    let later = sighting(Kind::Stalled, Certainty::Possible, "a", 3);
    let found = group([old, open, later]);
    assert_eq!((found[0].began_ns, found[0].ended_ns), (None, None));
}

#[test]
fn a_finding_names_few_tasks_however_many_one_occurrence_has() {
    let mut circle = sighting(Kind::WaitCycle, Certainty::Proved, "a", 0);
    circle.tasks = (0..100)
        .map(|at| Subject {
            id: format!("tokio/{at}").into(),
            future: None,
        })
        .collect();
    assert_eq!(group([circle])[0].tasks.len(), MAX_TASKS);
}

fn any_sighting() -> impl Strategy<Value = Sighting> {
    let kind = prop::sample::select(&Kind::ALL[..4]);
    let certainty = prop::sample::select(vec![
        Certainty::Possible,
        Certainty::Likely,
        Certainty::Proved,
    ]);
    let cause = prop::sample::select(vec!["a", "b", "c"]);
    (kind, certainty, cause, 0_u64..50)
        .prop_map(|(kind, certainty, cause, task)| sighting(kind, certainty, cause, task))
}

proptest! {
    #[test]
    fn the_order_of_sightings_does_not_matter(
        (sightings, shuffled) in prop::collection::vec(any_sighting(), 0..60)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        prop_assert_eq!(group(sightings), group(shuffled));
    }

    #[test]
    fn nothing_is_lost_and_causes_do_not_mix(
        sightings in prop::collection::vec(any_sighting(), 0..60)
    ) {
        let found = group(sightings.clone());
        let count: u64 = found.iter().map(|finding| finding.count).sum();
        prop_assert_eq!(count, sightings.len() as u64);
        for finding in &found {
            let of: Vec<&Sighting> = sightings
                .iter()
                .filter(|one| format!("{}:{}", one.kind, one.cause) == finding.key)
                .collect();
            prop_assert_eq!(finding.count, of.len() as u64);
            prop_assert_eq!(
                Some(finding.certainty),
                of.iter().map(|one| one.certainty).max()
            );
            prop_assert!(finding.tasks.len() <= MAX_TASKS);
        }
        // The surest first.
        prop_assert!(found.windows(2).all(|pair| pair[0].certainty >= pair[1].certainty));
        let mut keys: Vec<&str> = found.iter().map(|finding| &*finding.key).collect();
        keys.sort_unstable();
        keys.dedup();
        prop_assert_eq!(keys.len(), found.len());
    }
}
