//! What holds for all analyses, whatever the case: none panics; the order in which memory was read
//! means nothing; a task that has nothing to do with the others changes nothing of what is found in
//! them; and what was lost proves nothing.
//!
//! Cases are random: tasks that hold, wait for and keep a few shared things, looks at them between
//! which they may move, and polls, wake-ups, sleeps, panics and growth as events, with times from
//! microseconds to minutes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::case::{Case, Thresholds};
use super::hand::{Hand, acquire, busy, combinator, detail, holding, keeping, leaf, lock, parked};
use super::hand::{body, sleep, task, waits};
use super::model::{Certainty, Finding, Kind};
use crate::address::Address;
use crate::analyse::history::History;
use crate::analyse::history::sample::{self, Trace};
use crate::rebuild::event::{Event, EventId, EventKind, Outcome, UnitId, WakeEffect};
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, NodeState, WaitsFor};

const MS: u64 = 1_000_000;
/// When the trace begins, and after when memory is looked at.
const START: u64 = 1_000 * MS;
/// The task that has nothing to do with the others, and its thread.
const STRANGER: u64 = 50;

/// What a task waits for.
#[derive(Clone, Debug)]
enum Wait {
    Lost,
    Sleep { past: bool },
    Lock(u64),
    Channel(u64),
    Join(u64),
    Io,
    Never,
}

/// How it waits.
#[derive(Clone, Debug)]
enum Shape {
    Plain,
    Holds(u64),
    HoldsSender(u64),
    Keeps(Wait),
    KeepsHolder(u64),
    Select(Wait),
    Join(Wait),
    Unread,
}

#[derive(Clone, Debug)]
struct Plan {
    wait: Wait,
    shape: Shape,
    /// `ready` of its leaves, and whom their waker wakes.
    ready: Option<bool>,
    waker: Option<&'static str>,
    doubt: bool,
    wakers: Option<u64>,
    state: TaskState,
    /// In which looks it stands elsewhere, and is there at all.
    moves: Vec<bool>,
    there: Vec<bool>,
    cancelled: bool,
}

fn any_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        1 => Just(Wait::Lost),
        1 => any::<bool>().prop_map(|past| Wait::Sleep { past }),
        3 => (0..3_u64).prop_map(Wait::Lock),
        2 => (0..3_u64).prop_map(Wait::Channel),
        2 => (1..6_u64).prop_map(Wait::Join),
        1 => Just(Wait::Io),
        1 => Just(Wait::Never),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let shape = prop_oneof![
        3 => Just(Shape::Plain),
        3 => (0..3_u64).prop_map(Shape::Holds),
        1 => (0..3_u64).prop_map(Shape::HoldsSender),
        1 => any_wait().prop_map(Shape::Keeps),
        1 => (0..3_u64).prop_map(Shape::KeepsHolder),
        2 => any_wait().prop_map(Shape::Select),
        1 => any_wait().prop_map(Shape::Join),
        1 => Just(Shape::Unread),
    ];
    let state = prop_oneof![
        8 => Just(TaskState::Idle),
        1 => Just(TaskState::Running),
        1 => Just(TaskState::Scheduled),
        1 => Just(TaskState::Complete),
    ];
    let leaves = (
        any::<Option<bool>>(),
        prop::sample::select(vec![None, Some("own"), Some("other"), Some("none")]),
        prop::bool::weighted(0.2),
    );
    let looks = (
        prop::collection::vec(prop::bool::weighted(0.1), 4),
        prop::collection::vec(prop::bool::weighted(0.9), 4),
    );
    let task = (
        prop::sample::select(vec![None, Some(0), Some(1), Some(3)]),
        state,
        prop::bool::weighted(0.1),
    );
    (any_wait(), shape, leaves, task, looks).prop_map(
        |(wait, shape, (ready, waker, doubt), (wakers, state, cancelled), (moves, there))| Plan {
            wait,
            shape,
            ready,
            waker,
            doubt,
            wakers,
            state,
            moves,
            there,
            cancelled,
        },
    )
}

