//! The views of requests, as a person sees them.

use super::{Choices, Material, list, one};
use crate::analyse::history::{AwaitIndex, History};
use crate::analyse::levels::Level;
use crate::analyse::sample::{Sample, task_in, thread_by};
use crate::export::recording::{Header, Host};
use crate::rebuild::event::Origin;
use crate::rebuild::snapshot::ProcessInfo;

const MS: u64 = 1_000_000;

fn header() -> Header {
    Header {
        trace_id: uuid::Uuid::from_u128(0x018f_0000_0000_7001_8002_0304_0506_0708),
        tool: "asynctrace 0.1.0".into(),
        process: ProcessInfo {
            pid: 42,
            exe: "/srv/app".into(),
            build_id: None,
        },
        clock_monotonic: 0,
        clock_realtime: 1_700_000_000_000_000_000,
        host: Host::default(),
        started: 0,
        runtime: "tokio".into(),
        debug_info: None,
        probes: Vec::new(),
        unseen: Vec::new(),
        sampling: None,
        requests: Vec::new(),
        kept: None,
    }
}

/// A connection that handles 40 requests of 6 ms; from the 20th on four ask a store that is slow,
/// and the last one goes on.
fn service() -> History {
    let mut sample = Sample::default();
    let connection = sample.task("app::connection");
    let store = sample.task("app::store");
    let driver = sample.thread("worker");
    let timer = sample.origin(Origin::Timer);
    let socket = sample.origin(Origin::Io {
        resource: None,
        fd: Some(9),
    });
    let root = sample.instance(
        connection,
        None,
        "app::connection",
        0,
        None,
        (0, 5_000 * MS),
    );
    sample.open(root);
    let stores = sample.instance(store, None, "app::store", 0, None, (0, 5_000 * MS));
    sample.open(stores);
    for number in 0..40_u64 {
        let at = (100 + number * 100) * MS;
        let slow = (20..24).contains(&number);
        let asks = at + 2 * MS;
        let answered = asks + if slow { 44 } else { 4 } * MS;
        let handle = sample.instance(
            connection,
            Some(root),
            "app::handle",
            12,
            None,
            (at, answered + MS / 10),
        );
        let read = sample.instance(
            connection,
            Some(handle),
            "dep::Sleep",
            20,
            Some("sleep"),
            (at + MS / 10, asks),
        );
        let answer = sample.instance(
            connection,
            Some(handle),
            "dep::Oneshot",
            23,
            Some("oneshot"),
            (asks + MS / 10, answered),
        );
        let begins = sample.poll(connection, at, at + MS / 10);
        sample.wake(
            connection,
            at - MS / 10,
            thread_by(driver, Some(socket)),
            begins,
        );
        let sends = sample.poll(connection, asks, asks + MS / 10);
        sample.waited(sends, read);
        let by_timer = thread_by(driver, Some(timer));
        sample.wake(connection, asks - MS / 50, by_timer, sends);
        let disk = sample.instance(
            store,
            Some(stores),
            "dep::Io",
            7,
            Some("io"),
            (asks + MS / 2, answered - MS),
        );
        let takes = sample.poll(store, asks + MS / 5, asks + MS / 2);
        sample.wake(
            store,
            asks + MS / 20,
            task_in(connection, sends, handle),
            takes,
        );
        let answers = sample.poll(store, answered - MS, answered - MS / 2);
        sample.waited(answers, disk);
        let by_socket = thread_by(driver, Some(socket));
        sample.wake(store, answered - MS - MS / 5, by_socket, answers);
        let ends = sample.poll(connection, answered, answered + MS / 10);
        sample.waited(ends, answer);
        sample.wake(
            connection,
            answered - MS + MS / 4,
            task_in(store, answers, stores),
            ends,
        );
        if number == 39 {
            sample.open(handle);
            sample.open(answer);
            let connection = &mut sample.history.units[connection.0 as usize];
            connection.polls.pop();
        }
    }
    sample.history.span = 0..5_000 * MS;
    sample.history.polls.sort_by_key(|_| 0);
    sample.history
}

fn listed(history: &History, patterns: &[&str], choices: Choices) -> String {
    let header = header();
    let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    let material = Material::new(&header, history, &patterns);
    let view = material.list(choices);
    let mut text = Vec::new();
    list::write(&material, &view, &mut text).unwrap();
    plain(&text)
}

