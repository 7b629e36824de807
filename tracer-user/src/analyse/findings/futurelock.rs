//! A future that holds a lock, or was given it in its queue, or is queued for it, and is no longer
//! polled by its task, while that task or others wait for the lock. The name is Oxide's (RFD 609).

use std::collections::HashMap;

use super::case::Case;
use super::graph::{Claim, Class, Facts, How, Progress, Resource, Rules, holders, is_exclusive};
use super::kept::{Kept, kept};
use super::model::{Certainty, Kind, Role, Sighting};
use super::past::duration;
use super::source::{awaited_in, place, site, subject};
use crate::address::Address;
use crate::walk::without_arguments;

/// For less than this a future is kept aside by many a healthy program.
const BRIEF: u64 = 1_000_000_000;

/// Locks that wait for futures which nobody polls.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let kept: HashMap<(usize, Option<Address>), Kept<'_>> = kept(case)
        .into_iter()
        .map(|kept| ((kept.index, kept.future.address), kept))
        .collect();
    if kept.is_empty() {
        return Vec::new();
    }
    let facts = Facts::of(case);
    let mut progress: Vec<Option<Progress>> = vec![None; Rules::ALL.len()];
    let mut sightings = Vec::new();
    for resource in &facts.resources {
        if resource.class != Class::Permits || resource.waiters.is_empty() {
            continue;
        }
        for claim in &resource.claims {
            let aside = claim
                .kept
                .and_then(|future| kept.get(&(claim.task, future.address)));
            let Some(aside) = aside else { continue };
            let scene = Scene {
                case,
                facts: &facts,
                resource,
                claim,
                kept: aside,
            };
            sightings.extend(scene.judge(&mut progress));
        }
    }
    sightings
}

struct Scene<'f, 'a> {
    case: &'f Case<'a>,
    facts: &'f Facts<'a>,
    resource: &'f Resource<'a>,
    claim: &'f Claim<'a>,
    kept: &'f Kept<'a>,
}

impl Scene<'_, '_> {
    fn judge(&self, progress: &mut [Option<Progress>]) -> Option<Sighting> {
        let mut waiting: Vec<(usize, usize)> = self.waiting().collect();
        // Whatever the order in which tasks were listed.
        waiting.sort_by_key(|&(task, leaf)| {
            let info = self.facts.tasks[task].info;
            (info.address.0, &info.id, leaf)
        });
        let &first = waiting.first()?;
        let mut evidence = Vec::new();
        let certainty = match self.claim.how {
            // Nothing is held yet: who holds it now may be to blame, or nobody.
            How::Queued if self.kept.unpolled() >= BRIEF && self.claim.doubt.is_none() => {
                Certainty::Possible
            }
            How::Queued => return None,
            How::Held | How::Given => self.certainty(progress, &waiting, &mut evidence),
        };
        Some(self.sighting(certainty, first, &waiting, evidence))
    }

    /// Leaves that wait for the lock, of tasks that stand still.
    fn waiting(&self) -> impl Iterator<Item = (usize, usize)> {
        self.resource
            .waiters
            .iter()
            .copied()
            .filter(|&(task, leaf)| {
                let member = &self.facts.tasks[task];
                let leaf = member.tree.futures.get(leaf);
                let waits = leaf.and_then(|leaf| leaf.node.waits_for.as_ref());
                let kept_from_it = waits.is_some_and(|waits| waits.ready() != Some(true));
                member.still.is_some() && kept_from_it
            })
    }

    fn certainty(
        &self,
        progress: &mut [Option<Progress>],
        waiting: &[(usize, usize)],
        evidence: &mut Vec<String>,
    ) -> Certainty {
        let owner = self.claim.task;
        // Who cannot go on will never poll it again.
        for (rules, progress) in Rules::ALL.iter().zip(progress) {
            if rules.certainty == Certainty::Possible {
                break;
            }
            let counts = holders(self.resource, *rules)
                .any(|claim| std::ptr::eq(claim.holder, self.claim.holder));
            let progress = progress.get_or_insert_with(|| Progress::of(self.facts, *rules));
            if !counts || progress.task(owner) {
                continue;
            }
            evidence.push(
                "its task cannot go on before the lock is released, and would have to poll it for \
                 that"
                    .to_owned(),
            );
            let alone = is_exclusive(self.resource) && holders(self.resource, *rules).count() == 1;
            let certainty = if alone {
                rules.certainty
            } else {
                evidence.push("others may hold it as well".to_owned());
                Certainty::Likely
            };
            if certainty == Certainty::Proved && self.case.events_are_missing() {
                evidence.push("events are missing: this is told by memory alone".to_owned());
                return Certainty::Likely;
            }
            return certainty;
        }
        let longest = waiting
            .iter()
            .filter_map(|&(task, _)| self.facts.tasks[task].still.as_ref())
            .map(super::still::Still::duration)
            .max()
            .unwrap_or(0);
        let others_hold = holders(self.resource, Rules::SURE)
            .any(|claim| !std::ptr::eq(claim.holder, self.claim.holder));
        let long = self.kept.unpolled() >= BRIEF && longest >= BRIEF;
        if long && self.claim.doubt.is_none() && !others_hold && self.kept.stands {
            Certainty::Likely
        } else {
            Certainty::Possible
        }
    }

