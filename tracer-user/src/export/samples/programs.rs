//! The programs that exports are tested with: one that has everything, one that is large.

use super::{HOSTILE, Maker, Sample, awaited, by};
use crate::analyse::history::{AwaitIndex, Doer, Missing, PollCause, UnitIndex};
use crate::export::recording::Loss;
use crate::rebuild::event::{Origin, Outcome, WakeEffect};
use crate::rebuild::tree::NodeKind;

/// A service in small: a request with two concurrent branches, a task that it spawns and that wakes
/// it, a task that was there before and goes on, a loss, a gap, names that are out to do harm.
pub(in crate::export) fn service() -> Sample {
    use NodeKind::{AsyncFn, Future, Leaf};
    let mut maker = Maker::new(1_000..200_000);
    let one = maker.thread(101, "tokio-rt-worker");
    let two = maker.thread(102, HOSTILE);
    let timer = maker.origin(Origin::Timer);
    let by_timer = Doer {
        origin: Some(timer),
        ..by(two)
    };

    let serve = awaited("app::serve", AsyncFn, None, None, None);
    let handle = awaited("app::handle", AsyncFn, Some("app::serve"), Some(10), None);
    let join = awaited(
        "join::Join<..>",
        Future,
        Some("app::handle"),
        Some(21),
        None,
    );
    let left = awaited("app::left", AsyncFn, Some("join::Join<..>"), Some(21), None);
    let right = awaited(HOSTILE, AsyncFn, Some("join::Join<..>"), Some(21), None);
    let sleep = awaited(
        "tokio::Sleep",
        Leaf,
        Some("app::left"),
        Some(33),
        Some("sleep"),
    );
    let receive = awaited(
        "tokio::Recv",
        Leaf,
        Some(HOSTILE),
        Some(44),
        Some("channel"),
    );
    let store = awaited("app::store", AsyncFn, None, None, None);
    let write = awaited(
        "tokio::Write",
        Leaf,
        Some("app::store"),
        Some(51),
        Some("io"),
    );
    let idle = awaited("app::idle", AsyncFn, None, None, None);
    let lock = awaited(
        "tokio::Lock",
        Leaf,
        Some("app::idle"),
        Some(60),
        Some("lock"),
    );

    // The request.
    let task = maker.task(
        "app::serve",
        2_000,
        Some((100_500, Outcome::Ready)),
        Some(by(one)),
    );
    let first = maker.poll(task, one, (3_000, Some(5_000)), Some(PollCause::Spawn), &[]);
    let root = maker.instance(task, None, &serve, (3_000, Some(100_500)));
    let handling = maker.instance(task, Some(root), &handle, (3_000, Some(100_500)));
    let both = maker.instance(task, Some(handling), &join, (3_000, Some(90_500)));
    let on_left = maker.instance(task, Some(both), &left, (3_000, Some(50_500)));
    let on_right = maker.instance(task, Some(both), &right, (3_000, Some(90_500)));
    let asleep = maker.instance(task, Some(on_left), &sleep, (5_000, Some(50_000)));
    let receiving = maker.instance(task, Some(on_right), &receive, (5_000, Some(90_000)));

    // What it spawns in its first poll.
    let spawner = Doer {
        poll: Some(first),
        within: Some(on_right),
        ..by(task)
    };
    let helper = maker.task(
        "app::store",
        4_000,
        Some((81_000, Outcome::Panicked)),
        Some(spawner),
    );
    maker.poll(
        helper,
        two,
        (6_000, Some(7_000)),
        Some(PollCause::Spawn),
        &[],
    );
    let storing = maker.instance(helper, None, &store, (6_000, Some(81_000)));
    let writing = maker.instance(helper, Some(storing), &write, (7_000, Some(80_000)));

    let wake = maker.wake(task, 49_000, by_timer);
    let waited = [asleep, receiving];
    maker.poll(
        task,
        two,
        (50_000, Some(50_500)),
        Some(PollCause::Wake(wake)),
        &waited,
    );
    let wake = maker.wake(helper, 79_000, by(two));
    let polled = maker.poll(
        helper,
        one,
        (80_000, Some(81_000)),
        Some(PollCause::Wake(wake)),
        &[writing],
    );
    let sender = Doer {
        poll: Some(polled),
        within: Some(storing),
        ..by(helper)
    };
    let wake = maker.wake(task, 80_500, sender);
    // It wakes again what is scheduled already.
    let again = maker.wake(task, 80_600, sender);
    maker.0.wakes[again.0 as usize].effect = WakeEffect::Redundant;
    maker.poll(
        task,
        two,
        (90_000, Some(90_500)),
        Some(PollCause::Wake(wake)),
        &[receiving],
    );
    let asleep = maker.instance(task, Some(handling), &sleep, (90_500, Some(100_000)));
    let wake = maker.wake(task, 99_000, by_timer);
    maker.poll(
        task,
        one,
        (100_000, Some(100_500)),
        Some(PollCause::Wake(wake)),
        &[asleep],
    );

    // Older than the trace, with a gap, and being polled when it ends.
    let old = maker.task("app::idle", 1_000, None, None);
    let idling = maker.instance(old, None, &idle, (1_000, None));
    let locking = maker.instance(old, Some(idling), &lock, (1_000, Some(190_000)));
    for found in [idling, locking] {
        maker.0.awaits[found.0 as usize].at_least = true;
    }
    maker.poll(old, two, (190_000, None), None, &[locking]);
    maker.0.units[old.0 as usize].gaps.push(120_000);
    // A loop that keeps one future over two selects, which is detached in between.
    let detached = maker.instance(old, None, &sleep, (20_000, Some(150_000)));
    maker.0.awaits[detached.0 as usize]
        .former_parents
        .push(idling);

    maker.0.missing = Missing {
        records_lost: 12,
        gaps: 1,
        ..Missing::default()
    };
    let mut sample = maker.finish(vec![Loss {
        cpu: 1,
        count: 12,
        until: 120_000,
    }]);
    // Inside the first, across tasks, and so no root of its own in a trace: the second.
    sample.request(handling);
    sample.request(storing);
    sample.request(locking);
    sample
}

