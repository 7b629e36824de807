//! A history of a service that was never run: connections that serve requests, each with a lock, a
//! query, and an audit task that is spawned and joined; one in twenty sleeps 30 ms.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tracer_user::address::Address;
use tracer_user::analyse::critical_path::{Piece, PieceKind};
use tracer_user::analyse::history::{
    Await, AwaitIndex, AwaitOutcome, Awaited, Doer, History, Poll, PollCause, PollIndex, Spawn,
    TaskEnd, TaskHistory, UnitHistory, UnitIndex, UnitKind, Wake, WakeIndex,
};
use tracer_user::analyse::requests::Request;
use tracer_user::rebuild::event::{EndSeen, EventId, Origin, Outcome, UnitId, WakeEffect};
use tracer_user::rebuild::suspension::Place;
use tracer_user::rebuild::tree::NodeKind;

pub(crate) const MS: u64 = 1_000_000;
const US: u64 = 1_000;
/// Begin of the trace.
pub(crate) const START: u64 = 5_000 * MS;

/// A history with its requests and their critical paths.
pub(crate) struct Sample {
    pub(crate) history: History,
    pub(crate) requests: Vec<Request>,
    pub(crate) paths: Vec<Vec<Piece>>,
    names: Names,
    places: HashMap<Awaited, Arc<Awaited>>,
}

/// What the service calls its functions; tests put other things here.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) handle: &'static str,
    pub(crate) query: &'static str,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            handle: "shop::server::handle",
            query: "shop::store::Store<shop::store::Row, std::collections::HashMap<u64, String>>::query",
        }
    }
}

const WORKER: UnitIndex = UnitIndex(0);
const TIMER: UnitIndex = UnitIndex(1);
const SOCKET: UnitIndex = UnitIndex(2);

/// Requests of a connection before it is closed.
const PER_CONNECTION: usize = 25;

impl Sample {
    /// With so many requests; each has eight awaits.
    pub(crate) fn new(requests: usize, names: Names) -> Self {
        let mut sample = Self {
            history: History {
                span: START..START,
                ..History::default()
            },
            requests: Vec::new(),
            paths: Vec::new(),
            names,
            places: HashMap::new(),
        };
        sample.unit(UnitKind::Thread {
            tid: 71,
            name: Some("tokio-rt-worker".into()),
            polls_tasks: true,
        });
        sample.unit(UnitKind::Origin(Origin::Timer));
        sample.unit(UnitKind::Origin(Origin::Io {
            resource: None,
            fd: Some(9),
        }));
        let mut now = START + MS;
        let mut connection = None;
        for number in 0..requests {
            if number % PER_CONNECTION == 0 {
                connection = Some(sample.connection(now));
            }
            if let Some((task, root)) = connection {
                now = sample.request(number, task, root, now, requests);
            }
            now += (number as u64 * 7_919) % MS;
        }
        sample.history.span.end = now + 60 * MS;
        sample
    }

    /// One request only, which awaits all the others.
    pub(crate) fn all_in_one(&mut self) {
        let all = AwaitIndex(0);
        for index in 1..self.history.awaits.len() {
            let instance = &mut self.history.awaits[index];
            if instance.parent.is_none() {
                instance.parent = Some(all);
            }
        }
        self.requests.truncate(1);
        let pieces = self.paths.drain(..).flatten().collect();
        self.paths.push(pieces);
        self.requests[0].root = all;
        self.requests[0].task = self.history.awaits[0].task;
        self.requests[0].end = None;
    }

    fn unit(&mut self, kind: UnitKind) -> UnitIndex {
        let index = self.history.units.len() as u32;
        self.history.units.push(UnitHistory {
            id: UnitId(u64::from(index)),
            kind,
            first: START,
            last: START,
            polls: Vec::new(),
            awaits: Vec::new(),
            woken: Vec::new(),
            gaps: Vec::new(),
        });
        UnitIndex(index)
    }

    fn task(&mut self, future: &str, first: u64, spawned: Option<Spawn>) -> UnitIndex {
        let number = self.history.units.len();
        let unit = self.unit(UnitKind::Task(TaskHistory {
            name: format!("tokio/{number}").into(),
            address: Address(0x7000_0000 + number as u64 * 0x100),
            future: Some(future.into()),
            blocking: false,
            existing: spawned.is_none(),
            spawned,
            end: None,
        }));
        self.history.units[unit.0 as usize].first = first;
        unit
    }

    /// A connection's task and its own future.
    fn connection(&mut self, now: u64) -> (UnitIndex, AwaitIndex) {
        let task = self.task("shop::server::connection::{async_block#0}", now, None);
        let root = self.wait(
            task,
            None,
            (
                "shop::server::connection::{async_block#0}",
                NodeKind::AsyncBlock,
                None,
                0,
            ),
            now,
            None,
        );
        (task, root)
    }

