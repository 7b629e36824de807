//! What can be told of a page without a browser: what is chosen, what is summed, and that nothing in
//! it can be taken for markup. `tests/html_page.rs` opens pages for real.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::assemble::SCRIPTS;
use super::{Head, Limits, Page, save, write};
use crate::address::Address;
use crate::analyse::critical_path::{Piece, PieceKind};
use crate::analyse::history::{
    Await, AwaitIndex, AwaitOutcome, Awaited, Doer, History, Spawn, TaskHistory, UnitHistory,
    UnitIndex, UnitKind,
};
use crate::analyse::levels::Nesting;
use crate::analyse::requests::Request;
use crate::error::{Advice as _, ExitCode};
use crate::rebuild::event::{EventId, UnitId};
use crate::rebuild::suspension::Place;
use crate::rebuild::tree::NodeKind;

const START: u64 = 1_000_000;

fn task(history: &mut History, spawned: Option<(u32, u32)>) -> UnitIndex {
    let index = history.units.len() as u32;
    history.units.push(UnitHistory {
        id: UnitId(u64::from(index)),
        kind: UnitKind::Task(TaskHistory {
            name: format!("tokio/{index}").into(),
            address: Address(0x1000),
            future: Some("</script><b>".into()),
            blocking: false,
            existing: false,
            spawned: spawned.map(|(unit, within)| Spawn {
                time: START,
                event: EventId {
                    unit: UnitId(u64::from(unit)),
                    sequence: 0,
                },
                by: Doer {
                    unit: UnitIndex(unit),
                    poll: None,
                    within: Some(AwaitIndex(within)),
                    origin: None,
                },
            }),
            end: None,
        }),
        first: START,
        last: START,
        polls: Vec::new(),
        awaits: Vec::new(),
        woken: Vec::new(),
        gaps: Vec::new(),
    });
    UnitIndex(index)
}

fn wait(
    history: &mut History,
    task: UnitIndex,
    parent: Option<AwaitIndex>,
    name: &str,
    time: (u64, u64),
) -> AwaitIndex {
    let index = AwaitIndex(history.awaits.len() as u32);
    history.awaits.push(Await {
        task,
        parent,
        former_parents: Vec::new(),
        awaited: Arc::new(Awaited {
            future: name.into(),
            kind: NodeKind::AsyncFn,
            waits_for: None,
            by: parent.map(|_| "body".into()),
            file: None,
            line: None,
        }),
        place: Place::Inside(0),
        start: START + time.0,
        at_least: false,
        end: Some(START + time.1),
        outcome: AwaitOutcome::Ready,
        waiting: time.1 - time.0,
        polled: 0,
        polls: 1,
    });
    history.units[task.0 as usize].awaits.push(index);
    index
}

/// Two requests of 100 and 300 ns; the second spawns a task.
fn history() -> (History, Vec<Request>) {
    let mut history = History {
        span: START..START + 1_000,
        ..History::default()
    };
    let first = task(&mut history, None);
    let quick = wait(&mut history, first, None, "quick", (0, 100));
    wait(&mut history, first, Some(quick), "leaf", (10, 90));
    let second = task(&mut history, None);
    let slow = wait(&mut history, second, None, "slow", (50, 350));
    wait(&mut history, second, Some(slow), "leaf", (60, 260));
    let child = task(&mut history, Some((second.0, slow.0)));
    let body = wait(&mut history, child, None, "child", (100, 200));
    wait(&mut history, child, Some(body), "leaf", (110, 190));
    let request = |id, what: &str, root: AwaitIndex, task, time: (u64, u64)| Request {
        id,
        what: what.into(),
        root,
        task,
        start: START + time.0,
        at_least: false,
        end: Some(START + time.1),
        outcome: AwaitOutcome::Ready,
    };
    let requests = vec![
        request(1, "quick", quick, first, (0, 100)),
        request(2, "slow", slow, second, (50, 350)),
    ];
    (history, requests)
}