    fn sighting(
        &self,
        certainty: Certainty,
        first: (usize, usize),
        waiting: &[(usize, usize)],
        more: Vec<String>,
    ) -> Sighting {
        let owner = &self.facts.tasks[self.claim.task];
        let future = without_arguments(&self.kept.future.future);
        let lock = self.resource.name;
        let has = match self.claim.how {
            How::Held => "holds",
            How::Given => "was given",
            How::Queued => "is queued for",
        };
        let stands = site(Role::HoldsAt, self.kept.keeper);
        let inside = site(Role::Culprit, self.claim.holder);
        let waits = awaited_in(&self.facts.tasks[first.0].tree, first.1)
            .map(|at| site(Role::WaitsAt, at.node));
        let mut evidence = vec![format!(
            "{future} {has} the {lock} at {:#x}{}; {} ({}) keeps it and does not poll it while it \
             stands at {}",
            self.resource.address,
            match (self.claim.how, inside.line) {
                (How::Held, Some(_)) => format!(
                    " in `{}`, and stands at {}",
                    self.claim.local,
                    place(&inside)
                ),
                _ => String::new(),
            },
            owner.info.id,
            owner.info.future,
            place(&stands),
        )];
        for &(task, leaf) in waiting.iter().take(3) {
            let member = &self.facts.tasks[task];
            let at = awaited_in(&member.tree, leaf).map(|at| place(&site(Role::WaitsAt, at.node)));
            evidence.push(format!(
                "{} ({}) waits for it{}, for {} at least",
                member.info.id,
                member.info.future,
                at.map_or_else(String::new, |at| format!(" at {at}")),
                duration(
                    member
                        .still
                        .as_ref()
                        .map_or(0, super::still::Still::duration)
                ),
            ));
        }
        if waiting.len() > 3 {
            evidence.push(format!("{} more tasks wait for it", waiting.len() - 3));
        }
        if let Some(doubt) = self.claim.doubt {
            evidence.push(format!("that it is held is in doubt: {doubt}"));
        }
        evidence.extend(more);
        evidence.push(looks(self.kept));
        let mut tasks = vec![subject(owner.info)];
        for &(task, _) in waiting.iter().take(super::group::MAX_TASKS) {
            let waiter = subject(self.facts.tasks[task].info);
            if !tasks.contains(&waiter) {
                tasks.push(waiter);
            }
        }
        let mut sites = vec![stands.clone()];
        sites.extend(waits);
        if inside.line.is_some() && !sites.iter().any(|site| site.line == inside.line) {
            sites.push(inside);
        }
        Sighting {
            kind: Kind::Futurelock,
            certainty,
            cause: format!("{future} {has} a {lock}, kept at {}", place(&stands)),
            summary: format!(
                "{future} {has} a {lock} that others wait for, and is not polled while its task \
                 stands at {}",
                place(&stands)
            ),
            tasks,
            sites,
            evidence,
            began: owner.still.as_ref().and_then(super::still::Still::since),
            ended: owner
                .still
                .as_ref()
                .and_then(|still| still.past.polled_after(still.to)),
            advice: format!(
                "drop {future} before the await at {}, or poll both together (`join!`, a task of its \
                 own)",
                place(&stands)
            ),
            weight: waiting.len() as u64,
        }
    }
}

/// How often it was looked at.
fn looks(kept: &Kept<'_>) -> String {
    format!(
        "it was so in {} looks, {} apart",
        kept.looks,
        duration(kept.to.saturating_sub(kept.from))
    )
}

#[cfg(test)]
mod tests {
    use super::super::hand::{
        Hand, SECOND, acquire, body, combinator, detail, holding, keeping, lock, sleep, task,
    };
    use super::*;
    use crate::analyse::history::History;
    use crate::analyse::history::sample::{self, Trace};
    use crate::rebuild::snapshot::TaskInfo;
    use crate::rebuild::tree::AwaitNode;

    fn slow() -> AwaitNode {
        holding(body("app::slow", 8, sleep(9)), lock(0x10))
    }

    fn owner(kept: AwaitNode, awaits: AwaitNode) -> TaskInfo {
        task(1, keeping(body("app::f", 3, awaits), kept))
    }

    fn waiter() -> TaskInfo {
        task(2, body("app::other", 5, acquire(0x10)))
    }

