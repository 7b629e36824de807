//! A made-up runtime that knows why it polls, the records that the kernel would make of it, and
//! what the tracker makes of those when some are lost, doubled or out of order.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tracer_common::{Record, RecordKind, STATE_UNREADABLE, WakeOrigin};

use super::*;
use crate::rebuild::event::{EventId, Unit};

const THREADS: usize = 3;
const SLOTS: usize = 4;

/// Who did something, and when.
type Deed = (Who, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Task(TaskKey),
    Thread(u32),
    /// Fires; does nothing itself.
    Driver,
}

#[derive(Clone, Copy, Debug)]
struct SimTask {
    key: TaskKey,
    running: bool,
    complete: bool,
    scheduled_by: Option<Deed>,
}

impl SimTask {
    fn word(&self) -> u64 {
        0xc0 | u64::from(self.running)
            | u64::from(self.complete) << 1
            | u64::from(self.scheduled_by.is_some()) << 2
    }
}

/// A thread's poll: what, since when, and whether it is over but not noticed.
type SimPoll = (usize, TaskKey, u64, bool);

/// What the traps also tell.
#[derive(Clone, Copy, Debug)]
struct Told {
    words: bool,
    polls: bool,
}

struct World {
    told: Told,
    time: u64,
    next_id: u64,
    slots: [Option<SimTask>; SLOTS],
    threads: [Option<SimPoll>; THREADS],
    records: Vec<Record>,
    /// Poll of a task, by its begin -> why.
    why: HashMap<(TaskKey, u64), Deed>,
}

impl World {
    fn new(told: Told) -> Self {
        Self {
            told,
            time: 1_000,
            next_id: 1,
            slots: [None; SLOTS],
            threads: [None; THREADS],
            records: Vec::new(),
            why: HashMap::new(),
        }
    }

    fn who(&self, thread: usize) -> Who {
        match self.threads[thread] {
            Some((_, key, _, false)) => Who::Task(key),
            _ => Who::Thread(thread as u32 + 1),
        }
    }

    /// A trap on a thread: first tells the end of a poll that nobody told yet.
    fn trap(&mut self, thread: usize, kind: RecordKind, task: TaskKey, word: u64) {
        if let Some((slot, key, began, true)) = self.threads[thread] {
            self.threads[thread] = None;
            let state = match self.slots[slot] {
                Some(now) if now.key == key => now.word(),
                _ => STATE_UNREADABLE,
            };
            self.push(thread, RecordKind::PollEnd, key, state, None, began);
        }
        let (by, poll) = match self.threads[thread] {
            Some((_, key, began, _)) => (Some(key), began),
            None => (None, 0),
        };
        self.push(thread, kind, task, word, by, poll);
    }

    fn push(
        &mut self,
        thread: usize,
        kind: RecordKind,
        task: TaskKey,
        word: u64,
        by: Option<TaskKey>,
        poll: u64,
    ) {
        let deed = !matches!(kind, RecordKind::PollBegin | RecordKind::PollEnd);
        let by = by.filter(|_| deed);
        self.records.push(Record {
            time: self.time,
            task: task.address.0,
            task_id: task.id.unwrap_or(0),
            state: match kind {
                RecordKind::PollEnd => word,
                _ if self.told.words => word,
                _ => 0,
            },
            by: by.map_or(0, |key| key.address.0),
            by_id: by.and_then(|key| key.id).unwrap_or(0),
            stack_pointer: 0x7000,
            poll: if self.told.polls { poll } else { 0 },
            tid: thread as u32 + 1,
            cpu: thread as u32,
            kind: kind as u8,
            aux: u8::from(kind == RecordKind::PollEnd),
            ..Record::default()
        });
    }

