//! Healthy programs under load have no finding that is proved or likely. The minute-long runs are
//! `cargo xtask false-alarms`; these are the same, shorter, with a look at whether `check` had
//! anything to judge by.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; not every support module does"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use support::Build;
use support::command;
use support::expect::Complaints;
use support::fixture::Fixture;
use support::mini_redis::Server;

/// A line on a fixture's stdin is answered within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there must have been for `check` to judge.
struct Least {
    tasks: u64,
    /// In a second.
    polls: u64,
}

/// Judges a process that is healthy, attached for `seconds` and twice from memory alone.
fn is_healthy(pid: i32, seconds: u32, least: &Least, complaints: &mut Complaints) {
    let pid = pid.to_string();
    let duration = seconds.to_string();
    let live = ["check", "--json", "--pid", &pid, "-d", &duration];
    let check = judgement(&live, complaints);
    let coverage = &check["coverage"];
    let polls = coverage["polls"].as_u64();
    complaints.unless(
        polls >= Some(least.polls * u64::from(seconds)),
        format!("only {polls:?} polls: {coverage}"),
    );
    has_seen(coverage, least, complaints);
    for _ in 0..2 {
        let check = judgement(&["check", "--json", "--pid", &pid, "--now"], complaints);
        has_seen(&check["coverage"], least, complaints);
    }
}

fn has_seen(coverage: &Value, least: &Least, complaints: &mut Complaints) {
    let tasks = coverage["tasks"].as_u64();
    complaints.unless(
        tasks >= Some(least.tasks),
        format!("only {tasks:?} tasks: {coverage}"),
    );
    let looks = coverage["looks"].as_u64();
    complaints.unless(looks >= Some(2), format!("looked {looks:?} times"));
}

fn judgement(arguments: &[&str], complaints: &mut Complaints) -> Value {
    let run = command::run(arguments);
    let judged = matches!(run.code, Some(0 | 10));
    assert!(judged, "{arguments:?}: {:?}: {}", run.code, run.stderr);
    let check: Value = serde_json::from_str(&run.stdout).expect("JSON");
    for finding in check["findings"].as_array().expect("findings") {
        complaints.unless(
            finding["certainty"] == "possible",
            format!("{arguments:?} finds {finding:#}"),
        );
    }
    check
}

/// An axum service with timeouts, retries, cancellations, `select!` loops, pools, streams; no request
/// fails while it is judged.
#[test]
fn live_healthy_axum_service() {
    let mut service = Fixture::start(Build::Release, "http", &[]);
    let mut complaints = Complaints::default();
    let least = Least {
        tasks: 30,
        polls: 200,
    };
    is_healthy(service.pid(), 10, &least, &mut complaints);
    service.tell("how many?");
    let told = service.next_line(PATIENCE);
    complaints.unless(told["failed"] == 0, format!("requests failed: {told}"));
    complaints.unless(told["left"].as_u64() > Some(10), format!("{told}"));
    complaints.unless(told["served"].as_u64() > Some(1_000), format!("{told}"));
    complaints.unless(service.is_alive(), "it did not survive");
    complaints.settle("an axum service under load");
}

/// Thousands of idle connections; `cargo xtask false-alarms` has 20,000.
#[test]
fn live_healthy_idle_connections() {
    let mut idle = Fixture::start(Build::Release, "idle", &["--connections", "3000"]);
    let count = idle.count("connections");
    assert_eq!(count, 3_000);
    let mut complaints = Complaints::default();
    let least = Least {
        tasks: count,
        polls: 5,
    };
    is_healthy(idle.pid(), 10, &least, &mut complaints);
    idle.tell("how many?");
    let told = idle.next_line(PATIENCE);
    complaints.unless(told["served"].as_u64() > Some(50), format!("{told}"));
    complaints.settle("20,000 idle connections");
}

/// Programs of other tests: one that waits for locks held elsewhere, one with futures that are left
/// alone for a while, ping-pong, several runtimes, and everything that can be waited for for ever.
#[test]
fn live_healthy_fixtures() {
    let programs: [(&str, &[&str], Least); 5] = [
        (
            "demo",
            &[],
            Least {
                tasks: 10,
                polls: 50,
            },
        ),
        (
            "service",
            &["--seconds", "60"],
            Least {
                tasks: 5,
                polls: 50,
            },
        ),
        (
            "busy",
            &["--rate", "200"],
            Least {
                tasks: 10,
                polls: 200,
            },
        ),
        ("runtimes", &[], Least { tasks: 5, polls: 0 }),
        (
            "leaves",
            &[],
            Least {
                tasks: 20,
                polls: 0,
            },
        ),
    ];
    for (name, arguments, least) in programs {
        let mut fixture = Fixture::start(Build::Release, name, arguments);
        let mut complaints = Complaints::default();
        is_healthy(fixture.pid(), 3, &least, &mut complaints);
        complaints.unless(fixture.is_alive(), "it did not survive");
        complaints.settle(name);
    }
}

/// redis-benchmark, again and again, until it is dropped.
struct Load {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Load {
    fn start(server: &Server) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let mut benchmark = server.benchmark(2_000, 20);
        let thread = thread::spawn(move || {
            let mut rounds = 0;
            while !ended.load(Ordering::Relaxed) {
                let status = benchmark.status().expect("redis-benchmark");
                rounds += u64::from(status.success());
            }
            rounds
        });
        Self {
            over,
            thread: Some(thread),
        }
    }

    /// Ends it; how many rounds it made.
    fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("ended once");
        thread.join().expect("the load")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A real program that we did not write, at full load.
#[test]
fn live_healthy_mini_redis() {
    let mut server = Server::start();
    let _idle: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let load = Load::start(&server);
    let mut complaints = Complaints::default();
    let least = Least {
        tasks: 21,
        polls: 500,
    };
    is_healthy(server.pid(), 10, &least, &mut complaints);
    let rounds = load.end();
    complaints.unless(rounds > 2, format!("only {rounds} rounds of the load"));
    complaints.unless(server.is_alive(), "mini-redis did not survive");
    complaints.settle("mini-redis under load");
}