/// Whose: paths and shared things of strangers are others.
#[derive(Clone, Copy)]
struct Side {
    name: &'static str,
    /// Of the addresses of its things.
    offset: u64,
    /// Of its lines: the same cause at the same place would be the same finding.
    line: u32,
}

const OURS: Side = Side {
    name: "app",
    offset: 0,
    line: 0,
};
const STRANGERS: Side = Side {
    name: "other",
    offset: 0x1000,
    line: 1_000,
};

impl Side {
    fn path(self, rest: &str) -> String {
        format!("{}::{rest}", self.name)
    }

    fn lock(self, number: u64) -> u64 {
        0x70_0000 + self.offset + number * 8
    }

    fn sender(self, number: u64) -> WaitsFor {
        let address = Address(0x80_0000 + self.offset + number * 8);
        WaitsFor::new("channel")
            .with("side", "send")
            .with("address", address.to_string())
    }

    fn leaf(self, wait: &Wait, plan: &Plan) -> AwaitNode {
        let mut node = match wait {
            Wait::Lost => leaf(&self.path("Lost")),
            Wait::Sleep { past: true } => sleep(1),
            Wait::Sleep { past: false } => sleep(u64::MAX / 2),
            Wait::Lock(number) => acquire(self.lock(*number)),
            Wait::Channel(number) => {
                let address = Address(0x80_0000 + self.offset + number * 8);
                let recv = waits("tokio::sync::mpsc::bounded::Receiver::recv", "channel");
                detail(
                    detail(recv, "side", "receive"),
                    "address",
                    address.to_string(),
                )
            }
            Wait::Join(id) => {
                let id = if self.offset == 0 { *id } else { STRANGER };
                let join = waits("tokio::runtime::task::join::JoinHandle", "join");
                let join = detail(join, "address", Address(0x1000 * id).to_string());
                detail(join, "task", format!("tokio/{id}"))
            }
            Wait::Io => {
                let io = waits("tokio::runtime::io::scheduled_io::Readiness", "io");
                detail(detail(io, "fd", 7), "receive_queue", 3)
            }
            Wait::Never => waits("core::future::pending::Pending", "never"),
        };
        if let Some(waits) = &mut node.waits_for {
            if let Some(ready) = plan.ready {
                waits.details.insert("ready".to_owned(), ready.into());
                let because = "it is there";
                waits
                    .details
                    .insert("ready_because".to_owned(), because.into());
            }
            if let Some(waker) = plan.waker {
                waits.details.insert("waker".to_owned(), waker.into());
            }
        }
        node
    }

    fn tree(self, plan: &Plan, line: u32) -> AwaitNode {
        let at = self.leaf(&plan.wait, plan);
        let outer = |awaits| body(&self.path("outer"), self.line + line, awaits);
        let poll_fn = |arms| combinator("core::future::poll_fn::PollFn<closure>", arms);
        let inner = |wait: &Wait| body(&self.path("arm"), self.line + 40, self.leaf(wait, plan));
        let mut tree = match &plan.shape {
            Shape::Plain => outer(at),
            Shape::Holds(number) => holding(outer(at), lock(self.lock(*number))),
            Shape::HoldsSender(number) => holding(outer(at), self.sender(*number)),
            Shape::Keeps(wait) => keeping(outer(at), inner(wait)),
            Shape::KeepsHolder(number) => {
                let kept = holding(inner(&Wait::Io), lock(self.lock(*number)));
                keeping(outer(at), kept)
            }
            Shape::Select(wait) => outer(poll_fn(vec![at, inner(wait)])),
            Shape::Join(wait) => {
                let name = "tokio::future::maybe_done::MaybeDone<closure>";
                let arm = |child| combinator(name, vec![child]);
                let done = AwaitNode {
                    state: NodeState::Returned,
                    ..leaf(&self.path("Done"))
                };
                outer(poll_fn(vec![arm(at), arm(inner(wait)), arm(done)]))
            }
            Shape::Unread => outer(AwaitNode::default()),
        };
        if plan.doubt {
            for held in &mut tree.holds {
                held.doubt = Some("it may have been moved out".to_owned());
            }
        }
        tree
    }

