//! Lost wake-ups, and what looks like one and is none.

use super::super::case::Case;
use super::super::hand::{
    Hand, SECOND, With, acquire, body, busy, combinator, detail, join, leaf, parked, select, sleep,
    task, waits,
};
use super::super::model::{Certainty, Role, Sighting};
use super::find;
use crate::analyse::history::sample::Trace;
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, NodeState};

fn lost() -> TaskInfo {
    let tree = body("app::serve", 30, body("app::call", 12, leaf("app::Lost")));
    task(1, tree).with_wakers(0)
}

fn only(case: &Case<'_>) -> Sighting {
    let mut found = find(case);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn certainties(hand: &Hand) -> Vec<Certainty> {
    let found = find(&hand.case());
    found
        .into_iter()
        .map(|sighting| sighting.certainty)
        .collect()
}

#[test]
fn no_waker_left_is_a_proof_that_names_the_hand_written_future() {
    let found = only(&Hand::twice(vec![lost()]).case());
    assert_eq!(found.certainty, Certainty::Proved);
    assert_eq!(found.tasks[0].id.as_ref(), "tokio/1");
    let sites: Vec<_> = found
        .sites
        .iter()
        .map(|site| (site.role, &*site.future, site.file.as_deref(), site.line))
        .collect();
    assert_eq!(
        sites,
        [
            (Role::Culprit, "app::Lost", Some("src/hand.rs"), Some(7)),
            (Role::WaitsAt, "app::call", Some("src/main.rs"), Some(12)),
        ]
    );
    assert_eq!(found.cause, "app::Lost at src/main.rs:12");
    assert!(found.evidence[0].contains("2 - 2 = 0 wakers"), "{found:#?}");
    assert!(found.evidence[1].contains("twice, 1 s apart"), "{found:#?}");
    assert_eq!((found.began, found.ended), (None, None));
}

#[test]
fn one_look_or_a_waker_in_one_of_two_is_no_proof() {
    assert!(certainties(&Hand::new().look(1, vec![lost()])).is_empty());
    let hand = Hand::new()
        .look(1, vec![lost().with_wakers(1)])
        .look(2, vec![lost()]);
    assert!(certainties(&hand).is_empty());
    let mut unknown = lost();
    unknown.wakers = None;
    assert!(certainties(&Hand::twice(vec![unknown])).is_empty());
}

#[test]
fn tasks_that_are_woken_running_or_cancelled_are_not_lost() {
    for state in [
        TaskState::Scheduled,
        TaskState::Running,
        TaskState::Complete,
    ] {
        let mut other = lost();
        other.state = state;
        assert!(certainties(&Hand::twice(vec![other])).is_empty());
    }
    let mut cancelled = lost();
    cancelled.cancelled = true;
    assert!(certainties(&Hand::twice(vec![cancelled])).is_empty());
}

#[test]
fn who_waits_for_ever_on_purpose_is_not_lost() {
    let never = || waits("core::future::pending::Pending<()>", "never");
    let alone = task(1, body("app::f", 3, never())).with_wakers(0);
    assert!(certainties(&Hand::twice(vec![alone])).is_empty());
    let joined = AwaitNode {
        state: NodeState::Returned,
        ..leaf("tokio::future::maybe_done::MaybeDone<app::g>")
    };
    let both = task(1, body("app::f", 3, select(vec![never(), joined]))).with_wakers(0);
    assert!(certainties(&Hand::twice(vec![both])).is_empty());
    // Another one beside it is lost, though.
    let one = task(
        1,
        body("app::f", 3, select(vec![never(), leaf("app::Lost")])),
    );
    let found = only(&Hand::twice(vec![one.with_wakers(0)]).case());
    assert_eq!(found.certainty, Certainty::Proved);
    assert_eq!(&*found.sites[0].future, "app::Lost");
}

#[test]
fn without_its_whole_tree_a_task_may_wait_for_ever_on_purpose() {
    let mut unread = lost();
    unread.tree = None;
    let opaque = task(1, body("app::f", 3, AwaitNode::default())).with_wakers(0);
    for task in [unread, opaque] {
        let found = only(&Hand::twice(vec![task]).case());
        assert_eq!(found.certainty, Certainty::Likely);
    }
}

#[test]
fn a_known_leaf_blames_the_hand_written_future_that_polls_it() {
    let tree = body(
        "app::serve",
        30,
        combinator(
            "app::Gate<app::inner>",
            vec![body("app::inner", 4, sleep(9))],
        ),
    );
    let found = only(&Hand::twice(vec![task(1, tree).with_wakers(0)]).case());
    assert_eq!(&*found.sites[0].future, "app::Gate<app::inner>");
    assert_eq!(found.cause, "app::Gate at src/main.rs:4");
}

#[test]
fn the_await_of_the_users_own_code_is_named() {
    let mut library = body("dep::wait", 70, leaf("app::Lost"));
    library.file = Some("/root/.cargo/registry/src/index-1/dep-1.0.0/src/lib.rs".into());
    let found = only(&Hand::twice(vec![task(1, body("app::f", 3, library)).with_wakers(0)]).case());
    assert_eq!(found.sites[1].line, Some(3));
}

#[test]
fn events_tell_since_when_and_that_it_was_aborted_later() {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 1);
    let unit = trace.task(1, "app::serve", 2, true);
    let wake = trace.wake(worker, unit, 4 * SECOND, None);
    trace.poll(unit, worker, 5 * SECOND, 6 * SECOND, Some(wake));
    let hand = Hand::twice(vec![lost()]);
    let seen = hand.clone().with(trace.history(0, 20 * SECOND));
    let found = only(&seen.case());
    assert_eq!(found.certainty, Certainty::Proved);
    assert_eq!((found.began, found.ended), (Some(6 * SECOND), None));
    let told = found.evidence.join("\n");
    assert!(told.contains("ended 5 s before"), "{told}");
    assert!(
        told.contains("woken once, last 7 s before by thread worker (7)"),
        "{told}"
    );
}

