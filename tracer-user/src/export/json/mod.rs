//! All of a history as one JSON object, for scripts. Its fields are listed in `docs/exports.md`;
//! [`SCHEMA`] is its version: fields may be added, never renamed or removed.
//!
//! Units, polls, awaits and wake-ups name each other by their place in the lists, from 0. Times are
//! CLOCK_MONOTONIC in nanoseconds. What is not known is `null`. It is written element by element.

mod views;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::recording::Loss;
use super::source::Source;
use crate::analyse::history::{Awaited, Missing};
use crate::rebuild::snapshot::ProcessInfo;
use crate::show::visible_json::Visible;

/// Version of the contract.
pub const SCHEMA: u32 = 1;

/// Writes the object and a line break.
///
/// # Errors
/// Those of `out`.
pub fn write(source: &Source<'_>, out: &mut dyn Write) -> io::Result<()> {
    let awaited = Interned::of(source);
    let history = source.history;
    let whole = Whole {
        schema: SCHEMA,
        trace_id: source.header.trace_id.to_string(),
        tool: &source.header.tool,
        runtime: &source.header.runtime,
        process: &source.header.process,
        clock: Clock {
            monotonic_ns: source.header.clock_monotonic,
            unix_ns: source.header.clock_realtime,
        },
        start_ns: history.span.start,
        end_ns: history.span.end,
        missing: &history.missing,
        losses: source.losses,
        awaited: Each(|| awaited.list.iter().map(|awaited| views::awaited(awaited))),
        units: Each(|| history.units.iter().map(views::unit)),
        polls: Each(|| history.polls.iter().map(views::poll)),
        off_cpu: Each(|| history.off_cpu.iter().map(views::off_cpu)),
        panics: Each(|| history.panics.iter().map(views::panic)),
        awaits: Each(|| {
            let views = history.awaits.iter();
            views.map(|instance| views::instance(instance, awaited.number(&instance.awaited)))
        }),
        wakes: Each(|| history.wakes.iter().map(views::wake)),
        requests: Each(|| source.requests.iter().map(views::request)),
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Visible);
    whole.serialize(&mut serializer)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Whole<'a, A, U, P, O, N, I, W, R>
where
    A: Serialize,
    U: Serialize,
    P: Serialize,
    O: Serialize,
    N: Serialize,
    I: Serialize,
    W: Serialize,
    R: Serialize,
{
    schema: u32,
    trace_id: String,
    tool: &'a str,
    runtime: &'a str,
    process: &'a ProcessInfo,
    clock: Clock,
    start_ns: u64,
    end_ns: u64,
    missing: &'a Missing,
    losses: &'a [Loss],
    awaited: A,
    units: U,
    polls: P,
    off_cpu: O,
    panics: N,
    awaits: I,
    wakes: W,
    requests: R,
}

/// The same moment on both clocks.
#[derive(Serialize)]
struct Clock {
    monotonic_ns: u64,
    unix_ns: u64,
}

/// A list that is made while it is written.
struct Each<F>(F);

impl<I, F> Serialize for Each<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// What is awaited, each once.
struct Interned<'a> {
    list: Vec<&'a Awaited>,
    numbers: HashMap<&'a Awaited, u32>,
}

impl<'a> Interned<'a> {
    fn of(source: &Source<'a>) -> Self {
        let mut interned = Self {
            list: Vec::new(),
            numbers: HashMap::new(),
        };
        for instance in &source.history.awaits {
            let awaited: &'a Arc<Awaited> = &instance.awaited;
            let fresh = u32::try_from(interned.list.len()).unwrap_or(u32::MAX);
            interned.numbers.entry(awaited).or_insert_with(|| {
                interned.list.push(awaited);
                fresh
            });
        }
        interned
    }

    fn number(&self, awaited: &Awaited) -> Option<u32> {
        self.numbers.get(awaited).copied()
    }
}
