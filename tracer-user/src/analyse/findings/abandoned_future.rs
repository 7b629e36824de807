//! A future that was started, is suspended, and is no longer polled, although its task makes
//! progress (the await-tree article's first case).

use std::collections::HashMap;

use super::case::Case;
use super::graph::{Class, Facts, How, Progress, Rules};
use super::kept::{Kept, Polled, is_plain, kept};
use super::model::{Certainty, Kind, Role, Sighting, Site};
use super::past::duration;
use super::preorder::{Placed, Preorder, is_body};
use super::source::{awaited_in, is_dependency, place, site, subject};
use crate::address::Address;
use crate::walk::without_arguments;

/// Unpolled for so long, by events, although its task was polled: hardly on purpose.
const LONG: u64 = 5_000_000_000;
/// The same when all the while a poll would have taken it further.
const LONG_READY: u64 = 1_000_000_000;

/// Awaits on the way to what it waits for that are named.
const MAX_SITES: usize = 6;

/// Futures that are kept and not polled any more.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let kept: Vec<Kept<'_>> = kept(case)
        .into_iter()
        .filter(|kept| kept.polled != Polled::InBetween && !kept.future.in_doubt)
        .collect();
    if kept.is_empty() {
        return Vec::new();
    }
    let facts = Facts::of(case);
    let wanted = Wanted::of(&facts);
    let progress = Progress::of(&facts, Rules::ALL[1]);
    kept.into_iter()
        .filter_map(|kept| judge(&facts, &wanted, &progress, &kept))
        .collect()
}

/// What others wait for that a kept future has.
#[derive(Clone, Copy, Debug)]
struct Want {
    resource: usize,
    waiter: usize,
    waiters: usize,
}

struct Wanted {
    /// By task and kept future.
    of: HashMap<(usize, Option<Address>), Want>,
    /// Those whose lock is waited for: futurelocks, told elsewhere.
    locks: HashMap<(usize, Option<Address>), ()>,
}

impl Wanted {
    fn of(facts: &Facts<'_>) -> Self {
        let mut wanted = Self {
            of: HashMap::new(),
            locks: HashMap::new(),
        };
        for (index, resource) in facts.resources.iter().enumerate() {
            let still = |&&(task, _): &&(usize, usize)| facts.tasks[task].still.is_some();
            let Some(&(waiter, _)) = resource.waiters.iter().find(still) else {
                continue;
            };
            for claim in &resource.claims {
                let Some(kept) = claim.kept else { continue };
                let key = (claim.task, kept.address);
                if resource.class == Class::Permits {
                    wanted.locks.insert(key, ());
                } else if claim.how == How::Held && claim.doubt.is_none() {
                    wanted.of.entry(key).or_insert(Want {
                        resource: index,
                        waiter,
                        waiters: resource.waiters.len(),
                    });
                }
            }
        }
        wanted
    }
}

fn judge(
    facts: &Facts<'_>,
    wanted: &Wanted,
    progress: &Progress,
    kept: &Kept<'_>,
) -> Option<Sighting> {
    let key = (kept.index, kept.future.address);
    let want = wanted.of.get(&key);
    if wanted.locks.contains_key(&key) || is_plain(kept.future) && want.is_none() {
        return None;
    }
    let unpolled = kept.unpolled();
    let owner_stuck = !progress.task(kept.index);
    let certainty = if want.is_some() && owner_stuck
        || kept.ready && unpolled >= LONG_READY
        || want.is_some() && unpolled >= LONG_READY
        || matches!(kept.polled, Polled::NotSince { .. }) && kept.goes_on && unpolled >= LONG
    {
        Certainty::Likely
    } else if kept.ready || unpolled >= LONG_READY {
        Certainty::Possible
    } else {
        return None;
    };
    Some(sighting(facts, kept, certainty, want, owner_stuck))
}

