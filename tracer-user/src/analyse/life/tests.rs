//! The life of a task of a small trace made by hand.

use super::*;
use crate::analyse::history::UnitKind;
use crate::analyse::history::sample::{Trace, body, sleep};
use crate::rebuild::event::{EventKind, Origin};

fn history() -> History {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 1_000);
    let timer = trace.origin(Origin::Timer, 1_000);
    let parent = trace.task(1, "app::main", 1_000, true);
    trace.stands(parent, 1_000, &[body(0, 0, "app::main", 5), sleep(1, 8, 3)]);
    let poll = trace.begin(parent, worker, 1_010, None);
    let (task, spawn) = trace.spawned(parent, 17, "app::serve", 1_020, Some(poll));
    trace.end(parent, 1_010, 1_030, Outcome::Pending);
    trace.poll(task, worker, 1_040, 1_050, Some(spawn));
    let standing = [
        body(0, 0, "app::serve", 10),
        body(1, 8, "app::fetch", 20),
        sleep(2, 16, 1),
    ];
    let fired = trace.event(timer, 1_150, EventKind::Fired, None);
    let wake = trace.wake(worker, task, 1_160, Some(fired));
    trace.stands(task, 1_200, &standing);
    trace.begin(task, worker, 1_200, Some(wake));
    trace.event(
        task,
        1_205,
        EventKind::Blocked {
            preempted: false,
            syscall: None,
        },
        None,
    );
    trace.event(task, 1_225, EventKind::Unblocked, None);
    trace.end(task, 1_200, 1_230, Outcome::Ready);
    trace.history(1_000, 2_000)
}

#[test]
fn a_life_is_told_in_order() {
    let history = history();
    let [task] = named(&history, "17")[..] else {
        panic!()
    };
    assert_eq!(named(&history, "tokio/17"), [task]);
    let life = life(&history, 1_000, task, 100).unwrap();
    let kinds: Vec<(i64, String)> = life
        .events
        .iter()
        .map(|event| {
            let value = serde_json::to_value(event).unwrap();
            let mut text = value["what"].as_str().unwrap().to_owned();
            if let Some(future) = value["future"].as_str() {
                text += " ";
                text += future;
            }
            (event.at_ns, text)
        })
        .collect();
    let expected = [
        (20, "spawned"),
        (20, "await_begins app::serve"),
        (40, "poll"),
        (40, "await_begins app::fetch"),
        (50, "await_begins tokio::time::sleep::Sleep"),
        (160, "woken"),
        (200, "poll"),
        (200, "await_ends tokio::time::sleep::Sleep"),
        (230, "await_ends app::fetch"),
        (230, "await_ends app::serve"),
        (230, "ended"),
    ];
    let expected: Vec<_> = expected.map(|(at, what)| (at, what.to_owned())).into();
    assert_eq!(kinds, expected);
    assert_eq!(
        (life.polls, life.polled_ns, life.left_out),
        (Some(2), Some(40), 0)
    );
    assert!(life.open_awaits.is_empty() && life.current.is_none());

    let What::Spawned { by } = &life.events[0].what else {
        panic!()
    };
    assert_eq!(
        (&*by.name, by.future.as_deref()),
        ("tokio/1", Some("app::main"))
    );
    assert_eq!(&*by.within.as_ref().unwrap().future, "app::main");
    let What::Woken { by, to_poll_ns, .. } = &life.events[5].what else {
        panic!()
    };
    assert_eq!((by.origin, *to_poll_ns), (Some("timer"), Some(40)));
    let What::Poll {
        length_ns,
        blocked_ns,
        ..
    } = &life.events[6].what
    else {
        panic!()
    };
    assert_eq!((*length_ns, *blocked_ns), (Some(30), 20));
}

#[test]
fn a_long_life_is_cut_and_an_unknown_id_names_nobody() {
    let history = history();
    let task = named(&history, "17")[0];
    let cut = life(&history, 1_000, task, 3).unwrap();
    assert_eq!((cut.events.len(), cut.left_out), (3, 8));
    assert!(named(&history, "18").is_empty());
    assert!(life(&history, 1_000, UnitIndex(0), 3).is_none(), "a thread");
    assert!(life(&history, 1_000, UnitIndex(9), 3).is_none());
}

#[test]
fn polls_of_a_root_are_not_told_where_no_probe_stands() {
    let mut trace = Trace::new();
    trace.task(3, "app::main", 10, true);
    let mut history = trace.history(0, 300);
    let told = |history: &History| {
        let life = life(history, 0, UnitIndex(0), 100).unwrap();
        (life.polls, life.polled_ns)
    };
    assert_eq!(told(&history), (Some(0), Some(0)));
    let UnitKind::Task(task) = &mut history.units[0].kind else {
        panic!()
    };
    task.name = "tokio/block_on/3".into();
    assert_eq!(told(&history), (None, None));
}