#[test]
fn a_count_that_events_contradict_proves_nothing() {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 1);
    let unit = trace.task(1, "app::serve", 2, true);
    trace.poll(unit, worker, 10 * SECOND + 5, 10 * SECOND + 9, None);
    let hand = Hand::twice(vec![lost()]).with(trace.history(0, 20 * SECOND));
    assert_eq!(certainties(&hand), [Certainty::Possible]);
}

fn ready(node: AwaitNode) -> AwaitNode {
    let because = detail(node, "ready_because", "its deadline passed 2 s ago");
    detail(because, "ready", true)
}

#[test]
fn what_is_there_and_nobody_is_woken_for_is_a_lost_wake() {
    let due = task(1, body("app::f", 3, ready(sleep(5))));
    let found = only(&Hand::twice(vec![due]).case());
    assert_eq!(found.certainty, Certainty::Likely);
    assert!(found.evidence[0].contains("2 s ago"));
    assert_eq!(found.cause, "tokio::time::sleep::Sleep at src/main.rs:3");
}

#[test]
fn it_has_to_be_there_in_both_looks() {
    let due = task(1, body("app::f", 3, ready(sleep(5))));
    let not_yet = task(1, body("app::f", 3, sleep(5)));
    let hand = Hand::new().look(1, vec![not_yet]).look(2, vec![due]);
    assert!(certainties(&hand).is_empty());
}

#[test]
fn a_driver_that_nobody_turns_is_the_fault_of_whom_keeps_the_workers() {
    let due = || vec![task(1, body("app::f", 3, ready(sleep(5))))];
    let looks = |threads| Hand::new().threads(threads).look(1, due()).look(2, due());
    assert!(certainties(&looks(vec![busy(), busy()])).is_empty());
    assert_eq!(certainties(&looks(Vec::new())), [Certainty::Possible]);
    assert_eq!(
        certainties(&looks(vec![busy(), parked()])),
        [Certainty::Likely]
    );
    // A lock is handed over by who releases it, not by a driver.
    let mutex = || vec![task(1, body("app::f", 3, ready(acquire(0x99))))];
    let hand = Hand::new()
        .threads(vec![busy()])
        .look(1, mutex())
        .look(2, mutex());
    assert_eq!(certainties(&hand), [Certainty::Likely]);
}

#[test]
fn a_task_that_was_polled_or_woken_meanwhile_is_not_lost() {
    let due = || vec![task(1, body("app::f", 3, ready(sleep(5))))];
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 1);
    let unit = trace.task(1, "app::f", 2, true);
    let mut polled = trace.clone();
    polled.poll(unit, worker, 10 * SECOND + 5, 10 * SECOND + 9, None);
    trace.wake(worker, unit, 10 * SECOND + 5, None);
    for trace in [polled, trace] {
        let hand = Hand::twice(due()).with(trace.history(0, 20 * SECOND));
        assert!(certainties(&hand).is_empty());
    }
}

fn socket(bytes: u64) -> AwaitNode {
    let socket = detail(waits("app::Call", "io"), "by", "hand_written");
    let socket = detail(socket, "guessed", true);
    let socket = detail(detail(socket, "fd", 12), "peer", "127.0.0.1:80");
    ready(detail(socket, "receive_queue", bytes))
}