    fn wait(
        &mut self,
        task: UnitIndex,
        parent: Option<AwaitIndex>,
        (future, kind, waits_for, line): (&str, NodeKind, Option<&str>, u32),
        start: u64,
        end: Option<u64>,
    ) -> AwaitIndex {
        let index = AwaitIndex(self.history.awaits.len() as u32);
        let by = parent.map(|parent| {
            self.history.awaits[parent.0 as usize]
                .awaited
                .future
                .clone()
        });
        let length = end.unwrap_or(start).saturating_sub(start);
        let awaited = Awaited {
            future: future.into(),
            kind,
            waits_for: waits_for.map(Into::into),
            file: by.as_ref().map(|_| "/home/dev/shop/src/server.rs".into()),
            by,
            line: (line > 0).then_some(line),
        };
        // As in a real history, equal ones are one object.
        let awaited = Arc::clone(
            self.places
                .entry(awaited.clone())
                .or_insert_with(|| Arc::new(awaited)),
        );
        self.history.awaits.push(Await {
            task,
            parent,
            former_parents: Vec::new(),
            awaited,
            place: Place::Inside(u64::from(index.0)),
            start,
            at_least: parent.is_none(),
            end,
            outcome: if end.is_some() {
                AwaitOutcome::Ready
            } else {
                AwaitOutcome::Open
            },
            waiting: length.saturating_sub(40 * US),
            polled: length.min(40 * US),
            polls: 2,
        });
        self.history.units[task.0 as usize].awaits.push(index);
        index
    }

    fn poll(
        &mut self,
        task: UnitIndex,
        time: Range<u64>,
        cause: Option<PollCause>,
        waited_in: Option<AwaitIndex>,
    ) -> PollIndex {
        let index = PollIndex(self.history.polls.len() as u32);
        let unit = &mut self.history.units[task.0 as usize];
        unit.polls.push(index);
        unit.last = time.end;
        self.history.polls.push(Poll {
            task,
            event: EventId {
                unit: unit.id,
                sequence: 0,
            },
            thread: Some(WORKER),
            begin: time.start,
            begin_known: true,
            end: Some(time.end),
            seen: EndSeen::NextEvent,
            outcome: Outcome::Pending,
            blocked: 0,
            preempted: 0,
            cause,
            waited_in: waited_in.into_iter().collect(),
        });
        if let Some(PollCause::Wake(wake)) = cause {
            self.history.wakes[wake.0 as usize].poll = Some(index);
        }
        index
    }

    fn wake(
        &mut self,
        task: UnitIndex,
        time: u64,
        unit: UnitIndex,
        within: Option<AwaitIndex>,
        origin: Option<UnitIndex>,
    ) -> WakeIndex {
        let index = WakeIndex(self.history.wakes.len() as u32);
        self.history.wakes.push(Wake {
            time,
            event: EventId {
                unit: UnitId(u64::from(unit.0)),
                sequence: 0,
            },
            task,
            by: Doer {
                unit,
                poll: None,
                within,
                origin,
            },
            effect: WakeEffect::Scheduled,
            poll: None,
        });
        self.history.units[task.0 as usize].woken.push(index);
        index
    }

