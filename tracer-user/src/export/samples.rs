//! Histories for the tests of exports. Their numbers are consistent, as the builder's are: what is
//! waited and polled follows from the polls.

mod programs;

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

pub(super) use self::programs::{many, service};

use super::Source;
use super::recording::{Header, Host, Loss};
use crate::address::Address;
use crate::analyse::history::{
    Await, AwaitIndex, AwaitOutcome, Awaited, Doer, History, Poll, PollCause, PollIndex, Spawn,
    TaskEnd, TaskHistory, UnitHistory, UnitIndex, UnitKind, Wake, WakeIndex,
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