    fn step(&mut self, (op, thread, slot): (u8, usize, usize)) {
        self.time += 10;
        let who = self.who(thread);
        let time = self.time;
        match (op, self.slots[slot], self.threads[thread]) {
            (0, None, _) => {
                let key = TaskKey {
                    address: Address(0x1000 * (slot as u64 + 1)),
                    id: Some(self.next_id),
                };
                self.next_id += 1;
                self.trap(thread, RecordKind::Spawn, key, 0xcc);
                self.slots[slot] = Some(SimTask {
                    key,
                    running: false,
                    complete: false,
                    scheduled_by: Some((who, time)),
                });
            }
            (1..=3, Some(task), None | Some((.., true))) if !task.running && !task.complete => {
                let Some(why) = task.scheduled_by else { return };
                self.trap(thread, RecordKind::PollBegin, task.key, task.word() | 1);
                self.why.insert((task.key, time), why);
                self.threads[thread] = Some((slot, task.key, time, false));
                self.slots[slot] = Some(SimTask {
                    running: true,
                    scheduled_by: None,
                    ..task
                });
            }
            (4..=6, Some(task), _) => {
                let kind = if op == 4 {
                    RecordKind::WakeByValue
                } else {
                    RecordKind::WakeByReference
                };
                self.trap(thread, kind, task.key, task.word());
                if !task.complete && task.scheduled_by.is_none() {
                    self.slots[slot] = Some(SimTask {
                        scheduled_by: Some((who, time)),
                        ..task
                    });
                }
            }
            (7..=9, _, Some((at, key, began, false))) => {
                self.threads[thread] = Some((at, key, began, true));
                if let Some(task) = &mut self.slots[at] {
                    task.running = false;
                    task.complete = op == 9;
                }
            }
            (10, Some(task), _) if task.complete => self.slots[slot] = None,
            (11, Some(task), _) => {
                self.trap(thread, RecordKind::WakerClone, task.key, task.word());
            }
            // A driver on a thread that polls nothing wakes for a resource, or for the time.
            (12..=13, Some(task), None | Some((.., true))) => {
                let kind = RecordKind::WakeByReference;
                self.trap(thread, kind, task.key, task.word());
                if let Some(record) = self.records.last_mut() {
                    record.aux = op - 11;
                    record.by = if op == 12 { 0x9000 } else { 0 };
                    record.by_id = time - 3;
                }
                if !task.complete && task.scheduled_by.is_none() {
                    let by = Who::Thread(thread as u32 + 1);
                    self.slots[slot] = Some(SimTask {
                        scheduled_by: Some((by, time)),
                        ..task
                    });
                }
            }
            (14, Some(task), _) => {
                self.trap(thread, RecordKind::Abort, task.key, task.word());
                if !task.complete && task.scheduled_by.is_none() {
                    self.slots[slot] = Some(SimTask {
                        scheduled_by: Some((who, time)),
                        ..task
                    });
                }
            }
            _ => {}
        }
    }
}

fn world(told: Told, steps: &[(u8, usize, usize)]) -> World {
    let mut world = World::new(told);
    for step in steps {
        world.step(*step);
    }
    world
}

fn steps() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    vec((0..15_u8, 0..THREADS, 0..SLOTS), 0..300)
}

fn told() -> impl Strategy<Value = Told> {
    (any::<bool>(), any::<bool>()).prop_map(|(words, polls)| Told { words, polls })
}

