//! Paths of made-up histories, and that any history's pieces make up exactly the time asked for.

use proptest::prelude::*;

use super::*;
use crate::analyse::history::{AwaitOutcome, Doer, History, OffCpu, PollCause};
use crate::analyse::requests::UserAwaits;
use crate::analyse::sample::{Sample, task_in, thread_by};

/// The path as lines: from, to, unit, what was awaited, kind.
fn told(history: &History, question: Question) -> Vec<String> {
    let path = walk(history, question, 1_000);
    check(&path, question);
    path.pieces
        .iter()
        .map(|piece| {
            let awaited = piece.within.map_or("?", |within| {
                let instance = &history.awaits[within.0 as usize];
                &instance.awaited.future
            });
            format!(
                "{}-{} u{} {} {}",
                piece.from,
                piece.to,
                piece.unit.0,
                awaited,
                piece.kind.word()
            )
        })
        .collect()
}

fn check(path: &CriticalPath, question: Question) {
    let mut at = question.from;
    for piece in &path.pieces {
        assert_eq!(piece.from, at, "{path:?}");
        assert!(piece.to > piece.from, "{path:?}");
        at = piece.to;
    }
    assert_eq!(at, question.to.max(question.from), "{path:?}");
    assert_eq!(path.length(), question.to.saturating_sub(question.from));
}

/// A request that sleeps: poll 100-110, timer at 200, poll 205-215.
#[test]
fn a_wait_for_the_world_outside_ends_with_its_wake_up() {
    let mut sample = Sample::default();
    let task = sample.task("app::connection");
    let driver = sample.thread("worker");
    let root = sample.instance(task, None, "app::connection", 0, None, (0, 400));
    let read = sample.instance(task, Some(root), "dep::Read", 5, Some("io"), (50, 100));
    let request = sample.instance(task, Some(root), "app::handle", 6, None, (100, 215));
    let sleep = sample.instance(
        task,
        Some(request),
        "dep::Sleep",
        20,
        Some("sleep"),
        (110, 205),
    );
    let first = sample.poll(task, 100, 110);
    sample.waited(first, read);
    let second = sample.poll(task, 205, 215);
    sample.waited(second, sleep);
    sample.wake(task, 200, thread_by(driver, None), second);
    let question = Question {
        unit: task,
        within: Some(request),
        from: 100,
        to: 215,
    };
    assert_eq!(
        told(&sample.history, question),
        [
            "100-110 u0 app::handle polled",
            "110-200 u0 dep::Sleep waiting",
            "200-205 u0 dep::Sleep scheduled",
            "205-215 u0 app::handle polled",
        ]
    );
}

/// Two tasks: the handler asks a worker through a channel and waits for the answer. The worker
/// was busy with something else until 150, which began before the handler asked.
fn asked() -> (Sample, Question) {
    let mut sample = Sample::default();
    let handler = sample.task("app::handler");
    let worker = sample.task("app::worker");
    let driver = sample.thread("worker");
    let handle = sample.instance(handler, None, "app::handle", 0, None, (100, 330));
    let answer = sample.instance(
        handler,
        Some(handle),
        "dep::Oneshot",
        7,
        Some("oneshot"),
        (110, 320),
    );
    let work = sample.instance(worker, None, "app::work", 0, None, (0, 400));
    let other = sample.instance(
        worker,
        Some(work),
        "dep::Sleep",
        3,
        Some("sleep"),
        (60, 150),
    );
    let receive = sample.instance(
        worker,
        Some(work),
        "dep::Recv",
        4,
        Some("channel"),
        (155, 170),
    );
    let disk = sample.instance(worker, Some(work), "dep::Io", 9, Some("io"), (180, 300));

    let asks = sample.poll(handler, 100, 110);
    let busy = sample.poll(worker, 150, 155);
    sample.waited(busy, other);
    sample.wake(worker, 148, thread_by(driver, None), busy);
    let takes = sample.poll(worker, 170, 180);
    sample.waited(takes, receive);
    sample.wake(worker, 160, thread_by(driver, None), takes);
    let answers = sample.poll(worker, 300, 312);
    sample.waited(answers, disk);
    sample.wake(worker, 290, thread_by(driver, None), answers);
    let ends = sample.poll(handler, 320, 330);
    sample.waited(ends, answer);
    sample.wake(handler, 310, task_in(worker, answers, work), ends);
    let _ = asks;
    let question = Question {
        unit: handler,
        within: Some(handle),
        from: 100,
        to: 330,
    };
    (sample, question)
}

