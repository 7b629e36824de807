//! Findings over time: nothing flickers, and nothing stays open for ever.

use proptest::prelude::*;

use super::*;
use crate::analyse::findings::{Certainty, Kind};

const PATIENCE: u64 = 10;

fn finding(key: u8, certainty: Certainty) -> Finding {
    Finding {
        kind: Kind::LostWake,
        certainty,
        summary: String::new(),
        key: key.to_string(),
        count: 1,
        tasks: Vec::new(),
        sites: Vec::new(),
        evidence: Vec::new(),
        began_ns: None,
        ended_ns: None,
        advice: String::new(),
    }
}

fn of(watch: &Watch, key: u8) -> Vec<Episode> {
    let mut of: Vec<Episode> = watch
        .episodes()
        .into_iter()
        .filter(|episode| episode.finding.key == key.to_string())
        .collect();
    of.sort_by_key(|episode| episode.opened);
    of
}

#[test]
fn it_opens_stays_and_closes_with_times() {
    let mut watch = Watch::new(PATIENCE);
    watch.judged(vec![finding(1, Certainty::Likely)], 100);
    watch.judged(Vec::new(), 105);
    assert_eq!(of(&watch, 1)[0].closed, None, "missed once");
    watch.judged(vec![finding(1, Certainty::Likely)], 108);
    watch.judged(Vec::new(), 118);
    assert_eq!(
        of(&watch, 1)[0].closed,
        None,
        "not longer than the patience"
    );
    watch.judged(Vec::new(), 119);
    let episode = &of(&watch, 1)[0];
    assert_eq!(
        (episode.opened, episode.seen, episode.closed),
        (100, 108, Some(108))
    );
    // Seen again after that, it is another episode.
    watch.judged(vec![finding(1, Certainty::Likely)], 130);
    assert_eq!(of(&watch, 1).len(), 2);
}

#[test]
fn what_was_proved_stays_proved_while_it_is_open() {
    let mut watch = Watch::new(PATIENCE);
    watch.judged(vec![finding(1, Certainty::Possible)], 1);
    watch.judged(vec![finding(1, Certainty::Proved)], 2);
    watch.judged(vec![finding(1, Certainty::Likely)], 3);
    assert_eq!(of(&watch, 1)[0].finding.certainty, Certainty::Proved);
    assert_eq!(of(&watch, 1)[0].seen, 3);
}

#[test]
fn what_is_over_when_it_is_found_does_not_stay_open_for_being_found_again() {
    let past = || {
        let mut past = finding(1, Certainty::Likely);
        (past.began_ns, past.ended_ns) = (Some(90), Some(95));
        past
    };
    let mut watch = Watch::new(PATIENCE);
    for now in 100..130 {
        // The window that is judged still holds it.
        watch.judged(vec![past()], now);
    }
    let episodes = of(&watch, 1);
    assert_eq!(episodes.len(), 1);
    assert_eq!((episodes[0].opened, episodes[0].closed), (90, Some(95)));
    // One that was over long ago never opens.
    let mut late = Watch::new(PATIENCE);
    late.judged(vec![past()], 1_000);
    assert_eq!(late.episodes(), []);
}

#[test]
fn however_many_there_are_memory_is_bounded() {
    let mut watch = Watch::new(PATIENCE);
    let named = |at: usize| Finding {
        key: format!("finding {at}"),
        ..finding(0, Certainty::Possible)
    };
    watch.judged((0..MAX_OPEN + 7).map(named).collect(), 1);
    assert_eq!(watch.episodes().len(), MAX_OPEN);
    assert_eq!(watch.beyond(), 7);
    watch.judged(Vec::new(), 100);
    assert_eq!(watch.episodes().len(), MAX_CLOSED);
}

proptest! {
    #[test]
    fn nothing_flickers(
        judgements in prop::collection::vec((1_u64..25, prop::collection::vec(any::<bool>(), 3)), 1..60)
    ) {
        let mut watch = Watch::new(PATIENCE);
        let mut now = 1_000;
        let mut seen: Vec<Vec<u64>> = vec![Vec::new(); 3];
        for (step, which) in judgements {
            now += step;
            let found = (0_u8..).zip(&which).filter(|(_, is)| **is);
            for (key, _) in found.clone() {
                seen[usize::from(key)].push(now);
            }
            watch.judged(found.map(|(key, _)| finding(key, Certainty::Likely)).collect(), now);
        }
        for (key, times) in (0_u8..).zip(&seen) {
            // As many episodes as there are gaps longer than the patience, and one.
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for &time in times {
                match runs.last_mut() {
                    Some((_, last)) if time - *last <= PATIENCE => *last = time,
                    _ => runs.push((time, time)),
                }
            }
            let got: Vec<(u64, u64)> = of(&watch, key)
                .iter()
                .map(|episode| (episode.opened, episode.seen))
                .collect();
            prop_assert_eq!(&got, &runs);
            let open = of(&watch, key).iter().filter(|one| one.closed.is_none()).count();
            let is_open = times.last().is_some_and(|last| now - last <= PATIENCE);
            prop_assert_eq!(open, usize::from(is_open));
            for episode in of(&watch, key) {
                prop_assert!(episode.closed.is_none_or(|closed| closed == episode.seen));
            }
        }
    }

    #[test]
    fn findings_do_not_change_each_other(
        steps in prop::collection::vec((1_u64..25, any::<bool>(), any::<bool>()), 1..40)
    ) {
        let mut alone = Watch::new(PATIENCE);
        let mut beside = Watch::new(PATIENCE);
        let mut now = 0;
        for (step, one, other) in steps {
            now += step;
            let mut found: Vec<Finding> =
                one.then(|| finding(1, Certainty::Proved)).into_iter().collect();
            alone.judged(found.clone(), now);
            found.extend(other.then(|| finding(2, Certainty::Possible)));
            found.reverse();
            beside.judged(found, now);
        }
        prop_assert_eq!(of(&alone, 1), of(&beside, 1));
    }
}
