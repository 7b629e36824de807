//! What has to hold of every case: unrelated tasks and events change nothing, lost events prove
//! nothing, and the order of tasks does not matter.
//!
//! Worlds are made at random of tasks that lock, join, keep futures, lose wake-ups. They are
//! consistent in one thing: a task of which no waker is left is neither polled nor woken.

use proptest::prelude::*;

use super::hand::{
    Hand, SECOND, With, acquire, body, detail, holding, join, keeping, leaf, lock, select, sleep,
    task, waits,
};
use super::model::{Certainty, Kind, Sighting};
use super::{abandoned_future, futurelock, lost_wake, wait_cycle};
use crate::analyse::history::History;
use crate::analyse::history::sample::{self, Trace};
use crate::rebuild::snapshot::TaskInfo;

/// How a task waits for a lock.
#[derive(Clone, Copy, Debug)]
enum Arm {
    Alone,
    Select,
    Join,
}

#[derive(Clone, Debug)]
enum Plan {
    Lost,
    Sleeps {
        ready: bool,
    },
    Locks {
        holds: Option<u8>,
        doubt: bool,
        waits: u8,
        arm: Arm,
    },
    Keeps {
        holds: u8,
        ready: bool,
        waits: Option<u8>,
    },
    Joins {
        other: u8,
    },
}

#[derive(Clone, Debug)]
struct Planned {
    plan: Plan,
    /// It stands elsewhere in the second look.
    moves: bool,
    /// Seconds at which it is polled, and at which it is woken.
    polls: Vec<u8>,
    wakes: Vec<u8>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let arm = prop_oneof![Just(Arm::Alone), Just(Arm::Select), Just(Arm::Join)];
    prop_oneof![
        Just(Plan::Lost),
        any::<bool>().prop_map(|ready| Plan::Sleeps { ready }),
        (prop::option::of(1..4_u8), any::<bool>(), 1..4_u8, arm).prop_map(
            |(holds, doubt, waits, arm)| Plan::Locks {
                holds,
                doubt,
                waits,
                arm
            }
        ),
        (1..4_u8, any::<bool>(), prop::option::of(1..4_u8)).prop_map(|(holds, ready, waits)| {
            Plan::Keeps {
                holds,
                ready,
                waits,
            }
        }),
        (1..8_u8).prop_map(|other| Plan::Joins { other }),
    ]
}

fn planned() -> impl Strategy<Value = Planned> {
    let seconds = || prop::collection::vec(1..30_u8, 0..4);
    (plan(), prop::bool::weighted(0.2), seconds(), seconds()).prop_map(
        |(plan, moves, polls, wakes)| {
            let still = matches!(plan, Plan::Lost);
            let quiet = |mut times: Vec<u8>| {
                times.sort_unstable();
                times.retain(|time| !still || *time < 10);
                times
            };
            Planned {
                moves,
                polls: quiet(polls),
                wakes: quiet(wakes),
                plan,
            }
        },
    )
}

fn world() -> impl Strategy<Value = Vec<Planned>> {
    prop::collection::vec(planned(), 1..8)
}

fn made(id: u64, planned: &Planned, later: bool) -> TaskInfo {
    let line = 10 + u32::from(later && planned.moves);
    let path = format!("app::f{}", id % 3);
    let tree = |awaits| body(&path, line, awaits);
    let due = |ready: bool| detail(sleep(9 * SECOND), "ready", ready);
    let address = |lock: u8| 0x100 * u64::from(lock);
    match &planned.plan {
        Plan::Lost => task(id, tree(leaf("app::Lost"))).with_wakers(0),
        Plan::Sleeps { ready } => task(id, tree(due(*ready))),
        Plan::Locks {
            holds,
            doubt,
            waits,
            arm,
        } => {
            let awaits = acquire(address(*waits));
            let mut node = tree(match arm {
                Arm::Alone => awaits,
                Arm::Select => select(vec![awaits, sleep(99)]),
                Arm::Join => join(vec![awaits, sleep(99)]),
            });
            if let Some(held) = holds {
                node = holding(node, lock(address(*held)));
                node.holds[0].doubt = doubt.then(|| "it was moved".to_owned());
            }
            task(id, node)
        }
        Plan::Keeps {
            holds,
            ready,
            waits,
        } => {
            let awaits = waits.map_or_else(|| sleep(99), |lock| acquire(address(lock)));
            let kept = holding(body("app::kept", 50, due(*ready)), lock(address(*holds)));
            task(id, keeping(tree(awaits), kept))
        }
        Plan::Joins { other } => {
            let join = waits("tokio::runtime::task::join::JoinHandle<()>", "join");
            let address = format!("{:#x}", 0x1000 * u64::from(*other));
            task(id, tree(detail(join, "address", address)))
        }
    }
}

/// Something healthy that has nothing to do with the rest.
fn unrelated() -> Vec<TaskInfo> {
    let held = lock(0x9_0000);
    let keeps = keeping(body("other::g", 70, sleep(99)), sleep(98));
    vec![
        task(500, holding(body("other::holds", 71, sleep(99)), held)),
        task(501, body("other::waits", 72, acquire(0x9_0000))),
        task(502, keeps),
        task(
            503,
            body(
                "other::selects",
                73,
                select(vec![leaf("other::Hand"), sleep(97)]),
            ),
        ),
    ]
}

