//! Tasks: the life of each, its await instances inside each other, its concurrent branches beside
//! each other.

use std::io;

use super::packets::{Note, Packets};
use super::tracks::Tracks;
use crate::analyse::history::{Await, AwaitIndex, TaskHistory, UnitHistory, UnitIndex};
use crate::export::Level;
use crate::export::lanes::{Inside, Lanes, Step};
use crate::export::source::{Interval, Source, await_outcome_word, outcome_word, place, type_name};

/// Key of a task's life where its own future is not known.
const LIFE: u32 = u32::MAX;

/// Draws all tasks.
pub(super) fn write(
    source: &Source<'_>,
    level: Level,
    tracks: &mut Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    for (index, unit, task) in source.tasks() {
        draw(source, level, (index, unit, task), tracks, packets)?;
    }
    Ok(())
}

fn draw(
    source: &Source<'_>,
    level: Level,
    (index, unit, task): (UnitIndex, &UnitHistory, &TaskHistory),
    tracks: &mut Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let track = tracks.task(index, task, packets)?;
    let life = source.life(unit, task);
    let own = source.own_future(unit);
    let mut lanes = Lanes::default();
    let mut lane_tracks = vec![track];
    let mut steps = Vec::new();
    let root = own.map_or(LIFE, |own| own.0);
    lanes.place(
        root,
        (life.start, life.end),
        Inside::Anything,
        &mut |step| {
            steps.push(step);
        },
    );
    if level >= Level::Awaits {
        // By start; a parent has a smaller number than what it awaited from the beginning.
        let mut awaits: Vec<(u64, AwaitIndex)> = unit
            .awaits
            .iter()
            .filter(|index| Some(**index) != own)
            .filter_map(|index| Some((source.instance(*index)?.start, *index)))
            .collect();
        awaits.sort_unstable();
        for (_, index) in awaits {
            let Some(instance) = source.instance(index) else {
                continue;
            };
            let interval = source.await_interval(instance);
            let start = interval.start.max(life.start);
            let inside = match instance.parent {
                Some(parent) => Inside::Of(parent.0),
                None => Inside::Nothing,
            };
            lanes.place(
                index.0,
                (start, interval.end.max(start)),
                inside,
                &mut |step| {
                    steps.push(step);
                },
            );
        }
    }
    lanes.finish(&mut |step| steps.push(step));

    for step in steps {
        match step {
            Step::Lane { lane, above } => {
                let above = lane_tracks.get(above.0 as usize).copied().unwrap_or(track);
                let name = format!("{} beside, {}", task.name, lane.0);
                lane_tracks.push(tracks.beside(above, &name, packets)?);
            }
            Step::Begin(_, key) if key == root => {
                let own = own.and_then(|own| source.instance(own));
                begin_life(source, track, life, task, own, packets)?;
            }
            Step::Begin(lane, key) => {
                let on = lane_tracks.get(lane.0 as usize).copied().unwrap_or(track);
                if let Some(instance) = source.instance(AwaitIndex(key)) {
                    begin_await(on, instance, instance.start.max(life.start), packets)?;
                }
            }
            Step::End { lane, time } => {
                let on = lane_tracks.get(lane.0 as usize).copied().unwrap_or(track);
                packets.end(on, time)?;
            }
        }
    }
    for gap in &unit.gaps {
        packets.instant(track, *gap, "events are missing", "loss", &[], None)?;
    }
    Ok(())
}

fn begin_life(
    source: &Source<'_>,
    track: u64,
    life: Interval,
    task: &TaskHistory,
    own: Option<&Await>,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let spawned = task.spawned.map(|spawn| source.doer_name(&spawn.by));
    let aborted = task
        .end
        .and_then(|end| end.aborted)
        .map(|by| source.doer_name(&by));
    let mut notes = vec![Note::Text("task", &task.name)];
    match task.end {
        Some(end) => notes.push(Note::Text("outcome", outcome_word(end.outcome))),
        None => notes.push(Note::Flag("open")),
    }
    if let Some(by) = &spawned {
        notes.push(Note::Text("spawned by", by));
    }
    if let Some(by) = &aborted {
        notes.push(Note::Text("aborted by", by));
    }
    if task.existing {
        notes.push(Note::Flag("older than the trace"));
    }
    if let Some(own) = own {
        numbers(own, &mut notes);
    }
    packets.begin(track, life.start, &type_name(task), "task", &notes, None)
}

fn begin_await(
    track: u64,
    instance: &Await,
    start: u64,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let awaited = &instance.awaited;
    let at = place(instance);
    let mut notes = Vec::with_capacity(10);
    if let Some(at) = &at {
        notes.push(Note::Text("at", at));
    }
    if let Some(by) = &awaited.by {
        notes.push(Note::Text("awaited by", by));
    }
    if let Some(waits_for) = &awaited.waits_for {
        notes.push(Note::Text("waits for", waits_for));
    }
    notes.push(Note::Text("outcome", await_outcome_word(instance.outcome)));
    if instance.end.is_none() {
        notes.push(Note::Flag("open"));
    }
    if instance.at_least {
        notes.push(Note::Flag("older than shown"));
    }
    if !instance.former_parents.is_empty() {
        notes.push(Note::Flag("moved here from another await"));
    }
    numbers(instance, &mut notes);
    packets.begin(track, start, &awaited.future, "await", &notes, None)
}

fn numbers(instance: &Await, notes: &mut Vec<Note<'_>>) {
    notes.push(Note::Number("waiting ns", instance.waiting));
    notes.push(Note::Number("polled ns", instance.polled));
    notes.push(Note::Number("polls", instance.polls.into()));
}
