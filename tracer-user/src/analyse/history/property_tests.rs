//! Whatever is lost, doubled or made up: no time is negative, nothing ends before it starts, no
//! edge leads in a circle, and the parts of a duration sum to it.

use std::sync::Arc;

use proptest::prelude::*;

use super::sample::{Future, Trace, body, holder, leaf, marked_body, sleep, suspension};
use super::*;
use crate::rebuild::event::{Event, EventKind, UnitId};

/// Something that happens to one of a few tasks.
#[derive(Clone, Debug)]
enum Step {
    Stands(u8, Vec<Future>, bool),
    Poll(u8, Vec<Step>),
    Open(u8),
    Wake(u8, u8, WakeEffect),
    Off(u8, bool),
    On(u8),
    Gap(u8),
    End(u8, Outcome),
}

fn any_future() -> impl Strategy<Value = Future> {
    let at = (0..5_u16, 0..4_u64);
    prop_oneof![
        at.clone()
            .prop_map(|(depth, place)| body(depth, place * 8, "app::f", 10 + place as u32)),
        (at.clone(), 0..3_u32).prop_map(|((depth, place), line)| body(
            depth,
            place * 8,
            "app::g",
            line
        )),
        (at.clone(), 0..3_u8).prop_map(|((depth, place), mark)| marked_body(
            depth,
            place * 8,
            "app::h",
            7,
            mark
        )),
        at.clone()
            .prop_map(|(depth, place)| holder(depth, place * 8, "PollFn")),
        (at.clone(), 0..3_u8).prop_map(|((depth, place), mark)| sleep(depth, place * 8, mark)),
        at.prop_map(|(depth, place)| leaf(depth, place * 8, "tokio::Recv", "channel")),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let task = || 0..4_u8;
    let stands = (
        task(),
        prop::collection::vec(any_future(), 0..7),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(task, futures, partial)| Step::Stands(task, futures, partial));
    let effect = prop_oneof![
        Just(WakeEffect::Scheduled),
        Just(WakeEffect::PollAgain),
        Just(WakeEffect::Unknown),
    ];
    let wake = (task(), task(), effect).prop_map(|(by, task, effect)| Step::Wake(by, task, effect));
    let inner = prop_oneof![
        wake.clone(),
        (task(), any::<bool>()).prop_map(|(task, preempted)| Step::Off(task, preempted)),
        task().prop_map(Step::On),
    ];
    let outcome = prop_oneof![
        Just(Outcome::Ready),
        Just(Outcome::Cancelled),
        Just(Outcome::Panicked),
        Just(Outcome::Over),
        Just(Outcome::Unknown),
    ];
    prop_oneof![
        6 => stands,
        8 => (task(), prop::collection::vec(inner, 0..3)).prop_map(|(task, steps)| Step::Poll(task, steps)),
        1 => task().prop_map(Step::Open),
        4 => wake,
        1 => task().prop_map(Step::Gap),
        1 => (task(), outcome).prop_map(|(task, outcome)| Step::End(task, outcome)),
    ]
}

struct Maker {
    trace: Trace,
    thread: UnitId,
    tasks: Vec<UnitId>,
    last_wake: Vec<Option<EventId>>,
    now: u64,
}

impl Maker {
    fn step(&mut self, step: &Step, poll: Option<(u8, EventId)>) {
        self.now += 10;
        let now = self.now;
        let trace = &mut self.trace;
        match step {
            Step::Stands(task, futures, partial) => {
                let (suspension, marks) = suspension(futures, partial.then_some("cut"));
                let kind = EventKind::AwaitChanged { suspension, marks };
                trace.event(self.tasks[usize::from(*task)], now, kind, None);
            }
            Step::Poll(task, steps) => {
                let at = usize::from(*task);
                let cause = self.last_wake[at].take();
                let begin = trace.begin(self.tasks[at], self.thread, now, cause);
                for step in steps {
                    self.step(step, Some((*task, begin)));
                }
                self.now += 10;
                self.trace
                    .end(self.tasks[at], now, self.now, Outcome::Pending);
            }
            Step::Open(task) => {
                trace.begin(self.tasks[usize::from(*task)], self.thread, now, None);
            }
            Step::Wake(by, task, effect) => {
                let (by, cause) = poll.map_or((*by, None), |(by, begin)| (by, Some(begin)));
                let task = usize::from(*task);
                let kind = EventKind::Wake {
                    task: self.tasks[task],
                    by_value: false,
                    effect: *effect,
                };
                let wake = trace.event(self.tasks[usize::from(by)], now, kind, cause);
                self.last_wake[task] = Some(wake);
            }
            Step::Off(task, preempted) => {
                let preempted = *preempted;
                let task = self.tasks[usize::from(*task)];
                trace.event(
                    task,
                    now,
                    EventKind::Blocked {
                        preempted,
                        syscall: None,
                    },
                    None,
                );
            }
            Step::On(task) => {
                let task = self.tasks[usize::from(*task)];
                trace.event(task, now, EventKind::Unblocked, None);
            }
            Step::Gap(task) => {
                let task = self.tasks[usize::from(*task)];
                trace.event(task, now, EventKind::Gap { lost: 2 }, None);
            }
            Step::End(task, outcome) => {
                let task = self.tasks[usize::from(*task)];
                trace.end(task, now, now + 1, *outcome);
            }
        }
    }
}

pub(crate) fn any_trace() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(any_step(), 0..60).prop_map(|steps| {
        let mut trace = Trace::new();
        let thread = trace.thread(1, "worker", 100);
        let mut tasks = vec![trace.task(1, "app::a", 100, true)];
        for id in 2..5 {
            tasks.push(trace.spawned(thread, id, "app::b", 100, None).0);
        }
        let mut maker = Maker {
            trace,
            thread,
            tasks,
            last_wake: vec![None; 4],
            now: 100,
        };
        for step in &steps {
            maker.step(step, None);
        }
        maker.trace.events
    })
}