    fn task(self, id: u64, plan: &Plan, look: usize) -> Option<TaskInfo> {
        if !plan.there.get(look).copied().unwrap_or(true) {
            return None;
        }
        let moved = plan.moves.get(look).copied().unwrap_or(false);
        let tree = self.tree(plan, if moved { 99 } else { 10 });
        Some(TaskInfo {
            wakers: plan.wakers,
            references: plan.wakers.map(|wakers| wakers + 2),
            state: plan.state,
            cancelled: plan.cancelled,
            ..task(id, tree)
        })
    }
}

/// Something that happens to one of five tasks.
#[derive(Clone, Debug)]
enum Step {
    /// A poll of so long; what happens in it; whether it ends in a state that is told.
    Poll(u64, u64, Vec<Inner>, bool),
    Wake(u64, u64, WakeEffect),
    Rest(u64),
    /// It wakes itself and is polled, a thousand times; once in a scene.
    Spin(u64),
    Spawn,
    End(u64, Outcome),
    Gap(u64),
}

#[derive(Clone, Debug)]
enum Inner {
    WakesItself,
    Wakes(u64),
    Sleeps { preempted: bool },
    ClonesWaker,
    DropsWaker,
}

/// Nanoseconds from a microsecond to two minutes.
fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_000..2 * MS,
        2 => 5 * MS..300 * MS,
        1 => 1_000 * MS..120_000 * MS,
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let task = || 1..6_u64;
    let inner = prop_oneof![
        2 => Just(Inner::WakesItself),
        1 => task().prop_map(Inner::Wakes),
        1 => any::<bool>().prop_map(|preempted| Inner::Sleeps { preempted }),
        2 => Just(Inner::ClonesWaker),
        1 => Just(Inner::DropsWaker),
    ];
    let effect = prop_oneof![
        4 => Just(WakeEffect::Scheduled),
        1 => Just(WakeEffect::PollAgain),
        1 => Just(WakeEffect::Redundant),
        1 => Just(WakeEffect::Unknown),
    ];
    let outcome = prop_oneof![
        2 => Just(Outcome::Ready),
        1 => Just(Outcome::Cancelled),
        2 => Just(Outcome::Panicked),
        1 => Just(Outcome::Over),
    ];
    let inside = prop::collection::vec(inner, 0..3);
    prop_oneof![
        8 => (task(), any_time(), inside, any::<bool>())
            .prop_map(|(task, takes, inner, told)| Step::Poll(task, takes, inner, told)),
        5 => (task(), task(), effect).prop_map(|(by, task, effect)| Step::Wake(by, task, effect)),
        2 => any_time().prop_map(Step::Rest),
        1 => task().prop_map(Step::Spin),
        2 => Just(Step::Spawn),
        1 => (task(), outcome).prop_map(|(task, outcome)| Step::End(task, outcome)),
        1 => task().prop_map(Step::Gap),
    ]
}

/// A case before it is made.
#[derive(Clone, Debug)]
struct Scene {
    plans: Vec<Plan>,
    looks: usize,
    busy: bool,
    steps: Vec<Step>,
    /// The same step again and again: busy polls, growth.
    repeated: usize,
}

fn any_scene() -> impl Strategy<Value = Scene> {
    (
        prop::collection::vec(any_plan(), 0..6),
        0..4_usize,
        prop::bool::weighted(0.2),
        prop::collection::vec(any_step(), 0..25),
        prop_oneof![3 => Just(1_usize), 1 => Just(60_usize)],
    )
        .prop_map(|(plans, looks, busy, steps, repeated)| Scene {
            plans,
            looks,
            busy,
            steps,
            repeated,
        })
}

/// Makes events of steps, all on one thread.
struct Maker {
    trace: Trace,
    thread: UnitId,
    tasks: Vec<UnitId>,
    woken: Vec<Option<EventId>>,
    /// Tasks that are over: nothing polls them again.
    over: Vec<UnitId>,
    next: u64,
    spins: u32,
    now: u64,
}

