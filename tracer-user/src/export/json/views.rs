//! What each thing looks like.

use serde::Serialize;

use crate::analyse::history::{
    Await, AwaitOutcome, Awaited, Doer, OffCpu, Panic, Poll, PollCause, UnitHistory, UnitKind, Wake,
};
use crate::analyse::requests::Request;
use crate::export::source::outcome_word;
use crate::locate::syscall_name;
use crate::rebuild::event::{EndSeen, EventId, Origin, PanicLocation, WakeEffect};
use crate::rebuild::suspension::Place;
use crate::rebuild::tree::{NodeKind, NodeState};

#[derive(Serialize)]
pub(super) struct AwaitedView<'a> {
    future: &'a str,
    kind: NodeKind,
    waits_for: Option<&'a str>,
    by: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
}

pub(super) fn awaited(awaited: &Awaited) -> AwaitedView<'_> {
    AwaitedView {
        future: &awaited.future,
        kind: awaited.kind,
        waits_for: awaited.waits_for.as_deref(),
        by: awaited.by.as_deref(),
        file: awaited.file.as_deref(),
        line: awaited.line,
    }
}

/// An event as the recording numbers it.
#[derive(Serialize)]
struct EventView {
    unit: u64,
    sequence: u64,
}

fn event(id: EventId) -> EventView {
    EventView {
        unit: id.unit.0,
        sequence: id.sequence,
    }
}

#[derive(Serialize)]
struct DoerView {
    unit: u32,
    poll: Option<u32>,
    within: Option<u32>,
    origin: Option<u32>,
}

fn doer(by: &Doer) -> DoerView {
    DoerView {
        unit: by.unit.0,
        poll: by.poll.map(|poll| poll.0),
        within: by.within.map(|within| within.0),
        origin: by.origin.map(|origin| origin.0),
    }
}

#[derive(Serialize)]
pub(super) struct UnitView<'a> {
    id: u64,
    #[serde(flatten)]
    kind: KindView<'a>,
    first_ns: u64,
    last_ns: u64,
    gaps_ns: &'a [u64],
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KindView<'a> {
    Task {
        name: &'a str,
        address: String,
        future: Option<&'a str>,
        blocking: bool,
        existing: bool,
        spawned: Option<SpawnView>,
        end: Option<EndView>,
    },
    Thread {
        tid: u32,
        name: Option<&'a str>,
        polls_tasks: bool,
    },
    Io {
        fd: Option<i32>,
        resource: Option<String>,
    },
    Timer,
    Signal,
    Unknown,
}

#[derive(Serialize)]
struct SpawnView {
    time_ns: u64,
    event: EventView,
    by: DoerView,
}

#[derive(Serialize)]
struct EndView {
    time_ns: u64,
    outcome: &'static str,
    aborted_by: Option<DoerView>,
}

pub(super) fn unit(unit: &UnitHistory) -> UnitView<'_> {
    let kind = match &unit.kind {
        UnitKind::Task(task) => KindView::Task {
            name: &task.name,
            address: task.address.to_string(),
            future: task.future.as_deref(),
            blocking: task.blocking,
            existing: task.existing,
            spawned: task.spawned.map(|spawn| SpawnView {
                time_ns: spawn.time,
                event: event(spawn.event),
                by: doer(&spawn.by),
            }),
            end: task.end.map(|end| EndView {
                time_ns: end.time,
                outcome: outcome_word(end.outcome),
                aborted_by: end.aborted.as_ref().map(doer),
            }),
        },
        UnitKind::Thread {
            tid,
            name,
            polls_tasks,
        } => KindView::Thread {
            tid: *tid,
            name: name.as_deref(),
            polls_tasks: *polls_tasks,
        },
        UnitKind::Origin(Origin::Io { resource, fd }) => KindView::Io {
            fd: *fd,
            resource: resource.map(|resource| resource.to_string()),
        },
        UnitKind::Origin(Origin::Timer) => KindView::Timer,
        UnitKind::Origin(Origin::Signal) => KindView::Signal,
        UnitKind::Unknown => KindView::Unknown,
    };
    UnitView {
        id: unit.id.0,
        kind,
        first_ns: unit.first,
        last_ns: unit.last,
        gaps_ns: &unit.gaps,
    }
}

#[derive(Serialize)]
pub(super) struct PollView {
    task: u32,
    event: EventView,
    thread: Option<u32>,
    begin_ns: Option<u64>,
    end_ns: Option<u64>,
    end_seen: Option<&'static str>,
    outcome: &'static str,
    blocked_ns: u64,
    preempted_ns: u64,
    cause: Option<&'static str>,
    wake: Option<u32>,
    waited_in: Vec<u32>,
}

pub(super) fn poll(poll: &Poll) -> PollView {
    let (cause, wake) = match poll.cause {
        Some(PollCause::Wake(wake)) => (Some("wake"), Some(wake.0)),
        Some(PollCause::Spawn) => (Some("spawn"), None),
        None => (None, None),
    };
    PollView {
        task: poll.task.0,
        event: event(poll.event),
        thread: poll.thread.map(|thread| thread.0),
        begin_ns: poll.begin_known.then_some(poll.begin),
        end_ns: poll.end,
        end_seen: poll.end.map(|_| seen(poll.seen)),
        outcome: outcome_word(poll.outcome),
        blocked_ns: poll.blocked,
        preempted_ns: poll.preempted,
        cause,
        wake,
        waited_in: poll.waited_in.iter().map(|index| index.0).collect(),
    }
}

