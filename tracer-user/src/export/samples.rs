//! Histories for the tests of exports. Their numbers are consistent, as the builder's are: what is
//! waited and polled follows from the polls.

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::Source;
use super::recording::{Header, Host, Loss};
use crate::address::Address;
use crate::analyse::history::{
    Await, AwaitIndex, AwaitOutcome, Awaited, Doer, History, Missing, Poll, PollCause, PollIndex,
    Spawn, TaskEnd, TaskHistory, UnitHistory, UnitIndex, UnitKind, Wake, WakeIndex,
};
use crate::analyse::requests::Request;
use crate::rebuild::event::{EndSeen, EventId, Origin, Outcome, UnitId, WakeEffect};
use crate::rebuild::snapshot::{DebugInfoLevel, ProcessInfo};
use crate::rebuild::suspension::Place;
use crate::rebuild::tree::NodeKind;

/// A name that no format may take for its own syntax, nor hand to a terminal.
pub(super) const HOSTILE: &str = "evil::<[u8; 4], \"q\\\">\x1b[2J\n<b>&amp;\u{202e}{x}";

/// A history with what belongs to it.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) header: Header,
    pub(super) history: History,
    pub(super) losses: Vec<Loss>,
    pub(super) requests: Vec<Request>,
}

impl Sample {
    fn request(&mut self, root: AwaitIndex) {
        let instance = &self.history.awaits[root.0 as usize];
        self.requests.push(Request {
            id: self.requests.len() as u32 + 1,
            what: Arc::clone(&instance.awaited.future),
            root,
            task: instance.task,
            start: instance.start,
            at_least: instance.at_least,
            end: instance.end,
            outcome: instance.outcome,
        });
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            sampled: None,
            header: &self.header,
            history: &self.history,
            losses: &self.losses,
            requests: &self.requests,
        }
    }
}

fn header() -> Header {
    Header {
        trace_id: Uuid::from_u128(0x018f_0000_0000_7001_8002_0304_0506_0708),
        tool: "asynctrace 0.1.0".into(),
        process: ProcessInfo {
            pid: 4242,
            exe: "/srv/my \"app\"".into(),
            build_id: Some("c0ffee".into()),
        },
        clock_monotonic: 5_000,
        clock_realtime: 1_700_000_000_000_000_000,
        host: Host {
            kernel: "6.18.0".into(),
            architecture: "x86_64".into(),
            cpus: 2,
        },
        started: 1_000,
        runtime: "tokio".into(),
        debug_info: Some(DebugInfoLevel::Full),
        probes: Vec::new(),
        unseen: Vec::new(),
        sampling: None,
        requests: Vec::new(),
        kept: None,
    }
}

/// Makes histories.
pub(super) struct Maker(History);

impl Maker {
    pub(super) fn new(span: Range<u64>) -> Self {
        Self(History {
            span,
            ..History::default()
        })
    }

    fn unit(&mut self, kind: UnitKind, first: u64, last: u64) -> UnitIndex {
        let number = self.0.units.len() as u32;
        self.0.units.push(UnitHistory {
            id: UnitId(u64::from(number)),
            kind,
            first,
            last,
            polls: Vec::new(),
            awaits: Vec::new(),
            woken: Vec::new(),
            gaps: Vec::new(),
        });
        UnitIndex(number)
    }

    fn event(&self, unit: UnitIndex) -> EventId {
        EventId {
            unit: UnitId(u64::from(unit.0)),
            sequence: (self.0.polls.len() + self.0.wakes.len()) as u64,
        }
    }

    pub(super) fn thread(&mut self, tid: u32, name: &str) -> UnitIndex {
        let kind = UnitKind::Thread {
            tid,
            name: Some(name.into()),
            polls_tasks: true,
        };
        self.unit(kind, self.0.span.start, self.0.span.end)
    }

    pub(super) fn origin(&mut self, origin: Origin) -> UnitIndex {
        self.unit(UnitKind::Origin(origin), self.0.span.start, self.0.span.end)
    }

