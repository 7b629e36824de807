//! A real program that we did not write: `mini-redis` from crates.io, with idle clients, with the
//! load of redis-benchmark, and with an independent witness of its polls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::command;
use support::expect::{Complaints, check_counts, outline};
use support::mini_redis::{Server, binary};
use support::tree::nodes;
use tracer_user::export::recording::{Reader, Window, builder, join};

const IDLE: usize = 12;
/// The future that serves one connection.
const HANDLER: &str = "mini_redis::server::";

/// The (local, peer) addresses that the connections' tasks wait on.
fn connections(dump: &Value) -> Vec<(String, String)> {
    let tasks = dump["tasks"].as_array().expect("tasks");
    let handlers = tasks.iter().filter(|task| {
        let future = task["future"].as_str().unwrap_or_default();
        let id = task["id"].as_str().unwrap_or_default();
        future.starts_with(HANDLER) && !id.contains("/block_on/")
    });
    handlers
        .flat_map(|task| nodes(&task["tree"]))
        .map(|node| &node["waits_for"])
        .filter(|wait| wait["kind"] == "io")
        .filter_map(|wait| {
            Some((
                wait["local"].as_str()?.to_owned(),
                wait["peer"].as_str()?.to_owned(),
            ))
        })
        .collect()
}

/// Each connection's task waits on its socket, with both of its addresses.
#[test]
fn mini_redis_idle_clients() {
    let mut server = Server::start();
    let clients: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
    let here = server.address.to_string();
    let expected: BTreeSet<(String, String)> = clients
        .iter()
        .map(|client| {
            (
                here.clone(),
                client.local_addr().expect("bound").to_string(),
            )
        })
        .collect();

    // The server accepts them in its own time.
    let begin = Instant::now();
    let (dump, seen) = loop {
        let dump = command::dump(server.pid());
        let seen = connections(&dump);
        if seen.len() >= IDLE || begin.elapsed() > Duration::from_secs(60) {
            break (dump, seen);
        }
    };
    let mut complaints = Complaints::default();
    let one_each: BTreeSet<_> = seen.iter().cloned().collect();
    complaints.unless(
        one_each == expected && seen.len() == IDLE,
        format!("clients {expected:?}, but tasks wait on {seen:?}"),
    );
    // One task for each connection, and the one that purges old keys.
    check_counts(&dump, IDLE as u64 + 1, &mut complaints);
    for task in dump["tasks"].as_array().expect("tasks") {
        let opaque = nodes(&task["tree"])
            .iter()
            .any(|node| node["kind"] == "unknown");
        complaints.unless(!opaque, format!("opaque:\n{}", outline(&task["tree"], 1)));
    }
    // The root accepts, on the listening socket.
    let roots = dump["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .filter(|task| {
            let id = task["id"].as_str().unwrap_or_default();
            id.contains("/block_on/")
        });
    let listens = roots.flat_map(|root| nodes(&root["tree"])).any(|node| {
        node["waits_for"]["kind"] == "io" && node["waits_for"]["local"] == here.as_str()
    });
    complaints.unless(listens, "no root waits on the listening socket");
    complaints.unless(server.is_alive(), "mini-redis did not survive");
    complaints.settle("mini-redis with idle clients");
}

/// Dumps of a server at full work find its idle connections all the same.
#[test]
fn mini_redis_busy_clients() {
    let mut server = Server::start();
    let idle: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
    let mut benchmark = server
        .benchmark(200_000, 10)
        .spawn()
        .expect("redis-benchmark");
    let mut complaints = Complaints::default();
    let mut busy_seen = false;
    for _ in 0..3 {
        let dump = command::dump(server.pid());
        let seen: BTreeSet<String> = connections(&dump)
            .into_iter()
            .map(|(_, peer)| peer)
            .collect();
        for client in &idle {
            let peer = client.local_addr().expect("bound").to_string();
            complaints.unless(seen.contains(&peer), format!("{peer} is idle and not seen"));
        }
        busy_seen |= dump["coverage"]["tasks_listed"].as_u64() > Some(IDLE as u64 + 1);
    }
    complaints.unless(busy_seen, "no dump fell into the benchmark");
    let _ = benchmark.kill();
    let _ = benchmark.wait();
    complaints.unless(server.is_alive(), "mini-redis did not survive");
    complaints.settle("mini-redis with busy clients");
}

/// Starts a command that says on `stderr` (or stdout) when it is at work.
fn start_and_wait(command: &mut Command, line: &str) -> (Child, Box<dyn BufRead>) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stderr = child.stderr.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    let (mut read, other): (Box<dyn BufRead>, Box<dyn Read + Send>) = if line.contains("Ctrl-C") {
        (Box::new(BufReader::new(stderr)), Box::new(stdout))
    } else {
        (Box::new(BufReader::new(stdout)), Box::new(stderr))
    };
    // A full pipe must not stop it.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut { other }, &mut std::io::sink());
    });
    let mut said = String::new();
    while !said.contains(line) {
        let count = read.read_line(&mut said).expect("text");
        assert!(count > 0, "it ended before it said {line:?}: {said}");
    }
    (child, read)
}

