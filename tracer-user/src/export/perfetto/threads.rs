//! Threads: their polls, and the wake-ups and spawns that were done on them.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::packets::{Flow, Note, Packets};
use super::tracks::Tracks;
use crate::analyse::history::{
    Doer, OffCpu, Poll, PollCause, PollIndex, UnitIndex, UnitKind, Wake, WakeIndex,
};
use crate::export::lanes::{Inside, Lane, Lanes, Step};
use crate::export::source::{LastPolls, PollTime, Source, outcome_word, type_name};
use crate::locate::syscall_text;
use crate::rebuild::event::{EndSeen, WakeEffect};

/// What is drawn on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Poll(u32),
    Wake(u32),
    Spawn(u32),
}

/// System calls that a poll is noted to have slept in.
const CALLS_NOTED: usize = 4;

/// Items of one track: with their time, and what of equal time comes first.
type Items = Vec<(u64, u8, Item)>;

/// Draws all threads, and whatever else did something without being a task.
pub(super) fn write(
    source: &Source<'_>,
    tracks: &mut Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let mut by_unit: HashMap<Option<UnitIndex>, Items> = HashMap::new();
    for (number, poll) in (0..).zip(&source.history.polls) {
        let item = (poll.begin, 1, Item::Poll(number));
        by_unit.entry(poll.thread).or_default().push(item);
    }
    let last_polls = source.last_polls();
    for (number, wake) in (0..).zip(&source.history.wakes) {
        let item = (
            wake.time,
            order(source, &wake.by, wake.time),
            Item::Wake(number),
        );
        by_unit
            .entry(drawn_on(source, &wake.by))
            .or_default()
            .push(item);
    }
    for (index, _, task) in source.tasks() {
        if let Some(spawn) = task.spawned {
            let item = (
                spawn.time,
                order(source, &spawn.by, spawn.time),
                Item::Spawn(index.0),
            );
            by_unit
                .entry(drawn_on(source, &spawn.by))
                .or_default()
                .push(item);
        }
    }
    let mut units: Vec<(Option<UnitIndex>, Items)> = by_unit.into_iter().collect();
    units.sort_unstable_by_key(|(unit, _)| *unit);
    for (unit, mut items) in units {
        items.sort_unstable();
        let track = match unit {
            Some(unit) => tracks.unit(unit, source, packets)?,
            None => tracks.beside(tracks.process(), "thread not known", packets)?,
        };
        thread(source, track, &items, &last_polls, tracks, packets)?;
    }
    Ok(())
}

/// The thread on which something was done, or the unit that did it when that was no task.
fn drawn_on(source: &Source<'_>, by: &Doer) -> Option<UnitIndex> {
    if let Some(poll) = by.poll.and_then(|index| source.poll(index)) {
        return poll.thread;
    }
    match source.unit(by.unit)?.kind {
        UnitKind::Task(_) => None,
        _ => Some(by.unit),
    }
}

/// A wake-up comes before the poll that began at the same time, unless it was done in it.
fn order(source: &Source<'_>, by: &Doer, time: u64) -> u8 {
    let within = by.poll.and_then(|index| source.poll(index));
    if within.is_some_and(|poll| poll.begin == time) {
        2
    } else {
        0
    }
}