fn sighting(
    facts: &Facts<'_>,
    kept: &Kept<'_>,
    certainty: Certainty,
    want: Option<&Want>,
    owner_stuck: bool,
) -> Sighting {
    let future = without_arguments(&kept.future.future);
    let stands = site(Role::WaitsAt, kept.keeper);
    let tree = Preorder::of(kept.future);
    let leaf = tree
        .leaves()
        .next()
        .and_then(|leaf| Some((leaf, tree.futures.get(leaf)?)));
    let inside = leaf.and_then(|(leaf, _)| awaited_in(&tree, leaf));
    let mut evidence = vec![format!(
        "{} ({}) keeps {future} and does not poll it while it stands at {}",
        kept.task.id,
        kept.task.future,
        place(&stands)
    )];
    if let Some((_, leaf)) = leaf {
        evidence.push(waits_for(leaf, inside));
    }
    evidence.push(since(kept));
    if let Some(want) = want {
        let waiter = facts.tasks[want.waiter].info;
        evidence.push(format!(
            "{} waiting for the {} that it would send to: {} ({}){}",
            if want.waiters == 1 {
                "1 task is".to_owned()
            } else {
                format!("{} tasks are", want.waiters)
            },
            facts.resources[want.resource].name,
            waiter.id,
            waiter.future,
            if owner_stuck {
                ", and its own task cannot go on without it"
            } else {
                ""
            },
        ));
    }
    let mut tasks = vec![subject(kept.task)];
    if let Some(want) = want {
        let waiter = subject(facts.tasks[want.waiter].info);
        if !tasks.contains(&waiter) {
            tasks.push(waiter);
        }
    }
    let mut sites = vec![stands.clone()];
    let inside = inside.map(|at| site(Role::Culprit, at.node));
    sites.extend(inside.filter(|site| site.line.is_some() && site.line != stands.line));
    if let Some((leaf, _)) = leaf {
        sites.extend(on_the_way(&tree, leaf, &sites));
    }
    Sighting {
        kind: Kind::AbandonedFuture,
        certainty,
        cause: format!("{} kept at {}", kept.future.future, place(&stands)),
        summary: format!(
            "{future} was begun and is not polled any more while its task goes on at {}",
            place(&stands)
        ),
        tasks,
        sites,
        evidence,
        began: match kept.polled {
            Polled::NotSince { time, seen: true } => Some(time),
            _ => None,
        },
        ended: None,
        advice: format!(
            "poll {future} together with what is awaited at {} (`join!`, a task of its own), or drop \
             it before",
            place(&stands)
        ),
        weight: kept.unpolled(),
    }
}

/// Awaits of the program's own on the way to a leaf that are not among `known`, the innermost first.
fn on_the_way(tree: &Preorder<'_>, leaf: usize, known: &[Site]) -> Vec<Site> {
    let is_known = |at: &Site| {
        let mut known = known.iter();
        known.any(|known| (&known.file, known.line) == (&at.file, at.line))
    };
    tree.outwards(leaf)
        .filter(|at| is_body(at.node.kind) && at.node.line.is_some())
        .map(|at| site(Role::WaitsAt, at.node))
        .filter(|at| !is_known(at) && !at.file.as_deref().is_some_and(is_dependency))
        .take(MAX_SITES)
        .collect()
}

/// Where it stands, in words.
fn waits_for(leaf: &Placed<'_>, inside: Option<&Placed<'_>>) -> String {
    let at = inside.map_or_else(String::new, |at| {
        format!(" at {}", place(&site(Role::Culprit, at.node)))
    });
    let waits = leaf.node.waits_for.as_ref();
    let what = waits.map_or(&*leaf.node.future, |waits| waits.kind);
    let ready = waits
        .filter(|waits| waits.ready() == Some(true))
        .map_or_else(String::new, |waits| match waits.text("ready_because") {
            Some(because) => format!(", which is there: {because}"),
            None => ", which is there".to_owned(),
        });
    format!("it waits{at} for {what}{ready}")
}

