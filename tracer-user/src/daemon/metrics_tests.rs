use std::sync::Arc;

use super::*;
use crate::address::Address;
use crate::daemon::totals::Counting;
use crate::follow::recorder::Entry;
use crate::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Outcome, TaskUnit, Unit, UnitId, WakeEffect,
};

/// A task of this type that was woken, polled for 20 us, and is over.
fn life(unit: u64, future: &str) -> Vec<Event> {
    let task = TaskUnit {
        runtime: "tokio".into(),
        address: Address(unit),
        task_id: None,
        generation: 0,
        future: Some(future.into()),
        existing: false,
    };
    let kinds = [
        EventKind::Described(Arc::new(Unit::Task(task))),
        EventKind::Wake {
            task: UnitId(unit),
            by_value: true,
            effect: WakeEffect::Scheduled,
        },
        EventKind::PollBegin { thread: UnitId(0) },
        EventKind::PollEnd {
            outcome: Outcome::Ready,
            seen: EndSeen::NextEvent,
            began: Some(20_000),
        },
    ];
    let event = |(kind, time)| Event {
        id: EventId {
            unit: UnitId(unit),
            sequence: 0,
        },
        time,
        kind,
        cause: None,
    };
    kinds
        .into_iter()
        .zip((0..).step_by(10_000))
        .map(event)
        .collect()
}

fn target(label: &str, max_types: usize, types: &[&str]) -> TargetScrape {
    let mut totals = Totals::new(max_types);
    let mut counting = Counting::new(0);
    for (unit, name) in (1..).zip(types) {
        counting.take(&Entry::Events(life(unit, name)), &mut totals);
    }
    TargetScrape {
        label: label.to_owned(),
        totals,
        tasks: BTreeMap::new(),
        tasks_left_out: 0,
        findings: BTreeMap::new(),
        processes: BTreeMap::from([("following", 1)]),
        overhead: None,
        budget: 0.05,
    }
}

fn series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_text_is_as_documented() {
    let mut api = target("api", 1, &["app::serve", "app::other_one"]);
    api.tasks.insert(("app::serve".to_owned(), "idle"), 3);
    api.tasks.insert((OTHER.to_owned(), "running"), 1);
    api.findings.insert(("lost_wake", "proved".to_owned()), 1);
    api.totals.findings.insert("lost_wake", 2);
    api.totals.lost = 5;
    api.totals.session_ns = 4_000_000_000;
    api.totals.watched_ns = 1_500_000_000;
    api.overhead = Some(0.0125);
    let scrape = Scrape {
        targets: vec![api, target("jobs", 1, &[])],
        own: Some(OwnCost {
            cpu_seconds: 1.5,
            resident_bytes: 12_345_678,
        }),
        reloads: (2, 1),
    };
    let text = text(scrape)
        .unwrap()
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text);
}

#[test]
fn label_values_are_escaped_and_odd_ones_have_none() {
    let types = ["a\"b\\c<T>", "line\nbreak", "\u{1b}[2J", "x\u{202e}y"];
    let scrape = Scrape {
        targets: vec![target("api", 9, &types)],
        ..Scrape::default()
    };
    let text = text(scrape).unwrap();
    assert!(text.contains(r#"type="a\"b\\c<T>""#), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("break"));
    let line = r#"asynctrace_poll_seconds_count{target="api",type="other"} 3"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn series_are_bounded_and_no_two_are_the_same() {
    let names: Vec<String> = (0..1_000).map(|n| format!("app::task_{n}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push(OTHER);
    let scrape = Scrape {
        targets: vec![target("api", 5, &names)],
        ..Scrape::default()
    };
    let text = text(scrape).unwrap();
    let series = series(&text);
    assert!(series.len() < 6 * 2 * 20 + 50, "{}", series.len());
    let names: std::collections::HashSet<&str> = series
        .iter()
        .filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name))
        .collect();
    assert_eq!(names.len(), series.len());
    assert!(text.ends_with("# EOF\n"));
}
