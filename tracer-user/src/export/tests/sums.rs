//! What must add up whoever reads it.

use std::collections::HashMap;
use std::time::Instant;

use super::outside::{What, bytes, text};
use crate::analyse::history::{Await, AwaitIndex, History};
use crate::export::folded;
use crate::export::samples::{Sample, many, service};
use crate::export::{Level, Measure};

fn folded(sample: &Sample, measure: Measure) -> HashMap<String, u64> {
    let text = text(sample, &What::Folded(measure));
    text.lines()
        .map(|line| {
            let (stack, time) = line.rsplit_once(' ').unwrap();
            (stack.to_owned(), time.parse().unwrap())
        })
        .collect()
}

#[test]
fn folded_stacks_have_the_times_of_leaves_and_nothing_twice() {
    let sample = service();
    let waiting = folded(&sample, Measure::Waiting);
    let polled = folded(&sample, Measure::Polled);
    let request = "app::serve;app::handle at src/main.rs:10;";
    let sleep = "tokio::Sleep at src/main.rs:33";
    let left = "join::Join<..> at src/main.rs:21;app::left at src/main.rs:21;";
    assert_eq!(waiting[&format!("{request}{left}{sleep}")], 45_000);
    assert_eq!(waiting[&format!("{request}{sleep}")], 9_500);
    assert_eq!(waiting["app::idle;tokio::Lock at src/main.rs:60"], 189_000);
    // It is held by nothing at times, and stands where it was held last.
    assert_eq!(waiting[&format!("app::idle;{sleep}")], 130_000);
    // Async bodies wait in what they await, and nowhere else.
    assert!(!waiting.contains_key("app::serve"), "{waiting:?}");
    // While it is polled nothing below the innermost body goes on, except at its first poll, when
    // three bodies begin at once: the innermost has the time.
    assert_eq!(
        polled[&format!("{request}{}", left.trim_end_matches(';'))],
        2_500
    );
    // The last poll ends the second sleep, and is the handler's own.
    assert_eq!(polled[request.trim_end_matches(';')], 500);

    let both = folded(&sample, Measure::Both);
    let sum = |lines: &HashMap<String, u64>| lines.values().sum::<u64>();
    assert_eq!(sum(&both), sum(&waiting) + sum(&polled));
    assert_eq!(both[&format!("waiting;{request}{sleep}")], 9_500);
}

/// Time in which an instance goes on and nothing that it awaits does, nanosecond by nanosecond.
fn slowly(history: &History, number: u32, instance: &Await) -> (u64, u64) {
    let end = history.span.end;
    let own = AwaitIndex(number);
    let held: Vec<(u64, u64)> = history
        .awaits
        .iter()
        .filter(|other| other.parent.or(other.former_parents.last().copied()) == Some(own))
        .map(|other| (other.start, other.end.unwrap_or(end)))
        .collect();
    let polls: Vec<(u64, u64)> = history.units[instance.task.0 as usize]
        .polls
        .iter()
        .map(|poll| &history.polls[poll.0 as usize])
        .map(|poll| (poll.begin, poll.end.unwrap_or(end)))
        .collect();
    let inside = |ranges: &[(u64, u64)], at: u64| ranges.iter().any(|r| r.0 <= at && at < r.1);
    let mut times = (0, 0);
    // Every time in the sample is a multiple of this.
    const STEP: u64 = 500;
    for at in (instance.start..instance.end.unwrap_or(end)).step_by(STEP as usize) {
        if inside(&held, at) {
            continue;
        }
        if inside(&polls, at) {
            times.1 += STEP;
        } else {
            times.0 += STEP;
        }
    }
    times
}

#[test]
fn own_times_are_those_that_a_slow_count_finds() {
    let sample = service();
    let mut expected = (0, 0);
    for (number, instance) in (0..).zip(&sample.history.awaits) {
        let (waiting, polled) = slowly(&sample.history, number, instance);
        expected.0 += waiting;
        expected.1 += polled;
    }
    let sum = |measure| folded(&sample, measure).values().sum::<u64>();
    assert_eq!((sum(Measure::Waiting), sum(Measure::Polled)), expected);
}

#[test]
fn nothing_known_gives_files_that_say_so() {
    let mut sample = service();
    sample.history.awaits.clear();
    for unit in &mut sample.history.units {
        unit.awaits.clear();
    }
    for poll in &mut sample.history.polls {
        poll.waited_in.clear();
    }
    let mut nowhere = Vec::new();
    let totals = folded::write(&sample.source(), Measure::Both, &mut nowhere).unwrap();
    assert_eq!((totals.stacks, totals.tasks_without), (0, 3));
    assert!(text(&sample, &What::Svg(Measure::Waiting)).contains("no await is known"));
    for what in [
        What::Perfetto(Level::Polls),
        What::Otlp(Level::Awaits),
        What::Pprof,
        What::Dot(Level::Awaits),
        What::Json,
    ] {
        assert!(!bytes(&sample, &what).is_empty());
    }
}

/// 20,000 await instances, 15,000 polls, in a build without optimisation.
#[test]
fn large_histories_are_written_in_seconds() {
    let sample = many(5_000);
    assert_eq!(sample.history.awaits.len(), 20_000);
    for (name, what) in [
        ("perfetto", What::Perfetto(Level::Polls)),
        ("otlp", What::Otlp(Level::Polls)),
        ("pprof", What::Pprof),
        ("folded", What::Folded(Measure::Both)),
        ("svg", What::Svg(Measure::Both)),
        ("dot", What::Dot(Level::Awaits)),
        ("json", What::Json),
    ] {
        let begin = Instant::now();
        let bytes = bytes(&sample, &what).len();
        let took = begin.elapsed();
        println!("{name}: {bytes} bytes in {took:?}");
        assert!(took.as_secs() < 20, "{name} took {took:?}");
    }
}

/// A chain of awaits deeper than any stack that is drawn, and parents that form a ring, as only a
/// file that was tampered with has them: all formats end, and end soon.
#[test]
fn impossible_histories_are_survived() {
    let mut sample = many(200);
    let count = sample.history.awaits.len() as u32;
    let chain: Vec<AwaitIndex> = (0..count).map(AwaitIndex).collect();
    for (number, instance) in sample.history.awaits.iter_mut().enumerate() {
        instance.parent = Some(AwaitIndex((number as u32 + 1) % count));
        instance.task = crate::analyse::history::UnitIndex(4);
        if number % 7 == 0 {
            instance.end = Some(0);
            instance.waiting = u64::MAX;
        }
    }
    sample.history.units[4].awaits = chain;
    sample.history.polls[3].begin = u64::MAX;
    sample.history.polls[4].end = Some(0);
    sample.history.polls[5].waited_in = vec![AwaitIndex(u32::MAX), AwaitIndex(3)];
    for what in [
        What::Perfetto(Level::Polls),
        What::Otlp(Level::Polls),
        What::Pprof,
        What::Folded(Measure::Both),
        What::Svg(Measure::Both),
        What::Dot(Level::Awaits),
        What::Json,
    ] {
        assert!(!bytes(&sample, &what).is_empty());
    }
}