/// The events by their id, after a check of what must hold for any input.
fn checked(events: &[Event]) -> HashMap<EventId, &Event> {
    let mut known: HashMap<EventId, &Event> = HashMap::new();
    let mut next: HashMap<UnitId, (u64, u64)> = HashMap::new();
    for event in events {
        let (sequence, time) = next.entry(event.id.unit).or_insert((0, 0));
        assert_eq!(event.id.sequence, *sequence, "no hole, no repetition");
        assert!(event.time >= *time, "time runs forward in a unit");
        assert_eq!(
            *sequence == 0,
            matches!(event.kind, EventKind::Described(_)) && *sequence == 0,
            "a unit is described first"
        );
        (*sequence, *time) = (*sequence + 1, event.time);
        if let Some(target) = event.kind.target() {
            let described = EventId {
                unit: target,
                sequence: 0,
            };
            assert!(known.contains_key(&described), "a target is known");
        }
        if let Some(cause) = event.cause {
            let cause = known.get(&cause).expect("a cause is an earlier event");
            assert!(cause.time <= event.time);
            match event.kind {
                EventKind::PollBegin { .. } => {
                    assert!(matches!(
                        cause.kind,
                        EventKind::Wake { task, .. }
                            | EventKind::Spawned { task }
                            | EventKind::Aborted { task }
                            if task == event.id.unit
                    ));
                }
                EventKind::Finished { .. } => {
                    assert!(matches!(
                        cause.kind,
                        EventKind::Aborted { task } if task == event.id.unit
                    ));
                }
                EventKind::Wake { .. } if cause.id.unit != event.id.unit => {
                    assert!(matches!(cause.kind, EventKind::Fired));
                }
                _ => {
                    assert_eq!(cause.id.unit, event.id.unit);
                    assert!(matches!(cause.kind, EventKind::PollBegin { .. }));
                }
            }
        }
        assert!(known.insert(event.id, event).is_none());
    }
    known
}

/// How many polls there are, how many with a cause; panics if a cause is wrong.
fn check_causes(events: &[Event], world: &World) -> (usize, usize) {
    let known = checked(events);
    let mut units: HashMap<UnitId, Who> = HashMap::new();
    for event in events {
        if let EventKind::Described(unit) = &event.kind {
            let who = match &**unit {
                Unit::Task(task) => Who::Task(TaskKey {
                    address: task.address,
                    id: task.task_id,
                }),
                Unit::Thread(thread) => Who::Thread(thread.tid),
                Unit::Origin(_) => Who::Driver,
            };
            units.insert(event.id.unit, who);
        }
    }
    let (mut polls, mut explained) = (0, 0);
    for event in events {
        if let EventKind::PollBegin { .. } = event.kind {
            let Who::Task(key) = units[&event.id.unit] else {
                panic!("a thread is not polled")
            };
            let why = world.why[&(key, event.time)];
            polls += 1;
            if let Some(cause) = event.cause {
                explained += 1;
                assert_eq!((units[&cause.unit], known[&cause].time), why);
            }
        } else if let Some(cause) = event.cause {
            if matches!(known[&cause].kind, EventKind::Fired) {
                // The thread woke for a driver that began to do so at that time.
                let record = world.records.iter().find(|record| {
                    record.time == event.time && WakeOrigin::from_u8(record.aux).is_some()
                });
                assert!(known[&cause].time <= record.unwrap().time);
                continue;
            }
            if let EventKind::Finished { outcome } = event.kind {
                assert_eq!(outcome, Outcome::Cancelled);
                continue;
            }
            let Who::Task(key) = units[&event.id.unit] else {
                panic!("a thread's deeds have no cause")
            };
            let began = known[&cause].time;
            assert!(world.why.contains_key(&(key, began)));
            let record = world.records.iter().find(|record| {
                record.time == event.time
                    && record.kind != RecordKind::PollEnd as u8
                    && record.by == key.address.0
            });
            if let Some(record) = record
                && record.poll != 0
            {
                assert_eq!(record.poll, began);
            }
        }
    }
    (polls, explained)
}

