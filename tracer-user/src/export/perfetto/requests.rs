//! Requests: one beside the other, on as many tracks as there are at a time.

use std::io;

use super::packets::{Note, Packets};
use super::tracks::Tracks;
use crate::analyse::requests::Request;
use crate::export::lanes::{Inside, Lanes, Step};
use crate::export::source::{Source, await_outcome_word, place};

/// Draws all requests.
pub(super) fn write(
    source: &Source<'_>,
    tracks: &mut Tracks,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    if source.requests.is_empty() {
        return Ok(());
    }
    let group = tracks.beside(tracks.process(), "requests", packets)?;
    let mut lanes = Lanes::default();
    let mut steps = Vec::new();
    let mut order: Vec<(u64, u32)> = source.requests.iter().map(|r| r.start).zip(0..).collect();
    order.sort_unstable();
    for (start, number) in order {
        if let Some(request) = source.requests.get(number as usize) {
            let end = start.saturating_add(request.duration(source.end()));
            lanes.place(number, (start, end), Inside::Nothing, &mut |step| {
                steps.push(step);
            });
        }
    }
    lanes.finish(&mut |step| steps.push(step));
    let mut lane_tracks = vec![group];
    for step in steps {
        match step {
            Step::Lane { lane, .. } => {
                let name = format!("requests, {}", lane.0);
                lane_tracks.push(tracks.beside(group, &name, packets)?);
            }
            Step::Begin(lane, number) => {
                let on = lane_tracks.get(lane.0 as usize).copied().unwrap_or(group);
                if let Some(request) = source.requests.get(number as usize) {
                    begin(source, on, request, packets)?;
                }
            }
            Step::End { lane, time } => {
                let on = lane_tracks.get(lane.0 as usize).copied().unwrap_or(group);
                packets.end(on, time)?;
            }
        }
    }
    Ok(())
}

fn begin(
    source: &Source<'_>,
    track: u64,
    request: &Request,
    packets: &mut Packets<'_>,
) -> io::Result<()> {
    let task = source.unit_name(request.task);
    let at = source.instance(request.root).and_then(place);
    let mut notes = vec![
        Note::Number("request", request.id.into()),
        Note::Text("task", &task),
        Note::Text("outcome", await_outcome_word(request.outcome)),
    ];
    if let Some(at) = &at {
        notes.push(Note::Text("at", at));
    }
    if request.end.is_none() {
        notes.push(Note::Flag("open"));
    }
    if request.at_least {
        notes.push(Note::Flag("older than shown"));
    }
    packets.begin(track, request.start, &request.what, "request", &notes, None)
}