    /// A task from `first` on; `end` with how it ended.
    pub(super) fn task(
        &mut self,
        future: &str,
        first: u64,
        end: Option<(u64, Outcome)>,
        spawned: Option<Doer>,
    ) -> UnitIndex {
        let number = self.0.units.len();
        let event = self.event(UnitIndex(number as u32));
        let kind = UnitKind::Task(TaskHistory {
            name: format!("tokio/{number}").into(),
            address: Address(0x7f00_0000_0000 + number as u64 * 0x100),
            future: Some(future.into()),
            blocking: false,
            existing: spawned.is_none(),
            spawned: spawned.map(|by| Spawn {
                time: first,
                event,
                by,
            }),
            end: end.map(|(time, outcome)| TaskEnd {
                time,
                outcome,
                aborted: None,
            }),
        });
        let last = end.map_or(self.0.span.end, |end| end.0);
        self.unit(kind, first, last)
    }

    pub(super) fn poll(
        &mut self,
        task: UnitIndex,
        thread: UnitIndex,
        times: (u64, Option<u64>),
        cause: Option<PollCause>,
        waited_in: &[AwaitIndex],
    ) -> PollIndex {
        let index = PollIndex(self.0.polls.len() as u32);
        let event = self.event(task);
        if let Some(PollCause::Wake(wake)) = cause {
            self.0.wakes[wake.0 as usize].poll = Some(index);
        }
        self.0.polls.push(Poll {
            task,
            event,
            thread: Some(thread),
            begin: times.0,
            begin_known: true,
            end: times.1,
            seen: EndSeen::NextEvent,
            outcome: Outcome::Pending,
            blocked: 100,
            preempted: 0,
            cause,
            waited_in: waited_in.to_vec(),
        });
        self.0.units[task.0 as usize].polls.push(index);
        index
    }

    pub(super) fn wake(&mut self, task: UnitIndex, time: u64, by: Doer) -> WakeIndex {
        let index = WakeIndex(self.0.wakes.len() as u32);
        let event = self.event(by.unit);
        self.0.wakes.push(Wake {
            time,
            event,
            task,
            by,
            effect: WakeEffect::Scheduled,
            poll: None,
        });
        self.0.units[task.0 as usize].woken.push(index);
        index
    }

    pub(super) fn instance(
        &mut self,
        task: UnitIndex,
        parent: Option<AwaitIndex>,
        awaited: &Arc<Awaited>,
        times: (u64, Option<u64>),
    ) -> AwaitIndex {
        let index = AwaitIndex(self.0.awaits.len() as u32);
        self.0.awaits.push(Await {
            task,
            parent,
            former_parents: Vec::new(),
            awaited: Arc::clone(awaited),
            place: Place::Inside(8),
            start: times.0,
            at_least: false,
            end: times.1,
            outcome: if times.1.is_some() {
                AwaitOutcome::Ready
            } else {
                AwaitOutcome::Open
            },
            waiting: 0,
            polled: 0,
            polls: 0,
        });
        self.0.units[task.0 as usize].awaits.push(index);
        index
    }

    /// Computes what follows from the polls, the slow way.
    pub(super) fn finish(mut self, losses: Vec<Loss>) -> Sample {
        let end = self.0.span.end;
        for instance in &mut self.0.awaits {
            let (from, to) = (instance.start, instance.end.unwrap_or(end));
            for poll in &self.0.units[instance.task.0 as usize].polls {
                let poll = &self.0.polls[poll.0 as usize];
                let begin = poll.begin.max(from);
                let until = poll.end.unwrap_or(end).min(to);
                if begin < until {
                    instance.polled += until - begin;
                    instance.polls += 1;
                }
            }
            instance.waiting = (to - from) - instance.polled;
        }
        Sample {
            header: header(),
            history: self.0,
            losses,
            requests: Vec::new(),
        }
    }
}

pub(super) fn by(unit: UnitIndex) -> Doer {
    Doer {
        unit,
        poll: None,
        within: None,
        origin: None,
    }
}

