//! What a ring keeps, and that a history of it says the same as one of everything.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::analyse::history::property_tests::any_trace;
use crate::analyse::history::sample::{Trace, body, sleep};
use crate::analyse::history::{AwaitOutcome, History};
use crate::export::recording::{Ending, Header, Item, Reader, Window, builder, join};
use crate::follow::flight::file::Job;
use crate::follow::flight::trigger::{Cause, Trigger};
use crate::follow::reader::Moment;
use crate::rebuild::event::{EventKind, UnitId};
use crate::rebuild::snapshot::{ProcessInfo, Snapshot};
use crate::rebuild::tracker::Statistics;

const SECOND: u64 = 1_000_000_000;

fn keep(seconds: Option<u64>, bytes: Option<u64>) -> Keep {
    Keep {
        time: seconds.map(Duration::from_secs),
        bytes,
    }
}

fn header(started: u64) -> Header {
    let process = ProcessInfo {
        pid: 7,
        exe: "/srv/app".to_owned(),
        build_id: None,
    };
    let mut header = Header::new(process, "tokio");
    header.started = started;
    header
}

/// The file that a stretch becomes, read as any recording.
fn read(stretch: Stretch, started: u64) -> (Header, Vec<Item>) {
    let job = Job {
        path: PathBuf::from("t.astrace"),
        plain: true,
        header: header(started),
        trigger: Trigger {
            cause: Cause::Signal,
            why: "SIGUSR1".to_owned(),
            at: stretch.until,
        },
        stretch,
        statistics: Statistics::default(),
        reason: "trigger".to_owned(),
    };
    let mut bytes = Vec::new();
    job.fill(&mut bytes).unwrap();
    let mut reader = Reader::new(&job.path, bytes.as_slice()).unwrap();
    let header = reader.header().clone();
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        items.push(item);
    }
    assert_eq!(reader.ending(), Some(&Ending::Complete));
    (header, items)
}

fn history(header: &Header, items: &[Item]) -> History {
    let mut builder = builder(header, Window::default());
    items.iter().for_each(|item| join(item, &mut builder));
    builder.finish()
}

/// A task that is polled ten times a second.
fn steady(seconds: u64) -> Trace {
    let mut trace = Trace::new();
    let thread = trace.thread(7, "worker", 1);
    let busy = trace.task(1, "app::busy", 2, true);
    let idle = trace.task(2, "app::idle", 3, true);
    trace.poll(idle, thread, 5, 6, None);
    // As memory tells it.
    trace.stands(idle, 7, &[body(0, 0, "app::idle", 12), sleep(1, 8, 3)]);
    for at in 1..seconds * 10 {
        let time = at * SECOND / 10;
        trace.wake(thread, busy, time, None);
        trace.poll(busy, thread, time + 10, time + 20, None);
    }
    trace
}

fn feed(ring: &mut Ring, events: &[Event], portion: usize) {
    for events in events.chunks(portion) {
        ring.take(&Entry::Events(events.to_vec())).unwrap();
    }
}

#[test]
fn a_time_is_kept_and_little_more() {
    let mut ring = Ring::new(keep(Some(10), None), 0);
    feed(&mut ring, &steady(100).events, 7);
    let stretch = ring.stretch().unwrap();
    let kept = stretch.until - stretch.from;
    assert!((10 * SECOND..11 * SECOND).contains(&kept), "{kept}");
    assert!(!stretch.short);
    let (header, items) = read(stretch, 0);
    assert_eq!(header.kept.as_ref().unwrap().trigger, "signal");
    let history = history(&header, &items);
    assert_eq!(history.span.start, header.started);
    assert_eq!(history.missing.gaps, 0);
    assert!(
        (100..=110).contains(&history.polls.len()),
        "{}",
        history.polls.len()
    );
    let idle = history
        .units
        .iter()
        .find(|unit| unit.id == UnitId(2))
        .unwrap();
    let open = idle.awaits.iter().map(|at| &history[*at]);
    let open: Vec<_> = open.map(|row| (&*row.awaited.future, row.end)).collect();
    assert_eq!(
        open,
        [("app::idle", None), ("tokio::time::sleep::Sleep", None)]
    );
}

