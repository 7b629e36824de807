//! The text of a report, as a person sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::analyse::activity::{
    AwaitPlace, Missing, OpenTask, Poll, TypeActivity, Waiting, WakePair, Waker, Wakes,
};
use crate::analyse::history::{self, Awaited};
use crate::analyse::profile::{AwaitRow, DelayRow, Delays, Spread};
use crate::rebuild::event::UnitId;
use crate::rebuild::snapshot::TaskState;
use crate::rebuild::tree::NodeKind;
use crate::rebuild::tree::WaitsFor;

fn report() -> Report {
    let waiting = |line| Waiting {
        read_ns_before_end: 1_000_000,
        state: TaskState::Idle,
        awaits: vec![
            AwaitPlace {
                future: "app::serve".into(),
                file: "src/serve.rs".into(),
                line,
            },
            AwaitPlace {
                future: "dep::read".into(),
                file: "/home/u/.cargo/registry/src/index-1/dep-1.0.0/src/lib.rs".into(),
                line: 3,
            },
        ],
        waits_for: vec![WaitsFor::new("notify").with("address", "0x10")],
    };
    let open = |task: &str, quiet_ns, waiting, polled_for_ns| OpenTask {
        unit: UnitId(0),
        task: task.into(),
        future: Some("app::serve::{async_fn#0}".into()),
        existing: true,
        polls: Some(4),
        busy_ns: Some(50_000),
        quiet_ns: Some(quiet_ns),
        polled_for_ns,
        waiting,
        open_awaits: Vec::new(),
    };
    let activity = Activity {
        duration_ns: 10_000_000_000,
        events: 152_345,
        tasks: 203,
        tasks_existing: 200,
        tasks_over: 1,
        polls: 30_001,
        polls_begun: 30_002,
        polls_with_cause: 29_000,
        types: vec![
            TypeActivity {
                future: Some("app::serve::{async_fn#0}".into()),
                tasks: 200,
                existing: 200,
                open: 200,
                unwatched: 0,
                polls: 30_000,
                polls_of_unknown_length: 0,
                busy_ns: 2_000_000_000,
                off_cpu_ns: 0,
                longest_poll_ns: 12_300_000,
                wakes: 29_000,
            },
            TypeActivity {
                future: None,
                tasks: 3,
                open: 2,
                polls: 1,
                polls_of_unknown_length: 1,
                ..TypeActivity::default()
            },
        ],
        threads: Vec::new(),
        wakes: Wakes {
            total: 1_000,
            by_itself: 0,
            by_tasks: 250,
            by_runtime_threads: 750,
            redundant: 12,
            pairs: vec![
                WakePair {
                    by: Waker::RuntimeThread {
                        name: Some("tokio-rt-worker".into()),
                    },
                    woken: Some("app::serve::{async_fn#0}".into()),
                    count: 750,
                    without_effect: 12,
                },
                WakePair {
                    by: Waker::Task {
                        future: Some("evil\x1b[2J".into()),
                    },
                    woken: None,
                    count: 250,
                    without_effect: 0,
                },
            ],
            ..Wakes::default()
        },
        longest_polls: vec![Poll {
            task: "tokio/17".into(),
            future: Some("app::serve::{async_fn#0}".into()),
            began_ns: 1_500_000_000,
            length_ns: 12_300_000,
            blocked_ns: 11_000_000,
            preempted_ns: 0,
            exact: false,
            thread: Some(4_243),
        }],
        open: vec![
            open("tokio/17", 9_000_000_000, Some(waiting(23)), None),
            open("tokio/18", 8_000_000_000, Some(waiting(23)), None),
            open("tokio/19", 7_000_000_000, Some(waiting(42)), None),
            open("tokio/20", 0, None, Some(1_200_000_000)),
            open("tokio/21", 0, None, None),
        ],
        missing: Missing {
            records: 12,
            by_cpu: BTreeMap::from([(0, 0), (1, 12)]),
            ..Missing::default()
        },
    };
    Report {
        schema: SCHEMA,
        file: FileInfo {
            path: "t.astrace".into(),
            bytes: 1_250_000,
            format: "1.0".into(),
            ending: "complete",
            ended_because: Some("interrupted".into()),
            note: None,
            skipped_packets: 0,
            kept: None,
        },
        trace_id: "018f0000-0000-7001-8002-030405060708".into(),
        tool: "asynctrace 0.1.0".into(),
        process: ProcessInfo {
            pid: 4242,
            exe: "/srv/app".into(),
            build_id: Some("c0ffee".into()),
        },
        host: Host {
            kernel: "6.18.0".into(),
            architecture: "x86_64".into(),
            cpus: 2,
        },
        runtime: "tokio".into(),
        debug_info: Some(DebugInfoLevel::Full),
        started_unix_ns: Some(1_700_000_000_000_000_000),
        probes: Vec::new(),
        unseen: vec![Unseen {
            what: "app::inner".into(),
            reason: "inlined".into(),
            remedy: None,
        }],
        activity,
        findings: vec![crate::show::findings::samples::finding()],
        profile: profile(),
        incomplete: history::Missing::default(),
        open_left_out: 0,
    }
}