/// Since when nobody polls it, in words.
fn since(kept: &Kept<'_>) -> String {
    let apart = duration(kept.to.saturating_sub(kept.from));
    let moves = if kept.goes_on {
        "its task went on meanwhile"
    } else {
        "its task stood still, too"
    };
    match kept.polled {
        Polled::NotSince { time, seen: true } => format!(
            "it was polled last {} before the last look; {moves}",
            duration(kept.to.saturating_sub(time))
        ),
        Polled::NotSince { .. } => format!(
            "events of {} show no poll of it, and it was the same in {} looks; {moves}",
            duration(kept.unpolled()),
            kept.looks
        ),
        _ if kept.ready => format!(
            "it was the same in {} looks, {apart} apart, although a poll would have taken it \
             further: unpolled for {} at least; {moves}",
            kept.looks,
            duration(kept.unpolled())
        ),
        _ => format!(
            "it was the same in {} looks, {apart} apart; {moves}",
            kept.looks
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hand::{
        Hand, SECOND, acquire, body, detail, holding, keeping, lock, sleep, task, waits,
    };
    use super::*;
    use crate::analyse::history::History;
    use crate::analyse::history::sample::{self, Trace};
    use crate::rebuild::snapshot::TaskInfo;
    use crate::rebuild::tree::{AwaitNode, WaitsFor};

    fn owner(line: u32, kept: AwaitNode) -> TaskInfo {
        task(1, keeping(body("app::f", line, sleep(99)), kept))
    }

    fn download() -> AwaitNode {
        body(
            "app::download",
            8,
            waits("tokio::sync::notify::Notified", "notify"),
        )
    }

    fn ready() -> AwaitNode {
        body("app::download", 8, detail(sleep(5 * SECOND), "ready", true))
    }

    fn found(hand: &Hand) -> Vec<(Certainty, String)> {
        let found = find(&hand.case());
        found
            .into_iter()
            .map(|one| (one.certainty, one.cause))
            .collect()
    }

    fn looks(from: u64, to: u64, kept: &AwaitNode) -> Hand {
        // The task goes on: it stands at another await.
        Hand::new()
            .look(from, vec![owner(3, kept.clone())])
            .look(to, vec![owner(4, kept.clone())])
    }

    #[test]
    fn what_a_poll_would_take_further_is_not_polled() {
        let hand = looks(10 * SECOND, 10 * SECOND + SECOND / 5, &ready());
        let cause = "app::download kept at src/main.rs:4".to_owned();
        assert_eq!(found(&hand), [(Certainty::Likely, cause)]);
        let told = &find(&hand.case())[0];
        assert!(told.evidence[2].contains("unpolled for 5.2 s"), "{told:#?}");
        assert!(told.evidence[2].contains("went on meanwhile"), "{told:#?}");
        assert!(
            told.sites.iter().any(|site| site.line == Some(8)),
            "{told:#?}"
        );
        // It became ready a moment ago: the task will be back.
        let brief = looks(5 * SECOND, 5 * SECOND + SECOND / 5, &ready());
        assert_eq!(found(&brief)[0].0, Certainty::Possible);
    }

    #[test]
    fn without_events_a_healthy_loop_looks_the_same() {
        assert!(found(&looks(10 * SECOND, 40 * SECOND, &download())).is_empty());
    }

    /// The task is polled each second, at line 3 and with the download until `left`, then at line 4.
    fn polls(left: u64, to: u64) -> History {
        let mut trace = Trace::new();
        let worker = trace.thread(7, "worker", 1);
        let unit = trace.task(1, "app::f", 2, true);
        for second in 1..to {
            let at = second * SECOND;
            let mut stands = vec![sample::body(0, 0, "app::f", 3)];
            if second <= left {
                // It lies 16 bytes behind: after the sleep.
                stands.push(sample::body(1, 16, "app::download", 8));
                stands.push(sample::leaf(
                    2,
                    24,
                    "tokio::sync::notify::Notified",
                    "notify",
                ));
            } else {
                stands.push(sample::sleep(1, 8, second as u8));
            }
            trace.stands(unit, at, &stands);
            trace.poll(unit, worker, at, at + 9, None);
        }
        trace.history(0, to * SECOND)
    }

    #[test]
    fn events_tell_that_it_was_not_polled_although_its_task_was() {
        let hand = looks(10 * SECOND, 20 * SECOND, &download()).with(polls(5, 20));
        let (certainty, _) = &found(&hand)[0];
        assert_eq!(*certainty, Certainty::Likely);
        let told = &find(&hand.case())[0];
        assert!(told.began.is_some(), "{told:#?}");
        // It was polled in between.
        let hand = looks(10 * SECOND, 20 * SECOND, &download()).with(polls(15, 20));
        assert!(found(&hand).is_empty());
        // Not for long yet.
        let hand = looks(10 * SECOND, 12 * SECOND, &download()).with(polls(9, 12));
        assert!(
            found(&hand)
                .iter()
                .all(|(certainty, _)| *certainty == Certainty::Possible)
        );
    }

    #[test]
    fn plain_timers_and_receivers_are_kept_by_everybody() {
        for plain in [
            detail(sleep(5 * SECOND), "ready", true),
            waits("tokio::sync::notify::Notified", "notify"),
            AwaitNode {
                file: Some("/root/.cargo/registry/src/index-1/tokio-1.54.1/src/sync/x.rs".into()),
                ..body(
                    "tokio::sync::mpsc::bounded::Receiver<u8>::recv",
                    5,
                    sleep(9),
                )
            },
        ] {
            assert!(found(&looks(10 * SECOND, 40 * SECOND, &plain)).is_empty());
        }
    }

    #[test]
    fn a_kept_future_with_the_lock_of_others_is_a_futurelock() {
        let kept = holding(ready(), lock(0x10));
        let tasks = vec![owner(3, kept), task(2, body("app::g", 5, acquire(0x10)))];
        assert!(found(&Hand::twice(tasks)).is_empty());
    }

    #[test]
    fn who_waits_for_what_it_would_send_is_named() {
        let oneshot = WaitsFor::new("oneshot").with("address", "0x70");
        let kept = holding(download(), oneshot.clone());
        let leaf = AwaitNode {
            waits_for: Some(oneshot),
            ..waits("tokio::sync::oneshot::Receiver<u8>", "oneshot")
        };
        let tasks = vec![owner(3, kept), task(2, body("app::g", 5, leaf))];
        assert!(find(&Hand::twice(tasks.clone()).case()).is_empty());
        let found = find(&Hand::twice(tasks).with(polls(0, 2)).case());
        assert_eq!(found[0].certainty, Certainty::Likely);
        assert_eq!(&*found[0].tasks[1].id, "tokio/2");
        assert!(
            found[0]
                .evidence
                .join("\n")
                .contains("1 task is waiting for the oneshot")
        );
    }
}