impl Maker {
    fn unit(&self, task: u64) -> UnitId {
        self.tasks[(task as usize - 1) % self.tasks.len()]
    }

    fn step(&mut self, step: &Step) {
        self.now += 1_000;
        let now = self.now;
        if let Step::Poll(task, ..) | Step::Spin(task) | Step::End(task, _) = step
            && self.over.contains(&self.unit(*task))
        {
            return;
        }
        match step {
            Step::Poll(task, takes, inner, told) => {
                let unit = self.unit(*task);
                let slot = (*task as usize - 1) % self.tasks.len();
                if *told {
                    let futures = [
                        sample::body(0, 0, "app::outer", 10),
                        sample::leaf(1, 8, "app::Lost", ""),
                    ];
                    self.trace.stands(unit, now, &futures);
                }
                let cause = self.woken[slot].take();
                let begin = self.trace.begin(unit, self.thread, now, cause);
                self.now += takes / 2;
                for inner in inner {
                    self.inner(unit, slot, inner, begin);
                }
                self.now += takes / 2;
                self.trace.end(unit, now, self.now, Outcome::Pending);
            }
            Step::Wake(by, task, effect) => {
                let (by, slot) = (self.unit(*by), (*task as usize - 1) % self.tasks.len());
                self.wake(by, slot, *effect, None);
            }
            Step::Rest(takes) => self.now += takes,
            Step::Spin(task) => {
                for _ in 0..std::mem::take(&mut self.spins) {
                    self.step(&Step::Poll(*task, 80_000, vec![Inner::WakesItself], true));
                }
            }
            Step::Spawn => {
                let id = self.next;
                self.next += 1;
                let thread = self.thread;
                self.trace.spawned(thread, id, "app::grows", now, None);
            }
            Step::End(task, outcome) => {
                let unit = self.unit(*task);
                self.now += 1_000;
                let begin = self.trace.begin(unit, self.thread, now, None);
                if *outcome == Outcome::Panicked {
                    let message = Some("planned".into());
                    let kind = EventKind::PanicRaised { message };
                    self.trace.event(unit, now, kind, Some(begin));
                }
                self.trace.end(unit, now, self.now, *outcome);
                self.over.push(unit);
            }
            Step::Gap(task) => {
                let unit = self.unit(*task);
                self.trace
                    .event(unit, now, EventKind::Gap { lost: 2 }, None);
            }
        }
    }

    fn wake(&mut self, by: UnitId, slot: usize, effect: WakeEffect, cause: Option<EventId>) {
        let kind = EventKind::Wake {
            task: self.tasks[slot],
            by_value: false,
            effect,
        };
        let wake = self.trace.event(by, self.now, kind, cause);
        self.woken[slot] = Some(wake);
    }

    fn inner(&mut self, unit: UnitId, slot: usize, inner: &Inner, poll: EventId) {
        let poll = Some(poll);
        match inner {
            Inner::WakesItself => self.wake(unit, slot, WakeEffect::PollAgain, poll),
            Inner::Wakes(task) => {
                let slot = (*task as usize - 1) % self.tasks.len();
                self.wake(unit, slot, WakeEffect::Scheduled, poll);
            }
            Inner::Sleeps { preempted } => {
                let kind = EventKind::Blocked {
                    preempted: *preempted,
                    syscall: (!preempted).then_some(35),
                };
                self.trace.event(unit, self.now, kind, None);
                self.now += 20 * MS;
                self.trace.event(unit, self.now, EventKind::Unblocked, None);
            }
            Inner::ClonesWaker => {
                let kind = EventKind::WakerCloned { task: unit };
                self.trace.event(unit, self.now, kind, poll);
            }
            Inner::DropsWaker => {
                let kind = EventKind::WakerDropped { task: unit };
                self.trace.event(unit, self.now, kind, poll);
            }
        }
    }
}