#[test]
fn bytes_are_a_bound_and_that_it_is_short_is_said() {
    let bytes = 1 << 20;
    let mut ring = Ring::new(keep(Some(100_000), Some(bytes)), 0);
    let trace = steady(12_000);
    let mut most = 0;
    for events in trace.events.chunks(500) {
        ring.take(&Entry::Events(events.to_vec())).unwrap();
        most = most.max(ring.bytes());
    }
    assert!(most <= bytes + bytes / 8, "{most}");
    let stretch = ring.stretch().unwrap();
    assert!(stretch.short);
    let kept: usize = stretch.pieces.iter().map(|piece| piece.bytes()).sum();
    assert!(kept as u64 > bytes * 3 / 4, "it keeps what it may: {kept}");
    assert!(stretch.from > 0);
    let (header, items) = read(stretch, 0);
    assert_eq!(history(&header, &items).missing.gaps, 0);
}

#[test]
fn the_last_looks_at_memory_are_kept_whatever_happened_since() {
    let mut ring = Ring::new(keep(Some(2), None), 0);
    let look = |ring: &mut Ring, time| {
        ring.take(&Entry::Snapshot {
            snapshot: Arc::new(Snapshot::empty(time)),
            time,
            moment: Moment::Meanwhile,
        })
        .unwrap();
    };
    let trace = steady(60);
    let (first, rest) = trace.events.split_at(trace.events.len() / 2);
    for (at, events) in first.chunks(first.len() / 8).enumerate() {
        feed(&mut ring, events, 7);
        look(&mut ring, at as u64 * SECOND);
    }
    feed(&mut ring, rest, 7);
    let (header, items) = read(ring.stretch().unwrap(), 0);
    let looks: Vec<u64> = items
        .iter()
        .filter_map(|item| match item {
            Item::Snapshot(part) if part.last => Some(part.time),
            _ => None,
        })
        .collect();
    assert!(looks.len() >= 2 && looks.len() < 8, "{looks:?}");
    // Judged as they are, though they are from before the stretch.
    let mut evidence = crate::follow::evidence::Evidence::new(header, Window::default());
    items.iter().for_each(|item| evidence.item(item));
    assert_eq!(evidence.finish().looked().looks, looks.len() as u64);
}

#[test]
fn a_file_is_the_same_for_who_begins_to_read_in_the_middle() {
    let mut ring = Ring::new(keep(Some(20), None), 0);
    feed(&mut ring, &steady(100).events, 7);
    let stretch = ring.stretch().unwrap();
    let until = stretch.until;
    let job = Job {
        path: PathBuf::from("t.astrace"),
        plain: true,
        header: header(0),
        trigger: Trigger {
            cause: Cause::End,
            why: String::new(),
            at: until,
        },
        stretch,
        statistics: Statistics::default(),
        reason: "interrupted".to_owned(),
    };
    let mut bytes = Vec::new();
    let counted = job.fill(&mut bytes).unwrap();
    let mut reader = Reader::new(&job.path, std::io::Cursor::new(bytes)).unwrap();
    let from = until - 5 * SECOND;
    let later = |reader: &mut Reader<_>| {
        let mut all = 0;
        let mut later = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Events(events) = item {
                all += events.len() as u64;
                later.extend(events.into_iter().filter(|event| event.time >= from));
            }
        }
        (all, later)
    };
    let (all, whole) = later(&mut reader);
    assert_eq!(all, counted.events);
    reader.seek_to(from).unwrap();
    let (part, sought) = later(&mut reader);
    assert_eq!(sought, whole);
    assert!(part < all / 2, "{part} of {all}");
}