fn track(records: &[Record]) -> (Tracker, Vec<Event>) {
    let mut tracker = Tracker::new(Options::default());
    let mut events = Vec::new();
    for record in records {
        tracker.apply(record, &mut events);
    }
    (tracker, events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_lost_and_every_poll_has_its_true_cause(steps in steps(), polls in any::<bool>()) {
        let world = world(Told { words: true, polls }, &steps);
        let (tracker, events) = track(&world.records);
        let (polls, explained) = check_causes(&events, &world);
        prop_assert_eq!(polls, world.why.len());
        prop_assert_eq!(explained, polls);
        let gaps = events.iter().filter(|event| matches!(event.kind, EventKind::Gap { .. }));
        prop_assert_eq!(gaps.count(), 0);
        prop_assert_eq!(tracker.statistics().late, 0);
        prop_assert_eq!(tracker.statistics().records, world.records.len() as u64);
    }

    #[test]
    fn without_state_words_no_cause_is_wrong(steps in steps(), polls in any::<bool>()) {
        let world = world(Told { words: false, polls }, &steps);
        let (_, events) = track(&world.records);
        let (polls, explained) = check_causes(&events, &world);
        prop_assert_eq!((polls, explained), (world.why.len(), world.why.len()));
    }

    #[test]
    fn losses_that_are_told_give_no_wrong_cause(
        steps in steps(),
        told in told(),
        keep in vec(prop::bool::weighted(0.9), 300 * 2),
        batch in 1..40_usize,
    ) {
        let world = world(told, &steps);
        let mut tracker = Tracker::new(Options::default());
        let mut events = Vec::new();
        let mut kept = keep.iter().cycle();
        for batch in world.records.chunks(batch) {
            let left: Vec<&Record> = batch.iter().filter(|_| *kept.next().unwrap()).collect();
            let lost = batch.len() - left.len();
            tracker.lost(0, lost as u64, batch[batch.len() - 1].time);
            for record in left {
                tracker.apply(record, &mut events);
            }
        }
        check_causes(&events, &world);
    }

    #[test]
    fn doubled_records_change_no_cause(
        steps in steps(),
        told in told(),
        again in vec((0..600_usize, 1..6_usize), 0..40),
    ) {
        let world = world(told, &steps);
        let mut records: Vec<(usize, Record)> = world.records.iter().copied().enumerate().collect();
        for (at, later) in again {
            if let Some(record) = world.records.get(at) {
                records.push((at + later, *record));
            }
        }
        records.sort_by_key(|(at, _)| *at);
        let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
        let (tracker, events) = track(&records);
        check_causes(&events, &world);
        let statistics = tracker.statistics();
        let doubled = (records.len() - world.records.len()) as u64;
        prop_assert_eq!(statistics.duplicates + statistics.late, doubled);
    }

    #[test]
    fn any_order_gives_a_graph_that_holds(
        steps in steps(),
        told in told(),
        seed in vec(any::<u32>(), 600),
        window in 1..600_u32,
    ) {
        let world = world(told, &steps);
        let mut records: Vec<(u32, Record)> = world
            .records
            .iter()
            .zip(seed.iter().cycle())
            .enumerate()
            .map(|(at, (record, key))| (at as u32 + key % window, *record))
            .collect();
        records.sort_by_key(|(at, _)| *at);
        let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
        let (_, events) = track(&records);
        checked(&events);
    }

    #[test]
    fn any_records_give_a_graph_that_holds_and_a_bounded_table(
        fields in vec((0..14_u8, 0..50_u64, 0..4_u64, 0..3_u64, 0..4_u64, 0..5_u32), 0..400),
        states in vec(any::<u64>(), 1..9),
        limits in (1..6_usize, 0..4_usize, 1..4_usize),
    ) {
        let mut tracker = Tracker::new(Options {
            max_tasks: limits.0,
            max_over: limits.1,
            max_threads: limits.2,
            ..Options::default()
        });
        let mut events = Vec::new();
        for (at, (kind, time, task, id, by, tid)) in fields.into_iter().enumerate() {
            let record = Record {
                time,
                task: task * 64,
                task_id: id,
                state: states[at % states.len()] % 256,
                by: by * 64,
                by_id: id,
                stack_pointer: time % 3 * 16,
                poll: time / 2,
                tid,
                kind,
                aux: (time % 3) as u8,
                ..Record::default()
            };
            tracker.apply(&record, &mut events);
            prop_assert!(tracker.tasks().count() <= limits.0 + limits.1);
            let live = tracker.tasks().filter(|task| !task.is_over()).count();
            prop_assert_eq!(tracker.statistics().live, live);
            prop_assert!(tracker.statistics().threads <= limits.2);
        }
        checked(&events);
        prop_assert_eq!(tracker.statistics().events, events.len() as u64);
    }
}