/// The load goes on for this long, and the recording for somewhat longer.
const LOAD: Duration = Duration::from_secs(30);
const RECORDED: &str = "35";

/// A number that bpftrace printed at its end.
fn counted_by(bpftrace: &str, what: &str) -> u64 {
    bpftrace
        .lines()
        .find_map(|line| {
            line.strip_prefix(&format!("@{what}: "))?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or_else(|| panic!("bpftrace said {bpftrace:?}"))
}

/// Attached for half a minute under load: nothing is lost, the benchmark finishes, and the recording
/// has as many polls as bpftrace counted at the same symbols at the same time, and as many tasks as
/// connections were accepted.
#[test]
fn live_mini_redis_under_load() {
    let mut server = Server::start();
    let pid = server.pid().to_string();
    let _idle: Vec<_> = (0..IDLE).map(|_| server.connect()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mini-redis.astrace");
    let file = file.to_str().expect("UTF-8");

    let polls = format!(
        "BEGIN {{ printf(\"counting\\n\"); }} \
         uprobe:{}:*tokio*runtime*task*raw*poll* {{ @polls = count(); }} \
         tracepoint:syscalls:sys_exit_accept4 /pid == {pid} && args->ret >= 0/ \
         {{ @accepted = count(); }}",
        binary().display()
    );
    let (mut counter, mut counted) = start_and_wait(
        Command::new("bpftrace").args(["-p", &pid, "-e", &polls]),
        "counting",
    );
    let (mut attach, mut said) = start_and_wait(
        &mut command::asynctrace(&["record", "--pid", &pid, "-d", RECORDED, "-o", file]),
        "Ctrl-C",
    );
    // Work that is over before either of the two ends, so that both see all of it.
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < LOAD {
        let status = server
            .benchmark(5_000, 10)
            .status()
            .expect("redis-benchmark");
        assert!(status.success(), "the benchmark failed: {status}");
        rounds += 1;
    }
    assert!(
        begin.elapsed() < LOAD + Duration::from_secs(4),
        "too slow to compare"
    );
    let mut summary = String::new();
    said.read_to_string(&mut summary).expect("text");
    assert!(attach.wait().expect("our child").success(), "{summary}");
    command::signal(counter.id().cast_signed(), Signal::INT);
    let mut count = String::new();
    counted.read_to_string(&mut count).expect("text");
    counter.wait().expect("our child");
    assert!(server.is_alive(), "mini-redis did not survive");

    let report = command::run(&["report", file, "--json"]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(report["missing"]["records"], 0, "lost: {summary}");
    assert_eq!(report["missing"]["events_dropped"], 0, "{summary}");
    assert_eq!(report["file"]["ending"], "complete");
    let ours = report["polls"].as_u64().expect("a count");
    let theirs = counted_by(&count, "polls");
    // A poll may serve more than one request, but not many of ten clients that wait for answers.
    assert!(ours > rounds * 5_000, "{rounds} rounds, {ours} polls");
    assert!(
        ours.abs_diff(theirs) * 100 <= theirs,
        "{ours} polls recorded, bpftrace counted {theirs}"
    );
    let accepted = counted_by(&count, "accepted");
    let of_connections = report["types"].as_array().expect("types").iter();
    let tasks: u64 = of_connections
        .filter(|kind| {
            kind["future"]
                .as_str()
                .is_some_and(|it| it.starts_with(HANDLER))
        })
        .filter_map(|kind| kind["tasks"].as_u64())
        .sum();
    // Those of the idle clients were there before.
    assert_eq!(tasks, accepted + IDLE as u64, "tasks of connections");
    let with_cause = report["polls_with_cause"].as_u64().expect("a count");
    assert!(
        with_cause * 100 >= ours * 99,
        "what caused it is known of {with_cause} of {ours} polls"
    );
    let bytes = report["file"]["bytes"].as_u64().expect("bytes");
    let events = report["events"].as_u64().expect("events");
    println!("{ours} polls, {events} events, {bytes} bytes");
    assert!(bytes <= events * 8, "{bytes} bytes for {events} events");
    check_history(Path::new(file), &report);
}

/// What is joined from the recording agrees with what was counted from it.
fn check_history(file: &Path, report: &Value) {
    let mut reader = Reader::open(file).expect("a recording");
    let mut joined = builder(reader.header(), Window::default());
    while let Some(item) = reader.next_item().expect("readable") {
        join(&item, &mut joined);
    }
    let history = joined.finish();
    assert_eq!(history.polls.len() as u64, report["polls"]);
    assert_eq!(history.wakes.len() as u64, report["wakes"]["total"]);
    assert_eq!(history.missing.beyond_limits, 0);
    // The time that a task waited and was polled is the time that it lived.
    for unit in &history.units {
        let Some(root) = unit.awaits.first().map(|root| &history[*root]) else {
            continue;
        };
        if let Some(end) = root.end {
            assert_eq!(root.waiting + root.polled, end - root.start, "{root:?}");
        }
    }
}