/// The events of a scene, and when the last of them was.
fn events(scene: &Scene) -> (Trace, u64) {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", START);
    let tasks = (1..6)
        .map(|id| trace.task(id, "app::outer", START, true))
        .collect();
    let mut maker = Maker {
        trace,
        thread,
        tasks,
        woken: vec![None; 5],
        over: Vec::new(),
        next: 100,
        spins: 1_100,
        now: START,
    };
    for _ in 0..scene.repeated {
        for step in &scene.steps {
            maker.step(step);
        }
    }
    (maker.trace, maker.now)
}

/// The looks of a scene after `end`, a second apart.
fn looks(scene: &Scene, end: u64, stranger: Option<&Plan>, reversed: bool) -> Hand {
    let thread = if scene.busy { busy() } else { parked() };
    let mut hand = Hand::new().threads(vec![thread]);
    for look in 0..scene.looks {
        let mut tasks: Vec<TaskInfo> = (1..)
            .zip(&scene.plans)
            .filter_map(|(id, plan)| OURS.task(id, plan, look))
            .collect();
        tasks.extend(stranger.and_then(|plan| STRANGERS.task(STRANGER, plan, look)));
        if reversed {
            tasks.reverse();
        }
        hand = hand.look(end + 1_000 * MS * (1 + look as u64), tasks);
    }
    hand
}

fn found(hand: &Hand) -> Vec<Finding> {
    let case = hand.case();
    assert!(case.thresholds == Thresholds::default());
    super::find(&case)
}

fn proved(findings: &[Finding]) -> BTreeSet<String> {
    findings
        .iter()
        .filter(|finding| finding.certainty == Certainty::Proved)
        .map(|finding| finding.key.clone())
        .collect()
}

/// What is found that is not about the stranger. Not the evidence: it may say that the stranger,
/// too, had to wait for a worker. Nor who was slow to run: the stranger's thread is a worker, and
/// that it was free meanwhile is part of the answer.
fn without_stranger(findings: Vec<Finding>) -> BTreeSet<String> {
    let id = format!("tokio/{STRANGER}");
    let ours = |finding: &Finding| {
        finding.kind != Kind::SlowToRun && finding.tasks.iter().all(|task| *task.id != *id)
    };
    let tell = |finding: Finding| {
        format!(
            "{} {} x{} {:?} {:?} {:?} {:?}",
            finding.certainty,
            finding.key,
            finding.count,
            finding.tasks,
            finding.sites,
            finding.began_ns,
            finding.ended_ns
        )
    };
    findings.into_iter().filter(ours).map(tell).collect()
}