    /// One request: lock, query, audit task. Returns its end.
    fn request(
        &mut self,
        number: usize,
        task: UnitIndex,
        root: AwaitIndex,
        now: u64,
        all: usize,
    ) -> u64 {
        let slow = number % 20 == 13;
        let Names { handle, query } = self.names.clone();
        // Slow ones that cluster: a part of them all late.
        let sleep = if slow {
            30 * MS
        } else {
            200 * US + (number as u64 * 104_729) % (600 * US)
        };
        let open = number + 1 == all;
        let begin = now;
        let locked = begin + 150 * US;
        let asked = locked + 400 * US;
        let slept = asked + sleep;
        let joined = slept + 300 * US;
        let end = joined + 50 * US;
        let ended = |time: u64| (!open).then_some(time);
        let request = self.wait(
            task,
            Some(root),
            (handle, NodeKind::AsyncFn, None, 31),
            begin,
            ended(end),
        );
        let lock = self.wait(
            task,
            Some(request),
            (
                "tokio::sync::mutex::Mutex<T>::lock",
                NodeKind::Leaf,
                Some("lock"),
                40,
            ),
            begin + 20 * US,
            Some(locked),
        );
        let store = self.wait(
            task,
            Some(request),
            (query, NodeKind::AsyncFn, None, 44),
            locked,
            Some(slept),
        );
        let read = self.wait(
            task,
            Some(store),
            (
                "tokio::io::util::read_exact::ReadExact<A>",
                NodeKind::Leaf,
                Some("io"),
                61,
            ),
            locked + 20 * US,
            Some(asked),
        );
        let pause = self.wait(
            task,
            Some(store),
            (
                "tokio::time::sleep::Sleep",
                NodeKind::Leaf,
                Some("sleep"),
                66,
            ),
            asked + 20 * US,
            Some(slept),
        );
        let spawn = Spawn {
            time: slept + 10 * US,
            event: EventId {
                unit: UnitId(u64::from(task.0)),
                sequence: 0,
            },
            by: Doer {
                unit: task,
                poll: None,
                within: Some(request),
                origin: None,
            },
        };
        let audit = self.task("shop::audit::write", slept + 10 * US, Some(spawn));
        let body = self.wait(
            audit,
            None,
            ("shop::audit::write", NodeKind::AsyncFn, None, 0),
            slept + 40 * US,
            Some(joined - 30 * US),
        );
        self.wait(
            audit,
            Some(body),
            (
                "tokio::sync::mpsc::bounded::Sender<T>::send",
                NodeKind::Leaf,
                Some("channel"),
                12,
            ),
            slept + 60 * US,
            Some(joined - 60 * US),
        );
        let join = self.wait(
            task,
            Some(request),
            (
                "tokio::runtime::task::join::JoinHandle<T>",
                NodeKind::Leaf,
                Some("join"),
                52,
            ),
            slept + 20 * US,
            ended(joined),
        );
        if let UnitKind::Task(known) = &mut self.history.units[audit.0 as usize].kind {
            known.end = Some(TaskEnd {
                time: joined - 25 * US,
                outcome: Outcome::Ready,
                aborted: None,
            });
        }

        let first = self.poll(task, begin..begin + 20 * US, None, None);
        let unlocked = self.wake(task, locked - 10 * US, WORKER, None, None);
        let second = self.poll(
            task,
            locked..locked + 20 * US,
            Some(PollCause::Wake(unlocked)),
            Some(lock),
        );
        let readable = self.wake(task, asked - 15 * US, WORKER, None, Some(SOCKET));
        let third = self.poll(
            task,
            asked..asked + 20 * US,
            Some(PollCause::Wake(readable)),
            Some(read),
        );
        let rang = self.wake(task, slept - 20 * US, WORKER, None, Some(TIMER));
        let fourth = self.poll(
            task,
            slept..slept + 20 * US,
            Some(PollCause::Wake(rang)),
            Some(pause),
        );
        self.poll(
            audit,
            slept + 40 * US..slept + 60 * US,
            Some(PollCause::Spawn),
            None,
        );
        let sent = self.wake(audit, joined - 70 * US, WORKER, None, Some(SOCKET));
        let last = self.poll(
            audit,
            joined - 60 * US..joined - 30 * US,
            Some(PollCause::Wake(sent)),
            None,
        );
        let done = self.wake(task, joined - 30 * US, audit, Some(body), None);
        let fifth = self.poll(task, joined..end, Some(PollCause::Wake(done)), Some(join));

        let piece = |from, to, unit, within, kind| Piece {
            from,
            to,
            unit,
            within: Some(within),
            kind,
        };
        self.paths.push(vec![
            piece(
                begin,
                begin + 20 * US,
                task,
                request,
                PieceKind::Polled(first),
            ),
            piece(
                begin + 20 * US,
                locked - 10 * US,
                task,
                lock,
                PieceKind::Waiting(Some(unlocked)),
            ),
            piece(
                locked - 10 * US,
                locked,
                task,
                lock,
                PieceKind::Scheduled(Some(unlocked)),
            ),
            piece(
                locked,
                locked + 20 * US,
                task,
                store,
                PieceKind::Polled(second),
            ),
            piece(
                locked + 20 * US,
                asked - 15 * US,
                task,
                read,
                PieceKind::Waiting(Some(readable)),
            ),
            piece(
                asked - 15 * US,
                asked,
                task,
                read,
                PieceKind::Scheduled(Some(readable)),
            ),
            piece(
                asked,
                asked + 20 * US,
                task,
                store,
                PieceKind::Polled(third),
            ),
            piece(
                asked + 20 * US,
                slept - 20 * US,
                task,
                pause,
                PieceKind::Waiting(Some(rang)),
            ),
            piece(
                slept - 20 * US,
                slept,
                task,
                pause,
                PieceKind::Scheduled(Some(rang)),
            ),
            piece(
                slept,
                slept + 40 * US,
                task,
                request,
                PieceKind::Polled(fourth),
            ),
            piece(
                slept + 40 * US,
                joined - 70 * US,
                audit,
                body,
                PieceKind::Waiting(Some(sent)),
            ),
            piece(
                joined - 70 * US,
                joined - 60 * US,
                audit,
                body,
                PieceKind::Scheduled(Some(sent)),
            ),
            piece(
                joined - 60 * US,
                joined - 30 * US,
                audit,
                body,
                PieceKind::Polled(last),
            ),
            piece(
                joined - 30 * US,
                joined,
                task,
                join,
                PieceKind::Scheduled(Some(done)),
            ),
            piece(joined, end, task, request, PieceKind::Polled(fifth)),
        ]);
        self.requests.push(Request {
            id: number as u32 + 1,
            what: handle.into(),
            root: request,
            task,
            start: begin,
            at_least: false,
            end: ended(end),
            outcome: if open {
                AwaitOutcome::Open
            } else {
                AwaitOutcome::Ready
            },
        });
        end
    }
}