fn thread(
    source: &Source<'_>,
    track: u64,
    items: &[(u64, u8, Item)],
    last_polls: &LastPolls,
    tracks: &mut Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let mut lanes = Lanes::default();
    let mut lane_tracks = vec![track];
    let mut steps = Vec::new();
    for &(time, _, item) in items {
        match item {
            Item::Poll(number) => {
                let index = PollIndex(number);
                let Some(poll) = source.poll(index) else {
                    continue;
                };
                match source.poll_time(index, poll, last_polls.is_last(index, poll)) {
                    PollTime::Known(interval) => {
                        let times = (interval.start, interval.end);
                        lanes.place(number, times, Inside::Anything, &mut |step| {
                            steps.push(step);
                        });
                    }
                    PollTime::BeginNotSeen(time) | PollTime::EndNotSeen(time) => {
                        let lane = lanes.at(time, None, &mut |step| steps.push(step));
                        drain(source, &mut steps, &mut lane_tracks, tracks, packets)?;
                        let track = of(&lane_tracks, lane);
                        let notes = poll_notes(source, index, poll);
                        let notes: Vec<Note<'_>> = notes.iter().map(OwnedNote::note).collect();
                        let flow = flow_to(tracks, source, index, poll);
                        packets.instant(
                            track,
                            time,
                            &poll_name(source, poll),
                            "poll",
                            &notes,
                            flow,
                        )?;
                        continue;
                    }
                }
                drain(source, &mut steps, &mut lane_tracks, tracks, packets)?;
            }
            Item::Wake(number) => {
                let Some(wake) = source.history.wakes.get(number as usize) else {
                    continue;
                };
                let inside = wake.by.poll.map(|poll| poll.0);
                let lane = lanes.at(time, inside, &mut |step| steps.push(step));
                drain(source, &mut steps, &mut lane_tracks, tracks, packets)?;
                draw_wake(
                    source,
                    of(&lane_tracks, lane),
                    WakeIndex(number),
                    wake,
                    tracks,
                    packets,
                )?;
            }
            Item::Spawn(number) => {
                let task = UnitIndex(number);
                let by = source.unit(task).and_then(|unit| match &unit.kind {
                    UnitKind::Task(task) => task.spawned,
                    _ => None,
                });
                let inside = by.and_then(|spawn| spawn.by.poll).map(|poll| poll.0);
                let lane = lanes.at(time, inside, &mut |step| steps.push(step));
                drain(source, &mut steps, &mut lane_tracks, tracks, packets)?;
                let name = source.unit_name(task);
                let by = by.map_or_else(String::new, |spawn| source.doer_name(&spawn.by));
                let notes = [Note::Text("task", &name), Note::Text("by", &by)];
                let flow = first_poll(source, task).map(|_| Flow::From(tracks.spawn_flow(task)));
                packets.instant(of(&lane_tracks, lane), time, "spawn", "spawn", &notes, flow)?;
            }
        }
    }
    lanes.finish(&mut |step| steps.push(step));
    drain(source, &mut steps, &mut lane_tracks, tracks, packets)
}

fn of(lane_tracks: &[u64], lane: Lane) -> u64 {
    lane_tracks
        .get(lane.0 as usize)
        .copied()
        .unwrap_or_default()
}

/// Writes what lanes said.
fn drain(
    source: &Source<'_>,
    steps: &mut Vec<Step>,
    lane_tracks: &mut Vec<u64>,
    tracks: &mut Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    for step in steps.drain(..) {
        match step {
            Step::Lane { above, .. } => {
                let above = of(lane_tracks, above);
                lane_tracks.push(tracks.beside(above, "polls that overlap", packets)?);
            }
            Step::Begin(lane, number) => {
                let index = PollIndex(number);
                if let Some(poll) = source.poll(index) {
                    let notes = poll_notes(source, index, poll);
                    let notes: Vec<Note<'_>> = notes.iter().map(OwnedNote::note).collect();
                    let flow = flow_to(tracks, source, index, poll);
                    let track = of(lane_tracks, lane);
                    let name = poll_name(source, poll);
                    packets.begin(track, poll.begin, &name, "poll", &notes, flow)?;
                }
            }
            Step::End { lane, time } => packets.end(of(lane_tracks, lane), time)?,
        }
    }
    Ok(())
}

fn draw_wake(
    source: &Source<'_>,
    track: u64,
    index: WakeIndex,
    wake: &Wake,
    tracks: &Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let task = source.unit_name(wake.task);
    let by = source.doer_name(&wake.by);
    let notes = [
        Note::Text("task", &task),
        Note::Text("by", &by),
        Note::Text("effect", effect_word(wake.effect)),
    ];
    let caused = wake.poll.and_then(|poll| source.poll(poll));
    let drawn = caused.is_some_and(|poll| poll.cause == Some(PollCause::Wake(index)));
    let flow = drawn.then(|| Flow::From(tracks.wake_flow(index)));
    packets.instant(track, wake.time, "wake", "wake", &notes, flow)
}

/// The arrow that ends at a poll: only when its other end is drawn, too.
fn flow_to(tracks: &Tracks, source: &Source<'_>, index: PollIndex, poll: &Poll) -> Option<Flow> {
    match poll.cause? {
        PollCause::Wake(wake) => {
            let from = source.history.wakes.get(wake.0 as usize)?;
            (from.poll == Some(index)).then(|| Flow::To(tracks.wake_flow(wake)))
        }
        PollCause::Spawn => (first_poll(source, poll.task) == Some(index))
            .then(|| Flow::To(tracks.spawn_flow(poll.task))),
    }
}

