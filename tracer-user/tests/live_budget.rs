//! A target that would be slowed by more than it may: what is given up for that, and how it is told.
//!
//! Needs root (uprobes and BPF); says so and passes where that is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::Build;
use support::command::run;
use support::fixture::Fixture;
use tracer_user::analyse::history::{History, TaskHistory, UnitHistory};
use tracer_user::export::recording::{Item, Reader, Window, builder, join};
use tracer_user::rebuild::event::Outcome;
use tracer_user::rebuild::watching::Watching;

fn permitted() -> bool {
    match tracer_user::attach::permission::check() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIPPED, this machine cannot attach: {error}");
            false
        }
    }
}

/// What a recording says, and what was watched when.
fn read(path: &Path) -> (History, Vec<Watching>) {
    let mut reader = Reader::open(path).unwrap();
    let mut builder = builder(reader.header(), Window::default());
    let mut watching = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        join(&item, &mut builder);
        if let Item::Watching(told) = item {
            watching.push(told);
        }
    }
    (builder.finish(), watching)
}

/// The pauses: from when to when nothing but panics was watched.
fn pauses(watching: &[Watching]) -> Vec<(u64, u64)> {
    let mut pauses = Vec::new();
    let mut since = None;
    for told in watching {
        match (told.polls, since) {
            (false, None) => since = Some(told.time),
            (true, Some(from)) => {
                pauses.push((from, told.time));
                since = None;
            }
            _ => {}
        }
    }
    pauses.extend(since.map(|from| (from, u64::MAX)));
    pauses
}

/// What a recording takes that may take everything, in percent of what the target uses for itself.
fn taken(pid: &str, more: &[&str]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.astrace");
    let always = ["record", "--pid", pid, "-d", "3", "--max-overhead", "100"];
    let path = ["-o", file.to_str().unwrap()];
    let recorded = run(&[&always[..], more, &path].concat());
    let said = &recorded.stderr;
    let taken = said
        .split(", took ")
        .nth(1)
        .and_then(|rest| rest.split('%').next());
    let taken = taken.unwrap_or_else(|| panic!("{said}"));
    let taken = taken.trim_start_matches("about ").trim_start_matches('<');
    taken.parse().unwrap()
}

