//! A future that wakes itself is told; what only looks like it is not.

use super::find;
use crate::analyse::findings::case::{Case, Thresholds};
use crate::analyse::findings::hand::{self, Hand, body, holding, leaf, waits};
use crate::analyse::findings::model::{Certainty, Role};
use crate::analyse::history::{PollIndex, UnitIndex};
use crate::analyse::sample::{Sample, task_in, thread_by};

const MS: u64 = 1_000_000;

/// Who wakes the task.
#[derive(Clone, Copy)]
enum By {
    Itself,
    Thread,
    /// No wake-up is seen.
    Nobody,
}

struct Load {
    leaf: &'static str,
    waits_for: Option<&'static str>,
    by: By,
    length: u64,
    /// Every so many polls the await is another one.
    progress: Option<u64>,
    /// What lies between the program's await and the leaf.
    holder: Option<&'static str>,
}

const SPIN: Load = Load {
    leaf: "app::Spin",
    waits_for: None,
    by: By::Itself,
    length: 3_000,
    progress: None,
    holder: None,
};

fn polled(load: &Load) -> Sample {
    let mut sample = Sample::default();
    let worker = sample.thread("tokio-rt-worker");
    let task = sample.task("app::serve");
    let root = sample.instance(task, None, "app::serve", 0, None, (0, MS));
    let above = match load.holder {
        Some(holder) => sample.instance(task, Some(root), holder, 23, None, (0, MS)),
        None => root,
    };
    let instance = |sample: &mut Sample| {
        let kind = load.waits_for.or(Some("x"));
        let leaf = sample.instance(task, Some(above), load.leaf, 23, kind, (0, MS));
        if load.waits_for.is_none() {
            let row = &mut sample.history.awaits[leaf.0 as usize];
            let mut awaited = (*row.awaited).clone();
            awaited.waits_for = None;
            row.awaited = std::sync::Arc::new(awaited);
        }
        leaf
    };
    let mut leaf = instance(&mut sample);
    let mut before: Option<PollIndex> = None;
    for number in 0..100_000 {
        if load.progress.is_some_and(|every| number % every == 0) {
            leaf = instance(&mut sample);
        }
        let begin = MS + number * (load.length + 100);
        let poll = sample.poll(task, begin, begin + load.length);
        sample.waited(poll, leaf);
        if let Some(before) = before {
            let by = match load.by {
                By::Itself => Some(task_in(task, before, root)),
                By::Thread => Some(thread_by(worker, None)),
                By::Nobody => None,
            };
            if let Some(by) = by {
                sample.wake(task, begin - 100, by, poll);
            }
        }
        before = Some(poll);
    }
    sample
}

fn surest(load: &Load) -> Option<Certainty> {
    let sample = polled(load);
    let found = find(&Case {
        history: &sample.history,
        moments: &[],
        thresholds: Thresholds::default(),
    });
    found.iter().map(|sighting| sighting.certainty).max()
}

#[test]
fn a_future_that_wakes_itself_is_likely_and_named() {
    let sample = polled(&SPIN);
    let found = find(&Case {
        history: &sample.history,
        moments: &[],
        thresholds: Thresholds::default(),
    });
    let [sighting] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(sighting.certainty, Certainty::Likely, "{sighting:?}");
    assert_eq!(
        (sighting.sites[0].role, &*sighting.sites[0].future),
        (Role::Culprit, "app::Spin")
    );
    assert_eq!(sighting.sites[1].line, Some(23));
    assert!(sighting.evidence[0].contains("99999 polls"), "{sighting:?}");
    let closure = Load {
        leaf: "core::future::poll_fn::PollFn<app::serve::{async_fn#0}::{closure#0}>",
        ..SPIN
    };
    assert_eq!(surest(&closure), Some(Certainty::Likely));
}

#[test]
fn a_wake_up_that_is_compiled_into_the_poll_is_one_of_its_own() {
    let surest = |wakes| {
        let mut sample = polled(&Load {
            by: By::Nobody,
            ..SPIN
        });
        sample.history.wakers.probed.wakes = wakes;
        let found = find(&Case {
            history: &sample.history,
            moments: &[],
            thresholds: Thresholds::default(),
        });
        found.iter().map(|sighting| sighting.certainty).max()
    };
    assert_eq!(surest(Some(true)), Some(Certainty::Likely));
    // Where wake-ups are not probed, I/O may have woken it.
    assert_eq!(surest(Some(false)), None);
    assert_eq!(surest(None), None);
}