#[derive(Serialize)]
pub(super) struct OffCpuView {
    poll: u32,
    from_ns: u64,
    to_ns: u64,
    preempted: bool,
    syscall: Option<u32>,
    syscall_name: Option<&'static str>,
}

pub(super) fn off_cpu(off: &OffCpu) -> OffCpuView {
    OffCpuView {
        poll: off.poll.0,
        from_ns: off.from,
        to_ns: off.to,
        preempted: off.preempted,
        syscall: off.syscall,
        syscall_name: off.syscall.and_then(syscall_name),
    }
}

#[derive(Serialize)]
pub(super) struct PanicView<'a> {
    unit: u32,
    poll: Option<u32>,
    event: EventView,
    time_ns: u64,
    location: Option<&'a PanicLocation>,
    message: Option<&'a str>,
    raised: bool,
    stood: Option<Vec<StoodView<'a>>>,
    stood_missing: Option<&'a str>,
}

/// A future of a task that panicked.
#[derive(Serialize)]
struct StoodView<'a> {
    depth: u16,
    future: &'a str,
    kind: NodeKind,
    state: NodeState,
    file: Option<&'a str>,
    line: Option<u32>,
}

pub(super) fn panic(panic: &Panic) -> PanicView<'_> {
    let stood = panic.stood.as_deref();
    PanicView {
        unit: panic.unit.0,
        poll: panic.poll.map(|poll| poll.0),
        event: event(panic.event),
        time_ns: panic.time,
        location: panic.location.as_deref(),
        message: panic.message.as_deref(),
        raised: panic.raised,
        stood: stood.map(|stood| {
            let futures = stood.futures.iter();
            let views = futures.map(|future| StoodView {
                depth: future.depth,
                future: &future.state.future,
                kind: future.state.kind,
                state: future.state.state,
                file: future.state.file.as_deref(),
                line: future.state.line,
            });
            views.collect()
        }),
        stood_missing: stood.and_then(|stood| stood.missing.as_deref()),
    }
}

fn seen(seen: EndSeen) -> &'static str {
    match seen {
        EndSeen::NextEvent => "next_event",
        EndSeen::LeftCpu => "left_cpu",
        EndSeen::ExitProbe => "exit_probe",
        EndSeen::ThreadExit => "thread_exit",
        EndSeen::Inferred => "inferred",
        EndSeen::NotWatched => "not_watched",
    }
}

#[derive(Serialize)]
pub(super) struct AwaitView {
    task: u32,
    parent: Option<u32>,
    former_parents: Vec<u32>,
    awaited: Option<u32>,
    #[serde(flatten)]
    place: PlaceView,
    start_ns: u64,
    at_least: bool,
    end_ns: Option<u64>,
    outcome: AwaitOutcome,
    waiting_ns: u64,
    polled_ns: u64,
    polls: u32,
}

/// Where a future lies: in its task's, or elsewhere.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum PlaceView {
    Offset(u64),
    Address(String),
}

pub(super) fn instance(instance: &Await, awaited: Option<u32>) -> AwaitView {
    AwaitView {
        task: instance.task.0,
        parent: instance.parent.map(|parent| parent.0),
        former_parents: instance
            .former_parents
            .iter()
            .map(|index| index.0)
            .collect(),
        awaited,
        place: match instance.place {
            Place::Inside(offset) => PlaceView::Offset(offset),
            Place::Outside(address) => PlaceView::Address(address.to_string()),
        },
        start_ns: instance.start,
        at_least: instance.at_least,
        end_ns: instance.end,
        outcome: instance.outcome,
        waiting_ns: instance.waiting,
        polled_ns: instance.polled,
        polls: instance.polls,
    }
}

#[derive(Serialize)]
pub(super) struct WakeView {
    time_ns: u64,
    event: EventView,
    task: u32,
    by: DoerView,
    effect: &'static str,
    poll: Option<u32>,
}

pub(super) fn wake(wake: &Wake) -> WakeView {
    WakeView {
        time_ns: wake.time,
        event: event(wake.event),
        task: wake.task.0,
        by: doer(&wake.by),
        effect: match wake.effect {
            WakeEffect::Scheduled => "scheduled",
            WakeEffect::PollAgain => "poll_again",
            WakeEffect::Redundant => "redundant",
            WakeEffect::AlreadyOver => "already_over",
            WakeEffect::Unknown => "unknown",
        },
        poll: wake.poll.map(|poll| poll.0),
    }
}

#[derive(Serialize)]
pub(super) struct RequestView<'a> {
    id: u32,
    what: &'a str,
    root: u32,
    task: u32,
    start_ns: u64,
    at_least: bool,
    end_ns: Option<u64>,
    outcome: AwaitOutcome,
}

pub(super) fn request(request: &Request) -> RequestView<'_> {
    RequestView {
        id: request.id,
        what: &request.what,
        root: request.root.0,
        task: request.task.0,
        start_ns: request.start,
        at_least: request.at_least,
        end_ns: request.end,
        outcome: request.outcome,
    }
}