    /// Events of the task that keeps it: no poll.
    fn stands(to: u64) -> History {
        let mut trace = Trace::new();
        let unit = trace.task(1, "app::f", 2, true);
        trace.stands(
            unit,
            3,
            &[sample::body(0, 0, "app::f", 3), sample::sleep(1, 8, 1)],
        );
        trace.history(0, to)
    }

    fn found(tasks: Vec<TaskInfo>) -> Vec<Sighting> {
        find(&Hand::twice(tasks).case())
    }

    fn certainties(tasks: Vec<TaskInfo>) -> Vec<Certainty> {
        found(tasks)
            .iter()
            .map(|sighting| sighting.certainty)
            .collect()
    }

    #[test]
    fn a_task_that_waits_for_what_its_own_kept_future_holds_is_a_proof() {
        let found = found(vec![owner(slow(), acquire(0x10)), waiter()]);
        assert_eq!(found.len(), 1, "{found:#?}");
        let one = &found[0];
        assert_eq!(one.certainty, Certainty::Proved);
        assert_eq!(one.cause, "app::slow holds a mutex, kept at src/main.rs:3");
        assert_eq!(&*one.tasks[0].id, "tokio/1");
        assert_eq!(one.sites[0].line, Some(3));
        assert!(
            one.sites.iter().any(|site| site.line == Some(8)),
            "{one:#?}"
        );
        assert!(
            one.evidence[0].contains("holds the mutex at 0x10 in `guard`"),
            "{one:#?}"
        );
    }

    #[test]
    fn a_lock_that_was_given_to_a_waiter_nobody_polls_is_one_too() {
        let given = body("app::update", 7, detail(acquire(0x10), "ready", true));
        let found = found(vec![owner(given, acquire(0x10)), waiter()]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].certainty, Certainty::Proved);
        assert!(found[0].cause.starts_with("app::update was given a mutex"));
    }

    #[test]
    fn a_set_of_futures_that_nobody_polls_is_kept_like_one() {
        let set = combinator(
            "futures_util::stream::futures_unordered::FuturesUnordered<app::slow>",
            vec![body("app::slow", 9, sleep(4)), slow()],
        );
        assert_eq!(
            certainties(vec![owner(set, acquire(0x10))]),
            [Certainty::Proved]
        );
    }

    #[test]
    fn a_task_that_works_on_another_arm_for_a_while_is_no_proof() {
        // A second apart: long. The others are stopped all the while, and events show no poll.
        let tasks = || vec![owner(slow(), sleep(99)), waiter()];
        let watched = |to| find(&Hand::twice(tasks()).with(stands(to)).case());
        assert_eq!(watched(12 * SECOND)[0].certainty, Certainty::Likely);
        // It may have been polled in between, and be where it was.
        assert_eq!(certainties(tasks()), [Certainty::Possible]);
        let brief = Hand::new().look(1, tasks()).look(SECOND / 5, tasks());
        let found = find(&brief.case());
        assert_eq!(found[0].certainty, Certainty::Possible);
        // Nobody waits.
        assert!(certainties(vec![owner(slow(), sleep(99))]).is_empty());
    }

    #[test]
    fn who_is_only_queued_holds_nothing_yet() {
        let queued = body("app::update", 7, acquire(0x10));
        let holder = task(3, holding(body("app::holder", 6, sleep(50)), lock(0x10)));
        let tasks = vec![owner(queued, sleep(99)), waiter(), holder];
        let found = find(&Hand::twice(tasks).with(stands(12 * SECOND)).case());
        assert_eq!(found[0].certainty, Certainty::Possible);
    }

    #[test]
    fn doubt_and_other_holders_leave_no_proof() {
        let mut doubtful = slow();
        doubtful.holds[0].doubt = Some("it was moved".to_owned());
        assert_eq!(
            certainties(vec![owner(doubtful.clone(), acquire(0x10))]),
            [Certainty::Likely]
        );
        let holder = || task(3, holding(body("app::holder", 6, sleep(50)), lock(0x10)));
        let tasks = vec![owner(doubtful, acquire(0x10)), holder()];
        assert_eq!(certainties(tasks), [Certainty::Possible]);
        let tasks = vec![owner(slow(), acquire(0x10)), holder()];
        assert_eq!(certainties(tasks), [Certainty::Possible]);
        let mut lossy = Hand::twice(vec![owner(slow(), acquire(0x10))]);
        lossy.history.missing.gaps = 1;
        assert_eq!(find(&lossy.case())[0].certainty, Certainty::Likely);
    }

    #[test]
    fn what_is_kept_in_one_look_only_tells_nothing() {
        let without = task(1, body("app::f", 3, acquire(0x10)));
        let hand = Hand::new()
            .look(1, vec![without])
            .look(2, vec![owner(slow(), acquire(0x10))]);
        assert!(find(&hand.case()).is_empty());
    }
}