#[test]
fn a_wait_for_another_task_is_what_that_task_did_meanwhile() {
    let (sample, question) = asked();
    assert_eq!(
        told(&sample.history, question),
        [
            "100-110 u0 app::handle polled",
            "110-148 u1 dep::Sleep waiting",
            "148-150 u1 dep::Sleep scheduled",
            "150-155 u1 app::work polled",
            "155-160 u1 dep::Recv waiting",
            "160-170 u1 dep::Recv scheduled",
            "170-180 u1 app::work polled",
            "180-290 u1 dep::Io waiting",
            "290-300 u1 dep::Io scheduled",
            "300-310 u1 app::work polled",
            "310-320 u0 dep::Oneshot scheduled",
            "320-330 u0 app::handle polled",
        ]
    );
}

#[test]
fn shares_add_up_to_the_durations() {
    let (sample, question) = asked();
    let awaits = UserAwaits::new(&sample.history);
    let sum = aggregate(&sample.history, &awaits, [question, question]);
    assert_eq!(sum.requests, 2);
    assert_eq!(sum.total_ns, 460);
    let shares: u64 = sum.shares.iter().map(|share| share.total_ns).sum();
    assert_eq!(shares, sum.total_ns);
    let first = &sum.shares[0];
    assert_eq!(
        (first.total_ns, first.kind, first.requests),
        (220, "waiting", 2)
    );
    assert_eq!(&*first.awaited.as_ref().unwrap().future, "dep::Io");
}

#[test]
fn a_spawned_task_leads_back_to_its_spawner() {
    let mut sample = Sample::default();
    let parent = sample.task("app::handle");
    let root = sample.instance(parent, None, "app::handle", 0, None, (100, 200));
    let spawns = sample.poll(parent, 100, 120);
    let child = sample.spawn("app::part", 110, task_in(parent, spawns, root));
    let part = sample.instance(child, None, "app::part", 0, None, (115, 190));
    let runs = sample.poll(child, 115, 190);
    sample.history.polls[runs.0 as usize].cause = Some(PollCause::Spawn);
    let join = sample.instance(parent, Some(root), "dep::Join", 3, Some("join"), (120, 195));
    let ends = sample.poll(parent, 195, 200);
    sample.waited(ends, join);
    sample.wake(parent, 185, task_in(child, runs, part), ends);
    let question = Question {
        unit: parent,
        within: Some(root),
        from: 100,
        to: 200,
    };
    assert_eq!(
        told(&sample.history, question),
        [
            "100-120 u0 app::handle polled",
            "120-185 u1 app::part polled",
            "185-195 u0 dep::Join scheduled",
            "195-200 u0 app::handle polled",
        ]
    );
    // The life of the child from before it was.
    let question = Question {
        unit: child,
        within: None,
        from: 105,
        to: 190,
    };
    assert_eq!(
        told(&sample.history, question),
        [
            "105-110 u0 app::handle polled",
            "110-115 u1 ? scheduled",
            "115-190 u1 app::part polled",
        ]
    );
}