/// What a history says of polls, wake-ups and tasks, without what is told of their awaits.
fn facts(history: &History, from: u64) -> Vec<String> {
    let unit = |at: crate::analyse::history::UnitIndex| history[at].id;
    let mut facts: Vec<String> = history
        .polls
        .iter()
        .map(|poll| {
            format!(
                "poll {} {} {:?} {:?} {:?} {} {} {:?}",
                unit(poll.task),
                poll.begin,
                poll.end,
                poll.outcome,
                poll.seen,
                poll.blocked,
                poll.preempted,
                poll.thread.map(unit)
            )
        })
        .collect();
    facts.extend(history.wakes.iter().map(|wake| {
        let (task, by) = (unit(wake.task), unit(wake.by.unit));
        format!("wake {task} {by} {} {:?}", wake.time, wake.effect)
    }));
    facts.extend(history.units.iter().filter_map(|unit| {
        let task = unit.task()?;
        // One that ended before is nothing that a stretch has to know.
        let over = task.end.is_some_and(|end| end.time < from);
        let end = task.end.map(|end| (end.time, end.outcome));
        (!over).then(|| format!("task {} {} {} {end:?}", unit.id, task.name, unit.first))
    }));
    // Units are in the order in which they were met.
    facts.sort();
    facts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A kept stretch says of its time what the whole recording says of it: the same polls,
    /// wake-ups and tasks; and of awaits never more than that.
    #[test]
    fn a_kept_stretch_agrees_with_the_whole(
        events in any_trace(),
        seconds in 1..40_u64,
        portion in 1..9_usize,
    ) {
        // Steps of a second; what is over stays so, as in every real trace.
        let mut over = std::collections::HashSet::new();
        let events: Vec<Event> = events
            .into_iter()
            .filter(|event| {
                let lives = !over.contains(&event.id.unit);
                if matches!(event.kind, EventKind::Finished { .. }) {
                    over.insert(event.id.unit);
                }
                lives
            })
            .map(|mut event| {
                event.time *= SECOND / 10;
                if let EventKind::PollEnd { began: Some(began), .. } = &mut event.kind {
                    *began *= SECOND / 10;
                }
                event
            })
            .collect();
        let started = 10 * SECOND;
        let mut ring = Ring::new(keep(Some(seconds), None), started);
        feed(&mut ring, &events, portion);
        let (header, items) = read(ring.stretch().unwrap(), started);
        let kept = history(&header, &items);
        // Through the format as well: it makes trees of what is none.
        let mut all = Ring::new(keep(Some(1_000_000), None), started);
        feed(&mut all, &events, portion);
        let (all, items) = read(all.stretch().unwrap(), started);
        prop_assert_eq!(all.started, started);
        let window = Window {
            from: Some(Duration::from_nanos(header.started - started)),
            to: None,
        };
        let mut whole = builder(&all, window);
        items.iter().for_each(|item| join(item, &mut whole));
        let whole = whole.finish();
        prop_assert_eq!(&kept.span, &whole.span);
        let from = header.started;
        prop_assert_eq!(facts(&kept, from), facts(&whole, from));
        let mut rows: HashMap<_, Vec<u64>> = HashMap::new();
        for row in &whole.awaits {
            let key = (whole[row.task].id, row.place, &*row.awaited.future);
            rows.entry(key).or_default().push(row.start);
        }
        // A made-up task may have several own futures, at different places: no real one has.
        for row in kept.awaits.iter().filter(|row| row.parent.is_some()) {
            let key = (kept[row.task].id, row.place, &*row.awaited.future);
            let known = rows.get(&key).map_or(&[][..], Vec::as_slice);
            let agrees = known.iter().any(|start| {
                *start == row.start || (*start < row.start && row.at_least)
            });
            prop_assert!(agrees, "{:?} of {:?}", row, known);
        }
        // Of tasks that were always told in full the same is open; of others never more.
        let partly: Vec<UnitId> = events
            .iter()
            .filter(|event| match &event.kind {
                EventKind::AwaitChanged { suspension, .. } => {
                    suspension.futures.is_empty() || suspension.missing.is_some()
                }
                EventKind::Gap { .. } => true,
                _ => false,
            })
            .map(|event| event.id.unit)
            .collect();
        let open = |history: &History, full: bool| {
            let mut open: Vec<_> = history
                .awaits
                .iter()
                .filter(|row| row.outcome == AwaitOutcome::Open)
                .map(|row| (history[row.task].id, row.place, row.awaited.future.to_string()))
                .filter(|(task, ..)| !full || !partly.contains(task))
                .collect();
            open.sort();
            open
        };
        prop_assert_eq!(open(&kept, true), open(&whole, true));
        let known = open(&whole, false);
        prop_assert!(open(&kept, false).iter().all(|row| known.contains(row)));
    }
}