fn profile() -> Profile {
    let row = |future: &str, by: &str, line, innermost, count: u64, total_ns| AwaitRow {
        awaited: Arc::new(Awaited {
            future: future.into(),
            kind: NodeKind::AsyncFn,
            waits_for: (future == "tokio::time::Sleep").then(|| "sleep".into()),
            by: Some(by.into()),
            file: Some("src/serve.rs".into()),
            line: Some(line),
        }),
        leaf: innermost,
        innermost,
        durations: Spread {
            count,
            total_ns,
            p50_ns: total_ns / count,
            p99_ns: total_ns / count * 2,
            max_ns: total_ns / count * 3,
        },
        waiting_ns: total_ns,
        innermost_waiting_ns: if innermost { total_ns } else { 0 },
        polled_ns: 12_000,
        open: 1,
        at_least: 0,
        cancelled: 0,
    };
    let delays = Spread {
        count: 29_000,
        total_ns: 290_000_000,
        p50_ns: 8_000,
        p99_ns: 120_000,
        max_ns: 4_500_000,
    };
    Profile {
        awaits: vec![
            row("app::handle", "app::serve", 20, false, 100, 9_000_000_000),
            row(
                "tokio::time::Sleep",
                "app::handle",
                44,
                true,
                100,
                6_000_000_000,
            ),
            row(
                "tokio::sync::Mutex::lock\x1b[2J",
                "app::handle",
                47,
                true,
                40,
                3_000_000_000,
            ),
        ],
        wake_to_poll: Delays {
            woken: delays,
            spawned: Spread::default(),
            by_type: vec![DelayRow {
                future: Some("app::serve::{async_fn#0}".into()),
                delays,
            }],
        },
    }
}

fn text(report: &Report) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    write(report, &mut out).unwrap();
    String::from_utf8(out.into_inner()).unwrap()
}

#[test]
fn a_report_reads_well() {
    insta::assert_snapshot!(text(&report()));
}

#[test]
fn what_was_watched_in_windows_is_told_of_the_time_that_was_watched() {
    let mut windows = report();
    let whole = windows.activity.duration_ns;
    let share = |report: &Report| -> String {
        let text = text(report);
        let is_row = |line: &&str| line.trim_start().starts_with("200 ");
        let row = text.lines().find(is_row).unwrap();
        row.split_whitespace().nth(4).unwrap().to_owned()
    };
    let before = share(&windows);
    windows.incomplete.pauses = 8;
    windows.incomplete.unwatched_ns = whole / 2;
    assert_ne!(share(&windows), before);
    let polls = windows.activity.types[0].busy_ns as f64 / (whole / 2) as f64;
    assert_eq!(share(&windows), crate::show::live::format::percent(polls));

    // All of an await's instances are cut by pauses: nothing is known of how long they are but that.
    for row in &mut windows.profile.awaits {
        row.at_least = row.durations.count;
    }
    let text = text(&windows);
    assert!(text.contains(">=90ms"), "{text}");
    assert!(
        text.contains("had begun before the recording, or in a pause"),
        "{text}"
    );
}

#[test]
fn a_report_of_nothing_is_short_and_says_so() {
    let mut nothing = report();
    nothing.activity = Activity::default();
    nothing.profile = Profile::default();
    nothing.unseen.clear();
    nothing.file.note = Some("it has no end".into());
    insta::assert_snapshot!(text(&nothing));
}

#[test]
fn long_tables_say_what_they_leave_out() {
    let mut long = report();
    let row = long.activity.types[0].clone();
    long.activity.types = vec![row; 40];
    assert!(text(&long).contains("and 25 more (--json lists them)"));
}

#[test]
fn the_json_form_has_a_schema_and_the_activity_beside_it() {
    let value = serde_json::to_value(report()).unwrap();
    assert_eq!(value["schema"], 1);
    assert_eq!(value["types"][0]["polls"], 30_000);
    assert_eq!(value["wakes"]["pairs"][0]["by"]["kind"], "runtime_thread");
    assert_eq!(value["open"][0]["waiting"]["awaits"][0]["line"], 23);
    assert_eq!(value["missing"]["by_cpu"]["1"], 12);
}