/// `join!` of a short and a long sleep: the poll for the short one is a part of the wait.
#[test]
fn of_several_branches_the_last_is_followed() {
    let mut sample = Sample::default();
    let task = sample.task("app::both");
    let timer = sample.thread("worker");
    let root = sample.instance(task, None, "app::both", 0, None, (100, 320));
    let long = sample.instance(task, Some(root), "dep::Long", 3, Some("sleep"), (110, 300));
    let short = sample.instance(task, Some(root), "dep::Short", 3, Some("sleep"), (110, 200));
    sample.poll(task, 100, 110);
    let middle = sample.poll(task, 200, 210);
    sample.waited(middle, long);
    sample.waited(middle, short);
    sample.wake(task, 195, thread_by(timer, None), middle);
    let last = sample.poll(task, 300, 320);
    sample.waited(last, long);
    sample.wake(task, 298, thread_by(timer, None), last);
    let question = Question {
        unit: task,
        within: Some(root),
        from: 100,
        to: 320,
    };
    assert_eq!(
        told(&sample.history, question),
        [
            "100-110 u0 app::both polled",
            "110-298 u0 dep::Long waiting",
            "298-300 u0 dep::Long scheduled",
            "300-320 u0 app::both polled",
        ]
    );
}

/// `select!` of a socket and a channel, polled for nothing: what woke it says which it was.
#[test]
fn of_several_that_go_on_the_waker_tells_or_nothing_does() {
    let mut sample = Sample::default();
    let task = sample.task("app::run");
    let driver = sample.thread("worker");
    let other = sample.task("app::other");
    let root = sample.instance(task, None, "app::run", 0, None, (0, 400));
    let select = sample.instance(task, Some(root), "dep::Select", 3, None, (0, 400));
    let socket = sample.instance(task, Some(select), "dep::Io", 3, Some("io"), (0, 400));
    let channel = "channel";
    let first = sample.instance(task, Some(select), "dep::Recv", 3, Some(channel), (0, 400));
    let second = sample.instance(task, Some(select), "dep::Recv2", 3, Some(channel), (0, 400));
    let others = sample.instance(other, None, "app::other", 0, None, (0, 400));
    let polls: Vec<_> = [100, 200].map(|at| sample.poll(task, at, at + 10)).into();
    for &poll in &polls {
        for leaf in [first, socket, second] {
            sample.waited(poll, leaf);
        }
    }
    let sends = sample.poll(other, 150, 190);
    sample.wake(task, 90, thread_by(driver, None), polls[0]);
    sample.wake(task, 190, task_in(other, sends, others), polls[1]);
    let question = Question {
        unit: task,
        within: Some(root),
        from: 50,
        to: 210,
    };
    let lines = told(&sample.history, question);
    assert_eq!(lines[0], "50-90 u0 dep::Io waiting");
    assert!(
        lines.contains(&"190-200 u0 dep::Select scheduled".to_owned()),
        "{lines:?}"
    );
}

/// The arm of a `select!` that was slower is cancelled when the other is ready.
#[test]
fn a_cancelled_arm_is_not_what_was_waited_for() {
    let mut sample = Sample::default();
    let task = sample.task("app::run");
    let driver = sample.thread("worker");
    let root = sample.instance(task, None, "app::run", 0, None, (0, 110));
    let ready = sample.instance(task, Some(root), "dep::Io", 3, Some("io"), (10, 100));
    let limit = sample.instance(task, Some(root), "dep::Sleep", 3, Some("sleep"), (10, 100));
    sample.history.awaits[limit.0 as usize].outcome = AwaitOutcome::Cancelled;
    sample.poll(task, 0, 10);
    let last = sample.poll(task, 100, 110);
    sample.waited(last, ready);
    sample.waited(last, limit);
    sample.wake(task, 95, thread_by(driver, None), last);
    let question = Question {
        unit: task,
        within: Some(root),
        from: 0,
        to: 110,
    };
    assert_eq!(
        told(&sample.history, question)[1],
        "10-95 u0 dep::Io waiting"
    );
}