fn of(events: &[Event], end: u64) -> History {
    let mut trace = Trace::new();
    trace.events = events.to_vec();
    trace.history(START, end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The order in which tasks are read from memory means nothing.
    #[test]
    fn permuted_tasks_are_the_same_findings(scene in any_scene()) {
        let (trace, end) = events(&scene);
        let history = trace.history(START, end);
        let one = found(&looks(&scene, end, None, false).with(history.clone()));
        let other = found(&looks(&scene, end, None, true).with(history));
        prop_assert_eq!(one, other);
    }

    /// A task that has nothing to do with the others, and its events on a thread of its own, change
    /// nothing of what is found in the others.
    #[test]
    fn strangers_change_nothing(
        scene in any_scene(),
        stranger in any_plan(),
        polls in prop::collection::btree_map(0..50_u64, any::<bool>(), 0..20),
    ) {
        let (trace, end) = events(&scene);
        let alone = found(&looks(&scene, end, None, false).with(trace.history(START, end)));
        let mut more = trace;
        let thread = more.thread(2, "elsewhere", START);
        let unit = more.task(STRANGER, "other::outer", START, true);
        let step = (end - START) / 60;
        for (at, woken) in polls {
            let time = START + at * step;
            let cause = woken.then(|| more.wake(thread, unit, time, None));
            more.poll(unit, thread, time, time + step / 2, cause);
        }
        more.events.sort_by_key(|event| (event.time, event.id.unit, event.id.sequence));
        let both = looks(&scene, end, Some(&stranger), false).with(more.history(START, end));
        prop_assert_eq!(without_stranger(found(&both)), without_stranger(alone));
    }

    /// What is lost proves nothing: what is proved with losses is proved without them, or by memory
    /// alone.
    #[test]
    fn losses_prove_nothing(
        scene in any_scene(),
        lost in prop::collection::vec(prop::bool::weighted(0.2), 1..60),
        counted in any::<bool>(),
    ) {
        let (trace, end) = events(&scene);
        let hand = looks(&scene, end, None, false);
        let mut known = proved(&found(&hand));
        known.extend(proved(&found(&hand.clone().with(trace.history(START, end)))));
        let kept: Vec<Event> = trace
            .events
            .iter()
            .zip(lost.iter().cycle())
            .filter(|(event, lost)| !**lost || matches!(event.kind, EventKind::Described(_)))
            .map(|(event, _)| event.clone())
            .collect();
        let mut history = of(&kept, end);
        // The kernel counts what it loses; what a file lacks shows as a gap, or is counted.
        if counted {
            history.missing.records_lost += trace.events.len() as u64;
        } else {
            history.missing.events_dropped += trace.events.len() as u64;
        }
        let after = proved(&found(&hand.with(history)));
        prop_assert!(after.is_subset(&known), "{:?}", &after - &known);
    }

    /// To count losses without losing anything does not make anything surer.
    #[test]
    fn counted_losses_make_nothing_surer(scene in any_scene()) {
        let (trace, end) = events(&scene);
        let mut history = trace.history(START, end);
        let hand = looks(&scene, end, None, false);
        let before = found(&hand.clone().with(history.clone()));
        history.missing.records_lost = 7;
        for after in found(&hand.with(history)) {
            if after.certainty == Certainty::Proved {
                let was = before.iter().find(|finding| finding.key == after.key);
                prop_assert!(was.is_some_and(|was| was.certainty == Certainty::Proved), "{:?}", after);
            }
        }
    }

    /// Whatever is damaged on the way, nothing panics, and findings are told once each.
    #[test]
    fn nothing_panics(
        scene in any_scene(),
        times in prop::collection::vec(prop::option::weighted(0.1, 0..200_000 * MS), 1..40),
        thresholds in (0..100 * MS, 0..100 * MS, 0..100_000 * MS),
    ) {
        let (trace, end) = events(&scene);
        let mut damaged = trace.events.clone();
        for (event, time) in damaged.iter_mut().zip(times.iter().cycle()) {
            event.time = time.unwrap_or(event.time);
        }
        // A look in the middle of the events, too.
        for at in [end, START + (end - START) / 2, 0] {
            let hand = looks(&scene, at, None, false).with(of(&damaged, end));
            let case = Case {
                thresholds: Thresholds {
                    long_poll: thresholds.0,
                    slow_to_run: thresholds.1,
                    stalled: thresholds.2,
                },
                ..hand.case()
            };
            let findings = super::find(&case);
            let keys: BTreeSet<&str> = findings.iter().map(|finding| &*finding.key).collect();
            prop_assert_eq!(keys.len(), findings.len());
        }
    }
}

/// The random scenes above are worth something: each kind of finding occurs in them.
#[test]
fn scenes_have_findings() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..600 {
        let scene = any_scene().new_tree(&mut runner).map(|tree| tree.current());
        let Ok(scene) = scene else { continue };
        let (trace, end) = events(&scene);
        let hand = looks(&scene, end, None, false).with(trace.history(START, end));
        seen.extend(found(&hand).iter().map(|finding| finding.kind.name()));
    }
    for kind in EXPECTED {
        assert!(seen.contains(kind), "{kind} never occurs, only {seen:?}");
    }
}

/// Kinds that random scenes must make now and then.
const EXPECTED: &[&str] = &[
    "lost_wake",
    "blocked_worker",
    "busy_poll",
    "slow_to_run",
    "task_growth",
    "stalled",
    "wait_cycle",
    "futurelock",
    "abandoned_future",
    "panicked",
];