#[test]
fn what_io_or_another_wakes_is_no_finding() {
    for (leaf, waits_for) in [("app::Spin", None), ("tokio::Read", Some("io"))] {
        let load = Load {
            leaf,
            waits_for,
            by: By::Thread,
            ..SPIN
        };
        assert_eq!(surest(&load), None, "{leaf}");
    }
}

/// A loop around `select!` that does not hear that its channel is closed gives way when its budget is
/// used up, like any other that has much to do: memory tells the two apart.
#[test]
fn who_receives_from_a_closed_channel_for_ever_is_told() {
    let surest = |senders: u64, future: &str| {
        let mut sample = polled(&Load {
            leaf: "tokio::sync::notify::Notified",
            waits_for: Some("notify"),
            by: By::Thread,
            ..SPIN
        });
        for poll in &mut sample.history.polls {
            poll.thread = Some(UnitIndex(0));
        }
        let units = &sample.history.units;
        let name = units
            .iter()
            .find_map(|unit| Some(unit.task()?.name.clone()));
        let end = waits("tokio::sync::mpsc::Receiver", "channel")
            .waits_for
            .unwrap();
        let end = end.with("side", "receive").with("senders", senders);
        let tree = holding(body("app::serve", 23, leaf(future)), end);
        let mut info = hand::task(1, tree);
        info.id = name.unwrap().to_string();
        let found = find(&Case {
            history: &sample.history,
            moments: &Hand::twice(vec![info]).moments,
            thresholds: Thresholds::default(),
        });
        found.iter().map(|sighting| sighting.certainty).max()
    };
    let receives = "tokio::sync::mpsc::bounded::Receiver<T>::recv";
    assert_eq!(surest(0, receives), Some(Certainty::Likely));
    assert_eq!(surest(1, receives), None, "somebody may send");
    assert_eq!(surest(0, "tokio::io::Read"), None, "it does something else");
}

#[test]
fn loops_that_yield_are_no_finding() {
    for leaf in ["tokio::task::yield_now::YieldNow", "app::Yield"] {
        assert_eq!(surest(&Load { leaf, ..SPIN }), None, "{leaf}");
    }
}

#[test]
fn budgets_collections_and_portions_of_work_are_possible_only() {
    let budget = Load {
        leaf: "tokio::Recv",
        waits_for: Some("channel"),
        ..SPIN
    };
    let library = Load {
        leaf: "hyper::proto::h1::Dispatcher",
        ..SPIN
    };
    let collection = Load {
        holder: Some("futures_util::stream::FuturesUnordered<app::part>"),
        ..SPIN
    };
    let portions = Load {
        length: 200_000,
        ..SPIN
    };
    for load in [budget, library, collection, portions] {
        assert_eq!(surest(&load), Some(Certainty::Possible), "{}", load.leaf);
    }
}

#[test]
fn awaits_that_end_are_progress() {
    let load = Load {
        progress: Some(20),
        ..SPIN
    };
    assert_eq!(surest(&load), None);
}

/// Two tasks that wake each other; `others` of 100 wake-ups come from a thread.
fn conversation(others: u64) -> Option<Certainty> {
    let mut sample = Sample::default();
    let worker = sample.thread("tokio-rt-worker");
    let tasks = [sample.task("app::one"), sample.task("app::two")];
    let roots = tasks.map(|task| sample.instance(task, None, "app::x", 0, None, (0, MS)));
    let mut before: Option<PollIndex> = None;
    for number in 0..40_000_u64 {
        let at = usize::from(number % 2 == 0);
        let begin = MS + number * 5_000;
        let poll = sample.poll(tasks[at], begin, begin + 2_000);
        if let Some(before) = before {
            let by = if number % 100 < others {
                thread_by(worker, None)
            } else {
                task_in(tasks[1 - at], before, roots[1 - at])
            };
            sample.wake(tasks[at], begin - 100, by, poll);
        }
        before = Some(poll);
    }
    let found = find(&Case {
        history: &sample.history,
        moments: &[],
        thresholds: Thresholds::default(),
    });
    found.iter().map(|sighting| sighting.certainty).max()
}

#[test]
fn two_that_wake_each_other_are_possible_only() {
    assert_eq!(conversation(0), Some(Certainty::Possible));
    assert_eq!(conversation(20), None);
}
