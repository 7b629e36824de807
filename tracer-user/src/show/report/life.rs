//! The life of a task as text.

use std::io::{self, Write};

use super::times::place;
use super::{FAINT, STRONG, plural, span};
use crate::analyse::history::{AwaitOutcome, Awaited, WakerCounts};
use crate::analyse::life::{Life, What, Who, outcome_word};
use crate::rebuild::event::{Outcome, WakeEffect};
use crate::show::escape::escape;

/// Writes it for a person.
///
/// # Errors
/// What `out` returns.
pub fn write_life(life: &Life, out: &mut dyn Write) -> io::Result<()> {
    let future = life.future.as_deref().unwrap_or("(future not known)");
    writeln!(
        out,
        "{STRONG}{}{STRONG:#}  {}  {}{}",
        escape(&life.task),
        escape(future),
        polls(life),
        if life.existing {
            "; known from before"
        } else {
            ""
        }
    )?;
    if let Some(wakers) = wakers(life) {
        writeln!(out, "{wakers}")?;
    }
    for event in &life.events {
        writeln!(out, "{:>12}  {}", moment(event.at_ns), what(&event.what))?;
    }
    if life.left_out > 0 {
        writeln!(
            out,
            "{FAINT}and {} more (--from and --to show others){FAINT:#}",
            life.left_out
        )?;
    }
    if !life.open_awaits.is_empty() {
        writeln!(out, "{STRONG}at the end{STRONG:#}")?;
    }
    for node in &life.open_awaits {
        writeln!(
            out,
            "{:>12}  {:indent$}{}",
            elapsed(node.elapsed_ns, node.at_least),
            "",
            awaited(&node.awaited),
            indent = usize::from(node.depth).min(40) * 2
        )?;
    }
    if let Some(current) = &life.current {
        let within = current.within.as_ref().map_or_else(String::new, |within| {
            format!(", in {}", escape(&within.future))
        });
        writeln!(
            out,
            "{:>12}  being polled since then{within}",
            moment(current.since_ns)
        )?;
    }
    Ok(())
}

/// How often it was polled and for how long, where probes see that.
fn polls(life: &Life) -> String {
    match (life.polls, life.polled_ns) {
        (Some(polls), Some(polled)) => {
            format!("{}, {} in them", plural(polls as u64, "poll"), span(polled))
        }
        _ => "its polls are not seen: no probe stands where block_on polls".to_owned(),
    }
}

/// What became of its wakers; `None` when nothing was counted.
fn wakers(life: &Life) -> Option<String> {
    let wakers = &life.wakers;
    let total = &wakers.total;
    if *total == WakerCounts::default() {
        return None;
    }
    let cloned = match life.sees_clones {
        Some(false) => "clones are not seen in this program".to_owned(),
        _ if wakers.last_poll_seen => format!(
            "cloned {} ({} by itself in its last poll)",
            times(total.cloned),
            wakers.cloned_in_last_poll
        ),
        _ => format!("cloned {}", times(total.cloned)),
    };
    let mut text = format!(
        "its wakers: {cloned}, dropped {}, consumed by waking {}, used to wake by reference {}",
        times(total.dropped),
        times(total.consumed),
        times(total.woken_by_reference)
    );
    let woken = wakers.since_poll.consumed + wakers.since_poll.woken_by_reference;
    if wakers.last_poll_seen && woken == 0 {
        text += "; not woken since its last poll";
    }
    Some(text)
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn moment(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { '-' } else { '+' };
    let nanoseconds = nanoseconds.unsigned_abs();
    format!(
        "{sign}{}.{:06}s",
        nanoseconds / 1_000_000_000,
        nanoseconds % 1_000_000_000 / 1_000
    )
}

fn elapsed(nanoseconds: u64, at_least: bool) -> String {
    format!("{}{}", if at_least { ">=" } else { "" }, span(nanoseconds))
}

fn awaited(awaited: &Awaited) -> String {
    let waits_for = awaited
        .waits_for
        .as_ref()
        .map_or_else(String::new, |kind| format!(" ({})", escape(kind)));
    let at = match place(awaited) {
        at if at == "-" => String::new(),
        at => format!(" at {at}"),
    };
    format!("{}{waits_for}{at}", escape(&awaited.future))
}

fn who(who: &Who) -> String {
    let mut text = escape(&who.name).into_owned();
    if let Some(future) = &who.future {
        text += " ";
        text += &escape(future);
    }
    if let Some(within) = &who.within
        && who.future.as_ref() != Some(&within.future)
    {
        text += " in ";
        text += &escape(&within.future);
    }
    match (who.origin, who.fd) {
        (Some("io"), Some(fd)) => text += &format!(" (I/O, fd {fd})"),
        (Some("io"), None) => text += " (I/O)",
        (Some(origin), _) => text += &format!(" ({origin})"),
        (None, _) => {}
    }
    text
}

fn what(what: &What) -> String {
    match what {
        What::Spawned { by } => format!("spawned by {}", who(by)),
        What::Gap => "events are missing here".to_owned(),
        What::Woken {
            by,
            effect,
            to_poll_ns,
        } => {
            let effect = match (effect, to_poll_ns) {
                (_, Some(delay)) => format!("; polled {} later", span(*delay)),
                (WakeEffect::Redundant, None) => "; it was scheduled already".to_owned(),
                (WakeEffect::AlreadyOver, None) => "; it was over".to_owned(),
                (_, None) => String::new(),
            };
            format!("woken by {}{effect}", who(by))
        }
        What::Poll {
            length_ns,
            at_most,
            blocked_ns,
            preempted_ns,
            thread,
            outcome,
            ..
        } => {
            let mut text = match length_ns {
                Some(length) => {
                    format!(
                        "poll, {}{}",
                        if *at_most { "<=" } else { "" },
                        span(*length)
                    )
                }
                None => "poll, its end is not known".to_owned(),
            };
            if *blocked_ns > 0 {
                text += &format!(", {} blocked", span(*blocked_ns));
            }
            if *preempted_ns > 0 {
                text += &format!(", {} preempted", span(*preempted_ns));
            }
            if let Some(thread) = thread {
                text += &format!(", on {}", escape(thread));
            }
            if !matches!(outcome, Outcome::Pending | Outcome::Unknown) {
                text += &format!(": {}", outcome_word(*outcome));
            }
            text
        }
        What::AwaitBegins {
            awaited: what,
            depth,
            at_least,
            ..
        } => format!(
            "{:indent$}> {}{}",
            "",
            awaited(what),
            if *at_least { ", begun before" } else { "" },
            indent = usize::from(*depth).min(40) * 2
        ),
        What::AwaitEnds {
            awaited: what,
            depth,
            outcome,
            duration_ns,
            at_least,
            ..
        } => format!(
            "{:indent$}< {} after {}{}",
            "",
            escape(&what.future),
            elapsed(*duration_ns, *at_least),
            match outcome {
                AwaitOutcome::Ready => "",
                AwaitOutcome::Cancelled => ", dropped",
                AwaitOutcome::Panicked => ", panicked",
                AwaitOutcome::Unknown => ", and what became of it is not known",
                _ => ", over",
            },
            indent = usize::from(*depth).min(40) * 2
        ),
        What::Ended {
            outcome,
            aborted_by,
        } => match aborted_by {
            Some(by) => format!("{}, aborted by {}", outcome_word(*outcome), who(by)),
            None => format!("ended: {}", outcome_word(*outcome)),
        },
    }
}
