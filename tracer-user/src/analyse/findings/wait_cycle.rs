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
            "events were lost: that none of them was polled meanwhile is told by memory alone"
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
mod tests {
    use super::super::hand::{
        Hand, SECOND, acquire, body, combinator, detail, holding, join, lock, select, sleep, task,
        waits,
    };
    use super::*;
    use crate::analyse::history::sample::Trace;
    use crate::rebuild::snapshot::{TaskInfo, TaskState};
    use crate::rebuild::tree::{AwaitNode, WaitsFor};

    fn circle() -> Vec<TaskInfo> {
        vec![
            task(1, holding(body("app::debit", 3, acquire(0x20)), lock(0x10))),
            task(
                2,
                holding(body("app::credit", 4, acquire(0x10)), lock(0x20)),
            ),
        ]
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
    fn two_locks_taken_in_two_orders_are_a_proof() {
        let mut tasks = circle();
        tasks.push(task(3, body("app::third", 5, acquire(0x10))));
        let found = found(tasks);
        assert_eq!(found.len(), 1, "{found:#?}");
        let one = &found[0];
        assert_eq!(one.certainty, Certainty::Proved);
        let ids: Vec<_> = one.tasks.iter().map(|task| &*task.id).collect();
        assert_eq!(ids, ["tokio/1", "tokio/2"]);
        let lines: Vec<_> = one.sites.iter().map(|site| site.line).collect();
        assert_eq!(lines, [Some(3), Some(4)]);
        assert_eq!(
            one.cause,
            "src/main.rs:4 (a mutex) -> src/main.rs:3 (a mutex)"
        );
        let told = one.evidence.join("\n");
        assert!(
            told.contains("tokio/1 (app::debit) waits at src/main.rs:3"),
            "{told}"
        );
        assert!(told.contains("which tokio/2 holds in `guard`"), "{told}");
        assert!(told.contains("besides, 1 task waits"), "{told}");
    }

    #[test]
    fn the_order_of_tasks_changes_neither_cause_nor_summary() {
        let mut turned = circle();
        turned.reverse();
        let (one, other) = (&found(circle())[0], &found(turned)[0]);
        assert_eq!((&one.cause, &one.summary), (&other.cause, &other.summary));
    }

    #[test]
    fn a_task_that_locks_twice_waits_for_itself() {
        let inner = body("app::adds", 9, acquire(0x10));
        let found = found(vec![task(1, holding(body("app::f", 3, inner), lock(0x10)))]);
        assert_eq!(found[0].certainty, Certainty::Proved);
        assert!(found[0].summary.starts_with("a task waits for itself"));
        assert_eq!(found[0].sites[0].line, Some(9));
    }

    #[test]
    fn what_moves_is_in_no_circle() {
        let mut moving = circle();
        moving[0].state = TaskState::Scheduled;
        assert!(certainties(moving).is_empty());
        let [one, two] = circle().try_into().unwrap();
        let before = task(1, holding(body("app::debit", 2, acquire(0x20)), lock(0x10)));
        let hand = Hand::new()
            .look(1, vec![before, two.clone()])
            .look(2, vec![one, two]);
        assert!(find(&hand.case()).is_empty());
    }

    #[test]
    fn a_timeout_is_a_way_out() {
        let timeout = |inner| {
            combinator(
                "tokio::time::timeout::Timeout<app::g>",
                vec![inner, sleep(99)],
            )
        };
        let mut tasks = circle();
        for wrap in [timeout, |inner| select(vec![inner, sleep(99)])] {
            tasks[0] = task(
                1,
                holding(body("app::debit", 3, wrap(acquire(0x20))), lock(0x10)),
            );
            assert_eq!(certainties(tasks.clone()), [Certainty::Possible]);
        }
    }

    #[test]
    fn one_arm_of_a_join_is_enough() {
        let mut tasks = circle();
        let arms = join(vec![acquire(0x20), sleep(99)]);
        tasks[0] = task(1, holding(body("app::debit", 3, arms), lock(0x10)));
        assert_eq!(certainties(tasks), [Certainty::Likely]);
    }

    #[test]
    fn doubt_and_several_holders_are_no_proof() {
        let mut doubtful = circle();
        doubtful[0].tree.as_mut().unwrap().holds[0].doubt = Some("it was moved".to_owned());
        let found = found(doubtful.clone());
        assert_eq!(found[0].certainty, Certainty::Likely);
        assert!(
            found[0]
                .evidence
                .join("\n")
                .contains("in doubt: it was moved")
        );
        // Somebody holds it without a doubt: the other does not.
        let mut tasks = doubtful;
        tasks.push(task(
            3,
            holding(body("app::third", 5, sleep(9)), lock(0x10)),
        ));
        assert!(certainties(tasks).is_empty());
        let mut both = circle();
        both.push(task(
            3,
            holding(body("app::third", 5, acquire(0x20)), lock(0x10)),
        ));
        assert!(!certainties(both).contains(&Certainty::Proved));
    }

    #[test]
    fn tasks_that_join_each_other_and_locks_make_one_circle() {
        let joins = |address: &str| {
            let join = waits("tokio::runtime::task::join::JoinHandle<()>", "join");
            detail(join, "address", address)
        };
        let tasks = vec![
            task(1, holding(body("app::a", 3, joins("0x2000")), lock(0x10))),
            task(2, body("app::b", 4, acquire(0x10))),
        ];
        assert_eq!(certainties(tasks), [Certainty::Proved]);
        // A task that is not known may finish.
        let tasks = vec![
            task(1, holding(body("app::a", 3, joins("0x9000")), lock(0x10))),
            task(2, body("app::b", 4, acquire(0x10))),
        ];
        assert!(certainties(tasks).is_empty());
    }

    fn channel(address: &str, side: &str) -> WaitsFor {
        WaitsFor::new("channel")
            .with("channel", "mpsc")
            .with("side", side)
            .with("address", address)
    }

    fn receive(address: &str, senders: u64) -> AwaitNode {
        AwaitNode {
            waits_for: Some(channel(address, "receive").with("senders", senders)),
            ..waits("core::future::poll_fn::PollFn<x>", "channel")
        }
    }

    #[test]
    fn channels_whose_only_senders_wait_are_likely() {
        let talks = |id, from, to| {
            task(
                id,
                holding(body("app::talks", 3, receive(from, 1)), channel(to, "send")),
            )
        };
        let tasks = vec![talks(1, "0x50", "0x60"), talks(2, "0x60", "0x50")];
        assert_eq!(certainties(tasks), [Certainty::Likely]);
        let talks = |id, from, to| {
            task(
                id,
                holding(body("app::talks", 3, receive(from, 2)), channel(to, "send")),
            )
        };
        let tasks = vec![talks(1, "0x50", "0x60"), talks(2, "0x60", "0x50")];
        assert!(certainties(tasks).is_empty());
    }

    #[test]
    fn who_keeps_its_own_sender_on_purpose_may_wait_for_ever() {
        let waits_for_itself = |local: &str| {
            let mut tree = holding(
                body("app::f", 3, receive("0x50", 1)),
                channel("0x50", "send"),
            );
            tree.holds[0].local = local.into();
            vec![task(1, tree)]
        };
        assert_eq!(certainties(waits_for_itself("sender")), [Certainty::Likely]);
        assert_eq!(
            certainties(waits_for_itself("_sender")),
            [Certainty::Possible]
        );
    }

    #[test]
    fn a_circle_through_a_kept_future_is_told_elsewhere() {
        let kept = holding(body("app::slow", 8, sleep(9)), lock(0x10));
        let tree = super::super::hand::keeping(body("app::f", 3, acquire(0x10)), kept);
        assert!(certainties(vec![task(1, tree)]).is_empty());
    }

    #[test]
    fn lost_events_and_polls_in_between_leave_no_proof() {
        let mut trace = Trace::new();
        let worker = trace.thread(7, "worker", 1);
        let unit = trace.task(1, "app::debit", 2, true);
        trace.poll(unit, worker, 10 * SECOND + 5, 10 * SECOND + 9, None);
        let hand = Hand::twice(circle()).with(trace.history(0, 20 * SECOND));
        assert_eq!(find(&hand.case())[0].certainty, Certainty::Likely);
        let mut lossy = Hand::twice(circle());
        lossy.history.missing.records_lost = 1;
        assert_eq!(find(&lossy.case())[0].certainty, Certainty::Likely);
    }

    #[test]
    fn thousands_of_tasks_behind_one_circle_take_no_time() {
        let mut tasks = circle();
        for id in 3..30_000 {
            tasks.push(task(id, body("app::third", 5, acquire(0x10))));
        }
        let hand = Hand::twice(tasks);
        let begin = std::time::Instant::now();
        let found = find(&hand.case());
        assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
        assert_eq!(found.len(), 1);
        assert!(found[0].evidence.join("\n").contains("29997 tasks wait"));
    }
}
