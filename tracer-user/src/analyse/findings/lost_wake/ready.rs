//! What the task waits for is there, and no wake-up came.

use super::super::alive::{Runtime, runtime};
use super::super::model::{Certainty, Sighting};
use super::super::past::duration;
use super::super::preorder::Placed;
use super::Suspect;
use super::blame::{blame, is_handmade, looks, sighting};
use crate::rebuild::tree::WaitsFor;

/// A socket that a hand-written future seems to wait for is read by others in between, perhaps: it
/// has to be unread for this long to say anything.
const UNREAD: u64 = 1_000_000_000;

pub(super) fn judge(suspect: &Suspect<'_, '_>) -> Option<Sighting> {
    if suspect.task.moved() {
        return None;
    }
    let found = suspect.tree.leaves().find_map(|index| {
        let now = suspect.tree.futures.get(index)?;
        let before = suspect.before.futures.get(index)?;
        Some((index, now, is_ready(now)? && is_ready(before)?)).filter(|(.., ready)| *ready)
    });
    let (index, now, _) = found?;
    let waits = now.node.waits_for.as_ref()?;
    let before = suspect.before.futures.get(index)?.node.waits_for.as_ref()?;
    let mut evidence = vec![what_is_there(waits), looks(suspect)];
    let certainty = certainty(suspect, now, before, &mut evidence)?;
    let blame = blame(suspect, index);
    let summary = format!(
        "a task that waits at {} is not woken although what it waits for ({}) is there",
        blame.awaited_at, waits.kind
    );
    let advice = if blame.culprit == *now.node.future && !is_handmade(now) {
        format!(
            "find what keeps the wake-up of {} from the task: a waker of an earlier poll, or a \
             future that passes on another waker",
            blame.culprit
        )
    } else {
        format!(
            "let {} keep the waker of its last poll, and wake it whenever what it waits for is there",
            blame.culprit
        )
    };
    Some(sighting(
        suspect, blame, certainty, summary, evidence, advice,
    ))
}

fn is_ready(at: &Placed<'_>) -> Option<bool> {
    at.node.waits_for.as_ref()?.ready()
}

/// How much it tells that this is there and no wake-up came; `None` when it tells nothing.
fn certainty(
    suspect: &Suspect<'_, '_>,
    now: &Placed<'_>,
    before: &WaitsFor,
    evidence: &mut Vec<String>,
) -> Option<Certainty> {
    let waits = now.node.waits_for.as_ref()?;
    let by_driver = matches!(waits.kind, "io" | "sleep" | "timeout" | "signal");
    if by_driver {
        match runtime(suspect.case, suspect.task.from) {
            Runtime::Works => evidence.push(
                "its runtime did its work meanwhile: a worker waited for work, or others were polled"
                    .to_owned(),
            ),
            Runtime::Stuck => return None,
            Runtime::Unknown => return Some(Certainty::Possible),
        }
    }
    if waits.kind == "io" && !stood(suspect, before, waits) {
        evidence.push(
            "memory does not tell whether it was polled between the looks: a connection under load \
             looks the same whenever it is looked at"
                .to_owned(),
        );
        return Some(Certainty::Possible);
    }
    if is_handmade(now) {
        // Which of its descriptors a hand-written future waits for, and for what, is a guess.
        let unread = match (
            before.number("receive_queue"),
            waits.number("receive_queue"),
        ) {
            (Some(before), Some(now)) => before > 0 && now >= before,
            _ => false,
        };
        let quiet = if same_bytes(suspect, before, waits) {
            last_received(waits).unwrap_or(0)
        } else {
            0
        };
        if !unread || suspect.task.duration().max(quiet) < UNREAD {
            return Some(Certainty::Possible);
        }
        if quiet > 0 {
            evidence.push(format!(
                "nothing came on that socket for {}, so that the same bytes wait since then",
                duration(quiet)
            ));
        }
    }
    Some(Certainty::Likely)
}

/// Whether a task that waits for a descriptor stood between two looks that show it at one place. A
/// loop that reads requests comes back to it thousands of times a second, and the next request is
/// in the kernel's queue before the task is woken.
fn stood(suspect: &Suspect<'_, '_>, before: &WaitsFor, now: &WaitsFor) -> bool {
    // Events would have told of a poll.
    let watched = suspect.task.past.unit.is_some() && !suspect.case.events_are_missing();
    // A descriptor that a hand-written future holds without tokio's driver has no tick.
    let (tick, same) = (now.number("driver_tick"), before.number("driver_tick"));
    let by_hand = now.text("by") == Some("hand_written");
    watched || (tick == same && (tick.is_some() || by_hand)) || same_bytes(suspect, before, now)
}

/// Whether a socket has the same bytes to be read in both looks: as many, and none came since before
/// the first one. Whoever was polled in between has not read them.
fn same_bytes(suspect: &Suspect<'_, '_>, before: &WaitsFor, now: &WaitsFor) -> bool {
    let queued = now.number("receive_queue");
    let apart = suspect.task.to.saturating_sub(suspect.task.from);
    queued > Some(0)
        && queued == before.number("receive_queue")
        && last_received(now).is_some_and(|quiet| quiet >= apart)
}

/// How long ago the last data came on a socket, as the kernel tells: nanoseconds.
fn last_received(waits: &WaitsFor) -> Option<u64> {
    waits
        .number("last_received_ms")
        .map(|quiet| quiet.saturating_mul(1_000_000))
}

/// What is there, or is waited for, in words.
pub(super) fn what_is_there(waits: &WaitsFor) -> String {
    let because = waits.text("ready_because").map_or_else(
        || match waits.ready() {
            Some(true) => format!("what it waits for ({}) is there", waits.kind),
            _ => format!("it keeps what can be waited for ({})", waits.kind),
        },
        str::to_owned,
    );
    match socket(waits) {
        Some(socket) => format!("{because}; {socket}"),
        None => because,
    }
}

/// A socket, in words: `descriptor 12, tcp 10.0.0.1:80 from 10.0.0.2:4711, 128 bytes to be read`.
fn socket(waits: &WaitsFor) -> Option<String> {
    let fd = waits.number("fd")?;
    let mut words = format!("descriptor {fd}");
    if let Some(protocol) = waits.text("protocol") {
        words.push_str(", ");
        words.push_str(protocol);
    }
    if let Some(local) = waits.text("local") {
        words.push_str(&format!(" {local}"));
    }
    if let Some(peer) = waits.text("peer") {
        words.push_str(&format!(" to {peer}"));
    }
    if let Some(state) = waits.text("socket_state") {
        words.push_str(&format!(" ({state})"));
    }
    if let Some(bytes) = waits.number("receive_queue") {
        words.push_str(&format!(", {bytes} bytes to be read"));
    }
    if let Some(bytes) = waits.number("send_queue") {
        words.push_str(&format!(", {bytes} bytes to be sent"));
    }
    Some(words)
}