/// The poll that a task's spawn caused, when both were seen.
fn first_poll(source: &Source<'_>, task: UnitIndex) -> Option<PollIndex> {
    let unit = source.unit(task)?;
    let UnitKind::Task(task) = &unit.kind else {
        return None;
    };
    task.spawned?;
    let index = *unit.polls.first()?;
    (source.poll(index)?.cause == Some(PollCause::Spawn)).then_some(index)
}

fn poll_name(source: &Source<'_>, poll: &Poll) -> std::sync::Arc<str> {
    match source.unit(poll.task).map(|unit| &unit.kind) {
        Some(UnitKind::Task(task)) => type_name(task),
        _ => "(task not known)".into(),
    }
}

/// A note whose text was made for it.
enum OwnedNote {
    Text(&'static str, String),
    Word(&'static str, &'static str),
    Number(&'static str, u64),
    Flag(&'static str),
}

impl OwnedNote {
    fn note(&self) -> Note<'_> {
        match self {
            Self::Text(name, text) => Note::Text(name, text),
            Self::Word(name, text) => Note::Text(name, text),
            Self::Number(name, number) => Note::Number(name, *number),
            Self::Flag(name) => Note::Flag(name),
        }
    }
}

fn poll_notes(source: &Source<'_>, index: PollIndex, poll: &Poll) -> Vec<OwnedNote> {
    let task = match source.unit(poll.task).map(|unit| &unit.kind) {
        Some(UnitKind::Task(task)) => task.name.to_string(),
        _ => "not known".to_owned(),
    };
    let mut notes = vec![OwnedNote::Text("task", task)];
    match (poll.end, poll.begin_known) {
        (Some(_), true) => {
            notes.push(OwnedNote::Word("outcome", outcome_word(poll.outcome)));
            notes.push(OwnedNote::Word("end seen by", seen_word(poll.seen)));
        }
        (Some(_), false) => {
            notes.push(OwnedNote::Word("outcome", outcome_word(poll.outcome)));
            notes.push(OwnedNote::Flag("begin not seen"));
        }
        (None, _) => notes.push(OwnedNote::Flag("end not seen")),
    }
    if poll.blocked > 0 {
        notes.push(OwnedNote::Number("blocked ns", poll.blocked));
        if let Some(calls) = blocked_in(source.history.off_cpu_of(index)) {
            notes.push(OwnedNote::Text("blocked in", calls));
        }
    }
    if poll.preempted > 0 {
        notes.push(OwnedNote::Number("preempted ns", poll.preempted));
    }
    match poll.cause {
        Some(PollCause::Wake(wake)) => {
            if let Some(wake) = source.history.wakes.get(wake.0 as usize) {
                let late = poll.begin.saturating_sub(wake.time);
                notes.push(OwnedNote::Text("woken by", source.doer_name(&wake.by)));
                notes.push(OwnedNote::Number("wake to poll ns", late));
            }
        }
        Some(PollCause::Spawn) => notes.push(OwnedNote::Word("cause", "spawn")),
        None => notes.push(OwnedNote::Word("cause", "not known")),
    }
    notes
}

/// The system calls that a poll slept in, the longest first, with their nanoseconds.
fn blocked_in(whiles: &[OffCpu]) -> Option<String> {
    let mut calls: BTreeMap<u32, u64> = BTreeMap::new();
    for off in whiles.iter().filter(|off| !off.preempted) {
        if let Some(call) = off.syscall {
            let total = calls.entry(call).or_default();
            *total = total.saturating_add(off.to.saturating_sub(off.from));
        }
    }
    let mut calls: Vec<(u32, u64)> = calls.into_iter().collect();
    calls.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let calls = calls.iter().take(CALLS_NOTED);
    let texts: Vec<String> = calls
        .map(|(call, length)| format!("{} {length} ns", syscall_text(*call)))
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn seen_word(seen: EndSeen) -> &'static str {
    match seen {
        EndSeen::NextEvent => "the next event on its thread, at the latest",
        EndSeen::LeftCpu => "its thread leaving the CPU, at the latest",
        EndSeen::ExitProbe => "a probe at its exit",
        EndSeen::ThreadExit => "the end of its thread, at the latest",
        EndSeen::Inferred => "a later event of the task, at the latest",
        EndSeen::NotWatched => "nothing: the polls of others were not watched",
    }
}

fn effect_word(effect: WakeEffect) -> &'static str {
    match effect {
        WakeEffect::Scheduled => "scheduled",
        WakeEffect::PollAgain => "poll again",
        WakeEffect::Redundant => "none: scheduled already",
        WakeEffect::AlreadyOver => "none: over already",
        WakeEffect::Unknown => "not known",
    }
}