/// What is asked for beside polls goes before them, alone and for the whole of the time, where that
/// is enough.
fn is_given_up_alone(build: Build, more: &[&str], words: &str, left: impl Fn(&Watching) -> bool) {
    let load = [
        "--compute",
        "--pairs",
        "1",
        "--yielders",
        "8",
        "--sleepers",
        "2",
    ];
    let rate = ["--rate", "1000"];
    let mut target = Fixture::start(build, "busy", &[&load[..], &rate].concat());
    let pid = target.pid().to_string();
    // Enough for what is taken without it, and not enough with it. Nine tenths of a budget are used,
    // and things are given up until what is left takes nine tenths of these. Nearer to the former: clones of
    // wakers go before, and are not to be enough.
    let (without, with) = (taken(&pid, &[]), taken(&pid, more));
    assert!(with > 1.2 * without, "{without} {with}");
    let (enough, too_little) = (without / 0.81, with / 0.9);
    let budget = (0.3f64.mul_add(too_little - enough, enough)).min(100.0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.astrace");
    let budget = format!("{budget:.1}");
    let path = file.to_str().unwrap();
    let always = [
        "record",
        "--pid",
        &pid,
        "-d",
        "8",
        "--max-overhead",
        &budget,
    ];
    let recorded = run(&[&always[..], more, &["-o", path]].concat());
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let said = &recorded.stderr;
    assert!(
        said.contains(&format!("left out   {words}")),
        "{without} {with} {said}"
    );
    assert!(said.contains("not watched: "), "{said}");

    let (history, watching) = read(&file);
    let step = watching.iter().find(|told| told.polls && !left(told));
    let step = step.unwrap_or_else(|| panic!("{watching:?} {said}"));
    assert!(step.left_out.is_empty(), "{watching:?}");
    // Polls go on being seen all the time, but for the moment of the change.
    let polls_after = |from: u64| {
        let polls = history.polls.iter();
        polls
            .filter(|poll| poll.begin >= from && poll.begin < from + 100_000_000)
            .count()
    };
    let last = history.polls.iter().map(|poll| poll.begin).max().unwrap();
    let (mut silent, mut all) = (0, 0);
    let mut from = step.time;
    while from + 100_000_000 < last {
        silent += u64::from(polls_after(from) < 20);
        all += 1;
        from += 100_000_000;
    }
    assert!(all >= 10 && silent * 5 < all, "{silent} of {all}: {said}");
    assert!(target.is_alive());
}

#[test]
fn live_nested_futures_are_given_up_before_polls() {
    if permitted() {
        is_given_up_alone(
            Build::Dev,
            &["--futures", "*"],
            "polls of nested futures",
            |told| told.nested,
        );
    }
}

#[test]
fn live_exact_ends_are_given_up_before_polls() {
    if permitted() {
        is_given_up_alone(
            Build::Release,
            &["--exact-polls"],
            "exact ends of polls",
            |told| told.ends,
        );
    }
}

/// A type that is polled as often as it goes is watched in windows, and wake-ups with it. The others go on
/// being watched: each of their requests is seen whole, and none is made longer by what is not seen.
#[test]
fn live_a_hot_type_goes_into_windows_alone() {
    if !permitted() {
        return;
    }
    // On one worker, so that it makes no switches of threads, which would cost as much.
    let load = ["--workers", "1", "--spinners", "1", "--servers", "4"];
    let rate = ["--pairs", "2", "--rate", "100", "--yielders", "0"];
    let mut target = Fixture::start(Build::Release, "busy", &[&load[..], &rate].concat());
    let pid = target.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.astrace");
    let path = file.to_str().unwrap();
    let budget = ["--max-overhead", "5"];
    let recorded = run(&[
        &["record", "--pid", &pid, "-d", "15", "-o", path],
        &budget[..],
    ]
    .concat());
    let said = &recorded.stderr;
    assert_eq!(recorded.code, Some(0), "{said}");
    for left_out in [
        "left out   polls of busy::Counted<busy::spinner> outside windows",
        "left out   wake-ups outside windows",
    ] {
        assert!(said.contains(left_out), "{said}");
    }
    assert!(!said.contains("left out   everything"), "{said}");

    let (history, watching) = read(&file);
    let cuts = pauses(&watching);
    let partly = watching.iter().filter(|told| told.polls && !told.wakes);
    // The first windows show which type it is.
    assert!(partly.count() >= 3, "{watching:?}");
    let since = cuts.last().unwrap().1;
    assert!(since < history.span.start + 10_000_000_000, "{watching:?}");
    // Since the last time that anything but the hot type was cut.
    let since = since + 50_000_000;
    let until = history.span.end - 100_000_000;
    let requests: Vec<_> = history
        .awaits
        .iter()
        .filter(|instance| &*instance.awaited.future == "busy::handle")
        .filter(|instance| instance.start >= since && instance.end.is_some_and(|end| end < until))
        .collect();
    let seconds = (until - since) as f64 / 1e9;
    // Four tasks, each with one after the other, of some 22 ms.
    assert!(
        requests.len() as f64 > 4.0 * 30.0 * seconds,
        "{} in {seconds} s: {said}",
        requests.len()
    );
    let length = |start: u64, end: u64| (end - start) as f64 / 1e6;
    for request in &requests {
        let length = length(request.start, request.end.unwrap());
        assert!(!request.at_least, "{request:?}");
        assert!((20.0..100.0).contains(&length), "{length} ms: {request:?}");
    }
    // Nobody computes for long, and what is not seen to end is not told to.
    for poll in &history.polls {
        let taken = poll.length().map(|taken| taken - poll.preempted.min(taken));
        assert!(taken.is_none_or(|taken| taken < 5_000_000), "{poll:?}");
    }
    // What receives in a loop waits for one message after the other, woken unseen or not.
    let longest = history
        .awaits
        .iter()
        .filter(|instance| instance.awaited.future.contains("mpsc") && instance.start >= since)
        .filter_map(|instance| Some(length(instance.start, instance.end?)))
        .fold(0.0, f64::max);
    assert!(longest < 100.0, "{longest} ms");

    let report = run(&["report", path]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    for words in [
        "polls of busy::Counted<busy::spinner>, wake-ups",
        "nothing was lost",
    ] {
        assert!(report.stdout.contains(words), "{}", report.stdout);
    }
    assert!(!report.stdout.contains("Findings"), "{}", report.stdout);
    assert!(target.is_alive());
}

/// In a runtime of one thread: no look at memory lists any of them, and they could be of a `LocalSet`.
#[test]
fn live_tasks_that_end_in_a_pause_are_over_at_the_next_look() {
    if !permitted() {
        return;
    }
    let load = ["--current-thread", "--spinners", "1", "--visitors", "150"];
    let others = ["--pairs", "0", "--yielders", "0", "--sleepers", "3"];
    let mut target = Fixture::start(Build::Release, "busy", &[&load[..], &others].concat());
    let pid = target.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.astrace");
    let path = file.to_str().unwrap();
    let budget = ["--max-overhead", "20"];
    let recorded = run(&[
        &["record", "--pid", &pid, "-d", "9", "-o", path],
        &budget[..],
    ]
    .concat());
    let said = &recorded.stderr;
    assert_eq!(recorded.code, Some(0), "{said}");
    // Who waits at the door, one that spins and three that sleep; and the thread's own future, if it was
    // found between two polls.
    let live = |number| said.contains(&format!("tasks      {number} live"));
    assert!(live(5) || live(6), "{said}");

    let (history, watching) = read(&file);
    let is_visitor = |task: &&TaskHistory| {
        let future = task.future.as_deref().unwrap_or_default();
        future.contains("visitor")
    };
    let seen: Vec<&TaskHistory> = history
        .units
        .iter()
        .filter_map(UnitHistory::task)
        .filter(is_visitor)
        .collect();
    assert!(seen.len() >= 5, "{said}");
    assert!(seen.iter().all(|task| task.end.is_some()), "{seen:?}");
    // Some of them ended where nobody saw it.
    let ends = seen.iter().filter_map(|task| task.end);
    let unseen = ends.filter(|end| end.outcome == Outcome::Over).count();
    assert!(unseen > 0, "{:?} {seen:?}", pauses(&watching));
    assert!(target.is_alive());
}

#[test]
fn live_a_budget_is_kept_by_windows_and_everything_that_was_not_watched_is_told() {
    if !permitted() {
        return;
    }
    // As fast as it goes.
    let mut target = Fixture::start(Build::Release, "busy", &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.astrace");
    let path = file.to_str().unwrap();
    let pid = target.pid().to_string();
    let recorded = run(&[
        "record",
        "--pid",
        &pid,
        "-d",
        "8",
        "--max-overhead",
        "2",
        "-o",
        path,
    ]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let said = &recorded.stderr;
    assert!(
        said.contains("budget     2.0% of the target's CPU time"),
        "{said}"
    );
    assert!(
        said.contains("note: to cost at most 2.0%, not watched:"),
        "{said}"
    );
    assert!(said.contains(" of the time, in "), "{said}");
    assert!(
        said.contains("left out   everything but panics outside windows"),
        "{said}"
    );
    let taken = said
        .split(", took ")
        .nth(1)
        .and_then(|rest| rest.split('%').next());
    let taken = taken.unwrap().trim_start_matches("about ");
    let taken: f64 = taken.trim_start_matches('<').parse().unwrap();
    // What the first look takes is paid off by and by.
    assert!(taken < 4.0, "{said}");

    let (history, watching) = read(&file);
    let pauses = pauses(&watching);
    assert!(!pauses.is_empty());
    assert!(pauses.len() as u64 >= history.missing.pauses && history.missing.pauses > 0);
    assert!(
        history.missing.unwatched_ns > 1_000_000_000,
        "{:?}",
        history.missing
    );
    assert!(history.polls.len() > 100, "{}", history.polls.len());
    // A poll that was entered in a pause is a hit that was on its way: a few at most, at its very
    // begin. None reaches across one.
    let late = |begin: u64| pauses.iter().any(|(from, to)| begin > *from && begin < *to);
    let late = history.polls.iter().filter(|poll| late(poll.begin)).count();
    assert!(late * 100 < history.polls.len(), "{late}");
    for poll in &history.polls {
        let Some(end) = poll.end else { continue };
        let across = pauses
            .iter()
            .any(|(from, to)| poll.begin < *from && end >= *to);
        assert!(!across, "{poll:?} {pauses:?}");
    }

    let report = run(&["report", path]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    assert!(
        report
            .stdout
            .contains("to keep its budget, tracing watched"),
        "{}",
        report.stdout
    );
    let json = run(&["report", path, "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        json["incomplete"]["pauses"].as_u64(),
        Some(history.missing.pauses)
    );
    assert!(target.is_alive());

    // With enough of a budget, or without one, everything is watched.
    let recorded = run(&[
        "record",
        "--pid",
        &pid,
        "-d",
        "1",
        "--max-overhead",
        "none",
        "-o",
        path,
    ]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    assert!(!recorded.stderr.contains("budget"), "{}", recorded.stderr);
    assert!(read(&file).1.is_empty());
    assert!(target.is_alive());
}
