//! Programs with an older tokio: the same tasks and the same words for what they wait for. Which
//! versions were tried by hand is in `docs/compatibility.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::Build;
use support::command::dump;
use support::fixture::Fixture;

/// What each task of the fixture waits for: kind, and which of its kind.
const WAITS: &[(&str, &str, &str)] = &[
    ("channel_broadcast", "channel", "broadcast"),
    ("channel_mpsc_receive", "channel", "mpsc"),
    ("channel_mpsc_send", "channel", "mpsc"),
    ("channel_watch", "channel", "watch"),
    ("holder", "never", ""),
    ("io_tcp_accept", "io", "tcp"),
    ("io_tcp_read", "io", "tcp"),
    ("io_udp", "io", "udp"),
    ("io_unix", "io", "unix"),
    ("join_handle", "join", ""),
    ("join_set", "join", ""),
    ("lock_mutex", "lock", "mutex"),
    ("lock_rwlock_read", "lock", "rwlock_read"),
    ("notified", "notify", ""),
    ("oneshot_receive", "oneshot", ""),
    ("ping", "sleep", ""),
    ("pong", "channel", "mpsc"),
    ("semaphore_owned", "semaphore", ""),
    ("sleep_in_timeout", "sleep", ""),
];

/// The first leaf of a tree.
fn leaf(node: &Value) -> &Value {
    let children = node["children"].as_array();
    let first = children.and_then(|children| children.first());
    first.map_or(node, leaf)
}

#[test]
fn every_task_of_an_older_tokio_is_listed_with_what_it_waits_for() {
    for scheduler in [&[][..], &["--current-thread"]] {
        let fixture = Fixture::start(Build::Release, "past", scheduler);
        let dump = dump(fixture.pid());
        assert_eq!(
            dump["runtimes"].as_array().unwrap().len(),
            1,
            "{scheduler:?}"
        );
        let tasks = dump["tasks"].as_array().unwrap();
        // Those and two that tasks wait for, and the root of `block_on`.
        assert_eq!(tasks.len(), WAITS.len() + 3, "{scheduler:?}");
        let told: BTreeMap<&str, &Value> = tasks
            .iter()
            .filter_map(|task| {
                let name = task["future"].as_str()?.strip_prefix("past::")?;
                Some((name, &leaf(&task["tree"])["waits_for"]))
            })
            .collect();
        for (name, kind, which) in WAITS {
            let waits_for = told[name];
            // In the moment between two sleeps it stands elsewhere.
            if *name == "ping" && waits_for.is_null() {
                continue;
            }
            assert_eq!(waits_for["kind"], *kind, "{scheduler:?}: {name}");
            let known = ["channel", "lock", "resource", "protocol"];
            let word = known.iter().find_map(|key| waits_for[*key].as_str());
            assert_eq!(word.unwrap_or(""), *which, "{name}: {waits_for}");
            if *kind == "io" {
                assert!(
                    waits_for["fd"].as_i64().is_some_and(|fd| fd > 2),
                    "{waits_for}"
                );
            }
        }
    }
}