pub(super) fn awaited(
    future: &str,
    kind: NodeKind,
    by: Option<&str>,
    line: Option<u32>,
    waits_for: Option<&str>,
) -> Arc<Awaited> {
    Arc::new(Awaited {
        future: future.into(),
        kind,
        waits_for: waits_for.map(Into::into),
        by: by.map(Into::into),
        file: line.map(|_| "src/main.rs".into()),
        line,
    })
}

/// A service in small: a request with two concurrent branches, a task that it spawns and that wakes
/// it, a task that was there before and goes on, a loss, a gap, names that are out to do harm.
pub(super) fn service() -> Sample {
    use NodeKind::{AsyncFn, Future, Leaf};
    let mut maker = Maker::new(1_000..200_000);
    let one = maker.thread(101, "tokio-rt-worker");
    let two = maker.thread(102, HOSTILE);
    let timer = maker.origin(Origin::Timer);
    let by_timer = Doer {
        origin: Some(timer),
        ..by(two)
    };

    let serve = awaited("app::serve", AsyncFn, None, None, None);
    let handle = awaited("app::handle", AsyncFn, Some("app::serve"), Some(10), None);
    let join = awaited(
        "join::Join<..>",
        Future,
        Some("app::handle"),
        Some(21),
        None,
    );
    let left = awaited("app::left", AsyncFn, Some("join::Join<..>"), Some(21), None);
    let right = awaited(HOSTILE, AsyncFn, Some("join::Join<..>"), Some(21), None);
    let sleep = awaited(
        "tokio::Sleep",
        Leaf,
        Some("app::left"),
        Some(33),
        Some("sleep"),
    );
    let receive = awaited(
        "tokio::Recv",
        Leaf,
        Some(HOSTILE),
        Some(44),
        Some("channel"),
    );
    let store = awaited("app::store", AsyncFn, None, None, None);
    let write = awaited(
        "tokio::Write",
        Leaf,
        Some("app::store"),
        Some(51),
        Some("io"),
    );
    let idle = awaited("app::idle", AsyncFn, None, None, None);
    let lock = awaited(
        "tokio::Lock",
        Leaf,
        Some("app::idle"),
        Some(60),
        Some("lock"),
    );

    // The request.
    let task = maker.task(
        "app::serve",
        2_000,
        Some((100_500, Outcome::Ready)),
        Some(by(one)),
    );
    let first = maker.poll(task, one, (3_000, Some(5_000)), Some(PollCause::Spawn), &[]);
    let root = maker.instance(task, None, &serve, (3_000, Some(100_500)));
    let handling = maker.instance(task, Some(root), &handle, (3_000, Some(100_500)));
    let both = maker.instance(task, Some(handling), &join, (3_000, Some(90_500)));
    let on_left = maker.instance(task, Some(both), &left, (3_000, Some(50_500)));
    let on_right = maker.instance(task, Some(both), &right, (3_000, Some(90_500)));
    let asleep = maker.instance(task, Some(on_left), &sleep, (5_000, Some(50_000)));
    let receiving = maker.instance(task, Some(on_right), &receive, (5_000, Some(90_000)));

    // What it spawns in its first poll.
    let spawner = Doer {
        poll: Some(first),
        within: Some(on_right),
        ..by(task)
    };
    let helper = maker.task(
        "app::store",
        4_000,
        Some((81_000, Outcome::Panicked)),
        Some(spawner),
    );
    maker.poll(
        helper,
        two,
        (6_000, Some(7_000)),
        Some(PollCause::Spawn),
        &[],
    );
    let storing = maker.instance(helper, None, &store, (6_000, Some(81_000)));
    let writing = maker.instance(helper, Some(storing), &write, (7_000, Some(80_000)));

    let wake = maker.wake(task, 49_000, by_timer);
    let waited = [asleep, receiving];
    maker.poll(
        task,
        two,
        (50_000, Some(50_500)),
        Some(PollCause::Wake(wake)),
        &waited,
    );
    let wake = maker.wake(helper, 79_000, by(two));
    let polled = maker.poll(
        helper,
        one,
        (80_000, Some(81_000)),
        Some(PollCause::Wake(wake)),
        &[writing],
    );
    let sender = Doer {
        poll: Some(polled),
        within: Some(storing),
        ..by(helper)
    };
    let wake = maker.wake(task, 80_500, sender);
    // It wakes again what is scheduled already.
    let again = maker.wake(task, 80_600, sender);
    maker.0.wakes[again.0 as usize].effect = WakeEffect::Redundant;
    maker.poll(
        task,
        two,
        (90_000, Some(90_500)),
        Some(PollCause::Wake(wake)),
        &[receiving],
    );
    let asleep = maker.instance(task, Some(handling), &sleep, (90_500, Some(100_000)));
    let wake = maker.wake(task, 99_000, by_timer);
    maker.poll(
        task,
        one,
        (100_000, Some(100_500)),
        Some(PollCause::Wake(wake)),
        &[asleep],
    );

    // Older than the trace, with a gap, and being polled when it ends.
    let old = maker.task("app::idle", 1_000, None, None);
    let idling = maker.instance(old, None, &idle, (1_000, None));
    let locking = maker.instance(old, Some(idling), &lock, (1_000, Some(190_000)));
    for found in [idling, locking] {
        maker.0.awaits[found.0 as usize].at_least = true;
    }
    maker.poll(old, two, (190_000, None), None, &[locking]);
    maker.0.units[old.0 as usize].gaps.push(120_000);
    // A loop that keeps one future over two selects, which is detached in between.
    let detached = maker.instance(old, None, &sleep, (20_000, Some(150_000)));
    maker.0.awaits[detached.0 as usize]
        .former_parents
        .push(idling);

    maker.0.missing = Missing {
        records_lost: 12,
        gaps: 1,
        ..Missing::default()
    };
    let mut sample = maker.finish(vec![Loss {
        cpu: 1,
        count: 12,
        until: 120_000,
    }]);
    // Inside the first, across tasks, and so no root of its own in a trace: the second.
    sample.request(handling);
    sample.request(storing);
    sample.request(locking);
    sample
}

