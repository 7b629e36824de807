//! Who can go on in small graphs of waits, by hand.

use super::super::super::hand::{
    Hand, acquire, body, detail, holding, join, lock, select, sleep, task, waits,
};
use super::*;
use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tree::AwaitNode;

fn going(tasks: Vec<TaskInfo>, rules: Rules) -> Vec<bool> {
    let hand = Hand::twice(tasks);
    let case = hand.case();
    let facts = Facts::of(&case);
    let progress = Progress::of(&facts, rules);
    (0..facts.tasks.len())
        .map(|task| progress.task(task))
        .collect()
}

fn crossed(one: AwaitNode) -> Vec<TaskInfo> {
    vec![
        task(1, holding(body("app::a", 3, one), lock(0x10))),
        task(2, holding(body("app::b", 4, acquire(0x10)), lock(0x20))),
        task(3, body("app::c", 5, acquire(0x20))),
    ]
}

#[test]
fn who_waits_in_a_circle_is_stuck_and_who_waits_for_it_too() {
    assert_eq!(going(crossed(acquire(0x20)), Rules::SURE), [false; 3]);
    assert_eq!(going(crossed(sleep(9)), Rules::SURE), [true; 3]);
    // Somebody else holds it.
    assert_eq!(going(crossed(acquire(0x30)), Rules::SURE), [true; 3]);
}

#[test]
fn an_arm_that_may_go_on_frees_a_select_and_not_a_join() {
    let arms = || vec![acquire(0x20), sleep(9)];
    for rules in &Rules::ALL[..3] {
        assert_eq!(going(crossed(select(arms())), *rules), [true; 3]);
    }
    assert_eq!(going(crossed(select(arms())), Rules::ALL[3]), [false; 3]);
    // It may be a `try_join!`.
    assert_eq!(going(crossed(join(arms())), Rules::SURE), [true; 3]);
    assert_eq!(going(crossed(join(arms())), Rules::ALL[1]), [false; 3]);
}

#[test]
fn a_lock_that_is_there_stops_nobody() {
    let free = detail(acquire(0x20), "permits_available", 1);
    assert_eq!(going(crossed(free), Rules::SURE), [true; 3]);
    let given = detail(acquire(0x20), "ready", true);
    assert_eq!(going(crossed(given), Rules::SURE), [true; 3]);
}

#[test]
fn of_a_channel_all_senders_have_to_be_seen() {
    let receive = |senders: u64| {
        let leaf = waits("core::future::poll_fn::PollFn<x>", "channel");
        let leaf = detail(detail(leaf, "side", "receive"), "address", "0x30");
        let sender = detail(waits("x", "channel"), "side", "send");
        let sender = detail(sender, "address", "0x30");
        let tree = body("app::a", 3, detail(leaf, "senders", senders));
        vec![task(1, holding(tree, sender.waits_for.unwrap()))]
    };
    assert_eq!(going(receive(1), Rules::ALL[1]), [false]);
    assert_eq!(going(receive(2), Rules::ALL[1]), [true]);
    assert_eq!(going(receive(1), Rules::SURE), [true]);
}

#[test]
fn a_writer_waits_for_every_reader() {
    let rwlock = |how: &str| {
        let lock = lock(0x40);
        lock.with("lock", how).with("permits", 536_870_911_u64)
    };
    let write = || AwaitNode {
        waits_for: Some(rwlock("rwlock_write").with("queued", true)),
        ..acquire(0x40)
    };
    let reader = |id, leaf| task(id, holding(body("app::a", 3, leaf), rwlock("rwlock_read")));
    // One reader goes on, the other waits to write.
    let tasks = vec![reader(1, write()), reader(2, sleep(9))];
    assert_eq!(going(tasks, Rules::SURE), [false, true]);
}
