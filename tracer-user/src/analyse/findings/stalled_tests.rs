//! Tasks that stand still among their equals, and those that only seem to.

use super::*;
use crate::analyse::findings::case::Thresholds;
use crate::analyse::findings::group;
use crate::analyse::findings::hand::{Hand, SECOND, leaf as leaf_node, task};
use crate::analyse::sample::Sample;

/// Tasks of one future that wait for a lock; the first `stalled` were polled at 1 s only, the
/// others until the end.
fn tasks(stalled: usize, others: usize) -> Sample {
    let mut sample = Sample::default();
    sample.history.span = 0..100 * SECOND;
    for number in 0..stalled + others {
        let task = sample.task("app::serve");
        let root = sample.instance(task, None, "app::serve", 0, None, (0, SECOND));
        let leaf = sample.instance(
            task,
            Some(root),
            "tokio::Acquire",
            7,
            Some("lock"),
            (0, SECOND),
        );
        sample.open(root);
        sample.open(leaf);
        let poll = sample.poll(task, SECOND, SECOND + 5);
        sample.waited(poll, leaf);
        if number >= stalled {
            sample.poll(task, 99 * SECOND, 99 * SECOND + 5);
        }
    }
    sample
}

fn found(sample: &Sample) -> Vec<Sighting> {
    find(&Case {
        history: &sample.history,
        moments: &[],
        thresholds: Thresholds::default(),
    })
}

#[test]
fn one_unlike_its_equals_is_told_with_them() {
    let found = found(&tasks(1, 199));
    let [sighting] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(sighting.certainty, Certainty::Possible);
    assert_eq!(sighting.began, Some(SECOND + 5));
    assert_eq!(sighting.sites[0].line, Some(7));
    assert!(
        sighting
            .evidence
            .iter()
            .any(|line| line.contains("of 200 tasks with this future 199")),
        "{sighting:?}"
    );
}

#[test]
fn polls_in_pauses_were_not_seen_and_that_is_said() {
    let mut sample = tasks(1, 199);
    sample.history.missing.pauses = 40;
    sample.history.missing.unwatched_ns = 95 * SECOND;
    sample.history.watched_since = 98 * SECOND;
    let paused = found(&sample);
    let [sighting] = &paused[..] else {
        panic!("{paused:?}");
    };
    assert!(sighting.summary.contains("as far as that was watched"));
    let says = |words| sighting.evidence.iter().any(|line| line.contains(words));
    assert!(says("its last poll that was seen ended"), "{sighting:?}");
    assert!(says("tracing watched 5.0 % of the time"), "{sighting:?}");
    assert_eq!(sighting.began, None);
    sample.history.units[0].polls.clear();
    let unseen = found(&sample);
    let says = |words| unseen[0].evidence.iter().any(|line| line.contains(words));
    assert!(
        says("it was not seen polled since the session"),
        "{unseen:?}"
    );
    // Pauses before its last poll change nothing.
    let mut sample = tasks(1, 199);
    sample.history.watched_since = SECOND;
    let whole = found(&sample);
    assert!(!whole[0].summary.contains("watched"), "{whole:?}");
    assert_eq!(whole[0].began, Some(SECOND + 5));
}

#[test]
fn many_that_are_alike_are_one_entry_that_weighs_little() {
    let all = found(&tasks(500, 0));
    let findings = group(all);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].count, 500);
    let weight = |sample: &Sample| found(sample).iter().map(|one| one.weight).max();
    assert!(weight(&tasks(1, 199)) > weight(&tasks(100, 100)));
}

#[test]
fn a_session_that_is_too_short_tells_nothing_but_what_memory_keeps() {
    let mut sample = tasks(10, 0);
    sample.history.span.end = 5 * SECOND;
    assert!(found(&sample).is_empty());
    let waits = WaitsFor::new("io").with("last_received_ms", 90_000);
    let mut node = leaf_node("tokio::Readiness");
    node.waits_for = Some(waits);
    let hand = Hand::twice(vec![task(1, node)]);
    let found = find(&hand.case());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].evidence[0].contains("received nothing for 90.0 s"),
        "{found:?}"
    );
}

#[test]
fn what_is_polled_or_over_is_not_stalled() {
    assert!(found(&tasks(0, 20)).is_empty());
}
