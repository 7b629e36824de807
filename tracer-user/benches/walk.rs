//! What a poll costs with the walk in the kernel, against what the kernel's own traps cost, in one
//! run: `cargo xtask bench walk`.
//!
//! The target polls one task as fast as it goes and tells its polls and its own CPU time. Variants
//! take turns, so that all of them see the same machine; medians are shown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking, and prints its result"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_common::{ProbeKind, RecordKind, SHORT_RECORD};
use tracer_user::attach::floor::{Content, Floor};
use tracer_user::attach::{Session, SessionOptions};
use tracer_user::dwarf::DebugInfo;
use tracer_user::locate::{Process, TargetSelector};
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{Names, Plan, Request, Rules, WalkPlan, make};
use tracer_user::runtime::tokio::Inspector;
use tracer_user::stream::monotonic_ns;
use tracer_user::walk::Futures;

const SHAPES: [&str; 5] = ["chain4", "chain8", "chain16", "tree", "heap"];
/// Windows of 200 ms that are measured of each variant in each round.
const WINDOWS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Untraced,
    EmptyEntry,
    EmptyPair,
    Begin,
    Walk,
}

const VARIANTS: [(Variant, &str); 5] = [
    (Variant::Untraced, "untraced"),
    (Variant::EmptyEntry, "empty entry program"),
    (Variant::EmptyPair, "empty entry + return programs"),
    (Variant::Begin, "asynctrace, polls only"),
    (Variant::Walk, "asynctrace, polls with await paths"),
];

struct Target {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Target {
    fn start(shape: &str) -> Self {
        let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        );
        let program = folder.join("fixtures/release/polls");
        assert!(
            program.is_file(),
            "{} is missing: run `cargo xtask bench walk`",
            program.display()
        );
        let mut child = Command::new(program)
            .args(["--shape", shape])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("ready"), "{first}");
        Self { child, lines }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Nanoseconds of CPU a poll in the next window that began after this time: what was told while
    /// probes were set stands in the pipe.
    fn window(&mut self, after: u64) -> f64 {
        loop {
            let line = self.lines.next().unwrap().unwrap();
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            if told["begin_ns"].as_u64().unwrap() > after {
                return told["cpu_ns"].as_f64().unwrap() / told["polls"].as_f64().unwrap();
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is said of records.
#[derive(Default)]
struct Volume {
    records: u64,
    bytes: u64,
    lost: u64,
}

/// Reads a session's records meanwhile, as the daemon does.
fn drain(
    session: &mut Session,
    runtime: &tokio::runtime::Runtime,
    until: Instant,
    volume: &mut Volume,
) {
    runtime.block_on(async {
        while Instant::now() < until {
            let Ok(batch) =
                tokio::time::timeout(Duration::from_millis(20), session.next_batch()).await
            else {
                continue;
            };
            for record in &batch {
                volume.records += 1;
                volume.bytes += SHORT_RECORD as u64;
                if record.kind == RecordKind::PollBegin as u8 {
                    volume.bytes += tracer_common::RECORD_SIZE as u64 - SHORT_RECORD as u64;
                }
            }
            for tree in session.take_trees() {
                volume.bytes += tree.words.len() as u64 * 4;
            }
        }
    });
}

fn measure(
    target: &mut Target,
    plan: &Plan,
    variant: Variant,
    runtime: &tokio::runtime::Runtime,
    volume: &mut Volume,
) -> f64 {
    let options = SessionOptions::default();
    let (mut session, _floor) = match variant {
        Variant::Untraced => (None, None),
        Variant::EmptyEntry => (
            None,
            Some(Floor::start(plan, target.pid(), Content::Nothing).unwrap()),
        ),
        Variant::EmptyPair => (
            None,
            Some(Floor::start(plan, target.pid(), Content::NothingAndReturns).unwrap()),
        ),
        Variant::Begin => {
            let plain = Plan {
                walk: WalkPlan::default(),
                ..plan.clone()
            };
            (
                Some(Session::start(&plain, target.pid(), &options).unwrap()),
                None,
            )
        }
        Variant::Walk => (
            Some(Session::start(plan, target.pid(), &options).unwrap()),
            None,
        ),
    };
    while let Some(session) = session.as_mut().filter(|session| session.is_measuring()) {
        let until = Instant::now() + Duration::from_millis(100);
        drain(session, runtime, until, &mut Volume::default());
    }
    let after = monotonic_ns();
    let mut costs = Vec::new();
    for _ in 0..WINDOWS {
        let cost = match &mut session {
            None => target.window(after),
            Some(session) => std::thread::scope(|scope| {
                let waiting = scope.spawn(|| target.window(after));
                while !waiting.is_finished() {
                    let until = Instant::now() + Duration::from_millis(20);
                    drain(session, runtime, until, volume);
                }
                waiting.join().unwrap()
            }),
        };
        costs.push(cost);
    }
    if let Some(session) = session {
        volume.lost += session.losses().iter().sum::<u64>();
    }
    median(&mut costs)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo bench` passes --bench; rounds may be given for a longer run.
    let rounds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!(
        "cost of a poll, (traced - untraced) / (empty entry - untraced), medians of {rounds} rounds\n"
    );
    for shape in SHAPES {
        let mut target = Target::start(shape);
        let process = Process::find(&TargetSelector::Pid(target.pid())).unwrap();
        let module = process.executable().unwrap();
        let binary = Arc::new(Binary::of_module(&module).unwrap());
        let source = DebugSource::find(Arc::clone(&binary), &process, None).unwrap();
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
        // The floor stands on the same sites: the task's poll, and nothing else.
        plan.probes
            .retain(|probe| probe.kind == ProbeKind::TaskPoll);
        let inspector = Inspector::new(process.pid, &binary, module.bias, &futures).unwrap();
        inspector.add_walk(&mut plan, &process.memory());
        let mut costs = vec![Vec::new(); VARIANTS.len()];
        let mut volumes: Vec<Volume> = VARIANTS.iter().map(|_| Volume::default()).collect();
        for _ in 0..rounds {
            for (index, (variant, _)) in VARIANTS.iter().enumerate() {
                let cost = measure(&mut target, &plan, *variant, &runtime, &mut volumes[index]);
                costs[index].push(cost);
            }
        }
        let medians: Vec<f64> = costs.iter_mut().map(|costs| median(costs)).collect();
        let unit = medians[1] - medians[0];
        println!(
            "{shape}: a poll takes {:.0} ns untraced, an empty trap {unit:.0} ns",
            medians[0]
        );
        for (index, (_, name)) in VARIANTS.iter().enumerate().skip(1) {
            let ratio = (medians[index] - medians[0]) / unit;
            let spread = costs[index].iter().map(|cost| (cost - medians[0]) / unit);
            let low = spread.clone().fold(f64::INFINITY, f64::min);
            let high = spread.fold(f64::NEG_INFINITY, f64::max);
            print!("  {name:36} {ratio:5.2}   ({low:.2} to {high:.2})");
            let volume = &volumes[index];
            if volume.records > 0 {
                print!(
                    "   {:.0} bytes a record, {} records, {} lost",
                    volume.bytes as f64 / volume.records as f64,
                    volume.records,
                    volume.lost
                );
            }
            println!();
        }
        println!();
    }
}