#[test]
fn a_socket_that_stays_unread_speaks_for_the_hand_written_future_that_has_it() {
    let call = |bytes| vec![task(1, body("app::f", 3, socket(bytes)))];
    let found = only(&Hand::twice(call(64)).case());
    assert_eq!(found.certainty, Certainty::Likely);
    assert!(found.evidence[0].contains("descriptor 12"), "{found:#?}");
    assert!(
        found.evidence[0].contains("64 bytes to be read"),
        "{found:#?}"
    );
    assert_eq!(&*found.sites[0].future, "app::Call");
    // Somebody reads it in between, or there was no time to.
    let drained = Hand::new()
        .look(10 * SECOND, call(64))
        .look(11 * SECOND, call(32));
    assert_eq!(certainties(&drained), [Certainty::Possible]);
    let brief = Hand::new().look(1, call(64)).look(SECOND / 5, call(64));
    assert_eq!(certainties(&brief), [Certainty::Possible]);
}

/// A server's loop comes back to the same read with the same descriptor, and whenever it is looked
/// at, the next request is in the kernel's queue.
#[test]
fn a_connection_under_load_looks_the_same_whenever_it_is_looked_at() {
    let read = |tick: Option<u64>| {
        let read = waits("tokio::io::util::read_buf::ReadBuf<app::Stream>", "io");
        let read = ready(detail(detail(read, "fd", 11), "receive_queue", 36));
        let read = match tick {
            Some(tick) => detail(read, "driver_tick", tick),
            None => read,
        };
        vec![task(1, body("app::f", 3, read))]
    };
    let looks = |one, other| {
        let hand = Hand::new().look(10 * SECOND, read(one));
        certainties(&hand.look(11 * SECOND, read(other)))
    };
    assert_eq!(looks(Some(7), Some(9)), [Certainty::Possible]);
    assert_eq!(looks(None, None), [Certainty::Possible]);
    assert_eq!(looks(Some(7), Some(7)), [Certainty::Likely]);
}

/// What the kernel counts tells more than the looks: no byte came between them, and as many are there.
#[test]
fn the_same_bytes_in_both_looks_were_not_read_in_between() {
    let read = |queue: u64, quiet: u64| {
        let read = detail(waits("app::Reply", "io"), "by", "hand_written");
        let read = ready(detail(detail(read, "fd", 11), "receive_queue", queue));
        let read = detail(read, "last_received_ms", quiet);
        vec![task(1, body("app::f", 3, read))]
    };
    let looks = |one, other| {
        let hand = Hand::new().threads(vec![parked()]).look(10 * SECOND, one);
        certainties(&hand.look(10 * SECOND + SECOND / 2, other))
    };
    assert_eq!(
        looks(read(28, 60_000), read(28, 60_500)),
        [Certainty::Likely]
    );
    // Bytes came in between: others may have been read.
    assert_eq!(looks(read(28, 300), read(28, 20)), [Certainty::Possible]);
    assert_eq!(
        looks(read(28, 60_000), read(12, 60_500)),
        [Certainty::Possible]
    );
}

fn own(node: AwaitNode) -> AwaitNode {
    detail(node, "waker", "own")
}

#[test]
fn an_arm_without_a_waker_is_found_by_those_of_its_siblings() {
    let arms = || vec![leaf("app::Lost"), own(sleep(99))];
    for tree in [select(arms()), join(arms())] {
        let found = only(&Hand::twice(vec![task(1, body("app::f", 3, tree))]).case());
        assert_eq!(found.certainty, Certainty::Likely);
        assert_eq!(&*found.sites[0].future, "app::Lost");
        assert_eq!(found.sites[1].line, Some(3));
    }
}

#[test]
fn an_arm_is_not_lost_while_a_waker_is_left_for_it() {
    let tree = || body("app::f", 3, select(vec![leaf("app::Fine"), own(sleep(99))]));
    let kept = task(1, tree()).with_wakers(2);
    assert!(certainties(&Hand::twice(vec![kept])).is_empty());
    // What a sibling has registered is not known, so nothing is.
    let arms = vec![leaf("app::Fine"), sleep(99)];
    let unknown = task(1, body("app::f", 3, select(arms)));
    assert!(certainties(&Hand::twice(vec![unknown])).is_empty());
    // FuturesUnordered polls with wakers of its own, which share one of the task.
    let arms = vec![leaf("app::Fine"), own(sleep(99))];
    let group = combinator(
        "futures_util::stream::futures_unordered::FuturesUnordered<app::g>",
        arms,
    );
    let grouped = task(1, body("app::f", 3, group));
    assert!(certainties(&Hand::twice(vec![grouped])).is_empty());
}

