//! Circles of tasks in made-up programs, and what only looks like one.

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
