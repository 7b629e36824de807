//! For `cargo xtask bench overhead`: holds empty programs, or those of a session without a daemon, at
//! the probes of a process.
//!
//! `floor PID entry|pair|all|least|polls|paths`: empty programs at the entry of tasks' polls; at their
//! entries and returns; at every probe of the default plan; there programs that take the time and read the task's header; asynctrace's own at tasks' polls, without
//! and with await paths, whose records are taken and thrown away. It prints `{"probes":N}` when they
//! are in place and takes them out when its standard input ends.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a tool of a bench fails by panicking, and prints what the bench reads"
)]

use std::io::Read as _;
use std::sync::Arc;

use tracer_common::ProbeKind;
use tracer_user::attach::floor::{Content, Floor};
use tracer_user::attach::{Session, SessionOptions};
use tracer_user::dwarf::DebugInfo;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{Names, Plan, Request, Rules, WalkPlan, make};
use tracer_user::runtime::tokio::Inspector;
use tracer_user::walk::Futures;

/// The plan of a session with default settings; without the probes that are not at tasks' polls if so asked.
fn plan(process: &Process, only_polls: bool) -> Plan {
    let module = process.executable().unwrap();
    let binary = Arc::new(Binary::of_module(&module).unwrap());
    let source = DebugSource::find(Arc::clone(&binary), process, None).unwrap();
    let info = DebugInfo::load(&source).unwrap();
    let futures = Futures::new(&info);
    let mut plan = make(Request {
        module: &module,
        source: &source,
        names: &Names::default(),
        futures: &[],
        exact_polls: false,
        rules: Rules::of_this_kernel(),
    })
    .unwrap();
    // Before the walk is planned, which goes by the places of the probes.
    if only_polls {
        plan.probes
            .retain(|probe| probe.kind == ProbeKind::TaskPoll);
    }
    let inspector = Inspector::new(process.pid, &binary, module.bias, &futures).unwrap();
    inspector.add_walk(&mut plan, &process.memory());
    plan
}

/// Takes records until standard input ends.
fn drain(mut session: Session) {
    let ended = std::thread::spawn(wait);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        while !ended.is_finished() {
            let wait = std::time::Duration::from_millis(20);
            let _ = tokio::time::timeout(wait, session.next_batch()).await;
            drop(session.take_trees());
        }
    });
}

fn wait() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    // `cargo bench` without a name runs this, too.
    if std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let pid = arguments.next().and_then(|pid| pid.parse().ok());
    let what = arguments.next();
    let (Some(pid), Some(what)) = (pid, what) else {
        panic!("usage: floor PID entry|pair|all|least|polls|paths");
    };
    let process = Process::find(&TargetSelector::Pid(pid)).unwrap();
    let mut plan = plan(&process, !matches!(what.as_str(), "all" | "least"));
    let ready = || println!("{{\"probes\":{}}}", plan.probes.len());
    match what.as_str() {
        "entry" | "pair" | "all" | "least" => {
            let content = match what.as_str() {
                "pair" => Content::NothingAndReturns,
                "least" => Content::Least,
                _ => Content::Nothing,
            };
            let floor = Floor::start(&plan, pid, content).unwrap();
            ready();
            wait();
            drop(floor);
        }
        "polls" | "paths" => {
            if what == "polls" {
                plan.walk = WalkPlan::default();
            }
            let session = Session::start(&plan, pid, &SessionOptions::default()).unwrap();
            ready();
            drain(session);
        }
        _ => panic!("nothing called {what}"),
    }
}