/// Many tasks, each with a request of four awaits and four polls, on four threads.
pub(in crate::export) fn many(tasks: u64) -> Sample {
    use NodeKind::{AsyncFn, Leaf};
    const STEP: u64 = 1_000;
    let mut maker = Maker::new(0..(tasks + 100) * STEP);
    let threads: Vec<UnitIndex> = (0..4).map(|n| maker.thread(100 + n, "worker")).collect();
    let serve = awaited("app::serve", AsyncFn, None, None, None);
    let handle = awaited("app::handle", AsyncFn, Some("app::serve"), Some(10), None);
    let read = awaited(
        "tokio::Read",
        Leaf,
        Some("app::handle"),
        Some(20),
        Some("io"),
    );
    let write = awaited(
        "tokio::Write",
        Leaf,
        Some("app::handle"),
        Some(30),
        Some("io"),
    );
    for number in 0..tasks {
        let thread = threads[(number % 4) as usize];
        let start = number * STEP;
        let end = start + 40 * STEP + 100;
        let task = maker.task(
            "app::serve",
            start,
            Some((end, Outcome::Ready)),
            Some(by(thread)),
        );
        let root = maker.instance(task, None, &serve, (start, Some(end)));
        let body = maker.instance(task, Some(root), &handle, (start, Some(end)));
        maker.poll(
            task,
            thread,
            (start, Some(start + 100)),
            Some(PollCause::Spawn),
            &[],
        );
        let mut from = start + 100;
        for (at, leaf) in [&read, &write].into_iter().enumerate() {
            let until = start + (at as u64 + 1) * 20 * STEP;
            let waiting = maker.instance(task, Some(body), leaf, (from, Some(until)));
            let wake = maker.wake(task, until - 10, by(thread));
            let times = (until, Some(until + 100));
            maker.poll(task, thread, times, Some(PollCause::Wake(wake)), &[waiting]);
            from = until + 100;
        }
    }
    let mut sample = maker.finish(Vec::new());
    let own: Vec<AwaitIndex> = (0..sample.history.awaits.len() as u32)
        .map(AwaitIndex)
        .filter(|index| sample.history.awaits[index.0 as usize].parent.is_none())
        .collect();
    for root in own {
        sample.request(root);
    }
    sample
}