fn page_with(limits: Limits) -> (String, Value) {
    let (history, requests) = history();
    let path = |request: &Request| {
        vec![Piece {
            from: request.start,
            to: request.end.unwrap(),
            unit: request.task,
            within: Some(request.root),
            kind: PieceKind::Unknown,
        }]
    };
    let mut out = Vec::new();
    let page = Page {
        head: Head {
            exe: "<img src=x>\u{202e}".to_owned(),
            ..Head::default()
        },
        history: &history,
        nesting: &Nesting::new(&history),
        requests: &requests,
        kinds: &[],
        path: &path,
        limits,
    };
    write(&page, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let data = text.split("id=\"data\">").nth(1).unwrap();
    let data = data.split("</script>").next().unwrap();
    let mut json = String::new();
    flate2::read::ZlibDecoder::new(&*BASE64.decode(data).unwrap())
        .read_to_string(&mut json)
        .unwrap();
    (text, serde_json::from_str(&json).unwrap())
}

#[test]
fn a_page_holds_everything_that_fits() {
    let (_, data) = page_with(Limits::default());
    assert_eq!(data["left_out"]["awaits"], 0);
    assert_eq!(data["requests"]["id"], serde_json::json!([1, 2]));
    // Differences: the second began 50 ns after the first.
    assert_eq!(data["requests"]["start"], serde_json::json!([0, 50]));
    assert_eq!(data["requests"]["length"], serde_json::json!([100, 300]));
    assert_eq!(data["requests"]["spawned"], serde_json::json!([2]));
    assert_eq!(data["requests"]["spawned_from"], serde_json::json!([0, 0]));
    assert_eq!(
        data["awaits"]["parent"],
        serde_json::json!([-1, 0, -1, 2, -1, 4])
    );
    assert_eq!(data["pieces"]["length"], serde_json::json!([100, 300]));
}

#[test]
fn the_slowest_are_kept_whole_and_the_rest_is_counted() {
    let limits = Limits {
        awaits: 4,
        ..Limits::default()
    };
    let (_, data) = page_with(limits);
    // The slow one with the task that it spawned; nothing of the quick one fits.
    assert_eq!(
        data["awaits"]["length"],
        serde_json::json!([300, 200, 100, 80])
    );
    assert_eq!(data["requests"]["cut"], serde_json::json!([-2, 0]));
    assert_eq!(data["requests"]["root"], serde_json::json!([-2, 0]));
    assert_eq!(data["left_out"]["awaits"], 2);
    assert_eq!(data["left_out"]["paths"], 1);
    // Sums are over all.
    assert_eq!(data["totals"]["awaits"], 6);
    let counts = data["profile"]["count"].as_array().unwrap();
    // Futures of tasks are in no row: nobody awaits them.
    assert_eq!(counts.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 3);
}

#[test]
fn a_graph_greater_than_the_page_is_cut_and_says_so() {
    let limits = Limits {
        awaits: 3,
        ..Limits::default()
    };
    let (_, data) = page_with(limits);
    assert_eq!(data["requests"]["cut"], serde_json::json!([-2, 1]));
    assert_eq!(data["left_out"]["awaits"], 3);
}

#[test]
fn the_flame_graph_counts_each_instance_once() {
    let (_, data) = page_with(Limits::default());
    let flame = &data["flame"];
    assert_eq!(flame["parent"], serde_json::json!([-1, 0, -1, 2, -1, 4]));
    // A vertex has what is not its children's.
    assert_eq!(
        flame["waiting"],
        serde_json::json!([20, 80, 100, 200, 20, 80])
    );
    let (_, data) = page_with(Limits {
        flame: 3,
        ..Limits::default()
    });
    assert_eq!(data["flame"]["left_out"], 3);
}

#[test]
fn no_name_stands_in_the_page_as_markup() {
    let (text, data) = page_with(Limits::default());
    assert!(!text.contains("<img") && !text.contains("<b>"));
    assert_eq!(text.matches("</script>").count(), SCRIPTS.len() + 1);
    assert_eq!(data["head"]["exe"], "<img src=x>\\u{202e}");
}

#[test]
fn the_policy_names_every_script_and_nothing_else() {
    use sha2::Digest as _;
    let (text, _) = page_with(Limits::default());
    let policy = text.split("Content-Security-Policy").nth(1).unwrap();
    let policy = policy.split("\">").next().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(policy.matches("sha256-").count(), SCRIPTS.len() + 1);
    for (name, script) in SCRIPTS {
        let hash = BASE64.encode(sha2::Sha256::digest(script.as_bytes()));
        assert!(policy.contains(&hash), "{name}");
        assert!(
            !script.contains("</script") && !script.contains("<!--"),
            "{name}"
        );
        let lines = script.lines().count();
        assert!((1..=400).contains(&lines), "{name} has {lines} lines");
    }
    for address in ["http://", "https://", "//cdn", "@import", "url("] {
        assert!(!text.contains(address), "{address}");
    }
}

#[test]
fn a_page_replaces_a_file_only_when_it_is_whole() {
    let (history, _) = history();
    let page = Page {
        head: Head::default(),
        history: &history,
        nesting: &Nesting::new(&history),
        requests: &[],
        kinds: &[],
        path: &|_| Vec::new(),
        limits: Limits::default(),
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    std::fs::write(&file, "before").unwrap();
    let bytes = save(&page, &file).unwrap();
    assert_eq!(file.metadata().unwrap().len(), bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let error = save(&page, folder.path()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::BadFile);
    let error = save(&page, &folder.path().join("none/page.html")).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::BadFile);
    assert!(error.next_step().unwrap().contains("--html"));
    let error = save(&page, Path::new("/proc/page.html")).unwrap_err();
    assert!(error.to_string().contains("/proc/page.html"));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}