#[test]
fn what_was_lost_is_unknown() {
    let (mut sample, question) = asked();
    // A gap in the worker's life while it was followed.
    sample.history.units[1].gaps.push(200);
    let told_lines = told(&sample.history, question);
    assert!(
        told_lines.contains(&"180-300 u1 ? unknown".to_owned()),
        "{told_lines:#?}"
    );
    // The end of a poll was lost.
    let (mut sample, question) = asked();
    sample.history.polls[2].end = None;
    let told_lines = told(&sample.history, question);
    assert!(
        told_lines.contains(&"170-290 u1 ? unknown".to_owned())
            || told_lines.contains(&"170-300 u1 ? unknown".to_owned()),
        "{told_lines:#?}"
    );
    // The cause is not known.
    let (mut sample, question) = asked();
    sample.history.polls[4].cause = None;
    assert_eq!(
        told(&sample.history, question),
        [
            "100-110 u0 app::handle polled",
            "110-320 u0 dep::Oneshot waiting",
            "320-330 u0 app::handle polled",
        ]
    );
}

/// Takes a poll off the CPU for a while.
fn off(sample: &mut Sample, poll: u32, from: u64, to: u64, preempted: bool) {
    let row = &mut sample.history.polls[poll as usize];
    if preempted {
        row.preempted += to - from;
    } else {
        row.blocked += to - from;
    }
    sample.history.off_cpu.push(OffCpu {
        poll: PollIndex(poll),
        from,
        to,
        preempted,
        syscall: None,
    });
}

#[test]
fn time_off_the_cpu_is_told_apart() {
    let (mut sample, question) = asked();
    off(&mut sample, 3, 302, 304, false);
    // After the wake-up, so no part of the path.
    off(&mut sample, 3, 311, 312, false);
    off(&mut sample, 4, 322, 328, false);
    off(&mut sample, 4, 329, 330, true);
    let told_lines = told(&sample.history, question);
    assert_eq!(
        told_lines[told_lines.len() - 8..],
        [
            "300-302 u1 app::work polled",
            "302-304 u1 app::work blocked",
            "304-310 u1 app::work polled",
            "310-320 u0 dep::Oneshot scheduled",
            "320-322 u0 app::handle polled",
            "322-328 u0 app::handle blocked",
            "328-329 u0 app::handle polled",
            "329-330 u0 app::handle preempted",
        ]
    );
    // Where only the sum is known, it is not known when.
    sample.history.off_cpu.clear();
    let told_lines = told(&sample.history, question);
    assert_eq!(
        told_lines[told_lines.len() - 2..],
        [
            "320-323 u0 app::handle polled",
            "323-330 u0 app::handle unknown",
        ]
    );
}

#[test]
fn an_open_request_ends_with_the_trace() {
    let (mut sample, mut question) = asked();
    sample.history.awaits[0].end = None;
    sample.history.awaits[1].end = None;
    sample.history.units[0].polls.truncate(1);
    question.to = 400;
    assert_eq!(
        told(&sample.history, question),
        [
            "100-110 u0 app::handle polled",
            "110-400 u0 dep::Oneshot waiting"
        ]
    );
}

/// Polls of the same instant that wake each other: the recording contradicts itself.
#[test]
fn a_circle_is_given_up() {
    let mut sample = Sample::default();
    let one = sample.task("app::one");
    let two = sample.task("app::two");
    let within_one = sample.instance(one, None, "app::one", 0, None, (0, 200));
    let within_two = sample.instance(two, None, "app::two", 0, None, (0, 200));
    let first = sample.poll(one, 100, 100);
    let second = sample.poll(two, 100, 100);
    sample.wake(one, 100, task_in(two, second, within_two), first);
    sample.wake(two, 100, task_in(one, first, within_one), second);
    let question = Question {
        unit: one,
        within: Some(within_one),
        from: 0,
        to: 150,
    };
    let path = walk(&sample.history, question, 100_000);
    check(&path, question);
    assert!(path.cut_off);
}