/// What happens to events on their way.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Drop,
    Double,
    /// Swapped with the one after it.
    Late,
    /// With any time.
    Time(u64),
}

fn any_damage() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        20 => Just(Damage::None),
        2 => Just(Damage::Drop),
        1 => Just(Damage::Double),
        1 => Just(Damage::Late),
        1 => (0..1_000_u64).prop_map(Damage::Time),
    ];
    prop::collection::vec(damage, 1..80)
}

fn damaged(events: &[Event], damage: &[Damage]) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    let mut late = None;
    for (event, damage) in events.iter().zip(damage.iter().cycle()) {
        let mut event = event.clone();
        match damage {
            Damage::None => out.push(event),
            Damage::Drop => {}
            Damage::Double => out.extend([event.clone(), event]),
            Damage::Late => {
                out.extend(late.replace(event));
                continue;
            }
            Damage::Time(time) => {
                event.time = *time;
                out.push(event);
            }
        }
        out.extend(late.take());
    }
    out.extend(late);
    out
}

fn is_sound(history: &History) {
    let end = history.span.end;
    for (at, row) in history.awaits.iter().enumerate() {
        let until = row.end.unwrap_or(end.max(row.start));
        assert!(row.start <= until, "{row:?}");
        assert_eq!(row.waiting + row.polled, until - row.start, "{row:?}");
        assert_eq!(row.end.is_none(), row.outcome == AwaitOutcome::Open);
        for parent in row.parent.iter().chain(&row.former_parents) {
            assert_eq!(history[*parent].task, row.task);
        }
        let Some(parent) = row.parent else { continue };
        assert!(
            (parent.0 as usize) < at,
            "a parent after its child: {row:?}"
        );
        let parent = &history[parent];
        let moved = |row: &Await| !row.former_parents.is_empty();
        assert!(
            parent.start <= row.start || moved(row) || moved(parent),
            "{row:?} in {parent:?}"
        );
        if let Some(parent_end) = parent.end {
            assert!(
                row.end.is_some_and(|end| end <= parent_end),
                "{row:?} in {parent:?}"
            );
        }
    }
    assert!(history.polls.is_sorted_by_key(|poll| poll.begin));
    assert!(history.wakes.is_sorted_by_key(|wake| wake.time));
    for (at, unit) in history.units.iter().enumerate() {
        let unit_index = UnitIndex(at as u32);
        let mut last = 0;
        for poll in &unit.polls {
            let poll = &history[*poll];
            assert_eq!(poll.task, unit_index);
            assert!(last <= poll.begin, "polls of one task do not overlap");
            last = poll.end.unwrap_or(poll.begin);
            assert!(last >= poll.begin);
            assert!(poll.blocked + poll.preempted <= poll.end.unwrap_or(end) - poll.begin);
            for leaf in &poll.waited_in {
                let leaf = &history[*leaf];
                assert_eq!(leaf.task, unit_index);
                assert!(leaf.start <= poll.begin, "{leaf:?} before {poll:?}");
            }
        }
        assert!(
            unit.awaits
                .iter()
                .all(|row| history[*row].task == unit_index)
        );
    }
    for (at, wake) in history.wakes.iter().enumerate() {
        if let Some(poll) = wake.poll {
            let poll = &history[poll];
            assert_eq!(poll.cause, Some(PollCause::Wake(WakeIndex(at as u32))));
            assert_eq!(poll.task, wake.task);
            assert!(wake.time <= poll.begin);
        }
        if let Some(within) = wake.by.within {
            assert_eq!(history[within].task, wake.by.unit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_history_is_sound(events in any_trace(), damage in any_damage()) {
        for events in [damaged(&events, &damage), events] {
            for window in [None, Some((250, 500))] {
                let mut builder = Builder::new(100);
                if let Some((from, until)) = window {
                    builder.window(from, until);
                }
                builder.events(&events);
                is_sound(&builder.finish());
            }
        }
    }

    /// A doubled event changes nothing.
    #[test]
    fn doubled_events_are_the_same_history(events in any_trace()) {
        let double = |events: &[Event]| -> Vec<Event> {
            events.iter().flat_map(|event| [event.clone(), event.clone()]).collect()
        };
        let history = |events: &[Event]| {
            let mut builder = Builder::new(100);
            builder.events(events);
            format!("{:?}", builder.finish())
        };
        prop_assert_eq!(history(&events), history(&double(&events)));
    }

    /// Limits are kept, and what went over one is counted.
    #[test]
    fn limits_are_kept(events in any_trace()) {
        let limits = Limits { units: 4, polls: 5, awaits: 6, wakes: 3 };
        let mut builder = Builder::with_limits(100, limits);
        builder.events(&events);
        let history = builder.finish();
        prop_assert!(history.units.len() <= 4 && history.polls.len() <= 5);
        prop_assert!(history.awaits.len() <= 6 && history.wakes.len() <= 3);
        is_sound(&history);
        let mut all = Builder::new(100);
        all.events(&events);
        let all = all.finish();
        let over = all.polls.len() > 5 || all.awaits.len() > 6 || all.wakes.len() > 3;
        prop_assert!(!over || history.missing.beyond_limits > 0);
    }
}

#[test]
fn same_futures_share_what_is_awaited() {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 100);
    for id in 1..3 {
        let task = trace.task(id, "app::a", 100, true);
        trace.stands(
            task,
            200,
            &[body(0, 0, "app::a", 10), sleep(1, 8, id as u8)],
        );
        trace.poll(task, thread, 200, 210, None);
    }
    let history = trace.history(100, 300);
    assert_eq!(history.awaits.len(), 4);
    assert!(Arc::ptr_eq(
        &history.awaits[1].awaited,
        &history.awaits[3].awaited
    ));
}
