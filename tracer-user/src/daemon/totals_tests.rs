use super::*;
use crate::address::Address;
use crate::rebuild::event::{EndSeen, EventId, Outcome, TaskUnit};
use crate::rebuild::tracker::Statistics;
use crate::rebuild::watching::Watching;

fn event(unit: u64, time: u64, kind: EventKind) -> Event {
    Event {
        id: EventId {
            unit: UnitId(unit),
            sequence: 0,
        },
        time,
        kind,
        cause: None,
    }
}

fn described(unit: u64, future: &str) -> Event {
    let task = TaskUnit {
        runtime: "tokio".into(),
        address: Address(unit),
        task_id: Some(unit),
        generation: 0,
        future: Some(future.into()),
        existing: false,
    };
    event(unit, 0, EventKind::Described(Arc::new(Unit::Task(task))))
}

fn begin(unit: u64, time: u64) -> Event {
    let thread = UnitId(100);
    event(unit, time, EventKind::PollBegin { thread })
}

fn end(unit: u64, began: u64, time: u64, outcome: Outcome) -> Event {
    let kind = EventKind::PollEnd {
        outcome,
        seen: EndSeen::NextEvent,
        began: Some(began),
    };
    event(unit, time, kind)
}

fn wake(task: u64, time: u64, effect: WakeEffect) -> Event {
    let kind = EventKind::Wake {
        task: UnitId(task),
        by_value: false,
        effect,
    };
    event(100, time, kind)
}

#[test]
fn polls_and_delays_are_counted_by_type() {
    let mut totals = Totals::new(1);
    let mut counting = Counting::new(0);
    let events = vec![
        described(1, "app::a"),
        described(2, "app::b"),
        wake(1, 1_000, WakeEffect::Scheduled),
        wake(1, 2_000, WakeEffect::Redundant),
        begin(1, 21_000),
        // Woken while it is polled: it waits from the end of that poll on.
        wake(1, 30_000, WakeEffect::PollAgain),
        end(1, 21_000, 121_000, Outcome::Pending),
        begin(1, 122_000),
        end(1, 122_000, 125_000, Outcome::Ready),
        begin(2, 200_000),
        end(2, 200_000, 20_200_000, Outcome::Pending),
    ];
    counting.take(&Entry::Events(events), &mut totals);
    let (name, of) = totals.types()[0];
    assert_eq!((name, totals.types().len()), ("app::a", 1));
    assert_eq!((of.polls, of.begun, of.over), (2, 1, 1));
    assert_eq!((of.delay.count, of.delay.sum), (2, 20_000 + 1_000));
    assert_eq!(of.delay.buckets[..2], [1, 1]);
    assert_eq!((of.poll_time.count, of.poll_time.sum), (2, 103_000));
    // Beyond the limit.
    assert_eq!((totals.other.polls, totals.other.delay.count), (1, 0));
    assert_eq!(totals.other.poll_time.buckets[9], 1);
    assert_eq!(
        (&*totals.label("app::a"), &*totals.label("app::b")),
        ("app::a", "other")
    );
    assert_eq!((totals.polls(), totals.wakes, totals.events), (3, 3, 11));
}

#[test]
fn a_delay_across_a_loss_is_not_known() {
    let mut totals = Totals::new(9);
    let mut counting = Counting::new(0);
    let events = |events| Entry::Events(events);
    let first = vec![described(1, "a"), wake(1, 1, WakeEffect::Scheduled)];
    counting.take(&events(first), &mut totals);
    let lost = Entry::Lost {
        cpu: 0,
        count: 7,
        until: 5,
    };
    counting.take(&lost, &mut totals);
    counting.take(&events(vec![begin(1, 9_000_000)]), &mut totals);
    assert_eq!(totals.types()[0].1.delay.count, 0);
    assert_eq!(totals.lost, 7);
}

#[test]
fn times_on_a_bound_are_in_its_bucket() {
    let mut histogram = Histogram::default();
    for time in [0, 10_000, 10_001, 5_000_000_000, u64::MAX] {
        histogram.take(time);
    }
    assert_eq!((histogram.buckets[0], histogram.buckets[1]), (2, 1));
    assert_eq!((histogram.buckets[15], histogram.buckets[16]), (1, 1));
    assert_eq!(histogram.count, 5);
}

#[test]
fn windows_are_told_and_no_delay_goes_across_a_pause() {
    let mut totals = Totals::new(9);
    let mut counting = Counting::new(1_000);
    let first = vec![described(1, "a"), wake(1, 1_100, WakeEffect::Scheduled)];
    counting.take(&Entry::Events(first), &mut totals);
    let pause = Watching {
        polls: false,
        ..Watching::everything(2_000)
    };
    counting.take(&Entry::Watching(pause), &mut totals);
    let again = Watching::everything(5_000);
    counting.take(&Entry::Watching(again), &mut totals);
    counting.take(&Entry::Events(vec![begin(1, 5_500)]), &mut totals);
    let statistics = Entry::Statistics {
        counts: Statistics::default(),
        time: 6_000,
    };
    counting.take(&statistics, &mut totals);
    assert_eq!((totals.session_ns, totals.watched_ns), (5_000, 2_000));
    assert_eq!(totals.types()[0].1.delay.count, 0);
}

#[test]
fn a_type_with_a_long_name_is_told_apart_by_what_is_outside_its_arguments() {
    let mut totals = Totals::new(2);
    let mut counting = Counting::new(0);
    let connection = |of: &str| format!("hyper::Connection<{}{of}>", "app::Service, ".repeat(30));
    let (one, two) = (connection("A"), connection("B"));
    let events = vec![
        described(1, &one),
        described(2, &two),
        begin(1, 10),
        end(1, 10, 20, Outcome::Pending),
    ];
    counting.take(&Entry::Events(events), &mut totals);
    assert_eq!(totals.label(&one), "hyper::Connection<..>");
    let types = totals.types();
    assert_eq!(types.len(), 1);
    assert_eq!((types[0].1.begun, types[0].1.polls), (2, 1));
    assert_eq!(totals.other.begun, 0);
    assert_eq!(totals.label(&"long".repeat(100)), OTHER);
}