/// Histories that need not make sense: any poll, wake-up and instance may point anywhere.
fn anything() -> impl Strategy<Value = (History, Question, usize)> {
    let polls = prop::collection::vec(
        (
            0..4_u32,
            0..200_u64,
            0..40_u64,
            0..8_u32,
            0..20_u32,
            0..6_u64,
        ),
        0..40,
    );
    let wakes = prop::collection::vec((0..220_u64, 0..5_u32, 0..50_u32, 0..12_u32), 0..30);
    let awaits = prop::collection::vec(
        (0..4_u32, 0..14_u32, 0..200_u64, 0..80_u64, any::<bool>()),
        0..12,
    );
    let gaps = prop::collection::vec((0..4_usize, 0..200_u64), 0..3);
    let asked = (0..5_u32, 0..14_u32, 0..220_u64, 0..220_u64, 1..2_000_usize);
    (polls, wakes, awaits, gaps, asked).prop_map(|(mut polls, wakes, awaits, gaps, asked)| {
        let mut sample = Sample::default();
        for name in ["app::a", "app::b", "app::c"] {
            sample.task(name);
        }
        sample.thread("worker");
        if let crate::analyse::history::UnitKind::Task(task) = &mut sample.history.units[2].kind {
            task.existing = false;
        }
        for (task, parent, start, length, open) in awaits {
            let exists = (parent as usize) < sample.history.awaits.len();
            let index = sample.instance(
                UnitIndex(task),
                None,
                "app::f",
                1,
                (length % 2 == 0).then_some("io"),
                (start, start + length),
            );
            sample.history.awaits[index.0 as usize].parent = exists.then_some(AwaitIndex(parent));
            if open {
                sample.open(index);
            }
        }
        polls.sort_by_key(|poll| poll.1);
        for (task, begin, length, end, cause, off) in polls {
            let index = sample.poll(UnitIndex(task), begin, begin + length);
            let poll = &mut sample.history.polls[index.0 as usize];
            if end == 0 {
                poll.end = None;
            }
            if end == 1 {
                poll.begin_known = false;
                poll.end = Some(begin);
            }
            poll.blocked = off;
            if off > 1 {
                sample.history.off_cpu.push(OffCpu {
                    poll: index,
                    from: begin + off,
                    to: begin + off * 2,
                    preempted: off == 3,
                    syscall: None,
                });
            }
            let poll = &mut sample.history.polls[index.0 as usize];
            poll.cause = match cause {
                0 => None,
                1 => Some(PollCause::Spawn),
                wake => Some(PollCause::Wake(WakeIndex(wake))),
            };
            poll.waited_in = vec![AwaitIndex(cause % 14), AwaitIndex(end)];
        }
        for (time, unit, poll, within) in wakes {
            let by = Doer {
                unit: UnitIndex(unit),
                poll: (poll < 45).then_some(PollIndex(poll)),
                within: (within < 11).then_some(AwaitIndex(within)),
                origin: None,
            };
            sample.history.wakes.push(crate::analyse::history::Wake {
                time,
                event: crate::rebuild::event::EventId {
                    unit: crate::rebuild::event::UnitId(0),
                    sequence: 0,
                },
                task: UnitIndex(0),
                by,
                effect: crate::rebuild::event::WakeEffect::Scheduled,
                poll: None,
            });
        }
        for (unit, time) in gaps {
            sample.history.units[unit].gaps.push(time);
        }
        let (unit, within, one, other, limit) = asked;
        let question = Question {
            unit: UnitIndex(unit),
            within: (within < 13).then_some(AwaitIndex(within)),
            from: one.min(other),
            to: one.max(other),
        };
        (sample.history, question, limit)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn pieces_always_make_up_the_time((history, question, limit) in anything()) {
        let path = walk(&history, question, limit);
        check(&path, question);
        prop_assert!(path.pieces.len() <= limit + 8);
    }
}
