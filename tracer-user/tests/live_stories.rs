//! The stories, from a cold start to the named cause, with the commands that a user would type.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::Build;
use support::command;
use support::faults::{check, findings, has_site, ids, in_words, markers, strings};
use support::fixture::Fixture;
use support::tree::without_generics;

const PATIENCE: Duration = Duration::from_secs(90);
const GRACE: [&str; 2] = ["src/bin/grace", "pigeon/src"];

/// One finding of a kind, the only one that is likely or proved.
fn the_only<'a>(answer: &'a Value, kind: &str) -> &'a Value {
    let sure: Vec<&Value> = findings(answer)
        .iter()
        .filter(|finding| finding["certainty"] != "possible")
        .collect();
    let words: Vec<_> = sure.iter().copied().map(in_words).collect();
    assert_eq!(sure.len(), 1, "{}", words.join("\n"));
    assert_eq!(sure[0]["kind"], kind, "{}", words[0]);
    sure[0]
}

/// What Grace must be told: her future, her await, as many as hang, and the bytes that wait.
/// In between it may have hit a few more: on a busy machine requests come in bunches.
fn grace_is_told(fixture: &mut Fixture, before: &[Value], answer: &Value) {
    fixture.tell("100 0");
    let hung = hung(&fixture.next_line(PATIENCE));
    let finding = the_only(answer, "lost_wake");
    let told = in_words(finding);
    let markers = markers(&GRACE);
    for marker in ["grace_poll", "grace_reply"] {
        assert!(has_site(finding, &markers[marker]), "{marker}: {told}");
    }
    let sites = finding["sites"].as_array().expect("sites");
    let culprit = sites.iter().find(|site| site["role"] == "culprit");
    let future = culprit.and_then(|site| site["future"].as_str());
    assert_eq!(
        future.map(without_generics).as_deref(),
        Some("pigeon::Reply"),
        "{told}"
    );
    let count = finding["count"].as_u64().unwrap_or(0);
    let known = before.len() as u64..=hung.len() as u64;
    assert!(known.contains(&count), "{count} of {known:?}: {told}");
    let known: BTreeSet<String> = hung.iter().filter_map(|one| text(&one["task"])).collect();
    for id in ids(finding) {
        assert!(known.contains(&id), "{id} does not hang: {told}");
    }
    // The first task's socket, with both its ends and what nobody reads.
    let first = &ids(finding)[0];
    let truth = hung.iter().find(|one| one["task"] == first.as_str());
    let truth = truth.expect("known");
    let evidence = strings(&finding["evidence"]).join("\n");
    for end in ["local", "peer"] {
        let address = text(&truth[end]).expect("an address");
        assert!(evidence.contains(&address), "{end} {address}: {told}");
    }
    assert!(evidence.contains("28 bytes"), "{told}");
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn hung(told: &Value) -> Vec<Value> {
    let hung = told["hung"].as_array().expect("a list").clone();
    assert!(hung.len() > 5, "too few hang: {told}");
    hung
}

/// Five in a hundred requests hang since some minutes: nothing but a look at memory.
#[test]
fn grace_is_told_from_memory() {
    for build in [Build::Release, Build::Lto] {
        let mut fixture = Fixture::start(build, "grace", &["--burst", "400"]);
        let before = hung(&fixture.facts["burst"]["told"]);
        // What has just come may be on its way.
        thread::sleep(Duration::from_secs(2));
        let answer = check(&["--pid", &fixture.pid().to_string(), "--now"]);
        grace_is_told(&mut fixture, &before, &answer);
    }
}

/// She attaches while it happens, keeps the recording, and asks again later: the same answer, with
/// what events add.
#[test]
fn live_grace_is_told_while_it_happens_and_from_the_recording() {
    let mut fixture = Fixture::start(Build::Release, "grace", &[]);
    let pid = fixture.pid().to_string();
    let calm = check(&["--pid", &pid, "--now"]);
    assert!(
        findings(&calm).is_empty(),
        "{}",
        in_words(&findings(&calm)[0])
    );

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hung.astrace");
    let log = folder.path().join("record.log");
    let mut recorder = command::asynctrace(&["record", "--pid", &pid, "-o"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("asynctrace starts");
    wait_for(&mut recorder, &log, "Attached to");
    fixture.tell("400 2");
    let told = fixture.next_line(PATIENCE);
    // Long enough to see that nothing comes any more.
    thread::sleep(Duration::from_secs(2));
    command::signal(recorder.id().cast_signed(), Signal::INT);
    let status = recorder.wait().expect("our child");
    let said = fs::read_to_string(&log).expect("a log");
    assert!(status.success(), "{said}");

    let path = file.to_str().expect("UTF-8");
    let answer = check(&[path]);
    grace_is_told(&mut fixture, &hung(&told), &answer);
    let finding = the_only(&answer, "lost_wake");
    assert!(
        finding["began_ns"].as_u64().is_some(),
        "{}",
        in_words(finding)
    );

    // And by attaching once it is over.
    let answer = check(&["--pid", &pid, "--duration", "3"]);
    grace_is_told(&mut fixture, &hung(&told), &answer);
}

fn wait_for(recorder: &mut Child, log: &std::path::Path, word: &str) {
    let begin = Instant::now();
    loop {
        let said = fs::read_to_string(log).expect("a log");
        if said.contains(word) {
            return;
        }
        let ended = recorder.try_wait().expect("our child");
        assert!(ended.is_none(), "it ended before it said {word:?}: {said}");
        assert!(begin.elapsed() < PATIENCE, "no {word:?}: {said}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The first case of await-tree's article: who loads a block is not polled any more, and everybody
/// waits for the block.
#[test]
fn single_flight_is_traced_to_the_side_that_is_not_polled() {
    for build in [Build::Release, Build::Lto] {
        let fixture = Fixture::start(build, "single_flight", &[]);
        // What is ready and unpolled for less may be about to be.
        thread::sleep(Duration::from_secs(2));
        let answer = check(&["--pid", &fixture.pid().to_string(), "--now"]);
        let truth = &fixture.faults[0];
        let kind = truth["kind"].as_str().expect("a kind");
        let finding = the_only(&answer, kind);
        let told = in_words(finding);
        let markers = markers(&["src/bin/single_flight"]);
        for marker in strings(&truth["at"]) {
            assert!(has_site(finding, &markers[&marker]), "{marker}: {told}");
        }
        assert_eq!(ids(finding), strings(&truth["tasks"]), "{told}");
    }
}

/// The second case: all wait for each other around a window that is full of what nobody takes.
#[test]
fn shared_window_is_a_circle_with_each_of_its_awaits() {
    for build in [Build::Release, Build::Lto] {
        let fixture = Fixture::start(build, "shared_window", &[]);
        let pid = fixture.pid().to_string();
        let answer = check(&["--pid", &pid, "--now"]);
        let truth = &fixture.faults[0];
        let finding = the_only(&answer, "wait_cycle");
        let told = in_words(finding);
        let markers = markers(&["src/bin/shared_window"]);
        for marker in strings(&truth["at"]) {
            assert!(has_site(finding, &markers[&marker]), "{marker}: {told}");
        }
        let named: BTreeSet<_> = ids(finding).into_iter().collect();
        let expected: BTreeSet<_> = strings(&truth["tasks"]).into_iter().collect();
        assert_eq!(named, expected, "{told}");

        // The graph names them, who waits behind them, and the resources between them.
        let run = command::run(&["check", "--pid", &pid, "--now", "--graph", "dot"]);
        assert!(run.stdout.starts_with("digraph"), "{}", run.stdout);
        let upstream = strings(&truth["upstream"]);
        for id in expected.iter().chain(&upstream) {
            assert!(run.stdout.contains(id.as_str()), "{id}: {}", run.stdout);
        }
    }
}