/// What happened, in order: a second, who, and whether it was polled or woken.
fn deeds(world: &[Planned]) -> Vec<(u8, u64, bool)> {
    let mut deeds = Vec::new();
    for (id, planned) in (1..).zip(world) {
        deeds.extend(planned.polls.iter().map(|&at| (at, id, true)));
        deeds.extend(planned.wakes.iter().map(|&at| (at, id, false)));
    }
    deeds.sort_unstable();
    deeds.dedup();
    deeds
}

fn history(deeds: &[(u8, u64, bool)], tasks: &[u64]) -> History {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 1);
    let units: Vec<_> = tasks
        .iter()
        .map(|&id| {
            let unit = trace.task(id, "app::f", 2, true);
            trace.stands(unit, 3, &[sample::body(0, 0, "app::f", 10)]);
            (id, unit)
        })
        .collect();
    for &(second, id, polled) in deeds {
        let Some(&(_, unit)) = units.iter().find(|(other, _)| *other == id) else {
            continue;
        };
        // What others do must not move it.
        let at = u64::from(second) * SECOND + id * 1_000 + u64::from(polled) * 100;
        if polled {
            trace.poll(unit, worker, at, at + 9, None);
        } else {
            trace.wake(worker, unit, at, None);
        }
    }
    trace.history(0, 40 * SECOND)
}

fn hand(tasks: &[TaskInfo], later: &[TaskInfo], history: History) -> Hand {
    Hand::new()
        .look(10 * SECOND, tasks.to_vec())
        .look(12 * SECOND, later.to_vec())
        .with(history)
}

fn looks(world: &[Planned]) -> (Vec<TaskInfo>, Vec<TaskInfo>) {
    let look = |later| {
        (1..)
            .zip(world)
            .map(|(id, planned)| made(id, planned, later))
            .collect()
    };
    (look(false), look(true))
}

type Told = (Kind, Certainty, String, Option<String>);

fn told(hand: &Hand) -> Vec<Told> {
    let case = hand.case();
    let all: [Vec<Sighting>; 4] = [
        lost_wake::find(&case),
        wait_cycle::find(&case),
        futurelock::find(&case),
        abandoned_future::find(&case),
    ];
    let mut told: Vec<Told> = all
        .into_iter()
        .flatten()
        .map(|one| {
            let first = one.tasks.first().map(|task| task.id.to_string());
            (one.kind, one.certainty, one.cause, first)
        })
        .collect();
    told.sort();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn unrelated_tasks_and_events_change_nothing(world in world(), at in 0..8_usize) {
        let (before, now) = looks(&world);
        let ids: Vec<u64> = (1..=world.len() as u64).collect();
        let plain = hand(&before, &now, history(&deeds(&world), &ids));
        let with = |tasks: &[TaskInfo]| {
            let mut tasks = tasks.to_vec();
            let at = at.min(tasks.len());
            tasks.splice(at..at, unrelated());
            tasks
        };
        let mut more = deeds(&world);
        more.extend((1..30).map(|second| (second, 500 + u64::from(second) % 4, true)));
        more.sort_unstable();
        let mut everybody = ids.clone();
        everybody.extend(500..504);
        let mixed = hand(&with(&before), &with(&now), history(&more, &everybody));
        prop_assert_eq!(told(&plain), told(&mixed));
    }

    #[test]
    fn lost_events_prove_nothing(world in world(), kept in prop::collection::vec(any::<bool>(), 64)) {
        let (before, now) = looks(&world);
        let ids: Vec<u64> = (1..=world.len() as u64).collect();
        let all = deeds(&world);
        let whole = told(&hand(&before, &now, history(&all, &ids)));
        let left: Vec<_> = all
            .iter()
            .zip(kept.iter().cycle())
            .filter(|(_, kept)| **kept)
            .map(|(deed, _)| *deed)
            .collect();
        let mut lossy = history(&left, &ids);
        lossy.missing.records_lost = (all.len() - left.len()) as u64;
        let lost = all.len() > left.len();
        let rest = told(&hand(&before, &now, lossy));
        for one in rest.iter().filter(|one| one.1 == Certainty::Proved) {
            prop_assert!(whole.contains(one), "{one:?} of {whole:?}");
        }
        prop_assert!(lost || rest == whole);
    }

    #[test]
    fn events_alone_find_nothing(world in world()) {
        let ids: Vec<u64> = (1..=world.len() as u64).collect();
        let (before, _) = looks(&world);
        let nothing = Hand::new().with(history(&deeds(&world), &ids));
        prop_assert!(told(&nothing).is_empty());
        let one = Hand::new().look(SECOND, before).with(history(&deeds(&world), &ids));
        prop_assert!(told(&one).is_empty());
    }

    #[test]
    fn the_order_of_tasks_does_not_matter(
        world in world(),
        order in prop::collection::vec(any::<u32>(), 8),
    ) {
        let (before, now) = looks(&world);
        let ids: Vec<u64> = (1..=world.len() as u64).collect();
        let turned = |tasks: &[TaskInfo]| {
            let mut tasks: Vec<_> = tasks.iter().cloned().zip(&order).collect();
            tasks.sort_by_key(|(_, key)| **key);
            tasks.into_iter().map(|(task, _)| task).collect::<Vec<_>>()
        };
        let history = history(&deeds(&world), &ids);
        let plain = hand(&before, &now, history.clone());
        let other = hand(&turned(&before), &turned(&now), history);
        prop_assert_eq!(told(&plain), told(&other));
    }
}
