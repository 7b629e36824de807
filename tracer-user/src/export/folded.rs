//! Await stacks as text: frames joined by `;`, a space, nanoseconds. What flame graph tools read.
//!
//! A frame is an await: the future, and `at` the place where it is awaited. Only a stack's own time
//! is in its line (`stacks`). `;` and line breaks in names would be read as structure, so
//! `;` is written as `,` (Rust has it in `[u8; 4]`) and control characters as escapes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::source::Source;
use super::stacks::{Measure, Stack, Stacks};
use crate::show::escape::escape;
use crate::show::live::format::short_path;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lines.
    pub stacks: u64,
    /// Nanoseconds in all lines together.
    pub nanoseconds: u64,
    /// Instances that were too deep for a stack of their own.
    pub cut: u64,
    /// Tasks of which no await is known: their time is in no line.
    pub tasks_without: u64,
}

/// Writes folded stacks, in alphabetical order.
///
/// # Errors
/// Those of `out`.
pub fn write(source: &Source<'_>, measure: Measure, out: &mut dyn Write) -> io::Result<Totals> {
    let (lines, mut totals) = lines(source, measure);
    for (stack, nanoseconds) in lines {
        totals.stacks += 1;
        totals.nanoseconds = totals.nanoseconds.saturating_add(nanoseconds);
        writeln!(out, "{stack} {nanoseconds}")?;
    }
    Ok(totals)
}

/// Stacks with their time. Stacks that only differ in what is not written are one.
pub(super) fn lines(source: &Source<'_>, measure: Measure) -> (BTreeMap<String, u64>, Totals) {
    let stacks = Stacks::of(source);
    let totals = Totals {
        cut: stacks.cut,
        tasks_without: stacks.tasks_without,
        ..Totals::default()
    };
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |line: String, time: u64| {
        if time > 0 {
            let sum = lines.entry(line).or_default();
            *sum = sum.saturating_add(time);
        }
    };
    for (number, stack) in (0..).zip(&stacks.all) {
        if stack.own.waiting == 0 && stack.own.polled == 0 {
            continue;
        }
        let frames: Vec<String> = stacks.chain(number).into_iter().map(frame).collect();
        let frames = frames.join(";");
        match measure {
            Measure::Waiting => add(frames, stack.own.waiting),
            Measure::Polled => add(frames, stack.own.polled),
            Measure::Both => {
                add(format!("waiting;{frames}"), stack.own.waiting);
                add(format!("polled;{frames}"), stack.own.polled);
            }
        }
    }
    (lines, totals)
}

fn frame(stack: &Stack) -> String {
    let awaited = &stack.awaited;
    let mut frame = match (&awaited.file, awaited.line) {
        (Some(file), Some(line)) => format!("{} at {}:{line}", awaited.future, short_path(file)),
        (Some(file), None) => format!("{} at {}", awaited.future, short_path(file)),
        (None, _) => awaited.future.to_string(),
    };
    if frame.contains(';') {
        frame = frame.replace(';', ",");
    }
    if frame.trim().is_empty() {
        "(no name)".clone_into(&mut frame);
    }
    escape(&frame).into_owned()
}