fn shown(history: &History, id: u32, level: Level) -> String {
    let header = header();
    let material = Material::new(&header, history, &["handle".to_owned()]);
    let view = material.one(material.request(id).unwrap(), level);
    let mut text = Vec::new();
    one::write(&material, &view, &mut text).unwrap();
    plain(&text)
}

/// Without colours; lines without blanks at their end.
fn plain(text: &[u8]) -> String {
    let text = anstream::adapter::strip_bytes(text).into_vec();
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

const LIST: Choices = Choices {
    top: 6,
    level: Level::Requests,
    critical_paths: true,
};

#[test]
fn the_list_tells_what_slow_ones_have_in_common() {
    insta::assert_snapshot!(listed(&service(), &["handle", "nothing"], LIST));
}

#[test]
fn without_patterns_it_says_what_was_chosen() {
    let choices = Choices {
        top: 1,
        critical_paths: false,
        ..LIST
    };
    let text = listed(&service(), &[], choices);
    let head: Vec<&str> = text.lines().take(3).collect();
    assert_eq!(
        head,
        [
            "40 requests in 5.00s",
            "  40 of app::handle: awaited again and again by app::connection",
            "  chosen by asynctrace; --request GLOB names others",
        ]
    );
}

#[test]
fn where_there_is_nothing_the_next_step_is_told() {
    let choices = Choices { top: 5, ..LIST };
    insta::assert_snapshot!(listed(&service(), &["nobody"], choices));
    assert!(listed(&History::default(), &[], choices).contains("debug = 2"));
}

#[test]
fn one_request_is_a_tree_with_its_critical_path() {
    insta::assert_snapshot!(shown(&service(), 21, Level::Awaits));
}

#[test]
fn levels_open_more_and_more() {
    let history = service();
    let lines = |level| shown(&history, 22, level).lines().count();
    let counts: Vec<usize> = Level::ALL.into_iter().map(lines).collect();
    assert!(counts.is_sorted_by(|less, more| less < more), "{counts:?}");
    insta::assert_snapshot!(shown(&history, 40, Level::Polls));
}

#[test]
fn many_alike_are_folded() {
    let mut history = service();
    let template = history.awaits[3].clone();
    for number in 0..50 {
        let mut more = template.clone();
        more.start += number;
        history.awaits.push(more);
    }
    let text = shown(&history, 1, Level::Awaits);
    assert!(text.contains("48 more of these, the longest"), "{text}");
}

#[test]
fn names_do_not_reach_the_terminal_raw() {
    let mut history = service();
    for instance in &mut history.awaits {
        let mut awaited = (*instance.awaited).clone();
        awaited.future = format!("{}\x1b[2J", awaited.future).into();
        awaited.file = Some("src/\x1b]0;x\x07.rs".into());
        awaited.waits_for = Some("\x1b[1m".into());
        instance.awaited = awaited.into();
    }
    let text = listed(&history, &["*handle*"], LIST);
    assert!(text.contains("\\x1b[2J") && !text.contains('\x1b'));
    let header = header();
    let material = Material::new(&header, &history, &["*handle*".to_owned()]);
    let view = material.one(material.request(21).unwrap(), Level::Polls);
    let mut raw = Vec::new();
    one::write(&material, &view, &mut raw).unwrap();
    let raw = String::from_utf8(raw).unwrap();
    assert!(!raw.contains("\x1b[2J") && !raw.contains("\x1b]"), "{raw}");
    assert!(!serde_json::to_string(&view).unwrap().contains('\x1b'));
}

#[test]
fn json_has_pieces_that_sum_to_the_duration() {
    let history = service();
    let header = header();
    let material = Material::new(&header, &history, &["handle".to_owned()]);
    for id in 1..=40 {
        let one = material.one(material.request(id).unwrap(), Level::Awaits);
        let json = serde_json::to_value(&one).unwrap();
        let pieces = json["critical_path"]["pieces"].as_array().unwrap();
        let sum: u64 = pieces
            .iter()
            .map(|piece| piece["length_ns"].as_u64().unwrap())
            .sum();
        assert_eq!(json["request"]["duration_ns"], sum);
        assert_eq!(json["schema"], 1);
    }
    let _ = AwaitIndex(0);
}
