//! Whatever happens: unrelated events neither make a finding of the analyses of events nor take one
//! away, and lost ones prove nothing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::case::{Case, Thresholds};
use super::model::{Certainty, Sighting};
use super::{blocked_worker, busy_poll, slow_to_run, stalled, task_growth};
use crate::analyse::history::sample::{Trace, body, leaf};
use crate::analyse::history::{Builder, History};
use crate::rebuild::event::{EndSeen, EventId, EventKind, Outcome, UnitId, WakeEffect};

const THRESHOLDS: Thresholds = Thresholds {
    long_poll: 1_000,
    slow_to_run: 2_000,
    stalled: 50_000,
};

/// Something that one of a few tasks does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A poll of this length, asleep for a part of it in this system call.
    Poll(u8, u64, u64, Option<u32>),
    /// Woken, and polled so much later.
    Late(u8, u64),
    /// Polled so often, woken by itself.
    Spin(u8, u16),
    /// Nothing for so long.
    Rest(u64),
    Spawn,
}

fn any_step() -> impl Strategy<Value = Step> {
    let task = || 0..3_u8;
    let syscall = prop_oneof![Just(None), Just(Some(230)), Just(Some(202)), Just(Some(1))];
    prop_oneof![
        4 => (task(), 1..9_000_u64, 0..100_u64, syscall)
            .prop_map(|(task, length, part, syscall)| Step::Poll(task, length, length * part / 100, syscall)),
        3 => (task(), 1..9_000_u64).prop_map(|(task, delay)| Step::Late(task, delay)),
        1 => (task(), 1..60_u16).prop_map(|(task, count)| Step::Spin(task, count)),
        2 => (1..30_000_u64).prop_map(Step::Rest),
        1 => Just(Step::Spawn),
    ]
}

/// One program: a worker, and tasks of futures of its own.
struct Program {
    trace: Trace,
    name: &'static str,
    worker: UnitId,
    tasks: Vec<UnitId>,
    now: u64,
    next: u64,
}

impl Program {
    fn new(mut trace: Trace, name: &'static str, tid: u32) -> Self {
        let worker = trace.thread(tid, "tokio-rt-worker", 100);
        let first = u64::from(tid) * 1_000;
        let tasks = (0..3).map(|number| trace.task(first + number, name, 100, true));
        let tasks = tasks.collect();
        Self {
            trace,
            name,
            worker,
            tasks,
            now: 200,
            next: first + 10,
        }
    }

    fn begin(&mut self, task: UnitId, cause: Option<EventId>) -> EventId {
        let leaf = leaf(1, 8, "app::Spin", "");
        self.trace
            .stands(task, self.now, &[body(0, 0, self.name, 7), leaf]);
        self.trace.begin(task, self.worker, self.now, cause)
    }

    fn end(&mut self, task: UnitId, began: u64) {
        let kind = EventKind::PollEnd {
            outcome: Outcome::Pending,
            seen: EndSeen::NextEvent,
            began: Some(began),
        };
        self.trace.event(task, self.now, kind, None);
    }

    fn step(&mut self, step: Step) {
        self.now += 10;
        match step {
            Step::Poll(task, length, asleep, syscall) => {
                let task = self.tasks[usize::from(task)];
                let began = self.now;
                self.begin(task, None);
                let blocked = EventKind::Blocked {
                    preempted: false,
                    syscall,
                };
                self.trace.event(task, self.now, blocked, None);
                self.now += asleep;
                self.trace.event(task, self.now, EventKind::Unblocked, None);
                self.now += length - asleep;
                self.end(task, began);
            }
            Step::Late(task, delay) => {
                let task = self.tasks[usize::from(task)];
                let wake = self.trace.wake(self.worker, task, self.now, None);
                self.now += delay;
                let began = self.now;
                self.begin(task, Some(wake));
                self.now += 10;
                self.end(task, began);
            }
            Step::Spin(task, count) => {
                let task = self.tasks[usize::from(task)];
                let mut cause = None;
                for _ in 0..count {
                    let began = self.now;
                    let poll = self.begin(task, cause);
                    self.now += 5;
                    let kind = EventKind::Wake {
                        task,
                        by_value: false,
                        effect: WakeEffect::PollAgain,
                    };
                    cause = Some(self.trace.event(task, self.now, kind, Some(poll)));
                    self.now += 5;
                    self.end(task, began);
                    self.now += 1;
                }
            }
            Step::Rest(length) => self.now += length,
            Step::Spawn => {
                self.trace
                    .spawned(self.worker, self.next, self.name, self.now, None);
                self.next += 1;
            }
        }
    }
}

fn played(trace: Trace, name: &'static str, tid: u32, steps: &[Step]) -> Trace {
    let mut program = Program::new(trace, name, tid);
    for step in steps {
        program.step(*step);
    }
    program.trace
}

fn history(trace: &Trace, lost: u64) -> History {
    let mut events = trace.events.clone();
    events.sort_by_key(|event| event.time);
    let mut builder = Builder::new(100);
    builder.events(&events);
    builder.lost(lost);
    builder.reached(2_000_000);
    builder.finish()
}

fn found(history: &History) -> Vec<Sighting> {
    let case = Case {
        history,
        moments: &[],
        thresholds: THRESHOLDS,
    };
    [
        blocked_worker::find(&case),
        busy_poll::find(&case),
        slow_to_run::find(&case),
        task_growth::find(&case),
        stalled::find(&case),
    ]
    .concat()
}

/// What is said of tasks of this future.
fn of(
    sightings: &[Sighting],
    name: &str,
) -> BTreeSet<(String, Certainty, Option<u64>, Vec<String>)> {
    sightings
        .iter()
        .filter(|sighting| sighting.tasks[0].future.as_deref() == Some(name))
        .map(|sighting| {
            let ids = sighting.tasks.iter().map(|task| task.id.to_string());
            (
                format!("{} {}", sighting.kind, sighting.cause),
                sighting.certainty,
                sighting.began,
                ids.collect(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn unrelated_events_change_nothing(
        one in prop::collection::vec(any_step(), 1..40),
        other in prop::collection::vec(any_step(), 1..40),
    ) {
        let alone = played(Trace::new(), "app::one", 7, &one);
        let both = played(alone.clone(), "app::other", 8, &other);
        let alone = found(&history(&alone, 0));
        let both = found(&history(&both, 0));
        prop_assert_eq!(of(&alone, "app::one"), of(&both, "app::one"));
    }

    #[test]
    fn lost_events_prove_nothing(
        steps in prop::collection::vec(any_step(), 1..40),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
    ) {
        let whole = played(Trace::new(), "app::one", 7, &steps);
        let mut part = whole.clone();
        for index in &dropped {
            if !part.events.is_empty() {
                let at = index.index(part.events.len());
                part.events.remove(at);
            }
        }
        let proved = |sightings: &[Sighting]| -> BTreeSet<(String, Option<u64>)> {
            let proved = sightings.iter().filter(|sighting| sighting.certainty == Certainty::Proved);
            proved.map(|sighting| (format!("{} {}", sighting.kind, sighting.cause), sighting.began)).collect()
        };
        let before = proved(&found(&history(&whole, 0)));
        let after = proved(&found(&history(&part, dropped.len() as u64)));
        prop_assert!(after.is_subset(&before), "{:?} is not in {:?}", after, before);
    }
}