#[test]
fn a_future_of_a_group_without_a_waker_of_its_own_is_lost() {
    let member = |future: &str, wakers| AwaitNode {
        own_wakers: wakers,
        ..leaf(future)
    };
    let group = |lost: Option<u64>| {
        let members = vec![member("app::Fine", Some(1)), member("app::Lost", lost)];
        let group = "futures_util::stream::futures_unordered::FuturesUnordered<app::g>";
        vec![task(1, body("app::f", 3, combinator(group, members))).with_wakers(1)]
    };
    let found = only(&Hand::twice(group(Some(0))).case());
    assert_eq!(found.certainty, Certainty::Proved);
    assert_eq!(&*found.sites[0].future, "app::Lost");
    assert!(found.evidence[0].contains("its 2 futures"), "{found:#?}");
    // It has one, it is in line, and it got one in between.
    for other in [Some(1), None] {
        assert!(certainties(&Hand::twice(group(other))).is_empty());
        let hand = Hand::new().look(10 * SECOND, group(other));
        let hand = hand.look(11 * SECOND, group(Some(0)));
        assert!(certainties(&hand).is_empty());
    }
}

#[test]
fn a_waker_of_another_task_wakes_that_one() {
    let stale = detail(waits("app::Slot", "io"), "by", "hand_written");
    let stale = detail(stale, "waker_kept", "other");
    let found = only(&Hand::twice(vec![task(1, body("app::f", 3, stale))]).case());
    assert_eq!(found.certainty, Certainty::Likely);
    assert_eq!(&*found.sites[0].future, "app::Slot");
    let none = detail(acquire(0x99), "waker", "none");
    let found = only(&Hand::twice(vec![task(1, body("app::f", 3, none.clone()))]).case());
    assert_eq!(found.certainty, Certainty::Likely);
    // A hand-written future above may poll with a waker of its own.
    let wrapped = body("app::f", 3, combinator("app::Group", vec![none]));
    assert!(certainties(&Hand::twice(vec![task(1, wrapped)])).is_empty());
}

/// Twenty-five calls at one place, a second apart and 2 ms long each, and one that does not end.
fn calls(clones: bool) -> crate::analyse::history::History {
    use crate::analyse::history::Probed;
    use crate::analyse::history::sample;
    use crate::rebuild::event::EventKind;

    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 1);
    let unit = trace.task(1, "app::f", 2, true);
    let other = trace.task(2, "app::f", 2, true);
    let stands = |trace: &mut Trace, unit, at, leaf: Option<u64>| {
        let mut futures = vec![sample::body(0, 0, "app::f", 3)];
        match leaf {
            Some(_) => futures.push(sample::leaf(1, 8, "app::Lost", "")),
            None => futures.push(sample::sleep(1, 8, 1)),
        }
        trace.stands(unit, at, &futures);
    };
    for call in 1..=25_u64 {
        let at = call * 100_000_000;
        // From the sleep into the call, polled once more there, and out of it.
        stands(&mut trace, other, at, None);
        trace.poll(other, worker, at, at + 9, None);
        let again = at + 1_000_000;
        stands(&mut trace, other, again, Some(call));
        let poll = trace.poll(other, worker, again, again + 9, None);
        if clones {
            let cloned = EventKind::WakerCloned { task: other };
            trace.event(other, again + 9, cloned, Some(poll));
        }
        stands(&mut trace, other, at + 2_000_000, Some(call));
        trace.poll(other, worker, at + 2_000_000, at + 2_000_009, None);
    }
    stands(&mut trace, unit, 3 * SECOND, None);
    trace.poll(unit, worker, 3 * SECOND, 3 * SECOND + 9, None);
    stands(&mut trace, unit, 9 * SECOND, Some(0));
    let mut history = trace.history(0, 20 * SECOND);
    history.wakers.probed = Probed::by_kinds(["waker_clone"]);
    history
}

#[test]
fn a_future_that_waits_for_much_longer_than_its_equals_may_be_lost() {
    let slow = task(1, body("app::f", 3, leaf("app::Lost")));
    let hand = Hand::twice(vec![slow.clone()]).with(calls(false));
    let found = only(&hand.case());
    assert_eq!(found.certainty, Certainty::Possible, "{found:#?}");
    assert!(found.evidence[0].contains("24 others"), "{found:#?}");
    assert_eq!(found.began, Some(3 * SECOND + 9));
    // Without equals there is nothing to be told.
    assert!(certainties(&Hand::twice(vec![slow])).is_empty());
}

#[test]
fn who_waits_for_what_a_lost_task_holds_is_told() {
    use super::super::hand::{holding, lock};
    let mut holder = lost();
    let tree = holder.tree.take().unwrap();
    holder.tree = Some(holding(tree, lock(0x10)));
    let waiter = |id| task(id, body("app::g", 5, acquire(0x10)));
    let found = only(&Hand::twice(vec![holder, waiter(2), waiter(3)]).case());
    let told = found.evidence.join("\n");
    assert!(
        told.contains("2 tasks wait for the mutex at 0x10 that it holds in `guard`"),
        "{told}"
    );
}