/// Many tasks, each with a request of four awaits and four polls, on four threads.
pub(super) fn many(tasks: u64) -> Sample {
    use NodeKind::{AsyncFn, Leaf};
    const STEP: u64 = 1_000;
    let mut maker = Maker::new(0..(tasks + 100) * STEP);
    let threads: Vec<UnitIndex> = (0..4).map(|n| maker.thread(100 + n, "worker")).collect();
    let serve = awaited("app::serve", AsyncFn, None, None, None);
    let handle = awaited("app::handle", AsyncFn, Some("app::serve"), Some(10), None);
    let read = awaited(
        "tokio::Read",
        Leaf,
        Some("app::handle"),
        Some(20),
        Some("io"),
    );
    let write = awaited(
        "tokio::Write",
        Leaf,
        Some("app::handle"),
        Some(30),
        Some("io"),
    );
    for number in 0..tasks {
        let thread = threads[(number % 4) as usize];
        let start = number * STEP;
        let end = start + 40 * STEP + 100;
        let task = maker.task(
            "app::serve",
            start,
            Some((end, Outcome::Ready)),
            Some(by(thread)),
        );
        let root = maker.instance(task, None, &serve, (start, Some(end)));
        let body = maker.instance(task, Some(root), &handle, (start, Some(end)));
        maker.poll(
            task,
            thread,
            (start, Some(start + 100)),
            Some(PollCause::Spawn),
            &[],
        );
        let mut from = start + 100;
        for (at, leaf) in [&read, &write].into_iter().enumerate() {
            let until = start + (at as u64 + 1) * 20 * STEP;
            let waiting = maker.instance(task, Some(body), leaf, (from, Some(until)));
            let wake = maker.wake(task, until - 10, by(thread));
            let times = (until, Some(until + 100));
            maker.poll(task, thread, times, Some(PollCause::Wake(wake)), &[waiting]);
            from = until + 100;
        }
    }
    let mut sample = maker.finish(Vec::new());
    let own: Vec<AwaitIndex> = (0..sample.history.awaits.len() as u32)
        .map(AwaitIndex)
        .filter(|index| sample.history.awaits[index.0 as usize].parent.is_none())
        .collect();
    for root in own {
        sample.request(root);
    }
    sample
}
